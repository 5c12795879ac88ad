"""Candidates for the cell of a pattern."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int16


@dataclass(frozen=True, eq=False)
class Cell:
    """A cell that explains a list of lines.

    Attributes:
        primitive: a, b, c [Å], α, β, γ [degrees] of the Niggli-reduced primitive cell.
        conventional: The same of the conventional cell of ``bravais_lattice``; hR on
            hexagonal axes, monoclinic with unique axis b (mC is C-centred, β ≥ 90).
        bravais_lattice: One of aP mP mC oP oC oI oF tP tI hP hR cP cI cF.
        volume: Volume of the primitive cell [Å³].
        m20: Figure of merit of the first 20 lines (de Wolff 1968, J. Appl. Cryst. 1,
            108); of all lines where there are fewer.
        score: Logarithm of a likelihood ratio, larger is better; see `ranking`.
        zero_shift: What was subtracted from the angles 2θ [degrees].
        hkl: Indices of each line on the conventional cell, 0 0 0 where it has none.
        ambiguities: What other lattices have the same lines, in words.
    """

    primitive: tuple[float, float, float, float, float, float]
    conventional: tuple[float, float, float, float, float, float]
    bravais_lattice: str
    volume: float
    m20: float
    score: float
    zero_shift: float
    hkl: Int16[np.ndarray, "lines 3"]
    ambiguities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.hkl.flags.writeable = False

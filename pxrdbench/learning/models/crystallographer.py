"""The reader without a network: indexing, absences and frequencies as a classifier.

Nothing is learnt from patterns. The tables that it holds were counted on endless
crystals (``indexing``), its prior is one of frequencies of space groups.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64

from pxrdbench.diffraction.pattern import Radiation, TwoThetaGrid
from pxrdbench.errors import ModelError, PatternError
from pxrdbench.indexing.groups.posterior import group_prior
from pxrdbench.indexing.index import index_pattern

NAME = "crystallographer"
# Probability below which a group is written as this one: logits stay finite.
_LEAST = 1e-9


class Crystallographer:
    """Names space groups as a crystallographer does: lines, cell, absences, group.

    A pattern in which no cell is found gets the frequencies of the prior; one in which
    it is doubtful gets a mixture of both.

    Attributes:
        space_groups: All 230.
        grid: Angles of the patterns that it reads; any equidistant ones.
        radiation: What they are made with.
    """

    def __init__(
        self,
        prior: str = "icsd",
        grid: TwoThetaGrid | None = None,
        radiation: str = "CuKa1",
        kind: Literal["auto", "clean", "measured"] = "auto",
    ) -> None:
        """Choose the prior.

        Args:
            prior: Frequencies of groups: "icsd", "open", "uniform", or those that a
                generator's prior was fitted with: "minerals", or a file.
            grid: Angles; 5 to 90 degrees in 8501 points if None.
            radiation: Of the patterns.
            kind: Whether patterns are clean ones; ``auto`` looks at each.

        Raises:
            PatternError: If there is no such prior or radiation.
        """
        self.prior = group_prior(prior)
        self.prior_name = prior
        self.space_groups = tuple(range(1, 231))
        self.grid = grid or TwoThetaGrid()
        self.radiation = Radiation.parse(radiation)
        self.kind = kind

    def predict(
        self, intensity: Float32[np.ndarray, "batch points"]
    ) -> Float32[np.ndarray, "batch 230"]:
        """Logarithms of probabilities, one row a pattern.

        Raises:
            ModelError: If patterns are on another grid.
        """
        if intensity.shape[1:] != (self.grid.points,):
            raise ModelError(
                f"patterns of {intensity.shape[1:]} points; {NAME} was told "
                f"{self.grid.points}"
            )
        angles = self.grid.angles()
        rows = [self._read(angles, row) for row in intensity.astype(np.float64)]
        logits: np.ndarray = np.log(np.stack(rows)).astype(np.float32)
        return logits

    def _read(
        self,
        angles: Float64[np.ndarray, " points"],
        row: Float64[np.ndarray, " points"],
    ) -> Float64[np.ndarray, " 230"]:
        prior: np.ndarray = self.prior[1:]
        try:
            found = index_pattern(
                angles, row, self.radiation, kind=self.kind, prior=self.prior
            )
        except PatternError:  # a pattern without lines says nothing
            floor: np.ndarray = np.maximum(prior, _LEAST)
            return floor
        shares = np.zeros(230)
        for one in found.space_groups:
            shares[one.space_group - 1] = one.probability
        mixed = shares + max(0.0, 1.0 - shares.sum()) * prior
        result: np.ndarray = np.maximum(mixed, _LEAST)
        return result

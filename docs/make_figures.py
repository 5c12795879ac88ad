"""Draw the figures of the README and the docs: ``python docs/make_figures.py``."""

import re
from collections import Counter
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import pxrdbench as px
from pxrdbench.crystal.symmetry.tables import (
    crystal_system,
    load_symmetry_tables,
    space_group_symbol,
)

FOLDER = Path(__file__).parent / "img"
SYSTEMS = ("cubic", "hexagonal", "orthorhombic", "monoclinic")


def formula(crystal: px.Crystal) -> str:
    """Write the atoms of the conventional cell, with subscripts."""
    tables = load_symmetry_tables()
    first = tables.position_offset[crystal.space_group]
    letters = "abcdefghijklmnopqrstuvwxyzA"
    count: Counter[str] = Counter()
    for site in crystal.sites:
        row = first + letters.index(site.wyckoff_letter)
        count[site.element] += int(tables.multiplicity[row])
    return "".join(f"{el}$_{{{n}}}$" if n > 1 else el for el, n in count.items())


def typeset(symbol: str) -> str:
    """Write bars and screw axes as in print: Fd-3m, P63/mmc."""
    symbol = re.sub(r"-(\d)", r"\\bar{\1}", symbol)
    symbol = re.sub(r"([2346])([1-5])", r"\1_{\2}", symbol)
    return rf"$\mathit{{{symbol}}}$"


def draw_patterns() -> None:
    """Four crystals of four systems as they come from the embedded prior."""
    recipe = px.Recipe(prior="open-v0", seed=3)
    batch, crystals = recipe.batch(0, 400), recipe.crystals(0, 400)
    angles = recipe.grid.angles()
    figure, axes = plt.subplots(4, 1, figsize=(9, 6), sharex=True)
    for axis, system in zip(axes, SYSTEMS, strict=True):
        index = next(
            i
            for i, crystal in enumerate(crystals)
            if crystal_system(crystal.space_group) == system
            and 2 <= len(crystal.sites) <= 6
            and len({site.element for site in crystal.sites}) > 1
        )
        crystal = crystals[index]
        axis.plot(angles, batch.intensity[index], lw=0.9, color="#1f4e79")
        symbol = typeset(space_group_symbol(crystal.space_group))
        axis.text(
            0.99, 0.82,
            f"{formula(crystal)}   {symbol} ({crystal.space_group})   {system}   "
            f"{batch.crystallite_size_nm[index]:.0f} nm",
            transform=axis.transAxes, ha="right", fontsize=10,
        )  # fmt: skip
        axis.set(ylim=(0, 1.08), yticks=[])
        axis.spines[["top", "right", "left"]].set_visible(False)
    axes[-1].set(xlim=(5, 90), xlabel="2θ [degrees], Cu Kα₁")
    figure.supylabel("intensity", fontsize=10)
    figure.tight_layout(h_pad=0.3)
    FOLDER.mkdir(exist_ok=True)
    figure.savefig(FOLDER / "patterns.png", dpi=130, metadata={"Software": ""})


if __name__ == "__main__":
    draw_patterns()

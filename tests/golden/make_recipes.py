"""Write what recipes gave when they were new: ``python tests/golden/make_recipes.py``.

Run it only for a recipe that is not in the file yet, or together with a new
``SCHEMA_VERSION``: who holds an old recipe was promised these samples, or a refusal.
"""

import json
from pathlib import Path

import numpy as np

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.packing import pack_peaks

FOLDER = Path(__file__).parent
SAMPLES = 6
START = 1000
EVERY = 25  # points of a pattern that are kept

RECIPES = {
    "plain": {},
    "paper": {"seed": 7, "preset": "paper"},
    "doublet": {"seed": 3, "radiation": "CuKa", "space_group_frequencies": "icsd"},
    "uniform": {"seed": 2**63, "space_group_frequencies": "uniform"},
    "options": {"seed": 5, "max_volume": 400.0, "coordinates": "distant"},
    "type": {"seed": 5, "structure_type": "221 0:a 1:b O:c"},
    "rruff-paper": {"seed": 3, "measurement": "rruff-paper"},
    "laboratory": {"seed": 3, "measurement": "laboratory"},
}


def describe(recipe):
    """Some samples of a recipe as small arrays."""
    drawn, batch = recipe.draw(START, SAMPLES), recipe.batch(START, SAMPLES)
    packed = pack_peaks(drawn.peaks)
    return {
        "space_group": drawn.crystals.space_group,
        "atomic_number": drawn.crystals.atomic_number,
        "wyckoff_index": drawn.crystals.wyckoff_index,
        "peak_count": packed["peak_count"],
        "two_theta": packed["two_theta"],
        "peak_intensity": packed["intensity"],
        "size": batch.crystallite_size_nm.astype("f4"),
        "pattern": batch.intensity[:, ::EVERY],
    }


def main():
    cards, arrays = {}, {}
    for name, choices in RECIPES.items():
        recipe = Recipe("open-v0", **choices)
        cards[name] = {"digest": recipe.digest, "card": recipe.card.to_dict()}
        for key, value in describe(recipe).items():
            arrays[f"{name}/{key}"] = value
    (FOLDER / "recipes.json").write_text(json.dumps(cards, indent=1) + "\n")
    np.savez_compressed(FOLDER / "recipes.npz", **arrays)


if __name__ == "__main__":
    main()

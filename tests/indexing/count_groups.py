"""Count groups and volumes: ``group_counts.csv`` of the reading room.

    python tests/indexing/count_groups.py

ICSD entries a group come from ``stats/sg_frequency.csv`` (facts of CederGroupHub/dara,
MIT), the rest from the ``statistics`` part of ``open/structure-type`` (Materials
Project, CC-BY 4.0): crystals a group, and how many have a primitive cell of which
volume. Needs PXRDBENCH_TEST_DATA.
"""

import csv
import os
from pathlib import Path

import numpy as np

from pxrdbench.crystal.symmetry.tables import CENTRINGS, load_symmetry_tables
from pxrdbench.indexing.groups import posterior
from pxrdbench.tracks.load import load_table

POINTS = {"P": 1, "A": 2, "C": 2, "I": 2, "F": 4, "R": 3}


def main():
    import pyarrow.parquet

    data = Path(os.environ["PXRDBENCH_TEST_DATA"])
    structures = pyarrow.parquet.read_table(
        data / "structures" / "mp_structures.parquet", columns=["id", "volume_conv"]
    )
    volumes = dict(
        zip(*(structures[name].to_pylist() for name in ("id", "volume_conv")),
            strict=True)
    )  # fmt: skip
    table = load_table("open/structure-type", "statistics")
    centring = load_symmetry_tables().centring
    bins = np.zeros((231, posterior.VOLUME_BINS), np.int64)
    for name, group in zip(
        table["id"].to_pylist(), table["space_group"].to_pylist(), strict=True
    ):
        volume = volumes[name] / POINTS[CENTRINGS[int(centring[group])]]
        bins[group, posterior.volume_bin(volume)] += 1
    with (data / "stats" / "sg_frequency.csv").open(encoding="utf-8") as file:
        icsd = {
            int(row["space_group"]): int(row["icsd_filtered_info_2025_v3"])
            for row in csv.DictReader(file)
        }
    path = Path(posterior.__file__).with_name("group_counts.csv")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["space_group", "icsd", "open", "open_by_volume"])
        for group in range(1, 231):
            counts = " ".join(str(n) for n in bins[group])
            writer.writerow([group, icsd.get(group, 0), bins[group].sum(), counts])


if __name__ == "__main__":
    main()

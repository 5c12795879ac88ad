"""The 230 groups: operators, Wyckoff positions, higher symmetry, extinction."""

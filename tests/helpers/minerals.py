"""Famous minerals, from published cells and coordinates, as crystals of the package.

Sources: Wyckoff (1963), Crystal Structures, unless a line says otherwise.
"""

from pxrdbench.crystal.structure import Crystal, Site

MINERALS = {
    "halite": Crystal(
        225,
        (5.6402, 5.6402, 5.6402, 90.0, 90.0, 90.0),
        (Site("Na", "a", (0, 0, 0)), Site("Cl", "b", (0.5, 0.5, 0.5))),
    ),
    "silicon": Crystal(
        227,
        (5.4310, 5.4310, 5.4310, 90.0, 90.0, 90.0),
        (Site("Si", "a", (0.125, 0.125, 0.125)),),
    ),
    # Levien, Prewitt & Weidner (1980), Am. Mineral. 65, 920
    "quartz": Crystal(
        154,
        (4.916, 4.916, 5.4054, 90.0, 90.0, 120.0),
        (
            Site("Si", "a", (0.4697, 0.0, 2 / 3)),
            Site("O", "c", (0.4133, 0.2672, 0.7858)),
        ),
    ),
    "rutile": Crystal(
        136,
        (4.5937, 4.5937, 2.9587, 90.0, 90.0, 90.0),
        (Site("Ti", "a", (0, 0, 0)), Site("O", "f", (0.3053, 0.3053, 0.0))),
    ),
    "corundum": Crystal(
        167,
        (4.7589, 4.7589, 12.9919, 90.0, 90.0, 120.0),
        (Site("Al", "c", (0, 0, 0.3522)), Site("O", "e", (0.3063, 0.0, 0.25))),
    ),
    "spinel": Crystal(
        227,
        (8.0806, 8.0806, 8.0806, 90.0, 90.0, 90.0),
        (
            Site("Mg", "a", (0.125, 0.125, 0.125)),
            Site("Al", "d", (0.5, 0.5, 0.5)),
            Site("O", "e", (0.2624, 0.2624, 0.2624)),
        ),
    ),
    # Novak & Gibbs (1971), Am. Mineral. 56, 791
    "pyrope": Crystal(
        230,
        (11.459, 11.459, 11.459, 90.0, 90.0, 90.0),
        (
            Site("Al", "a", (0, 0, 0)),
            Site("Mg", "c", (0.125, 0.0, 0.25)),
            Site("Si", "d", (0.375, 0.0, 0.25)),
            Site("O", "h", (0.0328, 0.0502, 0.6534)),
        ),
    ),
    "bixbyite": Crystal(
        206,
        (9.4146, 9.4146, 9.4146, 90.0, 90.0, 90.0),
        (
            Site("Mn", "a", (0, 0, 0)),
            Site("Mn", "d", (0.2847, 0.0, 0.25)),
            Site("O", "e", (0.1287, 0.1468, 0.4165)),
        ),
    ),
}

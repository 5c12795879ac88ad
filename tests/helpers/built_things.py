"""Small things of one's own: an import, the tracks built from it, a prior of it."""

from types import SimpleNamespace

from measured_scans import draw_crystals, write_model

from pxrdbench.crystal.prior.edit import restrict_prior
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.sources.structures.load import import_structures
from pxrdbench.tracks.build.icsd import build_icsd_tracks


def build_things(folder, count=40):
    """Build below a folder; gives the places, relative to it.

    - ``import``: crystals that were read from CIFs
    - ``tracks/cif-random``: a track of them, in three parts
    - ``mine.npz``: a prior that does not ship
    - ``run/last.pt``: a network that nobody trained
    """
    (folder / "cifs").mkdir()
    for number, crystal in enumerate(draw_crystals(count)):
        (folder / f"cifs/{number:03d}.cif").write_text(crystal.to_cif(f"c{number}"))
    import_structures("cif", folder / "cifs", folder / "import", workers=1)
    build_icsd_tracks(folder / "import", folder / "tracks")
    # A prior of so few crystals could not draw.
    restrict_prior(load_prior("open-v0"), min_crystals=300, name="mine").save(
        folder / "mine.npz"
    )
    (folder / "run").mkdir()
    write_model(folder / "run" / "last.pt")
    return SimpleNamespace(
        folder=folder,
        imported="import",
        track=f"tracks/{next((folder / 'tracks').glob('*-random')).name}",
        prior="mine.npz",
        run="run",
        checkpoint="run/last.pt",
    )

"""The prototypes that pymatgen carries."""

from pxrdbench.sources.databases.aflow import read_prototypes


def test_library_is_whole():
    prototypes = read_prototypes()
    assert len(prototypes) == 288
    assert len({p.id for p in prototypes}) == 288
    assert [p.id for p in prototypes] == sorted(p.id for p in prototypes)
    assert all(p.structure.is_ordered for p in prototypes)
    assert all(p.id.startswith(f"{p.aflow_label}:") for p in prototypes)


def test_cinnabar():
    cinnabar = next(p for p in read_prototypes() if p.mineral == "Cinnabar")
    assert cinnabar.formula == "HgS"
    assert cinnabar.aflow_space_group == 154
    assert cinnabar.strukturbericht == "B9"
    assert len(cinnabar.structure) == 6


def test_absent_tags_are_empty():
    tags = {p.mineral for p in read_prototypes()}
    tags |= {p.strukturbericht for p in read_prototypes()}
    assert "" in tags
    assert not tags & {None, "None"}

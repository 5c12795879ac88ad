"""A prior from a file is looked at before a kernel reads it."""

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from pxrdbench.crystal.generator.draw import draw_crystals
from pxrdbench.crystal.prior.edit import restrict_prior
from pxrdbench.crystal.prior.prior import Prior, available_priors, load_prior
from pxrdbench.crystal.prior.smoothing import smooth_prior
from pxrdbench.errors import PriorError


@pytest.fixture(scope="module")
def arrays():
    prior = load_prior("open-v0")
    return {k: np.array(v) for k, v in prior._arrays().items()}


def pack(arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    file.seek(0)
    return file


def edit(arrays, name, change):
    changed = arrays[name].copy()
    return arrays | {name: change(changed)}


def put(index, value):
    def change(array):
        array[index] = value
        return array

    return change


def header(**values):
    def change(array):
        known = json.loads(array.tobytes())
        text = json.dumps(known | values).encode()
        return np.frombuffer(text, np.uint8)

    return change


def one_element(array):
    array[:] = 0
    array[:, 8] = 1
    return array


def rare_elements(array):
    array = array.astype(np.int64)
    array[:] = 0
    array[:, 8] = 2**50
    array[:, 9:20] = 1
    return array


# Each is an edit that crashed the interpreter, hung the draw, or drew what is none.
ATTACKS = [
    ("volume_offset", put(3, 10**9)),  # SIGSEGV in the kernel
    ("volume_offset", put(-1, 2**31 - 1)),
    ("volume_offset", put(2, -5)),
    ("volume_offset", lambda a: a[:-1]),
    ("volume_offset", lambda a: a.astype(np.float64)),
    ("volume_offset", np.zeros_like),
    ("shape_offset", put(3, 10**8)),
    ("shape_offset", put(slice(None), 0)),  # every cell a cube
    ("shape_offset", put(0, 7)),
    ("volume_factor", put(slice(None), np.nan)),  # hung the draw
    ("volume_factor", put(5, -1.0)),
    ("volume_factor", put(5, np.inf)),
    ("volume_atomic", lambda a: a[::-1]),
    ("volume_atomic", put(0, np.nan)),
    ("volume_atomic", lambda a: a[:-1]),
    ("bandwidth", put(1, 0.0)),  # 0/0 for ever
    ("bandwidth", put(1, np.nan)),
    ("bandwidth", put(1, 1e-200)),
    ("bandwidth", put(0, -1.0)),
    ("bandwidth", lambda a: a.astype(np.float32)),
    ("shape", put(slice(None), 0.0)),
    ("shape", put((slice(None), 0), 1e30)),
    ("shape", put((slice(None), 4), 179.0)),  # closes no cell: sought for ever
    ("shape", put(0, np.nan)),
    ("shape", lambda a: a[:, :4]),
    ("shape_kernel", put((0, 0, 0), 1e12)),
    ("shape_kernel", put((0, 0, 0), np.inf)),
    ("shape_kernel", put((0, 0, 0), -1.0)),
    ("scaled_kernel", put((0, 0, 0), 1e12)),
    ("scaled_kernel", lambda a: a[:5]),
    ("space_group", put(0, 0)),
    ("space_group", put(-1, 231)),
    ("space_group", put(-1, 30_000)),
    ("space_group", lambda a: a[::-1]),
    ("space_group", lambda a: np.repeat(a[:1], len(a))),
    ("space_group", lambda a: a[:0]),
    ("element", put(0, 0)),
    ("element", put((0, 8), -1)),
    ("element", one_element),  # waits for a second element for ever
    ("element", rare_elements),
    ("element", lambda a: np.pad(a, ((0, 0), (0, 200)), constant_values=1)),
    ("element", lambda a: a.astype(np.float64)),
    ("element", lambda a: a.astype(">i4")),
    ("n_elements", put(2, 0)),
    ("n_elements", lambda a: np.pad(a, ((0, 0), (0, 150)), constant_values=1)),
    ("n_elements", put((0, 0), -(10**6))),
    ("repetitions", put(2, 0)),
    ("repetitions", lambda a: np.pad(a, ((0, 0), (0, 9000)), constant_values=1)),
    ("wyckoff", put(slice(None), 0)),
    ("wyckoff", lambda a: a[:-1]),
    ("wyckoff", put(700, -1)),
    ("n_crystals", put(slice(None), 0)),
    ("n_crystals", put(0, -1)),
    ("n_crystals", lambda a: a[:-1]),
    ("icsd_crystals", lambda a: a[:-1]),
    ("header", header(max_sites=10**9)),
    ("header", header(max_sites=0)),
    ("header", header(max_sites=True)),
    ("header", header(max_volume=1e300)),
    ("header", header(max_volume="7000")),
    ("header", header(max_volume=-1)),
    ("header", header(restricted="no")),
    ("header", header(name=["a"])),
    ("header", header(frequencies="none")),
    ("header", header(binned=-1)),
    ("header", header(smoothing={"enough_crystals": -1, "unseen_crystals": 1.0})),
    ("header", header(smoothing=[])),
    ("header", header(space_group=[1, 2])),
    ("header", header(unknown=1)),
    ("header", lambda a: np.frombuffer(b'{"max_volume": NaN}', np.uint8)),
    ("header", lambda a: np.frombuffer(b"[" * 100_000, np.uint8)),
    ("header", lambda a: np.frombuffer(b'{"a": 1' + b"0" * 400 + b"}", np.uint8)),
    ("header", lambda a: np.frombuffer(b"\xff\xfe", np.uint8)),
]


@pytest.mark.parametrize(
    ("name", "change"), ATTACKS, ids=[f"{n}-{i}" for i, (n, _) in enumerate(ATTACKS)]
)
def test_edited_prior_is_refused(arrays, name, change):
    with pytest.raises(PriorError, match="mine"):
        Prior.read(pack(edit(arrays, name, change)), "mine")


def test_missing_and_added_arrays_are_refused(arrays):
    for name in arrays:
        rest = {k: v for k, v in arrays.items() if k != name}
        with pytest.raises(PriorError):
            Prior.read(pack(rest), "mine")
    with pytest.raises(PriorError):
        Prior.read(pack(arrays | {"more": np.zeros(3)}), "mine")


def test_wyckoff_of_elements_is_checked(arrays):
    for wrong in (np.zeros((1731, 98), np.int32), np.full((1731, 99), -1, np.int32)):
        with pytest.raises(PriorError, match="wyckoff_element"):
            Prior.read(pack(arrays | {"wyckoff_element": wrong}), "mine")


def bomb(arrays, shape):
    """An array of so many zeros: a thousandth on disk of what it takes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            if name != "shape":
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, array)
        with archive.open("shape.npy", "w", force_zip64=True) as member:
            about = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(member, about)
            for _ in range(300):
                member.write(bytes(2**20))
    file.seek(0)
    return file


@pytest.mark.parametrize("shape", [(300 * 2**18 // 5, 5), (10**12, 5), (-1, 5)])
def test_size_is_looked_at_before_unpacking(arrays, shape):
    import tracemalloc

    file = bomb(arrays, shape)
    tracemalloc.start()
    with pytest.raises(PriorError):
        Prior.read(file, "mine")
    assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    tracemalloc.stop()


def test_header_that_claims_more_than_its_entry(arrays):
    small = io.BytesIO()
    with zipfile.ZipFile(small, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                if name == "element":
                    about = {"descr": "<i8", "fortran_order": False, "shape": (10**11,)}
                    np.lib.format.write_array_header_1_0(member, about)
                else:
                    np.lib.format.write_array(member, array)
    small.seek(0)
    with pytest.raises(PriorError, match="element"):
        Prior.read(small, "mine")


def test_pickles_and_damage_are_refused(arrays):
    objects = arrays | {"element": np.array([{"a": 1}], object)}
    with pytest.raises(PriorError):
        Prior.read(pack(objects), "mine")
    whole = pack(arrays).getvalue()
    rng = np.random.default_rng(5)
    for _ in range(60):
        content = bytearray(whole)
        content[int(rng.integers(len(whole)))] ^= 1 << int(rng.integers(8))
        try:
            Prior.read(io.BytesIO(content), "mine")
        except PriorError:
            continue
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        with pytest.raises(PriorError):
            Prior.read(io.BytesIO(whole[:size]), "mine")


def test_honest_priors_pass():
    shipped = [load_prior(name) for name in available_priors()]
    one = load_prior("open-v0")
    made = [
        restrict_prior(one, space_groups=[225]),
        restrict_prior(one, min_crystals=50),
        smooth_prior(one),
        replace(one, max_sites=7),
    ]
    for prior in (*shipped, *made):
        again = Prior.read(io.BytesIO(prior.to_bytes()), prior.name)
        assert again.digest == prior.digest
        assert len(draw_crystals(again, 1, 0, 5)) == 5

"""A small track in memory and models of known behaviour, for the tests beside it."""

import numpy as np

from pxrdbench.benchmark.scoring.predictions import Predictions, pack_logits
from pxrdbench.diffraction.pattern import PeakBatch, Radiation, TwoThetaGrid
from pxrdbench.tracks.load import TrackPart

GRID = TwoThetaGrid(5.0, 90.0, 1701)
CLASSES = (225, 62, 14, 2, 194, 76, 78)
# Group 1 is in no class list here: a crystal of it is never right.
GROUPS = np.array((1, *CLASSES), np.int16)


def make_track(n: int = 60, seed: int = 0, name: str = "test/small") -> TrackPart:
    generator = np.random.Generator(np.random.PCG64(seed))
    space_group = generator.choice(GROUPS, n)
    numbers = generator.integers(3, 40, n)
    offset = np.concatenate([[0], np.cumsum(numbers)]).astype(np.int64)
    two_theta = np.concatenate([np.sort(generator.uniform(6, 89, k)) for k in numbers])
    return TrackPart(
        name=name,
        part="test",
        version=1,
        digest="0" * 64,
        ids=tuple(f"crystal-{i:04d}" for i in range(n)),
        space_group=space_group,
        # A type lies in one group, as real ones do; about three crystals a type.
        structure_type=tuple(
            f"type {g}-{t}"
            for g, t in zip(space_group, generator.integers(0, 3, n), strict=True)
        ),
        crystallite_size_nm=generator.uniform(20, 100, n),
        peaks=PeakBatch(
            two_theta=two_theta,
            intensity=generator.uniform(0.01, 1, len(two_theta)),
            peak_offset=offset,
        ),
        grid=GRID,
        radiation=Radiation.parse("CuKa1"),
    )


def random_logits(
    track: TrackPart, seed: int = 0, skill: float = 2.0, classes=CLASSES
) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(seed + 1000))
    logits = generator.normal(0, 1, (len(track), len(classes)))
    logits += skill * (track.space_group[:, None] == np.array(classes))
    return logits.astype(np.float32)


def make_predictions(
    track: TrackPart, logits: np.ndarray | None = None, classes=CLASSES, **changes
) -> Predictions:
    if logits is None:
        logits = random_logits(track, classes=classes)
    known = {
        "ids": track.ids,
        "logits": pack_logits(logits),
        "space_groups": tuple(classes),
        "track": track.name,
        "part": track.part,
        "track_version": str(track.version),
        "track_digest": track.digest,
        "class_frequencies": np.arange(len(classes), 0, -1.0),
    }
    return Predictions(**(known | changes))


class FixedClassifier:
    """Says of each pattern what its mean intensity hashes to; counts its calls."""

    def __init__(self, grid: TwoThetaGrid = GRID, classes=CLASSES) -> None:
        self.grid = grid
        self.space_groups = tuple(classes)
        self.shapes: list[tuple[int, ...]] = []
        self._weights = np.random.Generator(np.random.PCG64(5)).normal(
            0, 1, (grid.points, len(classes))
        )

    def predict(self, intensity):
        self.shapes.append(intensity.shape)
        return (intensity @ self._weights).astype(np.float32)

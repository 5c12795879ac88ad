"""A random forest over features of found peaks: what a classical method reaches.

The features are those of the trial in ``accuracy_trial.md``: positions, heights and
ratios of the first peaks, statistics of the whole list. scikit-learn grows the trees;
they are kept as plain arrays and read without scikit-learn and without a pickle.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64

from pxrdbench.diffraction.pattern import Radiation, TwoThetaGrid
from pxrdbench.errors import ModelError
from pxrdbench.files import atomic_path
from pxrdbench.learning.networks.peak_network import find_peaks
from pxrdbench.outside import (
    check_array,
    check_offsets,
    guard,
    parse_strict_json,
    read_arrays,
)

FORMAT = "pxrdbench-forest"
_N_LISTED = 40  # peaks in the features, and for statistics
_N_DETAILED = 20
N_FEATURES = 138
# A forest of 300 trees on 15,000 crystals takes 100 MB.
_MOST_BYTES = 2**31
_CHUNK = 256
_TREES_AT_ONCE = 5
_EMPTY_SHARE = 1e-6  # a class that no tree votes for is still possible


def peak_features(
    intensity: Float32[np.ndarray, "batch points"], grid: TwoThetaGrid
) -> Float32[np.ndarray, "batch features"]:
    """Describe the peaks of patterns: 138 numbers each, 0 where there is no peak.

    ln Q, ln Q/Q₁, Q/Q₁ and the square root of the height of the first 20 peaks and of
    the 14 strongest in order of height the first and last of these; number of peaks,
    mean and spread of their heights.
    """
    rows = [
        _features(intensity[start : start + _CHUNK], grid)
        for start in range(0, len(intensity), _CHUNK)
    ]
    return np.concatenate(rows)


def _features(
    intensity: Float32[np.ndarray, "batch points"], grid: TwoThetaGrid
) -> Float32[np.ndarray, "batch features"]:
    found = find_peaks(torch.tensor(intensity), grid, _N_LISTED).numpy()
    angle, height = found[:, 0].astype(np.float64), found[:, 1].astype(np.float64)
    is_peak = angle > 0
    q = np.where(is_peak, np.sin(np.deg2rad(angle) / 2) ** 2, 1.0)
    ratio = np.where(is_peak, q / q[:, :1], 0.0)
    log_q = np.where(is_peak, np.log(q), 0.0)
    n, k = is_peak.sum(1, keepdims=True), _N_DETAILED
    order = np.argsort(-height, axis=1, kind="stable")[:, :14]
    mean = height.sum(1, keepdims=True) / np.maximum(n, 1)
    spread = np.sqrt(np.maximum((height**2).sum(1, keepdims=True) / n - mean**2, 0))
    columns = [
        log_q[:, :k],
        np.sqrt(height[:, :k]),
        ratio[:, :k],
        np.diff(ratio[:, : k + 1], axis=1),
        np.diff(log_q[:, : k + 1], axis=1),
        np.take_along_axis(ratio, order, 1),
        np.take_along_axis(np.sqrt(height), order, 1)[:, 1:8],
        n,
        mean,
        spread,
        is_peak[:, :14],
    ]
    return np.concatenate(columns, 1).astype(np.float32)


def _tree_arrays(tree: Any) -> dict[str, np.ndarray]:
    """Splits of a tree, and the classes in its leaves with their shares."""
    value = tree.value[:, 0]
    is_leaf = tree.children_left < 0
    is_entry = (value > 0) & is_leaf[:, None]
    node, label = is_entry.nonzero()
    return {
        "left": tree.children_left.astype(np.int32),
        "right": tree.children_right.astype(np.int32),
        "feature": tree.feature.astype(np.int16),
        "threshold": tree.threshold.astype(np.float64),
        "n_entries": is_entry.sum(1),
        "entry_class": label.astype(np.int16),
        "entry_share": (value[node, label] / value[node].sum(1)).astype(np.float32),
    }


class PeakForest:
    """Trees over peak features, behind the ``Classifier`` protocol.

    Attributes:
        space_groups: The class list.
        grid: Angles of the patterns that it reads.
        radiation: What those patterns are made with.
        digest: SHA-256 of its arrays.
    """

    def __init__(
        self,
        arrays: dict[str, np.ndarray],
        space_groups: tuple[int, ...],
        grid: TwoThetaGrid,
        radiation: Radiation,
    ) -> None:
        self._arrays = arrays
        self.space_groups = space_groups
        self.grid = grid
        self.radiation = radiation
        hasher = hashlib.sha256()
        for name in sorted(arrays):
            hasher.update(arrays[name].tobytes())
        self.digest = hasher.hexdigest()

    @classmethod
    def fit(
        cls,
        intensity: Float32[np.ndarray, "batch points"],
        space_group: np.ndarray,
        grid: TwoThetaGrid,
        radiation: Radiation,
        *,
        n_trees: int = 300,
        seed: int = 0,
    ) -> "PeakForest":
        """Grow a forest on patterns.

        Args:
            intensity: Patterns with a maximum of one.
            space_group: Of each.
            grid: Their angles.
            radiation: What they are made with.
            n_trees: Number of trees.
            seed: Of bootstraps and splits.
        """
        from sklearn.ensemble import RandomForestClassifier

        groups = np.unique(space_group)
        features = peak_features(intensity, grid)
        # A tree holds the shares of all classes at all nodes, gigabytes in a forest:
        # a few at a time, of which only what leaves say is kept.
        seeds = np.random.default_rng(seed).integers(2**31, size=n_trees)
        parts = []
        for start in range(0, n_trees, _TREES_AT_ONCE):
            count = min(_TREES_AT_ONCE, n_trees - start)
            forest = RandomForestClassifier(count, random_state=int(seeds[start]))
            forest.fit(features, space_group)
            parts += [_tree_arrays(e.tree_) for e in forest.estimators_]
        arrays = {name: np.concatenate([t[name] for t in parts]) for name in parts[0]}
        sizes = [len(tree["left"]) for tree in parts]
        arrays["offset"] = np.cumsum([0, *sizes]).astype(np.int64)
        entries = [0, *np.cumsum(arrays.pop("n_entries"))]
        arrays["entry"] = np.array(entries, np.int64)
        return cls(arrays, tuple(groups.tolist()), grid, radiation)

    def predict(
        self, intensity: Float32[np.ndarray, "batch points"]
    ) -> Float32[np.ndarray, "batch classes"]:
        """Logarithms of the mean share of each class in the leaves that are reached.

        Raises:
            ModelError: If the patterns are not on the forest's grid.
        """
        if intensity.ndim != 2 or intensity.shape[1] != self.grid.points:
            raise ModelError(
                f"patterns of shape {intensity.shape}; the forest reads (batch, "
                f"{self.grid.points})"
            )
        if len(intensity) == 0:
            return np.zeros((0, len(self.space_groups)), np.float32)
        shares = self._shares(peak_features(intensity, self.grid))
        logits: np.ndarray = np.log(shares + _EMPTY_SHARE).astype(np.float32)
        return logits

    def _shares(
        self, features: Float32[np.ndarray, "batch features"]
    ) -> Float64[np.ndarray, "batch classes"]:
        a = self._arrays
        total = np.zeros((len(features), len(self.space_groups)))
        for start in a["offset"][:-1]:
            leaf = self._leaves(features, int(start))
            first, last = a["entry"][leaf], a["entry"][leaf + 1]
            for shift in range(int((last - first).max())):  # nearly all leaves: one
                rows = np.flatnonzero(first + shift < last)
                entry = first[rows] + shift
                total[rows, a["entry_class"][entry]] += a["entry_share"][entry]
        shares: np.ndarray = total / (len(a["offset"]) - 1)
        return shares

    def _leaves(
        self, features: Float32[np.ndarray, "batch features"], start: int
    ) -> Int64[np.ndarray, " batch"]:
        """The leaf of one tree that each sample reaches."""
        a = self._arrays
        node = np.full(len(features), start, np.int64)
        rows = np.arange(len(features))
        while len(rows):
            at = node[rows]
            inside = a["left"][at] >= 0
            rows, at = rows[inside], at[inside]
            value = features[rows, a["feature"][at]]
            goes_left = value <= a["threshold"][at]
            step = np.where(goes_left, a["left"][at], a["right"][at])
            node[rows] = start + step
        return node

    def save(self, path: Path | str) -> None:
        """Write the arrays as npz, whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        about = {
            "format": FORMAT,
            "space_groups": list(self.space_groups),
            "grid": [self.grid.start, self.grid.stop, self.grid.points],
            "radiation": [list(line) for line in self.radiation.lines],
            "radiation_name": self.radiation.name,
        }
        with atomic_path(path) as part, part.open("wb") as file:
            np.savez_compressed(file, about=json.dumps(about), **self._arrays)  # type: ignore[arg-type]  # names are not `allow_pickle`

    @classmethod
    def load(cls, path: Path | str) -> "PeakForest":
        """Read a forest; nothing in the file can run.

        Raises:
            ModelError: If it is no such file.
        """
        with guard(ModelError, f"{path} holds no forest"):
            arrays = read_arrays(Path(path), _MOST_BYTES)
            text = str(arrays.pop("about"))
            about = parse_strict_json(text, f"what {path} says", ModelError)
            if about["format"] != FORMAT:
                raise KeyError("format")
            start, stop, points = about["grid"]
            forest = cls(
                arrays,
                tuple(int(group) for group in about["space_groups"]),
                TwoThetaGrid(float(start), float(stop), int(points)),
                Radiation(
                    tuple((float(w), float(s)) for w, s in about["radiation"]),
                    str(about["radiation_name"]),
                ),
            )
            _check_trees(arrays, len(forest.space_groups))
            return forest


def _check_trees(arrays: dict[str, np.ndarray], n_classes: int) -> None:
    """See that every walk through a tree ends, in a leaf that votes for a class."""
    left = check_array("left", arrays["left"], "i", (None,), -1)
    nodes = len(left)
    right = check_array("right", arrays["right"], "i", (nodes,), -1)
    feature = check_array("feature", arrays["feature"], "iu", (nodes,))
    check_array("threshold", arrays["threshold"], "f", (nodes,))
    offset = check_array("offset", arrays["offset"], "i", (None,), 0, nodes)
    check_offsets("offset", offset, nodes, least=1)
    entry = check_array("entry", arrays["entry"], "i", (nodes + 1,), 0)
    classes = arrays["entry_class"]
    check_array("entry_class", classes, "iu", (None,), 0, n_classes - 1)
    check_array("entry_share", arrays["entry_share"], "f", classes.shape, 0.0, 1.0)
    check_offsets("entry", entry, len(classes))
    inside = left >= 0
    if (feature[inside] < 0).any() or (feature[inside] >= N_FEATURES).any():
        raise ValueError("a node asks for a feature that is none")
    # Children stand behind their parents, within their tree: no walk goes round.
    first = np.repeat(offset[:-1], np.diff(offset))
    own = np.arange(nodes) - first
    size = np.repeat(np.diff(offset), np.diff(offset))
    for child in (left, right):
        if (child[inside] <= own[inside]).any() or (child >= size).any():
            raise ValueError("a node leads back, or out of its tree")

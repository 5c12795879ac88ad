"""What mere recognition scores: the space group of the most similar known pattern.

Search-match is how powders were identified before anybody trained a network, and no
network is needed for it: it learns nothing about symmetry. Where it is right, a test
crystal had a look-alike among the crystals to learn from. So it is the bar for a model
(`predict_search_match` makes a row of a leaderboard) and a measure of leakage
(`benchmark.leakage`).

A pattern becomes a coarse profile: cube roots of the intensity in bins of 0.2 degrees,
smeared by a Gaussian of 1 degree, of unit length. The similarity of two patterns is the
cosine of their profiles. So crystals of one type but slightly different cells match,
and a strong line does not outvote all others. Bin, width and power were chosen on the
``dev`` parts of ``open/random`` and ``open/structure-type``.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int16, Int64

from pxrdbench.benchmark.scoring.predictions import Predictions, pack_logits
from pxrdbench.diffraction.pattern import PeakBatch, TwoThetaGrid
from pxrdbench.errors import EvaluationError
from pxrdbench.tracks.load import Part, TrackPart

# How fast a candidate loses weight with similarity. The likelihood is best near 45 on
# open/structure-type dev and near 60 on open/random dev.
SHARPNESS = 50.0
# Profiles compared at once: with 15,000 known ones 30 MB of similarities.
_BLOCK = 512


@dataclass(frozen=True)
class ProfileSettings:
    """How coarse patterns are looked at.

    Attributes:
        start: First angle 2θ [degrees].
        stop: Last angle 2θ [degrees].
        step: Width of a bin [degrees].
        smear: Standard deviation of the Gaussian [degrees].
        power: Of the intensity in a bin.
    """

    start: float = 5.0
    stop: float = 90.0
    step: float = 0.2
    smear: float = 1.0
    power: float = 1.0 / 3.0

    @property
    def bins(self) -> int:
        """Number of bins."""
        return math.ceil((self.stop - self.start) / self.step - 1e-9)

    def find_bins(
        self, two_theta: Float64[np.ndarray, " angles"]
    ) -> Int64[np.ndarray, " angles"]:
        """Number of the bin of each angle; those outside get -1."""
        number = np.floor((two_theta - self.start) / self.step).astype(np.int64)
        # The last angle of a grid belongs to the last bin.
        number[two_theta == self.stop] = self.bins - 1
        outside = (number < 0) | (number >= self.bins)
        return np.where(outside, -1, number)


def make_profiles(
    peaks: PeakBatch, settings: ProfileSettings
) -> Float32[np.ndarray, "patterns bins"]:
    """Make coarse profiles of unit length from peak lists.

    Raises:
        EvaluationError: If a pattern has no peak in the range of the profiles.
    """
    number = settings.find_bins(peaks.two_theta)
    row = np.repeat(np.arange(len(peaks)), np.diff(peaks.peak_offset))
    inside = number >= 0
    sums = np.bincount(
        row[inside] * settings.bins + number[inside],
        weights=peaks.intensity[inside],
        minlength=len(peaks) * settings.bins,
    )
    return _finish(sums.reshape(len(peaks), settings.bins), settings)


def coarsen_patterns(
    intensity: Float32[np.ndarray, "patterns points"],
    grid: TwoThetaGrid,
    settings: ProfileSettings,
) -> Float32[np.ndarray, "patterns bins"]:
    """Make coarse profiles of unit length from patterns on a grid.

    Raises:
        EvaluationError: If a pattern is empty in the range of the profiles.
    """
    number = settings.find_bins(grid.angles())
    first = np.flatnonzero(np.diff(number, prepend=-2))
    sums = np.add.reduceat(np.maximum(intensity, 0.0), first, axis=1, dtype=np.float64)
    binned = np.zeros((len(intensity), settings.bins))
    own = number[first]
    binned[:, own[own >= 0]] = sums[:, own >= 0]
    return _finish(binned, settings)


def _finish(
    binned: Float64[np.ndarray, "patterns bins"], settings: ProfileSettings
) -> Float32[np.ndarray, "patterns bins"]:
    """Take the power, smear, and scale to unit length."""
    empty = np.flatnonzero(~binned.any(axis=1))
    if len(empty):
        raise EvaluationError(
            f"pattern {empty[0]} has nothing between {settings.start} and "
            f"{settings.stop} degrees: search-match has nothing to look at"
        )
    sigma = settings.smear / settings.step
    reach = math.ceil(4.0 * sigma)
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2).astype(np.float32)
    roots = (binned / binned.max(axis=1, keepdims=True)) ** settings.power
    padded = np.pad(roots.astype(np.float32), ((0, 0), (reach, reach)))
    smeared = np.zeros(binned.shape, np.float32)
    for shift, weight in enumerate(kernel.tolist()):
        smeared += weight * padded[:, shift : shift + settings.bins]
    smeared /= np.linalg.norm(smeared, axis=1, keepdims=True)
    return smeared


class SearchMatch:
    """Known patterns, and the space groups of those that are most similar.

    It is a classifier like any other (``space_groups``, ``grid``, ``predict``), so
    `benchmark.evaluation.evaluate` takes it, for measured patterns too.

    Args:
        peaks: Peak lists of the known crystals.
        space_group: Their space groups.
        k: How many neighbours vote; 1 takes the nearest.
        settings: How coarse patterns are looked at.
        grid: Angles of the patterns that ``predict`` reads.

    Attributes:
        space_groups: Class list: the groups of the known crystals, ascending.
        grid: Angles of the patterns that ``predict`` reads.
        k: How many neighbours vote.

    Raises:
        EvaluationError: If there are no known crystals, or fewer than neighbours.
    """

    def __init__(
        self,
        peaks: PeakBatch,
        space_group: Int16[np.ndarray, " known"],
        *,
        k: int = 1,
        settings: ProfileSettings | None = None,
        grid: TwoThetaGrid | None = None,
    ) -> None:
        if not 1 <= k <= len(peaks):
            raise EvaluationError(
                f"{k} neighbours of {len(peaks)} known crystals; at least one and at "
                "most all can vote"
            )
        if len(space_group) != len(peaks):
            raise EvaluationError(
                f"{len(peaks)} peak lists, but {len(space_group)} space groups"
            )
        self.settings = settings or ProfileSettings()
        self.grid = grid or TwoThetaGrid()
        self.k = k
        # Ordered by group: the best of each group is then one pass over the row.
        self._order = np.argsort(space_group, kind="stable")
        ordered = np.asarray(space_group)[self._order]
        groups, self._first = np.unique(ordered, return_index=True)
        self._label = np.searchsorted(groups, ordered)
        self.space_groups: tuple[int, ...] = tuple(int(group) for group in groups)
        self._known = make_profiles(peaks, self.settings)[self._order]

    def __len__(self) -> int:
        return len(self._known)

    def find_nearest(
        self, profiles: Float32[np.ndarray, "patterns bins"]
    ) -> tuple[Int64[np.ndarray, " patterns"], Float32[np.ndarray, " patterns"]]:
        """Find the most similar known crystal of each profile.

        Returns:
            Its number among the known crystals as they were given, and the similarity.
        """
        rows, cosines = [], []
        for block in self._similarities(profiles):
            best = np.argmax(block, axis=1)
            rows.append(self._order[best])
            cosines.append(block[np.arange(len(block)), best])
        return np.concatenate(rows), np.concatenate(cosines)

    def score_profiles(
        self, profiles: Float32[np.ndarray, "patterns bins"]
    ) -> Float32[np.ndarray, "patterns classes"]:
        """Logits: each group by its most similar crystal, or by the votes for it.

        With several neighbours a group's votes add up; groups without a vote follow
        behind all others, in the order of their most similar crystal.
        """
        logits = []
        for block in self._similarities(profiles):
            best = np.maximum.reduceat(block, self._first, axis=1)
            scores = SHARPNESS * best
            if self.k > 1:
                scores = self._add_votes(block, scores)
            logits.append(scores)
        return np.concatenate(logits).astype(np.float32)

    def predict(
        self, intensity: Float32[np.ndarray, "batch points"]
    ) -> Float32[np.ndarray, "batch classes"]:
        """Logits of patterns on the grid."""
        return self.score_profiles(
            coarsen_patterns(intensity, self.grid, self.settings)
        )

    def _similarities(
        self, profiles: Float32[np.ndarray, "patterns bins"]
    ) -> Iterator[Float32[np.ndarray, "block known"]]:
        for start in range(0, len(profiles), _BLOCK):
            yield profiles[start : start + _BLOCK] @ self._known.T

    def _add_votes(
        self,
        block: Float32[np.ndarray, "block known"],
        scores: Float32[np.ndarray, "block classes"],
    ) -> Float32[np.ndarray, "block classes"]:
        nearest = np.argpartition(block, -self.k, axis=1)[:, -self.k :]
        weight = np.exp(SHARPNESS * np.take_along_axis(block, nearest, axis=1))
        votes = np.zeros(scores.shape, np.float64)
        rows = np.repeat(np.arange(len(block)), self.k)
        np.add.at(votes, (rows, self._label[nearest].ravel()), weight.ravel())
        # Profiles are never negative, nor are cosines: no vote is below 0 here.
        with np.errstate(divide="ignore"):
            return np.where(votes > 0.0, np.log(votes), scores - SHARPNESS)


def predict_search_match(
    track: Part,
    known: SearchMatch,
    *,
    source: str,
    restricted: bool = False,
    provenance: dict[str, Any] | None = None,
) -> Predictions:
    """Predict a part of a track by recognition alone: a row of a leaderboard.

    Args:
        track: The part; profiles come from its peak lists, or from its patterns where
            it has none.
        known: The crystals to recognise.
        source: Whose crystals those are.
        restricted: Whether those are licensed.
        provenance: More to write down.
    """
    logits = known.score_profiles(profiles_of(track, known.settings))
    counts = np.bincount(known._label, minlength=len(known.space_groups))
    return Predictions(
        ids=track.ids,
        logits=pack_logits(logits),
        space_groups=known.space_groups,
        track=track.name,
        part=track.part,
        track_version=str(track.version),
        track_digest=track.digest,
        model_name=f"search-match-{known.k}",
        class_frequencies=counts / counts.sum(),
        restricted=restricted,
        provenance={
            "known crystals": f"{len(known):,} of {source}",
            "neighbours": str(known.k),
            **(provenance or {}),
        },
    )


def profiles_of(
    track: Part, settings: ProfileSettings
) -> Float32[np.ndarray, "patterns bins"]:
    """Make the profiles of a part of a track, measured ones too."""
    if isinstance(track, TrackPart):
        return make_profiles(track.peaks, settings)
    blocks = [
        coarsen_patterns(
            track.batch(start, min(_BLOCK, len(track) - start)).intensity,
            track.grid,
            settings,
        )
        for start in range(0, len(track), _BLOCK)
    ]
    return np.concatenate(blocks)

"""What a set of predictions is worth, in plain numpy.

Every score is a function of sums over crystals (``Score``), so that the value, its
bootstrap replicates and the score of a subset come from the same few lines.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int32

# Rank of a true group that the model does not know: no k reaches it.
UNREACHED = int(np.iinfo(np.int32).max)

# Per-crystal real numbers are rounded to multiples of this, far below what float16
# logits can tell apart: their sums are then exact in float64, in whatever order a
# matrix product adds them, and two machines write the same evaluation.
_QUANTUM = 2.0**-20


@dataclass(frozen=True, eq=False)
class Score:
    """A number that depends on crystals through sums alone.

        value = finish( Σ_i terms_i )

    Attributes:
        terms: What each crystal adds to the sums.
        finish: From rows of sums to the number of each row; NaN where no crystal
            contributes.
        presence: Whether a crystal contributes at all.
        lowest: Least possible value.
        highest: Greatest possible value; may be infinite.
        recentred: Whether replicates are shifted onto the value: resampling moves
            the score on average. It makes a calibration error larger, and it loses
            rare groups, often those with low recall, from a mean over groups.
    """

    terms: Float64[np.ndarray, "crystals sums"]
    finish: Callable[[Float64[np.ndarray, "rows sums"]], Float64[np.ndarray, " rows"]]
    presence: Bool[np.ndarray, " crystals"]
    lowest: float = 0.0
    highest: float = 1.0
    recentred: bool = False

    @property
    def value(self) -> float:
        """The score of all crystals."""
        return float(self.finish(self.terms.sum(axis=0, keepdims=True))[0])


def find_ranks(
    logits: Float[np.ndarray, "crystals classes"],
    classes: Int[np.ndarray, " classes"],
    space_group: Int[np.ndarray, " crystals"],
) -> Int32[np.ndarray, " crystals"]:
    """Find at which place, from 1, the true group stands in each row.

    Equal logits count in the order of the class list, as ``argmax`` does: a model
    that says the same of every group is right no more often than its first group.

    Returns:
        The rank; ``UNREACHED`` where the class list lacks the true group.
    """
    label = find_labels(classes, space_group)
    covered = label >= 0
    own = np.take_along_axis(logits, np.maximum(label, 0)[:, None], axis=1)
    earlier = np.arange(len(classes)) < label[:, None]
    ahead = (logits > own) | ((logits == own) & earlier)
    rank = 1 + ahead.sum(axis=1)
    return np.where(covered, rank, UNREACHED).astype(np.int32)


def find_labels(
    classes: Int[np.ndarray, " classes"], space_group: Int[np.ndarray, " crystals"]
) -> Int32[np.ndarray, " crystals"]:
    """Find the position of each group in the class list; -1 where it has none."""
    position = np.full(231, -1, np.int32)
    position[classes] = np.arange(len(classes), dtype=np.int32)
    return np.asarray(position[space_group])


def log_probabilities(
    logits: Float[np.ndarray, "crystals classes"],
) -> Float64[np.ndarray, "crystals classes"]:
    """Normalise logits: log softmax along each row, in float64."""
    shifted = logits.astype(np.float64)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def mean_score(
    amount: Bool[np.ndarray, " crystals"] | Float64[np.ndarray, " crystals"],
    where: Bool[np.ndarray, " crystals"] | None = None,
    *,
    lowest: float = 0.0,
    highest: float = 1.0,
) -> Score:
    """Make the mean of an amount, over all crystals or over some."""
    presence = np.ones(len(amount), bool) if where is None else where
    amounts = np.where(presence, _quantised(amount), 0.0)
    return Score(
        np.column_stack([amounts, presence.astype(np.float64)]),
        lambda sums: _divide(sums[..., 0], sums[..., 1]),
        presence,
        lowest,
        highest,
    )


def weighted_mean_score(
    amount: Bool[np.ndarray, " crystals"], weight: Float64[np.ndarray, " crystals"]
) -> Score:
    """Make the mean over crystals that count differently.

    Weighted by one over the size of its structure type, each type counts once.
    """
    weights = _quantised(weight)
    return Score(
        np.column_stack([amount * weights, weights]),
        lambda sums: _divide(sums[..., 0], sums[..., 1]),
        weights > 0.0,
    )


def grouped_mean_score(
    amount: Bool[np.ndarray, " crystals"] | Float64[np.ndarray, " crystals"],
    group: Int[np.ndarray, " crystals"],
    where: Bool[np.ndarray, " crystals"] | None = None,
    *,
    weight: Float64[np.ndarray, " numbers"] | None = None,
) -> Score:
    """Make the mean over groups of the mean within a group.

    With space groups as groups and top-1 hits as amounts this is the macro recall,
    which scikit-learn calls balanced accuracy.

    Args:
        amount: Of each crystal.
        group: Which group a crystal belongs to, any integers from 0.
        where: Crystals that take part.
        weight: Weight of group g at position g; equal weights if None. Groups
            without crystals drop out and the other weights are scaled up.
    """
    presence = np.ones(len(amount), bool) if where is None else where
    if weight is not None:
        presence = presence & (weight[group] > 0.0)
    present, column = np.unique(group[presence], return_inverse=True)
    terms = np.zeros((len(group), 2 * len(present)))
    rows = np.flatnonzero(presence)
    terms[rows, column] = _quantised(amount)[rows]
    terms[rows, len(present) + column] = 1.0
    weights = np.ones(len(present)) if weight is None else weight[present]

    def finish(sums: Float64[np.ndarray, "rows sums"]) -> Float64[np.ndarray, " rows"]:
        hits, sizes = np.split(sums, 2, axis=-1)
        means = np.divide(hits, sizes, out=np.zeros_like(hits), where=sizes > 0.0)
        # Not a matrix product: its order of summation differs between machines.
        total = (means * weights).sum(axis=-1)
        return _divide(total, ((sizes > 0.0) * weights).sum(axis=-1))

    return Score(terms, finish, presence, recentred=True)


def macro_f1_score(
    guess: Int[np.ndarray, " crystals"], space_group: Int[np.ndarray, " crystals"]
) -> Score:
    """Make the mean F1 over all groups that occur as truth or as guess.

    F1(g) = 2 hits(g) / (crystals(g) + guesses(g))
    """
    present = np.union1d(guess, space_group)
    truth = space_group[:, None] == present
    guessed = guess[:, None] == present
    terms = np.hstack([truth & guessed, truth.astype(int) + guessed]).astype(np.float64)

    def finish(sums: Float64[np.ndarray, "rows sums"]) -> Float64[np.ndarray, " rows"]:
        hits, both = np.split(sums, 2, axis=-1)
        f1 = np.divide(2.0 * hits, both, out=np.zeros_like(hits), where=both > 0.0)
        return _divide(f1.sum(axis=-1), (both > 0.0).sum(axis=-1).astype(np.float64))

    return Score(terms, finish, np.ones(len(guess), bool), recentred=True)


def calibration_score(
    confidence: Float64[np.ndarray, " crystals"],
    correct: Bool[np.ndarray, " crystals"],
    where: Bool[np.ndarray, " crystals"] | None = None,
    *,
    n_bins: int = 15,
) -> Score:
    """Make the expected calibration error over equal bins of confidence.

        ECE = Σ_b  n_b / n · | accuracy_b - confidence_b |

    References:
        Guo, Pleiss, Sun & Weinberger (2017), Proc. ICML 70, 1321: eq. (3); 15 bins.
    """
    presence = np.ones(len(correct), bool) if where is None else where
    bins = confidence_bins(confidence, n_bins)
    rows = np.flatnonzero(presence)
    terms = np.zeros((len(correct), n_bins + 1))
    gap = correct.astype(np.float64) - _quantised(confidence)
    terms[rows, bins[rows]] = gap[rows]
    terms[rows, n_bins] = 1.0
    return Score(
        terms,
        lambda sums: _divide(np.abs(sums[..., :-1]).sum(axis=-1), sums[..., -1]),
        presence,
        recentred=True,
    )


def confidence_bins(
    confidence: Float64[np.ndarray, " crystals"], n_bins: int
) -> Int[np.ndarray, " crystals"]:
    """Find the bin of each confidence: equal widths, closed above, as in Guo 2017."""
    return np.asarray(
        np.clip(np.ceil(confidence * n_bins).astype(int) - 1, 0, n_bins - 1)
    )


def count_confusion(
    truth: Int[np.ndarray, " crystals"],
    guess: Int[np.ndarray, " crystals"],
    n_classes: int,
) -> Int[np.ndarray, "n_classes n_classes"]:
    """Count how often class i (row) was taken for class j (column)."""
    cells = np.bincount(truth * n_classes + guess, minlength=n_classes**2)
    return cells.reshape(n_classes, n_classes)


def _quantised(
    amount: Bool[np.ndarray, " crystals"] | Float64[np.ndarray, " crystals"],
) -> Float64[np.ndarray, " crystals"]:
    return np.asarray(np.rint(amount.astype(np.float64) / _QUANTUM) * _QUANTUM)


def _divide(
    total: Float64[np.ndarray, " rows"], size: Float64[np.ndarray, " rows"]
) -> Float64[np.ndarray, " rows"]:
    """Divide; NaN where the divisor is zero."""
    undefined = np.full(size.shape, np.nan)
    return np.asarray(np.divide(total, size, out=undefined, where=size > 0.0))

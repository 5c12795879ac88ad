"""How good a network is meanwhile."""

from collections.abc import Sequence

import numpy as np

from pxrdbench.learning.loading.loader import label_of


def top_k_accuracy(
    logits: np.ndarray, space_group: np.ndarray, classes: Sequence[int], k: int
) -> float:
    """Share of patterns whose space group is among the k likeliest, 0-1.

    Patterns of groups that the model does not know count as wrong.
    """
    label = label_of(space_group, classes)
    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    return float(np.mean((best == label[:, None]).any(axis=1)))

"""Accuracy by volume and by number of sites: where a model errs, and on how many.

The same bins on every track, so that pictures can be laid over each other. Number and
share right of each bin make the stacked histogram, one minus the share its error rate.

References:
    Schopmans, Reiser & Friederich (2023), Digital Discovery 2, 1414: Figs. 4 and 6.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64

from pxrdbench.benchmark.scoring import metrics
from pxrdbench.benchmark.scoring.evaluation_record import Bin
from pxrdbench.benchmark.scoring.intervals import ClusterBootstrap
from pxrdbench.tracks.load import Part
from pxrdbench.tracks.properties import load_properties

# About equal steps of the logarithm [Å³]; the paper's own test ends at 7000.
VOLUME_EDGES = (0.0, 50.0, 100.0, 200.0, 300.0, 450.0, 700.0, 1000.0, 1500.0, 2500.0,
                4000.0, 7000.0)  # fmt: skip
# First number of atoms of each bin; the paper goes to 100.
SITE_EDGES = (1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 9.0, 13.0, 17.0, 25.0, 33.0, 65.0)


def bin_by_property(
    track: Part,
    correct: Bool[np.ndarray, " crystals"],
    bootstrap: ClusterBootstrap,
) -> tuple[tuple[Bin, ...], tuple[Bin, ...]]:
    """Divide a part's crystals by volume [Å³], and by atoms in the asymmetric unit.

    Returns:
        Both divisions; empty where the track does not know the property.
    """
    known = load_properties(track.name, track.ids)
    if known is None:
        return (), ()
    return (
        bin_amounts(known.volume, VOLUME_EDGES, correct, bootstrap),
        bin_amounts(known.n_sites.astype(np.float64), SITE_EDGES, correct, bootstrap),
    )


def bin_amounts(
    amount: Float64[np.ndarray, " crystals"],
    edges: Sequence[float],
    correct: Bool[np.ndarray, " crystals"],
    bootstrap: ClusterBootstrap,
) -> tuple[Bin, ...]:
    """Divide crystals at fixed edges; bin i holds edges[i] <= amount < edges[i + 1].

    The last bin has no upper edge; its ``high`` is the greatest amount. Empty bins are
    left out.
    """
    place = np.searchsorted(edges, amount, side="right") - 1
    bins = []
    for index in np.unique(place).tolist():
        member = place == index
        estimate = bootstrap.estimate(metrics.mean_score(correct, member))
        if estimate is None:
            continue
        is_last = index + 1 == len(edges)
        bins.append(
            Bin(
                low=float(edges[index]),
                high=float(amount[member].max() if is_last else edges[index + 1]),
                crystals=int(member.sum()),
                mean=round(metrics.mean_score(amount, member).value, 6),
                top_1=estimate,
            )
        )
    return tuple(bins)

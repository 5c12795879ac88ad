"""What recognises patterns of known crystals, for comparison with what reads."""

import numpy as np

from pxrdbench.learning.loading.real_crystals import RealCrystals
from pxrdbench.learning.networks.peak_forest import PeakForest

# Patterns that are made at a time: 17 MB of float32.
_CHUNK = 512


def grow_forest(source: RealCrystals) -> PeakForest:
    """Grow a random forest on the patterns of real crystals, each seen once."""
    count = len(source.crystals)
    starts = range(0, count, _CHUNK)
    batches = (source.batch(s, min(_CHUNK, count - s)) for s in starts)
    patterns = np.concatenate([batch.intensity for batch in batches])
    return PeakForest.fit(
        patterns, source.crystals.space_group, source.grid, source.radiation
    )

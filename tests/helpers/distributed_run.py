"""What each process of test_distributed runs: a short training under torchrun."""

import sys
from pathlib import Path

from memory_source import MemorySource
from tiny_network import TINY

from pxrdbench.learning.networks import registry
from pxrdbench.learning.training.trainer import TrainConfig, fit

if __name__ == "__main__":
    registry._MODELS["tiny"] = TINY
    for patterns in map(int, sys.argv[2:]):  # and go on where it stopped
        report = fit(
            TrainConfig(
                model="tiny",
                out=Path(sys.argv[1]),
                patterns=patterns,
                batch_size=16,
                resume=True,
                threads=1,
                loader_workers=1,
            ),
            MemorySource(),
            {},
        )
        assert report.patterns_seen == patterns

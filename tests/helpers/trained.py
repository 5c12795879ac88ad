"""Short trainings and what they leave."""

import os
import signal

import torch
from memory_source import MemorySource

from pxrdbench.learning.models.checkpoint import load_checkpoint
from pxrdbench.learning.training.trainer import TrainConfig


def config(out, **options):
    return TrainConfig(
        **{
            "model": "tiny",
            "out": out,
            "patterns": 640,
            "batch_size": 32,
            "threads": 1,
            "loader_workers": 1,
            **options,
        }
    )


def weights(path):
    return load_checkpoint(path).state_dict


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


class StopAfter(MemorySource):
    """Sends this process a signal when a pattern is asked for."""

    def __init__(self, pattern, signum=signal.SIGINT):
        super().__init__()
        self.pattern, self.signum = pattern, signum

    def batch(self, start, count):
        if start <= self.pattern < start + count:
            os.kill(os.getpid(), self.signum)
        return super().batch(start, count)

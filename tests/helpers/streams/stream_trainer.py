"""A training that follows a set as `train --shards` does, and says what it read.

    python tests/helpers/streams/stream_trainer.py SET OUT LOG [--rate 2000]
        [--model peak-network --minutes 10]

A line of the log is an object: ``life`` where a process begins, ``read`` of a batch,
with its first sample and how many in a row followed it, ``begins`` with the position
that the run goes on from, before its first step, and ``ended`` with all it has learnt.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
from tiny_network import TINY

from pxrdbench.dataset.shards.rolling import RollingSet
from pxrdbench.learning.networks import registry
from pxrdbench.learning.training.run import TrainingRun
from pxrdbench.learning.training.trainer import TrainConfig, train

BATCH = 64


def config_of(place, out, model="tiny", minutes=None):
    """What is trained."""
    return TrainConfig(
        model=model,
        out=out,
        shards=place,
        minutes=minutes,
        resume=True,
        batch_size=BATCH if model == "tiny" else None,
        threads=1,
        loader_workers=1,
        held_out=64,
        track=None,
        patience=120.0,
    )


def main():
    """Train until the set ends."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("set")
    parser.add_argument("out", type=Path)
    parser.add_argument("log", type=Path)
    parser.add_argument("--rate", type=float, help="patterns a second at most")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--minutes", type=float)
    options = parser.parse_args()
    registry._MODELS["tiny"] = TINY
    log = options.log.open("a", buffering=1)
    log.write(json.dumps({"life": os.getpid()}) + "\n")
    plain_batch, plain_step = RollingSet.batch, TrainingRun._step

    def batch(self, start, count):
        made = plain_batch(self, start, count)
        first = int(made.index[0])
        if not np.array_equal(made.index, np.arange(first, first + count)):
            raise SystemExit(f"samples {made.index} are not in a row")
        log.write(json.dumps({"read": [first, count]}) + "\n")
        return made

    def step(self, given):
        if not hasattr(self, "_told"):
            self._told = time.monotonic()
            log.write(json.dumps({"begins": self.patterns_before}) + "\n")
        plain_step(self, given)
        if options.rate:
            due = (
                self._told + (self.patterns_seen - self.patterns_before) / options.rate
            )
            time.sleep(max(0.0, due - time.monotonic()))

    RollingSet.batch, TrainingRun._step = batch, step
    report = train(
        config_of(options.set, options.out, options.model, options.minutes), None
    )
    log.write(json.dumps({"ended": report.patterns_seen}) + "\n")


if __name__ == "__main__":
    main()

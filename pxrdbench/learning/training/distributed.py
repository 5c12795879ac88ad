r"""Several processes train one network: started by torchrun, one a device.

    torchrun --master-addr 127.0.0.1 --nproc-per-node 2 \
        -m pxrdbench.cli train --model resnet-50 --online …

(``--standalone`` asks for this machine's name instead, and waits for minutes where no
name server knows it.)

Each process reads its own batches: of every ``processes`` batches of the source, the
one with its number. Gradients are averaged after each step, so all hold the same
weights; the first process writes checkpoints and looks at held-out patterns.
"""

import atexit
import os
import socket
from dataclasses import dataclass

import torch
from torch import distributed, nn

from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.source import BatchSource, EndOfSource
from pxrdbench.errors import ModelError


@dataclass(frozen=True)
class Team:
    """Which of how many processes this one is.

    Attributes:
        rank: Its number, from 0.
        size: Number of processes.
        local_rank: Its number on this machine: that of its GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def device(self, device: torch.device) -> torch.device:
        """The device of this process, where there is one for each."""
        if device.type != "cuda" or self.size == 1:
            return device
        return torch.device("cuda", self.local_rank)

    def agree(self, values: list[float], device: torch.device) -> list[float]:
        """The highest of each value over all processes, so that all stop together.

        No process gets past this before all have come.
        """
        if self.size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=device)
        distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
        highest: list[float] = tensor.tolist()
        return highest

    def share_gradients(self, network: nn.Module) -> None:
        """Average the gradients over all processes, in one message."""
        if self.size == 1:
            return
        weights = [w for w in network.parameters() if w.requires_grad]
        # A process whose patterns are all of unknown groups has none this time.
        grads = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        distributed.all_reduce(flat)
        flat /= self.size
        start = 0
        for weight, grad in zip(weights, grads, strict=True):
            weight.grad = flat[start : start + grad.numel()].view_as(grad)
            start += grad.numel()


def join_team() -> Team:
    """Meet the other processes that torchrun started; alone without torchrun.

    They stay together until they end: a second meeting would find the addresses that
    the first left with torchrun, and wait for ever.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return Team()
    team = Team(
        int(os.environ["RANK"]),
        int(os.environ["WORLD_SIZE"]),
        int(os.environ.get("LOCAL_RANK", "0")),
    )
    if team.size > 1 and not distributed.is_initialized():
        if team.size == int(os.environ.get("LOCAL_WORLD_SIZE", "0")):
            _stay_on_loopback()
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(distributed.destroy_process_group)
    return team


def _stay_on_loopback() -> None:
    """Have gloo talk inside this machine, where it else looks up the machine's name."""
    for _, name in socket.if_nameindex():
        if name in ("lo", "lo0"):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


class SourceShare(BatchSource):
    """The batches of one process: every ``size``-th of another source.

    Attributes:
        source: The other source.
        team: Whose share this is.
        batch_size: Samples that stay together.
    """

    def __init__(self, source: BatchSource, team: Team, batch_size: int) -> None:
        if source.length is not None and source.length < team.size * batch_size:
            raise ModelError(
                f"{source.length} samples are too few for {team.size} processes with "
                f"batches of {batch_size}; take fewer processes or smaller batches"
            )
        self.source = source
        self.team = team
        self.batch_size = batch_size
        self.grid = source.grid
        self.radiation = source.radiation
        self.space_groups = source.space_groups
        self.block_samples = batch_size  # what stays together
        self.length = None
        if source.length is not None:  # in whole batches
            self.length = source.length // (team.size * batch_size) * batch_size

    def with_epoch(self, epoch: int) -> "SourceShare":
        """The same share of another pass, where the other source knows passes."""
        other = self.source.with_epoch(epoch)
        if other is self.source:
            return self
        return SourceShare(other, self.team, self.batch_size)

    def batch(self, start: int, count: int) -> Batch:
        """Make samples start to start + count, all of one batch.

        Raises:
            ModelError: If the range reaches into another batch.
        """
        number, offset = divmod(start, self.batch_size)
        if offset + count > self.batch_size:
            raise ModelError(
                f"samples {start} to {start + count} are of two batches of "
                f"{self.batch_size}, which lie apart"
            )
        first = (number * self.team.size + self.team.rank) * self.batch_size
        # All end with the same step: a round of batches is there whole, or is none.
        try:
            self.source.wait_for((number + 1) * self.team.size * self.batch_size)
        except EndOfSource as end:
            rounds = end.length // (self.team.size * self.batch_size)
            raise EndOfSource(rounds * self.batch_size) from None
        return self.source.batch(first + offset, count)

"""What a run of `generate` tells while it works, and in the end."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pxrdbench.dataset.shards.meter import MeterReading
from pxrdbench.factory.limits import format_size
from pxrdbench.factory.plan import ShardPlan

Limit = Literal["time", "samples", "size", "disk", "interrupted"]
Phase = Literal["starting", "running", "waiting", "stopping"]

# Rates shown are means over this time [s].
_RATE_WINDOW = 15.0


@dataclass(frozen=True)
class GenerateProgress:
    """A moment of a run, for a live line.

    Attributes:
        phase: ``starting`` (kernels and Ray), ``running``, ``waiting`` (for room in a
            rolling set, or for workers) or ``stopping`` (shards in progress are
            finished or given up).
        workers: Processes at work, one a core.
        samples: Samples in the folder, those of shards in progress and of retired
            shards included.
        samples_new: Those of this run.
        total_samples: Where the set ends; None for no end.
        samples_per_second: Of all workers, over the last seconds.
        bytes: Size of the shards, those in progress included.
        max_bytes: Size limit.
        shards: Finished shards in the folder.
        total_shards: Number of shards in the end; None for no end.
        seconds: Time worked.
        total_seconds: Time that the run has; None for no end.
        retired: Shards that a consumer has read and the run has deleted.
        is_rolling: Whether a full folder is waited for rather than an end.
        waited_seconds: Time that workers stood still for want of room.
        consumer: How the set's consumer stands, where it has one that told.
        note: What is to be said once; empty for nothing.
    """

    phase: Phase
    workers: int
    samples: int = 0
    samples_new: int = 0
    total_samples: int | None = None
    samples_per_second: float = 0.0
    bytes: int = 0
    max_bytes: int = 0
    shards: int = 0
    total_shards: int | None = None
    seconds: float = 0.0
    total_seconds: float | None = None
    retired: int = 0
    is_rolling: bool = False
    waited_seconds: float = 0.0
    consumer: MeterReading | None = None
    note: str = ""

    @property
    def waited(self) -> float:
        """Share of the time that workers stood still for want of room, 0-1."""
        return self.waited_seconds / self.seconds if self.seconds > 0.0 else 0.0

    @property
    def samples_per_second_per_core(self) -> float:
        """Mean rate of one worker."""
        return self.samples_per_second / max(self.workers, 1)

    @property
    def ends(self) -> dict[Limit, float]:
        """Seconds to each of the limits, as far as they can be foreseen."""
        ends: dict[Limit, float] = {}
        if self.total_seconds is not None:
            ends["time"] = max(self.total_seconds - self.seconds, 0.0)
        if self.samples_per_second > 0:
            rate = self.samples_per_second
            if self.total_samples is not None:
                ends["samples"] = max(self.total_samples - self.samples, 0) / rate
            bytes_per_second = rate * self.bytes / max(self.samples, 1)
            if bytes_per_second > 0 and not self.is_rolling:
                ends["size"] = max(self.max_bytes - self.bytes, 0) / bytes_per_second
        return ends

    @property
    def limit(self) -> Limit | None:
        """The limit that comes first; None while none can be foreseen."""
        return min(self.ends, key=self.ends.__getitem__, default=None)

    @property
    def seconds_left(self) -> float | None:
        """Time to the limit that comes first; None while none can be foreseen."""
        return min(self.ends.values(), default=None)


@dataclass(frozen=True)
class GenerateReport:
    """What a run did.

    Attributes:
        out: Folder or URL of the shards.
        samples: Samples in the folder, those of retired shards included.
        samples_new: Those of this run.
        shards: Shards in the folder.
        bytes: Their size.
        seconds: Time worked, without starting Ray.
        workers: Processes.
        stopped_by: ``samples`` (all are there), ``time``, ``size``, ``disk`` or
            ``interrupted``.
        explanation: What happened and what to do next, a sentence or two.
        is_short: Whether less was done than asked, by no wish of the user: the disk is
            full, the samples asked for did not fit, or no processor became free.
    """

    out: str
    samples: int
    samples_new: int
    shards: int
    bytes: int
    seconds: float
    workers: int
    stopped_by: Limit
    explanation: str
    is_short: bool = False

    @property
    def samples_per_second(self) -> float:
        """Rate of this run over all workers."""
        return self.samples_new / self.seconds if self.seconds > 0 else 0.0


OnProgress = Callable[[GenerateProgress], None]


class RateMeter:
    """Mean rate over the last seconds; over all of them in the beginning."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque([(0.0, 0)])

    def note(self, seconds: float, samples: int) -> None:
        """Take a reading.

        Args:
            seconds: Time worked.
            samples: Samples so far. They may become fewer, if a shard is given up.
        """
        self._marks.append((seconds, samples))
        while seconds - self._marks[1][0] > _RATE_WINDOW:
            self._marks.popleft()

    @property
    def rate(self) -> float:
        """Samples per second."""
        (first, before), (last, now) = self._marks[0], self._marks[-1]
        return max(now - before, 0) / (last - first) if last > first else 0.0


def explain_end(
    folder: str, plan: ShardPlan, stopped_by: Limit, *, had_workers: bool = True
) -> str:
    """Say why a run ended and what can be done."""
    if stopped_by == "time" and not had_workers:
        return (
            "The time is up and nothing was written: no processor of the Ray that was "
            "joined became free (`ray status` says who holds them); give --address of "
            "a cluster with room, or more time."
        )
    size, limit = format_size(plan.bytes), format_size(plan.max_bytes)
    shard = format_size(plan.bytes_per_sample * plan.shard_samples)
    go_on = "the same command goes on where this run stopped"
    return {
        "samples": f"All {plan.samples:,} samples are there.",
        "time": f"The time is up; {go_on}.",
        "interrupted": f"Interrupted; finished shards are kept and {go_on}.",
        "size": (
            f"The size limit is reached: {folder} holds {size} of {limit}, and the "
            f"next shard of {plan.shard_samples:,} samples needs about {shard}. Raise "
            "--max-size to go on, let a consumer make room (--rolling NAME), or train "
            "straight from the recipe (--online): it needs no disk and never ends."
        ),
        "disk": (
            f"The disk is nearly full: {folder} holds {size} of {limit}, and the next "
            f"shard needs about {shard} beside the 1 GB that is left free. Make room "
            f"or choose another --out; {go_on}."
        ),
    }[stopped_by]

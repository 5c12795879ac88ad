"""How long a run has trained, in seconds of the clock and of the processors."""

import time

from pxrdbench.learning.training.config import TrainConfig


class TrainingClock:
    """Counts the time of a run, that before a resume included.

    Attributes:
        seconds_before: Of earlier parts of the run.
        cpu_before: Processor time of them, all threads.
    """

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self.seconds_before = 0.0
        self.cpu_before = 0.0
        self._started = time.perf_counter()
        self._cpu_started = time.process_time()
        self._stopped: tuple[float, float] | None = None

    def start(self) -> None:
        """Begin to count."""
        self._started = time.perf_counter()
        self._cpu_started = time.process_time()

    def stop(self) -> None:
        """What follows is no training."""
        self._stopped = time.perf_counter(), time.process_time()

    def _now(self) -> tuple[float, float]:
        return self._stopped or (time.perf_counter(), time.process_time())

    def elapsed(self) -> float:
        """Seconds of this part of the run."""
        return max(self._now()[0] - self._started, 1e-9)

    def seconds(self) -> float:
        """Seconds of the run."""
        return self.seconds_before + self.elapsed()

    def cpu_seconds(self) -> float:
        """Processor seconds of the run, all threads."""
        return self.cpu_before + self._now()[1] - self._cpu_started

    def fraction(self, patterns_seen: int) -> float:
        """Done of the run; 0 for ever if it has no end."""
        config = self._config
        if config.patterns is not None:
            return patterns_seen / config.patterns
        if config.cpu_minutes is not None:
            return self.cpu_seconds() / (60 * config.cpu_minutes)
        if config.minutes is not None:
            return self.seconds() / (60 * config.minutes)
        return 0.0

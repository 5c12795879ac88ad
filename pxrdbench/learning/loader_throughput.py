"""How fast patterns are made and handed out, and who waits for whom."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Throughput:
    """Counts and times of a loader since it was made.

    Attributes:
        made: Patterns that the loader's threads have finished.
        given: Patterns handed to the consumer.
        skipped: Patterns left out because their shard is damaged.
        cpu_seconds: Time that threads computed while they made them [s].
        seconds: Time since the first batch was asked for [s].
        waited_seconds: Time of those that the consumer stood still for a batch [s].
    """

    made: int
    given: int
    skipped: int
    cpu_seconds: float
    seconds: float
    waited_seconds: float

    @property
    def made_per_core_second(self) -> float:
        """Patterns made for each second of computing: what one core could feed."""
        return self.made / self.cpu_seconds if self.cpu_seconds else 0.0

    @property
    def given_per_second(self) -> float:
        """Patterns that went through the consumer a second: its speed with ours."""
        return self.given / self.seconds if self.seconds else 0.0

    @property
    def consumed_per_second(self) -> float:
        """Speed that the consumer would have if it never waited."""
        busy = self.seconds - self.waited_seconds
        return self.given / busy if busy > 0.0 else 0.0

    @property
    def waited(self) -> float:
        """Share of the time that the consumer waited, 0-1."""
        return self.waited_seconds / self.seconds if self.seconds else 0.0

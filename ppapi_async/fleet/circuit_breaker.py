"""A circuit breaker for each host: one account finds out for all whether it is back. Pure."""

from __future__ import annotations

from attrs import define

__all__ = ["Breaker"]

_THRESHOLD = 3
_FIRST = 15.0


@define
class Breaker:
    """Opens after a few failures in a row of whatever accounts; then lets one probe through.

    Times are unix seconds, waits seconds.
    """

    longest: float
    """The longest that the host is left alone."""
    failures: int = 0
    """In a row."""
    until: float = 0.0
    """When the next probe may go."""
    probing: bool = False

    @property
    def is_open(self) -> bool:
        """Whether the host is left alone, but for a probe now and then."""
        return self.failures >= _THRESHOLD

    def admit(self, now: float) -> float | None:
        """Return None if a poll may go on, else when to come again."""
        if not self.is_open:
            return None
        if self.probing:
            return max(self.until, now + _FIRST)
        if now < self.until:
            return self.until
        self.probing = True
        return None

    def succeed(self) -> None:
        """Count an answer of the host."""
        self.failures, self.until, self.probing = 0, 0.0, False

    def fail(self, now: float, asked: float = 0.0) -> None:
        """Count a failure of the host; `asked` is how long it asked to be left alone."""
        self.failures += 1
        self.probing = False
        if self.is_open:
            wait = min(self.longest, _FIRST * 2.0 ** min(self.failures - _THRESHOLD, 16))
            self.until = now + max(wait, asked)

    def abandon(self) -> None:
        """Take back a probe that came to nothing."""
        self.probing = False

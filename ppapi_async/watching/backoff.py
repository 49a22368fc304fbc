"""When to poll, how long to stay away from what fails, and what of it is worth reporting. Pure.

All times are in seconds.
"""

from __future__ import annotations

import hashlib

from attrs import define, field

from ppapi_async.errors import PPAPIError

__all__ = ["LONGEST_WAIT", "Health", "after_failures", "after_success", "next_beat", "phase_of"]


LONGEST_WAIT = 900.0
"""However often polls fail, the next one is no later than this, or than the interval if longer."""


def after_success(interval: float, taken: float, chance: float) -> float:
    """Return the wait after a poll that took so long; jitter keeps many watches apart."""
    return min(interval, max(0.0, interval - taken)) * (0.9 + 0.2 * chance)


def after_failures(failures: int, interval: float, chance: float) -> float:
    """Return the wait after so many failed polls in a row: doubling, with jitter."""
    longest = max(LONGEST_WAIT, interval)
    return min(longest, interval * 2.0 ** min(failures - 1, 32)) * (0.75 + 0.25 * chance)


def phase_of(name: str, interval: float) -> float:
    """Return when in the interval a name has its turn: stable, and evenly spread over names."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64 * interval


def next_beat(now: float, interval: float, phase: float) -> float:
    """Return the first moment after `now` that has this phase of the interval."""
    beat = now - (now - phase) % interval + interval
    return beat if beat > now else beat + interval


@define
class Health:
    """Counts failures, and lets each kind of trouble be reported once until all is well again."""

    failures: int = 0
    """In a row."""
    last_error: PPAPIError | None = None
    """Of the latest trouble, also after it has passed."""
    last_success: float | None = None
    """When the last poll began that worked, in unix seconds."""
    _reported: set[type[PPAPIError]] = field(factory=set)

    def fail(self, error: PPAPIError) -> bool:
        """Count a failure; return whether it is news."""
        self.failures += 1
        # Without the frames: they would keep a poll's rows for as long as the error is kept.
        self.last_error = error.with_traceback(None)
        is_news = type(error) not in self._reported
        self._reported.add(type(error))
        return is_news

    def succeed(self, began: float) -> bool:
        """Count a success; return whether that is news."""
        is_news = self.failures > 0
        self.failures, self.last_success = 0, began
        self._reported.clear()
        return is_news

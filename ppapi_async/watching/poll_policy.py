"""When to poll, and what comes of a poll: how long to wait, what is news, when to give up. Pure.

All times are in seconds.
"""

from __future__ import annotations

import hashlib

from attrs import define, field, frozen

from ppapi_async.errors import PPAPIError, StateError
from ppapi_async.transport.retry import is_transient, wait_asked_by

__all__ = [
    "LONGEST_WAIT",
    "Failure",
    "PollPolicy",
    "after_failures",
    "after_success",
    "next_beat",
    "phase_of",
]


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


@frozen
class Failure:
    """What comes of a poll that has failed."""

    may_pass: bool
    """Whether to poll again; if not, the error will not pass by itself."""
    is_news: bool
    """Whether the consumer is to hear of it."""
    wait: float
    """How long to wait before the next poll."""


@define
class PollPolicy:
    """Counts the polls that fail, and says what follows from each.

    An error is given up on only where nothing could ever be read and a repetition would not help:
    a wrong key, a method that the site does not have. Each kind of error is news once, until a
    poll works again, which is news as well.

    Args:
        interval: from one poll to the next.
        may_pass: kinds of errors that may pass by themselves, beside those of the network.
    """

    interval: float
    may_pass: tuple[type[PPAPIError], ...] = ()
    failures: int = field(default=0, init=False)
    """In a row."""
    last_error: PPAPIError | None = field(default=None, init=False)
    """Of the latest trouble, also after it has passed."""
    last_success: float | None = field(default=None, init=False)
    """When the last poll began that worked, in unix seconds."""
    _reported: set[type[PPAPIError]] = field(factory=set, init=False)

    def renewed(self) -> PollPolicy:
        """Return one that has counted nothing yet."""
        return PollPolicy(self.interval, self.may_pass)

    def succeed(self, began: float) -> bool:
        """Count a poll that worked; return whether that is news."""
        is_news = self.failures > 0
        self.failures, self.last_success = 0, began
        self._reported.clear()
        return is_news

    def count(self, error: PPAPIError) -> bool:
        """Count a failure; return whether it is news."""
        self.failures += 1
        # Without the frames: they would keep a poll's rows for as long as the error is kept.
        self.last_error = error.with_traceback(None)
        is_news = type(error) not in self._reported
        self._reported.add(type(error))
        return is_news

    def fail(self, error: PPAPIError, chance: float, *, worked: bool) -> Failure:
        """Count a poll that failed, and return what follows.

        Args:
            error: what it came to.
            chance: of this moment, 0 to 1.
            worked: whether anything could ever be read.
        """
        is_news = self.count(error)
        is_lasting = isinstance(error, StateError) and not error.may_pass
        is_listed = isinstance(error, self.may_pass) and not is_lasting
        may_pass = worked or is_transient(error) or is_listed
        wait = after_failures(self.failures, self.interval, chance)
        return Failure(may_pass, is_news, max(wait, wait_asked_by(error)))

"""Which failures pass by themselves, and how patiently reads are repeated."""

from __future__ import annotations

from datetime import timedelta

from attrs import field, frozen

from ppapi_async._validation import Duration, duration, whole
from ppapi_async.errors import (
    PPAPIError,
    ResponseError,
    ResponseTooLargeError,
    TransportError,
)

__all__ = ["Retry", "is_transient", "wait_asked_by"]

_TRANSIENT = frozenset(
    {408, 425, 429, 500, 502, 503, 504, 507, 508, 509, 598, 599, *range(520, 531)}
)
_LONGEST_ASKED = 86_400.0


def _wait(value: Duration) -> timedelta:
    """Return how long to wait, which may be not at all."""
    if not isinstance(value, bool) and value in (0, timedelta()):
        return timedelta()
    return duration(value, "retry: delay, longest")


@frozen(kw_only=True)
class Retry:
    """How often and how patiently reads are repeated. Payouts never are.

    Args:
        attempts: requests for one call, the first included; 1 never repeats.
        delay: the first wait at most; it doubles each time, and the real wait is a random part of
            it ("full jitter").
        longest: no wait is longer. A server that asks (`Retry-After`) for more gets an error
            instead of a client that sleeps.
        budget: repeats that a session may have in hand. Each takes one, ten successes return one;
            so a site that is down is not asked several times over for long.
    """

    attempts: int = field(default=4)
    delay: timedelta = field(default=timedelta(seconds=0.5), converter=_wait)
    longest: timedelta = field(default=timedelta(seconds=30), converter=_wait)
    budget: int = field(default=20)

    def __attrs_post_init__(self) -> None:
        whole(self.attempts, "retry: attempts", "1 or more", least=1)
        whole(self.budget, "retry: budget", "0 or more", least=0)

    def wait(self, repeat: int, error: PPAPIError, chance: float) -> float | None:
        """Return the seconds to wait before repeat 1, 2, …; None where it is not worth it."""
        longest: float = self.longest.total_seconds()
        asked = error.retry_after if isinstance(error, ResponseError) else None
        if asked is not None:
            return asked if asked <= longest else None
        most: float = min(self.delay.total_seconds() * 2 ** (repeat - 1), longest)
        return most * chance


def is_transient(error: PPAPIError) -> bool:
    """Tell whether the same request may well succeed in a moment."""
    if isinstance(error, ResponseTooLargeError):
        return False
    if isinstance(error, ResponseError):  # with 200 it is a page that stands in for the API
        return error.status in _TRANSIENT or error.status == 200
    return isinstance(error, TransportError)


def wait_asked_by(error: PPAPIError) -> float:
    """Return the seconds that the server asked to be left alone; a day, if it asks for more."""
    asked = error.retry_after if isinstance(error, ResponseError) else None
    return min(asked or 0.0, _LONGEST_ASKED)

"""What the accounts of one host share: how many requests at once, how many a second, a breaker."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

from attrs import define, field

from ppapi_async.fleet.circuit_breaker import Breaker
from ppapi_async.watching.poll_slots import HostLimiter

__all__ = ["Host", "check_rate"]

_MOST_A_SECOND = 10_000


@define(eq=False)
class Host:
    """What the accounts of one host share.

    Args:
        name: as `Account.host`.
        per_host: requests to it at once.
        rate: requests to it a second, None for as many as come.
        breaker: leaves the host alone while it fails.
    """

    name: str
    per_host: int
    rate: float | None
    breaker: Breaker
    limiter: HostLimiter = field(init=False)
    slots: asyncio.Semaphore = field(init=False)
    """For windows that are read of it at once."""
    members: set[str] = field(factory=set, init=False)
    """The names of the accounts."""

    def __attrs_post_init__(self) -> None:
        pace = None if self.rate is None else _pace(self.rate)
        self.limiter = HostLimiter(self.per_host, pace)
        self.slots = asyncio.Semaphore(self.per_host)


def _pace(rate: float) -> AbstractAsyncContextManager[object]:
    """Return what lets so many requests a second pass.

    Raises:
        ImportError: aiolimiter is not installed.
    """
    try:
        from aiolimiter import AsyncLimiter  # noqa: PLC0415 - an extra
    except ImportError:
        raise ImportError("rate: needs aiolimiter; pip install 'ppapi-async[fleet]'") from None
    return AsyncLimiter(1, 1 / rate)


def check_rate(rate: float | None) -> None:
    """Refuse what is no number of requests a second.

    Raises:
        ValueError: it is too low or too high.
        TypeError: it is no number.
        ImportError: aiolimiter is not installed.
    """
    if rate is None:
        return
    if isinstance(rate, bool) or not isinstance(rate, int | float):
        raise TypeError("rate: pass requests a second as a number")
    if not 0 < rate <= _MOST_A_SECOND:
        raise ValueError(f"rate: pass more than 0 and up to {_MOST_A_SECOND} requests a second")
    _pace(rate)  # at once, where aiolimiter is missing

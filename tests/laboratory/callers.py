"""Whoever calls: every method and every iterator of the library."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias, TypeVar

from attrs import frozen

from ppapi_async import ApiError, PayoutAttempt, PayoutNotSent, Session
from tests.sites.laboratory import DAY, NOW, START

from .fault import Fault, Outcome

__all__ = ["CALLERS", "WALLET", "Caller"]

T = TypeVar("T")
Kind: TypeAlias = Literal["info", "rows", "call", "payout", "guarded payout"]
WALLET = "TXabcdefgh"
END = NOW + DAY
_TEN_DAYS = timedelta(days=10)


@frozen
class Caller:
    """One way to ask."""

    kind: Kind
    run: Callable[[Session], Awaitable[object]]
    method: str
    """The method whose requests are counted."""
    is_one_request: bool = True
    """Whether it asks for one page and no more, as long as all goes well."""

    def outcome(self, fault: Fault) -> Outcome:
        """Return what has to come of it under a fault."""
        if self.kind == "guarded payout":
            if fault.info is None:
                return fault.payout
            return fault.info if issubclass(fault.info, ApiError) else PayoutNotSent
        outcomes: Mapping[str, Outcome] = {
            "info": fault.info,
            "rows": fault.rows,
            "call": fault.call,
            "payout": fault.payout,
        }
        return outcomes[self.kind]


async def _all(items: AsyncIterable[T]) -> list[T]:
    return [item async for item in items]


def _rows(method: str, run: Callable[[Session], Awaitable[object]], *, pages: bool) -> Caller:
    return Caller("rows", run, method, is_one_request=not pages)


CALLERS: Mapping[str, Caller] = {
    "get_info": Caller("info", lambda s: s.get_info(), "get_info"),
    "get_links": _rows("get_links", lambda s: s.get_links(START, END), pages=False),
    "get_exchanges": _rows("get_exchanges", lambda s: s.get_exchanges(START, END), pages=False),
    "get_payouts": _rows("get_payouts", lambda s: s.get_payouts(START, END), pages=False),
    "find_payout": _rows(
        "get_payouts",
        lambda s: s.find_payout(PayoutAttempt(11, WALLET, datetime.fromtimestamp(NOW, UTC))),
        pages=True,
    ),
    "call": Caller("call", lambda s: s.call("get_exchanges", limit=500), "get_exchanges"),
    "iter_links": _rows("get_links", lambda s: _all(s.iter_links()), pages=True),
    "iter_exchanges, open": _rows(
        "get_exchanges", lambda s: _all(s.iter_exchanges(newest_first=True)), pages=True
    ),
    "iter_exchanges, at once": _rows(
        "get_exchanges",
        lambda s: _all(
            s.iter_exchanges(START, END, window=_TEN_DAYS, concurrency=3, status_history=True)
        ),
        pages=True,
    ),
    "iter_payouts, windows": _rows(
        "get_payouts", lambda s: _all(s.iter_payouts(START, window=_TEN_DAYS).windows()), pages=True
    ),
    "add_payout": Caller("payout", lambda s: s.add_payout(11, WALLET), "add_payout"),
    "add_payout, guarded": Caller(
        "guarded payout", lambda s: s.add_payout(11, WALLET, at_least=100), "add_payout"
    ),
}

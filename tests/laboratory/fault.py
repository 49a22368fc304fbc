"""A kind of trouble, and what has to come of it."""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from ppapi_async import (
    ApiError,
    PayoutOutcomeUnknown,
    PPAPIError,
    RateLimitedError,
    ServerError,
    TransportError,
)
from tests.sites.laboratory import Line, Spoil
from tests.sites.raw import Reply

__all__ = ["Fault", "Outcome", "fault"]

Outcome: TypeAlias = type[PPAPIError] | None
"""What a call comes to; None is the right value."""


@frozen(kw_only=True)
class Fault:
    """One kind of trouble, and the outcome of each kind of call under it.

    `info` and `call` are like `rows` unless given.
    """

    spoil: Spoil | None = None
    line: Line = Line.OPEN
    on_bytes: Reply | None = None
    """Answers the first bytes of a TLS connection."""
    rows: Outcome
    """Of methods and streams that list rows."""
    info: Outcome
    """Of get_info."""
    call: Outcome
    """Of a raw call."""
    payout: Outcome
    passes: bool
    """Whether it may be over in a moment, so that reads are repeated and watches go on."""
    asked: int
    """Requests of a call that is not narrowed."""
    wait: float = 0.0
    """Seconds that the site asks to be left alone."""
    in_rows: bool = False
    """Whether it is about single rows: a watch goes on with the others, and reports these."""


def _as_payout(outcome: Outcome) -> Outcome:
    """Return what a request for a payout comes to where a read comes to this."""
    if outcome is None or issubclass(outcome, ApiError):
        return outcome
    return PayoutOutcomeUnknown


_PASSING = (TransportError, ServerError, RateLimitedError)
_SAME = PPAPIError  # stands for "as `rows`"


def fault(
    spoil: Spoil | None,
    rows: Outcome,
    *,
    info: Outcome = _SAME,
    call: Outcome = _SAME,
    payout: Outcome = _SAME,
    passes: bool | None = None,
    asked: int | None = None,
    line: Line = Line.OPEN,
    on_bytes: Reply | None = None,
    wait: float = 0.0,
    in_rows: bool = False,
) -> Fault:
    """Describe a fault; what is not told follows from `rows`."""
    if passes is None:
        passes = rows is not None and issubclass(rows, _PASSING)
    if asked is None:
        asked = 4 if passes else 1
    return Fault(
        spoil=spoil, line=line, on_bytes=on_bytes, rows=rows,
        info=rows if info is _SAME else info,
        call=rows if call is _SAME else call,
        payout=_as_payout(rows) if payout is _SAME else payout,
        passes=passes, asked=asked, wait=wait, in_rows=in_rows,
    )  # fmt: skip

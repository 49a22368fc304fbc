"""One caller under one fault: what comes of it, and what may never come of it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Iterator

from attrs import define

from ppapi_async import (
    Dialect,
    PayoutOutcomeUnknown,
    PPAPIError,
    RequestFacts,
    SearchOutcome,
    Session,
    TransportError,
)
from tests import virtual_time
from tests.leaks import assert_absent, assert_survives_pickling, assert_unlogged
from tests.sites.laboratory import KEY, LOGIN, Lab, Line

from .callers import CALLERS, Caller
from .fault import Fault, Outcome, fault

__all__ = ["Finding", "Records", "check_error", "examine", "opened", "truth"]

_MOST_REQUESTS = 40
"""Of one call, whatever happens."""
SETTLE = 0.0002
"""Seconds that bytes on loopback may take on a busy machine."""
_LONGEST = 3_600.0
"""Seconds that one call may take, whatever happens."""


class Records(logging.Handler):
    """Keeps all that is logged, by whomever, at DEBUG."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keep what is logged meanwhile, and find no key in it."""
        root = logging.getLogger()
        level = root.level
        root.addHandler(self)
        root.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            root.setLevel(level)
            root.removeHandler(self)
        for secret in (KEY, LOGIN):
            assert_unlogged(secret, self.records)


@define
class Finding:
    """What came of a call."""

    result: object
    """The value, or the error that was raised."""
    asked: int
    """Requests of its method that arrived."""
    seconds: float

    @property
    def kind(self) -> Outcome:
        """What it is."""
        return type(self.result) if isinstance(self.result, PPAPIError) else None

    @property
    def shown(self) -> str:
        """The cell of the table."""
        return f"{'value' if self.kind is None else self.kind.__name__} x{self.asked}"


@contextlib.asynccontextmanager
async def opened(
    trouble: Fault, dialect: Dialect, facts: list[RequestFacts]
) -> AsyncIterator[tuple[Lab, Session]]:
    """Open a site under the fault, and a session with it."""
    async with Lab(dialect=dialect, on_bytes=trouble.on_bytes) as lab:
        lab.spoil = trouble.spoil
        await lab.set_line(trouble.line)
        async with contextlib.AsyncExitStack() as stack:
            lent = await stack.enter_async_context(lab.lend())
            account = lab.account(tls=trouble.on_bytes is not None)
            hooks = virtual_time.hooks()
            session = Session(account, http=lent, hooks=hooks, on_request=facts.append)
            yield lab, await stack.enter_async_context(session)


@functools.cache
def truth(name: str, dialect: Dialect) -> object:
    """Return what a caller gets where nothing is wrong."""

    async def ask() -> object:
        async with opened(fault(None, None), dialect, []) as (_, session):
            return await CALLERS[name].run(session)

    return virtual_time.run(ask())


def examine(trouble: Fault, name: str, dialect: Dialect) -> Finding:
    """Let a caller ask under a fault, see that nothing is amiss, and that it passes with the fault.

    Raises:
        AssertionError: a key shows, a second payout arrived, something hangs or stays behind, or
            the session does not recover.
    """
    again = "get_links" if name.startswith("add_payout") else name
    expected = truth(again, dialect)
    records, facts = Records(), list[RequestFacts]()

    async def ask() -> Finding:
        async with opened(trouble, dialect, facts) as (lab, session):
            finding = await _find(lab, session, CALLERS[name])
            await _check_payouts(lab, session, finding)
            if trouble.on_bytes is None:
                await _check_recovery(lab, session, again, expected)
            await asyncio.sleep(1)  # the site has accepted whom it was about to accept
            assert asyncio.all_tasks() - lab.flows == {asyncio.current_task()}
        return finding

    with records.kept():
        finding = virtual_time.run(ask(), settle=SETTLE)
    assert_absent(KEY, *facts)
    if isinstance(finding.result, PPAPIError):
        check_error(finding.result)
    else:
        assert_absent(KEY, finding.result)
    return finding


def check_error(error: PPAPIError, account: str = "site") -> None:
    """Check that an error shows no secret, names the account once, and can be pickled.

    And that it says what to do, where a connection failed.
    """
    assert_absent((KEY, LOGIN), error)
    assert_survives_pickling(error)
    assert error.account == account
    assert str(error).startswith(f"{account}: ")
    assert f"{account}: " not in error.message
    if isinstance(error, TransportError):
        assert "; " in error.message


async def _outcome(call: Awaitable[object]) -> object:
    try:
        return await call
    except PPAPIError as error:
        return error


async def _find(lab: Lab, session: Session, caller: Caller) -> Finding:
    if caller.kind == "payout":
        await _find_place(lab, session)
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(_LONGEST):
        result = await _outcome(caller.run(session))
    asked = lab.count(caller.method)
    assert asked <= _MOST_REQUESTS, "it asks without end"
    return Finding(result, asked, loop.time() - began)


async def _find_place(lab: Lab, session: Session) -> None:
    """Let the session find the API before the fault: else the read before a payout meets it."""
    spoil, line = lab.spoil, lab.line
    if lab.on_bytes is not None:
        return
    lab.spoil = None
    await lab.set_line(Line.OPEN)
    await session.get_info()
    lab.spoil = spoil
    await lab.set_line(line)


async def _check_payouts(lab: Lab, session: Session, finding: Finding) -> None:
    """Check that one payout at the most was requested, and that what became of it can be found."""
    booked = len(lab.books.payouts) - lab.payouts
    assert booked <= lab.count("add_payout") <= 1, "it may have been paid twice"
    if isinstance(finding.result, PayoutOutcomeUnknown):
        lab.spoil = None
        await lab.set_line(Line.OPEN)
        search = await session.find_payout(finding.result)
        booked = len(lab.books.payouts) - lab.payouts  # one that waited in the kernel is booked now
        assert booked <= lab.count("add_payout") <= 1, "it may have been paid twice"
        assert search.outcome is (SearchOutcome.FOUND if booked else SearchOutcome.ABSENT)


async def _check_recovery(lab: Lab, session: Session, name: str, expected: object) -> None:
    """Check that the next calls get the truth: nothing is left over of what was spoiled."""
    lab.spoil = None
    await lab.set_line(Line.OPEN)
    await asyncio.sleep(2)  # whatever was under way has come
    for _ in range(2):
        assert await CALLERS[name].run(session) == expected

"""The table of outcomes: every method and every iterator under every fault.

What has to come of each is beside the fault, in `tests/laboratory`.
"""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from collections.abc import Sequence

import pytest

from ppapi_async import (
    Dialect,
    Exchange,
    Hooks,
    PPAPIError,
    RequestFacts,
    ResponseError,
    ResponseTooLargeError,
    Retry,
    TransportError,
)
from ppapi_async.sandbox import Fault, SentAnswer
from tests import virtual_time
from tests.conftest import IS_THOROUGH
from tests.laboratory.callers import CALLERS
from tests.laboratory.catalogue import FAULTS, FIRSTS, KINDS, OUTCOMES
from tests.laboratory.examination import SETTLE, check_error, examine, opened, truth
from tests.laboratory.public import public_fault
from tests.laboratory.watching import Event, Listener, examine_fleet, examine_watches
from tests.sites.laboratory import DAY, NOW, Lab, Line, Spoil
from tests.sites.raw import End, Reply, Seen, http_bytes

WATCHED = {**(FAULTS if IS_THOROUGH else KINDS)}
del WATCHED["unknown keys"]  # which are a change, and delivered
HIDING = ("no data", "data {}", "data []", "items []", "items {}")
"""Those that say truthfully, as it seems, that there is nothing."""
LASTING = [name for name, trouble in WATCHED.items() if trouble.on_bytes is None]
"""Those that can come and go."""


def _some(names: Sequence[str], first: int) -> list[str]:
    """Return those of each outcome, and of the others a tenth."""
    others = [name for name in names if name not in OUTCOMES]
    chosen = {*OUTCOMES, *(others if IS_THOROUGH else others[first::10])}
    return [name for name in names if name in chosen]


BEGINNING = _some([name for name in WATCHED if name not in HIDING], 0)
LATER = _some(LASTING, 5)
IN_FLEETS = [name for name in LASTING if IS_THOROUGH or name in FIRSTS]
DIALECTS = list(Dialect) if IS_THOROUGH else [Dialect.DELEGATING]
ALIKE = {"get_exchanges", "get_payouts", "iter_links"}
"""Those that go the way of another caller."""


def _callers(fault: str) -> list[str]:
    """Return who calls under a fault: all under two of each outcome, under the others a few.

    One who reads rows, and of the others a third under each of three faults.
    """
    if IS_THOROUGH:
        return list(CALLERS)
    callers = [name for name in CALLERS if name not in ALIKE]
    if fault in OUTCOMES:
        return callers
    number = list(FAULTS).index(fault)
    reading = [name for name in callers if CALLERS[name].kind == "rows"]
    others = [name for name in callers if name not in reading]
    return [reading[number // 3 % len(reading)], *others[number % 3 :: 3]]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", FAULTS)
def test_every_call_under_every_fault(name: str, dialect: Dialect) -> None:
    """Each comes to what the table says, in time, with few requests; nothing leaks or stays.

    Promises 1, 3, 4 and 5: no second payout, no key, an error of the one tree, and the truth as
    soon as the fault is over.
    """
    trouble = FAULTS[name]
    for caller in _callers(name):
        how = CALLERS[caller]
        finding = examine(trouble, caller, dialect)
        assert finding.kind is how.outcome(trouble), f"{caller}: {finding.shown}"
        if caller == "get_info" and trouble.info is not None:
            # aiohttp sends a GET once more where its connection ends without an answer.
            assert trouble.asked <= finding.asked <= 2 * trouble.asked, finding.shown
        if caller == "call":  # once, at each place that may be the API's
            assert finding.asked <= (1 if trouble.passes else trouble.asked)


APART = {Fault.HUGE, Fault.GZIP_BOMB, Fault.SLOW, Fault.FILTER_IGNORED, Fault.CP1251}
"""Faults of the sandbox that have no row in the table: what comes of them depends on the rows, on
sizes or on time. Tests of their own have them."""


def test_every_fault_of_the_sandbox_is_in_the_table() -> None:
    """What is offered to users for their tests is tried on the library itself."""
    tried = {public_fault(trouble.spoil) for trouble in FAULTS.values()}
    assert tried - {None} == {*Fault} - APART


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", BEGINNING)
def test_watches_begin_under_every_fault(name: str, dialect: Dialect) -> None:
    """Promise 7: what will not pass is raised at once, all else is waited for and told of."""
    examine_watches(WATCHED[name], dialect, later=False)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", LATER)
def test_watches_live_through_every_fault(name: str, dialect: Dialect) -> None:
    """Promise 7: whatever comes later, a watch goes on, and tells what it missed, once."""
    examine_watches(WATCHED[name], dialect, later=True)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", IN_FLEETS)
def test_fleets_live_through_every_fault(name: str, dialect: Dialect) -> None:
    """Promise 7: one account's trouble is never another's, and is told as it is."""
    examine_fleet(WATCHED[name], dialect)


# --- more than a table has room for

ONCE = Retry(attempts=1)


def _cut_at(count: int, *, packed: bool, framed: bool) -> Spoil:
    """Send so many bytes of the body as if they were all; unframed, the connection ends them."""

    def spoil(_: Seen, answer: SentAnswer) -> Reply:
        headers = {"Content-Encoding": "gzip"} if packed else {}
        whole = gzip.compress(answer.body, mtime=0) if packed else answer.body
        cut = http_bytes(SentAnswer(200, headers, whole[:count]))
        if not framed:
            cut = cut.replace(b"Content-Length:", b"X-Length:")
        return Reply(cut, End.KEEP if framed else End.CLOSE)

    return spoil


@pytest.mark.parametrize("framed", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_no_cut_of_a_body_passes_for_the_whole(packed: bool, framed: bool) -> None:
    """Cut at every byte, gzipped or not, with a length that agrees or none: an error, no rows."""

    async def cut_everywhere() -> None:
        async with Lab() as lab, lab.session(retry=ONCE) as session:
            since = max(click.created for click in lab.books.clicks)
            whole = await session.get_links(since)
            assert whole
            outcomes: list[object] = []
            while not outcomes or outcomes[-1] != whole:
                lab.spoil = _cut_at(len(outcomes), packed=packed, framed=framed)
                try:
                    outcomes.append(await session.get_links(since))
                except PPAPIError as error:
                    outcomes.append(type(error))
        assert len(outcomes) > 200
        # Nothing at all is no compressed body, but an empty one.
        assert set(outcomes[1:-1]) == {TransportError if packed else ResponseError}

    virtual_time.run(cut_everywhere(), settle=SETTLE)


@pytest.mark.parametrize("is_lent", [False, True])
@pytest.mark.parametrize("caller", CALLERS)
def test_closing_a_session_ends_every_call(caller: str, is_lent: bool) -> None:
    """What is under way when the session is closed ends with an error of ours.

    At once; on a lent connector, which stays open, when its connection ends. aiohttp sends a GET
    once more then, which fails on an assertion.
    """

    async def close() -> tuple[object, float]:
        async with Lab() as lab, lab.lend() as lent:
            session = lab.session(http=lent) if is_lent else lab.session()
            async with session:
                if CALLERS[caller].kind == "payout":
                    await session.get_info()  # else it is the read before it that hangs
                lab.spoil = FAULTS["hangs"].spoil
                call = asyncio.ensure_future(CALLERS[caller].run(session))
                await asyncio.sleep(5)
            if is_lent:
                lab.hang_up()
            await asyncio.wait([call])
            return call.exception(), asyncio.get_running_loop().time()

    error, seconds = virtual_time.run(close(), settle=SETTLE)
    assert type(error) is CALLERS[caller].outcome(FAULTS["closed"])
    assert isinstance(error, PPAPIError)
    check_error(error, account="127.0.0.1")
    assert seconds < 10


@pytest.mark.parametrize("caller", CALLERS)
def test_a_site_that_accepts_slowly_is_waited_for(caller: str) -> None:
    """Requests wait in the kernel until the site takes them, and are not sent again meanwhile."""
    expected = truth(caller, Dialect.DELEGATING)

    async def ask(seconds: float) -> tuple[object, int]:
        async with Lab() as lab, lab.session() as session:
            await lab.set_line(Line.NOT_ACCEPTED)
            call = asyncio.ensure_future(CALLERS[caller].run(session))
            await asyncio.sleep(seconds)
            await lab.set_line(Line.OPEN)
            return await call, lab.count(CALLERS[caller].method)

    result, asked = virtual_time.run(ask(20), settle=SETTLE)
    assert result == expected
    assert (expected, asked) == virtual_time.run(ask(0), settle=SETTLE)


FEW = {"refused": 4, "301 to another port": 1, "empty": 4, "429": 4, "hangs": 7, "500": 10}


@pytest.mark.parametrize("name", FEW)
def test_promise_2_few_requests_find_out_what_is_wrong(name: str) -> None:
    """Only what a range may be too long for is asked for in parts, thrice, then as often as usual.

    A time-out is long, so it is not had twice for one range.
    """
    facts: list[RequestFacts] = []

    async def ask() -> None:
        async with opened(FAULTS[name], Dialect.DELEGATING, facts) as (_, session):
            with pytest.raises(PPAPIError):
                await session.get_links(NOW - 90 * DAY, NOW)

    virtual_time.run(ask(), settle=SETTLE)
    assert len(facts) == FEW[name]


def test_a_bomb_takes_no_memory() -> None:
    """Promise 6: of 256 MB that come as a quarter of one, no more than the limit is unpacked."""

    async def ask() -> int:
        async with Lab() as lab, lab.session(largest_answer=1024 * 1024, retry=ONCE) as session:
            await session.get_info()
            lab.spoil = FAULTS["a gzip bomb of 256 MB"].spoil
            tracemalloc.start()
            try:
                for call in (session.get_info, session.get_links):
                    with pytest.raises(ResponseTooLargeError):
                        await call()
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    assert virtual_time.run(ask(), settle=SETTLE) < 5 * 1024 * 1024


JUMPS = (3_600.0, -3_600.0, 1.5 * DAY, -1.5 * DAY)


@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize("whose", ["ours", "the site's"])
def test_watches_survive_a_jump_of_a_clock(whose: str, jump: float) -> None:
    """Whichever clock is set, and back again: all that happens is delivered, each once.

    What is dated far back, because the site's clock was, is found within a day; what is dated
    further ahead than a wrong zone explains is delivered once it no longer is.
    """
    shifts = dict.fromkeys(("ours", "the site's"), 0.0)

    async def live() -> None:
        hooks = Hooks(clock=lambda: virtual_time.now() + shifts["ours"], sleep=asyncio.sleep)
        async with Lab() as lab, lab.session(hooks=hooks) as session:
            listener = Listener(None)
            listener.listen(session.watch_exchanges(interval=900))
            await asyncio.sleep(1_000)
            happened = []
            for shift in (0.0, jump, jump, 0.0, 0.0):
                shifts[whose] = shift
                for _ in range(5):
                    event = Event.at(lab, shifts["the site's"])
                    happened.append(event.ids["exchanges"])
                    await asyncio.sleep(700)
            await asyncio.sleep(2_000 if abs(jump) < DAY else DAY + 2_000)
            listener.check_going(recovered=False)
            heard = [
                one.record.id for one in listener.delivered if isinstance(one.record, Exchange)
            ]
            assert sorted(heard) == happened
            listener.task.cancel()
            await asyncio.wait([listener.task])

    virtual_time.run(live(), settle=SETTLE)

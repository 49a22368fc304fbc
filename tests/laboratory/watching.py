"""Watches and fleets under a fault that is there from the beginning, or comes later and passes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Coroutine, Mapping, Sequence
from typing import TypeVar

from attrs import define, field, frozen

from ppapi_async import (
    AccountFailed,
    AccountRecovered,
    Change,
    Dialect,
    Fleet,
    FleetEvent,
    Info,
    PPAPIError,
    RequestFacts,
    RequestTimeoutError,
    RowsUnreadable,
    Session,
)
from ppapi_async.sandbox.records import BookedPayout
from ppapi_async.watching.resources import Record
from tests import virtual_time
from tests.leaks import assert_absent
from tests.sites.laboratory import KEY, START, Lab, Line

from .callers import WALLET
from .examination import SETTLE, Records, check_error, opened
from .fault import Fault, Outcome, fault

__all__ = ["Event", "Listener", "examine_fleet", "examine_watches"]

T = TypeVar("T")
_INTERVAL = 120.0
_TROUBLE = 600.0
"""Seconds that a fault lasts."""
_LONG_TROUBLE = 1_800.0
"""The same, where a site hangs and time has to run out again and again."""
_RECOVERY = 1_000.0
"""Seconds in which a watch polls again, however long it has failed: 900, and a slow poll."""
_MOST_REQUESTS = 160
"""While the trouble lasts: four polls of four methods, each of them repeated and narrowed."""


@frozen
class Event:
    """What happened at a site: an order, a click, a payout, and so another balance."""

    ids: Mapping[str, int]

    @classmethod
    def at(cls, lab: Lab, shift: float = 0.0) -> Event:
        """Let it happen now, by a clock that may be wrong."""
        now, books = int(virtual_time.now() + shift), lab.books
        order, _ = books.traffic.order(books.orders.next_id, now, now)
        click = books.traffic.click(books.clicks.next_id, now)
        books.orders.put(order)
        books.clicks.put(click)
        books.partner.balance = f"{books.payouts.next_id}22.01"
        payout = books.request_payout(11, WALLET, now)
        assert isinstance(payout, BookedPayout)
        return cls({"exchanges": order.id, "links": click.id, "payouts": payout.id})

    def check(
        self, delivered: Mapping[str, Sequence[Change[Record]]], *, with_older: bool = False
    ) -> None:
        """Check that each part of it was delivered, once, and nothing else.

        Unless `with_older`: rows that could not be read at first are delivered once they can be.
        """
        for source, changes in delivered.items():
            if source == "info":
                assert [change.fields for change in changes] == [("balance", "items")], changes
                continue
            ids = [_id_of(change.record) for change in changes]
            if with_older:
                assert len(set(ids)) == len(ids), source
                assert max(filter(None, ids)) == self.ids[source]
            else:
                assert ids == [self.ids[source]], source


def _id_of(record: Record) -> int | None:
    return None if isinstance(record, Info) else record.id


@define(eq=False)
class Listener:
    """Whoever listens to one watch."""

    outcome: Outcome
    """What its requests come to under the fault."""
    in_rows: bool = False
    """Whether the fault is about single rows."""
    delivered: list[Change[Record]] = field(factory=list)
    errors: list[PPAPIError | None] = field(factory=list)
    task: asyncio.Task[None] = field(init=False)

    def listen(self, changes: AsyncIterable[Change[Record]]) -> None:
        """Listen from now on."""
        self.task = asyncio.create_task(self._listen(changes))

    async def _listen(self, changes: AsyncIterable[Change[Record]]) -> None:
        async for change in changes:
            self.delivered.append(change)

    def check_ended(self) -> None:
        """Check that the watch has raised what was to be expected."""
        error = self.task.exception() if self.task.done() else None
        assert type(error) is self.outcome, f"ended with {error!r}"
        assert isinstance(error, PPAPIError)
        check_error(error)

    def check_going(self, *, recovered: bool) -> None:
        """Check that the watch goes on, and that `on_error` was called as it should be."""
        if self.task.done():
            self.task.result()
        assert not self.task.done()
        if self.in_rows and self.outcome is not None:
            self._check_reported()
            return
        delivered = [None if error is None else type(error) for error in self.errors]
        expected: list[Outcome] = [] if self.outcome is None else [self.outcome]
        expected += [None] * (recovered and self.outcome is not None)
        assert delivered == expected, self.errors
        for error in filter(None, self.errors):
            check_error(error)

    def _check_reported(self) -> None:
        """Check that rows that cannot be read were reported, each of them once."""
        errors = list(filter(None, self.errors))
        assert len(errors) == len(self.errors)
        assert {type(error) for error in errors} == {self.outcome}
        assert len({str(error) for error in errors}) == len(errors)
        for error in errors:
            check_error(error)


def _watch(session: Session, trouble: Fault) -> dict[str, Listener]:
    info, links, exchanges, payouts = (
        Listener(outcome, in_rows)
        for outcome, in_rows in ((trouble.info, False), *[(trouble.rows, trouble.in_rows)] * 3)
    )
    info.listen(session.watch_info(interval=_INTERVAL, on_error=info.errors.append))
    links.listen(session.watch_links(interval=_INTERVAL, on_error=links.errors.append))
    exchanges.listen(session.watch_exchanges(interval=_INTERVAL, on_error=exchanges.errors.append))
    payouts.listen(session.watch_payouts(interval=_INTERVAL, on_error=payouts.errors.append))
    return {"info": info, "links": links, "exchanges": exchanges, "payouts": payouts}


async def _strike(lab: Lab, trouble: Fault) -> None:
    """Let the fault last for a while, with an event in the middle of it."""
    lab.struck, lab.spoil = 0, trouble.spoil
    await lab.set_line(trouble.line)
    hangs = RequestTimeoutError in (trouble.info, trouble.rows)
    await asyncio.sleep(_LONG_TROUBLE if hangs else _TROUBLE)
    assert lab.struck < _MOST_REQUESTS, "asks without end"
    lab.spoil = None
    await lab.set_line(Line.OPEN)


def _run(main: Coroutine[object, object, T]) -> T:
    records = Records()
    with records.kept():
        return virtual_time.run(main, settle=SETTLE)


def examine_watches(trouble: Fault, dialect: Dialect, *, later: bool) -> None:
    """Let all watches of an account live through a fault.

    Raises:
        AssertionError: one ended that should go on or goes on in vain, forgot or repeated
            something, did not tell of the trouble, or a key shows.
    """
    facts: list[RequestFacts] = []

    async def live() -> None:
        beginning = fault(None, None) if later else trouble
        async with opened(beginning, dialect, facts) as (lab, session):
            listeners = _watch(session, trouble)
            if later:
                await asyncio.sleep(1.5 * _INTERVAL)
            await _live_through(trouble, lab, listeners, later=later)
            tasks = [listener.task for listener in listeners.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    _run(live())
    assert_absent(KEY, *facts)


async def _live_through(
    trouble: Fault, lab: Lab, listeners: dict[str, Listener], *, later: bool
) -> None:
    striking = asyncio.create_task(_strike(lab, trouble))
    await asyncio.sleep(_INTERVAL / 2)
    event = Event.at(lab) if later else None
    await striking
    for name, listener in list(listeners.items()):
        if later or trouble.passes or listener.in_rows or listener.outcome is None:
            listener.check_going(recovered=False)
        else:
            listener.check_ended()
            del listeners[name]
    if trouble.on_bytes is not None:
        return  # a site that does not speak TLS does not learn it
    await asyncio.sleep(_RECOVERY + trouble.wait)
    if event is None:
        event = Event.at(lab)
        await asyncio.sleep(2 * _INTERVAL)
    for listener in listeners.values():
        listener.check_going(recovered=True)
    delivered = {name: listener.delivered for name, listener in listeners.items()}
    event.check(delivered, with_older=trouble.in_rows and not later)


def examine_fleet(trouble: Fault, dialect: Dialect) -> None:
    """Let a fleet of two live through a fault of one's site.

    Raises:
        AssertionError: the other was not polled in time, something was forgotten or repeated, the
            trouble was not told of as it should be, or a key shows.
    """
    facts: list[RequestFacts] = []
    _run(_fleet(trouble, dialect, facts))
    assert_absent(KEY, *facts)


async def _fleet(trouble: Fault, dialect: Dialect, facts: list[RequestFacts]) -> None:
    heard: list[FleetEvent] = []
    async with Lab(dialect=dialect) as lab, Lab(dialect=dialect) as other, lab.lend() as lent:
        fleet = Fleet(
            [lab.account(), other.account("other", host="127.0.0.1")],
            interval=_INTERVAL,
            http=lent,
            hooks=virtual_time.hooks(),
            on_request=facts.append,
        )
        async with fleet:
            listening = asyncio.create_task(_hear(fleet, heard))
            await asyncio.sleep(1.5 * _INTERVAL)
            striking = asyncio.create_task(_strike(lab, trouble))
            await asyncio.sleep(0.5 * _INTERVAL)
            events = {"site": Event.at(lab), "other": Event.at(other)}
            await asyncio.sleep(2 * _INTERVAL)
            events["other"].check(_told(heard, "other"))  # however bad it is at its neighbour's
            await _ask_all(fleet, trouble)
            await striking
            await asyncio.sleep(_RECOVERY + trouble.wait)
            listening.cancel()
            await asyncio.wait([listening])
    for name, event in events.items():
        event.check(_told(heard, name))
    _check_notices(trouble, heard)


async def _hear(fleet: Fleet, heard: list[FleetEvent]) -> None:
    async for event in fleet.events():
        heard += [event]  # at once: a comprehension would keep them


def _told(heard: Sequence[FleetEvent], name: str) -> Mapping[str, Sequence[Change[Record]]]:
    delivered: dict[str, list[Change[Record]]] = {
        name: [] for name in ("info", "links", "exchanges", "payouts")
    }
    for event in heard:
        if isinstance(event, Change) and event.account == name:
            delivered[_SOURCES[type(event.record).__name__]].append(event)
    return delivered


_SOURCES = {"Info": "info", "Link": "links", "Exchange": "exchanges", "Payout": "payouts"}


async def _ask_all(fleet: Fleet, trouble: Fault) -> None:
    """Check that what is asked of all of them gets the others' answers, and the one's error."""
    infos = await fleet.get_info()
    assert isinstance(infos["other"], Info)
    assert _kind(infos["site"]) is trouble.info, infos
    rows = [(name, _kind(row)) async for name, row in fleet.iter_exchanges(START, START + 9**9)]
    assert {kind for name, kind in rows if name == "other"} == {None}
    kinds = {kind for name, kind in rows if name == "site"}
    assert kinds <= ({None, trouble.rows} if trouble.in_rows else {trouble.rows}), kinds


def _kind(thing: object) -> Outcome:
    if not isinstance(thing, PPAPIError):
        return None
    check_error(thing)
    return type(thing)


def _check_notices(trouble: Fault, heard: Sequence[FleetEvent]) -> None:
    """Check that each kind of trouble was told of once, then that it has passed."""
    notices = [event for event in heard if not isinstance(event, Change)]
    kinds = {kind for kind in (trouble.info, trouble.rows) if kind is not None}
    failed = [one for one in notices if isinstance(one, AccountFailed | RowsUnreadable)]
    assert {type(notice.error) for notice in failed} == kinds
    for notice in failed:
        check_error(notice.error)
    passed = {type(notice.error) for notice in failed if isinstance(notice, AccountFailed)}
    if passed:
        assert [type(notice) for notice in notices[len(failed) :]] == [AccountRecovered]
    assert {notice.account for notice in notices} <= {"site"}

"""Polls the accounts of a fleet, each in its turn, and keeps what they have to deliver.

A poll is a task of its own, only while it lasts. What it has to deliver waits in the outbox, one
thing at a time for each poll, and the poll waits with it. So a slow consumer slows the polls and
nothing piles up, and an account that has much to deliver does not keep the others from delivering.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import heapq
import logging
from collections.abc import Callable, Collection, Coroutine, Iterator
from typing import Protocol, TypeAlias

from attrs import define, field

from ppapi_async.errors import (
    DecodeError,
    IncompleteError,
    MethodNotSupportedError,
    PPAPIError,
    ResponseError,
    ResponseTooLargeError,
    TransportError,
)
from ppapi_async.fleet.host import Host
from ppapi_async.fleet.member import Member, unforeseen
from ppapi_async.fleet.status import (
    AccountEvent,
    AccountFailed,
    AccountRecovered,
    AccountSuspended,
    ShardsGained,
    ShardsLost,
)
from ppapi_async.transport.closing import wait_until_done
from ppapi_async.transport.fairness import in_turns
from ppapi_async.transport.hooks import Hooks
from ppapi_async.transport.retry import wait_asked_by
from ppapi_async.watching.changes import Change
from ppapi_async.watching.delivery import Delivery, Poller
from ppapi_async.watching.poll_policy import LONGEST_WAIT, next_beat
from ppapi_async.watching.resources import Record

__all__ = ["FleetEvent", "Notice", "Scheduler"]

_Item: TypeAlias = "Delivery[Record] | Notice | BaseException"
"""Something to deliver, or what has gone wrong with the schedule."""
FleetEvent: TypeAlias = Change[Record] | AccountEvent
"""What the events of a fleet are."""
_log = logging.getLogger("ppapi_async")
_POLLS_OF_TURN = 50  # begun before others may run
_LONGEST_SLEEP = 30.0  # then the clock is looked at again: somebody may have set it


class _LeavingError(Exception):
    """The fleet is being left: a poll ends where it has something to deliver."""


@define(eq=False)
class Notice:
    """Something to deliver about an account, or about which accounts are polled here."""

    change: AccountFailed | AccountRecovered | AccountSuspended | ShardsGained | ShardsLost
    """Named as in `Delivery`, which waits in the same outbox."""
    acknowledged: asyncio.Event = field(factory=asyncio.Event)


class Allocation(Protocol):
    """Says which accounts are polled here, where workers share them."""

    def may_poll(self, name: str) -> bool:
        """Tell whether an account may be polled at this moment."""

    def planned(self, name: str, due: float) -> None:
        """Note when an account is polled next."""


@define(eq=False)
class Scheduler:
    """Runs the polls of a fleet's members from `start` to `stop`."""

    members: dict[str, Member]
    interval: float
    hooks: Hooks
    make_poller: Callable[[Member, str], Poller[Record]]
    first_now: bool = False
    """Whether the first poll of an account is at once, not at its next turn."""
    allocation: Allocation | None = None
    """None: all accounts are polled here."""
    resources: tuple[str, ...] = ()
    _outbox: asyncio.Queue[_Item] = field(factory=asyncio.Queue)
    _in_hand: Delivery[Record] | Notice | None = None
    """What the consumer has in hand."""
    _schedule: list[tuple[float, int, Member]] = field(factory=list)
    _tickets: int = 0
    _woken: asyncio.Event = field(factory=asyncio.Event)
    _looked: float = 0.0
    _running: asyncio.Task[None] | None = None
    _polls: set[asyncio.Task[float | None]] = field(factory=set)
    _saves: set[asyncio.Task[None]] = field(factory=set)
    _leaving: bool = False
    _hurried: bool = False
    """Whether whoever leaves has no time, which may be known before the polls are asked to end."""

    # Life

    @property
    def running(self) -> bool:
        """Whether accounts are being polled."""
        return self._running is not None

    def start(self, resources: tuple[str, ...]) -> None:
        """Begin to poll the members for these resources."""
        self.resources, self._leaving, self._looked = resources, False, self._now()
        self._hurried = False
        self._in_hand = None
        self._outbox, self._schedule = asyncio.Queue(), []
        self._running = asyncio.create_task(self._run())
        self._running.add_done_callback(self._check)
        for member in self.members.values():
            self.plan_first(member)

    async def next_item(self) -> Delivery[Record] | Notice:
        """Return the next thing to deliver, which then has to be acknowledged."""
        item = await self._outbox.get()
        if isinstance(item, BaseException):
            raise item
        self._in_hand = item
        return item

    async def acknowledge(self, item: Delivery[Record] | Notice) -> None:
        """Have its poll go on; what was delivered is saved before.

        The save is a task of its own: leaving the events does not break it off. A store that fails
        is trouble of this account alone.
        """
        if isinstance(item, Notice):
            item.acknowledged.set()
        else:
            saving = asyncio.create_task(item.acknowledge())
            self._saves.add(saving)
            saving.add_done_callback(self._saves.discard)
            await asyncio.wait([saving])
            error = None if saving.cancelled() else saving.exception()
            member = self.members.get(item.change.account)
            if error is not None and member is not None:
                item.fail(unforeseen(member.session.account, error))
        self._in_hand = None

    async def stop(self, drain: float) -> None:
        """Let requests under way end, as long as that takes no more than `drain` seconds.

        Cancelled, or hurried, it breaks them off. What has to be set is set before it waits: a
        cancellation may come again at every wait.
        """
        running, self._running = self._running, None
        if running is None:
            return
        self._leaving = True
        running.cancel()
        self._turn_away()
        tasks = {running, *self._polls, *self._saves}
        if self._hurried:
            self.hurry()
        try:
            await asyncio.wait(tasks, timeout=drain)
        finally:
            for task in tasks:
                task.cancel()
            await wait_until_done(tasks)

    def hurry(self) -> None:
        """Break off the requests that a stop lets end, now or when it comes to them."""
        self._hurried = True
        if self._leaving:
            for task in self._polls:
                task.cancel()

    def _turn_away(self) -> None:
        """End the polls whose news nobody will hear; from a store, they are delivered next time."""
        items = [self._in_hand]
        while not self._outbox.empty():
            item = self._outbox.get_nowait()
            items.append(None if isinstance(item, BaseException) else item)
        for one in items:
            if one is not None:
                one.acknowledged.set()

    # The schedule

    def _now(self) -> float:
        return self.hooks.clock()

    def plan_first(self, member: Member) -> None:
        """Plan the first poll of a member."""
        self.plan(member, self._now() if self.first_now else None)

    def plan(self, member: Member, due: float | None = None) -> None:
        """Plan the next poll of a member: at its next turn unless `due` is given."""
        member.due = None
        if not self.running or member.paused or member.suspended or member.elsewhere:
            return
        if member.task is not None:
            return
        if due is None:
            due = next_beat(self._now(), self.interval, member.phase)
        self._tickets += 1
        member.due, member.ticket = due, self._tickets
        heapq.heappush(self._schedule, (due, member.ticket, member))
        self._woken.set()

    # Accounts that workers share

    def take(self, member: Member, due: float | None) -> None:
        """Poll a member here from now on.

        Args:
            member: which.
            due: when it is due, in unix seconds; None: nobody has polled it yet.
        """
        member.elsewhere = False
        now = self._now()
        if due is None:
            due = now if self.first_now else next_beat(now, self.interval, member.phase)
        if due > now + max(LONGEST_WAIT, self.interval):  # the other's clock was wrong
            due = next_beat(now, self.interval, member.phase)
        if member.task is not None:  # what was broken off has not ended yet
            member.regained = due
        else:
            self.plan(member, due)

    async def hand_over(self, members: Collection[Member], patience: float) -> None:
        """Poll members here no more, and wait until polls under way have ended and saved.

        Those that take longer than `patience` seconds are broken off.
        """
        for member in members:
            self._leave_alone(member)
        deadline = self._now() + patience
        while tasks := {member.task for member in members if member.task is not None}:
            await asyncio.wait(tasks, timeout=max(0.0, deadline - self._now()))
            if self._now() >= deadline:
                break
        self.lose(members)
        await wait_until_done(filter(None, [member.task for member in members]))

    def lose(self, members: Collection[Member]) -> None:
        """Break off what is under way for members, and deliver nothing more of them."""
        for member in members:
            self._leave_alone(member)
            member.forget()
            if member.task is not None:
                member.task.cancel()
        names, kept = {member.name for member in members}, []
        while not self._outbox.empty():
            item = self._outbox.get_nowait()
            if isinstance(item, BaseException) or item.change.account not in names:
                kept.append(item)
        for item in kept:
            self._outbox.put_nowait(item)

    def _note_next(self, member: Member, due: float | None) -> None:
        """Let others know when an account is due that has just been polled."""
        if self.allocation is not None:
            turn = next_beat(self._now(), self.interval, member.phase)
            self.allocation.planned(member.name, turn if due is None else due)

    def _leave_alone(self, member: Member) -> None:
        member.elsewhere, member.due, member.ticket, member.regained = True, None, 0, None

    def announce(self, change: ShardsGained | ShardsLost) -> None:
        """Deliver that accounts are polled here, or no more."""
        if self.running:
            self._outbox.put_nowait(Notice(change))

    def fail(self, error: BaseException) -> None:
        """Raise an error where the events are iterated."""
        self._outbox.put_nowait(error)

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            self._realign()
            async for member in in_turns(self._due(), _POLLS_OF_TURN):
                self._begin(member)
            wait = _LONGEST_SLEEP
            if self._schedule:
                wait = min(wait, max(0.0, self._schedule[0][0] - self._now()))
            await self._sleep(wait)

    def _due(self) -> Iterator[Member]:
        """Take the members whose turn has come off the schedule."""
        while self._schedule and self._schedule[0][0] <= self._now():
            due, ticket, member = heapq.heappop(self._schedule)
            if ticket == member.ticket and due == member.due:
                yield member

    def _realign(self) -> None:
        """Plan anew where somebody has set the clock back: all that is due lies far ahead."""
        now = self._now()
        if now < self._looked - 1.0:
            self._schedule.clear()
            for member in self.members.values():
                self.plan(member)
        self._looked = now

    async def _sleep(self, seconds: float) -> None:
        """Sleep until then, or until something new is planned."""
        sleeper = asyncio.ensure_future(self.hooks.sleep(seconds))
        waker = asyncio.create_task(self._woken.wait())
        try:
            await asyncio.wait((sleeper, waker), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            waker.cancel()
            await asyncio.gather(sleeper, waker, return_exceptions=True)

    # A poll

    def _begin(self, member: Member) -> None:
        member.due = None
        if self.allocation is not None and not self.allocation.may_poll(member.name):
            return  # it is about to be lost
        again = member.host.breaker.admit(self._now())
        poll = self._poll(member) if again is None else self._put_off(member, again)
        self._begin_task(member, poll)

    def _begin_task(self, member: Member, poll: Coroutine[object, object, float | None]) -> None:
        member.task = asyncio.create_task(poll)
        self._polls.add(member.task)
        member.task.add_done_callback(functools.partial(self._end, member))

    def _end(self, member: Member, task: asyncio.Task[float | None]) -> None:
        self._polls.discard(task)
        member.task = None
        error = None if task.cancelled() else task.exception()
        regained, member.regained = member.regained, None
        if not task.cancelled() and task.exception() is None:
            self._note_next(member, task.result())
        if self._leaving or self.members.get(member.name) is not member:
            return
        if regained is not None:
            self.plan(member, regained)
        if regained is not None or task.cancelled():
            return
        if error is None:
            self.plan(member, task.result())
        elif isinstance(error, Exception):  # others end the loop itself
            trouble = unforeseen(member.session.account, error)
            self._begin_task(member, self._fail(member, trouble, may_pass=True))

    def _check(self, task: asyncio.Task[None]) -> None:
        """Hand an exception of the schedule's own, of no account, to the consumer."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._outbox.put_nowait(error)

    async def _poll(self, member: Member) -> float | None:
        """Poll an account; return when the next poll is due, None for its usual turn."""
        if member.predecessor is not None:
            await asyncio.wait([member.predecessor])
            member.predecessor = None
        began, settled, member.put_off = self._now(), False, 0
        member.polls += 1
        try:
            error = await self._poll_resources(member)
            self._judge_host(member.host, error)
            settled = True
        finally:
            if not settled:
                member.host.breaker.abandon()
        if error is not None:
            return await self._fail(member, error)
        has_any = not member.unsupported.issuperset(self.resources)  # else nothing was asked
        if has_any and member.policy.succeed(began):
            _log.info("%s: works again", member.name)
            await self._offer(Notice(AccountRecovered(member.name)))
        return None

    async def _poll_resources(self, member: Member) -> PPAPIError | None:
        """Poll what is asked for; return the first error."""
        first: PPAPIError | None = None
        for resource in self.resources:
            if resource in member.unsupported:
                continue
            poller = member.pollers.get(resource)
            if poller is None:
                poller = member.pollers[resource] = self.make_poller(member, resource)
            try:
                async with contextlib.aclosing(poller.poll()) as deliveries:
                    async for delivery in deliveries:
                        await self._offer(delivery)
            except MethodNotSupportedError as error:
                if poller.worked:
                    return error
                await self._give_up(member, resource, error)
            except (DecodeError, IncompleteError) as error:
                # Of this resource alone: the others are polled all the same.
                first = first or error.with_traceback(None)
            except PPAPIError as error:
                return first or error
        return first

    async def _give_up(self, member: Member, resource: str, error: MethodNotSupportedError) -> None:
        """Poll a resource no more that the site never had; the account neither, if it has none."""
        member.unsupported.add(resource)
        if member.unsupported.issuperset(self.resources):
            member.suspended = True
            member.begins_to_fail(self._now())
            member.polls_failed += 1
            member.policy.count(error)
        _log.warning("%s; it is polled no more", error)
        await self._offer(Notice(AccountSuspended(member.name, error)))

    async def _offer(self, item: Delivery[Record] | Notice) -> None:
        """Wait until the consumer has taken it and asked for the next."""
        if not self._leaving:
            self._outbox.put_nowait(item)
            await item.acknowledged.wait()
        if self._leaving:
            raise _LeavingError

    # What comes of it

    def _judge_host(self, host: Host, error: PPAPIError | None) -> None:
        is_of_host = isinstance(error, TransportError | ResponseError)
        if error is not None and is_of_host and not isinstance(error, ResponseTooLargeError):
            # Other accounts of the host will fare no better.
            host.breaker.fail(self._now(), wait_asked_by(error))
            return
        was_open = host.breaker.is_open
        host.breaker.succeed()
        if was_open:
            for name in host.members & self.members.keys():
                self.plan(self.members[name])

    async def _fail(
        self, member: Member, error: PPAPIError, *, may_pass: bool = False
    ) -> float | None:
        member.begins_to_fail(self._now())
        member.polls_failed += 1
        failure = member.policy.fail(error, self.hooks.chance(), worked=member.worked or may_pass)
        if not failure.may_pass:
            member.suspended = True
            _log.warning("%s; the account is polled no more", error)
            await self._offer(Notice(AccountSuspended(member.name, error)))
            return None
        due = self._now() + failure.wait
        if failure.is_news:
            _log.warning("%s; polling on", error)
            await self._offer(Notice(AccountFailed(member.name, error)))
        return due

    async def _put_off(self, member: Member, until: float) -> float:
        """Do not poll an account whose host does not answer others."""
        member.put_off += 1
        if member.put_off > 1 and member.policy.failures == 0:  # not if the probe was its own
            text = "the host does not answer other accounts; it is asked again later"
            error = TransportError(text, account=member.name, sent=False)
            member.begins_to_fail(self._now())
            member.policy.count(error)
            _log.warning("%s", error)
            await self._offer(Notice(AccountFailed(member.name, error)))
        return until

"""Many accounts at once."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Iterable
from types import TracebackType
from typing import Literal, Self, TypeAlias, TypeVar, get_args, overload

import aiohttp

from ppapi_async._validation import (
    Duration,
    Instant,
    accounts_of,
    check_callback,
    check_flag,
    check_one_of,
    duration,
    instant,
    seconds_of,
    whole,
)
from ppapi_async.account import Account
from ppapi_async.errors import PPAPIError, TransportError
from ppapi_async.fleet.events import Events
from ppapi_async.fleet.host import check_rate
from ppapi_async.fleet.member import Member
from ppapi_async.fleet.merged import Merged
from ppapi_async.fleet.per_account import (
    Checkpoints,
    OnUnreadableOf,
    Starts,
    checkpoints_of,
    starts_of,
)
from ppapi_async.fleet.roster import Roster
from ppapi_async.fleet.scheduler import FleetEvent, Scheduler
from ppapi_async.fleet.shared_polling import SharedPolling
from ppapi_async.fleet.sharing import group_of
from ppapi_async.fleet.status import AccountEvent, AccountStatus, WorkerStatus, are_healthy
from ppapi_async.models import Exchange, Info, Link, Payout, Row
from ppapi_async.session import Session, connection_of
from ppapi_async.storage import PostgresState, State
from ppapi_async.storage.paths import StateOrPath, state_of
from ppapi_async.streaming.iteration import Iteration
from ppapi_async.streaming.stream import Stream
from ppapi_async.transport.closing import UnderWay, wait_until_done
from ppapi_async.transport.connection import check_limits, check_options
from ppapi_async.transport.hooks import Hooks, RequestFacts
from ppapi_async.transport.retry import Retry
from ppapi_async.watching.changes import Change
from ppapi_async.watching.delivery import Poller, in_use
from ppapi_async.watching.info_poller import InfoPoller
from ppapi_async.watching.poll_slots import PollSlot
from ppapi_async.watching.resources import INFO, Record, ResourceName, poller_of, resources_of

__all__ = ["Fleet", "FleetEvent"]

RowT = TypeVar("RowT", bound=Row)
FirstPoll: TypeAlias = Literal["turn", "now"]


class Fleet:
    """Accounts that are polled together, without one's trouble becoming another's.

    Args:
        accounts: of any number of sites; each needs a name of its own.
        interval: from one poll of an account to its next, seconds or timedelta. Each account has
            its turn at a moment of the interval that its name decides.
        first: when an account is polled first. "turn": at its next turn, so that first polls are
            spread over the interval. "now": at once, within `concurrency` and `per_host`; from then
            on in its turn.
        concurrency: accounts that are read at once.
        per_host: requests to one host at once.
        rate: requests a second to one host; needs the package aiolimiter (`ppapi-async[fleet]`).
        state: where to keep what has been delivered, so that a restart goes on there; the path of
            an SQLite file is enough.
        shared: the name of a group of workers that share the accounts, each polling its share; on
            any number of machines, with `state=PostgresState(url)`; docs/guides/several-machines.md
            says how.
        since: what happened since then is delivered first; None: only what happens from now on.
        lookback: how old a row may be and its change is still delivered; None: 3 days for clicks,
            30 for the rest.
        http: an aiohttp session whose connector is to be shared, as for `Session`.
        timeout, retry, page_size, largest_answer, hooks: as for `Session`. A poll that fails is
            made up for by the next one, so requests are repeated only once unless told otherwise.
        on_request: called with `RequestFacts` after each HTTP request, for metrics; may be
            `async def`, as for `Session`.
        drain: how long requests under way may take to end when the fleet is left, or when an
            account is handed over to another worker.

    Raises:
        ValueError: an argument is not usable, or two accounts have one name.
        ImportError: an extra is not installed that an argument needs.

    >>> async with Fleet(load_accounts("accounts.toml")) as fleet:         # doctest: +SKIP
    ...     async for event in fleet.events("exchanges", "info"):
    ...         print(event)
    """

    def __init__(
        self,
        accounts: Iterable[Account] | Account,
        *,
        interval: Duration = 60,
        first: FirstPoll = "turn",
        concurrency: int = 100,
        per_host: int = 1,
        rate: float | None = None,
        state: StateOrPath | None = None,
        shared: str | None = None,
        since: Instant = None,
        lookback: Duration | None = None,
        http: aiohttp.ClientSession | None = None,
        timeout: Duration = 60,
        retry: Retry | None = None,
        page_size: int = 500,
        largest_answer: int = 32 * 1024 * 1024,
        on_request: Callable[[RequestFacts], object] | None = None,
        drain: Duration = 10,
        hooks: Hooks | None = None,
    ) -> None:
        check_one_of(first, get_args(FirstPoll), "first")
        whole(concurrency, "concurrency", "1 or more", least=1)
        whole(per_host, "per_host", "1 or more", least=1)
        check_rate(rate)
        check_limits(page_size, largest_answer)
        check_options(http=http, retry=retry, on_request=on_request, hooks=hooks)
        timeout = seconds_of(timeout, "timeout")
        self._interval = seconds_of(interval, "interval")
        self._first: FirstPoll = first
        self._concurrency = concurrency
        self._state: State = state_of(state)
        self._shared = group_of(shared, self._state)
        self._polling_shared: SharedPolling | None = None
        self._since = instant(since, "since")
        self._lookback = None if lookback is None else duration(lookback, "lookback")
        self._drain = seconds_of(drain, "drain")
        self._hooks = hooks or Hooks()
        make_session = functools.partial(
            Session,
            timeout=timeout,
            retry=retry or Retry(attempts=2),
            page_size=page_size,
            largest_answer=largest_answer,
            on_request=on_request,
            hooks=self._hooks,
        )
        is_shared = self._shared is not None
        self._roster = Roster(self._interval, per_host, rate, http, make_session, is_shared)
        self._accounts: dict[str, Account] = {}
        self._scheduler: Scheduler | None = None
        self._events: Iteration | None = None
        """What is, or was last, iterated over."""
        self._initial_info = False  # whether these events begin with the present info of each
        self._under_way: set[UnderWay] = set()
        """The rows of many accounts that are being read."""
        self._closing: tuple[asyncio.Task[None], Scheduler] | None = None
        given, accounts = accounts_of(accounts), ()
        if given is None:
            raise TypeError("accounts: pass Account objects, such as [Account(url, key)]")
        for account in given:
            self.add(account)

    def __repr__(self) -> str:
        state = "closed" if self._scheduler is None else "open"
        return f"<Fleet of {len(self._accounts)} accounts, {state}>"

    # Life

    async def __aenter__(self) -> Self:
        if self._scheduler is not None:
            raise RuntimeError("the fleet is open already")
        await self._wait_until_closed()
        self._slots = asyncio.Semaphore(self._concurrency)
        self._scheduler = Scheduler(
            members=self._roster.members,
            interval=self._interval,
            hooks=self._hooks,
            make_poller=self._make_poller,
            first_now=self._first == "now",
        )
        is_open = False
        try:
            await self._roster.open(list(self._accounts.values()))
            is_open = True
        finally:
            if not is_open:
                await self.aclose()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop polling, let requests under way end within `drain`, close the connections.

        Loops over events end; those over rows fail, for the rows are not complete. Cancelled, it
        breaks off what is under way; however often, all is closed in the end.
        """
        scheduler, self._scheduler = self._scheduler, None
        if scheduler is not None:
            self._closing = asyncio.create_task(self._close()), scheduler
        await self._wait_until_closed()

    async def _wait_until_closed(self) -> None:
        if self._closing is not None:
            closing, scheduler = self._closing
            if closing.get_loop() is asyncio.get_running_loop():
                await wait_until_done([closing], scheduler.hurry)

    async def _close(self) -> None:
        events, self._events = self._events, None
        for reading in list(self._under_way):
            text = "the fleet was closed before all was read; read again"
            reading.stop(TransportError(text, sent=False))
        try:
            if events is not None:
                await events.aclose()
        finally:
            await self._roster.aclose()

    @property
    def _open_scheduler(self) -> Scheduler:
        if self._scheduler is None:
            raise RuntimeError("the fleet is not open; use it inside `async with Fleet(…)`")
        return self._scheduler

    # Members

    def add(self, account: Account) -> None:
        """Take an account in; if accounts are being polled, it is, too, beginning as `first` says.

        Raises:
            ValueError: there is one of this name already.
            TypeError: it is no `Account`.
        """
        if not isinstance(account, Account):
            del account  # it may be a link with the key
            raise TypeError("account: pass an Account, such as Account(url, key)")
        if account.name in self._accounts:
            raise ValueError(
                f"accounts: two are called {account.name!r}; give each a name= of its own"
            )
        if self._scheduler is not None:
            self._scheduler.plan_first(self._roster.enlist(account))
        if self._polling_shared is not None:
            self._polling_shared.sharing.add(account)
        self._accounts[account.name] = account

    def remove(self, name: str) -> None:
        """Let an account go. A poll under way is broken off; what was saved of it stays.

        Raises:
            KeyError: there is none of this name.
        """
        self._account(name)
        del self._accounts[name]
        self._roster.retire(name)
        if self._polling_shared is not None:
            self._polling_shared.sharing.remove(name)

    def pause(self, name: str) -> None:
        """Poll an account no more until `resume`. A poll under way goes on to its end.

        Raises:
            KeyError: there is none of this name.
        """
        member = self._member(name)
        member.paused = True
        self._open_scheduler.plan(member)

    def resume(self, name: str) -> None:
        """Poll a paused or suspended account again, beginning now.

        Raises:
            KeyError: there is none of this name.
        """
        member = self._member(name)
        member.paused = member.suspended = False
        member.unsupported.clear()
        self._open_scheduler.plan(member, self._hooks.clock())

    def status(self) -> dict[str, AccountStatus]:
        """Return how the fleet gets on with each account, by name."""
        now = self._hooks.clock()
        return {name: member.status(now) for name, member in self._roster.members.items()}

    def workers(self) -> tuple[WorkerStatus, ...]:
        """Return the workers that share the accounts, this one among them, oldest first.

        As they were a second ago. There are none while nobody asks this fleet for events, or where
        it is not shared.
        """
        shared = self._polling_shared
        return () if shared is None else shared.sharing.workers()

    @property
    def healthy(self) -> bool | None:
        """Whether all is well with the accounts, paused ones aside; None where that is not known.

        False: polls of some account fail, or it is suspended; `status()` says which. None: nothing
        is known to be wrong, but some account has not been read yet, or not for three intervals,
        because nobody asks for events or a long poll is under way; or the fleet is not open, or
        shared and not connected to its database.

        A readiness probe waits for True, or takes `is not False`. A liveness probe has no use for
        it: a restart mends no site.
        """
        shared = self._polling_shared
        if self._scheduler is None or (shared is not None and not shared.sharing.is_connected):
            return None
        return are_healthy(self.status().values(), self._interval)

    def session(self, name: str) -> Session:
        """Return the open session of an account, for whatever else there is to do.

        Raises:
            KeyError: there is none of this name.
        """
        return self._member(name).session

    def _account(self, name: str) -> Account:
        if not isinstance(name, str):
            raise TypeError("name: pass the name of an account as a str")
        if name not in self._accounts:
            raise KeyError(f"the fleet has no account called {name!r}")
        return self._accounts[name]

    def _member(self, name: str) -> Member:
        self._account(name)
        if name not in self._roster.members:
            raise RuntimeError("the fleet is not open; use it inside `async with Fleet(…)`")
        return self._roster.members[name]

    # Polling

    @overload
    def events(
        self, resource: Literal["links"], /, *, initial_info: Literal[False] = False
    ) -> Events[Change[Link] | AccountEvent]: ...
    @overload
    def events(
        self, resource: Literal["exchanges"], /, *, initial_info: Literal[False] = False
    ) -> Events[Change[Exchange] | AccountEvent]: ...
    @overload
    def events(
        self, resource: Literal["payouts"], /, *, initial_info: Literal[False] = False
    ) -> Events[Change[Payout] | AccountEvent]: ...
    @overload
    def events(
        self, resource: Literal["info"], /, *, initial_info: bool = False
    ) -> Events[Change[Info] | AccountEvent]: ...
    @overload
    def events(
        self, *resources: ResourceName, initial_info: bool = False
    ) -> Events[FleetEvent]: ...
    def events(self, *resources: ResourceName, initial_info: bool = False) -> Events[FleetEvent]:
        """Iterate over what the accounts have to deliver, for ever: `Change`s and how polling goes.

        In order for each account, in turns between them. A slow consumer slows the polls.

        Args:
            resources: any of "info", "links", "exchanges", "payouts"; all of them without any.
            initial_info: deliver the present info of each account first, when it could be read:
                once for each loop over the events, as in `Session.watch_info`.

        Raises:
            ValueError: there is no such resource, or `initial_info` is asked for without "info".
            TypeError: a resource is no str.
            RuntimeError: while iterating, if the events are being iterated elsewhere.
        """
        check_flag(initial_info, "initial_info")
        wanted = resources_of(resources)
        if initial_info and INFO not in wanted:
            raise ValueError("initial_info: needs the resource 'info'")
        polling = functools.partial(self._polling, wanted, initial_info, self._open_scheduler)
        return Events[FleetEvent](polling)

    @contextlib.asynccontextmanager
    async def _polling(
        self,
        resources: tuple[str, ...],
        initial_info: bool,
        scheduler: Scheduler,
        events: Iteration,
    ) -> AsyncIterator[Scheduler | None]:
        """Poll the accounts for those who iterate over the events."""
        former = self._events
        if former is not None and not former.left:
            raise RuntimeError("the events of a fleet can be iterated in one place at a time")
        if self._scheduler is not scheduler:
            yield None  # the fleet has been left
            return
        self._events = events
        if former is not None:
            await former.ended()
        self._initial_info = initial_info
        for member in self._roster.members.values():
            poller = member.pollers.get(INFO)
            if isinstance(poller, InfoPoller):
                poller.initial = initial_info
        async with in_use(self._state):
            scheduler.start(resources)
            try:
                async with self._sharing(scheduler):
                    yield scheduler
            finally:
                await scheduler.stop(self._drain)

    @contextlib.asynccontextmanager
    async def _sharing(self, scheduler: Scheduler) -> AsyncIterator[None]:
        """Have only those accounts polled that this worker owns, if the fleet is shared."""
        state, group = self._state, self._shared
        if group is None or not isinstance(state, PostgresState):
            yield
            return
        polling = SharedPolling(scheduler, state, group, list(self._accounts.values()), self._drain)
        self._polling_shared = polling
        try:
            async with polling:
                try:
                    yield
                finally:
                    polling.sharing.take_no_more()
                    await scheduler.stop(self._drain)
        finally:
            self._polling_shared = None

    def _make_poller(self, member: Member, resource: str) -> Poller[Record]:
        shared = self._polling_shared
        state = self._state if shared is None else shared.sharing.state_of(member.name)
        return poller_of(
            connection_of(member.session),
            resource,
            state,
            interval=self._interval,
            lookback=self._lookback,
            since=self._since,
            initial_info=self._initial_info,
            take_slot=functools.partial(PollSlot, member.host.slots, self._slots),
        )

    # All accounts at once

    async def get_info(self) -> dict[str, Info | PPAPIError]:
        """Return balance and methods of all accounts, or why not, by name."""
        self._open_scheduler  # noqa: B018 - raises unless the fleet is open
        slots = asyncio.Semaphore(self._concurrency)

        async def ask(member: Member) -> Info | PPAPIError:
            async with slots:
                return await member.ask(member.session.get_info())

        members = dict(self._roster.members)
        answers = await asyncio.gather(*map(ask, members.values()))
        return dict(zip(members, answers, strict=True))

    def iter_links(
        self,
        start: Starts = None,
        end: Instant = None,
        *,
        checkpoints: Checkpoints | None = None,
        on_unreadable: OnUnreadableOf | None = None,
    ) -> Merged[Link]:
        """Iterate over the clicks of all accounts as `(name, row)`; see `iter_exchanges`."""
        return self._merge(Session.iter_links, "get_links", start, end, checkpoints, on_unreadable)

    def iter_exchanges(
        self,
        start: Starts = None,
        end: Instant = None,
        *,
        status_history: bool = False,
        checkpoints: Checkpoints | None = None,
        on_unreadable: OnUnreadableOf | None = None,
    ) -> Merged[Exchange]:
        """Iterate over the exchanges of all accounts with `start <= time < end`.

        As `(name, row)`: for each account complete and oldest first, in turns between accounts. An
        account that fails ends with `(name, PPAPIError)`. `.windows()` gives `(name, window)`.

        Args:
            start: for all accounts, or a mapping from names to each one's; an account without one
                begins at the beginning.
            end: for all accounts.
            status_history: ask for `statuses` (2.7 sites with the log module).
            checkpoints: where to keep the positions, so that a later call goes on where this one
                was left: a directory, in which each account has a file of its own for each method,
                or a mapping from names to checkpoints or paths.
            on_unreadable: called with account name and row for each row that cannot be read; may be
                `async def`. Without it the account ends with a `DecodeError` that lists them.

        Raises:
            ValueError: an argument is not usable.
            StateError: while leaving, where a position could not be saved.
        """
        iterate = functools.partial(Session.iter_exchanges, status_history=status_history)
        return self._merge(iterate, "get_exchanges", start, end, checkpoints, on_unreadable)

    def iter_payouts(
        self,
        start: Starts = None,
        end: Instant = None,
        *,
        checkpoints: Checkpoints | None = None,
        on_unreadable: OnUnreadableOf | None = None,
    ) -> Merged[Payout]:
        """Iterate over the payouts of all accounts as `(name, row)`; see `iter_exchanges`."""
        iterate = Session.iter_payouts
        return self._merge(iterate, "get_payouts", start, end, checkpoints, on_unreadable)

    def _merge(
        self,
        iterate: Callable[..., Stream[RowT]],
        method: str,
        start: Starts,
        end: Instant,
        checkpoints: Checkpoints | None,
        on_unreadable: OnUnreadableOf | None,
    ) -> Merged[RowT]:
        self._open_scheduler  # noqa: B018 - raises unless the fleet is open
        starts = starts_of(start, end, self._roster.members)
        kept = checkpoints_of(checkpoints, method, self._roster.members)
        check_callback(on_unreadable, "on_unreadable")
        streams = [
            (
                member,
                iterate(
                    member.session,
                    starts.get(name),
                    end,
                    checkpoint=kept.get(name),
                    on_unreadable=on_unreadable and functools.partial(on_unreadable, name),
                ),
            )
            for name, member in self._roster.members.items()
        ]
        return Merged(streams, self._concurrency, self._under_way)

"""Keeps a copy of everything that accounts have in the user's own database."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Literal, Self, TypeAlias, cast, overload

import aiohttp
from attrs import define, field
from sqlalchemy.ext.asyncio import AsyncConnection

from ppapi_async._validation import (
    Duration,
    Instant,
    check_callback,
    check_flag,
    duration,
    instant,
    names_of,
    seconds_of,
)
from ppapi_async.account import Account
from ppapi_async.errors import (
    DecodeError,
    IncompleteError,
    MethodNotSupportedError,
    PPAPIError,
    StateError,
)
from ppapi_async.fleet.events import Events
from ppapi_async.fleet.fleet import FirstPoll
from ppapi_async.fleet.member import Member
from ppapi_async.fleet.sharing import check_group
from ppapi_async.fleet.status import AccountEvent, AccountStatus, WorkerStatus
from ppapi_async.mirror.audit import audit
from ppapi_async.mirror.database import parse_url, shown
from ppapi_async.mirror.info_reading import MirrorReader
from ppapi_async.mirror.polling import MirrorFleet
from ppapi_async.mirror.queries import Changes, changes, rewards
from ppapi_async.mirror.reading import reader_of
from ppapi_async.mirror.records import (
    AccountReport,
    Audit,
    MirrorChange,
    MirrorProgress,
    MirrorStanding,
    RewardSum,
    SyncReport,
)
from ppapi_async.mirror.standing import standings
from ppapi_async.mirror.store import Commit, MirrorStore
from ppapi_async.models import Exchange, Info, Link, Payout
from ppapi_async.storage import PostgresState
from ppapi_async.transport.callbacks import call
from ppapi_async.transport.closing import wait_until_done
from ppapi_async.transport.connection import Connection
from ppapi_async.transport.hooks import Hooks, RequestFacts
from ppapi_async.transport.retry import Retry
from ppapi_async.watching.changes import ChangeKind
from ppapi_async.watching.poll_slots import TakeSlot
from ppapi_async.watching.resources import INFO, Record, ResourceName, resources_of

__all__ = ["Mirror", "MirrorEvent"]

MirrorEvent: TypeAlias = MirrorChange[Record] | AccountEvent
"""What following delivers: changes of rows, and how polling goes."""
OnProgress: TypeAlias = Callable[[MirrorProgress], object]
_INTERVAL = 60.0
_ORDER: tuple[ResourceName, ...] = ("info", "payouts", "exchanges", "links")
"""Money first: what is asked for later may fail."""
_OF_ONE_RESOURCE = (DecodeError, IncompleteError, MethodNotSupportedError)
"""Errors that say nothing of the account's other resources."""


class Mirror:
    """An exact copy of everything that accounts have, in a database of one's own.

    What a site deletes stays, marked; nothing is ever deleted. Killed at any moment and started
    again, the database holds each row once and each change once, and goes on where it was.

    Args:
        url: of the database: "sqlite:///partner.db", or "postgresql://user@host/name".
        accounts: of any number of sites; each needs a name of its own.
        resources: what to keep; any of "links", "exchanges", "payouts", "info".
        since: where to begin; None: with the first row that a site has.
        lookback: how old a row may be and its changes are still looked for; None: 3 days for
            clicks, 30 for the rest. What is older is compared by `audit`.
        status_history: ask for the histories of exchanges as well (2.7 sites with the log module).
        first: when `follow` polls an account first: "turn", at its next turn, which is spread over
            the interval; "now", at once. As for `Fleet`.
        concurrency: accounts that are read at once.
        per_host: requests to one host at once.
        rate: requests a second to one host; needs the package aiolimiter (`ppapi-async[fleet]`).
        http, timeout, retry, page_size, largest_answer, on_request, hooks: as for `Session`.
        drain: how long requests under way may take to end when the mirror is left.
        migrate: bring a database of an older version up to date.
        wait: how long to wait for another process that is writing to the same SQLite file.
        shared: the name of a group of workers that follow the accounts together, each its share, on
            any number of machines; needs PostgreSQL. See docs/guides/several-machines.md.
        hung_after: how long nothing may be heard of such a worker until others take its accounts.

    Raises:
        ValueError: an argument is not usable, or two accounts have one name.
        ImportError: what the database needs is not installed.

    >>> async with Mirror("sqlite:///partner.db", load_accounts("accounts.toml")) as mirror:
    ...     report = await mirror.sync()                                 # doctest: +SKIP
    """

    def __init__(
        self,
        url: str,
        accounts: Iterable[Account] | Account,
        *,
        resources: Collection[ResourceName] = _ORDER,
        since: Instant = None,
        lookback: Duration | None = None,
        status_history: bool = False,
        first: FirstPoll = "turn",
        concurrency: int = 100,
        per_host: int = 1,
        rate: float | None = None,
        http: aiohttp.ClientSession | None = None,
        timeout: Duration = 60,
        retry: Retry | None = None,
        page_size: int = 500,
        largest_answer: int = 32 * 1024 * 1024,
        on_request: Callable[[RequestFacts], object] | None = None,
        drain: Duration = 10,
        migrate: bool = True,
        wait: Duration | None = None,
        shared: str | None = None,
        hung_after: Duration = 30,
        hooks: Hooks | None = None,
    ) -> None:
        if isinstance(resources, str):
            raise TypeError("resources: pass names in a tuple, as in ('exchanges', 'payouts')")
        wanted = resources_of(tuple(resources))
        self._resources = tuple(name for name in _ORDER if name in wanted)
        self._since = instant(since, "since")
        self._lookback = None if lookback is None else duration(lookback, "lookback")
        check_flag(status_history, "status_history")
        check_flag(migrate, "migrate")
        self._status_history = status_history
        self._migrate = migrate
        self._wait = 0.0 if wait is None else seconds_of(wait, "wait")
        self._hooks = hooks or Hooks()
        self._url = parse_url(url)
        url = ""  # it may hold a password
        self._concurrency = concurrency
        state: PostgresState | None = None
        if shared is not None:
            if self._url.get_backend_name() != "postgresql":
                raise ValueError("shared: needs PostgreSQL; a SQLite file is one process's")
            plain = self._url.set(drivername="postgresql")
            state = PostgresState(
                plain.render_as_string(hide_password=False),
                hung_after=seconds_of(hung_after, "hung_after"),
            )
        self._fleet = MirrorFleet(
            accounts,
            interval=_INTERVAL,
            first=first,
            state=state,
            # A fleet that has this name is another group.
            shared=None if shared is None else f"mirror {check_group(shared, longest=193)}",
            concurrency=concurrency,
            per_host=per_host,
            rate=rate,
            http=http,
            timeout=timeout,
            retry=retry or Retry(),
            page_size=page_size,
            largest_answer=largest_answer,
            on_request=on_request,
            drain=drain,
            hooks=self._hooks,
        )
        self._store: MirrorStore | None = None
        self._closing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = "closed" if self._store is None else "open"
        return f"<Mirror {shown(self._url)}, {state}>"

    # Life

    async def __aenter__(self) -> Self:
        if self._store is not None:
            raise RuntimeError("the mirror is open already")
        store = await MirrorStore.open(
            self._url, migrate=self._migrate, wait=self._wait, clock=self._hooks.clock
        )
        is_open = False
        try:
            self._fleet.attach(store, functools.partial(self._make_reader, store), self._resources)
            await self._fleet.__aenter__()
            self._store, is_open = store, True
        finally:
            if not is_open:
                await store.aclose()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop what is under way, and close the connections and the database.

        Transactions that have begun end first, or are rolled back. Cancelled, or called often, it
        closes all the same.
        """
        store, self._store = self._store, None
        if store is not None:
            self._closing = asyncio.create_task(self._close(store))
        if self._closing is not None and self._closing.get_loop() is asyncio.get_running_loop():
            await wait_until_done([self._closing])

    async def _close(self, store: MirrorStore) -> None:
        try:
            await self._fleet.aclose()
        finally:
            await store.aclose()

    @property
    def _open_store(self) -> MirrorStore:
        if self._store is None:
            raise RuntimeError("the mirror is not open; use it inside `async with Mirror(…)`")
        return self._store

    def _make_reader(
        self,
        store: MirrorStore,
        connection: Connection,
        resource: ResourceName,
        interval: float,
        take_slot: TakeSlot,
    ) -> MirrorReader:
        return reader_of(
            connection,
            store,
            resource,
            interval=interval,
            lookback=self._lookback,
            since=self._since,
            status_history=self._status_history,
            take_slot=take_slot,
        )

    def connect(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Lend a connection for queries of your own; see `ppapi_async.mirror.schema`.

        In SQLite it has the aggregate `decimal_sum`, which adds amounts exactly.

        Raises:
            RuntimeError: the mirror is not open.
            StateError: on entering, the database cannot be reached; inside, a query failed.
        """
        return self._open_store.connect()

    # Accounts

    def add(self, account: Account) -> None:
        """Take an account in.

        Raises:
            ValueError: there is one of this name already.
            TypeError: it is no `Account`.
        """
        self._fleet.add(account)

    def remove(self, name: str) -> None:
        """Let an account go. What the mirror has of it stays.

        Raises:
            KeyError: there is none of this name.
        """
        self._fleet.remove(name)

    def workers(self) -> tuple[WorkerStatus, ...]:
        """Return the workers that follow the accounts together, oldest first; none if alone."""
        return self._fleet.workers()

    def status(self) -> dict[str, AccountStatus]:
        """Return how following gets on with each account, by name."""
        return self._fleet.status()

    async def standing(self) -> dict[str, MirrorStanding]:
        """Return what the database has of each account, by name, and since when it is caught up.

        The database counts the rows: that takes it a moment for each million of them.

        Raises:
            RuntimeError: the mirror is not open.
            StateError: the database could not be read.
        """
        members = self._fleet.chosen(None)
        return await standings(self._open_store, [member.session.account for member in members])

    # Bringing it up to date

    async def sync(
        self,
        accounts: Collection[str] | None = None,
        *,
        progress: OnProgress | None = None,
    ) -> SyncReport:
        """Bring the mirror up to date: everything at first, then what is new and has changed.

        It ends when each account is caught up or has failed; one's failure is in the report, and
        the others go on. Called again, it goes on where it stopped, whatever stopped it. It may run
        beside `follow`, or be called by who loops over it: they take turns at each account.

        Args:
            accounts: the names of those to bring up to date; None: all.
            progress: called after each transaction; may be `async def`.

        Raises:
            KeyError: there is no account of a name.
            TypeError: an argument is of another kind.
            RuntimeError: the mirror is not open.
        """
        store = self._open_store
        check_callback(progress, "progress")
        slots = asyncio.Semaphore(self._concurrency)
        chosen = self._fleet.chosen(names_of(accounts, "accounts"))

        async def sync(member: Member) -> AccountReport:
            sync = _AccountSync(self._fleet, store, member, progress)
            async with slots:
                error = await member.ask(sync.run(self._resources))
            return await sync.report(error, self._hooks.clock())

        reports = await asyncio.gather(*map(sync, chosen))
        return SyncReport(accounts={one.account: one for one in reports})

    def follow(self, *, interval: Duration = 60) -> Events[MirrorEvent]:
        """Keep the mirror up to date, for ever, and deliver what changes.

        Changes are in the database before they are delivered. A change counts as delivered when
        the next event is asked for; what was not, because the process ended, is delivered first
        the next time. What `sync` finds meanwhile is delivered, too. The first time that an account
        is followed, it begins with what happens from then on; a backfill delivers nothing.

        Args:
            interval: from one reading of an account to the next, in seconds or as timedelta.

        Raises:
            ValueError: the interval is not usable.
            RuntimeError: the mirror is not open; while iterating: it is being followed elsewhere.
        """
        self._open_store  # noqa: B018 - raises unless it is open
        self._fleet.set_interval(seconds_of(interval, "interval"))
        return cast("Events[MirrorEvent]", self._fleet.events(*self._resources))

    # Asking it

    @overload
    def changes(
        self,
        resource: Literal["links"],
        /,
        *,
        since: Instant | str = None,
        accounts: Collection[str] | None = None,
    ) -> Changes[Link]: ...
    @overload
    def changes(
        self,
        resource: Literal["exchanges"],
        /,
        *,
        since: Instant | str = None,
        accounts: Collection[str] | None = None,
    ) -> Changes[Exchange]: ...
    @overload
    def changes(
        self,
        resource: Literal["payouts"],
        /,
        *,
        since: Instant | str = None,
        accounts: Collection[str] | None = None,
    ) -> Changes[Payout]: ...
    @overload
    def changes(
        self,
        resource: Literal["info"],
        /,
        *,
        since: Instant | str = None,
        accounts: Collection[str] | None = None,
    ) -> Changes[Info]: ...
    @overload
    def changes(
        self,
        *resources: ResourceName,
        since: Instant | str = None,
        accounts: Collection[str] | None = None,
    ) -> Changes[Record]: ...
    def changes(
        self,
        *resources: ResourceName,
        since: Instant | str = None,
        accounts: Collection[str] | None = None,
    ) -> Changes[Link] | Changes[Exchange] | Changes[Payout] | Changes[Info] | Changes[Record]:
        """Iterate over the changes that the mirror has seen, in order, up to the present.

        What the first reading of an account finds is no change; see `first_seen` of its rows.

        Args:
            resources: any of "info", "links", "exchanges", "payouts"; all of them without any.
            since: changes seen from this instant on, or after the one with this `cursor`.
            accounts: the names of those whose changes are wanted; None: all.

        Raises:
            ValueError: an argument is not usable.
            TypeError: an argument is of another kind.
            RuntimeError: the mirror is not open.
            StateError: while iterating, the database could not be read.
        """
        return changes(self._open_store, *resources, since=since, accounts=accounts)

    async def rewards(
        self,
        by: Sequence[Literal["day", "account"]] = ("day", "account"),
        *,
        start: Instant = None,
        end: Instant = None,
        accounts: Collection[str] | None = None,
    ) -> list[RewardSum]:
        """Add up rewards, exactly: by day, by account, by both, or all in one.

        Exchanges that are gone do not count. A day is one of UTC, by the exchange's time.

        Raises:
            ValueError: an argument is not usable.
            TypeError: an argument is of another kind.
            RuntimeError: the mirror is not open.
            StateError: the database could not be read.
        """
        return await rewards(self._open_store, by, start=start, end=end, accounts=accounts)

    async def audit(
        self,
        start: Instant = None,
        end: Instant = None,
        *,
        accounts: Collection[str] | None = None,
    ) -> Audit:
        """Ask the sites again for `[start, end)`, and compare row by row.

        It may run while the mirror is followed: what is on its way is not called a difference.

        Args:
            start: None: from the beginning.
            end: None: up to the present.
            accounts: the names of those to compare; None: all.

        Raises:
            ValueError: an argument is not usable.
            KeyError: there is no account of a name.
            RuntimeError: the mirror is not open.
            StateError: the database could not be read.
        """
        store = self._open_store
        members = self._fleet.chosen(names_of(accounts, "accounts"))
        return await audit(
            store,
            {member.name: member.session for member in members},
            [name for name in self._resources if name != INFO],
            start=instant(start, "start"),
            end=instant(end, "end"),
            concurrency=self._concurrency,
            interval=self._fleet.followed_every(),
            clock=self._hooks.clock,
        )


@define(eq=False)
class _AccountSync:
    """Brings one account up to date, and counts."""

    fleet: MirrorFleet
    store: MirrorStore
    member: Member
    progress: OnProgress | None
    rows: int = 0
    written: int = 0
    kinds: Counter[ChangeKind] = field(factory=Counter)
    new: int = 0
    requests: int = 0
    unsupported: list[ResourceName] = field(factory=list)

    async def run(self, resources: Sequence[ResourceName]) -> PPAPIError | None:
        """Bring all resources up to date; return the first error."""
        first: PPAPIError | None = None
        for resource in resources:
            reader = self.fleet.reader(self.member, resource)
            try:
                await self._read(reader)
            except PPAPIError as error:
                if isinstance(error, MethodNotSupportedError) and not reader.worked:
                    self.unsupported.append(resource)
                    if len(self.unsupported) < len(resources):
                        continue
                first = first or error
                if not isinstance(error, _OF_ONE_RESOURCE):
                    break
        return first

    async def _read(self, reader: MirrorReader) -> None:
        before = reader.requests
        try:
            async with contextlib.aclosing(reader.read(anew=True)) as commits:
                async for commit in commits:
                    self._count(commit)
                    if self.progress is not None:
                        await call(self.progress, self._progress(reader, before))
        finally:
            self.requests += reader.requests - before

    def _count(self, commit: Commit) -> None:
        self.rows += commit.read
        self.written += commit.written
        self.new += commit.new
        self.kinds.update(change.kind for change in commit.changes)

    def _progress(self, reader: MirrorReader, before: int) -> MirrorProgress:
        return MirrorProgress(
            account=self.member.name,
            resource=reader.resource,
            rows=self.rows,
            written=self.written,
            requests=self.requests + reader.requests - before,
            read_to=reader.read_to,
            fraction=reader.fraction,
        )

    async def report(self, error: PPAPIError | None, now: float) -> AccountReport:
        """Return what it came to, and note in the database if the account is caught up.

        Args:
            error: why not.
            now: the present, in unix seconds.
        """
        at, behind, unreadable = datetime.fromtimestamp(now, UTC), None, 0
        try:
            account = self.member.session.account
            if error is None:
                standing = await self.store.caught_up(account, at)
            else:
                standing = await self.store.standing(account)
            last, unreadable = standing.last_synced, standing.unreadable
            behind = None if last is None else max(timedelta(), at - last)
        except StateError as trouble:
            error = error or trouble
        return AccountReport(
            account=self.member.name,
            rows=self.rows,
            new=self.new,
            changed=self.kinds[ChangeKind.CHANGED],
            gone=self.kinds[ChangeKind.GONE],
            returned=self.kinds[ChangeKind.RETURNED],
            unreadable=unreadable,
            requests=self.requests,
            error=error,
            behind=behind,
            unsupported=tuple(self.unsupported),
        )

"""Accounts shared out between the workers of a group, each polled by one of them at a time.

A worker is a `Sharing` that is open. It is told which accounts it has, and tells its owner which of
them are its own to poll: `take`, `hand_over`, `lose` (see `ShardOwner`). It knows nothing of polls.

    async with Sharing(PostgresState(url), "group", owner, accounts) as sharing:
        ...                                    # the owner is called from tasks of the sharing
        sharing.state_of(name)                 # where to keep what is known of an account
        sharing.plan(name, due)                # so that another owner knows when it is due
        sharing.is_mine(name)                  # asked before each poll

Accounts fall into shards by their host, so that a host has one worker. A worker owns a shard by a
session advisory lock in PostgreSQL, on the very connection on which it saves. So a shard has one
owner, a dead process has none, and a worker that has lost its connection cannot write: its
`state_of` refuses, and so does the server. What is left to do here:

- Each second (`beat`) a worker says that it is there, looks who else is, works out fair shares
  (`shares`), gives away what is another's and takes what is its own and free.
- The server ends a session of which it has not heard for `hung_after`. The worker must have let go
  before that: by its own clock, counted from when it sent the last statement that was answered
  (`_LEASE`). A timer of the event loop sees to it, before anything else goes on in a process that
  stood still; `is_mine` looks at the clock itself.
- A connection that breaks is noticed at once, between two statements too. All is lost then; the
  worker connects again, as another among others.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import socket
import uuid
from collections.abc import Collection, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from attrs import define, field, frozen

from ppapi_async.account import Account
from ppapi_async.errors import StateError
from ppapi_async.fleet.held_state import HeldState
from ppapi_async.fleet.shares import fair_shares
from ppapi_async.fleet.status import WorkerStatus
from ppapi_async.storage.postgres import PostgresState
from ppapi_async.storage.stores import State, check
from ppapi_async.storage.worker_table import SHARDS, Known, Registration, WorkerTable
from ppapi_async.transport.closing import wait_until_done

if TYPE_CHECKING:
    from ppapi_async.storage.postgres_session import PostgresSession

__all__ = ["ShardOwner", "Sharing", "check_group", "group_of", "shard_of"]

_LEASE = 0.8
"""Of `hung_after`: the rest is for polls to be broken off before the server frees the shards."""
_LONGEST_BEAT = 1.0
_BEATS = 5  # in `hung_after`, at least
_NOTED_WITHIN = 0.1
"""Seconds until others can know when an account is due: so many plans are written together."""
_LONGEST_JOIN = 10.0
"""Seconds for the database to be reached when this worker joins for the first time."""
_LONGEST_ANSWER = 5.0
"""The same when it joins again, or leaves."""
_SHORTEST_WAIT, _LONGEST_WAIT = 0.1, 2.0  # before it connects again
_log = logging.getLogger("ppapi_async")


class ShardOwner(Protocol):
    """What polls the accounts that a worker owns. None of its methods may fail."""

    def take(self, accounts: Mapping[str, float | None]) -> None:
        """Begin to poll these accounts, by name, each when it is due.

        In unix seconds; one that lies in the past is due at once. None: nobody has polled it yet.
        """

    async def hand_over(self, names: Collection[str]) -> None:
        """Begin no more polls of these accounts; return when those under way have ended.

        What they have to save must be saved by then: the lock goes when this returns.
        """

    def lose(self, names: Collection[str], error: StateError) -> None:
        """Break off all polls of these accounts at once: others may begin theirs."""

    def fail(self, error: BaseException) -> None:
        """Tell whoever waits that the sharing itself has broken off, by a mistake in it."""


def shard_of(account: Account) -> int:
    """Return the number of the shard that an account falls into: the same for all of a host."""
    digest = hashlib.blake2b(account.host.encode(), digest_size=8, person=b"ppapi_async").digest()
    return int.from_bytes(digest) % SHARDS


@frozen
class _Shared:
    """An account, and what is worked out of it once."""

    account: Account
    fingerprint: str
    shard: int

    @classmethod
    def of(cls, account: Account) -> _Shared:
        """Return the member for an account."""
        return cls(account, account.fingerprint, shard_of(account))


@define(eq=False)
class _Tenure:
    """What a worker holds on one connection. When that goes, all is over."""

    session: PostgresSession
    table: WorkerTable
    held: set[int] = field(factory=set)
    taken: set[str] = field(factory=set)
    """The names of the accounts that the owner was given."""
    leaving: dict[int, asyncio.Task[None]] = field(factory=dict)
    """What hands shards over."""
    planned: dict[str, float] = field(factory=dict)
    """When accounts are due, by fingerprint, as far as it is not yet saved."""
    noting: asyncio.Task[None] | None = None
    error: StateError | None = None
    """Why it is over."""


class Sharing:
    """One worker of a group: which accounts are its own, and that nobody else polls them.

    Args:
        state: a database in PostgreSQL, or its url. The sharing has a connection of its own to it.
        group: programs of one name share; those that poll the same accounts for different ends
            have different names.
        owner: polls the accounts.
        accounts: those that this worker can poll.

    Raises:
        ValueError: an argument is not usable.
        ImportError: psycopg is not installed.
    """

    def __init__(
        self,
        state: PostgresState | str,
        group: str,
        owner: ShardOwner,
        accounts: Iterable[Account] = (),
    ) -> None:
        self._state = PostgresState(state) if isinstance(state, str) else state
        self._group = check_group(group)
        self._owner = owner
        self._members = {account.name: _Shared.of(account) for account in accounts}
        self._registered: Registration | None = None
        self._worker = uuid.uuid4().hex
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._tenure: _Tenure | None = None
        self._known: list[Known] = []
        self._running: asyncio.Task[None] | None = None
        self._takes = True
        self._odd: set[str] = set()
        """Workers of other accounts that the log has told of."""

    def __repr__(self) -> str:
        count = len(self.owned)
        return f"<Sharing {self._group!r}: {count} of {len(self._members)} accounts>"

    # Life

    async def __aenter__(self) -> Self:
        """Connect, and begin to share.

        Raises:
            StateError: the database cannot be reached, or cannot be used for this.
        """
        self._woken, self._takes = asyncio.Event(), True
        self._begin(await self._connect(_LONGEST_JOIN))
        self._running = asyncio.create_task(self._run())
        self._running.add_done_callback(self._check)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def take_no_more(self) -> None:
        """Take no more shards: the owner is about to leave."""
        self._takes = False

    async def aclose(self) -> None:
        """Hand over what is owned, and leave the group.

        Cancelled, it hands nothing over but gives all up; however often, it leaves.
        """
        self.take_no_more()
        running, self._running = self._running, None
        if running is None:
            return
        handing = asyncio.create_task(self._hand_all_over())
        closing = asyncio.create_task(self._close(running, handing))
        await wait_until_done([closing], handing.cancel)
        closing.result()

    async def _close(self, running: asyncio.Task[None], handing: asyncio.Task[None]) -> None:
        await asyncio.wait([handing])
        running.cancel()
        await asyncio.wait([running])
        await self._leave()
        if not handing.cancelled():
            handing.result()

    async def _hand_all_over(self) -> None:
        tenure = self._tenure
        if tenure is not None:
            self._give(tenure, tenure.held)
            while tenure.leaving:
                await asyncio.wait(set(tenure.leaving.values()))

    async def _leave(self) -> None:
        tenure, self._tenure = self._tenure, None
        if tenure is None:
            return
        self._known = []
        is_told = False
        try:
            with contextlib.suppress(StateError, TimeoutError):  # the others see it in any case
                async with asyncio.timeout(self._answer_seconds):
                    await tenure.table.leave(self._worker)
                    is_told = True
        finally:
            self._end(tenure, StateError("the sharing was closed"))
            if not is_told:
                tenure.session.kill()
            await tenure.session.aclose()

    # Accounts

    @property
    def is_connected(self) -> bool:
        """Whether this worker is in the group at this moment."""
        return self._tenure is not None and self._is_valid(self._tenure)

    @property
    def owned(self) -> frozenset[str]:
        """The names of the accounts that are this worker's own now."""
        tenure = self._tenure
        if tenure is None or not self._is_valid(tenure):
            return frozenset()
        return frozenset(tenure.taken)

    def is_mine(self, name: str) -> bool:
        """Tell whether an account is this worker's own at this moment, by the clock too."""
        tenure = self._tenure
        if tenure is None or name not in tenure.taken:
            return False
        return self._is_held(tenure, self._members[name].shard)

    def state_of(self, name: str) -> State:
        """Return where to keep what is known of an account, until this worker loses it.

        Raises:
            StateError: it is not this worker's own.
        """
        tenure = self._tenure
        if tenure is None or name not in tenure.taken:
            raise StateError("this worker does not have the account", account=name)
        shard = self._members[name].shard
        return HeldState(tenure.session, self._group, lambda: self._is_held(tenure, shard))

    def plan(self, name: str, due: float) -> None:
        """Note when an account of one's own is to be polled next, in unix seconds.

        Known to others a moment later. Whoever takes the account over begins then, or at once if
        that has passed.
        """
        tenure = self._tenure
        if tenure is None or name not in tenure.taken:
            return
        tenure.planned[self._members[name].fingerprint] = due
        if tenure.noting is None:
            tenure.noting = asyncio.create_task(self._note_soon(tenure))

    def add(self, account: Account) -> None:
        """Take an account in: it is shared out from the next beat on."""
        self._members[account.name] = _Shared.of(account)
        self._registered = None
        self._wake()

    def remove(self, name: str) -> None:
        """Let an account go. Its owner breaks off what it does for it before."""
        self._members.pop(name, None)
        self._registered = None
        if self._tenure is not None:
            self._tenure.taken.discard(name)
        self._wake()

    def workers(self) -> tuple[WorkerStatus, ...]:
        """Return the workers of the group, the others as they were at the last beat."""
        own = frozenset() if self._tenure is None else frozenset(self._tenure.held)
        found = []
        for one in self._known:
            is_self = one.worker == self._worker
            held = own if is_self else one.held
            found.append(
                WorkerStatus(
                    name=one.name,
                    since=one.since,
                    seen=one.seen,
                    shards=len(held),
                    accounts=sum(one.weights.get(shard, 0) for shard in held),
                    is_self=is_self,
                    is_present=one.is_present,
                )
            )
        return tuple(sorted(found, key=lambda one: one.since))

    # The lease

    def _is_held(self, tenure: _Tenure, shard: int) -> bool:
        """Tell whether a shard is held, as far as can be known here."""
        return shard in tenure.held and self._is_valid(tenure)

    def _is_valid(self, tenure: _Tenure) -> bool:
        return tenure.error is None and self._remaining(tenure) > 0

    def _remaining(self, tenure: _Tenure) -> float:
        lease = _LEASE * self._state.hung_after
        return tenure.session.renewed + lease - tenure.session.now()

    def _watch_lease(self, tenure: _Tenure) -> None:
        """Let go of all before the server does, when nothing has been answered for too long."""
        if tenure.error is not None:
            return
        remaining = self._remaining(tenure)
        if remaining > 0:
            loop = asyncio.get_running_loop()
            loop.call_later(remaining, self._watch_lease, tenure)
            return
        self._end(tenure, StateError("the database has not answered for too long"))
        tenure.session.kill()

    # Beats

    @property
    def _beat_seconds(self) -> float:
        return min(_LONGEST_BEAT, self._state.hung_after / _BEATS)

    @property
    def _answer_seconds(self) -> float:
        return min(_LONGEST_ANSWER, self._state.hung_after)

    def _wake(self) -> None:
        if self._running is not None:
            self._woken.set()

    def _check(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            if self._tenure is not None:
                self._end(self._tenure, StateError("the sharing broke off"))
                self._tenure.session.kill()
            self._owner.fail(error)

    async def _run(self) -> None:
        """Beat, and connect again whenever the connection has broken."""
        wait, is_told = _SHORTEST_WAIT, False
        while True:
            is_in = self._tenure is not None and self._tenure.error is None
            try:
                if not is_in:
                    self._begin(await self._connect(self._answer_seconds))
                    is_in, is_told, wait = True, False, _SHORTEST_WAIT
                    _log.info("%s: this worker is back in the group", self._group)
                await self._beat_on()
            except StateError as error:
                if is_in and self._tenure is not None:
                    self._end(self._tenure, error)
                    await self._tenure.session.aclose()
                elif not is_told:
                    is_told = True
                    text = "accounts are polled again when it works"
                    _log.warning("%s: %s; %s", self._group, error, text)
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    async def _connect(self, patience: float) -> _Tenure:
        """Open a session that may hold shards, and make this worker known.

        Raises:
            StateError: the database cannot be reached, or cannot be used for this.
        """
        from ppapi_async.storage.postgres_session import PostgresSession  # noqa: PLC0415 - an extra

        session: PostgresSession | None = None
        tenure: _Tenure | None = None
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    session = await PostgresSession.open(self._state.url, on_broken=self._broken)
                    await session.check_that_it_stays()
                    await session.limit(self._state.hung_after)
                    table = WorkerTable(session, self._group)
                    await table.enter(self._registration())
                    tenure = _Tenure(session, table)
        finally:
            if tenure is None and session is not None:
                session.kill()
                await session.aclose()
        if tenure is None:
            raise StateError(f"the state {self._state.where} could not be reached; try again")
        return tenure

    def _begin(self, tenure: _Tenure) -> None:
        self._tenure = tenure
        self._watch_lease(tenure)

    def _broken(self, error: StateError) -> None:
        tenure = self._tenure
        if tenure is not None and tenure.session.error is not None:
            self._end(tenure, error)
            self._wake()

    def _end(self, tenure: _Tenure, error: StateError) -> None:
        """Lose all that was held on a connection."""
        if tenure.error is not None:
            return
        tenure.error = error
        names, tenure.taken = tenure.taken, set()
        for task in {*tenure.leaving.values(), *filter(None, [tenure.noting])}:
            task.cancel()
        if self._running is not None:
            _log.warning("%s: %s; this worker has lost its accounts", self._group, error)
        if names:
            self._owner.lose(names, error)

    async def _beat_on(self) -> None:
        tenure = self._tenure
        while tenure is not None and tenure.error is None:
            self._woken.clear()
            await self._beat(tenure)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._beat_seconds):
                    await self._woken.wait()

    async def _beat(self, tenure: _Tenure) -> None:
        """Say that this worker is there, give away what is another's, take what is its own.

        Raises:
            StateError: the database failed.
        """
        me = self._registration()
        pid = await tenure.table.beat(me, tenure.held)
        if pid != tenure.session.own_pid:
            raise tenure.session.unsteady_error()
        self._known = await tenure.table.known()
        self._look_at_accounts(me)
        wanted = {one.worker: one.weights for one in self._known if one.worker != me.worker}
        held = {shard: one.worker for one in self._known for shard in one.held}
        held |= dict.fromkeys(tenure.held, me.worker)
        shares = fair_shares(wanted | {me.worker: me.weights}, held)
        own = {shard for shard, worker in shares.items() if worker == me.worker}
        self._give(tenure, tenure.held - own)
        if self._takes:
            taken = await tenure.table.take(own - held.keys()) if own - held.keys() else []
            tenure.held.update(taken)
            if taken:  # known to others before it is made use of
                await tenure.table.beat(me, tenure.held)
            await self._tell(tenure)

    async def _tell(self, tenure: _Tenure) -> None:
        """Give the owner the accounts of the shards that are held."""
        new = {
            name: member
            for name, member in self._members.items()
            if name not in tenure.taken
            and member.shard in tenure.held
            and member.shard not in tenure.leaving
        }
        if not new:
            return
        due = await tenure.table.due([member.fingerprint for member in new.values()])
        accounts = {
            name: due.get(member.fingerprint)
            for name, member in new.items()
            if self._members.get(name) is member and member.shard not in tenure.leaving
        }
        if accounts and tenure.error is None:
            tenure.taken.update(accounts)
            self._owner.take(accounts)

    def _give(self, tenure: _Tenure, shards: Collection[int]) -> None:
        """Begin to hand shards over; the beats go on meanwhile."""
        new = [shard for shard in shards if shard not in tenure.leaving]
        if new:
            task = asyncio.create_task(self._hand_over(tenure, new))
            tenure.leaving.update(dict.fromkeys(new, task))

    async def _hand_over(self, tenure: _Tenure, shards: Collection[int]) -> None:
        try:
            names = {name for name in tenure.taken if self._members[name].shard in shards}
            if names:
                await self._owner.hand_over(names)
            await self._note(tenure)
            tenure.taken -= names
            tenure.held.difference_update(shards)
            try:
                await tenure.table.give(shards)
            except StateError as error:
                # The session may live and hold the locks, of accounts that nobody would poll then.
                self._end(tenure, error)
                tenure.session.kill()
        finally:
            for shard in shards:
                del tenure.leaving[shard]

    async def _note_soon(self, tenure: _Tenure) -> None:
        await asyncio.sleep(_NOTED_WITHIN)
        tenure.noting = None
        await self._note(tenure)

    async def _note(self, tenure: _Tenure) -> None:
        """Save when accounts are due. What could not be saved is saved with what comes next."""
        planned, tenure.planned = tenure.planned, {}
        try:
            if planned:
                await tenure.table.plan(planned)
        except StateError:
            tenure.planned = planned | tenure.planned

    # What it tells of itself

    def _registration(self) -> Registration:
        if self._registered is None:
            weights: dict[int, int] = {}
            for member in self._members.values():
                weights[member.shard] = weights.get(member.shard, 0) + 1
            lines = sorted(f"{one.fingerprint} {one.shard}" for one in self._members.values())
            self._registered = Registration(
                worker=self._worker,
                name=self._name,
                hung_after=self._state.hung_after,
                accounts=hashlib.blake2b("\n".join(lines).encode(), digest_size=8).hexdigest(),
                weights=weights,
            )
        return self._registered

    def _look_at_accounts(self, me: Registration) -> None:
        """Say once of each worker that it has other accounts: some may be polled by nobody."""
        for one in self._known:
            if one.accounts != me.accounts and one.worker not in self._odd:
                self._odd.add(one.worker)
                _log.warning(
                    "%s: the worker %s has other accounts than this one; an account that only one"
                    " of two has is not polled while the other holds its host",
                    self._group,
                    one.name,
                )


def group_of(shared: str | None, state: State) -> str | None:
    """Return the name of the group that shares, None if nothing is shared.

    Raises:
        ValueError: it cannot be one, or the state is nothing to share by.
        TypeError: it is no text.
    """
    if shared is None:
        return None
    if not isinstance(state, PostgresState):
        raise ValueError("shared: needs state=PostgresState(url), where the workers meet")
    return check_group(shared)


def check_group(group: str, longest: int = 200) -> str:
    """Return the name of a group, which has `longest` characters at most.

    Raises:
        ValueError: it cannot be one.
        TypeError: it is no text.
    """
    if not isinstance(group, str):
        raise TypeError("shared: pass the name of the group as a str")
    if not group.strip() or "\0" in group or len(group) > longest:
        raise ValueError(f"shared: pass a name of 1 to {longest} characters, without U+0000")
    check(group)
    return group

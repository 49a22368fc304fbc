"""The workers of a group in PostgreSQL: who there is, who holds which shard, what is due when.

What holds a shard is a session advisory lock, and nothing else: the table only tells the workers of
each other, so that they can share fairly. Keys of locks are two numbers. The first comes from the
group's name (`lock_class`), the second is the shard's number; `PRESENCE` is held, shared, by
every worker that is connected.

A lock goes when its session ends. Where the *server* has ended (restarted, or failed over to one
that knows no locks), the worker may be alive and not know yet: so what such a worker held is spared
until it is back, or was not heard of for `hung_after`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol, cast

from attrs import frozen

__all__ = ["PRESENCE", "SHARDS", "Asking", "Known", "Registration", "WorkerTable", "lock_class"]

SHARDS = 256
"""Into which all accounts fall, by their host. All workers of a group must have the same number."""
PRESENCE = SHARDS

_REGISTER = """
INSERT INTO ppapi_workers AS w (group_name, worker, name, pid, server, since, seen, hung_after,
    accounts, shards, weights, held)
VALUES (%s, %s, %s, pg_backend_pid(), pg_postmaster_start_time(), clock_timestamp(),
    clock_timestamp(), %s, %s, %s::integer[], %s::integer[], %s::integer[])
ON CONFLICT (group_name, worker) DO UPDATE SET pid = excluded.pid, server = excluded.server,
    seen = excluded.seen, accounts = excluded.accounts, shards = excluded.shards,
    weights = excluded.weights, held = excluded.held
RETURNING pid
"""
_WORKERS = """
SELECT worker, name, pid, server = pg_postmaster_start_time(), hung_after,
    extract(epoch FROM since)::float8, extract(epoch FROM seen)::float8,
    extract(epoch FROM clock_timestamp() - seen)::float8, accounts, shards, weights, held
FROM ppapi_workers WHERE group_name = %s
"""
_LOCKS = """
SELECT l.objid::bigint, l.pid FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
WHERE l.locktype = 'advisory' AND l.classid::bigint = %s AND l.objsubid = 2 AND l.granted
    AND d.datname = current_database()
"""
_TAKE = "SELECT s FROM unnest(%s::integer[]) AS s WHERE pg_try_advisory_lock(%s, s)"
_GIVE = "SELECT pg_advisory_unlock(%s, s) FROM unnest(%s::integer[]) AS s"
_BE_PRESENT = "SELECT pg_try_advisory_lock_shared(%s, %s)"
_LEAVE = "DELETE FROM ppapi_workers WHERE group_name = %s AND worker = %s"
_FORGET = """
WITH own AS (UPDATE ppapi_workers SET pid = 0 WHERE group_name = %s AND pid = pg_backend_pid()),
polls AS (DELETE FROM ppapi_polls WHERE group_name = %s
    AND due < extract(epoch FROM clock_timestamp() - interval '30 days'))
DELETE FROM ppapi_workers WHERE group_name = %s AND seen < clock_timestamp() - interval '1 day'
"""
_END_FORMER = """
SELECT pg_terminate_backend(w.pid) FROM ppapi_workers AS w
WHERE w.group_name = %s AND w.worker = %s AND w.pid <> pg_backend_pid()
    AND w.server = pg_postmaster_start_time() AND EXISTS (
        SELECT FROM pg_locks AS l WHERE l.pid = w.pid AND l.locktype = 'advisory'
        AND l.classid::bigint = %s AND l.objid::bigint = %s AND l.objsubid = 2)
"""
_DUE = "SELECT account, due FROM ppapi_polls WHERE group_name = %s AND account = ANY(%s::text[])"
_PLAN = """
INSERT INTO ppapi_polls SELECT %s, account, due
FROM unnest(%s::text[], %s::float8[]) AS new (account, due)
ON CONFLICT (group_name, account) DO UPDATE SET due = excluded.due
"""


def lock_class(group: str) -> int:
    """Return the first number of the keys of a group's locks: the same everywhere and always."""
    digest = hashlib.blake2b(group.encode(), digest_size=4, person=b"ppapi_async").digest()
    return int.from_bytes(digest, signed=True)


class Asking(Protocol):
    """What runs a statement: a `PostgresSession`."""

    async def ask(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Run one statement, and return its rows.

        Raises:
            StateError: it failed.
        """


@frozen(kw_only=True)
class Registration:
    """What a worker tells of itself."""

    worker: str
    """Its own among all that ever were."""
    name: str
    """For people."""
    hung_after: float
    accounts: str
    """A digest of the accounts that it has."""
    weights: Mapping[int, int]
    """How many accounts it has in each shard."""


@frozen(kw_only=True)
class Known:
    """A worker of the group, as the table and the locks show it."""

    worker: str
    name: str
    since: datetime
    seen: datetime
    accounts: str
    weights: Mapping[int, int]
    held: frozenset[int]
    """The shards that it holds; of one that is expected back, those that it held."""
    is_present: bool
    """Whether it is connected. If not, it is expected back: its server went, perhaps not it."""


@frozen
class WorkerTable:
    """The statements of one worker of a group, on the connection that is to hold its shards."""

    session: Asking
    group: str

    @property
    def lock_class(self) -> int:
        """The first number of the keys of its locks."""
        return lock_class(self.group)

    async def enter(self, me: Registration) -> None:
        """Make this worker known, and end a session that it had before.

        Raises:
            StateError: the database failed.
        """
        await self.session.ask(_FORGET, self.group, self.group, self.group)
        await self.session.ask(_END_FORMER, self.group, me.worker, self.lock_class, PRESENCE)
        await self.session.ask(_BE_PRESENT, self.lock_class, PRESENCE)
        await self.beat(me, ())

    async def beat(self, me: Registration, held: Collection[int]) -> int:
        """Say that this worker is there, and what it holds; return the session's process number.

        Raises:
            StateError: the database failed.
        """
        [[pid]] = await self.session.ask(
            _REGISTER,
            self.group,
            me.worker,
            me.name,
            me.hung_after,
            me.accounts,
            list(me.weights.keys()),
            list(me.weights.values()),
            sorted(held),
        )
        return cast("int", pid)

    async def known(self) -> list[Known]:
        """Return the workers that are there, and those that are expected back.

        Raises:
            StateError: the database failed.
        """
        locks = cast("list[tuple[int, int]]", await self.session.ask(_LOCKS, self._class_of_oid))
        present = {pid for shard, pid in locks if shard == PRESENCE}
        held: dict[int, set[int]] = {pid: set() for pid in present}
        for shard, pid in locks:
            if shard != PRESENCE and pid in present:
                held[pid].add(shard)
        rows = await self.session.ask(_WORKERS, self.group)
        found = (_known(row, held) for row in rows)
        return [one for one in found if one is not None]

    @property
    def _class_of_oid(self) -> int:
        return self.lock_class & 0xFFFF_FFFF  # the view shows it without a sign

    async def take(self, shards: Collection[int]) -> list[int]:
        """Lock shards that this worker does not hold; return those that were free.

        Raises:
            StateError: the database failed.
        """
        rows = await self.session.ask(_TAKE, sorted(shards), self.lock_class)
        return [cast("int", shard) for (shard,) in rows]

    async def give(self, shards: Collection[int]) -> None:
        """Unlock shards that this worker holds.

        Raises:
            StateError: the database failed.
        """
        await self.session.ask(_GIVE, self.lock_class, sorted(shards))

    async def leave(self, worker: str) -> None:
        """Have the others forget this worker.

        Raises:
            StateError: the database failed.
        """
        await self.session.ask(_LEAVE, self.group, worker)

    async def due(self, accounts: Collection[str]) -> dict[str, float]:
        """Return when accounts are to be polled next, as far as it is known, in unix seconds.

        Raises:
            StateError: the database failed.
        """
        rows = await self.session.ask(_DUE, self.group, sorted(accounts))
        return dict(cast("list[tuple[str, float]]", rows))

    async def plan(self, due: Mapping[str, float]) -> None:
        """Note when accounts are to be polled next.

        Raises:
            StateError: the database failed.
        """
        accounts = sorted(due)  # in one order, so that no two workers wait for each other
        await self.session.ask(_PLAN, self.group, accounts, [due[one] for one in accounts])


def _known(row: Sequence[object], held_by: Mapping[int, set[int]]) -> Known | None:
    """Return the worker of a row, None if it is gone."""
    worker, name, pid, is_same_server, hung_after, since, seen, age, accounts, *lists = row
    shards, weights, held = cast("list[list[int]]", lists)
    is_present = bool(is_same_server) and pid in held_by
    if not is_present and (is_same_server or cast("float", age) > cast("float", hung_after)):
        return None
    return Known(
        worker=str(worker),
        name=str(name),
        since=datetime.fromtimestamp(cast("float", since), UTC),
        seen=datetime.fromtimestamp(cast("float", seen), UTC),
        accounts=str(accounts),
        weights=dict(zip(shards, weights, strict=True)),
        held=frozenset(held_by[cast("int", pid)] if is_present else held),
        is_present=is_present,
    )

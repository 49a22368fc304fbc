"""What can be watched at an account, and the poller of each."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Literal, TypeAlias, TypeVar

from attrs import frozen

from ppapi_async.models import Exchange, Info, Link, Payout, Row
from ppapi_async.storage import State
from ppapi_async.streaming.stream import Request
from ppapi_async.transport.connection import Connection
from ppapi_async.watching.delivery import Poller, WatchStore
from ppapi_async.watching.info_poller import InfoPoller
from ppapi_async.watching.poll_policy import phase_of
from ppapi_async.watching.poll_slots import TakeSlot
from ppapi_async.watching.row_poller import RowPoller
from ppapi_async.watching.tracker import PERIOD, Schedule

__all__ = [
    "INFO",
    "LISTS",
    "RESOURCES",
    "Record",
    "Resource",
    "ResourceName",
    "info_poller",
    "poller_of",
    "resources_of",
    "row_poller",
]

RowT = TypeVar("RowT", bound=Row)
Record: TypeAlias = Link | Exchange | Payout | Info
"""What the changes of a watch are about."""


@frozen
class Resource:
    """A method that lists rows."""

    method: str
    record: type[Link | Exchange | Payout]
    lookback: timedelta
    """How far back changes are followed, unless another is given."""


ResourceName: TypeAlias = Literal["info", "links", "exchanges", "payouts"]
INFO: ResourceName = "info"
LISTS: Mapping[str, Resource] = {
    "links": Resource("get_links", Link, timedelta(days=3)),
    "exchanges": Resource("get_exchanges", Exchange, timedelta(days=30)),
    "payouts": Resource("get_payouts", Payout, timedelta(days=30)),
}
RESOURCES: tuple[ResourceName, ...] = ("info", "links", "exchanges", "payouts")


def resources_of(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the resources of these names, each once; all of them without any.

    Raises:
        ValueError: there is no such resource.
        TypeError: a name is no str.
    """
    if not all(isinstance(one, str) for one in names):
        raise TypeError("resources: pass names one by one, as in events('links', 'info')")
    unknown = set(names) - set(RESOURCES)
    if unknown:
        raise ValueError(f"resources: pass any of {', '.join(RESOURCES)}, not {sorted(unknown)}")
    return tuple(dict.fromkeys(names)) or RESOURCES


def row_poller(
    connection: Connection,
    method: str,
    record: type[RowT],
    state: State,
    *,
    interval: float,
    lookback: timedelta,
    since: datetime | None = None,
    params: Mapping[str, str | int] | None = None,
    take_slot: TakeSlot = nullcontext,
) -> RowPoller[RowT]:
    """Return the poller of a method that lists rows; `interval` is in seconds."""
    transport = connection.transport
    request = Request(method=method, record=record, start=None, end=None, params=dict(params or {}))
    filters = f"?{request.filters}" if request.filters else ""
    store = _store_of(connection, state, f"{method}{filters}")
    of = Schedule.of_settled if record is Link else Schedule.of_changing
    schedule = of(interval, lookback.total_seconds(), phase_of(store.watch, PERIOD))
    return RowPoller(
        transport=transport,
        evidence=connection.evidence(method),
        request=request,
        page_size=connection.page_size,
        store=store,
        schedule=schedule,
        lookback=lookback,
        clock_check=connection.clock_check,
        since=since,
        take_slot=take_slot,
    )


def info_poller(
    connection: Connection,
    state: State,
    take_slot: TakeSlot = nullcontext,
    *,
    initial: bool = False,
) -> InfoPoller:
    """Return the poller of get_info; `initial` has it deliver the present info first."""
    store = _store_of(connection, state, "get_info")
    transport = connection.transport
    return InfoPoller(transport=transport, store=store, initial=initial, take_slot=take_slot)


def poller_of(
    connection: Connection,
    resource: str,
    state: State,
    *,
    interval: float,
    lookback: timedelta | None,
    since: datetime | None,
    initial_info: bool,
    take_slot: TakeSlot,
) -> Poller[Record]:
    """Return the poller of any resource; `interval` is in seconds."""
    if resource == INFO:
        return info_poller(connection, state, take_slot, initial=initial_info)
    listed = LISTS[resource]
    return row_poller(
        connection,
        listed.method,
        listed.record,
        state,
        interval=interval,
        lookback=lookback or listed.lookback,
        since=since,
        take_slot=take_slot,
    )


def _store_of(connection: Connection, state: State, what: str) -> WatchStore:
    account = connection.account
    former = [f"{fingerprint}/{what}" for fingerprint in account.former_fingerprints]
    return WatchStore(state, f"{account.fingerprint}/{what}", former)

"""The metrics of accounts, by Prometheus' rules of names: made of a reading. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from attrs import field, frozen
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)

from ppapi_async.fleet.status import AccountPhase, AccountStatus
from ppapi_async.version import __version__

if TYPE_CHECKING:
    from ppapi_async.mirror import MirrorStanding

__all__ = ["Labels", "Polls", "StatusReading", "families"]

Labels: TypeAlias = tuple[str, ...]
"""The host; with an account for each series, its name as well."""
Value: TypeAlias = tuple[Labels, float]
_NOT_OURS = (AccountPhase.PAUSED, AccountPhase.ELSEWHERE)


@frozen
class Polls:
    """How many polls there were, of all accounts of a series."""

    begun: int = 0
    failed: int = 0


@frozen(kw_only=True)
class StatusReading:
    """How accounts are at one moment."""

    by_account: bool
    accounts: Sequence[tuple[Labels, AccountStatus]] | None = None
    """None: nobody could tell."""
    polls: Mapping[Labels, Polls] = field(factory=dict)
    standings: Sequence[tuple[Labels, MirrorStanding]] = ()
    counted_at: float | None = None
    """When the standings were counted, in unix seconds."""


def families(reading: StatusReading) -> Iterator[Metric]:
    """Yield all metrics, those without a value as well."""
    labels = ("host", "account") if reading.by_account else ("host",)
    yield InfoMetricFamily("ppapi", "The library.", value={"version": __version__})
    is_up = reading.accounts is not None
    yield GaugeMetricFamily("ppapi_up", "Whether the event loop has answered.", value=is_up)
    accounts = reading.accounts or ()
    polled = [(key, one) for key, one in accounts if one.phase not in _NOT_OURS]
    yield _phases(labels, accounts)
    yield from _ages(labels, polled)
    yield from _counts(labels, accounts, polled)
    begun = [(key, float(polls.begun)) for key, polls in reading.polls.items()]
    yield _counter("ppapi_polls", "Polls that have begun.", labels, begun)
    failed = [(key, float(polls.failed)) for key, polls in reading.polls.items()]
    yield _counter("ppapi_polls_failed", "Polls that have failed.", labels, failed)
    yield from _mirror(labels, reading)


def _phases(labels: Labels, accounts: Sequence[tuple[Labels, AccountStatus]]) -> Metric:
    phases = Counter((*key, str(one.phase)) for key, one in accounts)
    keys = dict.fromkeys(key for key, _ in accounts)
    values = [
        ((*key, str(one)), float(phases[*key, str(one)])) for key in keys for one in AccountPhase
    ]
    text = "Accounts by what is done with them."
    return _gauge("ppapi_accounts", text, (*labels, "phase"), values)


def _ages(labels: Labels, polled: Sequence[tuple[Labels, AccountStatus]]) -> Iterator[Metric]:
    """Yield since when something is so; of several accounts the one of which it is so longest."""
    yield _gauge(
        "ppapi_last_success_timestamp_seconds",
        "When the last poll began that worked; of several accounts, the earliest.",
        labels,
        _least((key, _unix(one.last_success)) for key, one in polled),
    )
    yield _gauge(
        "ppapi_failing_since_timestamp_seconds",
        "Since when polls fail; of several accounts, the earliest. Absent where none fail.",
        labels,
        _least((key, _unix(one.failing_since)) for key, one in polled),
    )
    intervals = ((key, one.interval) for key, one in polled)
    yield _gauge(
        "ppapi_poll_interval_seconds",
        "From one poll of an account to its next.",
        labels,
        _least((key, None if one is None else one.total_seconds()) for key, one in intervals),
    )


def _counts(
    labels: Labels,
    accounts: Sequence[tuple[Labels, AccountStatus]],
    polled: Sequence[tuple[Labels, AccountStatus]],
) -> Iterator[Metric]:
    yield _gauge(
        "ppapi_accounts_never_read",
        "Accounts that are polled and of which no poll has worked yet.",
        labels,
        _sums((key, one.last_success is None) for key, one in polled),
    )
    worst: dict[Labels, int] = {}
    for key, one in polled:
        worst[key] = max(worst.get(key, 0), one.failures)
    yield _gauge(
        "ppapi_failures_in_a_row",
        "Polls in a row that failed; of several accounts, the most.",
        labels,
        [(key, float(value)) for key, value in worst.items()],
    )
    yield _gauge(
        "ppapi_clock_warnings",
        "Accounts whose rows are dated ahead of the server's clock: the time zone is wrong.",
        labels,
        _sums((key, one.clock_warning is not None) for key, one in accounts),
    )
    yield _gauge(
        "ppapi_payouts_unsettled",
        "Payouts of which this process does not know what became.",
        labels,
        _sums((key, one.unsettled_payouts) for key, one in accounts),
    )


def _mirror(labels: Labels, reading: StatusReading) -> Iterator[Metric]:
    standings = reading.standings
    rows: Counter[Labels] = Counter()
    for key, one in standings:
        rows.update({(*key, resource): count for resource, count in one.rows.items()})
    yield _gauge(
        "ppapi_mirror_rows",
        "Rows in the database, those that are gone among them.",
        (*labels, "resource"),
        [(key, float(count)) for key, count in rows.items()],
    )
    yield _gauge(
        "ppapi_mirror_last_synced_timestamp_seconds",
        "When everything was caught up last; of several accounts, the earliest.",
        labels,
        _least((key, _unix(one.last_synced)) for key, one in standings),
    )
    yield _gauge(
        "ppapi_mirror_accounts_never_synced",
        "Accounts that were never caught up.",
        labels,
        _sums((key, one.last_synced is None) for key, one in standings),
    )
    yield _gauge(
        "ppapi_mirror_unreadable_rows",
        "Rows that the site lists and that cannot be read.",
        labels,
        _sums((key, one.unreadable) for key, one in standings),
    )
    yield _gauge(
        "ppapi_mirror_coverage_holes",
        "Times that are not proven to be complete although a later one is.",
        labels,
        _sums((key, one.holes) for key, one in standings),
    )
    counted = [] if reading.counted_at is None else [((), reading.counted_at)]
    yield _gauge(
        "ppapi_mirror_counted_timestamp_seconds",
        "When the database was asked for what it holds; of several, the earliest.",
        (),
        counted,
    )


def _unix(instant: datetime | None) -> float | None:
    return None if instant is None else instant.timestamp()


def _least(values: Iterable[tuple[Labels, float | None]]) -> list[Value]:
    found: dict[Labels, float] = {}
    for key, value in values:
        if value is not None:
            found[key] = min(value, found.get(key, value))
    return list(found.items())


def _sums(values: Iterable[tuple[Labels, int]]) -> list[Value]:
    found: Counter[Labels] = Counter()
    for key, value in values:
        found[key] += value
    return [(key, float(value)) for key, value in found.items()]


def _gauge(name: str, text: str, labels: Labels, values: Iterable[Value]) -> Metric:
    gauge = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values:
        gauge.add_metric(key, value)
    return gauge


def _counter(name: str, text: str, labels: Labels, values: Iterable[Value]) -> Metric:
    counter = CounterMetricFamily(name, text, labels=labels)
    for key, value in values:
        counter.add_metric(key, value)
    return counter

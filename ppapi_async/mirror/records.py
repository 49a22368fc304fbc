"""What a mirror hands out: changes, reports of a synchronisation, audits, sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Protocol, TypeVar

from attrs import field, frozen

from ppapi_async.errors import PPAPIError
from ppapi_async.models import Record
from ppapi_async.watching.changes import Change
from ppapi_async.watching.resources import ResourceName

__all__ = [
    "AccountReport",
    "Audit",
    "AuditPart",
    "Difference",
    "DifferenceKind",
    "MirrorChange",
    "MirrorProgress",
    "MirrorStanding",
    "RewardSum",
    "SyncReport",
]

RecordT_co = TypeVar("RecordT_co", covariant=True)


@frozen(kw_only=True)
class MirrorChange(Change[RecordT_co]):
    """A change that the mirror has seen, and keeps for ever.

    Of a row that is gone `record` is how it was last; `previous` is None where it is new or has
    returned.
    """

    resource: ResourceName
    id: int | None
    """The row's id; None for info."""
    seen_at: datetime
    """When the mirror saw it, in UTC: it happened between the reading before and this one."""
    cursor: str
    """Where it stands among the changes: pass it to `Mirror.changes` as `since` to go on there."""


@frozen(kw_only=True)
class MirrorProgress:
    """How far a synchronisation is with one resource of one account."""

    account: str
    resource: ResourceName
    rows: int
    """Read so far."""
    written: int
    """New or changed among them."""
    requests: int
    read_to: datetime | None
    """All rows before it have been read; None: up to the present."""
    fraction: float | None = None
    """Of what there is to read, 0 to 1; None where that is not known."""


@frozen(kw_only=True)
class AccountReport:
    """What a synchronisation came to for one account."""

    account: str
    rows: int = 0
    """Read."""
    new: int = 0
    changed: int = 0
    gone: int = 0
    returned: int = 0
    unreadable: int = 0
    requests: int = 0
    error: PPAPIError | None = None
    """Why it is not caught up; None: it is."""
    behind: timedelta | None = None
    """How long ago everything was caught up last, 0 if it is now; None: never."""
    unsupported: tuple[ResourceName, ...] = ()
    """Resources that the site does not have."""


@frozen(kw_only=True)
class SyncReport:
    """What a synchronisation came to, by the names of the accounts."""

    accounts: Mapping[str, AccountReport] = field(factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every account is caught up."""
        return all(one.error is None for one in self.accounts.values())

    @property
    def failed(self) -> dict[str, PPAPIError]:
        """The accounts that are not, and why."""
        found = ((name, one.error) for name, one in self.accounts.items())
        return {name: error for name, error in found if error is not None}


@frozen(kw_only=True)
class MirrorStanding:
    """How an account stands in the mirror's database."""

    host: str
    """Of its site, as `Account.host`."""
    rows: Mapping[str, int]
    """How many links, exchanges and payouts are here, those that are gone among them."""
    last_synced: datetime | None
    """When everything of it was caught up last, in UTC; None: never."""
    unreadable: int
    """Rows that the site lists and that cannot be read."""
    holes: int
    """Times that are not proven to be here completely although a later one is."""


class DifferenceKind(StrEnum):
    """How the mirror and a site differ in a row."""

    MISSING = "missing"
    """The site has it, the mirror has not, or only as gone."""
    EXTRA = "extra"
    """The mirror has it, and not as gone; the site has not."""
    DIFFERING = "differing"


@frozen(kw_only=True)
class Difference:
    """A row in which the mirror and a site differ."""

    kind: DifferenceKind
    account: str
    resource: ResourceName
    id: int
    fields: tuple[str, ...] = ()
    """The names of the fields that differ."""
    here: Record | None = None
    """The row as the mirror has it."""
    there: Record | None = None
    """The row as the site has it."""
    proven_at: datetime
    """When the mirror read that time last: what the site has changed since, it cannot know yet."""


class AuditPart(Protocol):
    """What an audit adds up: the comparison of one resource of an account, or of an account."""

    @property
    def differences(self) -> Sequence[Difference]:
        """Rows that differ."""

    @property
    def rows(self) -> int:
        """Compared."""

    @property
    def unreadable(self) -> int:
        """See `Audit`."""

    @property
    def uncovered(self) -> int:
        """See `Audit`."""

    @property
    def unsettled(self) -> int:
        """See `Audit`."""


@frozen(kw_only=True)
class Audit:
    """What a comparison with the sites came to."""

    start: datetime | None
    end: datetime | None
    differences: tuple[Difference, ...] = ()
    rows: int = 0
    """Compared."""
    unreadable: int = 0
    """Rows of the sites that could not be read, and so not be compared."""
    uncovered: int = 0
    """Rows that the mirror cannot know: newer than its last reading, or of a time it has not read.
    """
    unsettled: int = 0
    """Rows that differ and are left to a `follow`, which is to read them again in its turn; or that
    changed all the while."""
    errors: Mapping[str, PPAPIError] = field(factory=dict)
    """Accounts that could not be compared to the end, by name."""

    @classmethod
    def of(
        cls,
        parts: Sequence[AuditPart],
        errors: Mapping[str, PPAPIError],
        *,
        start: datetime | None,
        end: datetime | None,
    ) -> Audit:
        """Return what the comparisons of several resources or accounts come to together."""
        return cls(
            start=start,
            end=end,
            differences=tuple(one for part in parts for one in part.differences),
            rows=sum(part.rows for part in parts),
            unreadable=sum(part.unreadable for part in parts),
            uncovered=sum(part.uncovered for part in parts),
            unsettled=sum(part.unsettled for part in parts),
            errors=errors,
        )

    @property
    def ok(self) -> bool:
        """Whether all that the mirror claims to know was compared, and nothing differs."""
        return not (self.differences or self.errors or self.unreadable)

    @property
    def missing(self) -> tuple[Difference, ...]:
        """Rows that the sites have and the mirror has not."""
        return self._of(DifferenceKind.MISSING)

    @property
    def extra(self) -> tuple[Difference, ...]:
        """Rows that the mirror has and the sites have not."""
        return self._of(DifferenceKind.EXTRA)

    @property
    def differing(self) -> tuple[Difference, ...]:
        """Rows that are not the same."""
        return self._of(DifferenceKind.DIFFERING)

    def _of(self, kind: DifferenceKind) -> tuple[Difference, ...]:
        return tuple(one for one in self.differences if one.kind is kind)


@frozen(kw_only=True)
class RewardSum:
    """The rewards of one group, added up exactly."""

    day: date | None = None
    """By UTC; None where days are not told apart."""
    account: str | None = None
    """The account's name; None where accounts are not told apart."""
    exchanges: int
    completed: int
    """Exchanges with `exchange_success`."""
    accrued: Decimal
    """Rewards that have been credited, in the site's base currency."""
    forecast: Decimal
    """Rewards that have not, of exchanges that may still be: not cancelled, as far as is told."""
    gone: int = 0
    """Exchanges that the site lists no more, which do not count in all the above."""
    gone_accrued: Decimal = Decimal()
    """What of their rewards had been credited: archived orders keep it, banned ones do not."""

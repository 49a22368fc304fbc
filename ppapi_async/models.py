"""What the API tells, as frozen, slotted records. No I/O.

The names are the wire's (the vendor's `comission` becomes `commission`). Times are true instants
in UTC, corrected by the account's zone; money is `Decimal`, exact to the last place that was sent;
text is un-escaped. `extra` holds the keys that a site adds of its own, as decoded JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Generic, Never, Protocol, TypeAlias, TypeVar, cast
from urllib.parse import parse_qsl

import attrs
from attrs import field, frozen

__all__ = [
    "LONGEST_WALLET",
    "Exchange",
    "Info",
    "Json",
    "Link",
    "Payout",
    "PayoutAttempt",
    "PayoutMethod",
    "PayoutReceipt",
    "PayoutSearch",
    "PayoutStatus",
    "Progress",
    "Row",
    "SearchOutcome",
    "StatusChange",
    "UnreadableRow",
    "Window",
]

Json: TypeAlias = str | int | Decimal | bool | list["Json"] | dict[str, "Json"] | None
LONGEST_WALLET = 1_000
"""Characters of what a payout is sent to."""
_ATTEMPT_VERSION = 1
_LONGEST_ATTEMPT = 16_384  # each character of a wallet may be twelve in JSON
RowT = TypeVar("RowT", bound="Row")


def _refuse(*_: object, **__: object) -> Never:
    raise TypeError("extra cannot be changed; make a dict of it: dict(record.extra)")


class Extra(dict[str, object]):
    """Keys that the library does not know: a dict, for all that takes dicts, but read-only."""

    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Callable[[dict[str, object]], Extra], tuple[dict[str, object]]]:
        return extra_of, (dict(self),)


NO_EXTRA = Extra()
"""The empty one, which nearly every record shares; one for each would cost 64 bytes."""


def extra_of(keys: Mapping[str, object]) -> Extra:
    """Return the `extra` of a record."""
    if isinstance(keys, Extra):
        return keys
    return Extra(keys) if keys else NO_EXTRA


def _plain(value: object) -> object:
    """Return a value as JSON has it."""
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


class Record:
    """What all records have."""

    __slots__ = ()

    def to_dict(self) -> dict[str, object]:
        """Return the record as `json.dumps`, pandas and Arrow take it, exactly.

        Amounts are text, as the site wrote them, and instants text by ISO 8601, in UTC: JSON has
        neither, and its numbers are read as floats. `extra` is a dict of its own.
        """
        kind = cast("type[attrs.AttrsInstance]", type(self))
        return {one.name: _plain(getattr(self, one.name)) for one in attrs.fields(kind)}


class Row(Protocol):
    """What all rows of a list method have."""

    @property
    def id(self) -> int:
        """The site's id, unique within the method."""

    @property
    def time(self) -> datetime:
        """When, in UTC."""

    @property
    def extra(self) -> Mapping[str, object]:
        """Keys that the library does not know."""


class PayoutStatus(Enum):
    """Where a payout stands (the vendor's page: 0, 1, 2, 3)."""

    WAITING = "0"
    DONE = "1"
    CANCELLED = "2"
    CANCELLED_BY_USER = "3"


@frozen
class Link(Record):
    """A visit that the partner brought: one row of get_links. It never changes.

    Attributes:
        id: the site's id of the visit.
        time: when, as an aware datetime in UTC, corrected by the account's zone.
        date: the same as the site wrote it, by its own clock.
        browser: what the visitor's browser is, as the site took it; from the visitor, and hostile.
        ip: the visitor's address, None where the site gives none.
        referrer: the page that the visitor came from; from the visitor, and hostile.
        user_hash: the visitor at this site; an `Exchange` of the same visitor has it, too.
        query_string: the query of the landing page, with the partner's sub-ids; from the visitor,
            and hostile; see `query`.
        extra: keys that the library does not know, as the site sent them; amounts among them are
            Decimals.
    """

    id: int
    time: datetime
    date: str = ""
    browser: str = ""
    ip: str | None = None
    referrer: str = ""
    user_hash: str = ""
    query_string: str = ""
    extra: Mapping[str, object] = field(default=NO_EXTRA, hash=False, converter=extra_of)

    @property
    def query(self) -> dict[str, str]:
        """`query_string` as a dict; of a repeated parameter the last one, as PHP has it."""
        return dict(parse_qsl(self.query_string.lstrip("?"), keep_blank_values=True))


@frozen
class StatusChange(Record):
    """One step in an exchange's history (`status_history=True`).

    Attributes:
        time: when, in UTC.
        status: what the exchange became; see `Exchange.status`.
        date: the time as the site wrote it, by its own clock.
    """

    time: datetime
    status: str
    date: str = ""


@frozen
class Exchange(Record):
    """An order of a visitor that the partner brought: one row of get_exchanges.

    Attributes:
        id: the site's id of the order.
        time: when, in UTC: created on classic sites; on 2.7 ones last edited, and moved forward by
            each change of the status.
        amount_give: what the visitor gives, in `currency_code_give`.
        amount_get: what the visitor gets, in `currency_code_get`.
        exchange_success: whether the order was carried out: on 2.7 sites, whether its `status` is
            `success`. It may go back to False.
        accrued: whether the reward has been credited; an operator may take it back, without moving
            `time`.
        partner_reward: the reward, in the site's base currency, which the API does not name; a
            forecast until `accrued`. Operators change it by hand, without moving `time`.
        date: the time as the site wrote it, by its own clock.
        currency_code_give: the currency that is given, such as `BTC`; "" where the site has none.
        currency_code_get: the currency that is got; "" where the site has none.
        course_give: the rate: so much of the one currency for `course_get` of the other.
        course_get: the other side of the rate.
        user_hash: the visitor at this site, as in `Link`.
        user_ip: the visitor's address, None where the site gives none.
        psys_give: the payment system of what is given; only 2.7 sites tell.
        psys_get: the payment system of what is got; only 2.7 sites tell.
        status: how far the order is; only 2.7 sites tell. An open set: new, payed, success, cancel,
            … and a site's own (`my12`).
        hash: the order's public hash; only 2.7 sites tell.
        statuses: the history, where it is asked for by `status_history=True` and the
            site keeps it.
        extra: keys that the library does not know, as the site sent them; amounts among them are
            Decimals.
    """

    id: int
    time: datetime
    amount_give: Decimal
    amount_get: Decimal
    exchange_success: bool
    accrued: bool
    partner_reward: Decimal
    date: str = ""
    currency_code_give: str = ""
    currency_code_get: str = ""
    course_give: Decimal | None = None
    course_get: Decimal | None = None
    user_hash: str = ""
    user_ip: str | None = None
    psys_give: str | None = None
    psys_get: str | None = None
    status: str | None = None
    hash: str | None = None
    statuses: tuple[StatusChange, ...] = ()
    extra: Mapping[str, object] = field(default=NO_EXTRA, hash=False, converter=extra_of)


@frozen
class Payout(Record):
    """A request for a payout: one row of get_payouts.

    Attributes:
        id: the site's id of the request, the `payout_id` of the receipt.
        time: when it was requested, in UTC; it does not move with the status.
        method_id: the `PayoutMethod.id` it was requested by.
        account: the wallet or card that it goes to.
        pay_amount: the amount of the payout, in `pay_currency_code`.
        original_amount: the same before it was converted, in `original_currency_code`.
        status: where it stands; changes until it is done or cancelled.
        date: the time as the site wrote it, by its own clock.
        pay_currency_code: the currency of the payout.
        original_currency_code: the currency of the balance that it is taken from.
        extra: keys that the library does not know, as the site sent them; amounts among them are
            Decimals.
    """

    id: int
    time: datetime
    method_id: int
    account: str
    pay_amount: Decimal
    original_amount: Decimal
    status: PayoutStatus
    date: str = ""
    pay_currency_code: str = ""
    original_currency_code: str = ""
    extra: Mapping[str, object] = field(default=NO_EXTRA, hash=False, converter=extra_of)


@frozen
class PayoutMethod(Record):
    """A way to be paid. A site lists it only while its reserve covers the balance.

    Attributes:
        id: what `Session.add_payout` takes.
        title: its name at the site.
        commission: what is taken off, in per cent; the wire's `comission`.
        amount: what one would receive of the whole balance, in the method's currency; moves with
            every rate.
        extra: keys that the library does not know, as the site sent them; amounts among them are
            Decimals.
    """

    id: int
    title: str
    commission: Decimal
    amount: Decimal
    extra: Mapping[str, object] = field(default=NO_EXTRA, hash=False, converter=extra_of)


@frozen
class Info(Record):
    """The partner's account: get_info.

    Attributes:
        balance: what can be paid out, in the site's base currency, which the API does not name.
        min_payout: the least balance that a payout is made of, in the same currency.
        items: the ways to be paid that there are just now.
        partner_id: the partner's id at the site; only 2.7 sites tell.
        extra: keys that the library does not know, as the site sent them; amounts among them are
            Decimals.
    """

    balance: Decimal
    min_payout: Decimal
    items: tuple[PayoutMethod, ...] = ()
    partner_id: int | None = None
    extra: Mapping[str, object] = field(default=NO_EXTRA, hash=False, converter=extra_of)


@frozen
class PayoutAttempt:
    """What a payout request carried and when it was sent: what `find_payout` looks for.

    `to_json` and `from_json` let a program store it before it sends, and settle it after a crash.
    """

    method_id: int
    account: str
    """The wallet."""
    sent_at: datetime
    """By this machine's clock."""
    clock_ahead: float | None = None
    """Seconds by which the site's clock was ahead of this machine's then; None: not compared."""

    def to_json(self) -> str:
        """Return the attempt as JSON, for `from_json` of this version and later ones."""
        return json.dumps(
            {
                "version": _ATTEMPT_VERSION,
                "method_id": self.method_id,
                "account": self.account,
                "sent_at": self.sent_at.astimezone(UTC).isoformat(),
                "clock_ahead": self.clock_ahead,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> PayoutAttempt:
        """Return the attempt that `to_json` has written.

        Raises:
            ValueError: it is something else, or of a later version.
        """
        if len(text) > _LONGEST_ATTEMPT:
            raise ValueError("attempt: is not what PayoutAttempt.to_json writes")
        try:
            read = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("attempt: is no JSON; pass what to_json has written") from None
        version = read.get("version") if isinstance(read, dict) else None
        if version != _ATTEMPT_VERSION or isinstance(version, bool):
            raise ValueError("attempt: is none, or of another version of ppapi_async")
        method_id, account = read.get("method_id"), read.get("account")
        ahead = read.get("clock_ahead")
        try:
            sent_at = datetime.fromisoformat(read.get("sent_at"))
            in_utc = sent_at.astimezone(UTC)
        except (TypeError, ValueError, OverflowError):
            raise ValueError("attempt: sent_at is no instant") from None
        if sent_at.tzinfo is None:
            raise ValueError("attempt: sent_at has no zone")
        if type(method_id) is not int or not 0 < method_id < 2**63:
            raise ValueError("attempt: method_id is no id")
        if not isinstance(account, str) or not account or len(account) > LONGEST_WALLET:
            raise ValueError("attempt: account is no wallet")
        if ahead is not None and (type(ahead) not in (int, float) or not abs(ahead) < 1e12):
            raise ValueError("attempt: clock_ahead is no number of seconds")
        return cls(method_id, account, in_utc, None if ahead is None else float(ahead))


@frozen
class PayoutReceipt(Record):
    """The site took the request for a payout.

    Attributes:
        payout_id: the `Payout.id` of the request.
        text: what the site says about it, often nothing.
    """

    payout_id: int
    text: str = ""


class SearchOutcome(StrEnum):
    """What a search for a payout came to."""

    FOUND = "found"
    ABSENT = "absent"
    AMBIGUOUS = "ambiguous"


@frozen
class PayoutSearch:
    """What get_payouts says of an attempt whose outcome was unknown.

    `FOUND`: exactly one payout fits. `ABSENT`: none does (a slow server may still book it: ask
    again after a few minutes before paying again). `AMBIGUOUS`: several fit, or one fits but for
    its time, or the clocks of this machine and the site could not be compared; look at `payouts`.
    """

    outcome: SearchOutcome
    payouts: tuple[Payout, ...] = ()


@frozen
class UnreadableRow:
    """A row that is not what the API promises; the rows beside it are read all the same."""

    id: int | None
    """The row's id, None where even that cannot be read."""
    time: datetime | None
    """When, in UTC, None where it cannot be read."""
    problems: tuple[tuple[str, str], ...]
    """`(path, value)` of each problem, redacted, e.g. `("amount_give", "'x'")`."""
    digest: str
    """Of the row as the site wrote it: another one means that the row has changed."""


@frozen
class Window(Generic[RowT]):
    """A proven piece of a stream: all rows with `start <= time < end`, oldest first."""

    start: datetime | None
    end: datetime | None
    records: list[RowT]
    requests: int


@frozen
class Progress:
    """How far a stream is."""

    rows: int
    """Handed out."""
    covered: timedelta
    """How much of the range is proven; what lies before the first row counts once it is."""
    requests: int
    fraction: float | None = field(default=None)
    """Of the range, 0 to 1; None where its beginning or end is not known."""

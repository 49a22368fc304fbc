"""What the books consist of: records of true instants, exact amounts and unescaped text."""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterable
from decimal import Decimal

from attrs import define, field, frozen

Step = tuple[int, str]
"""A true instant in unix seconds and the status an order took then."""

SUCCESSFUL = frozenset({"success"})  # and no other: `coldsuccess` is none
UNCONFIRMED = "auto"
_TWELVE_PLACES = Decimal("1e-12")


def plain(amount: Decimal) -> str:
    """Write an amount as the servers do: no exponent, at most 12 places, no trailing zeros."""
    text = f"{amount.quantize(_TWELVE_PLACES):f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def make_key(length: int = 35) -> str:
    """Make up an API key that nobody can guess."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(length))


def _steps(history: Iterable[Step]) -> tuple[Step, ...]:
    return tuple(history)


@frozen(kw_only=True)
class Click:
    """A visitor who came by the partner's link."""

    id: int
    created: int
    browser: str = ""
    ip: str = ""
    referrer: str = ""
    user_hash: str = ""
    query_string: str = ""


@frozen(kw_only=True)
class Order:
    """An exchange. `history` begins at creation; its last step is the last edit.

    One whose status is `auto` has not been confirmed yet: see `Books.place_order`.
    """

    id: int
    created: int
    history: tuple[Step, ...] = field(converter=_steps)
    currency_give: str = ""
    currency_get: str = ""
    psys_give: str = ""
    psys_get: str = ""
    course_give: str = "1"
    course_get: str = "1"
    amount_give: str = "0"
    amount_get: str = "0"
    success: bool = False
    accrued: bool = False
    reward: str = "0"
    user_hash: str = ""
    ip: str = ""
    given_hash: str | None = field(default=None, alias="hash")
    placed: int | None = None
    """When it was placed, where it was confirmed later: in the log of statuses as `auto`."""

    @history.default
    def _only_created(self) -> tuple[Step, ...]:
        return ((self.created, "new"),)

    @property
    def edited(self) -> int:
        """The instant of the last edit."""
        return self.history[-1][0]

    @property
    def log(self) -> tuple[Step, ...]:
        """All that the log of statuses was ever told."""
        return self.history if self.placed is None else ((self.placed, UNCONFIRMED), *self.history)

    @property
    def status(self) -> str:
        """The present status."""
        return self.history[-1][1]

    @property
    def hash(self) -> str:
        """The order's public hash; made of the id unless one was given, to save 80 bytes a row."""
        return self.given_hash if self.given_hash is not None else f"{self.id:030x}"


@frozen(kw_only=True)
class BookedPayout:
    """A request for money. Status: 0 waiting, 1 done, 2 cancelled, 3 cancelled by the user."""

    id: int
    created: int
    method_id: int
    account: str
    pay_amount: str
    pay_currency: str
    original_amount: str
    original_currency: str = "USD"
    status: int = 0


@frozen(kw_only=True)
class PayoutOption:
    """A way to be paid. `rate` is units of its currency for one of the site's base currency."""

    id: int
    title: str
    currency: str
    commission: str = "0"
    rate: str = "1"
    reserve: str = "1000000000"
    account_pattern: str = r"\S{5,100}"

    def receives(self, balance: str) -> Decimal:
        """Return what a balance comes to in this method's currency."""
        share = 1 - Decimal(self.commission) / 100
        return Decimal(balance) * share * Decimal(self.rate)

    def covers(self, balance: str) -> bool:
        """Tell whether the reserve is large enough for a balance, before commission."""
        return Decimal(balance) * Decimal(self.rate) <= Decimal(self.reserve)


@define(kw_only=True)
class Partner:
    """Whose books these are; the key is random unless given.

    `methods` are those the key may use on 2.7, None for all; `ip_blocked` concerns user-api only.
    """

    id: int = 1
    api_key: str = field(factory=make_key)
    api_login: str = "partner1"
    balance: str = "0"
    received: str = "0"
    banned: bool = False
    ip_blocked: bool = False
    methods: frozenset[str] | None = None

    def may(self, method: str) -> bool:
        """Tell whether a method is enabled for the key."""
        return self.methods is None or method in self.methods

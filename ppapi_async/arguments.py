"""What the calls of `Session` accept: each check names its argument and what to pass."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeAlias

from ppapi_async.account import Account, Secret
from ppapi_async.models import Exchange, Link

__all__ = [
    "Instant",
    "account_of",
    "address",
    "amount",
    "comes_from",
    "instant",
    "was_ordered_from",
]

Instant: TypeAlias = datetime | int | None
"""An aware datetime, unix seconds, or None for an open end."""


def account_of(account: Account | str, api_key: Secret | None) -> Account:
    """Return the account that a session is for."""
    if isinstance(account, Account):
        if api_key is not None:
            raise ValueError("api_key: the account has one already")
        return account
    if api_key is None:
        raise ValueError("api_key: pass the key along with the url, or an Account")
    return Account(account, api_key)


def instant(value: Instant, argument: str) -> datetime | None:
    """Return an aware datetime in UTC."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, datetime | int):
        raise TypeError(f"{argument}: pass an aware datetime, int unix seconds or None")
    try:
        if isinstance(value, int):
            return datetime.fromtimestamp(value, UTC)
        if value.tzinfo is not None:
            return value.astimezone(UTC)
    except (OverflowError, ValueError, OSError):
        raise ValueError(f"{argument}: lies outside the years 1 to 9999") from None
    raise ValueError(
        f"{argument}: is a naive datetime; say which zone, as in"
        " datetime(2026, 1, 31, tzinfo=UTC) or value.astimezone()"
    )


def address(value: str | None) -> str | None:
    """Return an ip address in its usual spelling."""
    if value is None:
        return None
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError("ip: pass an address such as '203.0.113.7' or '2001:db8::1'") from None


def comes_from(ip: str, link: Link) -> bool:
    """Tell whether a click came from the address."""
    return _is_same_ip(ip, link.ip)


def was_ordered_from(ip: str, exchange: Exchange) -> bool:
    """Tell whether an exchange was ordered from the address."""
    return _is_same_ip(ip, exchange.user_ip)


def _is_same_ip(wanted: str, shown: str | None) -> bool:
    if shown == wanted:
        return True
    try:
        return str(ipaddress.ip_address(shown or "")) == wanted
    except ValueError:
        return False


def amount(value: Decimal | int | None, argument: str) -> Decimal | None:
    """Return an exact amount that is not negative."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        raise TypeError(f"{argument}: pass a Decimal or int; a float is not exact")
    exact = Decimal(value)
    if not exact.is_finite() or exact < 0:
        raise ValueError(f"{argument}: pass a finite amount that is not negative")
    return exact

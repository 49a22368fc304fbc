"""What calls accept: each check names its argument and says what to pass."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeAlias, TypeVar

from ppapi_async.account import Account, Secret
from ppapi_async.models import LONGEST_WALLET, Exchange, Link
from ppapi_async.site_url import UNSENDABLE

__all__ = [
    "Duration",
    "Instant",
    "account_of",
    "accounts_of",
    "address",
    "amount",
    "check_call",
    "check_callback",
    "check_flag",
    "check_kind",
    "check_one_of",
    "comes_from",
    "duration",
    "instant",
    "names_of",
    "seconds_of",
    "wallet",
    "was_ordered_from",
    "whole",
]

T = TypeVar("T")

_METHOD = re.compile(r"[a-z0-9_]{1,100}")
_PAYOUTS = ("add_payout", "add_partner_payout")
_PARAMETER = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:\[[A-Za-z0-9_]*\])*")
_ROUTING = ("api_action", "api_key", "method")
Instant: TypeAlias = datetime | int | None
"""An aware datetime, unix seconds, or None for an open end."""
Duration: TypeAlias = float | timedelta
"""Seconds, or a timedelta."""


def account_of(account: Account | str, api_key: Secret | None) -> Account:
    """Return the account that a session is for."""
    if not isinstance(account, Account | str):
        raise TypeError("account: pass an Account, or the url of the site together with api_key")
    if isinstance(account, Account):
        if api_key is not None:
            raise ValueError("api_key: the account has one already")
        return account
    if api_key is None:
        raise ValueError("api_key: pass the key along with the url, or an Account")
    return Account(account, api_key)


def accounts_of(accounts: object) -> list[Account] | None:
    """Return the accounts of a fleet, or one by itself; None where something is no account.

    Nothing is raised here: what is no account may be a link with the key.
    """
    if isinstance(accounts, Account):
        return [accounts]
    if isinstance(accounts, str) or not isinstance(accounts, Iterable):
        return None
    given = list(accounts)
    return given if all(isinstance(one, Account) for one in given) else None


def names_of(names: Collection[str] | None, argument: str) -> list[str] | None:
    """Return names, each once; None for all.

    Raises:
        TypeError: it is no collection of str.
    """
    if names is None:
        return None
    if isinstance(names, str) or not isinstance(names, Collection):
        raise TypeError(f"{argument}: pass a list of names, as in ['one']")
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"{argument}: pass a list of names, as in ['one']")
    return list(dict.fromkeys(names))


def seconds_of(value: Duration, argument: str) -> float:
    """Return a positive duration in seconds.

    Raises:
        ValueError: it is not positive.
        TypeError: it is no duration.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | timedelta):
        raise TypeError(f"{argument}: pass seconds or a timedelta")
    try:
        seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    except OverflowError:
        raise ValueError(f"{argument}: pass fewer seconds") from None
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{argument}: pass more than 0 seconds, not {seconds:g}")
    return seconds


def duration(value: Duration, argument: str) -> timedelta:
    """Return a positive duration.

    Raises:
        ValueError: it is not positive, or longer than any timedelta.
        TypeError: it is no duration.
    """
    seconds = seconds_of(value, argument)
    if isinstance(value, timedelta):
        return value
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        raise ValueError(f"{argument}: pass less than {timedelta.max.days} days") from None


def whole(value: int, argument: str, what: str, *, least: int, most: int | None = None) -> int:
    """Return a whole number within bounds; `what` says what to pass.

    Raises:
        ValueError: it is out of bounds.
        TypeError: it is no whole number.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{argument}: pass {what} as an int")
    if value < least or (most is not None and value > most):
        raise ValueError(f"{argument}: pass {what}")
    return value


def check_callback(value: object, argument: str) -> None:
    """Refuse what cannot be called, None aside.

    Raises:
        TypeError: it cannot.
    """
    if value is not None and not callable(value):
        raise TypeError(f"{argument}: pass a function, or None for none")


def check_kind(value: T, kind: type | tuple[type, ...], argument: str, what: str) -> T:
    """Return the value if it is of the kind; `what` says what to pass.

    Raises:
        TypeError: it is of another.
    """
    if not isinstance(value, kind):
        raise TypeError(f"{argument}: pass {what}")
    return value


def check_flag(value: object, argument: str) -> None:
    """Refuse what is neither True nor False.

    Raises:
        TypeError: it is neither.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{argument}: pass True or False")


def check_one_of(value: object, names: Sequence[str], argument: str) -> None:
    """Refuse what is none of these names.

    Raises:
        TypeError: it is no str.
        ValueError: it is another one.
    """
    said = f"{argument}: pass {' or '.join(map(repr, names))}"
    if not isinstance(value, str):
        raise TypeError(said)
    if value not in names:
        raise ValueError(said)


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


def check_call(method: str, params: Mapping[str, str | int]) -> None:
    """Refuse what a raw call may not ask for.

    A method is part of a path or of a query, and PHP drops blanks before a parameter's name: what
    is spelled in another way may be a payout to the server.
    """
    if not isinstance(method, str):
        raise TypeError("method: pass a str such as 'get_info'")
    if not _METHOD.fullmatch(method):
        raise ValueError("method: pass a name of small letters, digits and _, such as 'get_info'")
    if method in _PAYOUTS:
        raise ValueError("method: use Session.add_payout, which never pays twice")
    for name, value in params.items():
        parts = _PARAMETER.fullmatch(name)
        if parts is None or parts[1] in _ROUTING:
            raise ValueError("params: a name is not one of a parameter; pass one such as 'limit'")
        if not isinstance(value, str | int):
            raise TypeError(f"{name}: pass a str or an int")
        if isinstance(value, str) and UNSENDABLE.search(value):
            raise ValueError(f"{name}: holds control characters; pass other text")


def wallet(value: str) -> str:
    """Return what a payout is to be sent to, without blanks and line ends around it."""
    if not isinstance(value, str):
        raise TypeError("account: pass the wallet or card to pay to as a str")
    stripped = value.strip(" \t\r\n")
    if not stripped.strip():
        raise ValueError("account: pass the wallet or card to pay to")
    if UNSENDABLE.search(stripped):
        raise ValueError("account: holds control characters; copy the wallet again")
    if len(stripped) > LONGEST_WALLET:
        raise ValueError(f"account: is longer than {LONGEST_WALLET} characters; no wallet is")
    return stripped


def address(value: str | None) -> str | None:
    """Return an ip address in its usual spelling; IPv4 in IPv6 is IPv4."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError("ip: pass an address as a str")
    if not UNSENDABLE.search(value):  # the zone of an IPv6 address may be anything
        with suppress(ValueError):
            return _spelled(value)
    raise ValueError("ip: pass an address such as '203.0.113.7' or '2001:db8::1'")


def _spelled(value: str) -> str:
    one = ipaddress.ip_address(value)
    mapped = one.ipv4_mapped if isinstance(one, ipaddress.IPv6Address) else None
    return str(mapped or one)


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
        return _spelled(shown or "") == wanted
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

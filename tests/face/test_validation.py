"""What the calls accept, and how rows are judged by it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from ppapi_async._validation import (
    address,
    amount,
    check_call,
    comes_from,
    wallet,
    was_ordered_from,
)
from ppapi_async.models import Exchange, Link

NOW = datetime(2026, 5, 28, tzinfo=UTC)


@pytest.mark.parametrize(
    ("wanted", "shown", "same"),
    [
        ("203.0.113.7", "203.0.113.7", True),
        ("203.0.113.7", "203.0.113.8", False),
        ("203.0.113.7", "::ffff:203.0.113.7", True),
        ("::ffff:203.0.113.7", "203.0.113.7", True),
        ("::FFFF:cb00:7107", "::ffff:203.0.113.7", True),
        ("203.0.113.7", "::ffff:203.0.113.8", False),
        ("203.0.113.7", "::203.0.113.7", False),
        ("2001:db8::1", "2001:0DB8:0:0::1", True),
        ("2001:db8::1", "2001:db8::2", False),
        ("203.0.113.7", "", False),
        ("203.0.113.7", None, False),
        ("203.0.113.7", "203.0.113.7, 10.0.0.1", False),
        ("203.0.113.7", "unknown", False),
    ],
)
def test_rows_of_an_address(wanted: str, shown: str | None, same: bool) -> None:
    """Addresses are compared as such, whatever a site writes into the field."""
    ip = address(wanted)
    assert ip is not None
    assert comes_from(ip, Link(id=1, time=NOW, ip=shown or "")) is same
    exchange = Exchange(
        id=1,
        time=NOW,
        amount_give=Decimal(1),
        amount_get=Decimal(1),
        exchange_success=True,
        accrued=True,
        partner_reward=Decimal(1),
        user_ip=shown,
    )
    assert was_ordered_from(ip, exchange) is same


def test_addresses() -> None:
    """An address comes out in its usual spelling; what is none is refused."""
    assert address(None) is None
    assert address("2001:0DB8:0:0::1") == "2001:db8::1"
    with pytest.raises(ValueError, match="ip: pass an address"):
        address("site.example")


@pytest.mark.parametrize("value", [True, 1.5, "1"])
def test_amounts_are_exact(value: object) -> None:
    """What is no exact number is refused."""
    with pytest.raises(TypeError, match="at_least"):
        amount(value, "at_least")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [Decimal("-0.01"), -1, Decimal("NaN"), Decimal("Infinity")])
def test_amounts_are_not_negative(value: Decimal | int) -> None:
    """What is no amount of money is refused."""
    with pytest.raises(ValueError, match="at_most"):
        amount(value, "at_most")
    assert amount(Decimal("0.10"), "at_most") == Decimal("0.10")
    assert amount(None, "at_most") is None


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda odd: check_call(odd, {}), "^method: pass a str"),
        (lambda odd: check_call("get_info", {"limit": odd}), "^limit: pass a str or an int"),
        (wallet, "^account: pass the wallet"),
        (address, "^ip: pass an address"),
    ],
)
@pytest.mark.parametrize("odd", [1.5, b"x", ["x"]])
def test_arguments_of_another_type_are_refused(
    call: Callable[[Any], object], words: str, odd: object
) -> None:
    """At once, and with what to pass."""
    with pytest.raises(TypeError, match=words):
        call(odd)


def test_a_wallet_has_an_end() -> None:
    """What is longer is a file that was pasted, not a wallet."""
    with pytest.raises(ValueError, match="no wallet is"):
        wallet("T" * 100_000)

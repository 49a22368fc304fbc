"""How texts, instants and amounts stand in a database, and that they come back exactly."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppapi_async.mirror.database import DecimalSum
from ppapi_async.mirror.types import (
    amount_text,
    dump_json,
    escape,
    fits_numeric,
    instant_of,
    instant_text,
    load_json,
    unescape,
)
from ppapi_async.protocol.fields import LATEST

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
EAST = timezone(timedelta(hours=3))
AMOUNTS = st.decimals(allow_nan=False, allow_infinity=False, places=9)
ODD_TEXT = st.text(st.sampled_from("a\0\u241b\ud800\udfff0b4d"), max_size=12)


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("plain", "plain"),
        ("Биткоин 😀", "Биткоин 😀"),
        ("a\0b", "a\u241b0000b"),
        ("\ud83dx", "\u241bd83dx"),
        ("\u241b", "\u241b241b"),
        ("\u241b0000", "\u241b241b0000"),
    ],
)
def test_odd_texts_are_escaped(text: str, stored: str) -> None:
    """What databases refuse is written out, all else stays; both come back."""
    assert escape(text) == stored
    assert unescape(stored) == text


@given(ANY_TEXT | ODD_TEXT)
def test_any_text_comes_back(text: str) -> None:
    """Every text has bytes in UTF-8 then, holds no U+0000, and is the same afterwards."""
    stored = escape(text)
    assert b"\0" not in stored.encode()
    assert unescape(stored) == text


@given(
    st.recursive(
        ODD_TEXT | st.integers() | st.booleans() | st.none() | AMOUNTS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD_TEXT, inner, max_size=3),
        max_leaves=8,
    )
)  # fmt: skip
def test_any_json_comes_back(value: object) -> None:
    """With its amounts, and with texts that no database takes."""
    text = dump_json(value)
    assert "\\u0000" not in text
    assert load_json(text) == value


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (datetime.min.replace(tzinfo=UTC), "0001-01-01 00:00:00.000000"),
        (LATEST, "9999-12-31 23:59:59.000000"),
        (datetime(2026, 3, 1, 2, tzinfo=EAST), "2026-02-28 23:00:00.000000"),
    ],
    ids=["first", "last", "another zone"],
)  # fmt: skip
def test_instants_have_a_fixed_width(instant: datetime, text: str) -> None:
    """They are UTC, they sort as texts do, and SQLite's date functions take them."""
    assert instant_text(instant) == text
    assert instant_of(text) == instant
    [(read,)] = sqlite3.connect(":memory:").execute("SELECT datetime(?)", (text,))
    assert read == text[:19]


def test_an_instant_has_a_zone() -> None:
    """A naive time is nobody's instant."""
    with pytest.raises(ValueError, match="pass an aware datetime"):
        instant_text(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("1.50", "1.50"),
        ("1E+5", "100000"),
        ("0E-8", "0.00000000"),
        ("-0", "0"),
        ("-1e-7", "-0.0000001"),
    ],
)
def test_amounts_are_digits(amount: str, text: str) -> None:
    """Without an exponent, so that SQL can calculate with them, and with all the places."""
    assert amount_text(Decimal(amount)) == text


@pytest.mark.parametrize(
    ("amount", "fits"),
    [("1E+131071", True), ("1E+131072", False), ("1E-16383", True), ("1E-16384", False),
     ("NaN", False), ("Infinity", False), ("0", True)],
)  # fmt: skip
def test_what_numeric_holds(amount: str, *, fits: bool) -> None:
    """An amount beyond PostgreSQL's NUMERIC is known before it is written."""
    assert fits_numeric(Decimal(amount)) is fits


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False).filter(fits_numeric)))
def test_decimal_sum_is_exact(amounts: list[Decimal]) -> None:
    """SQLite adds amounts up without losing a digit, whatever the context of the thread is."""
    total = DecimalSum()
    with localcontext() as context:
        context.prec = 3
        for amount in amounts:
            total.step(amount_text(amount))
            total.step(None)
    found = total.finalize()
    assert (found is None) is (not amounts)
    assert Fraction(found or 0) == sum(map(Fraction, amounts))

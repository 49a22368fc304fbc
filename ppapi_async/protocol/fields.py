"""What records have on the wire: the names and bounds of fields, and each form of a value.

What reads a value takes it as JSON has it (numbers with a fraction as `Decimal`), and raises a
`ValueError` that says what is wrong with it. The second argument is what cattrs hands to a hook.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import (
    MAX_EMAX,
    MIN_EMIN,
    Clamped,
    Context,
    Decimal,
    Inexact,
    InvalidOperation,
    Overflow,
    Rounded,
    Subnormal,
    Underflow,
)

import attrs
from attrs import evolve

from ppapi_async.models import (
    Exchange,
    Info,
    Json,
    Link,
    Payout,
    PayoutMethod,
    PayoutStatus,
    Row,
    extra_of,
)
from ppapi_async.protocol.site_clock import SiteClock
from ppapi_async.protocol.text import restore

__all__ = [
    "AMOUNTS",
    "EARLIEST",
    "EXACT",
    "INT64",
    "KNOWN_KEYS",
    "LATEST",
    "LONGEST_ROW",
    "MOST_PARTS",
    "TEXT_FIELDS",
    "WIRE_NAMES",
    "correct_times",
    "finish_row",
    "fits",
    "flag",
    "fraction",
    "id_of",
    "kept",
    "money",
    "optional_money",
    "parse_json",
    "payout_status",
    "per_cent",
    "restore_texts",
    "rows_of",
    "text_of",
    "time_of",
    "wall_clock",
    "whole",
]

LONGEST_ROW = 64 * 1024
"""Bytes of a row. A real one has half a kilobyte, and no field of more than 500 bytes."""
MOST_PARTS = 1000
"""Entries of a list within a record: payout methods, steps of a status history."""
_FRACTION = re.compile(r"-?[0-9]+(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)")
_LONGEST_AMOUNT = 200
"""Characters that are read as a number at all."""
EXACT = Context(prec=300_000, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact, InvalidOperation])
"""More digits than any amount has: no sum is ever rounded."""
AMOUNTS = Context(
    prec=60,
    Emax=60,
    Emin=-60,
    traps=[Clamped, Inexact, InvalidOperation, Overflow, Rounded, Subnormal, Underflow],
)
"""What amounts have to fit into: sites send 12 places and as many digits before the point. Whoever
calculates with a million digits, or writes `1e999999999` out, would have stopped the process."""
EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(microsecond=0, tzinfo=UTC)
_NO_TIME = Decimal("5e-7")
INT64 = range(-(2**63), 2**63)
WIRE_NAMES = {"commission": "comission"}  # the wire's own spelling
TEXT_FIELDS: Mapping[type, tuple[str, ...]] = {
    Link: ("browser", "referrer", "query_string"),
    Exchange: ("currency_code_give", "currency_code_get", "psys_give", "psys_get"),
    Payout: ("account", "pay_currency_code", "original_currency_code"),
    PayoutMethod: ("title",),
    Info: (),
}


KNOWN_KEYS: Mapping[type, frozenset[str]] = {
    record: frozenset(WIRE_NAMES.get(one.name, one.name) for one in attrs.fields(record))
    - {"extra"}
    for record in TEXT_FIELDS
}


def parse_json(raw: bytes) -> Json:
    """Return the JSON value that all of `raw` is; numbers with a fraction as exact `Decimal`.

    Raises:
        ValueError: it is not strict JSON.
    """
    text = raw.decode()  # strictly: given bytes, json.loads lets halves of characters through
    value: Json = json.loads(text, parse_float=fraction, parse_constant=_refuse)
    return value


def _refuse(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


def fraction(text: str) -> Decimal:
    """Return the exact number that a JSON number with a fraction or an exponent is."""
    try:
        return Decimal(text)
    except InvalidOperation:  # it has more digits in its exponent than a Decimal can
        raise ValueError("a number is too large") from None


def whole(value: object, _: object = int) -> int:
    """Return the whole number of any JSON form."""
    if isinstance(value, str) and len(value) <= _LONGEST_AMOUNT and _FRACTION.fullmatch(value):
        value = fraction(value)  # `"7.0"`, which msgspec takes, too
    if isinstance(value, str):
        is_whole = value.strip().lstrip("-").isdigit()
    elif isinstance(value, Decimal):
        # Nobody's 1e999999999 is written out: that takes minutes.
        is_whole = value.adjusted() < 20 and value == value.to_integral_value()
    else:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole:
        raise ValueError("not a whole number")
    number: int = int(value)  # type: ignore[call-overload]
    if number not in INT64:  # what keeps and compares ids has 64 bits for each
        raise ValueError("not a whole number of 64 bits")
    return number


def money(value: object, _: object = Decimal) -> Decimal:
    """Return the exact amount of any JSON form; `"-0"` (it occurs) is 0."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError("not an amount")
    if isinstance(value, str) and len(value) > _LONGEST_AMOUNT:
        raise ValueError("an amount of more than 60 digits")
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise ValueError("not an amount") from None
    if not amount.is_finite():
        raise ValueError("not a finite amount")
    if not fits(amount):
        raise ValueError("an amount of more than 60 digits")
    return abs(amount) if amount.is_zero() else amount


def fits(amount: Decimal) -> bool:
    """Tell whether an amount has no more than 60 digits, before and after the point."""
    try:
        AMOUNTS.plus(amount)
    except ArithmeticError:
        return False
    return True


_FLAGS: Mapping[object, bool] = {
    0: False,
    1: True,
    "0": False,
    "1": True,
    "": False,
    "true": True,
    "false": False,
}  # fmt: skip - PHP prints false as ""


def flag(value: object, _: object = bool) -> bool:
    """Return the flag of any form that PHP writes."""
    if isinstance(value, str):
        value = value.lower()
    if isinstance(value, str | int) and value in _FLAGS:
        return _FLAGS[value]
    raise ValueError("not a flag (0 or 1)")


def text_of(value: object, _: object = str) -> str:
    """Return a text, a number as it is written."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError("not a text")
    return str(value)


def optional_money(value: object, _: object = None) -> Decimal | None:
    """Return an amount; None for the empty text."""
    return None if value is None or value == "" else money(value)


def wall_clock(value: object, _: object = datetime) -> datetime:
    """Return the site's wall-clock that a unix time is, read as UTC."""
    try:
        if isinstance(value, Decimal) and value.copy_abs() < _NO_TIME:
            value = 0  # as msgspec reads it: a datetime has microseconds
        second = whole(value)
    except ValueError:
        raise ValueError("not a unix time") from None
    try:
        return datetime.fromtimestamp(second, UTC)
    except (ValueError, OverflowError, OSError):
        # A date that an operator left empty (0000-00-00), or typed beyond what a datetime holds.
        return EARLIEST if second < 0 else LATEST


def id_of(value: Json) -> int | None:
    """Return the id that a value is; None if it is none."""
    try:
        return whole(value)
    except ValueError:
        return None


def time_of(value: Json) -> datetime | None:
    """Return the site's wall-clock that a value is; None if it is none."""
    try:
        return wall_clock(value)
    except ValueError:
        return None


def payout_status(value: object, _: object = PayoutStatus) -> PayoutStatus:
    """Return the status; the set of them is closed."""
    return PayoutStatus(text_of(value))


def per_cent(value: Json, _: object = Decimal) -> Decimal:
    """Return a commission; the wire has `"2%"`."""
    return money(value.removesuffix("%").strip() if isinstance(value, str) else value)


def rows_of(items: Json) -> list[Json]:
    """Return the rows of `items`, a list or an object keyed by id; a row without id gets it."""
    if isinstance(items, dict):
        return [{"id": key, **row} if isinstance(row, dict) else row for key, row in items.items()]
    if not isinstance(items, list):
        raise ValueError("not a list of rows")
    return items


def kept(value: Json) -> Json:
    """Return a value of a site's own; a number that nobody can calculate with as a text.

    `1e400` is more than a state, or JSON elsewhere, can hold.
    """
    if isinstance(value, dict):
        return {key: kept(one) for key, one in value.items()}
    if isinstance(value, list):
        return [kept(one) for one in value]
    return str(value) if isinstance(value, Decimal) and not fits(value) else value


def finish_row(record: object, value: Json) -> None:
    """Complete a fresh record in place: keep its unknown keys, restore its text.

    In place, because nobody else has seen the record yet and a copy costs more than the decoding.
    """
    known = KNOWN_KEYS[type(record)]
    if isinstance(value, dict) and not value.keys() <= known:
        extra = {key: kept(one) for key, one in value.items() if key not in known}
        object.__setattr__(record, "extra", extra_of(extra))
    for name in TEXT_FIELDS[type(record)]:
        text = getattr(record, name)
        if text and (restored := restore(text)) != text:
            object.__setattr__(record, name, restored)


def restore_texts(records: Sequence[object]) -> None:
    """Undo the server's changes to the texts of records of one kind, in place."""
    for name in TEXT_FIELDS[type(records[0])]:
        texts = list(map(operator.attrgetter(name), records))
        together = "".join(filter(None, texts))
        if together.isascii() and "&" not in together:
            continue
        # Each text once: names of payment systems repeat a lot.
        restored = {text: restore(text) for text in set(texts) if text}
        altered = {text: new for text, new in restored.items() if new != text}
        if altered:
            for record, text in zip(records, texts, strict=True):
                if text in altered:
                    object.__setattr__(record, name, altered[text])


def correct_times(records: Sequence[Row], clock: SiteClock) -> None:
    """Turn the wall-clock times of records into instants, in place."""
    if clock.is_utc:
        return
    instants = clock.to_instants(record.time for record in records)
    for record, instant in zip(records, instants, strict=True):
        object.__setattr__(record, "time", instant)
        if isinstance(record, Exchange) and record.statuses:
            steps = tuple(evolve(s, time=clock.to_instant(s.time)) for s in record.statuses)
            object.__setattr__(record, "statuses", steps)

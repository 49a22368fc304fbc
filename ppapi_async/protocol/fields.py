"""One object at a time: cattrs hooks for whatever form a value takes on the wire.

This is the careful way, for what the fast way in `pages` refuses, and for the small answers. Every
hook takes the value as JSON has it (numbers with a fraction as `Decimal`) and says what is wrong.
"""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import (
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
from itertools import islice
from typing import TypeAlias, TypeVar

import attrs
import cattrs
import msgspec
from attrs import evolve, frozen
from cattrs.gen import make_dict_structure_fn, override

from ppapi_async.account import Dialect
from ppapi_async.errors import DecodeError, PPAPIError
from ppapi_async.models import (
    Exchange,
    Info,
    Json,
    Link,
    Payout,
    PayoutMethod,
    PayoutReceipt,
    PayoutStatus,
    StatusChange,
)
from ppapi_async.protocol.responses import Answer, Envelope, Reader, read_answer
from ppapi_async.protocol.site_clock import SiteClock
from ppapi_async.protocol.steps import Outcome
from ppapi_async.protocol.text import restore

__all__ = [
    "AMOUNTS",
    "EARLIEST",
    "INT64",
    "KNOWN_KEYS",
    "LATEST",
    "LONGEST_ROW",
    "MOST_PARTS",
    "TEXT_FIELDS",
    "clean_problems",
    "correct_time",
    "data_steps",
    "decode_error",
    "finish_row",
    "fits",
    "id_of",
    "info_steps",
    "parse_json",
    "receipt_steps",
    "restore_text",
    "restore_texts",
    "rows_of",
    "structure_row",
    "time_of",
]

T = TypeVar("T")
Hook: TypeAlias = Callable[[Json, object], object]
_SHOWN = 80
MOST_PROBLEMS = 20
"""Listed in one error; what is wrong beside them is counted."""
LONGEST_ROW = 64 * 1024
"""Bytes of a row. A real one has half a kilobyte, and no field of more than 500 bytes."""
MOST_PARTS = 1000
"""Entries of a list within a record: payout methods, steps of a status history."""
_LONGEST_AMOUNT = 200
"""Characters that are read as a number at all."""
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
INT64 = range(-(2**63), 2**63)
_WIRE_NAMES = {"commission": "comission"}  # the wire's own spelling
TEXT_FIELDS: Mapping[type, tuple[str, ...]] = {
    Link: ("browser", "referrer", "query_string"),
    Exchange: ("currency_code_give", "currency_code_get", "psys_give", "psys_get"),
    Payout: ("account", "pay_currency_code", "original_currency_code"),
    PayoutMethod: ("title",),
    Info: (),
}


def _wire_keys(record: type[attrs.AttrsInstance]) -> frozenset[str]:
    names = (_WIRE_NAMES.get(field.name, field.name) for field in attrs.fields(record))
    return frozenset(names) - {"extra"}


KNOWN_KEYS: Mapping[type, frozenset[str]] = {record: _wire_keys(record) for record in TEXT_FIELDS}


def parse_json(raw: bytes) -> Json:
    """Return the JSON value that all of `raw` is; numbers with a fraction as exact `Decimal`.

    Raises:
        ValueError: it is not strict JSON.
    """
    text = raw.decode()  # strictly: given bytes, json.loads lets halves of characters through
    value: Json = json.loads(text, parse_float=_fraction, parse_constant=_refuse)
    return value


def _refuse(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


def _fraction(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # it has more digits in its exponent than a Decimal can
        raise ValueError("a number is too large") from None


def _int(value: object, _: object = int) -> int:
    number = _whole(value)
    if number not in INT64:  # what keeps and compares ids has 64 bits for each
        raise ValueError("not a whole number of 64 bits")
    return number


def _whole(value: object) -> int:
    if isinstance(value, str) and value.strip().lstrip("-").isdigit():
        return int(value)
    # Nobody's 1e999999999 is written out: that takes minutes.
    if isinstance(value, Decimal) and value.adjusted() < 20 and value == value.to_integral_value():
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("not a whole number")
    return value


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


def _flag(value: object, _: object = bool) -> bool:
    if isinstance(value, str | int) and value in _FLAGS:
        return _FLAGS[value]
    raise ValueError("not a flag (0 or 1)")


def _text(value: object, _: object = str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError("not a text")
    return str(value)


def _optional_money(value: object, _: object = None) -> Decimal | None:
    return None if value is None or value == "" else money(value)


def _wall_clock(value: object, _: object = datetime) -> datetime:
    try:
        second = _int(value)
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
        return _int(value)
    except ValueError:
        return None


def time_of(value: Json) -> datetime | None:
    """Return the site's wall-clock that a value is; None if it is none."""
    try:
        return _wall_clock(value)
    except ValueError:
        return None


def _payout_status(value: object, _: object = PayoutStatus) -> PayoutStatus:
    return PayoutStatus(_text(value))


def _per_cent(value: Json, _: object = Decimal) -> Decimal:
    return money(value.removesuffix("%").strip() if isinstance(value, str) else value)


def rows_of(items: Json) -> list[Json]:
    """Return the rows of `items`, a list or an object keyed by id; a row without id gets it."""
    if isinstance(items, dict):
        return [{"id": key, **row} if isinstance(row, dict) else row for key, row in items.items()]
    if not isinstance(items, list):
        raise ValueError("not a list of rows")
    return items


def _few(items: Json) -> list[Json]:
    """Return the rows of a list within a record, if they are no more than such a list has."""
    if isinstance(items, dict | list) and len(items) > MOST_PARTS:
        raise ValueError(f"more than {MOST_PARTS:,} entries")
    return rows_of(items)


class _RowsError(ValueError):
    """Rows within a record are not what they should be: `problems` has each path and value."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("not rows")
        self.problems = problems


def _many(row: type[T]) -> Hook:
    def structure(value: Json, _: object) -> object:
        rows = [structure_row(one, row) for one in _few(value or [])]
        problems = [
            (f"[{index}].{path}".rstrip("."), shown)
            for index, found in enumerate(rows)
            if isinstance(found, list)
            for path, shown in found
        ]
        if problems:
            raise _RowsError(problems)
        return tuple(rows)

    return structure


def _record_hook(made: cattrs.Converter, record: type[attrs.AttrsInstance]) -> Hook:
    """Make the hook of a record: null is as good as missing, unknown keys are passed over."""
    overrides = {"extra": override(omit=True)}
    if record is PayoutMethod:
        overrides["commission"] = override(rename="comission", struct_hook=_per_cent)
    hook = make_dict_structure_fn(record, made, **overrides)  # type: ignore[arg-type]

    def structure(value: Json, kind: object) -> object:
        if not isinstance(value, dict):
            raise ValueError("not an object")
        made_record = hook({key: one for key, one in value.items() if one is not None}, kind)
        if record is PayoutMethod:  # the one record that is only ever part of another
            finish_row(made_record, value)
        return made_record

    return structure


@frozen
class _Receipt:
    payout_id: int


@functools.cache
def converter() -> cattrs.Converter:
    """Return the converter with a hook for each kind of value on the wire."""
    made = cattrs.Converter(detailed_validation=True)
    hooks: list[tuple[object, Hook]] = [
        (int, _int),
        (Decimal, money),
        (bool, _flag),
        (str, _text),
        (datetime, _wall_clock),
        (Decimal | None, _optional_money),
        (PayoutStatus, _payout_status),
        (tuple[StatusChange, ...], _many(StatusChange)),
        (tuple[PayoutMethod, ...], _many(PayoutMethod)),
    ]
    for kind, hook in hooks:
        if isinstance(kind, type):
            made.register_structure_hook(kind, hook)
        else:
            made.register_structure_hook_func(functools.partial(operator.eq, kind), hook)
    records = (Link, Exchange, Payout, PayoutMethod, Info, StatusChange, _Receipt)
    for record in records:
        made.register_structure_hook(record, _record_hook(made, record))
    return made


def structure_row(value: Json, record: type[T]) -> T | list[tuple[str, str]]:
    """Return the record, or the `(path, value)` of each thing that is wrong with it."""
    try:
        return converter().structure(value, record)
    except cattrs.BaseValidationError as error:
        return list(islice(_problems(error, value), MOST_PROBLEMS))
    except (ValueError, TypeError) as error:
        return [("", f"{error}: {_show(value)}")]


def _problems(error: cattrs.BaseValidationError, value: Json) -> Iterator[tuple[str, str]]:
    """Return what cattrs found wrong with each field."""
    for one in error.exceptions:
        note = next((n for n in getattr(one, "__notes__", ()) if hasattr(n, "name")), None)
        name = "" if note is None else _WIRE_NAMES.get(str(note.name), str(note.name))
        inner = value.get(name) if isinstance(value, dict) else None
        if isinstance(one, _RowsError):
            yield from ((f"{name}{path}", shown) for path, shown in one.problems)
        elif isinstance(one, KeyError):
            yield name, "missing"
        else:
            yield name, f"{one}: {_show(inner)}"


def _show(value: Json) -> str:
    if isinstance(value, dict | list):  # not written out: it may have a million entries
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value):,} entries"
    return repr(str(value) if isinstance(value, Decimal) else value)


def _kept(value: Json) -> Json:
    """Return a value of a site's own; a number that nobody can calculate with as a text.

    `1e400` is more than a state, or JSON elsewhere, can hold.
    """
    if isinstance(value, dict):
        return {key: _kept(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_kept(one) for one in value]
    return str(value) if isinstance(value, Decimal) and not fits(value) else value


def finish_row(record: object, value: Json) -> None:
    """Complete a fresh record in place: keep its unknown keys, restore its text.

    In place, because nobody else has seen the record yet and a copy costs more than the decoding.
    """
    known = KNOWN_KEYS[type(record)]
    if isinstance(value, dict) and not value.keys() <= known:
        extra = {key: _kept(one) for key, one in value.items() if key not in known}
        object.__setattr__(record, "extra", extra)
    restore_text(record)


def restore_text(record: object) -> None:
    """Undo the server's changes to the record's texts, in place."""
    for name in TEXT_FIELDS[type(record)]:
        text = getattr(record, name)
        if text:
            object.__setattr__(record, name, restore(text))


def restore_texts(records: Sequence[object]) -> None:
    """Do `restore_text` for rows of one kind; names of currencies and systems repeat a lot."""
    names = TEXT_FIELDS[type(records[0])]
    texts_of = operator.attrgetter(*names)
    unaltered: set[tuple[str | None, ...]] = set()
    for record in records:
        texts = texts_of(record)
        if texts in unaltered:
            continue
        restored = tuple(restore(text) if text else text for text in texts)
        if restored == texts:
            unaltered.add(texts)
        else:
            for name, text in zip(names, restored, strict=True):
                object.__setattr__(record, name, text)


def correct_time(record: object, clock: SiteClock) -> None:
    """Turn the record's wall-clock times into instants, in place."""
    object.__setattr__(record, "time", clock.to_instant(record.time))  # type: ignore[attr-defined]
    if isinstance(record, Exchange) and record.statuses:
        steps = tuple(evolve(s, time=clock.to_instant(s.time)) for s in record.statuses)
        object.__setattr__(record, "statuses", steps)


def decode_error(problems: list[tuple[str, str]], reader: Reader) -> DecodeError:
    """Return the error that lists these problems, redacted."""
    clean = clean_problems(problems, reader)
    listed = "; ".join(f"{path or 'data'} = {shown}" for path, shown in clean[:5])
    return DecodeError(
        f"the answer is not what the API promises: {listed}",
        account=reader.account.name,
        method=reader.method,
        problems=clean,
    )


def clean_problems(problems: list[tuple[str, str]], reader: Reader) -> list[tuple[str, str]]:
    """Return the first problems as they can be shown: redacted, and each of them short."""
    first = problems[:MOST_PROBLEMS]
    return [(reader.clip(path, _SHOWN), reader.clip(shown, _SHOWN)) for path, shown in first]


def _structure_data(envelope: Envelope, record: type[T], reader: Reader) -> T | DecodeError:
    value = _data(envelope, reader)
    if isinstance(value, DecodeError):
        return value
    result = structure_row(value, record)
    if isinstance(result, list):
        return decode_error(result, reader)
    if record in KNOWN_KEYS:
        finish_row(result, value)
    return result


def _data(envelope: Envelope, reader: Reader) -> Json | DecodeError:
    if isinstance(envelope.data, msgspec.UnsetType):
        return None
    try:
        return parse_json(bytes(envelope.data))
    except (ValueError, RecursionError) as error:
        return decode_error([("data", type(error).__name__)], reader)


def info_steps(answer: Answer, reader: Reader) -> Outcome[tuple[Info, Dialect | None]]:
    """Decode get_info, and what dialect the answer shows.

    `items` may be a list, an object, or not there.
    """
    yield from ()
    envelope = read_answer(answer, reader)
    if isinstance(envelope, PPAPIError):
        return envelope
    info = _structure_data(envelope, Info, reader)
    return info if isinstance(info, PPAPIError) else (info, envelope.dialect)


def receipt_steps(answer: Answer, reader: Reader) -> Outcome[PayoutReceipt]:
    """Decode add_payout."""
    yield from ()
    envelope = read_answer(answer, reader)
    if isinstance(envelope, PPAPIError):
        return envelope
    receipt = _structure_data(envelope, _Receipt, reader)
    if isinstance(receipt, PPAPIError):
        return receipt
    if receipt.payout_id < 1:
        return decode_error([("payout_id", f"no id: {receipt.payout_id}")], reader)
    return PayoutReceipt(receipt.payout_id, reader.clip(envelope.text))


def data_steps(answer: Answer, reader: Reader) -> Outcome[Json]:
    """Decode any method's `data` as JSON, money exact; None where the envelope has none."""
    yield from ()
    envelope = read_answer(answer, reader)
    return envelope if isinstance(envelope, PPAPIError) else _data(envelope, reader)

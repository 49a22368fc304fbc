"""The fast way: rows made by msgspec from their bytes, and the proof that nothing of them is lost.

msgspec passes over keys that a record has no field for, and its lax mode takes some values that
are not what they should be. So what it has made is believed only after two proofs.

Values: each amount, id and time is looked at.

Keys: they are counted. Each key ends in `":`, so JSON has at most as many keys as it has of these
(a text may hold one, too). Keys that are known to be there are counted from below: a field without
a default is there in each row, as is one whose value is not empty; for others the bytes are
searched for the name. Where both numbers are the same, there is no other key. Whatever is counted
once too often would hide a key, and lose it: so nothing here may be counted twice.
"""

from __future__ import annotations

import functools
import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain
from operator import attrgetter
from typing import Any, Generic, TypeAlias, TypedDict, TypeVar

import attrs
import msgspec
from attrs import define, field, frozen

from ppapi_async.models import Exchange, Json, Link, Payout, Row, extra_of
from ppapi_async.protocol.fields import (
    AMOUNTS,
    INT64,
    KNOWN_KEYS,
    LONGEST_ROW,
    MOST_PARTS,
    fraction,
    kept,
)
from ppapi_async.protocol.page import Page
from ppapi_async.protocol.responses import SUCCESSES, error_code, recognise

__all__ = ["UNREADABLE", "OwnKeys", "RawItems", "believe", "believe_each", "decoders", "page_of"]

T = TypeVar("T")
RowT = TypeVar("RowT", bound=Row)
Columns: TypeAlias = Mapping[str, Sequence[Any]]
UNREADABLE = (ValueError, msgspec.DecodeError, RecursionError)
"""What msgspec raises. It looks only at what it decodes: in what it hands on raw, texts may turn
out later to be no UTF-8, and times beyond the last year."""
_MOST_OWN = 16
"""Keys of a site's own that are read fast. There are a few; decoders are made for each set."""
_LONGEST_NAME = 100
"""Characters of such a key."""
_FIRST_ROW = 4096
"""Bytes in which the first row of a page ends, or its keys are not looked at."""
_MONEY: Mapping[type, tuple[str, ...]] = {
    Link: (),
    Exchange: ("amount_give", "amount_get", "partner_reward", "course_give", "course_get"),
    Payout: ("pay_amount", "original_amount"),
}
_TIME, _ZONE, _MICROSECOND = map(attrgetter, ("time", "tzinfo", "microsecond"))
_JSON = json.JSONDecoder()


class _Items(msgspec.Struct, Generic[RowT]):
    items: list[RowT] | dict[str, RowT] | msgspec.UnsetType = msgspec.UNSET


class _PageEnvelope(msgspec.Struct, Generic[RowT]):
    """The envelope of an answer, with the rows decoded in the same pass."""

    error: msgspec.Raw
    status: str | None = None
    data: _Items[RowT] | list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET


class RawItems(msgspec.Struct):
    """What `data` of a list method holds, its rows as they are written."""

    items: list[msgspec.Raw] | dict[str, msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET


class _RawEnvelope(msgspec.Struct):
    data: RawItems


@frozen
class Decoders(Generic[RowT]):
    """The msgspec decoders of one kind of record."""

    record: type[RowT]
    page: msgspec.json.Decoder[_PageEnvelope[RowT]] = field(init=False)
    row: msgspec.json.Decoder[RowT] = field(init=False)

    def __attrs_post_init__(self) -> None:
        kind = self.record
        envelope = _PageEnvelope[kind]  # type: ignore[valid-type]
        for name, target in (("page", envelope), ("row", kind)):
            object.__setattr__(self, name, msgspec.json.Decoder(target, strict=False))


decoders = functools.cache(Decoders)
_RAW_PAGE = msgspec.json.Decoder(_RawEnvelope)
_KEYS = msgspec.json.Decoder(dict[str, msgspec.Raw])


@define
class OwnKeys:
    """The keys of a site's own that its rows had so far: the next page has the same, mostly."""

    names: frozenset[str] = frozenset()

    def learn(self, names: Iterable[str]) -> frozenset[str]:
        """Take these for such keys, too; return all of them that can be read fast."""
        # msgspec finds a name that is not ASCII only by chance.
        new = frozenset(n for n in names if 0 < len(n) <= _LONGEST_NAME and n.isascii())
        if len(new | self.names) <= _MOST_OWN:
            self.names |= new
        else:
            self.names = new if len(new) <= _MOST_OWN else frozenset()
        return self.names


@frozen
class Piece:
    """JSON with rows in it, on which `believe` counts keys.

    Attributes:
        raw: the JSON, a page with its envelope.
        start: where its first row begins.
        outside: how many keys stand before that, or are the ids that rows stand under.
    """

    raw: bytes = field(repr=False)
    start: int
    outside: int

    @classmethod
    def of_page(cls, body: bytes, rows: int, *, keyed: bool) -> Piece:
        """Return a whole page of so many rows.

        Raises:
            ValueError: it is not clear where the rows begin. So do `UNREADABLE`.
        """
        start = body.find(b"{", body.find(b'"items"') + 8 + keyed)
        before = body[:start]
        # Closed here, the page has no row: then all that was counted stands outside.
        items = _RAW_PAGE.decode(before + (b"0}}}" if keyed else b"]}}")).data.items
        if isinstance(items, msgspec.UnsetType) or len(items) != keyed:
            raise ValueError("not where the rows begin")
        return cls(body, start, before.count(b'":') + keyed * (rows - 1))

    @classmethod
    def of_rows(cls, raws: Iterable[msgspec.Raw]) -> Piece:
        """Return a page that is made of these rows."""
        return cls(b'{"data":{"items":[%b]}}' % b",".join(raws), 18, 2)

    def first_keys(self) -> frozenset[str]:
        """Return the keys of the first row, none if it is a long one. No proof needs them."""
        text = self.raw[self.start : self.start + _FIRST_ROW].decode("utf-8", "replace")
        try:
            row, _ = _JSON.raw_decode(text)
        except (ValueError, RecursionError):
            return frozenset()
        return frozenset(row)

    def count_keys(self) -> int:
        """Return how many keys the rows have at most."""
        raw = self.raw
        for blank in (b" ", b"\n", b"\r", b"\t"):  # may stand between a key and its colon
            if blank in raw:
                raw = raw.replace(blank, b"")
        return raw.count(b'":') - self.outside

    def count_key(self, name: str) -> int:
        """Return how often the rows have this key at least."""
        key = f'"{name}":'.encode()
        found = self.raw.count(key, self.start)
        # Behind a backslash it is the end of a longer key.
        return found - self.raw.count(b"\\" + key, self.start) if b"\\" in self.raw else found

    def are_short(self, rows: int, *, keyed: bool) -> bool:
        """Tell whether none of so many rows is longer than a row may be."""
        at = len(self.raw)
        if at > LONGEST_ROW and self.raw.count(b"}", self.start) != rows + 2 + keyed:
            # There are more within rows, so that these do not show where rows end.
            items = _RAW_PAGE.decode(self.raw).data.items or ()
            raws = items.values() if isinstance(items, dict) else items
            return max(len(memoryview(raw)) for raw in raws) <= LONGEST_ROW
        while at > LONGEST_ROW:
            at = self.raw.find(b"}", at - LONGEST_ROW, at)
            if at < 0:
                return False
        return True


def page_of(body: bytes, record: type[RowT], own: OwnKeys) -> Page[RowT]:
    """Return the page that a body is.

    Raises:
        ValueError: it is not clean, or not proven to be. So do `UNREADABLE`.
    """
    envelope = decoders(record).page.decode(body)
    error = bytes(envelope.error)
    if error_code(error) != 0 or envelope.status not in SUCCESSES:
        raise ValueError("not a success")
    data, keyed = envelope.data, False
    rows: list[RowT] = []
    times: Sequence[datetime] = ()
    if not isinstance(data, msgspec.UnsetType | list):
        if isinstance(data.items, msgspec.UnsetType):
            raise ValueError("no items")
        keyed = isinstance(data.items, dict)
        rows = list(data.items.values()) if isinstance(data.items, dict) else data.items
        if isinstance(data.items, dict) and not KNOWN_KEYS[record].isdisjoint(data.items):
            raise ValueError("rows under names of fields, which would be counted as such")
    elif data:  # no `data`, and `[]`, are how servers say that there is nothing
        raise ValueError("no items")
    if rows:
        piece = Piece.of_page(body, len(rows), keyed=keyed)
        if not piece.are_short(len(rows), keyed=keyed):
            raise ValueError("a row that is too long")
        times = believe(rows, piece, own)
    return Page(rows, list(times), recognise(error, envelope.status))


def believe(rows: Sequence[RowT], piece: Piece, own: OwnKeys) -> Sequence[datetime]:
    """Prove that rows are all that a piece has, by counting keys, and give them their `extra`.

    Returns:
        Their times.

    Raises:
        ValueError: they are not, or it cannot be proven. So do `UNREADABLE`.
    """
    record, first = type(rows[0]), piece.first_keys()
    columns = _columns(rows, first)
    _check_values(record, columns)
    known, searched = _count_known(record, columns, piece, first)
    counted = piece.count_keys()
    if counted == known:
        return columns["time"]
    names = own.learn(first - KNOWN_KEYS[record])
    if counted < known or not names:
        raise ValueError("keys that are not accounted for")
    extras = _read_own(piece, names)
    counted -= known + sum(map(len, extras))
    if counted:
        nested = _keys_within(chain.from_iterable(one.values() for one in extras))
        if counted != len(nested) or not searched.isdisjoint(nested):
            raise ValueError("keys that are not accounted for")
    _put_extras(rows, extras)
    return columns["time"]


def believe_each(rows: Sequence[RowT], raws: Sequence[msgspec.Raw], own: OwnKeys) -> list[int]:
    """Give rows their `extra` after a look at the keys of each.

    Returns:
        The places of those that have others than can be read fast, and are without them.

    Raises:
        ValueError: a value is not what it should be. So do `UNREADABLE`.
    """
    record = type(rows[0])
    _check_values(record, _columns(rows, frozenset()))
    unknown = [frozenset(_KEYS.decode(raw)) - KNOWN_KEYS[record] for raw in raws]
    names = own.learn(chain.from_iterable(unknown))
    extras: Sequence[dict[str, Json]] = [{}] * len(rows)
    if names:
        extras = _read_own(Piece.of_rows(raws), names)
    _put_extras(rows, extras)
    return [
        place
        for place, (keys, extra) in enumerate(zip(unknown, extras, strict=True))
        if len(keys) != len(extra)
    ]


def _columns(rows: Sequence[RowT], keys: frozenset[str]) -> Columns:
    """Return what is to be looked at: the values of all rows by field.

    Of the fields that a row may do without, these are those among `keys`.
    """
    names, values_of = _getter(type(rows[0]), keys & KNOWN_KEYS[type(rows[0])])
    return dict(zip(names, zip(*map(values_of, rows), strict=True), strict=True))


@functools.lru_cache(maxsize=64)
def _getter(record: type, keys: frozenset[str]) -> tuple[Sequence[str], Callable[[Row], Any]]:
    names = dict.fromkeys(("id", "time", *_MONEY[record], *sorted(_optional(record) & keys)))
    if record is Exchange:
        names["statuses"] = None
    return tuple(names), attrgetter(*names)


@functools.cache
def _optional(record: type) -> frozenset[str]:
    """Return the fields that a row may do without: it then has None or an empty value."""
    return frozenset(a.name for a in attrs.fields(record) if a.default is not attrs.NOTHING) - {
        "extra"
    }


def _check_values(record: type, columns: Columns) -> None:
    """Raise ValueError if msgspec's lax mode took what we would not (NaN, half seconds, …)."""
    times, ids = columns["time"], columns["id"]
    histories = columns.get("statuses", ())
    if any(histories):
        if max(map(len, histories)) > MOST_PARTS:
            raise ValueError("a long history")
        times = [*times, *map(_TIME, chain.from_iterable(histories))]
    if set(map(_ZONE, times)) != {UTC} or any(map(_MICROSECOND, times)):
        raise ValueError("a time")  # a row between two seconds could fall between two windows
    if min(ids) not in INT64 or max(ids) not in INT64:
        raise ValueError("an id")
    amounts = [one for name in _MONEY[record] for one in columns[name] if one is not None]
    if not all(map(Decimal.is_finite, amounts)):
        raise ValueError("an amount")
    try:
        deque(map(AMOUNTS.plus, amounts), maxlen=0)
    except ArithmeticError:
        raise ValueError("more digits than an amount has") from None


def _count_known(
    record: type, columns: Columns, piece: Piece, first: frozenset[str]
) -> tuple[int, frozenset[str]]:
    """Return how many keys that we know the rows have at least, and which were searched for."""
    rows, optional = len(columns["id"]), _optional(record)
    whole = {name for name in optional & columns.keys() if all(columns[name])}
    # A value that is empty may be one that is not there.
    searched = frozenset(
        name for name in (optional & columns.keys()) - whole if name in first or any(columns[name])
    )
    steps = list(chain.from_iterable(columns.get("statuses", ())))
    if steps and not searched.isdisjoint(("time", "date", "status")):
        raise ValueError("keys of rows that cannot be told from those of their histories")
    count = rows * (len(KNOWN_KEYS[record] - optional) + len(whole))
    count += sum(map(piece.count_key, searched))
    return count + sum(3 if step.date else 2 for step in steps), searched


def _read_own(piece: Piece, names: frozenset[str]) -> list[dict[str, Json]]:
    """Return what each row has under these names."""
    items = _own_decoder(names).decode(piece.raw).data.items
    return list(items.values()) if isinstance(items, dict) else items


class _OwnItems(msgspec.Struct, Generic[T]):
    items: list[T] | dict[str, T]


class _OwnEnvelope(msgspec.Struct, Generic[T]):
    data: _OwnItems[T]


@functools.lru_cache(maxsize=32)
def _own_decoder(names: frozenset[str]) -> msgspec.json.Decoder[Any]:
    """Make a decoder that passes over all other keys. Amounts are exact: they have no type."""
    own = TypedDict("own", dict.fromkeys(names, Any), total=False)  # type: ignore[misc]
    return msgspec.json.Decoder(_OwnEnvelope[own], float_hook=_own_number)


def _own_number(text: str) -> Json:
    return kept(fraction(text))


def _keys_within(values: Iterable[Json]) -> list[str]:
    """Return the keys of all objects within these values."""
    found, waiting = list[str](), list(values)
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            found += value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return found


def _put_extras(rows: Sequence[Row], extras: Iterable[dict[str, Json]]) -> None:
    """Give each row its `extra`, in place: nobody else has seen the rows yet."""
    put = vars(type(rows[0]))["extra"].__set__
    deque(map(put, rows, map(extra_of, extras)), maxlen=0)

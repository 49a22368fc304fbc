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
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain
from operator import attrgetter
from typing import Any, Generic, TypeAlias, TypedDict, TypeVar

import attrs
import msgspec
from attrs import define, field, frozen

from ppapi_async.account import Dialect
from ppapi_async.models import Exchange, Extra, Json, Link, Payout, Row
from ppapi_async.protocol.fields import (
    AMOUNTS,
    INT64,
    KNOWN_KEYS,
    LONGEST_ROW,
    MOST_PARTS,
)
from ppapi_async.protocol.page import Page
from ppapi_async.protocol.responses import SUCCESSES, error_code, recognise

__all__ = [
    "UNREADABLE",
    "OwnKeys",
    "RawItems",
    "believe",
    "believe_each",
    "decoders",
    "page_of",
    "split_page",
]

T = TypeVar("T")
RowT = TypeVar("RowT", bound=Row)
Columns: TypeAlias = Mapping[str, list[Any]]
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


class _PageItems(msgspec.Struct, Generic[RowT]):
    items: list[RowT] | dict[str, RowT] | msgspec.UnsetType = msgspec.UNSET


class _PageEnvelope(msgspec.Struct, Generic[RowT]):
    """The envelope of an answer, with the rows decoded in the same pass."""

    error: msgspec.Raw
    status: str | None = None
    data: _PageItems[RowT] | list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET


class RawItems(msgspec.Struct):
    """What `data` of a list method holds, its rows as they are written."""

    items: list[msgspec.Raw] | dict[str, msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET


class _RawEnvelope(msgspec.Struct):
    data: RawItems
    error: msgspec.Raw = msgspec.Raw(b"")
    status: str | None = None


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
        ids: how many ids behind that are keys that rows stand under.
        is_short: whether it is known that no row is longer than a row may be.
    """

    raw: bytes = field(repr=False)
    start: int
    ids: int = 0
    is_short: bool = False

    @classmethod
    def of_page(cls, body: bytes, rows: int, *, keyed: bool) -> Piece:
        """Return a whole page of so many rows.

        Raises:
            ValueError: it is not clear where the rows begin. So do `UNREADABLE`.
        """
        start = body.find(b"{", body.find(b'"items"') + 8 + keyed)
        before = body[:start]
        # Closed here, the page has no row: then no key of a row stands before.
        items = _RAW_PAGE.decode(before + (b"0}}}" if keyed else b"]}}")).data.items
        if isinstance(items, msgspec.UnsetType) or len(items) != keyed:
            raise ValueError("not where the rows begin")
        return cls(body, start, keyed * (rows - 1))

    @classmethod
    def of_rows(cls, raws: Iterable[msgspec.Raw]) -> Piece:
        """Return a page that is made of these rows, which are short enough."""
        return cls(b'{"data":{"items":[%b]}}' % b",".join(raws), 18, is_short=True)

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
        raw = self.raw[self.start :]
        for blank in (b" ", b"\n", b"\r", b"\t"):  # may stand between a key and its colon
            if blank in raw:
                raw = raw.replace(blank, b"")
        return raw.count(b'":') - self.ids

    def count_colons(self) -> int:
        """Return how many colons the rows have; none if a text may have one in disguise."""
        if b"\\" in self.raw and (b"\\u003a" in self.raw or b"\\u003A" in self.raw):
            return 0
        return self.raw.count(b":", self.start) - self.ids

    def count_key(self, name: str) -> int:
        """Return how often the rows have this key at least."""
        key = f'"{name}":'.encode()
        found = self.raw.count(key, self.start)
        # Behind a backslash it is the end of a longer key.
        return found - self.raw.count(b"\\" + key, self.start) if b"\\" in self.raw else found

    def are_short(self, *, nested: bool) -> bool:
        """Tell whether no row is longer than a row may be; `nested`: there are objects in rows."""
        at = 0 if self.is_short else len(self.raw)
        if nested and at > LONGEST_ROW:
            items = _RAW_PAGE.decode(self.raw).data.items or ()
            raws = items.values() if isinstance(items, dict) else items
            return max(len(memoryview(raw)) for raw in raws) <= LONGEST_ROW
        # Nothing but an object begins like this: in a text, its quotes would be escaped.
        beginning = self.raw[self.start : self.raw.find(b'":', self.start)]
        while at > LONGEST_ROW:
            at = self.raw.find(beginning, at - LONGEST_ROW, at)
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
    times: list[datetime] = []
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
        times = believe(rows, Piece.of_page(body, len(rows), keyed=keyed), own)
    return Page(rows, times, recognise(error, envelope.status))


def split_page(body: bytes) -> tuple[list[tuple[str, msgspec.Raw]], Dialect | None] | None:
    """Return the rows of a page with the ids that they stand under, and what dialect it shows.

    None if it is not a success that has `items`.
    """
    try:
        envelope = _RAW_PAGE.decode(body)
    except UNREADABLE:
        return None
    items, error = envelope.data.items, bytes(envelope.error)
    if (
        isinstance(items, msgspec.UnsetType)
        or error_code(error)
        or envelope.status not in SUCCESSES
    ):
        return None
    rows = list(items.items()) if isinstance(items, dict) else [("", raw) for raw in items]
    return rows, recognise(error, envelope.status)


def believe(rows: Sequence[RowT], piece: Piece, own: OwnKeys) -> list[datetime]:
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
    nested, extras = any(columns.get("statuses", ())), list[dict[str, Json]]()
    # Colons are counted in a third of the time: one for each key, and those within texts.
    colons = piece.count_colons() - _colons_within(columns)
    if colons != known and (names := own.learn(first - KNOWN_KEYS[record])):
        extras = _read_own(piece, names)
        known += sum(map(len, extras))
        if colons != known:
            texts = [one for extra in extras for one in extra.values() if type(one) is str]
            colons -= "".join(texts).count(":")
    left = 0 if colons == known else piece.count_keys() - known
    if left:
        inner, nested = _keys_within(extras), True
        if left != len(inner) or not searched.isdisjoint(inner):
            raise ValueError("keys that are not accounted for")
    if extras:
        _put_extras(rows, extras)
    if not piece.are_short(nested=nested):
        raise ValueError("a row that is too long")
    return columns["time"]


def believe_each(rows: Sequence[RowT], raws: Sequence[msgspec.Raw], own: OwnKeys) -> list[int]:
    """Give rows their `extra` after a look at the keys of each.

    Returns:
        The places of those that have others than can be read fast, and are without them.

    Raises:
        ValueError: a value is not what it should be. So do `UNREADABLE`.
    """
    record = type(rows[0])
    _check_values(record, _columns(rows, frozenset(("statuses",))))
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
    record = type(rows[0])
    names = {"id", "time", *_MONEY[record], *(_optional(record) & keys)}
    if record is Payout:
        names.add("method_id")
    # A tuple for each row would be counted by the garbage collector.
    return {name: list(map(attrgetter(name), rows)) for name in names}


@functools.cache
def _optional(record: type) -> frozenset[str]:
    """Return the fields that a row may do without: it then has None or an empty value."""
    return frozenset(a.name for a in attrs.fields(record) if a.default is not attrs.NOTHING) - {
        "extra"
    }


def _check_values(record: type, columns: Columns) -> None:
    """Raise ValueError if msgspec's lax mode took what we would not (NaN, half seconds, …)."""
    times, ids = columns["time"], columns["id"] + columns.get("method_id", [])
    histories = columns.get("statuses", ())
    if any(histories):
        if max(map(len, histories)) > MOST_PARTS:
            raise ValueError("a long history")
        times = [*times, *map(_TIME, chain.from_iterable(histories))]
    if set(map(_ZONE, times)) != {UTC} or any(map(_MICROSECOND, times)):
        raise ValueError("a time")  # a row between two seconds could fall between two windows
    if min(ids) not in INT64 or max(ids) not in INT64:
        raise ValueError("an id")
    amounts: list[Decimal] = []
    for name in _MONEY[record]:
        column = columns[name]
        amounts += column if all(column) else [one for one in column if one is not None]
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


def _colons_within(columns: Columns) -> int:
    """Return how many colons the texts of the rows have."""
    texts = columns.keys() - {"id", "time", "method_id", "statuses"}.union(*_MONEY.values())
    return sum("".join(filter(None, columns[name])).count(":") for name in texts)


def _read_own(piece: Piece, names: frozenset[str]) -> list[dict[str, Json]]:
    """Return what each row has under these names."""
    try:
        items = _own_decoder(names).decode(piece.raw).data.items
    except ArithmeticError:
        raise ValueError("a number that an amount could not be") from None
    return list(items.values()) if isinstance(items, dict) else items


class _OwnItems(msgspec.Struct, Generic[T]):
    items: list[T] | dict[str, T]


class _OwnEnvelope(msgspec.Struct, Generic[T]):
    data: _OwnItems[T]


@functools.lru_cache(maxsize=32)
def _own_decoder(names: frozenset[str]) -> msgspec.json.Decoder[Any]:
    """Make a decoder that passes over all other keys; amounts among these are exact."""
    own = TypedDict("own", dict.fromkeys(names, Any), total=False)  # type: ignore[misc]
    return msgspec.json.Decoder(_OwnEnvelope[own], float_hook=AMOUNTS.create_decimal)


def _keys_within(extras: Iterable[dict[str, Json]]) -> list[str]:
    """Return the keys of all objects within these values."""
    found = list[str]()
    waiting = list(chain.from_iterable(extra.values() for extra in extras))
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            found += value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return found


def _put_extras(rows: Sequence[Row], extras: Sequence[dict[str, Json]]) -> None:
    """Give each row its `extra`, in place: nobody else has seen the rows yet."""
    put = object.__setattr__
    for row, extra in zip(rows, extras, strict=True):
        if extra:
            put(row, "extra", Extra(extra))

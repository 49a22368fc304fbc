"""Pages of rows: the fast way for what is clean, the careful way for the rest.

Three tiers. A page goes from its bytes straight into records (msgspec). Where that refuses, the
page is split raw and decoded row by row; only the rows that still fail go through the hooks in
`rows`, which know every form of a value or name what is wrong. Nothing is dropped in any tier: a
row that cannot be read stands in the page's `unreadable`, and hides no other.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections import deque
from collections.abc import Callable, Generator, Sequence
from datetime import UTC
from decimal import Decimal
from itertools import chain
from operator import attrgetter
from typing import Generic, TypeVar

import attrs
import cattrs
import msgspec
from attrs import field, frozen

from ppapi_async.errors import PPAPIError
from ppapi_async.models import Exchange, Json, Link, Payout, Row, UnreadableRow
from ppapi_async.protocol.fields import (
    AMOUNTS,
    INT64,
    KNOWN_KEYS,
    LONGEST_ROW,
    MOST_PARTS,
    clean_problems,
    converter,
    correct_time,
    decode_error,
    finish_row,
    id_of,
    parse_json,
    restore_texts,
    structure_row,
    time_of,
)
from ppapi_async.protocol.page import Page
from ppapi_async.protocol.responses import (
    SUCCESSES,
    Answer,
    Reader,
    error_code,
    read_answer,
    recognise,
    strip_noise,
)
from ppapi_async.protocol.site_clock import SiteClock
from ppapi_async.protocol.steps import Outcome, finish
from ppapi_async.protocol.text import may_be_altered

__all__ = ["PageCodec"]

RowT = TypeVar("RowT", bound=Row)
_WHOLE_PAGE = 256 * 1024  # bytes that are decoded in one go, about two milliseconds
_SLICE = 250  # rows of a larger answer between two chances for the event loop
_ODD_SLICE = 20  # the same, of rows that need the careful way
_MOST_UNREADABLE = 10_000
"""Rows of an answer, then it is not the API's: each costs a tenth of a millisecond to look at."""
_SHORTEST_ROW = 12
"""Bytes: a row holds at least an id and a time. What would be shorter is not split into rows."""
_MOST_SPLIT = 200_000
"""Rows that an answer is split into whatever they are, in some ten milliseconds."""
_LOOKED_INTO = 1024 * 1024
"""Bytes of a row that is too long, but whose id and time are looked for."""
_MONEY = {
    Link: None,
    Exchange: attrgetter(
        "amount_give", "amount_get", "partner_reward", "course_give", "course_get"
    ),
    Payout: attrgetter("pay_amount", "original_amount"),
}
_TIME, _ID = attrgetter("time"), attrgetter("id")
_FRACTION = attrgetter("time.microsecond")
_UNREADABLE = (ValueError, msgspec.DecodeError, RecursionError)
"""What msgspec raises. It looks only at what it decodes: in what it hands on raw, texts may turn
out later to be no UTF-8, and times beyond the last year."""


class _Items(msgspec.Struct, Generic[RowT]):
    items: list[RowT] | dict[str, RowT] | msgspec.UnsetType = msgspec.UNSET


class _PageEnvelope(msgspec.Struct, Generic[RowT]):
    """The envelope of `answer`, with the rows decoded in the same pass."""

    error: msgspec.Raw
    status: str | None = None
    data: _Items[RowT] | list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET


class _RawItems(msgspec.Struct):
    items: list[msgspec.Raw] | dict[str, msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET


@frozen
class _Fast(Generic[RowT]):
    """The msgspec decoders of one kind of record."""

    record: type[RowT]
    page: msgspec.json.Decoder[_PageEnvelope[RowT]] = field(init=False)
    row: msgspec.json.Decoder[RowT] = field(init=False)

    def __attrs_post_init__(self) -> None:
        kind = self.record
        envelope = _PageEnvelope[kind]  # type: ignore[valid-type]
        for name, target in (("page", envelope), ("row", kind)):
            object.__setattr__(self, name, msgspec.json.Decoder(target, strict=False))


_fast = functools.cache(_Fast)


def _is_page(kind: object) -> bool:
    return getattr(kind, "__origin__", None) is Page


def _page_hook(kind: type) -> Callable[[bytes, object], Page[Row]]:
    """Make cattrs' structure hook for `Page[Record]`: hands the whole body to msgspec.

    It takes clean pages only and raises `ValueError` for all others.
    """
    (record,) = kind.__args__  # type: ignore[attr-defined]
    fast = _fast(record)

    def structure(body: bytes, _: object) -> Page[Row]:
        envelope = fast.page.decode(body)
        error = bytes(envelope.error)
        if error_code(error) != 0 or envelope.status not in SUCCESSES:
            raise ValueError("not a success")
        rows, keyed = _listed(envelope.data)
        if not (
            _are_clean(rows) and _are_short(body) and _holds_only_known(body, rows, keyed=keyed)
        ):
            raise ValueError("odd rows")
        return Page(rows, list(map(_TIME, rows)), recognise(error, envelope.status))

    return structure


def _listed(data: _Items[RowT] | list[msgspec.Raw] | msgspec.UnsetType) -> tuple[list[RowT], bool]:
    """Return the rows and whether they are keyed by id. Nothing found: no `data`, or `[]`."""
    if isinstance(data, msgspec.UnsetType) or data == []:
        return [], False
    if isinstance(data, list) or isinstance(data.items, msgspec.UnsetType):
        raise ValueError("no items")
    if isinstance(data.items, dict):
        return list(data.items.values()), True
    return data.items, False


def _are_clean(rows: list[RowT]) -> bool:
    """Tell whether msgspec's lax mode took nothing that we would refuse (NaN, half seconds, …)."""
    if not rows:
        return True
    if set(map(attrgetter("time.tzinfo"), rows)) != {UTC} or any(map(_FRACTION, rows)):
        return False  # a row between two seconds could fall between two windows
    ids = list(map(_ID, rows))
    if min(ids) not in INT64 or max(ids) not in INT64:
        return False
    amounts = _MONEY[type(rows[0])]
    if amounts is None:
        return True
    present = [one for one in chain.from_iterable(map(amounts, rows)) if one is not None]
    if not all(map(Decimal.is_finite, present)):
        return False
    try:
        deque(map(AMOUNTS.plus, present), maxlen=0)
    except ArithmeticError:
        return False  # more digits than an amount has
    return not any(map(_many_steps, rows))


def _many_steps(row: Row) -> bool:
    return isinstance(row, Exchange) and len(row.statuses) > MOST_PARTS


def _are_short(body: bytes) -> bool:
    """Tell whether no row of a page is longer than a row may be: none is without an end so long."""
    at = len(body)
    while at > LONGEST_ROW:
        at = body.rfind(b"}", at - LONGEST_ROW, at)
        if at < 0:
            return False
    return True


def _holds_only_known(body: bytes, rows: list[RowT], *, keyed: bool) -> bool:
    """Tell whether no row of a whole page has a key that we do not know."""
    if not rows:
        return True
    start = body.find(b"{", body.find(b'"items"') + 8 + keyed)
    first = body[start : body.find(b"}", start) + 1]
    more = body[:start].count(b'":') + keyed * (len(rows) - 1)
    return _are_alike(first, body, rows, more)


def _are_alike(first: bytes, raw: bytes, rows: list[RowT], more: int = 0) -> bool:
    """Tell whether all rows have the keys of the first, and only known ones.

    By counting keys, which is much cheaper than looking at those of each row: there are as many as
    there would be, `more` of them outside the rows, and none that a row may do without is missing
    somewhere to make up for one that we do not know. A false "no" costs only time.
    """
    try:
        keys = _KEYS.decode(first).keys()
    except _UNREADABLE:
        return False
    if not keys <= KNOWN_KEYS[type(rows[0])]:
        return False
    if raw.count(b'":') != len(rows) * len(keys) + more:
        return False
    return not _may_lack(_optional(type(rows[0]), frozenset(keys)), rows, raw)


def _may_lack(names: Sequence[str], rows: Sequence[Row], raw: bytes) -> bool:
    """Tell whether a row may be without one of these keys: its value would then be empty."""
    if not names or all(chain.from_iterable(map(attrgetter("id", *names), rows))):
        return False
    return any(raw.count(f'"{name}":'.encode()) < len(rows) for name in names)


@functools.cache
def _optional(record: type, keys: frozenset[str]) -> Sequence[str]:
    """Return those of the keys that a row need not have: without them it has None or ""."""
    fields = attrs.fields(record)
    return [a.name for a in fields if a.default is not attrs.NOTHING and a.name in keys]


_KEYS = msgspec.json.Decoder(dict[str, msgspec.Raw])


@functools.cache
def _converter() -> cattrs.Converter:
    made = converter().copy()
    made.register_structure_hook_factory(_is_page, _page_hook)
    return made


@frozen
class PageCodec(Generic[RowT]):
    """Decodes the pages of one method of one account."""

    record: type[RowT]
    clock: SiteClock
    reader: Reader

    def decode(self, answer: Answer) -> Page[RowT] | PPAPIError:
        """Return the page, or the error that the answer is."""
        return finish(self.steps(answer))

    def steps(self, answer: Answer) -> Outcome[Page[RowT]]:
        """Decode like `decode`, yielding about every millisecond so that others can run."""
        body = strip_noise(answer.body)
        if answer.status == 200 and len(body) <= _WHOLE_PAGE:
            try:
                page: Page[RowT] = _converter().structure(body, Page[self.record])  # type: ignore[name-defined]
            except (ValueError, msgspec.DecodeError, RecursionError):
                pass
            else:
                self._finish(page.records, may_be_altered(body))
                return page
        return (yield from self._slices(answer))

    def _finish(self, records: list[RowT], altered: bool) -> None:
        if altered and records:
            restore_texts(records)
        if not self.clock.is_utc:
            for record in records:
                correct_time(record, self.clock)

    def _slices(self, answer: Answer) -> Outcome[Page[RowT]]:
        envelope = read_answer(answer, self.reader)
        if isinstance(envelope, PPAPIError):
            return envelope
        split = _split(envelope.data)
        if isinstance(split, str):
            return decode_error([("data", split)], self.reader)
        page: Page[RowT] = Page([], [], envelope.dialect)
        for start in range(0, len(split), _SLICE):
            yield
            yield from self._decode_slice(split[start : start + _SLICE], page)
            if len(page.unreadable) > _MOST_UNREADABLE:
                problems = [("items", f"more than {_MOST_UNREADABLE:,} rows cannot be read")]
                problems += page.unreadable[0].problems
                return decode_error(problems, self.reader)
        if page.unreadable and not page.records and all(r.id is None for r in page.unreadable):
            # Nothing of it can be placed: these are no rows that are odd, but no rows.
            shown = [
                (f"items.{path}".rstrip("."), text) for path, text in page.unreadable[0].problems
            ]
            return decode_error(shown, self.reader)
        return page

    def _decode_slice(
        self, raws: list[tuple[str, msgspec.Raw]], page: Page[RowT]
    ) -> Generator[None, None, None]:
        """Add the rows to the page, the readable and the unreadable ones."""
        rows, odd = self._decode_clean([raw for _, raw in raws])
        for number, index in enumerate(odd, 1):
            key, raw = raws[index]
            row = self._decode_odd(key, raw)
            if isinstance(row, UnreadableRow):
                page.unreadable.append(row)
            else:
                rows[index] = row
            if number % _ODD_SLICE == 0:
                yield
        records = [row for row in rows if row is not None]
        page.walls += map(_TIME, records)
        if not self.clock.is_utc:
            for record in records:
                correct_time(record, self.clock)
        page.records += records

    def _decode_clean(self, raws: list[msgspec.Raw]) -> tuple[list[RowT | None], Sequence[int]]:
        """Decode the clean rows; return also the places of those that need the careful way."""
        decode = _fast(self.record).row.decode
        rows: list[RowT | None] = []
        odd: list[int] = []
        for index, raw in enumerate(raws):
            row = None
            if len(memoryview(raw)) <= LONGEST_ROW:
                with contextlib.suppress(*_UNREADABLE):
                    row = decode(raw)
            rows.append(row)
            if row is None:
                odd.append(index)
        records = [row for row in rows if row is not None]
        if not records:
            return rows, odd
        clean = [raw for row, raw in zip(rows, raws, strict=True) if row is not None]
        joined = b",".join(clean)
        if not (_are_alike(bytes(clean[0]), joined, records) and _are_clean(records)):
            return [None] * len(raws), range(len(raws))
        if may_be_altered(joined):
            restore_texts(records)
        return rows, odd

    def _decode_odd(self, key: str, raw: msgspec.Raw) -> RowT | UnreadableRow:
        """Return the row, its time still by the site's clock, or what is wrong with it."""
        size = len(memoryview(raw))
        if size > LONGEST_ROW:
            return self._unreadable(key, raw, [("", f"a row of {size:,} bytes")])
        try:
            value = parse_json(bytes(raw))
        except (ValueError, RecursionError) as error:
            return self._unreadable(key, raw, [("", type(error).__name__)])
        if key and isinstance(value, dict):
            value = {"id": key, **value}
        result = structure_row(value, self.record)
        if isinstance(result, list):
            return self._unreadable(key, raw, result)
        finish_row(result, value)
        return result

    def _unreadable(
        self, key: str, raw: msgspec.Raw, problems: list[tuple[str, str]]
    ) -> UnreadableRow:
        row_id, wall = _head(key, raw)
        return UnreadableRow(
            id=id_of(row_id),
            time=None if (at := time_of(wall)) is None else self.clock.to_instant(at),
            problems=tuple(clean_problems(problems, self.reader)),
            digest=hashlib.blake2b(raw, digest_size=8).hexdigest(),
        )


class _Head(msgspec.Struct):
    """What places a row, whatever else is wrong with it."""

    id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    time: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_HEAD = msgspec.json.Decoder(_Head)


def _head(key: str, raw: msgspec.Raw) -> tuple[Json, Json]:
    """Return id and time of a row as JSON values, None for what cannot be found."""
    if len(memoryview(raw)) > _LOOKED_INTO:
        return key or None, None
    try:
        head = _HEAD.decode(raw)
    except _UNREADABLE:
        return key or None, None
    return _value(head.id) or key or None, _value(head.time)


def _value(raw: msgspec.Raw | msgspec.UnsetType) -> Json:
    if isinstance(raw, msgspec.UnsetType) or len(memoryview(raw)) > _LONGEST_NUMBER:
        return None
    try:
        return parse_json(bytes(raw))
    except (ValueError, RecursionError):
        return None


_LONGEST_NUMBER = 64
"""Characters of an id or a time."""


def _split(
    data: msgspec.Raw | msgspec.UnsetType,
) -> list[tuple[str, msgspec.Raw]] | str:
    """Return the raw rows of `data` with their keys, if any; or what `data` is instead."""
    if isinstance(data, msgspec.UnsetType):
        return []
    if len(memoryview(data)) > _MOST_SPLIT and _is_crowded(bytes(data)):
        return "a list of what cannot be rows"
    shown = bytes(memoryview(data)[:4096]).decode("utf-8", "replace")
    try:
        found = _DATA.decode(data)
    except _UNREADABLE:
        return shown
    if isinstance(found, list):
        return shown if found else []
    if isinstance(found.items, msgspec.UnsetType):
        return [] if bytes(data).strip(b"{} \t\r\n") == b"" else shown
    if isinstance(found.items, dict):
        return list(found.items.items())
    return [("", raw) for raw in found.items]


def _is_crowded(data: bytes) -> bool:
    """Tell whether there would be more and shorter rows than rows can be: `[1,1,1,…]`."""
    commas = data.count(b",")
    return commas > _MOST_SPLIT and (
        data.count(b"{") * 1000 < commas or data.count(b"{") * _SHORTEST_ROW > len(data)
    )


_DATA = msgspec.json.Decoder(_RawItems | list[msgspec.Raw])

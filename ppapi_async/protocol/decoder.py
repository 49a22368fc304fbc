"""Answers to records: pages of rows, and the single objects of get_info, add_payout and raw calls.

Pages go three ways. A whole page goes from its bytes straight into records. Where that is refused,
the page is split, and each row goes the same way. Only the rows that are then left go through the
careful hooks, which know every form of a value or name what is wrong. Nothing is dropped on any
way: a row that cannot be read stands in the page's `unreadable`, and hides no other.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Generator, Iterator, Sequence
from typing import Generic, TypeVar

import msgspec
from attrs import define, field

from ppapi_async.account import Dialect
from ppapi_async.errors import DecodeError, PPAPIError
from ppapi_async.models import Info, Json, PayoutReceipt, Row, UnreadableRow
from ppapi_async.protocol.clean_rows import (
    UNREADABLE,
    OwnKeys,
    Piece,
    RawItems,
    believe,
    believe_each,
    decoders,
    split_page,
)
from ppapi_async.protocol.converter import MOST_PROBLEMS, PageBody, Receipt, converter, structure
from ppapi_async.protocol.fields import (
    KNOWN_KEYS,
    LONGEST_ROW,
    correct_times,
    finish_row,
    id_of,
    parse_json,
    restore_texts,
    time_of,
)
from ppapi_async.protocol.page import Page
from ppapi_async.protocol.responses import (
    Answer,
    Envelope,
    Reader,
    Slices,
    finish,
    read_answer,
    strip_noise,
)
from ppapi_async.protocol.site_clock import SiteClock
from ppapi_async.protocol.text import may_be_altered

__all__ = ["PageCodec", "decode_data", "decode_info", "decode_receipt"]

T = TypeVar("T")
RowT = TypeVar("RowT", bound=Row)
_WHOLE_PAGE = 256 * 1024  # bytes that are decoded in one go, about two milliseconds
_MOST_WHOLE = 1_500  # rows that are, however short they are
_SLICE = 250  # rows of a larger answer between two chances for the event loop
_ODD_SLICE = 20  # the same, of rows that need the careful way
_LIKE_A_ROW = 2048  # bytes of such a row that take as long as another row
_MOST_UNREADABLE = 10_000
"""Rows of an answer, then it is not the API's: each costs a tenth of a millisecond to look at."""
_SHORTEST_ROW = 12
"""Bytes: a row holds at least an id and a time. What would be shorter is not split into rows."""
_MOST_SPLIT = 200_000
"""Rows that an answer is split into whatever they are, in some ten milliseconds."""
_LOOKED_INTO = 1024 * 1024
"""Bytes of a row that is too long, but whose id and time are looked for."""
_LONGEST_NUMBER = 64
"""Characters of an id or a time."""
_SHOWN = 80
"""Characters of a value in an error."""


class _Head(msgspec.Struct):
    """What places a row, whatever else is wrong with it."""

    id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    time: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_HEAD = msgspec.json.Decoder(_Head)
_DATA = msgspec.json.Decoder(RawItems | list[msgspec.Raw])


@define(eq=False)
class PageCodec(Generic[RowT]):
    """Decodes the pages of one method of one account."""

    record: type[RowT]
    clock: SiteClock
    reader: Reader
    _own: OwnKeys = field(init=False, factory=OwnKeys)
    _splits: bool = field(init=False, default=False)
    """Whether the last page had to be split: then the next one is, without trying it whole."""

    def decode(self, answer: Answer) -> Page[RowT] | PPAPIError:
        """Return the page, or the error that the answer is."""
        return finish(self.in_slices(answer))

    def in_slices(self, answer: Answer) -> Slices[Page[RowT]]:
        """Decode like `decode`, yielding about every millisecond so that others can run."""
        body = strip_noise(answer.body)
        is_small = len(body) <= _WHOLE_PAGE and body.count(b"{") <= _MOST_WHOLE + 2
        if answer.status == 200 and is_small and not self._splits:
            kind = Page[self.record]  # type: ignore[name-defined]
            try:
                page: Page[RowT] = converter().structure(PageBody(body, self._own), kind)
            except UNREADABLE:
                pass
            else:
                if page.records and may_be_altered(body):
                    restore_texts(page.records)
                correct_times(page.records, self.clock)
                return page
        return (yield from self._slices(answer))

    def _slices(self, answer: Answer) -> Slices[Page[RowT]]:
        found = None
        if answer.status == 200 and len(answer.body) <= _WHOLE_PAGE:
            found = split_page(strip_noise(answer.body))
        if found is None:
            envelope = read_answer(answer, self.reader)
            if isinstance(envelope, PPAPIError):
                return envelope
            split = _split(envelope.data)
            if isinstance(split, str):
                return _decode_error([("data", split)], self.reader)
            found = split, envelope.dialect
        split, dialect = found
        page: Page[RowT] = Page([], [], dialect)
        self._splits = False
        for rows in _sliced(split):
            yield
            yield from self._decode_slice(rows, page)
            if len(page.unreadable) > _MOST_UNREADABLE:
                problems = [("items", f"more than {_MOST_UNREADABLE:,} rows cannot be read")]
                problems += page.unreadable[0].problems
                return _decode_error(problems, self.reader)
        if page.unreadable and not page.records and all(r.id is None for r in page.unreadable):
            # Nothing of it can be placed: these are no rows that are odd, but no rows.
            shown = [
                (f"items.{path}".rstrip("."), text) for path, text in page.unreadable[0].problems
            ]
            return _decode_error(shown, self.reader)
        return page

    def _decode_slice(
        self, raws: list[tuple[str, msgspec.Raw]], page: Page[RowT]
    ) -> Generator[None, None, None]:
        """Add the rows to the page, the readable and the unreadable ones."""
        rows, odd = self._decode_clean([raw for _, raw in raws])
        cost = 0
        for index in odd:
            key, raw = raws[index]
            row = self._decode_odd(key, raw)
            if isinstance(row, UnreadableRow):
                page.unreadable.append(row)
            else:
                rows[index] = row
            cost += 1 + len(memoryview(raw)) // _LIKE_A_ROW
            if cost >= _ODD_SLICE:
                cost = 0
                yield
        records = [row for row in rows if row is not None]
        page.walls += [row.time for row in records]
        correct_times(records, self.clock)
        page.records += records

    def _decode_clean(self, raws: list[msgspec.Raw]) -> tuple[list[RowT | None], Sequence[int]]:
        """Decode the clean rows; return also the places of those that need the careful way."""
        decode = decoders(self.record).row.decode
        rows: list[RowT | None] = []
        left = iter(raws)
        while len(rows) < len(raws):
            try:
                rows.extend(map(decode, left))  # those before one that raises are kept
            except UNREADABLE:
                rows.append(None)
        if max(map(len, map(memoryview, raws))) > LONGEST_ROW:  # type: ignore[arg-type]
            rows = [
                row if len(memoryview(raw)) <= LONGEST_ROW else None
                for row, raw in zip(rows, raws, strict=True)
            ]
        places = [place for place, row in enumerate(rows) if row is not None]
        if not places:
            return rows, range(len(rows))
        records = [row for row in rows if row is not None]
        clean = raws if len(records) == len(raws) else [raws[place] for place in places]
        piece = Piece.of_rows(clean)
        try:
            try:
                believe(records, piece, self._own)
            except UNREADABLE:
                self._splits = True
                for strange in believe_each(records, clean, self._own):
                    rows[places[strange]] = None
        except UNREADABLE:
            return [None] * len(rows), range(len(rows))
        if may_be_altered(piece.raw):
            restore_texts(records)
        odd = [place for place, row in enumerate(rows) if row is None]
        self._splits |= bool(odd)
        return rows, odd

    def _decode_odd(self, key: str, raw: msgspec.Raw) -> RowT | UnreadableRow:
        """Return the row, its time still by the site's clock, or what is wrong with it."""
        size = len(memoryview(raw))
        if size > LONGEST_ROW:
            return self._unreadable(key, raw, [("", f"a row of {size:,} bytes")])
        try:
            value = parse_json(bytes(raw))
            if key and isinstance(value, dict):
                value = {"id": key, **value}
            result = structure(value, self.record)
            if isinstance(result, list):
                return self._unreadable(key, raw, result)
            finish_row(result, value)
        except (ValueError, RecursionError) as error:
            return self._unreadable(key, raw, [("", type(error).__name__)])
        return result

    def _unreadable(
        self, key: str, raw: msgspec.Raw, problems: list[tuple[str, str]]
    ) -> UnreadableRow:
        head = _Head()
        if len(memoryview(raw)) <= _LOOKED_INTO:
            with contextlib.suppress(*UNREADABLE):
                head = _HEAD.decode(raw)
        wall = time_of(_short_value(head.time))
        return UnreadableRow(
            id=id_of(_short_value(head.id) or key or None),
            time=None if wall is None else self.clock.to_instant(wall),
            problems=tuple(_shown(problems, self.reader)),
            digest=hashlib.blake2b(raw, digest_size=8).hexdigest(),
        )


def _short_value(raw: msgspec.Raw | msgspec.UnsetType) -> Json:
    """Return the value of an id or a time; None for what is too long for one, or no JSON."""
    if isinstance(raw, msgspec.UnsetType) or len(memoryview(raw)) > _LONGEST_NUMBER:
        return None
    try:
        return parse_json(bytes(raw))
    except (ValueError, RecursionError):
        return None


def _split(
    data: msgspec.Raw | msgspec.UnsetType,
) -> list[tuple[str, msgspec.Raw]] | str:
    """Return the raw rows of `data` with their keys, if any; or what `data` is instead."""
    if isinstance(data, msgspec.UnsetType):
        return []
    if len(memoryview(data)) > _MOST_SPLIT:
        written = bytes(data)
        commas, objects = written.count(b","), written.count(b"{")
        # More and shorter rows than rows can be: `[1,1,1,…]`.
        if commas > _MOST_SPLIT and (
            objects * 1000 < commas or objects * _SHORTEST_ROW > len(written)
        ):
            return "a list of what cannot be rows"
    shown = bytes(memoryview(data)[:4096]).decode("utf-8", "replace")
    try:
        found = _DATA.decode(data)
    except UNREADABLE:
        return shown
    if isinstance(found, list):
        return shown if found else []
    if isinstance(found.items, msgspec.UnsetType):
        return [] if bytes(data).strip(b"{} \t\r\n") == b"" else shown
    if isinstance(found.items, dict):
        return list(found.items.items())
    return [("", raw) for raw in found.items]


def _sliced(rows: list[tuple[str, msgspec.Raw]]) -> Iterator[list[tuple[str, msgspec.Raw]]]:
    """Return the rows in slices that are decoded in one go."""
    start = size = 0
    for place, (_, raw) in enumerate(rows):
        size += len(memoryview(raw))
        if place - start == _SLICE or (size > _WHOLE_PAGE and place > start):
            yield rows[start:place]
            start, size = place, len(memoryview(raw))
    if rows:
        yield rows[start:]


def _decode_error(problems: list[tuple[str, str]], reader: Reader) -> DecodeError:
    """Return the error that lists these problems, redacted."""
    shown = _shown(problems, reader)
    listed = "; ".join(f"{path or 'data'} = {value}" for path, value in shown[:5])
    return DecodeError(
        f"the answer is not what the API promises: {listed}",
        account=reader.account.name,
        method=reader.method,
        problems=shown,
    )


def _shown(problems: list[tuple[str, str]], reader: Reader) -> list[tuple[str, str]]:
    """Return the first problems as they can be shown: redacted, and each of them short."""
    first = problems[:MOST_PROBLEMS]
    return [(reader.clip(path, _SHOWN), reader.clip(value, _SHOWN)) for path, value in first]


def decode_info(answer: Answer, reader: Reader) -> tuple[Info, Dialect | None] | PPAPIError:
    """Decode get_info, and what dialect the answer shows.

    `items` may be a list, an object, or not there.
    """
    envelope = read_answer(answer, reader)
    if isinstance(envelope, PPAPIError):
        return envelope
    info = _structure_data(envelope, Info, reader)
    return info if isinstance(info, PPAPIError) else (info, envelope.dialect)


def decode_receipt(answer: Answer, reader: Reader) -> PayoutReceipt | PPAPIError:
    """Decode add_payout."""
    envelope = read_answer(answer, reader)
    if isinstance(envelope, PPAPIError):
        return envelope
    receipt = _structure_data(envelope, Receipt, reader)
    if isinstance(receipt, PPAPIError):
        return receipt
    if receipt.payout_id < 1:
        return _decode_error([("payout_id", f"no id: {receipt.payout_id}")], reader)
    return PayoutReceipt(receipt.payout_id, reader.clip(envelope.text))


def decode_data(answer: Answer, reader: Reader) -> Json | PPAPIError:
    """Decode any method's `data` as JSON, money exact; None where the envelope has none."""
    envelope = read_answer(answer, reader)
    return envelope if isinstance(envelope, PPAPIError) else _data_of(envelope, reader)


def _structure_data(envelope: Envelope, record: type[T], reader: Reader) -> T | DecodeError:
    value = _data_of(envelope, reader)
    if isinstance(value, DecodeError):
        return value
    try:
        result = structure(value, record)
        if isinstance(result, list):
            return _decode_error(result, reader)
        if record in KNOWN_KEYS:
            finish_row(result, value)
    except RecursionError as error:
        return _decode_error([("data", type(error).__name__)], reader)
    return result


def _data_of(envelope: Envelope, reader: Reader) -> Json | DecodeError:
    if isinstance(envelope.data, msgspec.UnsetType):
        return None
    try:
        return parse_json(bytes(envelope.data))
    except (ValueError, RecursionError) as error:
        return _decode_error([("data", type(error).__name__)], reader)

"""Where the rows of an answer lie in time, before anybody needs the rows themselves.

A window is proven by the ids and times of its rows; the rest of a row is of use only when it is
delivered. So an answer to a stream is read twice: at once for ids and times, which takes a
fifteenth of the time, and in whole just before its rows are delivered. Until then the rows stay
bytes. Records would be walked over and over by Python's garbage collector, which holds up the event
loop for as long as that takes; bytes are nothing to it.

Only answers whose ids and times are all in a common form are kept so. Any other is read in whole at
once: that is how an error is found, or a row that cannot be placed.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from datetime import UTC, datetime
from itertools import repeat
from operator import attrgetter
from typing import Generic, TypeVar

import msgspec
from attrs import frozen

from ppapi_async.models import Row
from ppapi_async.protocol.clean_rows import UNREADABLE, split_page
from ppapi_async.protocol.decoder import PageCodec
from ppapi_async.protocol.fields import INT64
from ppapi_async.protocol.page import KeptPage, Page
from ppapi_async.protocol.responses import SUCCESSES, Answer, Slices, error_code, strip_noise

__all__ = ["HeadCodec"]

RowT = TypeVar("RowT", bound=Row)
_ONE_PIECE = 256 * 1024  # bytes that are kept as they came: they are decoded in one go
_LARGEST = 2 * 1024 * 1024  # bytes of an answer that is kept
_ROWS_OF_PIECE = 250  # of an answer that is kept in pieces
_ID, _TIME = attrgetter("id"), attrgetter("time")
_ZONE, _FRACTION = attrgetter("time.tzinfo"), attrgetter("time.microsecond")


class _Spot(msgspec.Struct, gc=False):
    """What places a row."""

    id: int
    time: datetime


class _Places(msgspec.Struct):
    items: list[_Spot] | dict[str, _Spot] | msgspec.UnsetType = msgspec.UNSET


class _PlacesAnswer(msgspec.Struct):
    error: msgspec.Raw
    status: str | None = None
    data: _Places | list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET


_HEADS = msgspec.json.Decoder(_PlacesAnswer, strict=False)


@frozen
class HeadCodec(Generic[RowT]):
    """Reads ids and times of the pages of one method, and leaves the rows to its codec."""

    codec: PageCodec[RowT]

    def in_slices(self, answer: Answer) -> Slices[Page[RowT] | KeptPage]:
        """Return the page with its rows still bytes; decoded, where it is not of the usual form.

        Yields about every millisecond, so that others can run.
        """
        body = strip_noise(answer.body)
        if answer.status != 200 or len(body) > _LARGEST:
            return (yield from self.codec.in_slices(answer))
        heads = _heads(body)
        if heads is None:
            return (yield from self.codec.in_slices(answer))
        ids, walls = list(map(_ID, heads)), list(map(_TIME, heads))
        split = None
        if len(body) > _ONE_PIECE:
            yield
            split = split_page(body)
        if split is None:
            return KeptPage(list(repeat(body, len(ids))), walls, ids=ids)
        return KeptPage((yield from _pieces([raw for _, raw in split[0]])), walls, ids=ids)


def _heads(body: bytes) -> Sequence[_Spot] | None:
    """Return ids and times of all rows; None where one is of no usual form, or it is no page."""
    try:
        envelope = _HEADS.decode(body)
        is_success = error_code(bytes(envelope.error)) == 0 and envelope.status in SUCCESSES
    except UNREADABLE:
        return None
    data = envelope.data
    if is_success and data in (msgspec.UNSET, []):
        return []
    if not is_success or not isinstance(data, _Places) or isinstance(data.items, msgspec.UnsetType):
        return None
    heads = list(data.items.values()) if isinstance(data.items, dict) else data.items
    if not heads:
        return heads
    ids = list(map(_ID, heads))
    # A row between two seconds could fall between two windows.
    whole = set(map(_ZONE, heads)) == {UTC} and not any(map(_FRACTION, heads))
    return heads if whole and min(ids) in INT64 and max(ids) in INT64 else None


def _pieces(rows: Sequence[msgspec.Raw]) -> Generator[None, None, list[bytes]]:
    """Return for each row the piece in which it is kept: an answer of its own, that holds few."""
    kept: list[bytes] = []
    for start in range(0, len(rows), _ROWS_OF_PIECE):
        some = rows[start : start + _ROWS_OF_PIECE]
        piece = b'{"error":0,"data":{"items":[%b]}}' % b",".join(some)
        kept += repeat(piece, len(some))
        yield
    return kept

"""Decoding: `PageCodec` against T, msgspec straight from bytes into the same attrs classes."""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from zoneinfo import ZoneInfo

import msgspec

from bench.measure import Line, interleaved
from bench.rows import keyed, listed, newest_first, with_odd
from ppapi_async.account import Account
from ppapi_async.models import Exchange, Link
from ppapi_async.protocol import Answer, PageCodec, Reader
from ppapi_async.protocol.page import Page
from ppapi_async.protocol.site_clock import SiteClock

CLEAN, ONE_PER_CENT, OWN_KEYS = 1.15, 1.4, 1.3
_OWN = ('"promo":"a-%d"', '"rate":%d.25', '"place":%d')
_FACTS = {"Content-Type": "application/json; charset=utf-8"}


class _ListedItems(msgspec.Struct):
    items: list[Exchange]


class _Listed(msgspec.Struct):
    data: _ListedItems


class _KeyedItems(msgspec.Struct):
    items: dict[str, Exchange]


class _Keyed(msgspec.Struct):
    data: _KeyedItems


class _LinkItems(msgspec.Struct):
    items: list[Link]


class _Links(msgspec.Struct):
    data: _LinkItems


def _ours(record: type[Exchange | Link], body: bytes, rows: int) -> Callable[[], object]:
    reader = Reader(Account("https://bench.example", "k3y-of-the-bench"), "get_exchanges")
    codec = PageCodec(record, SiteClock(ZoneInfo("UTC")), reader)
    answer = Answer(200, _FACTS, body)
    page = codec.decode(answer)
    if not isinstance(page, Page) or len(page.records) != rows:
        raise TypeError(f"the page was not decoded: {page!r:.300}")
    return functools.partial(codec.decode, answer)


def _reference(body: bytes) -> dict[str, Callable[[], object]]:
    made: dict[str, Callable[[], object]] = {"json": functools.partial(json.loads, body)}
    made["msgspec to dicts"] = functools.partial(msgspec.json.Decoder().decode, body)
    try:
        orjson = importlib.import_module("orjson")
    except ModuleNotFoundError:
        return made
    return made | {"orjson": functools.partial(orjson.loads, body)}


def _t(target: type, body: bytes) -> Callable[[], object]:
    return functools.partial(msgspec.json.Decoder(target, strict=False).decode, body)


def measure(*, rows: int = 500, rounds: int = 150, repeats: int = 3) -> Iterator[Line]:
    """Decode each kind of page, against T of the clean page with the same rows."""
    plain = newest_first("plain", rows)
    body = listed(plain, b"0")
    candidates = {"T": _t(_Listed, body), "clean": _ours(Exchange, body, rows)}
    for name, share in (("1 % odd", 0.01), ("10 % odd", 0.1), ("all odd", 1.0)):
        candidates[name] = _ours(Exchange, listed(with_odd(plain, share), b"0"), rows)
    candidates |= _reference(body)
    aims = {"clean": CLEAN, "1 % odd": ONE_PER_CENT}
    yield from _against_t("348-byte rows", candidates, aims, rows, rounds, repeats)
    for name, target, record, page in _other_pages(rows, plain):
        pair = {"T": _t(target, page), name: _ours(record, page, rows)}
        # T leaves escaped text as it is, so a page that is all escapes has no aim.
        aims = {} if record is Link else {name: CLEAN}
        yield from _against_t("", pair, aims, rows, rounds, repeats)
    yield from _own_keys(plain, rows, rounds, repeats)


def _own_keys(
    plain: Sequence[tuple[int, bytes]], rows: int, rounds: int, repeats: int
) -> Iterator[Line]:
    """Decode rows with keys of the site's own, against the same rows without them."""
    pages = {
        "1 own key": _with_own(plain, _OWN[:1]),
        "3 own keys": _with_own(plain, _OWN),
        "3 own keys in every tenth row": _with_own(plain, _OWN, every=10),
    }
    candidates = {"without": _ours(Exchange, listed(plain, b"0"), rows)}
    candidates |= {name: _ours(Exchange, listed(page, b"0"), rows) for name, page in pages.items()}
    seconds = interleaved(candidates, rounds, repeats)
    base = seconds.pop("without")
    for name, taken in seconds.items():
        note = f"{taken / rows * 1e6:.2f} us a row, without {base / rows * 1e6:.2f}"
        yield Line("decode", name, taken / base, "x without", OWN_KEYS, note=note)


def _with_own(
    rows: Sequence[tuple[int, bytes]], keys: Sequence[str], every: int = 1
) -> list[tuple[int, bytes]]:
    """Return the rows, every so manyth with these keys; the first row is without, if it may be."""
    own = f",{','.join(keys)}}}"
    return [
        (row_id, row[:-1] + (own % ((row_id,) * len(keys))).encode())
        if place % every == every - 1
        else (row_id, row)
        for place, (row_id, row) in enumerate(rows)
    ]


def _other_pages(
    rows: int, plain: Sequence[tuple[int, bytes]]
) -> Iterator[tuple[str, type, type[Exchange | Link], bytes]]:
    yield "keyed by id", _Keyed, Exchange, keyed(plain)
    yield "2.7, Cyrillic names", _Listed, Exchange, listed(newest_first("cyrillic", rows))
    yield "links with &amp;", _Links, Link, listed(newest_first("link", rows))


def _against_t(
    title: str,
    candidates: dict[str, Callable[[], object]],
    aims: dict[str, float],
    rows: int,
    rounds: int,
    repeats: int,
) -> Iterator[Line]:
    seconds = interleaved(candidates, rounds, repeats)
    base = seconds.pop("T")
    for name, taken in seconds.items():
        note = f"{taken / rows * 1e6:.2f} us a row, T {base / rows * 1e6:.2f}"
        shown = f"{title}, {name}" if title else name
        yield Line("decode", shown, taken / base, "x T", aims.get(name), note=note)

"""What a client does by hand to have the records that we make of an exchange's JSON.

Ids are ints, times aware, amounts exact, flags bools. Names of currencies and payment systems are
un-escaped, which costs next to nothing where a page has no `&`. Peers leave out what nobody writes
by hand: the letters that sites alter, NaN and numbers without an end, keys of the site's own.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from operator import attrgetter

import msgspec
from attrs import evolve

from ppapi_async.models import Exchange

__all__ = ["exchanges", "unescaped"]

_TEXTS = ("currency_code_give", "currency_code_get", "psys_give", "psys_get")
_texts_of = attrgetter(*_TEXTS)


def exchanges(rows: Sequence[object]) -> list[Exchange]:
    """Return the records of rows that are dicts, by the fastest way there is."""
    return unescaped(msgspec.convert(rows, list[Exchange], strict=False))


def unescaped(records: list[Exchange]) -> list[Exchange]:
    """Return the records with the text that the site escaped."""
    return [_unescaped(record) for record in records]


def _unescaped(record: Exchange) -> Exchange:
    texts = _texts_of(record)
    if not any("&" in text for text in texts if text):
        return record
    plain = {name: html.unescape(text) for name, text in zip(_TEXTS, texts, strict=True) if text}
    return evolve(record, **plain)

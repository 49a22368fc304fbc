"""Records and positions as text that is kept between polls and restarts. Exact both ways."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import TypeVar, cast

import msgspec

from ppapi_async.models import NO_EXTRA, Info, Json, extra_of
from ppapi_async.protocol.fields import parse_json

__all__ = ["dump_stored", "parse_stored"]

T = TypeVar("T")


# Amounts as numbers, so that one among the keys that we do not know comes back as an amount.
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def dump_stored(value: object) -> str:
    """Return a record, or another attrs object of plain values, as a JSON object."""
    return _ENCODER.encode(value).decode()


_decoder = functools.cache(msgspec.json.Decoder)


def parse_stored(text: str, kind: type[T]) -> T:
    """Return the object that `dump_stored` wrote.

    Raises:
        ValueError: the text is no such object.
    """
    try:
        found = cast("T", _decoder(cast("Hashable", kind)).decode(text))
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"not a stored {kind.__name__}: {error}") from None
    methods = found.items if isinstance(found, Info) else ()
    extras = [(one, getattr(one, "extra", None)) for one in (found, *methods)]
    if any(extra for _, extra in extras):
        _restore_extra(found, parse_json(text.encode()))
    for one, extra in extras:
        if extra == {}:
            object.__setattr__(one, "extra", NO_EXTRA)  # a dict less for each
    return found


def _restore_extra(record: object, document: Json) -> None:
    """Put back the exact values: msgspec makes floats of amounts that it has no type for."""
    kept = document if isinstance(document, dict) else {}
    extra = kept.get("extra")
    object.__setattr__(record, "extra", extra_of(extra if isinstance(extra, dict) else {}))
    methods = kept.get("items")
    if isinstance(record, Info) and isinstance(methods, list):
        for method, one in zip(record.items, methods, strict=True):
            _restore_extra(method, one)

"""Texts and amounts as what keeps them takes them: databases, files, columns of Arrow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

from ppapi_async.models import Json

__all__ = ["amount_text", "escape", "escape_json", "exact_json", "unescape", "unescape_json"]

_ODD = re.compile("[\0\u241b\ud800-\udfff]")
_ESCAPED = re.compile("\u241b([0-9a-f]{4})")


def escape(text: str) -> str:
    r"""Return a text that every database takes, from which `unescape` makes the same again.

    U+0000 and halves of surrogate pairs, which databases refuse, become the sign for escape and
    four digits; so does that sign itself. All other texts stay as they are.

    >>> escape("a\0b")
    'a␛0000b'
    """
    if (text.isascii() and "\0" not in text) or _ODD.search(text) is None:
        return text
    return _ODD.sub(lambda found: f"\u241b{ord(found[0]):04x}", text)


def unescape(text: str) -> str:
    """Return the text that `escape` was given."""
    if text.isascii() or "\u241b" not in text:
        return text
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)


def escape_json(value: object) -> object:
    """Return JSON whose texts, names among them, are escaped."""
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, dict):
        return {escape(name): escape_json(one) for name, one in value.items()}
    return [escape_json(one) for one in value] if isinstance(value, list | tuple) else value


def unescape_json(value: Json) -> Json:
    """Return the JSON that `escape_json` was given."""
    if isinstance(value, str):
        return unescape(value)
    if isinstance(value, dict):
        return {unescape(name): unescape_json(one) for name, one in value.items()}
    return [unescape_json(one) for one in value] if isinstance(value, list) else value


def amount_text(amount: Decimal) -> str:
    """Return the digits of an amount, without an exponent and without the sign of a zero."""
    return format(abs(amount) if amount.is_zero() else amount, "f")


def exact_json(value: object) -> object:
    """Return JSON whose amounts are texts: readers make floats of numbers."""
    if isinstance(value, Decimal):
        return amount_text(value)
    if isinstance(value, Mapping):
        return {name: exact_json(one) for name, one in value.items()}
    return [exact_json(one) for one in value] if isinstance(value, list) else value

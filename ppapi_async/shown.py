"""Records as they are handed on and stored: without the key, wherever a site has put it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar, cast
from urllib.parse import unquote

import attrs

from ppapi_async.account import Account

__all__ = ["shows_key", "without_key"]

T = TypeVar("T")


def shows_key(text: str, account: Account) -> bool:
    """Tell whether the key or the login stands in a record's text, plain or percent-encoded."""
    folded = text.casefold()  # servers compare keys without case
    if "%" in folded:
        folded += unquote(folded).casefold()
    if account.api_key.reveal().casefold() in folded:
        return True
    return account.api_login is not None and account.api_login.reveal().casefold() in folded


def without_key(record: T, account: Account) -> T:
    """Return the record with the key redacted in all of its texts."""
    return cast("T", _redacted(record, account))


def _redacted(value: object, account: Account) -> object:
    if isinstance(value, str):
        return _redacted_text(value, account)
    if isinstance(value, Mapping):
        return {_redacted_text(k, account): _redacted(v, account) for k, v in value.items()}
    if isinstance(value, list):
        return [_redacted(one, account) for one in value]
    if isinstance(value, tuple):
        return tuple(_redacted(one, account) for one in value)
    kind = type(value)
    if not attrs.has(kind):
        return value
    names = [field.name for field in attrs.fields(kind)]
    make = cast("Callable[..., object]", kind)
    return make(**{name: _redacted(getattr(value, name), account) for name in names})


def _redacted_text(text: str, account: Account) -> str:
    redacted = account.redact(text)
    # What is left of it, in other case: rather no text at all than a key.
    return "***" if shows_key(redacted, account) else redacted

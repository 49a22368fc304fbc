"""An account's own key within the rows of a site: it goes no further.

A key gets into rows without anybody's ill will: who opens the link of the API in a browser and goes
on from there leaves it as the referrer of a click. From rows it would reach logs, states, databases
and reports. So the texts of an answer that holds the key have `***` in its place, always the same
way, so that a row does not seem changed. Numbers, times and ids are never altered.
"""

from __future__ import annotations

import html
import re
from collections.abc import Generator, Iterable, Iterator
from urllib.parse import quote

import attrs

from ppapi_async.account import Secret
from ppapi_async.protocol.responses import Answer, Decoder, Slices, T
from ppapi_async.secret import lower, places, replaced

__all__ = ["without_key"]

_SHORTEST = 16
"""A shorter key could stand in a text by chance."""
_SLICE = 128 * 1024  # bytes that are looked through in a turn of the loop
_MOST_AT_ONCE = 500  # values in a turn of the loop


def without_key(key: Secret, answer: Answer, decode: Decoder[T]) -> Slices[T]:
    """Return what comes of an answer, without the key in any text of it.

    The body is looked through first: what has been decoded waits for no further turns of the loop.
    """
    may_hold = yield from _may_hold_key(key, answer.body)
    decoded = decode(answer)
    result = (yield from decoded) if isinstance(decoded, Generator) else decoded
    if may_hold:
        written = [key.reveal(), quote(key.reveal(), safe=""), quote(key.reveal())]
        written += [html.escape(form) for form in written]
        forms = frozenset(map(lower, written))
        for number, _ in enumerate(_hide_all(result, forms)):
            if number % _MOST_AT_ONCE == _MOST_AT_ONCE - 1:
                yield
    return result


def _may_hold_key(key: Secret, body: bytes) -> Generator[None, None, bool]:
    if len(key.reveal()) < _SHORTEST:
        return False
    mark = max(re.findall(r"[a-z0-9]+", lower(key.reveal())), key=len, default="")
    for start in range(0, len(body), _SLICE):
        # Pages, forms and JSON write letters and digits as they are.
        if mark.encode() in body[start : start + _SLICE + len(mark)].lower():
            return True
        if len(body) > _SLICE:
            yield
    return False


def _hide_all(thing: object, forms: frozenset[str]) -> Iterator[None]:
    """Take the key out of all texts in something; yield for each value that is looked at."""
    waiting = [thing]
    while waiting:
        holder = waiting.pop()
        within: Iterable[object]
        if isinstance(holder, list):
            for number, value in enumerate(holder):
                holder[number] = _hidden(value, forms)
                yield
            within = holder
        elif isinstance(holder, dict):
            for name, value in list(holder.items()):
                # Put back at the end, so that the order stays; `extra` refuses its own ways.
                dict.__delitem__(holder, name)
                dict.__setitem__(holder, _hidden(name, forms), _hidden(value, forms))
                yield
            within = holder.values()
        elif isinstance(holder, tuple):
            within = holder
        else:
            for name, value in _fields(holder):
                if type(value) is str:
                    object.__setattr__(holder, name, _hidden(value, forms))
                yield
            within = (value for _, value in _fields(holder))
        waiting += [v for v in within if isinstance(v, list | dict | tuple) or attrs.has(type(v))]


def _fields(record: object) -> Iterator[tuple[str, object]]:
    if attrs.has(kind := type(record)):
        for field in attrs.fields(kind):
            yield field.name, getattr(record, field.name)


def _hidden(value: object, forms: frozenset[str]) -> object:
    """Return a text without the key; anything else as it is."""
    if type(value) is not str:  # those of enums are the API's own
        return value
    low = lower(value)
    return replaced(value, [place for form in forms for place in places(form, low)])

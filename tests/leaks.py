"""Look for a key in all that an error, a log or a repr may show, however it is written there."""

from __future__ import annotations

import functools
import html
import json
import logging
import pickle
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, quote_plus

__all__ = ["SPELLINGS", "assert_absent", "assert_survives_pickling", "assert_unlogged", "find"]

_PIECE, _STEP = 8, 4
"""Pieces of the key that are looked for: any eleven characters of it in a row hold one."""
_TESTS = Path(__file__).parent


def _lower_hex(text: str) -> str:
    return re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), text)


def _percent(text: str) -> str:
    return quote(text, safe="")


def _php_html(text: str) -> str:
    return html.escape(text).replace("&#x27;", "&#039;")


def _json(text: str) -> str:
    return json.dumps(text)[1:-1]


SPELLINGS: Mapping[str, Callable[[str], str]] = {
    "raw": str,
    "percent": _percent,
    "percent, lower": lambda text: _lower_hex(_percent(text)),
    "percent, with slashes": quote,
    "percent, all of it": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "percent twice": lambda text: _percent(_percent(text)),
    "percent twice, lower": lambda text: _lower_hex(_percent(_lower_hex(_percent(text)))),
    "percent thrice": lambda text: _percent(_percent(_percent(text))),
    "form": quote_plus,
    "HTML": html.escape,
    "HTML of PHP": _php_html,
    "HTML, decimal": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "HTML, hex": lambda text: "".join(f"&#x{ord(c):X};" for c in text),
    "JSON": _json,
    "JSON of PHP": lambda text: _json(text).replace("/", "\\/"),
    "JSON, upper hex": lambda text: re.sub(r"\\u\w{4}", lambda m: _upper(m[0]), _json(text)),
    "JSON, as UTF-8": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
}
"""How pages write a text; each is looked for, and each makes a page that echoes a key."""


def _upper(escape: str) -> str:
    return escape[:2] + escape[2:].upper()


_FURTHER: tuple[Callable[[str], str], ...] = (
    str.lower,
    str.upper,
    lambda text: repr(text)[1:-1],
    lambda text: repr(text.encode())[2:-1],
    lambda text: repr(repr(text))[2:-2],
    lambda text: text.encode("raw_unicode_escape").decode("latin-1"),
)


@functools.cache
def _traces(key: str) -> frozenset[bytes]:
    """Return the pieces of the key in every spelling."""
    pieces = [key[i : i + _PIECE] for i in range(0, len(key) - _PIECE + 1, _STEP)]
    ways = (*SPELLINGS.values(), *_FURTHER)
    return frozenset(way(piece).encode() for piece in pieces for way in ways)


def find(key: str, shown: str | bytes) -> str | None:
    """Return the surroundings of a piece of the key in what is shown, None if there is none."""
    text = _bytes(shown)
    for trace in _traces(key):
        if (at := text.find(trace)) >= 0:
            return text[max(0, at - 80) : at + 80].decode("utf-8", "replace")
    return None


def _bytes(shown: str | bytes) -> bytes:
    return shown.encode("utf-8", "backslashreplace") if isinstance(shown, str) else shown


def assert_absent(key: str | tuple[str, ...], *things: object) -> None:
    """Assert that no trace of the key is in these: all that errors hold, the repr of others.

    Of several keys in one go: what errors hold takes longer to write out than to look through.
    """
    surfaces = [surface for thing in things for surface in _surfaces(thing)]
    everything = b"\n".join(_bytes(shown) for _, shown in surfaces)
    for one in (key,) if isinstance(key, str) else key:
        if find(one, everything) is None:  # all of it at once
            continue
        for where, shown in surfaces:
            found = find(one, shown)
            assert found is None, f"the key shows in {where}: {found}"


def _surfaces(thing: object) -> Iterator[tuple[str, str | bytes]]:
    if isinstance(thing, str | bytes):
        yield "text", thing
    elif isinstance(thing, BaseException):
        for error in _chain(thing):
            yield from _parts(error)
    else:
        yield f"str of {type(thing).__name__}", str(thing)
        yield f"repr of {type(thing).__name__}", repr(thing)


def _chain(error: BaseException) -> Iterable[BaseException]:
    """Return the error and all that hangs on it, suppressed contexts included."""
    found: dict[int, BaseException] = {}
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in found:
            found[id(one)] = one
            waiting += [one.__cause__, one.__context__]
            if isinstance(one, BaseExceptionGroup):
                waiting += one.exceptions
    return found.values()


def _parts(error: BaseException) -> Iterator[tuple[str, str | bytes]]:
    name = type(error).__name__
    yield f"str of {name}", str(error)
    yield f"repr of {name}", repr(error)
    yield f"args of {name}", repr(error.args)
    yield f"__dict__ of {name}", repr(vars(error))
    yield f"notes of {name}", repr(getattr(error, "__notes__", ()))
    yield f"traceback of {name}", "".join(traceback.format_exception(error))
    for protocol in (0, pickle.DEFAULT_PROTOCOL):
        yield f"pickle of {name}", pickle.dumps(error, protocol)
    for frame, _ in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        if not _is_of_tests(code.co_filename):
            for local, value in frame.f_locals.items():
                where = f"{local!r} of {code.co_qualname} at {code.co_filename}:{frame.f_lineno}"
                yield where, _repr(value)


@functools.cache
def _is_of_tests(file: str) -> bool:
    return Path(file).is_relative_to(_TESTS)


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - a half-made object; what matters is what it shows
        return repr(error)


def assert_unlogged(key: str, records: Sequence[logging.LogRecord]) -> None:
    """Assert that no trace of the key is in these log records, with all that they carry."""
    for record in records:
        if record.exc_info and record.exc_info[1] is not None:
            assert_absent(key, record.exc_info[1])
    shown = {f"{r.name}: {r.getMessage()} {r.args!r} {r.exc_text} {r.stack_info}" for r in records}
    found = find(key, "\n".join(shown))
    assert found is None, f"the key is logged: {found}"


def assert_survives_pickling(error: BaseException) -> None:
    """Assert that a pickled error comes back with its class, text and attributes."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))
        assert type(again) is type(error)
        assert (str(again), again.args) == (str(error), error.args)
        assert vars(again) == vars(error)

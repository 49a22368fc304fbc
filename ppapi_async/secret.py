"""The secret that never prints, and secrets in a text, which are replaced by `***`.

A page, a log or a repr writes a character as it is, percent-encoded, as an entity, or behind a
backslash, and may do so several times over. So the text is undone layer by layer, and searched at
every layer; what is found is replaced where it stands in the text itself. Each layer goes over the
text once, and their number is limited: what a page says must not hold the process up.
"""

from __future__ import annotations

import hmac
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from html.entities import html5
from typing import NoReturn

from attrs import Factory, define, frozen

__all__ = ["Redactor", "Secret", "as_secret", "lower", "places", "replaced"]


class Secret:
    """A string that shows itself only to `reveal()`: not in repr, str, format or pickles."""

    __slots__ = ("_reveal",)
    _reveal: Callable[[], str]

    def __init__(self, value: str) -> None:
        # In a closure: what goes through attributes and slots, as debugging aids do, finds it not.
        self._reveal = lambda: value

    def reveal(self) -> str:
        """Return the secret itself. Do not bind the result to a name in a frame that may raise."""
        return self._reveal()

    def __repr__(self) -> str:
        return "Secret('***')"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.reveal().encode(), other.reveal().encode())

    def __hash__(self) -> int:
        return hash((Secret, self.reveal()))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("an API key is not pickled; load it where it is needed")


def as_secret(value: str | Secret) -> Secret:
    """Return the key as a secret."""
    return value if isinstance(value, Secret) else Secret(value)


_PIECE = 8
"""Pieces of a secret that are replaced, from this length on; shorter secrets only as a whole."""
_SEED = 4  # any piece of eight characters of a secret holds one of its quarters of a piece
_MARK = "***"

_H = "[0-9A-Fa-f]"
_ODD = r"\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
"""What shows nothing, or is taken out before it is shown. UTF-16 read as UTF-8 has NULs."""


def _sequence(mark: str) -> str:
    """Return a pattern for one character of several bytes in UTF-8, each behind a mark."""
    more = f"{mark}[89abAB]{_H}"
    return f"{mark}[cdCD]{_H}{more}|{mark}[eE]{_H}(?:{more}){{2}}|{mark}[fF]{_H}(?:{more}){{3}}"


def _cut_sequence(mark: str) -> str:
    """Return a pattern for the beginning of such a character, up to a whole byte."""
    return f"{mark}[c-fC-F]{_H}(?:{mark}[89abAB]{_H}){{0,2}}"


_IN_PERCENT, _IN_BACKSLASHES = map(_sequence, ("%", r"[\\]x"))
_CUT_PERCENT, _CUT_BACKSLASHES = map(_cut_sequence, ("%", r"[\\]x"))
# There is one way to match a text, and nothing is looked at more than a few times.
_CUT = (
    rf"{_CUT_PERCENT}(?:%{_H}?)?|%(?:u{_H}{{0,3}}|{_H}?)"
    rf"|{_CUT_BACKSLASHES}(?:[\\](?:x{_H}?)?)?"
    rf"|[\\]u[dD][89abAB]{_H}{{2}}(?:[\\](?:u{_H}{{0,3}})?)?"
    rf"|[\\](?:u{_H}{{0,3}}|x{_H}?|U{_H}{{0,7}})?"
    rf"|&(?:\#[xX]?{_H}*|[0-9A-Za-z]{{0,31}})"
)
"""The beginning of a spelling, where a text breaks off."""
_ESCAPE = re.compile(
    rf"(?P<bytes>{_IN_PERCENT}|{_IN_BACKSLASHES})"
    rf"|(?P<units>[%\\]u[dD][89abAB]{_H}{{2}}[%\\]u[dD][c-fC-F]{_H}{{2}})"
    rf"|(?P<cut>(?:{_CUT})\Z)"
    rf"|(?P<byte>%{_H}{{2}}|[\\]x{_H}{{2}})"
    rf"|(?P<unit>[%\\]u{_H}{{4}})"
    rf"|[\\]U(?P<long>{_H}{{8}})"
    rf"|&\#0*(?P<decimal>[0-9]{{1,7}});?"
    rf"|&\#[xX]0*(?P<hex>{_H}{{1,6}});?"
    r"|&(?P<name>[A-Za-z][A-Za-z0-9]{1,31};)"
    r"|[\\](?P<bare>[^%&])"
)
_PILE = re.compile(r"%(?:25)+|&(?:amp;)+|[\\]{2,}")
_UNSEEN = re.compile(f"[{_ODD}]+")
_PASSES = (*[_ESCAPE] * 6, _PILE, *[_ESCAPE] * 6)
"""Layers are undone one by one; after some, what is piled up higher is taken down to one."""
_MARKS = re.compile(rf"[%&\\{_ODD}]")
"""Without one of these, a text holds a secret as it is or not at all."""


class Redactor:
    """Replaces some secrets in texts."""

    __slots__ = ("_patterns",)
    _patterns: Callable[[], tuple[_Pattern, ...]]

    def __init__(self, secrets: Iterable[Secret]) -> None:
        found = [_pattern(secret) for secret in secrets]
        patterns = tuple(pattern for pattern in found if pattern is not None)
        # In a closure: what goes through attributes and slots finds it not.
        self._patterns = lambda: patterns

    def redact(self, text: str) -> str:
        """Return the text with the secrets, and pieces of them, replaced."""
        spans: list[tuple[int, int]] = []
        for layer in _layers(text):
            for pattern in self._patterns():
                spans += [layer.original(*span) for span in pattern.spans(layer.lower)]
        return replaced(text, spans)

    def finds(self, text: str) -> bool:
        """Tell whether a text holds one of the secrets as a whole."""
        return any(
            whole in layer.lower
            for layer in _layers(text)
            for pattern in self._patterns()
            for whole in pattern.wholes
        )


@frozen(repr=False)
class _Pattern:
    """What is looked for of one secret, in lower case: sites compare keys without case."""

    wholes: tuple[str, ...]
    """The secret as it is, and with all undone in it that looks like a spelling."""
    seeds: tuple[str, ...]
    pieces: frozenset[str]
    beginnings: tuple[str, ...]
    """Those that are too short for a piece; a text may break off behind one."""

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Return where secret or pieces of it stand in a text in lower case."""
        for whole in self.wholes:
            if len(whole) < _PIECE:
                yield from places(whole, text)
        if any(seed in text for seed in self.seeds):
            yield from self._runs(text)
            begun = next((b for b in self.beginnings if text.endswith(b)), None)
            if begun is not None:
                yield len(text) - len(begun), len(text)

    def _runs(self, text: str) -> Iterator[tuple[int, int]]:
        """Return where pieces stand that touch each other."""
        start = stop = -1
        for at in range(len(text) - _PIECE + 1):
            if text[at : at + _PIECE] in self.pieces:
                if at > stop >= 0:
                    yield start, stop
                start = at if at > stop else start
                stop = at + _PIECE
        if stop >= 0:
            yield start, stop


def _pattern(secret: Secret) -> _Pattern | None:
    """Return what to look for; None if there is nothing."""
    if not isinstance(secret.reveal(), str) or not secret.reveal():
        return None  # which is refused elsewhere
    first, *_, last = (layer.lower for layer in _layers(secret.reveal() + "\0"))
    wholes = tuple(dict.fromkeys((first[:-1], *([last] if len(last) >= _SEED else []))))
    long = [whole for whole in wholes if len(whole) >= _PIECE]
    return _Pattern(
        wholes=wholes,
        seeds=tuple(w[i : i + _SEED] for w in long for i in range(0, len(w) - _SEED + 1, _SEED)),
        pieces=frozenset(w[i : i + _PIECE] for w in long for i in range(len(w) - _PIECE + 1)),
        beginnings=tuple(w[:n] for n in range(_PIECE - 1, _SEED - 1, -1) for w in long),
    )


@define
class _Layer:
    """A text in which some layers of spelling were undone."""

    text: str
    lower: str
    below: _Layer | None = None
    starts: list[int] = Factory(list)
    """Where in this text something stands in place of a spelling, …"""
    lengths: list[int] = Factory(list)
    """… how much, …"""
    places: list[tuple[int, int]] = Factory(list)
    """… and where the spelling stands in the text below."""

    def original(self, start: int, stop: int) -> tuple[int, int]:
        """Return where in the text at the bottom a part of this one comes from."""
        layer = self
        while layer.below is not None:
            # What is behind the last character is the beginning of one, where the text breaks off.
            is_end = stop == len(layer.text)
            start = layer._below(start)[0]
            stop = len(layer.below.text) if is_end else layer._below(stop - 1)[1]
            layer = layer.below
        return start, stop

    def _below(self, at: int) -> tuple[int, int]:
        """Return where the character at a place begins and ends in the text below."""
        number = bisect_right(self.starts, at) - 1
        if number < 0:
            return at, at + 1
        behind = at - self.starts[number] - self.lengths[number]
        if behind < 0:
            return self.places[number]
        plain = self.places[number][1] + behind
        return plain, plain + 1


def _layers(text: str) -> Iterator[_Layer]:
    """Return the text as it is, and then with one layer of spelling less each."""
    layer = _Layer(text, lower(text))
    yield layer
    for pattern in _PASSES:
        if not _MARKS.search(layer.text):
            return
        # What shows nothing goes first: it may stand behind a backslash that is for what follows.
        if (above := _undone(layer, _UNSEEN)) is not None:
            yield above
            layer = above
        if (above := _undone(layer, pattern)) is not None:
            yield above
            layer = above
        elif pattern is _ESCAPE:
            return


def _undone(below: _Layer, pattern: re.Pattern[str]) -> _Layer | None:
    """Return the text with one layer of spelling less; None if there is none."""
    layer = _Layer("", "", below)
    pieces: list[str] = []
    length = end = 0
    for found in pattern.finditer(below.text):
        plain = _plain(found) if pattern is _ESCAPE else found[0][: pattern is _PILE]
        if plain is None:
            continue
        start, stop = found.span()
        pieces += (below.text[end:start], plain)
        length += start - end
        layer.starts.append(length)
        layer.lengths.append(len(plain))
        layer.places.append((start, stop))
        length, end = length + len(plain), stop
    if not pieces:
        return None
    layer.text = "".join([*pieces, below.text[end:]])
    layer.lower = lower(layer.text)
    return layer


def _plain(found: re.Match[str]) -> str | None:
    """Return what one spelling stands for; None if it is none."""
    kind, value = found.lastgroup, found[found.lastgroup or 0]
    if kind in ("bytes", "byte"):
        raw = bytes.fromhex(value.replace("%", "").replace("\\x", ""))
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw.decode("latin-1")
    if kind in ("units", "unit"):
        units = bytes.fromhex(re.sub(r"[%\\]u", "", value))
        return units.decode("utf-16-be", "surrogatepass")
    if kind == "name":
        return html5.get(value)
    if kind in ("long", "hex", "decimal"):
        code = int(value, 10 if kind == "decimal" else 16)
        return chr(code) if code < 0x110000 else None
    return value if kind == "bare" else ""


def replaced(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Return the text with a mark in place of each of these parts, which may overlap or touch."""
    kept: list[str] = []
    end = -1
    for start, stop in sorted(spans):
        if start > end:
            kept.append(text[max(end, 0) : start])
        end = max(end, stop)
    return _MARK.join([*kept, text[end:]]) if kept else text


def places(part: str, text: str) -> Iterator[tuple[int, int]]:
    """Return where one text stands in another."""
    at = text.find(part)
    while at >= 0:
        yield at, at + len(part)
        at = text.find(part, at + len(part))


def lower(text: str) -> str:
    """Return the text in lower case, each character at its place."""
    shorter = text.lower()
    if len(shorter) == len(text):
        return shorter
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)

"""What PHP makes of texts, numbers and times on their way out."""

from __future__ import annotations

import functools
import html.entities
import re
from datetime import UTC, datetime, timedelta

ZERO_DATE = "0000-00-00 00:00:00"
"""What a date field that an operator left empty holds."""
NINES = "9999-12-31 23:59:59"
_ZERO_SECOND = -62_169_984_000
_ZERO_TEXT = "-0001-11-30 00:00:00"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND = 253_402_300_799

# Whole words of which one letter is not what it looks like. The notes show where for these nine;
# for the others any letter that has a twin is as good.
_SHOWN = {
    "select": "s\u0435lect",
    "script": "s\u0441ript",
    "cookie": "c\u043eokie",
    "concat": "c\u043encat",
    "update": "upd\u0430te",
    "truncate": "trunc\u0430te",
    "shell_exec": "shell_\u0435xec",
    "passthru": "p\u0430ssthru",
    "proc_open": "pr\u043ec_open",
}
_OTHERS = (
    "insert union loadfile load_file outfile eval base64 delete replace infile handler include "
    "exec system"
)
_TWINS = str.maketrans("aeo", "\u0430\u0435\u043e")
_WORDS = _SHOWN | {
    word: re.sub("[aeo]", lambda found: found[0].translate(_TWINS), word, count=1)
    for word in _OTHERS.split()
}
_WORD = re.compile(rf"\b({'|'.join(_WORDS)})\b", re.IGNORECASE)
_TAG = re.compile(r"<(?=\S)[^>]*>?")
_AMPERSAND = re.compile(r"&(?!#\d{1,7};|#[xX][0-9a-fA-F]{1,6};)(?!(\w+);)")
_NAMED = re.compile(r"&(\w+);")


@functools.lru_cache(maxsize=4096)
def escaped(text: str) -> str:
    """Strip backslashes and tags, escape what is no entity yet, and alter whole words."""
    text = _TAG.sub("", text.replace("\\", "")).strip()
    text = _AMPERSAND.sub("&amp;", text)
    text = _NAMED.sub(
        lambda found: found[0] if f"{found[1]};" in html.entities.html5 else f"&amp;{found[1]};",
        text,
    )
    for character, entity in (("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#039;")):
        text = text.replace(character, entity)
    return _WORD.sub(lambda found: _WORDS.get(found[0].casefold(), found[0]), text)


@functools.lru_cache(maxsize=4096)
def through_float(stored: str) -> str:
    """Return an amount of an exchange as it comes: read as a float, at most 12 places."""
    digits = re.sub(r"[^0-9.-]", "", stored.replace(",", "."))
    if digits in ("", "0"):
        return "0"
    places = min(12, len(digits.partition(".")[2]))
    text = f"{float(re.match(r'-?[0-9]*[.]?[0-9]*', digits)[0] or 0):.{places}f}"  # type: ignore[index]
    return text.rstrip("0").rstrip(".") if "." in text else text


def intval(text: str) -> int:
    """Read the leading digits, 64 bits of them."""
    found = re.match(r"\s*([+-]?)([0-9]+)", text)
    if found is None:
        return 0
    number = int(found[2][:20])
    return min(number, 2**63 - 1) * (-1 if found[1] == "-" else 1)


def second_of(wall: str) -> int:
    """Read a stored wall clock as if it were UTC, as the server does."""
    if wall == ZERO_DATE:
        return _ZERO_SECOND
    moment = datetime.fromisoformat(wall).replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(seconds=1)


def date_of(wall: str) -> str:
    """Write a stored wall clock as text."""
    return _ZERO_TEXT if wall == ZERO_DATE else wall


def wall_of(second: int) -> str:
    """Write the wall clock of a second that is read as if it were UTC."""
    moment = _EPOCH + timedelta(seconds=min(max(second, 0), _LAST_SECOND))
    return moment.strftime("%Y-%m-%d %H:%M:%S")

"""What PHP makes of texts and amounts on their way out.

The notes on the wire (docs/contributing/wire.md, "Text" and "Amounts") say more.
"""

from __future__ import annotations

import html.entities
import re
from functools import lru_cache

# One letter of each word is a Cyrillic one, and not the same in every word.
_ALTERED = (
    "s\u0435lect ins\u0435rt uni\u043en l\u043eadfile l\u043ead_file \u043eutfile c\u043eokie "
    "c\u043encat upd\u0430te \u0435val b\u0430se64 d\u0435lete trunc\u0430te r\u0435place "
    "infil\u0435 h\u0430ndler in\u0441lude s\u0441ript"
)
_ALTERED_BY_NEWER = "shell_\u0435xec \u0435xec p\u0430ssthru syst\u0435m pr\u043ec_open"
_TO_LATIN = str.maketrans("\u0430\u0435\u043e\u0441", "aeoc")

_SLASHED = re.compile(r"\\(.?)", re.DOTALL)
_TAG = re.compile(r"<(?!\s)[^>]*>?")
_AMPERSAND = re.compile(r"&(?:#[0-9]{1,7};|#[xX][0-9a-fA-F]{1,6};|([A-Za-z][A-Za-z0-9]{1,30};))?")
_ESCAPED = {"<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#039;"}
_SPECIAL = re.compile("[<>\"']")

_NO_NUMBER = re.compile(r"[^0-9.-]")
_NUMBER = re.compile(r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")
_MOST_PLACES = 12


_WORDS = {
    newer: {word.translate(_TO_LATIN): word for word in altered.split()}
    for newer, altered in ((False, _ALTERED), (True, f"{_ALTERED} {_ALTERED_BY_NEWER}"))
}
_WORD = {
    newer: re.compile(rf"\b(?:{'|'.join(_WORDS[newer])})\b", re.IGNORECASE)
    for newer in (False, True)
}


@lru_cache(maxsize=4096)
def wire_text(text: str, *, newer: bool = False) -> str:
    """Return a text as the servers give it out.

    Backslashes and tags go, the rest is HTML-escaped where it is not yet, and in words of SQL and
    code (more of them on `newer` servers, 2.7) a letter is replaced and capitals are lost.
    """
    text = _AMPERSAND.sub(_escape_ampersand, _TAG.sub("", _SLASHED.sub(r"\1", text)))
    text = _SPECIAL.sub(lambda found: _ESCAPED[found[0]], text).strip()
    words = _WORDS[newer]
    return _WORD[newer].sub(lambda found: words.get(found[0].casefold(), found[0]), text)


def _escape_ampersand(found: re.Match[str]) -> str:
    """Leave an entity as it is; anything else that begins with an ampersand is none."""
    whole, name = found[0], found[1]
    is_entity = whole != "&" and (name is None or name in html.entities.html5)
    return whole if is_entity else f"&amp;{whole[1:]}"


@lru_cache(maxsize=16_384)
def through_float(stored: str) -> str:
    """Return an amount of an exchange as the servers give it out.

    A comma is a point, whatever else is no digit goes, and a float keeps sixteen digits or so.
    """
    number = _NUMBER.match(_NO_NUMBER.sub("", stored.replace(",", ".")))
    if number is None or number[0] == "0":
        return "0"
    places = min(_MOST_PLACES, len(number[0].partition(".")[2]))
    text = f"{float(number[0]):.{places}f}"
    return text.rstrip("0").rstrip(".") if places else text


def cut(text: str, most: int) -> str:
    """Cut a text at so many bytes, as the column does that it is stored in."""
    return text if 4 * len(text) <= most else text.encode()[:most].decode(errors="ignore")

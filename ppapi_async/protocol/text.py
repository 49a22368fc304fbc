"""Undo what the servers do to text (wire notes, "Text")."""

from __future__ import annotations

import re

__all__ = ["may_be_altered", "restore"]

# The server swaps one Latin letter of these whole words for a Cyrillic look-alike and lower-cases
# the word, so that a sub-id `select` comes back with a Cyrillic second letter.
_WORDS = frozenset(
    [
        "select",
        "insert",
        "union",
        "loadfile",
        "load_file",
        "outfile",
        "cookie",
        "concat",
        "update",
        "eval",
        "base64",
        "delete",
        "truncate",
        "replace",
        "infile",
        "handler",
        "include",
        "script",
        "shell_exec",
        "exec",
        "passthru",
        "system",
        "proc_open",
    ]
)
_CYRILLIC = "\u0430\u0435\u043e\u0440\u0441\u0445\u0443\u0456\u0455\u0458\u0501\u043a\u04bb\u04cf"
_LATIN = "aeopcxyisjdkhl"
_TO_LATIN = str.maketrans(_CYRILLIC, _LATIN)
# What PHP's htmlspecialchars writes, and nothing else: a bare `&copy=1` of a server that does not
# escape is a parameter, not a sign. The ampersand comes last, or it would make new entities.
_ENTITIES = (
    ("&#039;", "'"),
    ("&#39;", "'"),
    ("&#x27;", "'"),
    ("&apos;", "'"),
    ("&quot;", '"'),
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&amp;", "&"),
)
_MIXED_WORD = re.compile(rf"\b(?=\w*[{_CYRILLIC}])(?=\w*[a-z])\w+\b")


# The ampersand, and the first bytes of all that is in `_CYRILLIC`.
_SIGNS = (b"&", b"\xd0", b"\xd1", b"\xd2", b"\xd3", b"\xd4")


def may_be_altered(body: bytes) -> bool:
    """Tell whether any text of a page could need `restore`; costs a few microseconds."""
    if any(sign in body for sign in _SIGNS):
        return True
    if b"\\" not in body or b"\\u0" not in body:
        return False
    return any(escape in body for escape in (b"\\u04", b"\\u05", b"\\u0026"))


def restore(text: str) -> str:
    """Return `text` as it was before the server escaped and altered it.

    >>> restore("?a=1&amp;sub=s\u0435lect")
    '?a=1&sub=select'
    """
    if "&" in text:
        for entity, character in _ENTITIES:
            text = text.replace(entity, character)
    return text if text.isascii() else _MIXED_WORD.sub(_latin_word, text)


def _latin_word(match: re.Match[str]) -> str:
    word = match[0]
    latin = word.translate(_TO_LATIN)
    swapped = sum(a != b for a, b in zip(word, latin, strict=True))
    return latin if swapped == 1 and latin in _WORDS else word

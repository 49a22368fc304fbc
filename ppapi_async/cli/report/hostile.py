"""Text from sites and visitors, made fit to be shown: no controls, no towers of accents, cut."""

from __future__ import annotations

import unicodedata

__all__ = ["tame"]

_STRANGE = "\ufffd"
_MOST_MARKS = 2
"""Combining marks that one letter keeps; more of them run over the lines around."""
_READ = 8
"""How many characters are looked at for each one that is shown."""


def tame(text: str, longest: int) -> str:
    """Return text that stays in its place.

    Controls, format characters (which turn the direction of what follows, or are not seen), lone
    surrogates and characters that are not assigned become U+FFFD, one for a run of them; blanks of
    any kind become one. Escaping is not done here.

    Args:
        text: from a site or a visitor.
        longest: characters to keep; where more are left out, the last one is an ellipsis.
    """
    kept: list[str] = []
    marks = 0
    for character in text[: longest * _READ]:
        if len(kept) > longest:
            break
        kind = unicodedata.category(character)
        is_strange = kind in {"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"}
        shown = " " if character.isspace() else _STRANGE if is_strange else character
        marks = marks + 1 if kind in {"Mn", "Me", "Mc"} else 0
        is_again = shown in {" ", _STRANGE} and kept[-1:] == [shown]
        if marks <= _MOST_MARKS and not is_again:
            kept.append(shown)
    whole = "".join(kept)
    if len(kept) > longest or len(text) > longest * _READ:
        whole = whole[: longest - 1] + "…"
    return whole.strip()

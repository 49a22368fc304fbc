"""Values as the text that files hold, exactly; and what keeps spreadsheets from running it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import TypeAlias, cast

from ppapi_async.mirror.types import escape, instant_of, load_json
from ppapi_async.protocol.stored_text import exact_json

__all__ = ["LocalTimes", "Zones", "defuse", "extra_document", "extra_text", "quoted", "restore"]

Zones: TypeAlias = Mapping[str, tzinfo]
"""The zone in which the times of an account are written, by its name."""
# A spreadsheet takes a cell for a formula that begins with one of these. Where it separates cells
# by semicolons or tabs, as in half of the world, a cell may begin within what is one of ours.
_SIGNS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
_FIRST = frozenset(_SIGNS + "'")
_BEGINNING = re.compile(f"(?:^|(?<=[;\t\r\n]))(?='*[{re.escape(_SIGNS)}])")
_DEFUSED = re.compile(f"(?:^|(?<=[;\t\r\n]))'(?='*[{re.escape(_SIGNS)}])")
_WITHIN = re.compile(f"[;\t\r\n]'*[{re.escape(_SIGNS)}]")
_NEEDS_QUOTES = re.compile('[,"\r\n]')
_MOST_HOURS = 100_000


def defuse(text: str) -> str:
    """Return a text that no spreadsheet runs as a formula: a `'` stands before what might be one.

    >>> defuse("=1+1"), defuse("a;@b"), defuse("a=b"), defuse("'=1")
    ("'=1+1", "a;'@b", 'a=b', "''=1")
    """
    # Nearly all texts pass without the search for every place where a cell may begin.
    if text.isalnum() or (text[:1] not in _FIRST and _WITHIN.search(text) is None):
        return text
    return _BEGINNING.sub("'", text)


def restore(text: str) -> str:
    """Return the text that `defuse` was given."""
    return _DEFUSED.sub("", text)


def quoted(text: str) -> str:
    """Return a cell of CSV, in quotes where it needs them by RFC 4180.

    >>> print(quoted("a"), quoted('a "b", c'))
    a "a ""b"", c"
    """
    if text.isalnum() or _NEEDS_QUOTES.search(text) is None:
        return text
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


class LocalTimes:
    """Writes instants, as mirrors keep them in SQLite, in ISO 8601 in the zones of accounts.

    Args:
        zones: of all accounts that are asked for.
    """

    def __init__(self, zones: Zones) -> None:
        self._zones = zones
        self._hours: dict[tzinfo, dict[str, tuple[str, str] | None]] = {
            zone: {} for zone in zones.values()
        }

    def texts(self, accounts: Sequence[object], stored: Sequence[object]) -> list[str | None]:
        """Return the instants of many rows; None where there is none."""
        return [
            None if one is None else self.text(cast("str", account), cast("str", one))
            for account, one in zip(accounts, stored, strict=True)
        ]

    def text(self, account: str, stored: str) -> str:
        """Return an instant with the offset that the account's zone has then."""
        zone = self._zones[account]
        hours = self._hours[zone]
        key = stored[:13]
        if key not in hours:
            if len(hours) >= _MOST_HOURS:
                hours.clear()
            hours[key] = _hour(key, zone)
        found = hours[key]
        if found is None:
            return _local_text(stored, zone)
        end = 19 if stored.endswith(".000000") else 26
        return f"{found[0]}{stored[13:end]}{found[1]}"


def _hour(key: str, zone: tzinfo) -> tuple[str, str] | None:
    """Return what stands before and after the minutes of all instants of an hour.

    None where that is not the same for all of them.
    """
    texts = [_local_text(f"{key}:{minute}.000000", zone) for minute in ("00:00", "59:59")]
    is_same = texts[0][13:19] == ":00:00" and texts[1] == f"{texts[0][:13]}:59:59{texts[0][19:]}"
    return (texts[0][:13], texts[0][19:]) if is_same else None


def _local_text(stored: str, zone: tzinfo) -> str:
    instant = instant_of(stored)
    try:
        return instant.astimezone(zone).isoformat()
    except OverflowError:  # dates that were left empty are of the year 1
        return instant.isoformat()


def extra_document(stored: object) -> object:
    """Return `extra` as JSON whose amounts are text: readers make floats of numbers."""
    return exact_json(load_json(cast("str", stored))) if stored else {}


def extra_text(stored: object) -> str | None:
    """Return `extra` as the text of a JSON object; None where there is nothing in it."""
    if not stored:
        return None
    document = extra_document(stored)
    text = json.dumps(document, ensure_ascii=False)
    return text if escape(text) == text else json.dumps(document)

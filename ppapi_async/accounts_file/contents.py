"""A TOML file to tables of secrets.

All texts of the file are secrets from here on, for people put keys into the wrong fields. The
frames in this module hold bare text, so none of them raises: what is wrong goes to the report.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from typing import TypeAlias
from urllib.parse import unquote

from ppapi_async.account import Dialect, Secret
from ppapi_async.accounts_file.lines import lines_of
from ppapi_async.accounts_file.report import Report
from ppapi_async.files import read

__all__ = ["SOURCES", "Table", "tables_of", "text_in"]

Table: TypeAlias = Mapping[str, "Secret | bool | tuple[Secret, ...]"]
"""Fields whose names and types are right."""

_FETCHED = ("key_env", "key_file", "key_command")
SOURCES = ("api_key", "link", *_FETCHED)
"""The fields that give an account its key."""
_OPTIONS = ("timezone", "dialect", "allow_http", "proxy")
_FIELDS = ("url", "name", *SOURCES, "api_login", *_OPTIONS)
_LARGEST = 4 * 1024 * 1024
_TOP = ("accounts", "defaults")
_EXAMPLE = '[[accounts]], and below it url = "https://site.example" and key_env = "SITE_KEY"'


def text_in(table: Table, field: str) -> Secret | None:
    """Return the text of a field, None where there is none."""
    value = table.get(field)
    return value if isinstance(value, Secret) else None


def tables_of(report: Report, seconds: float) -> tuple[Table, Mapping[str, Table]]:
    """Return the defaults, and by place the accounts in which no field is wrong.

    A pipe may take as many seconds.

    Raises:
        OSError: the file cannot be read.
    """
    content, status = _read(report.path, seconds)
    document = _document(report, content)
    if document is None:
        return {}, {}
    defaults = _table(report, "defaults", document.get("defaults", {}), (*_OPTIONS, *_FETCHED))
    tables = {}
    for place, row in _rows(report, document).items():
        if (table := _table(report, place, row, _FIELDS)) is not None:
            tables[place] = table
    report.watch(report.path, status, holds_key=bool(report.keys))
    return ({}, {}) if defaults is None else (defaults, tables)


def _read(path: str, seconds: float) -> tuple[bytes, os.stat_result]:
    """Return the content and the status of a file."""
    try:
        return read(path, _LARGEST, seconds=seconds)
    except FileNotFoundError:
        raise FileNotFoundError(
            errno.ENOENT,
            "there is no such file of accounts; a relative path starts at the working directory,"
            f" and the file has for each account {_EXAMPLE}",
            path,
        ) from None


def _document(report: Report, content: bytes) -> Mapping[str, object] | None:
    """Return what the file says, and have the report know its lines."""
    try:
        text = content.decode("utf-8-sig")
        document: Mapping[str, object] = tomllib.loads(text)
        with contextlib.suppress(ValueError, RecursionError):  # lines are a courtesy
            report.lines |= lines_of(text)
        return document
    except UnicodeDecodeError as error:
        line, problem = content.count(b"\n", 0, error.start) + 1, "is not UTF-8; save it as such"
    except RecursionError:
        line, problem = 0, "is nested too deeply"
    except ValueError as error:
        line, problem = _syntax_problem(str(error), content.rstrip().count(b"\n") + 1)
    report.lines["", ""] = line
    report.add("", "", problem)
    return None


def _syntax_problem(told: str, last_line: int) -> tuple[int, str]:
    """Return line and words of tomllib, without what it quotes of the file."""
    at = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", told)
    if at is None:
        return 0, "cannot be read; is a number in it too long?"
    words = re.sub(r"""\(.*\)|(["']).*\w.*\1""", "…", told[: at.start()])
    column = f" at column {at[2]}" if at[2] else ""
    hint = "; text stands in quotes" if words == "Invalid value" else ""
    return int(at[1] or last_line), f"is not TOML: {words}{column}{hint}"


def _rows(report: Report, document: Mapping[str, object]) -> Mapping[str, object]:
    """Return what stands for each account, by place."""
    for name in document:
        if name not in _TOP:
            report.add("", name, _unknown(name, _TOP))
    rows = document.get("accounts", [])
    if not isinstance(rows, list):
        report.add("", "accounts", "write [[accounts]], with two brackets, above each account")
        return {}
    if not rows and not report.has_problems:
        report.add("", "", f"has no accounts; write for each {_EXAMPLE}")
    return {f"accounts[{number}]": row for number, row in enumerate(rows)}


def _table(report: Report, place: str, said: object, known: Sequence[str]) -> Table | None:
    """Return the fields of a table, None if one of them is wrong."""
    if not isinstance(said, dict):
        report.add(place, "", f"is {_kind(said)}; write a table")
        return None
    report.keys += _keys_in(said)
    if "name" in known and isinstance(name := said.get("name", ""), str) and name:
        report.labels[place] = f"{place} {name!r}"
    table: dict[str, Secret | bool | tuple[Secret, ...]] = {}
    for field, value in said.items():
        read = _value(field, value) if field in known else _unknown(field, known)
        if isinstance(read, str):
            report.add(place, field, read)
        else:
            table[field] = read
    return table if len(table) == len(said) else None


def _keys_in(said: Mapping[str, object]) -> list[Secret]:
    """Return the keys and the proxies' passwords that stand in a table, in whatever field."""
    texts = [text for text in said.values() if isinstance(text, str)]
    found = [key for text in texts for key in re.findall(r"api_key=([^&#\s]+)", text)]
    found += [key for text in texts for key in re.findall(r"://[^/:?#\s]*:([^/?#\s]+)@", text)]
    own = said.get("api_key")
    keys = [*found, *map(unquote, found), own]
    return [Secret(key) for key in keys if isinstance(key, str) and key]


def _value(field: str, value: object) -> Secret | bool | tuple[Secret, ...] | str:
    """Return the value of a known field, or what is wrong with it."""
    if field == "allow_http":
        return value if isinstance(value, bool) else "write true or false, without quotes"
    if field == "key_command":
        return _words(value)
    if not isinstance(value, str):
        return f"is {_kind(value)}; write text in quotes"
    if field == "dialect" and value not in list(Dialect):
        return f"write one of {', '.join(Dialect)}, or leave it out"
    return Secret(value)


def _words(value: object) -> tuple[Secret, ...] | str:
    """Return a command's arguments."""
    try:
        words = shlex.split(value) if isinstance(value, str) else value
    except ValueError:
        return "has a quotation mark that is not closed; write a list of arguments"
    if isinstance(words, list) and words and all(isinstance(word, str) for word in words):
        return tuple(Secret(word) for word in words)
    return 'write a list of arguments, such as ["pass", "show", "one"]'


def _kind(value: object) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list"}
    return kinds.get(type(value), "a table" if isinstance(value, dict) else "a time")


def _unknown(name: str, known: Sequence[str]) -> str:
    """Return what to do about a name that is unknown in its place."""
    if name in _FIELDS:
        return "goes into an account, below [[accounts]]"
    near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1)
    rest = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return f"is unknown; {rest}"

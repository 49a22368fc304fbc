"""On which line of a TOML text a table or a field is; tomllib tells that of syntax errors only."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

from ppapi_async.accounts_file.report import Place

__all__ = ["lines_of"]

_PIECE = re.compile(  # what may hide the end of a statement, and what ends it
    r'"""(?:[^\\]|\\[\s\S])*?"{3,5}'
    r"|'''[\s\S]*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*"
    r"|[\[\]{}\n]"
)


def lines_of(text: str) -> dict[Place, int]:
    """Return the first line of each table and field of a text that tomllib has accepted.

    Fields of inline tables within a list are not in it; the list is.
    """
    lines: dict[Place, int] = {}
    table, accounts = "", 0
    for line, statement in _statements(text):
        said = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            first, *rest = _header(said)
            accounts += [first, *rest] == ["accounts"]
            lines.setdefault(("", first), line)
            first = f"accounts[{accounts - 1}]" if first == "accounts" else first
            lines.setdefault((first, "".join(rest[:1])), line)
            table = ".".join([first, *rest])
        else:
            for place in _places(table, said):
                lines.setdefault(place, line)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Return the statements with their lines, blank ones among them."""
    line, start, depth = 1, 0, 0
    text += "\n"
    for piece in _PIECE.finditer(text):
        depth += (piece[0] in ("[", "{")) - (piece[0] in ("]", "}"))
        if piece[0] == "\n" and not depth:
            yield line, text[start : piece.end()]
            line += text.count("\n", start, piece.end())
            start = piece.end()


def _header(said: object) -> list[str]:
    """Return the names in a table's header, which was read as a document of its own."""
    names: list[str] = []
    while isinstance(said, dict) and said:
        name, inner = next(iter(said.items()))
        names.append(name)
        said = inner[0] if isinstance(inner, list) else inner
    return names


def _places(table: str, said: dict[str, object]) -> Iterator[Place]:
    """Return what one `key = value` sets; at the top it may be `defaults.timezone = …`."""
    for name, value in said.items():
        yield table, name
        if isinstance(value, dict) and not table:
            yield from ((name, inner) for inner in value)

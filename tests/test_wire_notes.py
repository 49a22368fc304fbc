"""The notes on the wire name the home of each quirk, and it is there."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

NOTES = Path(__file__).parents[1] / "docs" / "wire.md"


def homes() -> Iterator[str]:
    """Yield what the table of quirks names in its last column."""
    for line in NOTES.read_text("utf-8").partition("## Quirks and their homes")[2].splitlines():
        if line.startswith("## "):
            return
        cells = line.strip("|").split("|")
        if len(cells) == 2 and not set(line) <= set("|-"):
            yield from re.findall(r"`(\w[\w.]*)`", cells[1])


def find(name: str) -> object:
    """Return the module, class or function of the library that is meant."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(["ppapi_async", *parts[:length]]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise AssertionError(f"no module of the library: {name}")


@pytest.mark.parametrize("name", [home for home in homes() if home != "lookback"])
def test_each_quirk_has_the_home_that_is_named(name: str) -> None:
    """A module, a class, or what it has."""
    assert find(name) is not None

"""What the notes on the wire and CONTRIBUTING name as the home of something is there."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"
NOTES = Path(__file__).parents[2] / "docs" / "contributing" / "wire.md"


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


def places_to_change() -> Iterator[tuple[str, str]]:
    """Yield what CONTRIBUTING names under "Where to change what", with the module it names last."""
    text = CONTRIBUTING.read_text("utf-8")
    text = text.partition("### Where to change what")[2].partition("\n### ")[0]
    for walk in re.findall(r"^- .*?(?=^- |\Z)", text, re.DOTALL | re.MULTILINE):
        names: list[str] = []
        for name in re.findall(r"`([\w./]+)`", walk):
            if name.startswith("docs/") or name == "lookback":
                continue
            module = name.replace("/", ".")
            if "/" not in name and name != "models":
                names.append(name)
                continue
            yield from ((module, one) for one in names)
            yield module, ""
            names = []
        assert not names, f"no module is named after {names}"


@pytest.mark.parametrize(("module", "name"), list(places_to_change()))
def test_where_to_change_what_is_there(module: str, name: str) -> None:
    """A module of the library, and the class, function or method in it."""
    assert find(f"{module}.{name}".rstrip(".")) is not None

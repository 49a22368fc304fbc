"""The tests and modules that the documentation names are there."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

from tests.docs.test_links import PAGES, ROOT

PROMISES = re.split(
    r"^## ", (ROOT / "docs" / "guarantees.md").read_text("utf-8"), flags=re.MULTILINE
)[1:]
_LINKED = re.compile(r"\[`(test_\w+)`\]\(([^)#]+)\)")
_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@functools.cache
def those_of(path: Path) -> frozenset[str]:
    """Return the names of the tests of a file."""
    return frozenset(
        re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text("utf-8"), re.MULTILINE)
    )


@pytest.mark.parametrize("page", PAGES)
def test_each_test_that_a_page_names_is_there(page: str) -> None:
    """So that it can be looked at, run, and broken."""
    text, folder = (ROOT / page).read_text("utf-8"), (ROOT / page).parent
    linked = [((folder / to).resolve(), name) for name, to in _LINKED.findall(text)]
    named = [(ROOT / path, name) for path, name in _NAMED.findall(text)]
    for path, name in linked + named:
        assert name in those_of(path), f"{path.name}::{name}"


def test_each_of_nine_promises_is_held_by_tests() -> None:
    """Each line of its table by one at least."""
    assert [promise[:3] for promise in PROMISES] == [f"{number}. " for number in range(1, 10)]
    for promise in PROMISES:
        lines = [line for line in promise.splitlines() if line.startswith("| ")][1:]
        assert len(lines) >= 3
        for line in lines:
            assert _LINKED.search(line), line


@pytest.mark.parametrize("page", ["architecture", "performance"])
def test_each_module_that_is_named_is_there(page: str) -> None:
    """As a folder and a module of the package, or as a file of the project."""
    text = (ROOT / "docs" / "contributing" / f"{page}.md").read_text("utf-8")
    named = re.findall(r"`((?!bench/results)\w+/[\w/.]*)`|^ +(\w+/\w+) ", text, re.MULTILINE)
    assert named
    for one, other in named:
        places = [ROOT / (one or other), ROOT / "ppapi_async" / f"{one or other}.py"]
        assert any(place.exists() for place in places), one or other

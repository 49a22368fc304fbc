"""What type checkers and readers of annotations get: hints of all that is public, and narrowing."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

import ppapi_async

PROGRAM = Path(__file__).with_name("typed") / "program.py"


def _callables(name: str, value: object) -> Iterator[tuple[str, object]]:
    """Yield what is annotated: a function, or a class with its methods and properties."""
    if inspect.isfunction(value):
        yield name, value
    if not inspect.isclass(value):
        return
    yield name, value
    for attribute in dir(value):
        if attribute.startswith("_") and attribute not in ("__init__", "__aiter__"):
            continue
        member = inspect.getattr_static(value, attribute)
        if isinstance(member, property):
            member = member.fget
        if isinstance(member, classmethod | staticmethod):
            member = member.__func__
        if inspect.isfunction(member):
            yield f"{name}.{attribute}", member


@pytest.mark.parametrize("name", ppapi_async.__all__)
def test_hints_of_all_that_is_public_can_be_read(name: str) -> None:
    """As pydantic, FastAPI and documentation read them: at runtime, from outside the module."""
    for member, value in _callables(name, getattr(ppapi_async, name)):
        assert typing.get_type_hints(value) is not None, member


def test_a_program_of_a_user_passes_pyright_strict() -> None:
    """Its `assert_type`s say what is narrowed; mypy strict checks it with the other tests."""
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "-p", str(PROGRAM.parent)]
    command += ["--pythonpath", sys.executable]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(run.stdout)["generalDiagnostics"]
    assert [(one["range"]["start"]["line"] + 1, one["message"]) for one in found] == []

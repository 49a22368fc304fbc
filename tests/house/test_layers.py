"""The house: which module may import which, and which of them do no input or output."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ppapi_async

PACKAGE = Path(ppapi_async.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_MODULES, MOST_FOLDERS = 16, 11
"""At the top level of the package, which is to be read at a glance."""
PURE = {
    "_validation",
    "account",
    "cli/report/charts",
    "cli/report/findings",
    "cli/report/hostile",
    "cli/report/limits",
    "cli/report/numbers",
    "cli/report/proofs",
    "cli/report/ranking",
    "cli/report/sums",
    "cli/report/timeline",
    "cli/report/words",
    "errors",
    "fleet/circuit_breaker",
    "fleet/shares",
    "fleet/status",
    "metrics/families",
    "metrics/outcomes",
    "mirror/coverage",
    "mirror/differences",
    "models",
    "protocol",
    "secret",
    "site_url",
    "streaming/agenda",
    "streaming/counting",
    "streaming/planner",
    "streaming/state",
    "streaming/window_proof",
    "streaming/window_reader",
    "streaming/window_rows",
    "transport/body",
    "watching/changes",
    "watching/poll_policy",
    "watching/tracker",
}
"""Modules and folders that do no input or output and wait for nothing."""
HOMES = {
    "aiohttp": {"transport", "fleet", "session", "mirror", "sandbox", "testing", "cli"},
    "cattrs": {"protocol"},
    "msgspec": {"protocol", "sandbox"},
    "json": {"protocol", "models", "storage", "sandbox", "arrow", "cli"},
    "psycopg": {"storage"},
    "pyarrow": {"arrow", "cli"},
    "sqlite3": {"storage", "mirror", "cli"},
    "sqlalchemy": {"mirror", "cli"},
    "opentelemetry": {"metrics"},
    "prometheus_client": {"cli", "metrics"},
    "tomllib": {"accounts_file"},
    "aiolimiter": {"fleet"},
    "click": {"cli"},
    "dlt": {"dlt_source"},
    "jinja2": {"cli"},
    "platformdirs": {"cli"},
    "rich": {"cli"},
    "tomlkit": {"cli"},
}
"""Where a library may be imported."""


def names_of(path: Path) -> tuple[str, ...]:
    """Return the folders of a file within the package, and its name."""
    return path.relative_to(PACKAGE).with_suffix("").parts


def is_pure(path: Path) -> bool:
    """Tell whether a module does no input or output."""
    names = names_of(path)
    return not PURE.isdisjoint("/".join(names[:end]) for end in range(1, len(names) + 1))


def imports_of(path: Path) -> set[str]:
    """Return the modules that a file imports, type-checking ones aside."""
    tree = ast.parse(path.read_text("utf-8"))
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = ["ppapi_async", *path.relative_to(PACKAGE).parts[:-1]]
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            found.add(".".join(filter(None, (base, node.module))))
    return found


def test_an_import_goes_downwards_only() -> None:
    """`[tool.importlinter]` has the levels; no two modules are in a circle."""
    # In a process of its own: it switches the loggers off that there are.
    code = "import importlinter.cli as cli, sys; sys.exit(cli.lint_imports(no_cache=True))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=False, cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_listing_is_short() -> None:
    """What the package has at its top level is read at a glance."""
    modules, folders = list(PACKAGE.glob("*.py")), list(PACKAGE.glob("*/__init__.py"))
    assert len(modules) <= MOST_MODULES
    assert len(folders) <= MOST_FOLDERS


@pytest.mark.untraced
@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_library_has_its_home(path: Path) -> None:
    """aiohttp, cattrs and JSON stay where they belong; pure modules do no input or output."""
    names = {name.split(".")[0] for name in imports_of(path)}
    for library, homes in HOMES.items():
        assert library not in names or names_of(path)[0] in homes, library
    if is_pure(path):
        assert not names & {"asyncio", "socket", "ssl", "time", "random", "os", "pathlib"}


@pytest.mark.untraced
def test_no_two_classes_have_one_name() -> None:
    """A name says which class is meant, private ones included."""
    found: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                place = str(path.relative_to(PACKAGE))
                found.setdefault(node.name.lstrip("_"), []).append(place)
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def test_importing_does_nothing() -> None:
    """The import starts no loop, opens no file of ours, and does not bring the sandbox along."""
    code = (
        "import sys, asyncio, ppapi_async;"
        "assert 'aiohttp' not in sys.modules;"  # a name is loaded when it is used
        "from ppapi_async import *;"
        "assert not any('sandbox' in name for name in sys.modules);"
        "assert asyncio._get_running_loop() is None"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_all_is_what_the_face_has() -> None:
    """Every name in `__all__` exists, sorted as one would look for it."""
    for name in ppapi_async.__all__:
        assert hasattr(ppapi_async, name)
    assert len(set(ppapi_async.__all__)) == len(ppapi_async.__all__)
    assert dir(ppapi_async) == sorted(ppapi_async.__all__)
    assert ppapi_async.models.Exchange is ppapi_async.Exchange
    # As if it were the first use: every module that was ever used is an attribute by itself.
    load = ppapi_async.__getattr__
    assert load("Session") is ppapi_async.Session
    assert load("models") is ppapi_async.models
    with pytest.raises(AttributeError, match="'ppapi_async' has no attribute 'Sesion'"):
        ppapi_async.Sesion  # type: ignore[attr-defined] # noqa: B018

"""The rooms: who may know whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ppapi_async

PACKAGE = Path(ppapi_async.__file__).parent
LAYERS = (
    {"errors", "version", "secret", "site_url", "files"},
    {"redaction"},
    {"account", "pacing", "health", "breaker", "places"},
    {"models", "account_files"},
    {"page", "clock", "counting"},
    {"wire", "codec", "windows", "state", "inflate", "ledger", "clean", "unreadable"},
    {"planning", "positions", "iteration", "decoding", "notes", "hidden", "discovery", "proxies"},
    {"runs"},
    {"transport"},
    {"payouts", "arguments"},
    {"streams", "connection"},
    {"glance"},
    {"polls"},
    {"watch", "sources"},
    {"session"},
    {"members"},
    {"conductor", "merged"},
    {"fleet"},
    {"", "sandbox", "testing", "cli", "demo", "__main__"},
)
PURE = {
    "account",
    "arguments",
    "breaker",
    "clock",
    "codec",
    "errors",
    "health",
    "hidden",
    "inflate",
    "ledger",
    "models",
    "pacing",
    "page",
    "planning",
    "positions",
    "redaction",
    "secret",
    "site_url",
    "unreadable",
    "counting",
    "windows",
    "wire",
}
# Each outside library has one room.
ROOMS_OF = {
    "aiohttp": {
        *("proxies", "transport", "connection", "clean", "fleet"),
        *("sandbox", "testing", "demo", "cli"),
    },
    "cattrs": {"codec"},
    "msgspec": {"codec", "sandbox"},
    "json": {"codec", "models", "state", "sandbox"},
    "sqlite3": {"state"},
    "tomllib": {"account_files"},
    "aiolimiter": {"fleet"},
}


def room_of(path: Path) -> str:
    """Return the room of a file: the first part of its name below the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py").removesuffix("__init__") or ""


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


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_knows_only_rooms_below(path: Path) -> None:
    """A module imports from lower layers, or from its own room."""
    level = {room: number for number, layer in enumerate(LAYERS) for room in layer}
    room = room_of(path)
    for name in imports_of(path):
        if name.split(".")[0] == "ppapi_async":
            other = [*name.split("."), ""][1]
            if other != room:
                allowed = level[other] < level[room] or level[room] == len(LAYERS) - 1
                assert allowed, f"{room} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_library_has_one_room(path: Path) -> None:
    """aiohttp, cattrs and JSON stay where design says; pure rooms do no I/O."""
    room, names = room_of(path), {name.split(".")[0] for name in imports_of(path)}
    for library, rooms in ROOMS_OF.items():
        assert library not in names or room in rooms, f"{room} imports {library}"
    if room in PURE:
        assert not names & {"asyncio", "socket", "ssl", "time", "random", "os", "pathlib"}


def test_importing_does_nothing() -> None:
    """The import starts no loop, opens no file of ours, and does not bring the sandbox along."""
    code = (
        "import sys, asyncio, ppapi_async;"
        "assert not any('sandbox' in name for name in sys.modules);"
        "assert asyncio._get_running_loop() is None"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_all_is_what_the_face_has() -> None:
    """Every name in `__all__` exists, sorted as one would look for it."""
    for name in ppapi_async.__all__:
        assert hasattr(ppapi_async, name)
    assert len(set(ppapi_async.__all__)) == len(ppapi_async.__all__)

"""The suite itself: every worker collects the same tests, whenever and wherever it does."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import COLLECTED, dealt

TESTS = Path(__file__).parents[1]
FILES = sorted(TESTS.rglob("test_*.py"))
_CHANGING = frozenset(
    [
        "time",
        "time_ns",
        "monotonic",
        "perf_counter",
        "now",
        "utcnow",
        "today",
        "getpid",
        "uuid1",
        "uuid4",
        "getsockname",
        "gettempdir",
        "mkdtemp",
        "mkstemp",
        "cwd",
        "home",
        "random",
        "randint",
        "randrange",
        "getrandbits",
        "token_hex",
        "token_urlsafe",
        "urandom",
        "id",
        "hash",
    ]
)
"""Functions whose answer another worker may not get."""
_SECONDS = 150


def _collect(shift: int, hash_seed: int, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pytest", "-p", "tests.house.shifted", "-p", "no:randomly"]
    command += ["-p", "no:cacheprovider", "--collect-only", "-q", "-o", "addopts="]
    changed = {"SHIFT": str(shift), "PYTHONHASHSEED": str(hash_seed)}
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))
    }
    with out.open("wb") as screen:
        return subprocess.Popen(
            command, cwd=TESTS.parent, env=environment | changed, stdout=screen, stderr=screen
        )


def _collected(runs: list[subprocess.Popen[bytes]], outs: list[Path]) -> Iterator[list[str]]:
    """Yield the ids that each run has found."""
    try:
        ended = [run.wait(timeout=_SECONDS) for run in runs]
    finally:
        for run in runs:
            run.kill()
            run.wait()
    for code, out in zip(ended, outs, strict=True):
        printed = out.read_text("utf-8")
        assert code == 0, printed[-2_000:]
        yield [line for line in printed.splitlines() if "::" in line]


@pytest.mark.untraced
def test_ids_do_not_depend_on_clock_hash_seed_or_ports(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Two collections, 400 days, a hash seed and a port range apart, find the same tests.

    One is what this process has collected, if that is the whole suite: a collection takes long.
    """
    own = pytestconfig.stash[COLLECTED]
    is_whole = {test.partition("::")[0] for test in own} == {
        one.relative_to(TESTS.parent).as_posix() for one in FILES
    }
    shifts = [(400 * 86_400 + 12_345, 77)] if is_whole else [(400 * 86_400 + 12_345, 77), (0, 1)]
    outs = [tmp_path / str(number) for number in range(len(shifts))]
    runs = [_collect(*shift, out) for shift, out in zip(shifts, outs, strict=True)]
    there, here = [*_collected(runs, outs), own][:2]
    assert len(here) > 1_000
    assert sorted(set(here) ^ set(there)) == []
    assert here == there, "the same tests in another order"
    assert not [line for line in here if str(TESTS.parent) in line or str(tmp_path.parent) in line]


def _names(node: ast.AST) -> set[str]:
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def _is_changing(node: ast.AST, changing: set[str]) -> bool:
    calls = (inner.func for inner in ast.walk(node) if isinstance(inner, ast.Call))
    called = {getattr(func, "attr", getattr(func, "id", "")) for func in calls}
    return bool(called & _CHANGING or _names(node) & changing)


def _changing_names(tree: ast.Module) -> set[str]:
    """Return the module's constants that come from a clock, from chance or from the machine."""
    changing: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if _is_changing(node.value, changing):
                changing |= set().union(*map(_names, targets))
    return changing


def _parameters(tree: ast.Module) -> Iterator[ast.Call]:
    """Yield the calls of `parametrize` whose ids pytest makes of the values."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or getattr(node.func, "attr", "") != "parametrize":
            continue
        if not any(keyword.arg == "ids" for keyword in node.keywords):
            yield node


def _faults(source: str) -> list[int]:
    tree = ast.parse(source)
    changing = _changing_names(tree)
    return [
        call.lineno
        for call in _parameters(tree)
        if any(_is_changing(argument, changing) for argument in call.args[1:])
    ]


@pytest.mark.untraced
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_parameters_call_no_clock(path: Path) -> None:
    """No parameter without an id of its own comes from a clock, a port, a path or chance."""
    assert _faults(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        (
            "import time\nNOW = int(time.time())\nSTART = NOW - 9\n@mark.parametrize('a', [START])",
            [4],
        ),
        ("@mark.parametrize('a', [datetime.now(UTC)])", [1]),
        ("@mark.parametrize('a', [os.getpid(), 2])", [1]),
        ("NOW = time.time()\n@mark.parametrize('a', [NOW], ids=['now'])", []),
        ("NOW = 1_760_000_000\n@mark.parametrize('a', [NOW])", []),
    ],
    ids=["constant of a constant", "clock", "process", "own ids", "fixed"],
)
def test_the_check_finds_what_it_is_for(source: str, lines: list[int]) -> None:
    """The check sees a clock through constants, and lets ids of one's own be."""
    assert _faults(source + "\ndef test_it(): ...") == lines


@pytest.mark.parametrize("count", [0, 2, 3, 9, 10, 11])
@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_each_worker_begins_with_what_is_long(count: int, workers: int) -> None:
    """What comes first is spread over the pieces into which xdist cuts the tests, and none is lost.

    Each piece is what is left, divided by the workers that are left, rounded down.
    """
    items = list(range(count))
    rest = dealt(items, workers)
    assert sorted(rest) == items
    firsts = []
    for left in range(workers, 0, -1):
        piece, rest = rest[: len(rest) // left], rest[len(rest) // left :]
        assert piece == sorted(piece)
        firsts += piece[:1]
    assert sorted(firsts) == items[:workers]


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
@pytest.mark.parametrize("last", [0, 3, 9, 40])
def test_what_takes_long_to_load_is_loaded_by_one_worker(last: int, workers: int) -> None:
    """Those that want it come first in the first piece, as many as are in it."""
    items = list(range(17))
    order = dealt(items, workers, lambda item: item < last)
    piece = 17 // workers
    assert sorted(order) == items
    assert order[: min(last, piece)] == items[: min(last, piece)]

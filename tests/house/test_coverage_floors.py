"""The floors of coverage, and that nothing gets around them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.coverage_floors import File, below, lines_of
from tests.house.test_layers import FILES, PACKAGE, PURE, names_of

ROOT = PACKAGE.parent


def files(**shares: float) -> dict[Path, File]:
    """Return what coverage tells if all is covered but these modules."""
    covered: dict[Path, File] = {}
    for path in FILES:
        share = shares.get(path.stem, 100.0)
        covered[path] = {
            "summary": {"percent_covered": share},
            "missing_lines": [7] if share < 100 else [],
            "missing_branches": [(9, 11), (12, -1)] if share < 100 else [],
        }
    return covered


@pytest.mark.parametrize(
    ("shares", "covered"),
    [
        pytest.param({}, [], id="all covered"),
        pytest.param(
            {"_validation": 99.99},
            ["_validation.py: 99.99 %, not 100 %; not run: 7, 9->11, 12->exit"],
            id="a pure module: every line and branch",
        ),
        pytest.param(
            {"decoder": 99.0},
            ["protocol/decoder.py: 99.00 %, not 100 %; not run: 7, 9->11, 12->exit"],
            id="a module of a pure folder",
        ),
        pytest.param({"stream": 95.0}, [], id="another module: most of it"),
        pytest.param(
            {"stream": 94.9},
            ["streaming/stream.py: 94.90 %, not 95 %; not run: 7, 9->11, 12->exit"],
            id="each module, not the mean",
        ),
    ],
)
def test_floors(shares: dict[str, float], covered: list[str]) -> None:
    """Pure modules are covered wholly, each other module to 95 %."""
    assert list(below(files(**shares))) == covered


def test_what_is_not_run_is_shown_above_the_floor_too() -> None:
    """Whoever changes a module sees which of its lines no test goes through."""
    [line] = lines_of(files(stream=97.5))
    assert line.split(maxsplit=3) == ["streaming/stream.py", "97.50", "%", "7, 9->11, 12->exit"]


def test_a_module_without_tests_is_told() -> None:
    """A module that coverage does not know is below any floor."""
    measured = files()
    del measured[PACKAGE / "account.py"]
    assert list(below(measured)) == ["account.py: not measured"]


def test_pure_modules_are_there() -> None:
    """A pure module or folder that has been renamed does not lose its floor unseen."""
    places = {
        "/".join(names[:end]) for names in map(names_of, FILES) for end in range(len(names) + 1)
    }
    assert places >= PURE


def test_nothing_is_left_out_of_the_measurement() -> None:
    """No line of the package is excused, and the settings excuse only what has no behaviour."""
    for path in FILES:
        assert not re.search(r"pragma:\s*no", path.read_text("utf-8")), path
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["coverage"]
    assert tool["run"] == {"branch": True, "source": ["ppapi_async"]}
    assert tool["report"]["exclude_also"] == ["if TYPE_CHECKING:", "@overload"]
    assert not {"omit", "exclude_lines", "partial_branches", "include"} & set(tool["report"])

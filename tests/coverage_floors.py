"""`python -m tests.coverage_floors`: hold each module to its share of lines and branches.

To be run after `coverage run -m pytest`, where that left its data. The pure modules, listed in
`tests/house/test_layers.py`, have to be covered wholly, each other module to 95 %. One that was
never imported counts as one of which nothing is covered. What was not run is shown of all modules,
as by `coverage report`, which would take as long again to look for it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypedDict

from coverage import Coverage

from tests.house.test_layers import FILES, PACKAGE, is_pure

__all__ = ["File", "below", "floor_of", "lines_of"]

_WHOLE, _FLOOR = 100.0, 95.0


class Summary(TypedDict):
    """What coverage's JSON tells of a file, or of all, as a whole."""

    percent_covered: float


class File(TypedDict):
    """What coverage's JSON tells of a file."""

    summary: Summary
    missing_lines: list[int]
    missing_branches: list[tuple[int, int]]


def floor_of(path: Path) -> float:
    """Return the share of a module that has to be covered, in per cent."""
    return _WHOLE if is_pure(path) else _FLOOR


def below(measured: Mapping[Path, File]) -> Iterator[str]:
    """Yield a line for each module that is below its floor, or was not measured at all."""
    for path in FILES:
        name, floor = path.relative_to(PACKAGE), floor_of(path)
        if path not in measured:
            yield f"{name}: not measured"
        elif (covered := measured[path]["summary"]["percent_covered"]) < floor:
            yield f"{name}: {covered:.2f} %, not {floor:g} %; not run: {_missing(measured[path])}"


def lines_of(measured: Mapping[Path, File]) -> Iterator[str]:
    """Yield a line for each module that is not covered wholly."""
    for path in FILES:
        if path in measured and (missing := _missing(measured[path])):
            covered = measured[path]["summary"]["percent_covered"]
            yield f"{path.relative_to(PACKAGE)!s:<36} {covered:6.2f} %  {missing}"


def _missing(file: File) -> str:
    lines = set(file["missing_lines"])
    branches = [
        f"{first}->{'exit' if last < 0 else last}"
        for first, last in file["missing_branches"]
        if first not in lines and last not in lines
    ]
    return ", ".join([*map(str, file["missing_lines"]), *branches])


def _measured() -> tuple[dict[Path, File], Summary]:
    coverage = Coverage()
    coverage.load()
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory, "coverage.json")
        coverage.json_report(outfile=str(report))
        found = json.loads(report.read_text("utf-8"))
    return {Path(name).resolve(): file for name, file in found["files"].items()}, found["totals"]


def main() -> int:
    """Tell what was not run, and which modules are below their floors; 1 if any is."""
    measured, total = _measured()
    found = list(below(measured))
    lines = [*lines_of(measured), f"{'all':<36} {total['percent_covered']:6.2f} %", *found]
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())

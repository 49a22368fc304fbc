"""Interleaved timing, and the lines that a bench reports."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

from attrs import asdict, frozen

RESULTS = Path(__file__).parent / "results"
_TOLD_PACKAGES = ("aiohttp", "attrs", "cattrs", "msgspec", "orjson", "httpx", "pydantic", "dlt")


@frozen
class Line:
    """One measured number. `aim` is a bound from performance.md; None where it is only told."""

    section: str
    name: str
    value: float
    unit: str
    aim: float | None = None
    at_most: bool = True
    note: str = ""
    runs: Sequence[float] = ()

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None without one."""
        if self.aim is None:
            return None
        return self.value <= self.aim if self.at_most else self.value >= self.aim


def interleaved(
    candidates: Mapping[str, Callable[[], object]], rounds: int, repeats: int
) -> dict[str, float]:
    """Return the median seconds of one call of each candidate, all taking turns."""
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    for call in candidates.values():
        call()
    for _ in range(rounds):
        for name, call in candidates.items():
            began = time.perf_counter()
            for _ in range(repeats):
                call()
            taken[name].append((time.perf_counter() - began) / repeats)
    return {name: median(times) for name, times in taken.items()}


def table(lines: Iterable[Line]) -> str:
    """Return the lines as a table."""
    head = ("bench", "what", "value", "aim", "", "note")
    cells = [head, *(_cells(line) for line in lines)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def _cells(line: Line) -> tuple[str, ...]:
    sign = "<=" if line.at_most else ">="
    aim = "" if line.aim is None else f"{sign} {line.aim:g}"
    verdict = {None: "", True: "ok", False: "MISSED"}[line.met]
    value = f"{line.value:,.0f}" if line.unit == "requests" else f"{line.value:.2f}"
    return line.section, line.name, f"{value} {line.unit}".strip(), aim, verdict, line.note


def save(name: str, lines: Sequence[Line]) -> Path:
    """Write the lines and what they were measured on to `results/NAME.json`."""
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    written = [{**asdict(line), "met": line.met} for line in lines]
    path.write_text(json.dumps({"machine": _machine(), "lines": written}, indent=1) + "\n", "utf-8")
    return path


def _machine() -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "packages": {name: _version(name) for name in _TOLD_PACKAGES},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

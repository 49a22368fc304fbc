"""Requests for a range on a capped server, with one second that holds more than two pages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from math import ceil

from bench.measure import Line
from bench.processes import run, sandboxed
from bench.rows import SPAN

BURST, PAGE = 1300, 500
_CASES: dict[str, dict[str, object]] = {
    "a range": {},
    "a range, concurrency 4": {"concurrency": 4},
    "a range, newest first": {"newest_first": True},
    "open at both ends": {"open_ended": True},
}


def measure(*, rows: int = 100_000) -> Iterator[Line]:
    """Count the requests of whole streams from the library's own sandbox."""
    end = int(time.time())
    aim = 1.15 * ceil(rows / PAGE) + 5
    with sandboxed(rows, end - SPAN, end, BURST) as site:
        for name, options in _CASES.items():
            counted = run("requests", site, **options)
            if (counted["rows"], counted["ids"]) != (rows, rows):
                raise ValueError(f"{name}: not each row once: {counted}")
            note = f"{rows:,} rows in {counted['seconds']:.1f} s"
            yield Line("requests", name, counted["requests"], "requests", aim, note=note)

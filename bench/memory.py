"""One million rows from a server without a cap: peak memory, and when the first record comes."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from bench.measure import Line
from bench.processes import Site, run, serving

MEGABYTES, FIRST = 40.0, 2.0


def measure(*, rows: int = 1_000_000, rounds: int = 3) -> Iterator[Line]:
    """Stream the whole site in a fresh process."""
    with serving("plain", rows, cap=0, dialect="classic") as site:
        for concurrency in (1, 4):
            yield from _one(site, concurrency, rounds)


def _one(site: Site, concurrency: int, rounds: int) -> Iterator[Line]:
    runs = [run("memory", site, concurrency=concurrency) for _ in range(rounds)]
    if any(one["rows"] != site.rows for one in runs):
        raise ValueError(f"not all rows came: {runs}")
    over = [one["peak"] - one["idle"] for one in runs]
    first = [100 * one["first"] / one["whole"] for one in runs]
    last = runs[-1]
    note = (
        f"idle {last['idle']:.0f} MB; {last['requests']:.0f} requests, largest answer"
        f" {last['largest'] / 1e6:.2f} MB; {site.rows / last['whole']:,.0f} rows/s"
    )
    name = f"{site.rows:,} rows, concurrency {concurrency}"
    yield Line(
        "memory", f"{name}: peak over idle", max(over), "MB", MEGABYTES, note=note, runs=over
    )
    note = f"{last['first'] * 1000:.0f} ms of {last['whole']:.1f} s"
    yield Line("memory", f"{name}: first record", median(first), "%", FIRST, note=note, runs=first)

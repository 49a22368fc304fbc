"""The longest event-loop stall with 1, 16 and 64 streams at once in one session."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from attrs import evolve

from bench.measure import Line
from bench.processes import Site, run, serving

MILLISECONDS = 10.0
_SERVERS = (
    ("capped 2.7", "cyrillic", 500, "delegating"),
    ("uncapped classic", "plain", 0, "classic"),
)


def measure(*, rows: int = 100_000, rounds: int = 5) -> Iterator[Line]:
    """Let streams run beside a ticker; each of many reads a shorter range."""
    for name, shape, cap, dialect in _SERVERS:
        with serving(shape, rows, cap=cap, dialect=dialect) as site:
            for streams, share in ((1, 1.0), (16, 0.25), (64, 0.1)):
                yield _one(name, site, streams, share, rounds)


def _one(name: str, site: Site, streams: int, share: float, rounds: int) -> Line:
    part = evolve(site, end=site.start + int((site.end - site.start) * share))
    runs = [run("stall", part, streams=streams) for _ in range(rounds)]
    stalls = [one["stall"] for one in runs]
    own = median(one["cpu_stall"] for one in runs)
    pages = median(one["cpu_stall"] / one["page"] for one in runs)
    bare = [one["without_gc"] for one in runs]
    note = (
        f"max {max(stalls):.1f}; without gc {median(bare):.1f}, max {max(bare):.1f}"
        f"; longest gc {max(one['gc'] for one in runs):.1f}; own CPU in one turn {own:.1f}"
        f", {pages:.1f} x a page of 500 rows"
        f"; {sum(one['late'] for one in runs):.0f} late ticks"
        f" in {sum(one['seconds'] for one in runs):.0f} s"
    )
    shown = f"{name}, {streams} stream{'s' * (streams > 1)}"
    return Line("stall", shown, median(stalls), "ms", MILLISECONDS, note=note, runs=stalls)

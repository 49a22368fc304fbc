"""Fleets: whether each account has its turn in time, what it weighs, how fast all are polled."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from bench.measure import Line
from bench.processes import fleet_sites, run

LATE, KILOBYTES, SHARE = 1.0, 25.0, 0.6


def measure(
    *, interval: float = 60, seconds: float = 180, many_seconds: float = 330, rounds: int = 5
) -> Iterator[Line]:
    """Poll a thousand accounts, then ten thousand."""
    yield from _turns(1_000, interval, seconds, KILOBYTES)
    yield from _turns(1_000, interval, 1.2 * interval, None, on_disk=False)
    yield from _turns(10_000, 5 * interval, many_seconds, None)
    yield from _polls(1_000, rounds)


def _turns(
    accounts: int, interval: float, seconds: float, most: float | None, *, on_disk: bool = True
) -> Iterator[Line]:
    with fleet_sites() as site:
        options = {
            "accounts": accounts,
            "interval": interval,
            "seconds": seconds,
            "on_disk": on_disk,
        }
        found = run("fleet", site, measure="turns", **options)
    name = f"{accounts:,} accounts, every {interval:g} s"
    note = (
        f"{found['polls']:.0f} polls in {seconds:g} s; first half {found['late_first_half']:.3f} s,"
        f" second {found['late_second_half']:.3f} s; {100 * found['cpu_share']:.0f} % of a core;"
        f" {found['failing']:.0f} failing"
    )
    if on_disk:
        yield Line("fleet", f"{name}: 99 % late by", found["late"], "s", LATE, note=note)
    where = "SQLiteState" if on_disk else "MemoryState"
    note = f"after half the time {found['kilobytes_half']:.1f} KB; some 40 rows each"
    yield Line("fleet", f"{name}, {where}: an account", found["kilobytes"], "KB", most, note=note)


def _polls(accounts: int, rounds: int) -> Iterator[Line]:
    with fleet_sites() as site:
        runs = [
            run("fleet", site, measure="poll", accounts=accounts, rounds=rounds) for _ in range(3)
        ]
    shares = [one["bare"] / one["ours"] for one in runs]
    last = runs[-1]
    note = (
        f"{last['requests'] / last['ours']:,.0f} requests/s;"
        f" bare {last['requests'] / last['bare']:,.0f}"
    )
    name = f"{accounts:,} accounts: a full poll, x bare gather"
    yield Line("fleet", name, median(shares), "", SHARE, at_most=False, note=note, runs=shares)

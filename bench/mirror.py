"""A mirror: rows from the socket to the disk, in both databases, and what a quiet site costs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from statistics import median

import psycopg

from bench.measure import Line
from bench.processes import Site, fleet_sites, run, serving
from tests.postgres import Postgres, PostgresServer, binaries

SHARE, AGAIN = 0.6, 5.0
_SETTINGS = {"listen_addresses": "127.0.0.1", "max_wal_size": "4GB", "shared_buffers": "128MB"}
"""A server as users have it: it does wait for the disk."""


def measure(*, rows: int = 100_000, rounds: int = 3, accounts: int = 1_000) -> Iterator[Line]:
    """Mirror one large account, then a thousand quiet ones."""
    with _databases() as databases:
        with serving("cyrillic", rows, cap=500, dialect="delegating") as site:
            yield from _large(site, databases, rounds)
        for name, postgres in databases.items():
            with fleet_sites() as site:
                yield from _quiet(site, name, postgres, accounts)


@contextlib.contextmanager
def _databases() -> Iterator[dict[str, Postgres | None]]:
    found = binaries()
    if found is None:
        yield {"SQLite": None}
        return
    with PostgresServer(found, _SETTINGS) as server:
        yield {"SQLite": None, "PostgreSQL": Postgres(server.url)}


def _run(site: Site, postgres: Postgres | None, measure: str, **options: float) -> dict[str, float]:
    """Run a job on an empty database."""
    if postgres is None:
        return run("mirror", site, measure=measure, database="", **options)
    url = postgres.lend()
    try:
        empty = _size(url)
        told = run("mirror", site, measure=measure, database=url, **options)
        return told | {"bytes": _size(url) - empty}
    finally:
        postgres.take_back(url)


def _size(url: str) -> float:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    return float(row[0]) if row else 0.0


def _large(site: Site, databases: dict[str, Postgres | None], rounds: int) -> Iterator[Line]:
    streams: list[float] = []
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in databases}
    for _ in range(rounds):
        streams.append(run("ours", site)["seconds"])
        for name, postgres in databases.items():
            runs[name].append(_run(site, postgres, "one"))
            if runs[name][-1]["rows"] != site.rows:
                raise ValueError(f"{name} has not all rows: {runs[name][-1]}")
    for name, taken in runs.items():
        yield from _lines(f"{name}, {site.rows:,} rows", site, streams, taken)


def _lines(
    name: str, site: Site, streams: list[float], runs: list[dict[str, float]]
) -> Iterator[Line]:
    shares = [stream / one["first"] for stream, one in zip(streams, runs, strict=True)]
    first = median(one["first"] for one in runs)
    note = f"{site.rows / first:,.0f} rows/s; {runs[0]['requests']:.0f} requests"
    aim = SHARE if name.startswith("SQLite") else None
    yield Line(
        "mirror", f"{name}: x the stream alone", median(shares), "", aim, False, note, shares
    )
    over = [one["peak"] - one["idle"] for one in runs]
    yield Line("mirror", f"{name}: peak over idle", max(over), "MB", runs=over)
    size = [one["bytes"] / site.rows for one in runs]
    yield Line("mirror", f"{name}: on disk, a row", median(size), "bytes", runs=size)
    for key, when in (("again", "at once"), ("hour", "an hour later"), ("day", "a day later")):
        parts = [100 * one[key] / one["first"] for one in runs]
        note = f"{runs[0][f'{key}_rows']:,.0f} rows read"
        shown = f"{name}: again {when}, of the first"
        aim = AGAIN if key == "again" else None
        yield Line("mirror", shown, median(parts), "%", aim, note=note, runs=parts)


def _quiet(site: Site, name: str, postgres: Postgres | None, accounts: int) -> Iterator[Line]:
    told = _run(site, postgres, "quiet", accounts=accounts)
    note = (
        f"{told['requests']:,.0f} requests, {told['again_cpu']:.1f} s of CPU;"
        f" the first time {told['first']:.1f} s"
    )
    yield Line("mirror", f"{name}, {accounts:,} quiet accounts", told["again"], "s", note=note)

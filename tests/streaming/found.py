"""Servers found by search: `python -m tests.streaming.found [HOW MANY]` looks for them anew.

Each seed is a simulated server and a way of reading it. Of many thousands those are kept that go
through a line or branch of the pure modules of reading that none before went through, so that each
of their decisions is carried out in every run, whatever the property tests happen to draw. After a
change to these modules the seeds still hold as tests; where `tests.coverage_floors` names something
that is no longer run, the search prints a new list.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from coverage import Coverage

from ppapi_async.protocol.evidence import Evidence
from tests.sites.simulated import Event, Reader, Site, UnprovenError, scattered, what_is_wrong

__all__ = ["NOW", "SEEDS", "judge", "reader"]

NOW = 10_000_000
_AHEAD = NOW + 400 * 86_400
_MODULES = (
    "agenda.py",
    "counting.py",
    "evidence.py",
    "planner.py",
    "window_proof.py",
    "window_reader.py",
    "window_rows.py",
)
_BATCH = 200
LONG = 1_000_000
"""The first seed of servers with many pages; those below have many oddities."""

SEEDS = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    11,
    12,
    13,
    16,
    17,
    20,
    22,
    23,
    24,
    25,
    27,
    30,
    31,
    34,
    35,
    45,
    55,
    60,
    61,
    65,
    66,
    72,
    107,
    113,
    121,
    125,
    135,
    177,
    178,
    217,
    223,
    242,
    285,
    286,
    370,
    430,
    681,
    710,
    944,
    1192,
    1460,
    1742,
    2391,
    11634,
    1_000_010,
    1_000_028,
    1_000_045,
    1_000_106,
    1_000_175,
    1_000_197,
)
LOST = (3_594, 303_544, 1_001_124, 1_001_189, 1_001_874, 1_002_212, 1_002_775)
"""Rows that went once stood for as many that had never come: see the test."""


def reader(seed: int) -> Reader:
    """Return a server, a range and a way of reading."""
    chance = random.Random(seed)
    kinds = [_oddity, _classic, _burst] if seed < LONG else [_long]
    return kinds[seed % len(kinds)](chance)


def _rows(chance: random.Random, most: int = 6) -> dict[int, int]:
    places = [1, 2, -5, NOW, NOW - 40, NOW // 2, chance.randint(1, NOW), chance.randint(1, NOW)]
    if not chance.randrange(4):
        places.append(_AHEAD)
    spreads = [0, 0, 1, 2, 50, 100_000]
    bursts = [
        (chance.choice(places), chance.choice(spreads), chance.choice([1, 2, 5, 8, 15, 30]))
        for _ in range(chance.randint(0, most))
    ]
    rows = scattered(bursts, chance.getrandbits(32))
    return {i: NOW if NOW < s < NOW + 200 * 86_400 else s for i, s in rows.items()}


def _moves(chance: random.Random, rows: int) -> list[tuple[int, int]]:
    first = chance.choice([5, 40])
    return [
        (chance.randint(1, first), chance.randint(1, rows + 2))
        for _ in range(chance.choice([0, 0, 1, 3, 12]))
    ]


def _events(chance: random.Random, rows: int) -> list[Event]:
    first = chance.choice([5, 40, 200])
    return [
        Event(
            chance.randint(1, first),
            chance.randint(1, rows + 20),
            gone=not chance.randrange(2),
            second=chance.choice([None, None, -5, 1, NOW // 2, chance.randint(1, NOW)]),
        )
        for _ in range(chance.choice([0, 0, 1, 6, 30]))
    ]


def _one_in(chance: random.Random, many: int) -> bool:
    return not chance.randrange(many)


def _oddity(chance: random.Random) -> Reader:
    """A server with any number of oddities at once."""
    rows = _rows(chance)
    honours_offset = not _one_in(chance, 4)
    least = 2 if honours_offset else 5
    orders = ["newest first"]
    if honours_offset:
        orders = ["newest first"] * 3 + ["oldest first", "by id", "by id upwards", "alternating"]
    kind = chance.choice(["still", "moves", "events"])
    site = Site(
        rows,
        cap=chance.randint(least, 12),
        limit=chance.choice([None, None, chance.randint(least, 12)]),
        caps={chance.randint(1, 40): chance.randint(2, 12) for _ in range(3)}
        if honours_offset and _one_in(chance, 5)
        else {},
        honours_offset=honours_offset,
        honours_filter=not _one_in(chance, 6),
        honours_start=not _one_in(chance, 6),
        honours_end=not _one_in(chance, 6),
        excludes_start=_one_in(chance, 4),
        excludes_end=_one_in(chance, 4),
        order=chance.choice(orders),
        ties=chance.choice(["by id", "fixed", "rotated", "random"]),
        moves=_moves(chance, len(rows)) if kind == "moves" else [],
        events=_events(chance, len(rows)) if kind == "events" else [],
        unreadable={chance.randint(1, 60) for _ in range(8)} if _one_in(chance, 5) else set(),
        repeats=chance.choice([0, 0, 0, 0, 1, 3]),
        now=NOW,
    )
    evidence = chance.choice(
        [Evidence(), Evidence(capped=True, page=site.cap or 5, promises_falling=True)]
    )
    return _read(chance, site, evidence, open_end=kind == "moves")


def _classic(chance: random.Random) -> Reader:
    """A server in the classic envelope: it cuts nothing and ignores `offset`, or is a copy."""
    rows = _rows(chance)
    honours_offset = _one_in(chance, 3)
    kind = chance.choice(["still", "moves"])
    site = Site(
        rows,
        cap=chance.choice([10, 20, 25]) if honours_offset else None,
        honours_offset=honours_offset,
        honours_filter=not _one_in(chance, 5),
        excludes_start=_one_in(chance, 6),
        excludes_end=_one_in(chance, 6),
        order=chance.choice(["newest first", "newest first", "oldest first", "by id"]),
        ties=chance.choice(["by id", "random"]),
        moves=_moves(chance, len(rows)) if kind == "moves" else [],
        unreadable={chance.randint(1, 60) for _ in range(4)} if _one_in(chance, 5) else set(),
        now=NOW,
    )
    evidence = Evidence(capped=False, promises_falling=True)
    return _read(chance, site, evidence, open_end=kind == "moves")


def _burst(chance: random.Random) -> Reader:
    """A busy server that does as it should: crowds, rows that move all the time."""
    cap = chance.randint(2, 40)
    rows = scattered(
        [(NOW - chance.choice([0, 1, 40, 4_000]), chance.choice([0, 5, 3_000]), 30 * cap)]
        + [(chance.randint(1, NOW), chance.choice([0, 90_000]), 8 * cap) for _ in range(3)],
        chance.getrandbits(32),
    )
    rows = {i: min(s, NOW) for i, s in rows.items()}
    every = chance.choice([1, 1, 2, 7])
    moving = not _one_in(chance, 3)
    site = Site(
        rows,
        cap=cap,
        honours_offset=not _one_in(chance, 5) or cap < 5,
        excludes_start=_one_in(chance, 5),
        ties=chance.choice(["by id", "fixed", "rotated", "random"]),
        moves=[(n, chance.randint(1, len(rows))) for n in range(1, 300, every)] if moving else [],
        now=NOW,
    )
    evidence = chance.choice([Evidence(), Evidence(capped=True, page=cap, promises_falling=True)])
    return _read(chance, site, evidence, open_end=moving)


def _long(chance: random.Random) -> Reader:
    """A server with many pages in a window, of which the newer ones are worth keeping."""
    cap = chance.randint(5, 8)
    many = chance.choice([10, 30, 60]) * cap
    spread = chance.choice([many // 3, many, 50 * many, 20_000 * many])
    seconds = sorted(NOW - chance.randint(0, min(spread, NOW - 1)) for _ in range(many))
    ids = list(range(1, many + 1))
    if _one_in(chance, 4):
        chance.shuffle(ids)
    every = chance.choice([1, 1, 2, 3, 5])
    moving = not _one_in(chance, 3)
    site = Site(
        dict(zip(ids, seconds, strict=True)),
        cap=cap,
        honours_offset=not _one_in(chance, 3),
        excludes_start=_one_in(chance, 2),
        excludes_end=_one_in(chance, 4),
        ties=chance.choice(["by id", "by id", "random"]),
        moves=[(n, chance.randint(1, many)) for n in range(1, 300, every)] if moving else [],
        unreadable={chance.randint(1, many) for _ in range(20)} if _one_in(chance, 3) else set(),
        now=NOW,
    )
    evidence = chance.choice([Evidence(), Evidence(capped=True, page=cap, promises_falling=True)])
    return _read(chance, site, evidence, open_end=moving)


def _read(chance: random.Random, site: Site, evidence: Evidence, *, open_end: bool) -> Reader:
    least = max(4, site.cap or 0) if len(site.rows) > 200 else 4
    start = chance.choice([None, None, 1, -5, NOW - 1_000, chance.randint(1, NOW)])
    end = chance.choice([None, NOW, NOW + 100, chance.randint(max(start or 1, 1), NOW + 100)])
    return Reader(
        site,
        evidence,
        start,
        None if open_end else end,
        now=NOW,
        window=chance.choice([None, None, chance.randint(100_000, NOW)]),
        newest_first=_one_in(chance, 3),
        ahead=not _one_in(chance, 4),
        most_rows=chance.choice([None, None, chance.randint(least, least + 8)]),
        concurrency=chance.choice([1, 1, 2, 8]),
        turns=[chance.randrange(8) for _ in range(chance.choice([0, 5]))],
        failures=frozenset(chance.randint(1, 40) for _ in range(chance.choice([0, 3]))),
        most_requests=20_000,
    )


def judge(seed: int) -> str:
    """Read the server; return what is wrong, or nothing where every row came or it was said."""
    one = reader(seed)
    before = dict(one.site.rows)
    try:
        ids = [row.id for row in one.run()]
    except UnprovenError:
        return ""
    return what_is_wrong(one, before, ids)


def _run(seeds: range | list[int]) -> set[tuple[str, int, int]]:
    """Read these servers; return the branches that they went through."""
    coverage = Coverage(data_file=None, branch=True, source=["ppapi_async"], config_file=False)
    with coverage.collect():
        for seed in seeds:
            if wrong := judge(seed):
                sys.stderr.write(f"{seed}: {wrong}\n")
    data = coverage.get_data()
    return {
        (Path(file).name, *arc)
        for file in data.measured_files()
        if Path(file).name in _MODULES
        for arc in data.arcs(file) or ()
    }


def search(seeds: range, seen: set[tuple[str, int, int]]) -> list[int]:
    """Return the seeds that go through something that none before them went through.

    `seen` is what was gone through, and is added to.
    """
    kept = []
    for first in range(seeds.start, seeds.stop, _BATCH):
        batch = range(first, min(first + _BATCH, seeds.stop))
        if _run(batch) <= seen:
            continue
        for seed in batch:
            arcs = _run([seed])
            if not arcs <= seen:
                seen |= arcs
                kept.append(seed)
    return kept


if __name__ == "__main__":
    most = int(sys.argv[1]) if sys.argv[1:] else 6_000
    seen: set[tuple[str, int, int]] = set()
    for found in search(range(most), seen), search(range(LONG, LONG + most // 3), seen):
        sys.stdout.write(", ".join(map(str, found)) + "\n")

"""The example of workers that share: each site is polled by one, and by another after a kill."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgres import Postgres

EXAMPLE = Path(__file__).parents[2] / "examples" / "shared_fleet.py"
SITES = [f"site {number}" for number in range(1, 7)]


@pytest.mark.untraced
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_three_workers_share_six_sites(postgres_server: Postgres) -> None:
    """Whoever is killed, all sites are polled in the end; the rest leave in order.

    The example waits for a time, not for a state: a machine that is busy gets more of it.
    """
    for seconds in (1.5, 5, 20):
        database = postgres_server.lend()
        before, after = _run(database, seconds)
        postgres_server.take_back(database)
        if _shared(before) and _shared(after):
            return
    raise AssertionError(f"not every site is polled by one worker: {before}, then {after}")


def _shared(polled: dict[str, set[str]]) -> bool:
    """Tell whether each site is polled by one worker."""
    return sorted(site for own in polled.values() for site in own) == SITES


def _run(database: str, seconds: float) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Return which worker polled what before one was killed, and after that."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE), "--seconds", str(seconds)],
        env={**os.environ, "PARTNER_DATABASE": database},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    before, killed, after = done.stdout.partition("--- worker 1 is killed")
    assert killed
    first = _polled(before, {})
    rest = {worker: own for worker, own in first.items() if worker != "worker 1"}
    return first, _polled(after.partition("---")[0], rest)


def _polled(text: str, polled: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return which worker polls what, from what they say and what they polled before."""
    polled = dict(polled)
    for line in text.splitlines():
        if found := re.fullmatch(r"(worker \d): (polls|leaves) (.*?)( to others)?", line):
            worker, what, names, _ = found.groups()
            own, listed = polled.get(worker, set()), set(names.split(", "))
            polled[worker] = own | listed if what == "polls" else own - listed
    return polled


def test_it_says_what_it_needs() -> None:
    """A database; it makes none by itself."""
    environment = {name: value for name, value in os.environ.items() if name != "PARTNER_DATABASE"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLE)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "set PARTNER_DATABASE to the url of a database in PostgreSQL" in done.stderr

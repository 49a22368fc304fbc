"""The example of workers that share: each site is polled by one, and by another after a kill."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "shared_fleet.py"
SITES = {f"site {number}" for number in range(1, 7)}


@pytest.mark.no_cover
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_three_workers_share_six_sites(postgres_url: str) -> None:
    """Whoever is killed, all sites are polled in the end; the rest leave in order."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE), "--seconds", "1.5"],
        env={**os.environ, "PARTNER_DATABASE": postgres_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    before, _, after = done.stdout.partition("--- worker 1 is killed")
    polled: dict[str, set[str]] = {}
    for text in (before, after.partition("---")[0]):
        for line in text.splitlines():
            if found := re.fullmatch(r"(worker \d): (polls|leaves) (.*?)( to others)?", line):
                worker, what, names, _ = found.groups()
                own = polled.setdefault(worker, set())
                listed = set(names.split(", "))
                polled[worker] = own | listed if what == "polls" else own - listed
        polled = {
            worker: own for worker, own in polled.items() if text is before or worker != "worker 1"
        }
        assert set().union(*polled.values()) == SITES
        assert sum(map(len, polled.values())) == len(SITES)


def test_it_says_what_it_needs() -> None:
    """A database; it makes none by itself."""
    environment = {name: value for name, value in os.environ.items() if name != "PARTNER_DATABASE"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLE)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "set PARTNER_DATABASE to the url of a database in PostgreSQL" in done.stderr

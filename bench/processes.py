"""Servers and jobs in processes of their own, so that no import or garbage of one slows another."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import asdict, frozen

from bench.rows import SPAN, START

_ROOT = Path(__file__).parent.parent
KEY = "k" * 32
_LONGEST = 420
"""Seconds that a job may take, ten times what it needs."""


@frozen
class Site:
    """Where a bench server listens and what it holds."""

    url: str
    rows: int
    start: int = START
    end: int = START + SPAN
    """Exclusive."""
    key: str = KEY


class JobFailedError(Exception):
    """A job ended badly; the message is what it printed."""


@contextmanager
def _listening(*command: object) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", *map(str, command)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=_ROOT,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.communicate()


@contextmanager
def serving(shape: str, rows: int, *, cap: int, dialect: str) -> Iterator[Site]:
    """Run the cheap server."""
    with _listening("bench.server", shape, rows, cap, dialect) as url:
        yield Site(url, rows)


@contextmanager
def sandboxed(rows: int, start: int, end: int, burst: int) -> Iterator[Site]:
    """Run the library's own sandbox, delegating, with one second that holds `burst` rows."""
    with _listening("bench.sandboxed", rows, start, end, burst, KEY) as url:
        yield Site(url, rows, start, end)


@contextmanager
def fleet_sites() -> Iterator[Site]:
    """Run the server that is a thousand sites."""
    with _listening("bench.fleet_server") as url:
        yield Site(url, 0)


def run(job: str, site: Site, **options: object) -> dict[str, float]:
    """Run `bench.jobs.JOB` in a fresh process and return what it measured.

    Raises:
        ModuleNotFoundError: a peer is not installed.
        JobFailedError: the job failed, or did not end.
    """
    command = [sys.executable, "-m", "bench.child", job]
    try:
        done = subprocess.run(
            [*command, json.dumps(asdict(site)), json.dumps(options)],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LONGEST,
        )
    except subprocess.TimeoutExpired:
        raise JobFailedError(f"{job} {options}: still running after {_LONGEST} s") from None
    if done.returncode == 3:
        raise ModuleNotFoundError(done.stderr.strip())
    if done.returncode:
        raise JobFailedError(f"{job}: {done.stderr.strip()[-2000:]}")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured

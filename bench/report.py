"""A report of a large mirror: how long the whole command takes, and what it weighs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.filled import fill
from bench.measure import Line
from bench.processes import Site, run

SECONDS, MEGABYTES = 20.0, 300.0


def measure(*, rows: int = 2_000_000, accounts: int = 200, rounds: int = 3) -> Iterator[Line]:
    """Fill a mirror in SQLite, gather what a report tells, and run the command as users do."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mirror.db"
        fill(path, accounts=accounts, rows=rows)
        url = f"sqlite:///{path}"
        runs = [run("report", Site("", rows), url=url) for _ in range(rounds)]
        whole = [_command(url, Path(folder) / "report.html") for _ in range(rounds)]
    name = f"{accounts} accounts, {rows:,} rows"
    taken = [one["gather"] for one in runs]
    note = f"{median(one['gather_cpu'] for one in runs):.1f} s of CPU"
    yield Line("report", f"{name}: gathered", median(taken), "s", note=note, runs=taken)
    over = [one["peak"] - one["idle"] for one in runs]
    yield Line("report", f"{name}: gathered, peak over idle", max(over), "MB", runs=over)
    taken = [seconds for seconds, _, _ in whole]
    note = f"{median(cpu for _, cpu, _ in whole):.1f} s of CPU"
    aim = SECONDS if rows >= 2_000_000 else None
    yield Line("report", f"{name}: command", median(taken), "s", aim, note=note, runs=taken)
    peak = [megabytes for _, _, megabytes in whole]
    yield Line("report", f"{name}: command, peak", max(peak), "MB", MEGABYTES, runs=peak)


def _command(url: str, out: Path) -> tuple[float, float, float]:
    """Return the seconds that `ppapi report` takes, those of CPU, and the megabytes at its peak."""
    command = [sys.executable, "-m", "ppapi_async", "report", "--from", url, "--out", str(out)]
    began = time.perf_counter()
    process = subprocess.Popen([*command, "--since", "all"], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ValueError(f"ppapi report ended with {process.returncode}")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024

"""An export: rows of a mirror in SQLite as files, by the command as users run it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from bench.filled import fill
from bench.measure import Line

AIM = 50_000.0
FORMATS = {"csv": AIM, "jsonl": None, "parquet": None}


@frozen
class _Run:
    seconds: float
    cpu: float
    peak: float
    """MB."""


def measure(*, rows: int = 2_000_000, accounts: int = 200) -> Iterator[Line]:
    """Export the orders, half of the rows, in each format."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder, "partner.db")
        fill(database, accounts=accounts, rows=rows)
        for resource in ("exchanges", "links"):
            for name, aim in FORMATS.items():
                out = Path(folder, f"rows.{name}")
                run = _export(resource, database, out)
                count = rows // 2
                note = (
                    f"{count:,} rows of {accounts} accounts: {run.seconds:.1f} s, of CPU"
                    f" {run.cpu / count * 1e6:.1f} µs a row; {out.stat().st_size / 1e6:,.0f} MB"
                )
                shown = f"{resource} as {name}"
                rate = count / run.seconds
                yield Line("exporting", shown, rate, "rows/s", aim, at_most=False, note=note)
                yield Line("exporting", f"{shown}: peak", run.peak, "MB")


def _export(resource: str, database: Path, out: Path) -> _Run:
    command = (sys.executable, "-m", "ppapi_async", "export", resource, "--from", str(database))
    began = time.perf_counter()
    process = subprocess.Popen([*command, "--out", str(out)], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ValueError(f"the export has ended with {process.returncode}")
    cpu = usage.ru_utime + usage.ru_stime
    return _Run(seconds, cpu, usage.ru_maxrss / 1024)

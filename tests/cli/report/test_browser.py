"""The browser that tests drive: it does not outlive them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

STAND_IN = """#!/bin/sh
echo "DevTools listening on ws://127.0.0.1:1/$$" >&2
sleep 60 &
wait
"""
DRIVER = """
import asyncio, sys
from tests.cli.report.browser import running_browser

async def drive():
    async with running_browser(sys.argv[1], "profile") as address:
        print(address.rpartition("/")[2], flush=True)
        await asyncio.sleep(60 if sys.argv[2] == "killed" else 0)

asyncio.run(drive())
"""


@pytest.mark.parametrize("end", ["killed", "ended"])
def test_the_browser_ends_with_the_tests(tmp_path: Path, end: str) -> None:
    """However they end, and its own children with it."""
    program = tmp_path / "browser"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, program, end],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    ) as driver:
        assert driver.stdout is not None
        group = int(driver.stdout.readline())
        if end == "killed":
            driver.send_signal(signal.SIGKILL)
    until = time.monotonic() + 30
    while is_there(group):
        assert time.monotonic() < until
        time.sleep(0.05)


def is_there(group: int) -> bool:
    """Tell whether a group has a process that runs."""
    found = subprocess.run(
        ["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True
    ).stdout.split("\n")
    lines = [line.split() for line in found if line.strip()]
    return any(int(pgid) == group and not stat.startswith("Z") for pgid, stat in lines)

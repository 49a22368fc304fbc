"""How far an export is, on stderr: a line that changes on a terminal, a line now and then else."""

from __future__ import annotations

import sys
import time
from datetime import datetime

from attrs import define, field

from ppapi_async.cli.output import is_terminal, note, time_text

__all__ = ["RowCounter"]

_OFTEN, _SELDOM = 0.1, 15.0
"""Seconds between two lines, on a terminal and elsewhere."""


@define
class RowCounter:
    """Counts rows, and tells how many there are."""

    rows: int = 0
    _shows: bool = field(factory=lambda: is_terminal(error=True))
    _told: float = field(factory=time.monotonic)
    _is_shown: bool = False

    def add(self, rows: int, latest: datetime) -> None:
        """Count rows that were written; `latest` is the time of the last one."""
        self.rows += rows
        now = time.monotonic()
        if now - self._told < (_OFTEN if self._shows else _SELDOM):
            return
        self._told = now
        text = f"{self.rows:,} rows, up to {time_text(latest)} UTC"
        if self._shows:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
            self._is_shown = True
        else:
            note(f"{text} …")

    def end(self) -> None:
        """Take the line away."""
        if self._is_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._is_shown = False

"""What is wrong with one file: where, and without the keys in it."""

from __future__ import annotations

import os
import re
import shlex
import stat
import sys
from pathlib import Path
from typing import TypeAlias

from attrs import Factory, define, field

from ppapi_async.account import Secret
from ppapi_async.files import risks
from ppapi_async.secret import Redactor

__all__ = ["Place", "Report"]

Place: TypeAlias = tuple[str, str]
"""A table, "accounts[0]" or "defaults", and a field of it; "" for all of it or for the file."""

_SHORTEST = 4  # shorter keys are part of every message


@define
class Report:
    """Gathers the problems and warnings of one file.

    Args:
        path: the file, as messages call it.
    """

    path: str
    lines: dict[Place, int] = field(factory=dict, repr=False)
    labels: dict[str, str] = field(factory=dict, repr=False)
    keys: list[Secret] = Factory(list)
    warnings: list[str] = Factory(list)
    _problems: list[tuple[int, str]] = field(factory=list, repr=False)

    @property
    def has_problems(self) -> bool:
        """Whether anything is wrong so far."""
        return bool(self._problems)

    def add(self, table: str, name: str, problem: str) -> None:
        """Note what is wrong with a field, or with all of a table ("" for its name)."""
        around = ((table, name), (table, ""), ("", table.partition("[")[0]))
        line = next((self.lines[place] for place in around if place in self.lines), 0)
        where = f"{self.path}:{line}" if line else self.path
        told = [where, self.labels.get(table, table), _shown(name), problem]
        found = (line, ": ".join(filter(None, told)))
        if found not in self._problems:  # what is wrong with a default is so for each account
            self._problems.append(found)

    def text(self) -> str:
        """Return the problems, one a line, without any key that was met."""
        text = "\n".join(problem for _, problem in sorted(self._problems))
        return Redactor(k for k in self.keys if len(k.reveal()) >= _SHORTEST).redact(text)

    def watch(self, path: str, status: os.stat_result, *, holds_key: bool) -> None:
        """Note a warning about a file that others can read, change or replace."""
        why = "it holds a key" if holds_key else "it says what is run to get the keys"
        self.warnings += [f"{path}: {risk}, and {why}" for risk in risks(path)]
        mode = status.st_mode
        if sys.platform == "win32" or not stat.S_ISREG(mode):  # a pipe's mode means nothing
            return
        if (holds_key and mode & 0o077) or mode & 0o022:
            acts = [act for bits, act in ((0o055, "read"), (0o022, "change")) if mode & bits]
            self.warnings.append(
                f"{path}: others can {' and '.join(acts)} it, and {why};"
                f" run: chmod 600 {shlex.quote(path)}"
            )

    def watch_program(self, path: str) -> None:
        """Note a warning about a program, or a script for one, that others can change."""
        try:
            mode = Path(path).stat().st_mode
        except (OSError, ValueError):  # it is told of where it is started
            return
        if sys.platform == "win32" or not stat.S_ISREG(mode):
            return
        found = risks(path)
        if mode & 0o022:
            found.append(f"others can change it; run: chmod go-w {shlex.quote(path)}")
        texts = [f"{path}: it is run to get a key, and {risk}" for risk in found]
        self.warnings += [text for text in texts if text not in self.warnings]


def _shown(name: str) -> str:
    """Return a field's name, unless it looks like a key that was put there."""
    return name if re.fullmatch("[A-Za-z_-]{0,20}", name) else "a field"

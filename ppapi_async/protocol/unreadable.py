"""Rows that a watch could not read: each is reported once, and again when it changes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import define, field

from ppapi_async.errors import DecodeError
from ppapi_async.models import UnreadableRow

__all__ = ["PREFIX", "UnreadableRows", "unreadable_error"]

PREFIX = "unreadable "
"""Of the names under which they are saved."""
_MOST_LISTED = 20  # problems in an error
_MOST = 1000
"""Rows that are remembered. What comes beside so many is reported together, once."""


def _name(row: UnreadableRow) -> str:
    return f"{PREFIX}{row.digest if row.id is None else row.id}"


@define(eq=False)
class UnreadableRows:
    """Those that have been reported, and those that are to be."""

    reported: dict[str, str] = field(factory=dict)
    """What is saved: the second of each and its digest, by name."""
    found: dict[str, UnreadableRow] = field(factory=dict)
    """To be reported."""
    overflow: bool = False
    """Whether there are more of them than are remembered."""
    _overflow_reported: bool = False

    def find(self, rows: Iterable[UnreadableRow]) -> None:
        """Take what a poll has found."""
        for row in rows:
            name = _name(row)
            if self.reported.get(name, "").rpartition(" ")[2] == row.digest:
                self.found.pop(name, None)
            elif name in self.reported or len(self.reported) + len(self.found) < _MOST:
                self.found[name] = row
            else:
                self.overflow = True

    @property
    def is_news(self) -> bool:
        """Whether there is something to report."""
        return bool(self.found) or (self.overflow and not self._overflow_reported)

    def report(self) -> dict[str, str]:
        """Count what was found as reported, and return what to save of it."""
        saved = {
            name: f"{'' if row.time is None else int(row.time.timestamp())} {row.digest}"
            for name, row in self.found.items()
        }
        self.reported |= saved
        self.found = {}
        self._overflow_reported = self.overflow
        return saved

    def forget(self, row_id: int) -> list[str]:
        """Take a row as readable; return what need no longer be saved."""
        name = f"{PREFIX}{row_id}"
        self.found.pop(name, None)
        return [] if self.reported.pop(name, None) is None else [name]

    def forget_before(self, floor: int) -> list[str]:
        """Forget rows that are older; return what need no longer be saved."""
        dropped = []
        for name, text in self.reported.items():
            second = text.partition(" ")[0]
            if second and int(second) < floor:
                dropped.append(name)
        for name in dropped:
            del self.reported[name]
        return dropped


def unreadable_error(rows: Sequence[UnreadableRow], *, account: str, method: str) -> DecodeError:
    """Return what says which rows cannot be read, and why."""
    problems = [
        (f"items(id={'?' if row.id is None else row.id}).{path}", value)
        for row in rows[:_MOST_LISTED]
        for path, value in row.problems[:_MOST_LISTED]
    ][:_MOST_LISTED]
    first = ", ".join(f"{path} is {value}" for path, value in problems[:3])
    count = "a row" if len(rows) == 1 else f"{len(rows)} rows"
    return DecodeError(
        f"{count} cannot be read ({first}); all others are delivered: ask the site to mend it",
        account=account,
        method=method,
        problems=problems,
    )

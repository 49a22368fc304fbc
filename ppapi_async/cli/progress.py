"""How far work is, over accounts or into a file: bars on a terminal, a line now and then elsewhere.

The bars are those of the accounts that are under way, as many as fit the screen; below them stands
a line about all of it. They are taken away in the end, when the result is printed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from attrs import define, field

from ppapi_async.cli.output import duration_text, is_terminal, note, plain

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

__all__ = ["WorkProgress", "progress_of"]

_SELDOM = 15.0
"""Seconds between two lines where stderr is no terminal."""
_RATE_OVER = 10.0
"""Seconds that the rate of rows is that of."""
_NAME, _WHAT, _PERCENT, _COUNT = 20, 9, 4, 16
"""Characters of a name, of what is read, of how far that is, of a count of rows."""
_BAR = 40
"""Characters of a bar at most."""
_NARROW = 72
"""Characters of a screen that has no place to say what is read."""


@define
class _Bar:
    """An account that is under way."""

    rows: int = 0
    requests: int = 0
    fraction: float | None = None
    what: str = ""


@define(eq=False)
class WorkProgress:
    """Counts what is done, and shows it."""

    total: int | None
    """Accounts; None: it is one thing, such as a file, which is not counted."""
    clock: Callable[[], float] = time.monotonic
    _began: float = field(init=False)
    _noted: float = field(init=False)
    _under_way: dict[str, _Bar] = field(factory=dict)
    _done: int = 0
    _failed: int = 0
    _rows: int = 0
    """Of accounts that are done; so are the requests."""
    _requests: int = 0
    _samples: list[tuple[float, int]] = field(factory=list)
    _shows: bool = False

    def __attrs_post_init__(self) -> None:
        self._began = self._noted = self.clock()

    def update(
        self,
        name: str,
        *,
        rows: int = 0,
        requests: int = 0,
        fraction: float | None = None,
        what: str = "",
    ) -> None:
        """Tell how far an account is.

        Args:
            name: the account's.
            rows: that were read so far.
            requests: that were made so far.
            fraction: of what there is to do, 0 to 1; None where that is not known.
            what: is being read just now.
        """
        self._under_way[name] = _Bar(rows, requests, fraction, what)
        self._note_now_and_then()

    def end(self, name: str, *, rows: int = 0, requests: int = 0, has_failed: bool = False) -> None:
        """Tell that an account is through, with its counts in the end."""
        self._under_way.pop(name, None)
        self._done += 1
        self._failed += has_failed
        self._rows += rows
        self._requests += requests
        self._note_now_and_then()

    # What is shown

    @property
    def rows(self) -> int:
        """Rows that were read, of all accounts."""
        return self._rows + sum(one.rows for one in list(self._under_way.values()))

    def line(self) -> str:
        """Return a line about all of it."""
        requests = self._requests + sum(one.requests for one in list(self._under_way.values()))
        if self.total is None:
            parts = [f"{plain(name)} of {one.what}" for name, one in [*self._under_way.items()]]
        else:
            parts = [f"{self._done:,} of {self.total:,} accounts"]
        if self._failed:
            parts.append(f"{self._failed:,} failed")
        if self.rows:
            parts += [f"{self.rows:,} rows", f"{self._rate():,} rows/s"]
        if requests:
            parts.append(f"{requests:,} requests")
        elapsed = timedelta(seconds=self.clock() - self._began)
        return ", ".join([*parts, duration_text(elapsed)])

    def _rate(self) -> int:
        now = self.clock()
        self._samples.append((now, self.rows))
        while self._samples[0][0] < now - _RATE_OVER and len(self._samples) > 2:
            del self._samples[0]
        since, before = self._samples[0]
        if now <= since:
            since, before = self._began, 0
        return round((self.rows - before) / max(now - since, 0.001))

    def _note_now_and_then(self) -> None:
        now = self.clock()
        if not self._shows and now - self._noted >= _SELDOM:
            self._noted = now
            note(f"{self.line()} …")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Give the bars that fit the screen, and the line about all of it."""
        from rich.text import Text

        bars = sorted(self._under_way.items())
        room = max(1, min(console.height - 4, len(bars)))
        yield self._table(bars[:room], options.max_width)
        if len(bars) > room:
            yield Text(f"and {len(bars) - room:,} more under way", style="dim")
        yield Text(self.line(), no_wrap=True, overflow="ellipsis")

    def _table(self, bars: list[tuple[str, _Bar]], width: int) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        is_narrow = width < _NARROW
        left = width - (width // 4 if is_narrow else _NAME + _WHAT + 2) - _PERCENT - _COUNT - 4
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True, max_width=width // 4 if is_narrow else _NAME)
        if not is_narrow:
            table.add_column(no_wrap=True, width=_WHAT)
        table.add_column()
        table.add_column(no_wrap=True, width=_PERCENT, justify="right")
        table.add_column(no_wrap=True, width=_COUNT, justify="right")
        for name, bar in bars:
            table.add_row(
                Text(plain(name), overflow="ellipsis"),
                *([] if is_narrow else [Text(bar.what, style="dim")]),
                Text("")
                if bar.fraction is None
                else ProgressBar(total=1.0, completed=bar.fraction, width=max(1, min(left, _BAR))),
                Text("" if bar.fraction is None else f"{math.floor(100 * bar.fraction)}%"),
                Text(f"{bar.rows:,} rows"),
            )
        return table


@contextmanager
def progress_of(total: int | None, *, is_shown: bool = True) -> Iterator[WorkProgress]:
    """Show how far work is, until the block is left.

    Args:
        total: accounts; None: it is one thing, which is not counted.
        is_shown: whether bars are; not among rows that are printed on the same terminal.
    """
    work = WorkProgress(total)
    if not (is_shown and is_terminal(error=True)):
        yield work
        return
    from rich.console import Console
    from rich.live import Live

    work._shows = True  # noqa: SLF001 - of this module
    console = Console(stderr=True, highlight=False)
    # What goes to stdout meanwhile is written above the bars; a pipe gets it as it is.
    with Live(
        work,
        console=console,
        transient=True,
        redirect_stdout=is_terminal(),
        refresh_per_second=8,
    ):
        yield work

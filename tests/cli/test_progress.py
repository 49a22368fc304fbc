"""How far work over many accounts is: bars that fit the terminal, lines elsewhere."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from ppapi_async.cli import progress
from ppapi_async.cli.output import say
from ppapi_async.cli.progress import WorkProgress, progress_of


class _Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def drawn(work: WorkProgress, columns: int, lines: int = 12) -> list[str]:
    """Return the lines that a terminal of this size is sent."""
    console = Console(file=io.StringIO(), width=columns, height=lines, force_terminal=True)
    with console.capture() as caught:
        console.print(work)
    return re.sub(r"\x1b\[[0-9;]*m", "", caught.get()).splitlines()


def many(count: int) -> WorkProgress:
    """Return work over accounts with long names and large counts."""
    work = WorkProgress(count, clock=_Clock())
    for number in range(count):
        work.update(
            f"account {number} of the largest network\x1b[2J",
            rows=123_456_789,
            requests=4_000,
            fraction=number / count if number % 2 else None,
            what="exchanges",
        )
    return work


@pytest.mark.parametrize("columns", [30, 40, 72, 80, 120, 200])
def test_no_line_is_longer_than_the_screen(columns: int) -> None:
    """Nor are there more than fit; the rest is a count, and names do nothing to the terminal."""
    found = drawn(many(300), columns)
    assert len(found) <= 11
    assert max(map(len, found)) <= columns
    assert "more under way" in found[-2]
    assert "0 of 300" in found[-1]
    assert not any("\x1b" in line for line in found)


def test_a_bar_for_each_account_that_is_under_way() -> None:
    """With what is read, how far, and rows; the last line is about all of it."""
    work = WorkProgress(3, clock=(clock := _Clock()))
    work.update("one", rows=50, requests=3, fraction=0.5, what="links")
    work.update("two", rows=7, requests=1, what="payouts")
    work.end("three", rows=1_000, requests=5, has_failed=True)
    clock.now += 65
    first, second, last = drawn(work, 80)
    assert re.fullmatch(r"one +links +\S+ +50% +50 rows", first)
    assert re.fullmatch(r"two +payouts +7 rows", second)
    assert last == "1 of 3 accounts, 1 failed, 1,057 rows, 16 rows/s, 9 requests, 1 min 5 s"


def test_the_rate_is_that_of_the_last_seconds() -> None:
    """What was fast an hour ago says nothing."""
    work = WorkProgress(1, clock=(clock := _Clock()))
    work.update("one", rows=100_000)
    clock.now += 100
    work.line()
    for _ in range(5):
        clock.now += 5
        work.line()
    assert "100,000 rows, 0 rows/s" in work.line()


def test_a_line_now_and_then_where_nobody_looks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Piped, there are no bars and no escapes."""
    monkeypatch.setattr(progress, "_SELDOM", 0.0)
    with progress_of(2) as work:
        work.update("one", rows=5, requests=1)
        work.end("one", rows=5, requests=1)
    err = capsys.readouterr().err.splitlines()
    assert err[0].startswith("0 of 2 accounts, 5 rows, ")
    assert err[1].startswith("1 of 2 accounts, 5 rows, ")
    assert err[1].endswith(" …")


def test_bars_are_taken_away_in_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the cursor is back, whatever ended the work; stdout has none of it."""
    monkeypatch.setattr(progress, "is_terminal", lambda **_: True)
    monkeypatch.setenv("FORCE_COLOR", "1")

    def fail() -> None:
        with progress_of(2) as work:
            work.update("one", rows=5, fraction=0.25)
            say("a result")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    printed = capsys.readouterr()
    assert printed.out == "a result\n"
    assert "one" in printed.err
    assert printed.err.rindex("\x1b[?25h") > printed.err.rindex("\x1b[?25l")

"""The demo: it is quiet, proves what it says, and says so when something differs."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ppapi_async.account import Dialect
from ppapi_async.cli import demo
from ppapi_async.errors import IncompleteError
from ppapi_async.models import Exchange, Progress
from ppapi_async.sandbox import Books, Order, Sandbox
from ppapi_async.streaming.stream import Stream

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
ROWS = 700  # more than a page


class _Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


def _exchange(row_id: int, *, minute: int = 0, reward: str = "1", code: str = "BTC") -> Exchange:
    return Exchange(
        id=row_id,
        time=NOON + timedelta(minutes=minute),
        amount_give=Decimal(1),
        amount_get=Decimal(1),
        exchange_success=True,
        accrued=True,
        partner_reward=Decimal(reward),
        currency_code_give=code,
    )


def _site(*row_ids: int) -> Sandbox:
    created = int(NOON.timestamp())
    orders = [
        Order(id=row_id, created=created, success=True, accrued=True, reward="1")
        for row_id in row_ids
    ]
    return Sandbox(Dialect.CLASSIC, books=Books(orders=orders))


def _tally(*row_ids: int) -> demo.Tally:
    tally = demo.Tally("classic")
    tally.add(_exchange(row_id, code="") for row_id in row_ids)
    return tally


def _run(*, rows: int = ROWS) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    return demo.run(rows=rows, out=out, err=err), out.getvalue(), err.getvalue()


def test_the_demo_proves_both_sites_complete() -> None:
    """Rows, requests, windows and rewards stand in one aligned table; exit code 0."""
    code, out, _ = _run()
    *table, empty, conclusion = out.splitlines()
    assert code == 0
    assert len({len(line) for line in table}) == 1
    assert table[0].split() == ["classic", "delegating"]
    assert table[1].split() == ["rows", "700", "700"]
    assert table[-1].split()[-2:] == ["same", "same"]
    assert empty == ""
    assert conclusion.startswith("1,400 exchanges in ")
    assert conclusion.endswith("proven complete.")


def test_progress_is_plain_lines_where_there_is_no_terminal() -> None:
    """At most a line for each quarter, nothing rewritten, both sites reach the end."""
    _, _, err = _run()
    first, *lines = err.splitlines()
    assert first.startswith("making up 700 exchanges")
    assert "\r" not in err
    assert len(lines) <= 8
    assert {"classic 700 rows 100%", "delegating 700 rows 100%"} <= set(lines)


def test_progress_is_one_rewritten_line_on_a_terminal() -> None:
    """The line never wraps and covers what stood there before."""
    terminal = _Terminal()
    screen = demo.Screen(terminal)
    for rows, fraction in ((10, None), (39_999, 0.999), (40_000, 1.0)):
        progress = Progress(rows, timedelta(days=1), 3, fraction)
        screen.show("classic", progress)
        screen.show("delegating", progress)
    screen.end()
    shown = terminal.getvalue()
    assert shown.count("\n") == 1
    *_, last = shown.rstrip("\n").split("\r")
    assert last.split("   ")[:2] == ["classic 40,000 rows 100%", "delegating 40,000 rows 100%"]
    assert {len(line) for line in shown.strip("\r\n").split("\r")} == {78}


def test_a_row_that_does_not_come_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check is against the books: a stream that loses a row ends with exit code 1."""
    real = demo.Tally.add

    def lose_one(tally: demo.Tally, exchanges: list[Exchange]) -> None:
        kept = [exchange for exchange in exchanges if exchange.id != 350]
        real(tally, kept)

    monkeypatch.setattr(demo.Tally, "add", lose_one)
    code, out, _ = _run()
    assert code == 1
    assert "DIFFER" in out
    assert "NOT complete" in out
    assert "classic: 1 exchanges are missing: 350" in out


def test_a_stream_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the library is a difference, not a traceback."""

    async def fail(_: object) -> None:
        raise IncompleteError("not proven", account="x", method="get_exchanges", spans=[])

    monkeypatch.setattr(Stream, "_begin", fail)
    code, out, _ = _run(rows=20)
    assert code == 1
    assert "not proven" in out
    assert "20 exchanges are missing: 1, 2, 3, 4, 5, …" in out


@pytest.mark.parametrize(
    ("tally", "listed"),
    [
        (lambda: _tally(1, 2), ()),
        (lambda: _tally(1), ("1 exchanges are missing: 2", "rewards for : 1 came, 2 in the books")),
        (
            lambda: _tally(1, 2, 3),
            ("1 exchanges are not in the books: 3", "rewards for : 3 came, 2 in the books"),
        ),
        (
            lambda: _tally(1, 2, 2),
            ("1 exchanges came more than once", "rewards for : 3 came, 2 in the books"),
        ),
    ],
)
def test_what_differs_is_named(tally: Callable[[], demo.Tally], listed: tuple[str, ...]) -> None:
    """Missing, strange and repeated rows, and sums of rewards."""
    check = demo.Check.of(tally(), _site(1, 2), NOON)
    assert check.differences == listed
    assert check.complete == (not listed)


def test_disorder_is_a_difference() -> None:
    """A stream promises oldest first."""
    tally = demo.Tally("classic")
    tally.add([_exchange(1, minute=1, code=""), _exchange(2, code="")])
    assert demo.Check.of(tally, _site(1, 2), NOON).differences == ("exchanges came out of order",)


def test_rewards_are_added_up_exactly() -> None:
    """The twelfth place counts, over any number of windows; forecasts do not."""
    tally = demo.Tally("classic")
    tally.add([_exchange(1, reward="0.000000000001")])
    tally.add([_exchange(2, reward="1000000000")])
    assert tally.rewards == {"BTC": Decimal("1000000000.000000000001")}
    assert tally.windows == 2


def test_the_table_shows_the_largest_currencies_only() -> None:
    """Three of them by the sum over all sites, and the total of all."""
    tally = demo.Tally("classic")
    rewards = (("A", "1"), ("B", "4000"), ("C", "2"), ("D", "3"))
    tally.add(_exchange(n, code=code, reward=sum_) for n, (code, sum_) in enumerate(rewards))
    shown = demo.table([tally], [demo.Check("classic", [])])
    assert [line.split()[2] for line in shown.splitlines() if " for " in line] == ["B", "D", "C"]
    assert "4,006.00" in shown


def test_the_demo_is_quiet_in_development_mode() -> None:
    """`python -X dev -W error`: no warning, no slow callback; only progress on stderr."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "ppapi_async"]
    ran = subprocess.run(
        [*command, "demo", "--rows", "3000"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0
    assert "proven complete" in ran.stdout
    first, *lines = ran.stderr.splitlines()
    assert first.startswith("making up")
    assert all(line.endswith("%") and " rows " in line for line in lines)

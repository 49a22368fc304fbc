"""The demo: it proves what it says, says so when something differs, and leaves a page."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from ppapi_async.account import Dialect
from ppapi_async.cli.sandboxes import demonstration
from ppapi_async.cli.sandboxes.demonstration import Copy, differences
from ppapi_async.mirror import Mirror
from ppapi_async.sandbox import Books, Order, Sandbox
from tests.cli.terminal import ppapi

CREATED = 1_800_000_000


def _site(*row_ids: int) -> Sandbox:
    orders = [
        Order(id=row_id, created=CREATED, success=True, accrued=True, reward="0.000000000001")
        for row_id in row_ids
    ]
    return Sandbox(Dialect.CLASSIC, books=Books(orders=orders))


def _copy(*row_ids: int, reward: str) -> Copy:
    return Copy({"links": [], "exchanges": row_ids, "payouts": []}, {"": Decimal(reward)})


def test_the_demo_proves_both_sites_complete(tmp_path: Path) -> None:
    """The copy, the table and the page are there; exit code 0."""
    ran = ppapi("demo", "--rows", "300", "--folder", "here/demo")
    assert ran.code == 0, ran.out
    lines = ran.out.splitlines()
    assert lines[0].split() == ["classic", "delegating"]
    assert lines[1].split() == ["clicks", "900", "900"]
    assert lines[2].split() == ["orders", "300", "300"]
    assert lines[6].split()[-2:] == ["0", "0"]
    assert lines[7].split()[-2:] == ["same", "same"]
    assert len({len(line) for line in lines[:8]}) == 1
    assert "proven complete" in ran.out
    place = tmp_path / "here" / "demo"
    assert lines[-2:] == [f"copy:   {place}/partner.db", f"report: {place}/report.html"]
    assert "<svg" in (place / "report.html").read_text("utf-8")
    connection = sqlite3.connect(place / "partner.db")
    assert connection.execute("SELECT COUNT(*) FROM exchanges").fetchone() == (600,)
    connection.close()
    assert ran.err.splitlines()[-1] == "drawing the report …"


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    """Somebody's copy may be in it."""
    (tmp_path / "mine").write_text("mine")
    ran = ppapi("demo", "--folder", ".")
    assert (ran.code, ran.err) == (2, "ppapi demo: --folder: . is not empty; name a new one\n")


@pytest.mark.parametrize("name", ["mine", "mine/demo"])
def test_a_folder_that_cannot_be_is_named(tmp_path: Path, name: str) -> None:
    """A file has the name, or one stands in the way; it stays as it is."""
    (tmp_path / "mine").write_text("mine")
    ran = ppapi("demo", "--folder", name)
    assert ran.code == 2
    assert f"--folder: {name} cannot be a folder" in ran.err
    assert "name a new one" in ran.err
    assert (tmp_path / "mine").read_text() == "mine"


def test_what_is_not_as_in_the_books_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check is against the books: a copy that lacks a payout is not complete."""
    real = demonstration._held

    async def lose(mirror: Mirror, name: str) -> Copy:
        held = await real(mirror, name)
        return Copy({**held.ids, "payouts": []}, held.rewards)

    monkeypatch.setattr(demonstration, "_held", lose)
    ran = ppapi("demo", "--rows", "20", "--folder", "out")
    assert ran.code == 3
    assert "DIFFER" in ran.out
    assert "NOT complete" in ran.out


@pytest.mark.parametrize(
    ("copy", "listed"),
    [
        (_copy(1, 2, reward="0.000000000002"), []),
        (
            _copy(1, reward="0.000000000001"),
            ["1 exchanges are missing: 2",
             "rewards for : 0.000000000001 here, 0.000000000002 there"],
        ),
        (
            _copy(1, 2, 3, reward="0.000000000002"),
            ["1 exchanges are not in the books: 3"],
        ),
        (_copy(1, 2, 2, reward="0.000000000002"), ["1 exchanges are not in the books: 2"]),
    ],
    ids=["same", "missing", "strange", "twice"],
)  # fmt: skip
def test_what_differs_is_named(copy: Copy, listed: list[str]) -> None:
    """Missing, strange and repeated rows, and sums of rewards to the twelfth place."""
    found = differences(copy, _site(1, 2))
    assert found == listed


def test_many_are_named_by_the_first() -> None:
    """And the count says how many there are."""
    found = differences(_copy(reward="0.000000000007"), _site(*range(1, 8)))
    assert found == ["7 exchanges are missing: 1, 2, 3, 4, 5, …"]


@pytest.mark.untraced
def test_the_demo_is_quiet_in_development_mode() -> None:
    """`python -X dev -W error`: no warning, no slow callback; a folder of its own."""
    ran = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-m", "ppapi_async", "demo", "--rows", "500"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "proven complete" in ran.stdout
    assert ran.stderr.splitlines()[1:] == [
        "copying them …",
        "asking the sites again, and comparing …",
        "drawing the report …",
    ]

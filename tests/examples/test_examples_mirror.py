"""The mirror's example prints what the sites' books have, and says what went wrong."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from examples import mirror
from ppapi_async import Account, AuthError, Dialect
from ppapi_async.mirror import AccountReport, Audit, Difference, DifferenceKind
from ppapi_async.sandbox import Books, Sandbox

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_it_runs_as_pasted_and_has_the_totals_of_the_books(tmp_path: Path) -> None:
    """So has any program that opens the file, with the query at the example's head."""
    script = tmp_path / "pasted.py"
    shutil.copy(mirror.__file__, script)
    run = subprocess.run(
        [sys.executable, script, "--audit"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert run.stderr == ""
    totals = dict(re.findall(r"^(\w+): (\S+) accrued, \S+ expected", run.stdout, re.MULTILINE))
    books = dict(
        re.findall(r"^(\w+): (\S+) accrued, say the site's books", run.stdout, re.MULTILINE)
    )
    assert totals == books
    assert totals.keys() == {"one", "two"}
    assert min(map(Decimal, totals.values())) > 100
    assert re.search(r"^audit: \d{4} rows compared, 0 differ$", run.stdout, re.MULTILINE)
    assert mirror.__doc__ is not None
    (query,) = re.findall(r"sqlite3 partner\.db '([^']*)'", mirror.__doc__)
    with closing(sqlite3.connect(tmp_path / "partner.db")) as connection:
        shown = {name: f"{total:.15g}" for name, total in connection.execute(query)}
    assert shown == totals  # sqlite3 shows 15 digits


async def test_a_second_run_reads_next_to_nothing_and_says_the_same(tmp_path: Path) -> None:
    """An account that fails is told, with why, and hides no other."""
    lines: list[str] = []
    url = f"sqlite:///{tmp_path / 'partner.db'}"
    books = Books.generate(5, 30, int(NOON.timestamp()) - 86_400, int(NOON.timestamp()), clicks=5)
    async with Sandbox(Dialect.CLASSIC, books=books) as site:
        one = Account(site.url, site.api_key, name="one")
        wrong = Account(site.url, "another", name="wrong")
        first = await mirror.copy(url, [one], lines.append, audit=True)
        second = await mirror.copy(url, [one, wrong], lines.append, audit=True)
    accrued = sum((Decimal(order.reward) for order in books.orders if order.accrued), Decimal())
    assert first == (True, {"one": accrued})
    assert second == (False, {"one": accrued})
    assert lines[0].startswith("one: ")
    assert any(re.match(r"wrong: never read: .*REST API key error", line) for line in lines)
    assert any(line.startswith("audit: wrong: ") for line in lines)


def test_what_is_printed() -> None:
    """Of accounts that work, that are behind, and of what an audit has found."""
    error = AuthError("wrong key", account="a", method="get_info")
    assert mirror.report_line(AccountReport(account="a", rows=7, new=3, gone=1)) == (
        "a: 7 rows read, 3 new, 1 gone"
    )
    behind = AccountReport(account="a", error=error, behind=timedelta(hours=2))
    assert mirror.report_line(behind) == f"a: behind by 2:00:00: {error}"
    differing = Difference(
        kind=DifferenceKind.DIFFERING, account="a", resource="exchanges", id=7,
        fields=("accrued", "status"), proven_at=NOON,
    )  # fmt: skip
    missing = Difference(
        kind=DifferenceKind.MISSING, account="a", resource="links", id=8, proven_at=NOON
    )
    audit = Audit(
        start=None, end=None, rows=9, differences=(differing, missing), errors={"b": error}
    )
    assert mirror.audit_lines(audit) == [
        "audit: 9 rows compared, 2 differ",
        f"audit: b: {error}",
        "audit: a: exchanges 7 differing in accrued, status",
        "audit: a: links 8 missing",
    ]

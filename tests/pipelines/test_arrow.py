"""Rows as Arrow: exact, of one schema, with little memory, and read by those who take Arrow."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from decimal import Decimal
from typing import cast

import attrs
import pandas as pd
import pyarrow as pa
import pytest

from ppapi_async import (
    Account,
    Dialect,
    Exchange,
    Fleet,
    Info,
    Link,
    MemoryCheckpoint,
    Payout,
    PayoutMethod,
    PayoutStatus,
    PPAPIError,
    Retry,
    Session,
    StatusChange,
)
from ppapi_async import arrow as arrow_module
from ppapi_async.arrow import (
    WIDE,
    AmountTooLongError,
    TypedRows,
    record_batch,
    schema,
    to_arrow,
    to_batches,
)
from ppapi_async.mirror import Mirror, ReadOnlyMirror
from ppapi_async.mirror.store import MirrorStore
from ppapi_async.sandbox import Sandbox
from tests.mirror.tables import connected, put_account, put_exchange, put_payout

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
ZERO_DATE = datetime(1, 1, 1, tzinfo=UTC)
TINY = "0.000000000001"
LONG = "12345678901234567890.123456789012"
NOTED = {"first_seen", "last_seen", "changed_at", "gone_at", "missing_since"}


def order(id_: int = 1, reward: str = "1.50", **values: object) -> Exchange:
    """Return an order."""
    known = {"time": NOON, "exchange_success": True, "accrued": False} | values
    amounts = {"amount_give": Decimal(1), "amount_get": Decimal("0.5")}
    return Exchange(id=id_, partner_reward=Decimal(reward), **amounts, **known)  # type: ignore[arg-type]


PAYOUT = Payout(
    id=7, time=NOON, method_id=2, account="TX wallet", pay_amount=Decimal("9.99"),
    original_amount=Decimal(10), status=PayoutStatus.DONE, extra={"fee": Decimal("0.10")},
)  # fmt: skip


@pytest.fixture
async def site() -> AsyncIterator[Sandbox]:
    """Serve a site of some hundred rows."""
    async with Sandbox(Dialect.DELEGATING, rows=300, seed=5, own_keys=True) as sandbox:
        yield sandbox


# The schema


def test_the_schema_has_every_field_of_a_record() -> None:
    """Each column has the type that loses nothing, and says what the field means."""
    made = schema("exchanges")
    text, amount, time = pa.string(), pa.decimal128(38, 18), pa.timestamp("us", "UTC")
    step = pa.struct([("time", time), ("status", text), ("date", text)])
    assert {field.name: field.type for field in made} == {
        "account": text, "id": pa.int64(), "time": time, "amount_give": amount,
        "amount_get": amount, "exchange_success": pa.bool_(), "accrued": pa.bool_(),
        "partner_reward": amount, "date": text, "currency_code_give": text,
        "currency_code_get": text, "course_give": amount, "course_get": amount, "user_hash": text,
        "user_ip": text, "psys_give": text, "psys_get": text, "status": text, "hash": text,
        "statuses": pa.list_(step), "extra": text,
    }  # fmt: skip
    meaning = made.field("partner_reward").metadata[b"description"].decode()
    assert meaning.startswith(
        "the reward, in the site's base currency, which the API does not name"
    )
    for resource, kind in (("links", Link), ("exchanges", Exchange), ("payouts", Payout)):
        names = [{"wallet": "account"}.get(name, name) for name in schema(resource).names[1:]]
        assert names == [one.name for one in attrs.fields(kind)]
        assert all(field.metadata for field in schema(resource) if field.name != "account")


def test_columns_are_chosen_and_amounts_are_as_wide_as_one_likes() -> None:
    """What a mirror notes can be asked for; decimals take other digits, or are texts."""
    chosen = schema("payouts", columns=("id", "pay_amount", "gone_at"), decimals=WIDE)
    assert chosen.names == ["id", "pay_amount", "gone_at"]
    assert chosen.field("pay_amount").type == pa.decimal256(76, 38)
    assert schema("info", decimals="string").field("balance").type == pa.string()
    assert schema("info", decimals=(20, 2)).field("balance").type == pa.decimal128(20, 2)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"resource": "orders"}, ValueError, "resource: pass 'links' or 'exchanges'"),
        ({"columns": ("ID",)}, ValueError, "columns: pass any of account, id, time"),
        ({"columns": "id"}, ValueError, "in a tuple"),
        ({"columns": ()}, ValueError, "columns: pass any of"),
        ({"decimals": "text"}, TypeError, r"decimals: pass digits, as in \(38, 18\), or 'string'"),
        ({"decimals": (77, 1)}, ValueError, "decimals: "),
        ({"decimals": (10, 11)}, ValueError, "decimals: "),
    ],
)
def test_misuse_of_a_schema_is_told(
    arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    """It says what to pass."""
    with pytest.raises(error, match=message):
        schema(**({"resource": "links"} | arguments))  # type: ignore[arg-type]


# Values


async def test_values_come_back_exactly() -> None:
    """Amounts to the last digit, instants of any year, flags, enums, histories, own keys."""
    history = (StatusChange(NOON, "new"), StatusChange(NOON, "success", "2026-01-31 12:00:00"))
    rows = [
        order(1, TINY, course_give=Decimal(LONG), statuses=history),
        order(2, "-0", time=ZERO_DATE, user_ip="::1", extra={"a\0": [Decimal("1.10"), {"b": 1}]}),
    ]
    first, second = (await to_arrow(rows, account="one")).to_pylist()
    assert (first["account"], first["id"], first["time"]) == ("one", 1, NOON)
    assert first["partner_reward"] == Decimal(TINY)
    assert first["course_give"] == Decimal(LONG)
    assert (first["course_get"], first["user_ip"], first["extra"]) == (None, None, None)
    assert (first["exchange_success"], first["accrued"]) == (True, False)
    assert first["statuses"] == [
        {"time": NOON, "status": "new", "date": ""},
        {"time": NOON, "status": "success", "date": "2026-01-31 12:00:00"},
    ]
    assert second["time"] == ZERO_DATE
    assert second["partner_reward"] == 0
    assert second["statuses"] == []
    assert json.loads(second["extra"]) == {"a\0": ["1.10", {"b": 1}]}
    [paid] = record_batch([PAYOUT]).to_pylist()
    assert (paid["account"], paid["wallet"], paid["status"]) == (None, "TX wallet", "1")
    assert paid["extra"] == '{"fee": "0.10"}'


def test_the_ways_to_be_paid_are_structs() -> None:
    """Info has a row of its own; amounts are texts where one asks for that."""
    method = PayoutMethod(3, "USDT", Decimal("1.5"), Decimal("98.50"), {"net": "TRC"})
    info = Info(Decimal(100), Decimal("0.10"), (method,), 5)
    [row] = record_batch([info], account="one").to_pylist()
    assert row == {
        "account": "one", "balance": Decimal(100), "min_payout": Decimal("0.10"), "partner_id": 5,
        "extra": None, "items": [{"id": 3, "title": "USDT", "commission": Decimal("1.5"),
            "amount": Decimal("98.5"), "extra": '{"net": "TRC"}'}],
    }  # fmt: skip
    [row] = record_batch([info], decimals="string").to_pylist()
    assert (row["min_payout"], row["items"][0]["amount"]) == ("0.10", "98.50")


def test_texts_that_no_file_takes_are_escaped() -> None:
    """As everywhere else: U+0000, halves of surrogate pairs, and the sign for escape itself."""
    link = Link(1, NOON, browser="a\0b", referrer="\ud83d", query_string="␛", extra={"k": "\ud83d"})
    [row] = record_batch([link], account="имя").to_pylist()
    assert (row["browser"], row["referrer"], row["query_string"]) == ("a␛0000b", "␛d83d", "␛241b")
    assert (row["account"], json.loads(row["extra"])) == ("имя", {"k": "\ud83d"})


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("1" * 21, "1" * 21),
        ("0." + "0" * 18 + "1", "0." + "0" * 18 + "1"),
        ("1E+1000000", "1E+1000000"),
        ("9" * 100, "9" * 80 + "…"),
        ("NaN", "NaN"),
    ],
)
def test_no_amount_is_rounded(amount: str, shown: str) -> None:
    """One that does not fit is told: of which row, which column, and what to do."""
    rows = [order(1), order(17, amount), order(3)]
    with pytest.raises(AmountTooLongError) as caught:
        record_batch(rows, account="one")
    error = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(error, AmountTooLongError)
    assert isinstance(error, PPAPIError)
    assert isinstance(error, ValueError)
    assert str(error) == (
        f"one: partner_reward of 17 is {shown}, which does not fit decimal128(38, 18), and is not"
        " rounded; pass decimals='string', or decimals=(76, 38)"
    )
    assert (error.account, error.row, error.column) == ("one", 17, "partner_reward")
    assert str(error.value) == str(Decimal(amount))
    assert record_batch(rows, decimals="string").num_rows == 3


def test_what_no_type_takes_is_told_as_well() -> None:
    """A number of more than 64 bits, and amounts in the widest type."""
    with pytest.raises(AmountTooLongError, match=f"id of {2**63} is {2**63}, which"):
        record_batch([order(2**63)])
    with pytest.raises(AmountTooLongError, match=r"balance is 1E.*; pass decimals='string'$"):
        record_batch([Info(Decimal("1E+90"), Decimal(1))], decimals=WIDE)


# Where rows are from


async def test_a_stream_becomes_a_table(site: Sandbox) -> None:
    """All rows of it, each once, in order, with the account's name."""
    async with Session(Account(site.url, site.api_key, name="one")) as session:
        table = await to_arrow(session.iter_exchanges(status_history=True))
        rows = await session.get_exchanges(status_history=True)
    assert table.schema == schema("exchanges")
    assert table["account"].unique().to_pylist() == ["one"]
    assert table["id"].to_pylist() == [row.id for row in rows]
    assert table["partner_reward"].to_pylist() == [row.partner_reward for row in rows]
    assert table["time"].to_pylist() == [row.time for row in rows]
    assert any(table["statuses"].to_pylist())
    assert sorted(table["id"].to_pylist()) == sorted(one.id for one in site.books.exchanges_in())


async def test_batches_have_as_many_rows_as_one_likes(site: Sandbox) -> None:
    """Whatever the windows have; one that is left early closes its stream."""
    async with Session(site.url, site.api_key) as session:
        batches = to_batches(session.iter_links(window=10 * 86_400), rows=70)
        sizes = [batch.num_rows async for batch in batches]
        count = len(site.books.links_in())
        assert sizes == [70] * (count // 70) + [count % 70] * (count % 70 > 0)
        stream = session.iter_links(window=10 * 86_400)
        async with aclosing(to_batches(stream, rows=1)) as batches:
            async for batch in batches:
                assert batch.num_rows == 1
                break
        assert stream.left


async def test_a_checkpoint_moves_with_the_batches(site: Sandbox) -> None:
    """Each window is a batch; stopped anywhere, what was not handed out comes the next time."""
    checkpoint = MemoryCheckpoint()
    seen: list[int] = []
    async with Session(site.url, site.api_key) as session:
        for most in (1, 2, 1_000):
            stream = session.iter_links(window=10 * 86_400, checkpoint=checkpoint)
            async with aclosing(to_batches(stream, rows=1)) as batches:
                count = 0
                async for batch in batches:
                    seen += batch["id"].to_pylist()
                    count += 1
                    if count == most:
                        break
    assert sorted(seen) == sorted(one.id for one in site.books.links_in())


async def test_a_window_that_was_not_handed_out_comes_again(
    site: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails while a batch is made moves no checkpoint."""
    checkpoint = MemoryCheckpoint()
    books = {one.id for one in site.books.exchanges_in()}
    async with Session(site.url, site.api_key) as session:
        batches = to_batches(session.iter_exchanges(checkpoint=checkpoint), decimals=(2, 1))
        with pytest.raises(AmountTooLongError):
            await anext(batches)
        rows = [row.id async for row in session.iter_exchanges(checkpoint=checkpoint)]
        assert set(rows) == books
        with pytest.raises(ValueError, match="a crash would lose rows; use to_batches"):
            await to_arrow(session.iter_exchanges(checkpoint=checkpoint))


async def test_a_fleet_becomes_one_table(site: Sandbox) -> None:
    """With each account's name; an account that fails raises, or is told while others go on."""
    accounts = [Account(site.url, site.api_key, name=name) for name in ("one", "two")]
    async with Fleet(accounts, retry=Retry(attempts=1)) as fleet:
        table = await to_arrow(fleet.iter_payouts())
        names = table["account"].to_pylist()
        assert names.count("one") == names.count("two") == len(site.books.payouts_in())
        with pytest.raises(ValueError, match="pass the stream of each account by itself"):
            to_batches(fleet.iter_payouts(checkpoints={"one": MemoryCheckpoint()}))
    wrong = Account(site.url, "wrong" * 7, name="wrong")
    async with Fleet([accounts[0], wrong], retry=Retry(attempts=1)) as fleet:
        failed: dict[str, PPAPIError] = {}
        table = await to_arrow(fleet.iter_payouts(), on_error=failed.__setitem__)
        assert list(failed) == ["wrong"]
        assert table["account"].to_pylist() == ["one"] * len(site.books.payouts_in())
        with pytest.raises(PPAPIError, match="wrong: "):
            await to_arrow(fleet.iter_payouts())
    async with Fleet([]) as fleet:
        assert (await to_arrow(fleet.iter_payouts(), resource="payouts")).num_rows == 0


async def test_rows_of_a_mirror_become_a_table(mirror_url: str) -> None:
    """Those that are chosen, gone ones only if asked for, with what the mirror notes."""
    await (await MirrorStore.open(mirror_url)).aclose()
    with connected(mirror_url) as connection:
        put_account(connection, 1, "one")
        put_account(connection, 2, "two")
        put_exchange(connection, 1, TINY, accrued=True, extra={"fee": Decimal("0.10")})
        put_exchange(connection, 2, "2", account=2, gone_at=NOON)
        put_payout(connection, 5, "10.00")
    async with ReadOnlyMirror(mirror_url) as mirror:
        assert isinstance(mirror.select("links"), TypedRows)
        table = await to_arrow(mirror.select("exchanges"))
        [row] = table.to_pylist()
        assert (row["account"], row["id"], row["partner_reward"]) == ("one", 1, Decimal(TINY))
        assert (row["accrued"], row["extra"]) == (True, '{"fee": "0.10"}')
        assert (row["first_seen"], row["gone_at"]) == (NOON, None)
        assert {*table.schema.names} == {*schema("exchanges").names} - {"statuses"} | NOTED
        chosen = mirror.select("exchanges", ("account", "gone_at"), accounts=["two"], gone=True)
        assert (await to_arrow(chosen)).to_pylist() == [{"account": "two", "gone_at": NOON}]
        late = mirror.select("exchanges", ("id",), start=datetime(2027, 1, 1, tzinfo=UTC))
        assert (await to_arrow(late)).schema == schema("exchanges", columns=("id",))
        [paid] = (await to_arrow(mirror.select("payouts"))).to_pylist()
        assert (paid["wallet"], paid["status"]) == ("TX", "0")
        with pytest.raises(ValueError, match="columns: pass any of account, id"):
            mirror.select("payouts", ("reward",))


async def test_an_empty_list_has_to_be_told_what_it_is() -> None:
    """No record tells it; and what is no source, or a mixed one, is refused."""
    with pytest.raises(ValueError, match="resource: pass one of links, exchanges, payouts, info"):
        await to_arrow([])
    empty = await to_arrow([], resource="links")
    assert empty.schema == schema("links")
    with pytest.raises(TypeError, match="source: pass a stream, rows of a mirror, or a list"):
        await to_arrow(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="source: pass records of one kind, here Exchange"):
        record_batch([order(), PAYOUT])
    with pytest.raises(ValueError, match="rows: "):
        to_batches([order()], rows=0)


# Who reads it


async def books_table(site: Sandbox) -> tuple[pa.Table, Decimal]:
    """Return the orders of a site, and the sum of their rewards."""
    async with Session(Account(site.url, site.api_key, name="one")) as session:
        rows = [*await session.get_exchanges(), order(10**9, TINY, time=ZERO_DATE)]
        table = await to_arrow(rows, account="one")
    return table, sum((row.partner_reward for row in rows), Decimal())


@pytest.mark.parametrize("types", [None, pd.ArrowDtype], ids=["objects", "arrow types"])
async def test_pandas_reads_it(site: Sandbox, types: object) -> None:
    """Decimals stay decimals, instants have a zone; by Arrow's types and by pandas' own."""
    table, total = await books_table(site)
    frame = table.to_pandas(types_mapper=types)
    assert frame["partner_reward"].sum() == total
    assert frame["time"].max().tzinfo is not None
    assert frame["accrued"].sum() == sum(table["accrued"].to_pylist())
    assert frame["id"].tolist() == table["id"].to_pylist()


@pytest.mark.untraced
async def test_polars_reads_it(site: Sandbox) -> None:
    """Decimals, instants in UTC, texts; exactly."""
    polars = pytest.importorskip("polars", reason="Polars is not installed")
    table, total = await books_table(site)
    frame = polars.from_arrow(table)
    assert frame["partner_reward"].dtype == polars.Decimal(38, 18)
    assert frame["partner_reward"].sum() == total
    assert frame["time"].dtype == polars.Datetime("us", "UTC")
    assert frame["id"].to_list() == table["id"].to_pylist()


async def test_duckdb_reads_it(site: Sandbox) -> None:
    """A table in SQL, summed exactly."""
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed")
    table, total = await books_table(site)
    with duckdb.connect() as database:
        database.register("orders", table)
        query = "SELECT sum(partner_reward), count(*), typeof(any_value(time)) FROM orders"
        [found] = database.sql(query).fetchall()
    assert found == (total, table.num_rows, "TIMESTAMP WITH TIME ZONE")


def test_without_pyarrow_the_extra_is_named() -> None:
    """The error says what to install."""
    code = "import sys; sys.modules['pyarrow'] = None; import ppapi_async.arrow"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: arrow: needs pyarrow; pip install 'ppapi-async[arrow]'" in ran.stderr


async def test_no_row_holds_the_loop_for_long() -> None:
    """Thousands of rows are made in slices, and let others run in between."""
    turns = 0
    rows = [order(number) for number in range(2_000)]
    batches = to_batches(rows)
    slices = arrow_module._in_slices(arrow_module.ArrowColumns.of("exchanges"), rows, None)
    async for piece in slices:
        assert piece.num_rows <= 250
        turns += 1
    assert turns == 8
    assert cast("int", sum([batch.num_rows async for batch in batches])) == 2_000


@pytest.mark.untraced
async def test_a_mirror_and_its_site_tell_the_same(site: Sandbox, mirror_url: str) -> None:
    """Both ways to a table have the same rows, but for what only one of them knows."""
    account = Account(site.url, site.api_key, name="one")
    async with Mirror(mirror_url, account) as mirror:
        assert not (await mirror.sync()).failed
    async with ReadOnlyMirror(mirror_url) as copy, Session(account) as session:
        names = [name for name in schema("exchanges").names if name != "statuses"]
        copied = await to_arrow(copy.select("exchanges", names))
        read = await to_arrow(session.iter_exchanges())
    assert copied.sort_by("id").equals(read.select(names).sort_by("id"))

"""Any record at all: into the database, out of it, and the same."""

from __future__ import annotations

import asyncio
from datetime import UTC, timedelta, timezone
from decimal import Decimal

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from ppapi_async import Account, Exchange, Link, Payout
from ppapi_async.mirror import schema
from ppapi_async.mirror.rows import Codec, RowRecord, dump, load
from ppapi_async.mirror.store import MirrorStore
from ppapi_async.models import Info, PayoutMethod, PayoutStatus
from ppapi_async.protocol.fields import EARLIEST, LATEST
from tests.conftest import DEPTH
from tests.mirror.test_store import PROVEN, column, exchange, place_of, reading

TEXTS = st.text(max_size=8) | st.text(st.sampled_from("a\0\u241b\ud800\udfff0"), max_size=6)
_FIRST, _LAST = EARLIEST.replace(tzinfo=None), LATEST.replace(tzinfo=None)
INSTANTS = st.datetimes(_FIRST, _LAST, timezones=st.just(UTC)) | st.sampled_from([EARLIEST, LATEST])
IDS = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([2**63 - 1, 0, 1])
AMOUNTS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30)
JSON = st.recursive(
    TEXTS | AMOUNTS | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
COMMON = {"time": INSTANTS, "date": TEXTS, "extra": st.dictionaries(TEXTS, JSON, max_size=2)}
MAYBE = st.none() | TEXTS
RECORDS: dict[str, st.SearchStrategy[RowRecord]] = {
    "links": st.builds(
        Link, IDS, **COMMON, browser=TEXTS, ip=MAYBE, referrer=TEXTS, query_string=TEXTS
    ),
    "exchanges": st.builds(
        Exchange, IDS, **COMMON, amount_give=AMOUNTS, amount_get=AMOUNTS,
        partner_reward=AMOUNTS, exchange_success=st.booleans(), accrued=st.booleans(),
        course_give=st.none() | AMOUNTS, course_get=st.none() | AMOUNTS,
        currency_code_give=TEXTS, user_ip=MAYBE, psys_give=MAYBE, status=MAYBE, hash=MAYBE,
    ),
    "payouts": st.builds(
        Payout, IDS, **COMMON, method_id=IDS, account=TEXTS, pay_amount=AMOUNTS,
        original_amount=AMOUNTS, status=st.sampled_from(PayoutStatus), pay_currency_code=TEXTS,
    ),
}  # fmt: skip


def test_any_record_comes_back(mirror_url: str) -> None:
    """Texts that databases refuse, times from year 1 to 9999, ids of 64 bits, keys of a site's."""
    key, whole = "a-key-of-more-than-16", {"start": None, "end": None}
    accounts = iter(range(10_000))
    with asyncio.Runner() as runner:
        store = runner.run(MirrorStore.open(mirror_url))

        async def check(resource: str, rows: list[RowRecord]) -> None:
            name = f"account {next(accounts)}"
            account = Account("https://site.example", f"{key} {name}".replace(" ", "-"), name=name)
            place = await store.place(await store.account(account), name, resource)  # type: ignore[arg-type]
            new = await store.commit(place, reading(*rows, **whole))
            found = await store.rows(place.account, resource, None, None)
            assert found == rows
            assert [type(one.extra) for one in found] == [type(one.extra) for one in rows]
            assert tuple(await store.undelivered(place, 9)) == new.changes
            assert [one.record for one in new.changes] == rows
            assert (await store.commit(place, reading(*rows, **whole))).changes == ()

        @settings(suppress_health_check=list(HealthCheck), max_examples=20 * DEPTH)
        @given(st.sampled_from(list(RECORDS)), st.data())
        def examples(resource: str, data: st.DataObject) -> None:
            one = RECORDS[resource]
            rows = data.draw(st.lists(one, min_size=1, max_size=4, unique_by=lambda row: row.id))
            runner.run(check(resource, sorted(rows, key=lambda row: (row.time, row.id))))

        try:
            examples()
        finally:
            runner.run(store.aclose())


@given(st.one_of(*RECORDS.values()))
def test_any_record_is_a_text(record: RowRecord) -> None:
    """A change keeps its record as JSON, which any database takes, to the last digit."""
    text = dump(record)
    text.encode()
    assert "\\u0000" not in text
    assert load(text, type(record)) == record


def test_an_info_is_a_text() -> None:
    """With all its methods, and odd texts in them."""
    method = PayoutMethod(1, "a\0\ud800", Decimal("1.0"), Decimal("2.50"), {"\u241b": ["\0"]})
    info = Info(Decimal(1), Decimal(2), (method,), None, {"a\0b": Decimal("1.20")})
    assert load(dump(info), Info) == info


def nested(depth: int) -> dict[str, object]:
    """Return JSON of so many levels."""
    inner: dict[str, object] = {}
    for _ in range(depth):
        inner = {"a": inner}
    return inner


async def test_what_no_database_holds_is_reported(store: MirrorStore) -> None:
    """No site can send it; it hides no other row, and is in `unreadable`."""
    place = await place_of(store)
    odd = [
        exchange(2, amount_give=Decimal("NaN")),
        exchange(3, course_get=Decimal("1E+131072")),
        exchange(2**63, minute=4),
        exchange(5, extra=nested(50_000)),
    ]
    await store.commit(place, reading(exchange(1), *odd))
    assert await store.rows(place.account, "exchanges", None, None) == [exchange(1)]
    problems = [["amount_give"], ["course_get"], ["extra"], ["id"]]
    async with store.connect() as connection:
        table = schema.unreadable.c
        rows = (await connection.execute(select(table.id, table.problems))).all()
    assert {row[0] for row in rows} == {2, 3, 5, None}
    assert sorted([row[1][0][:1] for row in rows]) == problems
    await store.commit(place, reading(exchange(1), exchange(2)))
    assert 2 not in await column(store, schema.unreadable, "digest")


async def test_the_largest_amounts_are_kept(store: MirrorStore) -> None:
    """What NUMERIC just holds is exact, in either database."""
    place = await place_of(store)
    row = exchange(1, amount_give=Decimal("1E+131071"), amount_get=Decimal("1E-16383"))
    await store.commit(place, reading(row))
    assert await store.rows(place.account, "exchanges", None, None) == [row]


async def test_records_of_another_zone(store: MirrorStore) -> None:
    """An instant is the same instant, whatever zone it was written in."""
    place = await place_of(store)
    row = exchange(1)
    there = row.time.astimezone(timezone(timedelta(hours=-11)))
    await store.commit(place, reading(evolve(row, time=there)))
    found = await store.rows(place.account, "exchanges", None, None)
    assert found == [row]
    assert found[0].time.tzinfo is UTC


@pytest.mark.untraced
async def test_wide_windows(store: MirrorStore) -> None:
    """A window of many more rows than a statement has parameters is one transaction."""
    place = await place_of(store)
    rows = [exchange(number, minute=0) for number in range(1, 3_001)]
    commit = await store.commit(place, reading(*rows))
    assert (commit.written, len(commit.changes)) == (3_000, 3_000)
    assert [one.id for one in commit.changes] == list(range(1, 3_001))
    await store.commit(place, reading(*rows[::2], proven_at=PROVEN))
    gone = await store.end_pass(place, PROVEN, "{}", believe=True, first=None)
    assert [one.id for one in gone.changes] == list(range(2, 3_001, 2))


@pytest.mark.parametrize("sqlite", [True, False])
def test_many_rows_at_once_are_as_each_by_itself(sqlite: bool) -> None:
    """What is odd in any of them sends all of them the slower way."""
    codec = Codec.of("exchanges", sqlite=sqlite)
    plain = [
        exchange(1),
        exchange(2, psys_give="Сбербанк", course_give=Decimal("1.50"), extra={"tip": "5"}),
    ]
    assert codec.rows_of(plain) == [codec.row_of(one) for one in plain]
    for odd in (
        exchange(3, hash="a\0b"),
        exchange(3, amount_get=Decimal("-0")),
        exchange(3, amount_get=Decimal("1E+9")),
        exchange(3, amount_get=Decimal("NaN")),
        exchange(3, amount_get=Decimal("1." + "3" * 60)),
        exchange(2**63, minute=0),
    ):
        assert codec.rows_of([*plain, odd]) is None


def test_what_cannot_be_written_is_left_to_be_looked_at() -> None:
    """An instant without a zone has no form in the database."""
    odd = evolve(exchange(1), time=PROVEN.replace(tzinfo=None))
    assert Codec.of("exchanges", sqlite=True).rows_of([odd]) is None

"""The codec: what each recorded answer becomes, exact money, odd forms, and errors that name."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from unittest.mock import Mock
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppapi_async import (
    Account,
    ApiDisabledError,
    ApiError,
    AuthError,
    DecodeError,
    Dialect,
    Exchange,
    Info,
    Link,
    MethodNotSupportedError,
    Payout,
    PayoutReceipt,
    PayoutRejected,
    PayoutStatus,
    PPAPIError,
    ResponseError,
    UnreadableRow,
)
from ppapi_async.protocol import (
    Answer,
    PageCodec,
    Reader,
    clean_rows,
    decode_data,
    decode_info,
    decode_receipt,
    dump_stored,
    parse_stored,
)
from ppapi_async.protocol.converter import converter
from ppapi_async.protocol.fields import parse_json
from ppapi_async.protocol.page import Page
from ppapi_async.protocol.site_clock import SiteClock
from ppapi_async.protocol.text import restore

SAMPLES = Path(__file__).parents[1] / "samples"
ACCOUNT = Account("https://a.example", "KEY1KEY1KEY1")
RECORDS: dict[str, type] = {"get_links": Link, "get_exchanges": Exchange, "get_payouts": Payout}
CLASSIC, DELEGATING = "classic-2.2", "delegating-2.7"


@functools.cache
def sample(file: str, name: str) -> Answer:
    """Return a recorded answer."""
    response = json.loads((SAMPLES / f"{file}.json").read_text("utf-8"))[name]["response"]
    headers = {"Content-Type": response["content_type"]}
    return Answer(response["status"], headers, response["body"].encode())


def decode(answer: Answer, method: str, zone: str = "UTC") -> object:
    """Decode an answer to a method."""
    reader = Reader(ACCOUNT, method)
    if method == "get_info":
        result = decode_info(answer, reader)
        return result[0] if isinstance(result, tuple) else result
    if method == "add_payout":
        return decode_receipt(answer, reader)
    return PageCodec(RECORDS[method], SiteClock(ZoneInfo(zone)), reader).decode(answer)


def page_of(rows: object, method: str = "get_exchanges", zone: str = "UTC") -> Page[Exchange]:
    """Decode rows that are put into a classic envelope."""
    body = json.dumps({"error": 0, "error_text": "", "data": {"items": rows}}, default=str)
    page = decode(Answer(200, {}, body.encode()), method, zone)
    assert isinstance(page, Page), page
    return page


def unreadable_of(answer: Answer, method: str = "get_exchanges") -> list[UnreadableRow]:
    """Return the rows of an answer that cannot be read."""
    page = decode(answer, method)
    assert isinstance(page, Page), page
    return page.unreadable


@functools.cache
def _exchange_row() -> Mapping[str, object]:
    items = json.loads(sample(CLASSIC, "get_exchanges").body)["data"]["items"]
    row: Mapping[str, object] = items["1895"]
    return row


def exchange_row(**changes: object) -> dict[str, object]:
    """Return a row as classic sends it, with changes."""
    row = _exchange_row()
    return {k: v for k, v in {**row, **changes}.items() if v is not ...}


LINK = Link(
    id=1,
    time=datetime(2025, 10, 8, 5, 6, 40, tzinfo=UTC),
    date="2025-10-08 05:06:40",
    browser="Chrome",
    ip="203.0.113.7",
    referrer='https://t.me/durov?a=1&b="2"',
    user_hash="5f0c" * 8,
    query_string="?cur_from=USDTTRC20&cur_to=SBERRUB&utm_source=select&sub=update_7",
)
PAYOUT = Payout(
    id=5,
    time=datetime(2026, 11, 22, 14, 10, 26, tzinfo=UTC),
    method_id=11,
    account="TXabcdefgh",
    pay_amount=Decimal("119.5698"),
    original_amount=Decimal("122.01"),
    status=PayoutStatus.WAITING,
    date="2026-11-22 14:10:26",
    pay_currency_code="USDTTRC20",
    original_currency_code="USD",
)
REJECTIONS = {
    "add_payout-unknown-method": "method",
    "add_payout-bad-account": "account",
    "add_payout-params-in-query-ignored": "method",
    "add_payout-again-no-balance": "balance",
}
COUNTS = {
    "get_links": 3,
    "get_links-empty": 0,
    "get_links-filter-in-query-is-ignored": 3,
    "get_exchanges": 4,
    "get_exchanges-status_history": 4,
    "get_payouts": 4,
    "get_payouts-after": 5,
}


@pytest.mark.parametrize("file", [CLASSIC, DELEGATING])
@pytest.mark.parametrize("name", COUNTS)
def test_samples_of_lists(file: str, name: str) -> None:
    """Every recorded list decodes to all its rows and shows its dialect."""
    page = decode(sample(file, name), name.partition("-")[0])
    assert isinstance(page, Page)
    assert len(page.records) == COUNTS[name] == len(page.walls)
    assert page.dialect == (Dialect.CLASSIC if file == CLASSIC else Dialect.DELEGATING)
    assert page.falls


def test_hooks_made_anew_read_the_same() -> None:
    """Hooks and decoders are made once and remember nothing of what they have read."""
    answers = [
        (sample(file, name), name.partition("-")[0])
        for file, name in itertools.product((CLASSIC, DELEGATING), (*COUNTS, "get_info"))
    ]
    odd = page_of([{**exchange_row(), "amount_give": "nan"}, exchange_row(id="8", own="x")])
    found = [decode(*answer) for answer in answers]
    made = (converter, clean_rows.decoders, clean_rows._own_decoder, clean_rows._optional)
    for maker in made:
        maker.cache_clear()
    assert [decode(*answer) for answer in answers] == found
    again = page_of([{**exchange_row(), "amount_give": "nan"}, exchange_row(id="8", own="x")])
    assert (again.records, again.unreadable) == (odd.records, odd.unreadable)
    assert len(odd.records) == len(odd.unreadable) == 1


@pytest.mark.parametrize("file", [CLASSIC, DELEGATING])
def test_samples_of_links(file: str) -> None:
    """Un-escaped, look-alikes restored, the query parsed; the ip filter is as broken as it was."""
    page = decode(sample(file, "get_links"), "get_links")
    assert isinstance(page, Page)
    assert page.records[2] == LINK
    assert LINK.query["utm_source"] == "select"
    assert page.records[0].query == {"rid": "17", "sub": "it's ok"}
    assert page.records[1].query["utm_campaign"] == "script"
    assert page.records[1].referrer == "https://example.org/обмен"
    by_ip = decode(sample(file, "get_links-ip"), "get_links")
    assert isinstance(by_ip, Page)
    assert len(by_ip.records) == (0 if file == CLASSIC else 2)


def test_samples_of_exchanges() -> None:
    """Classic and 2.7 fields, statuses only on 2.7, money to the last place."""
    classic = decode(sample(CLASSIC, "get_exchanges-status_history"), "get_exchanges")
    newer = decode(sample(DELEGATING, "get_exchanges-status_history"), "get_exchanges")
    limited = decode(sample(DELEGATING, "get_exchanges-limit-offset"), "get_exchanges")
    assert isinstance(classic, Page)
    assert isinstance(newer, Page)
    assert isinstance(limited, Page)
    assert classic.records[1].course_get == Decimal("0.00000921")
    assert classic.records[0].status is None
    assert classic.records[3].accrued is True
    assert newer.records[1].psys_get == "Сбербанк"
    assert [change.status for change in newer.records[1].statuses] == ["new", "success"]
    assert newer.records[1].statuses[1].time == newer.records[1].time
    assert [row.id for row in limited.records] == [1895, 1897]


def test_samples_of_payouts() -> None:
    """Statuses are an enum, the method's id an int."""
    page = decode(sample(CLASSIC, "get_payouts-after"), "get_payouts")
    assert isinstance(page, Page)
    assert page.records[0] == PAYOUT
    assert [row.status for row in page.records[1:]] == list(PayoutStatus)


@pytest.mark.parametrize(("file", "partner"), [(CLASSIC, None), (DELEGATING, 1)])
def test_samples_of_info(file: str, partner: int | None) -> None:
    """Methods from an object or a list, the commission in per cent; none where there are none."""
    info = decode(sample(file, "get_info"), "get_info")
    assert isinstance(info, Info)
    assert (info.balance, info.min_payout) == (Decimal("122.01"), Decimal(10))
    assert info.partner_id == partner
    assert [(m.id, m.commission) for m in info.items] == [(11, 2), (33, Decimal("1.5"))]
    assert info.items[1].amount == Decimal("120.17985")
    assert not any(method.extra for method in info.items)
    poor = decode(sample(file, "get_info-zero-balance"), "get_info")
    assert isinstance(poor, Info)
    assert len(poor.items) == (3 if file == CLASSIC else 0)


def test_unknown_keys_of_payout_methods_are_kept() -> None:
    """Each method has its own, beside those of the account."""
    method = {"id": 1, "title": "a", "comission": "2%", "amount": "5", "note": 1.5}
    body = json.dumps({"error": 0, "data": {"balance": 1, "min_payout": 1, "items": [method]}})
    info = decode(Answer(200, {}, body.encode()), "get_info")
    assert isinstance(info, Info)
    assert (info.extra, info.items[0].extra) == ({}, {"note": Decimal("1.5")})


@pytest.mark.parametrize("ids", [(1, 2**63), (2**63, 1), (-(2**63) - 1, 1)])
def test_one_id_too_large_is_found_among_others(ids: tuple[int, int]) -> None:
    """Wherever it stands on the page."""
    rows = [{"id": one, "time": 1} for one in ids]
    page = page_of(rows, "get_links")
    assert [row.id for row in page.records] == [1]
    assert [row.problems for row in page.unreadable] == [
        (("id", f"not a whole number of 64 bits: {one}"),) for one in ids if abs(one) >= 2**63
    ]


@pytest.mark.parametrize("account", ["TX1", 5], ids=["clean", "odd"])
def test_a_method_s_id_that_is_too_large_is_found(account: object) -> None:
    """As that of a row is, whether another field of the row is odd or not."""
    rows = [payout_row(id=n, method_id=11) for n in range(3)]
    rows[1] |= {"method_id": 2**63, "account": account}
    page = page_of(rows, "get_payouts")
    assert [row.id for row in page.records] == [0, 2]
    assert [[path for path, _ in row.problems] for row in page.unreadable] == [["method_id"]]


def test_an_unknown_key_in_place_of_the_only_optional_one_is_kept() -> None:
    """There are as many keys as if both rows were alike."""
    rows = [{"id": 1, "time": 1, "browser": "a"}, {"id": 2, "time": 1, "mark": 7}]
    body = json.dumps({"error": 0, "data": {"items": rows}}, separators=(",", ":")).encode()
    page = decode(Answer(200, {}, body), "get_links")
    assert isinstance(page, Page)
    assert [row.extra for row in page.records] == [{}, {"mark": 7}]


@pytest.mark.parametrize("file", [CLASSIC, DELEGATING])
def test_samples_of_payout_requests(file: str) -> None:
    """A receipt, or the reason of the refusal."""
    receipt = decode(sample(file, "add_payout-ok"), "add_payout")
    assert isinstance(receipt, PayoutReceipt)
    assert receipt.payout_id == 5
    for name, reason in REJECTIONS.items():
        error = decode(sample(file, name), "add_payout")
        assert isinstance(error, PayoutRejected)
        assert (error.reason, error.code) == (reason, 1)


REFUSALS = {
    (CLASSIC, "bad-key"): AuthError,
    (CLASSIC, "banned-user"): AuthError,
    (CLASSIC, "empty-key"): MethodNotSupportedError,
    (CLASSIC, "unknown-method"): MethodNotSupportedError,
    (CLASSIC, "maintenance"): ApiDisabledError,
    **dict.fromkeys(
        ((DELEGATING, n) for n in ("bad-key", "banned-user", "empty-key", "unknown-method")),
        ApiDisabledError,
    ),
    (DELEGATING, "maintenance"): ApiDisabledError,
}


@pytest.mark.parametrize(("where", "kind"), REFUSALS.items())
def test_samples_of_refusals(where: tuple[str, str], kind: type[ApiError]) -> None:
    """Each recorded refusal has its class; together with the others, no sample is left out."""
    assert type(decode(sample(*where), "get_info")) is kind


def test_every_sample_is_tested() -> None:
    """A new recording wants a test that says what it becomes."""
    tested = {name for _, name in REFUSALS} | set(REJECTIONS) | set(COUNTS)
    tested |= {"get_info", "get_info-zero-balance", "get_links-ip", "add_payout-ok"}
    tested |= {"get_exchanges-limit-offset"}
    for file in (CLASSIC, DELEGATING):
        assert set(json.loads((SAMPLES / f"{file}.json").read_text("utf-8"))) == tested


def payout_row(**changes: object) -> dict[str, object]:
    """Return a payout as classic sends it, with changes."""
    items = json.loads(sample(CLASSIC, "get_payouts").body)["data"]["items"]
    return {**next(iter(items.values())), **changes}


def problems_of(rows: object) -> list[tuple[int | None, str, str]]:
    """Return what is wrong with which rows of an answer."""
    page = page_of(rows)
    return [(row.id, path, shown) for row in page.unreadable for path, shown in row.problems]


def test_bad_rows_are_named_by_their_place_and_key() -> None:
    """Wherever they stand: in a list, under a key, without an id, in a later slice."""
    shown = "not an amount: 'x'"
    rows = [exchange_row(id=str(i)) for i in range(600)]
    for place in (0, 250, 599):
        rows[place]["amount_get"] = "x"
    places = [(i, "amount_get", shown) for i in (0, 250, 599)]
    assert problems_of(rows) == places
    assert problems_of({f"k{i}": row for i, row in enumerate(rows)}) == places
    assert problems_of([exchange_row(), exchange_row(id=...)]) == [(None, "id", "missing")]
    assert problems_of({"7": exchange_row(id=..., accrued=9)}) == [
        (7, "accrued", "not a flag (0 or 1): 9")
    ]
    assert problems_of({"1": exchange_row(), "k": 5}) == [(None, "", "not an object: 5")]


def test_rows_of_which_none_has_an_id_are_no_rows() -> None:
    """What cannot be placed at all is not the API's list."""
    answers: tuple[object, ...] = ([None], [5, {}], {"k": []})
    for rows in answers:
        body = json.dumps({"error": 0, "data": {"items": rows}}).encode()
        error = decode(Answer(200, {}, body), "get_exchanges")
        assert isinstance(error, DecodeError)
        assert error.problems[0][0] in ("items", "items.id")


@pytest.mark.parametrize(("bad", "listed"), [(19, 19), (20, 20), (250, 20)])
def test_twenty_problems_are_enough(bad: int, listed: int) -> None:
    """Of one record; the message has the first five."""
    methods = [{"id": 1, "title": "T", "amount": 1, "comission": "x"}] * bad
    data = {"balance": 1, "min_payout": 1, "items": methods}
    error = decode(Answer(200, {}, json.dumps({"error": 0, "data": data}).encode()), "get_info")
    assert isinstance(error, DecodeError)
    assert len(error.problems) == listed
    assert error.message.count("not an amount") == 5
    assert (error.account, error.method) == ("a.example", "get_info")


def test_values_in_errors_are_clipped_and_redacted() -> None:
    """Eighty characters are enough to see what it is, and none of them is of the key."""
    [(_, path, shown)] = problems_of([exchange_row(amount_get="x" * 90)])
    assert (path, shown) == ("amount_get", f"not an amount: '{'x' * 64}…")
    [(_, _, shown)] = problems_of([exchange_row(amount_get="x" * 60 + "KEY1KEY1KEY1")])
    assert "KEY" not in shown
    error = decode(Answer(200, {}, b'{"error":0}'), "get_info")
    assert isinstance(error, DecodeError)
    assert list(error.problems) == [("", "not an object: None")]
    assert "promises: data = not an object: None" in error.message


def test_receipts_without_a_text() -> None:
    """The text is empty, the id counts."""
    body = b'{"error":0,"error_text":null,"data":{"payout_id":"7"}}'
    assert decode(Answer(200, {}, body), "add_payout") == PayoutReceipt(7, "")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("[]", ("", "not an object: a list of 0 entries")),
        ("{}", ("payout_id", "missing")),
        ('{"payout_id":null}', ("payout_id", "missing")),
        ('{"payout_id":"x"}', ("payout_id", "not a whole number: 'x'")),
        ('{"payout_id":"0"}', ("payout_id", "no id: 0")),
        ('{"payout_id":-5}', ("payout_id", "no id: -5")),
    ],
)
def test_what_is_no_receipt_is_named(data: str, problem: tuple[str, str]) -> None:
    """In the wire's words, not in Python's."""
    error = decode(Answer(200, {}, b'{"error":0,"data":%s}' % data.encode()), "add_payout")
    assert isinstance(error, DecodeError)
    assert list(error.problems) == [problem]


def test_json_is_strict_and_exact() -> None:
    """Python's own extensions are refused; no amount becomes a float on the way."""
    assert parse_json(b'{"a": [1.10, 2]}') == {"a": [Decimal("1.10"), 2]}
    for name in ("NaN", "Infinity", "-Infinity"):
        with pytest.raises(ValueError, match=f"^{name} is not JSON$"):
            parse_json(name.encode())


@pytest.mark.parametrize(
    "spoiled",
    [
        pytest.param(b'"user_hash":"\xcc\xe8"', id="a text that we know"),
        pytest.param(b'"note":"\xcc\xe8"', id="a text that we do not know"),
        pytest.param(b'"\xcc\xe8":1', id="a key"),
        pytest.param(b'"time":"\xcc\xe8"', id="where no text belongs"),
    ],
)
@pytest.mark.parametrize("others", [0, 1])
def test_rows_in_another_encoding_are_named(spoiled: bytes, others: int) -> None:
    """What is not UTF-8 within a row is an error of ours, wherever it stands."""
    rows = [json.dumps(exchange_row(id=number)).encode() for number in range(others)]
    rows += [b'{"id":2,' + spoiled + b"," + json.dumps(exchange_row(id=...)).encode()[1:]]
    items = b"[%b]" % b",".join(rows)
    page = decode(in_envelope(items), "get_exchanges")
    assert isinstance(page, Page)
    assert len(page.records) == others
    [row] = page.unreadable
    assert row.problems == (("", "UnicodeDecodeError"),)


def test_keys_of_rows_in_another_encoding_are_named() -> None:
    """What is not UTF-8 above the rows is an error of ours, too, with the beginning of the data."""
    row = json.dumps(exchange_row()).encode()
    error = decode(in_envelope(b'{"\xcc\xe8":%b}' % row), "get_exchanges")
    assert isinstance(error, DecodeError)
    ((path, shown),) = error.problems
    assert path == "data"
    assert shown.startswith('{"items":{"\N{REPLACEMENT CHARACTER}')


def in_envelope(items: bytes) -> Answer:
    """Return the answer of a classic server with these items."""
    return Answer(200, {}, b'{"error":0,"error_text":"","data":{"items":%b}}' % items)


def test_row_that_is_no_object() -> None:
    """A number among rows is named by its place."""
    page = page_of([exchange_row(), 5])
    assert len(page.records) == 1
    assert [row.problems for row in page.unreadable] == [(("", "not an object: 5"),)]


@given(where=st.integers(0, 400), count=st.integers(401, 900))
def test_unknown_keys_are_kept(where: int, count: int) -> None:
    """A key of the site's own on any one row of any page is reachable, exact."""
    rows = [exchange_row(id=str(i)) for i in range(count)]
    rows[where]["site_note"] = {"a": 1.5}
    records = page_of(rows).records
    assert records[where].extra == {"site_note": {"a": Decimal("1.5")}}
    assert sum(bool(row.extra) for row in records) == 1


@pytest.mark.parametrize("count", [3, 300, 900])
@pytest.mark.parametrize("keyed", [False, True])
def test_unknown_key_is_kept_where_another_row_lacks_one(count: int, keyed: bool) -> None:
    """One key too few does not make up for one too many."""
    rows = [exchange_row(id=str(i)) for i in range(count)]
    rows[-2]["site_note"] = "5:3"
    del rows[-1]["currency_code_get"]
    records = page_of({row["id"]: row for row in rows} if keyed else rows).records
    assert [row.id for row in records if row.extra] == [count - 2]
    assert records[-2].extra == {"site_note": "5:3"}
    assert records[-1].currency_code_get == ""


@pytest.mark.parametrize("method", RECORDS)
@pytest.mark.parametrize(("keyed", "space"), [(False, ""), (False, " "), (True, "")])
@pytest.mark.parametrize("count", [1, 3, 1_500])
def test_clean_rows_go_the_fast_way(
    method: str, keyed: bool, space: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only odd rows cost more, whatever colons, braces and entities the texts of others have."""
    slow = Mock(side_effect=AssertionError("the careful way"))
    monkeypatch.setattr(PageCodec, "_decode_odd", slow)
    if count < 1_000:
        monkeypatch.setattr(PageCodec, "_slices", slow)
    items = json.loads(sample(CLASSIC, method).body)["data"]["items"]
    texts = ("a:b", "{c}", "[d:", "&amp;", "items", "")
    field = {"get_links": "referrer", "get_exchanges": "user_hash", "get_payouts": "account"}[
        method
    ]
    rows = [{**next(iter(items.values())), "id": str(i), field: texts[i % 6]} for i in range(count)]
    if method == "get_exchanges":
        rows = [{**row, "status": "new"} for row in rows]
    data = {"items": {row["id"]: row for row in rows} if keyed else rows}
    envelope = {"error": 0, "error_text": "", "status": "success", "data": data}
    body = json.dumps(envelope, separators=(f",{space}", f":{space}")).encode()
    page = decode(Answer(200, {}, body), method)
    assert isinstance(page, Page)
    assert [row.id for row in page.records] == list(range(count))
    assert getattr(page.records[-1], field) == texts[(count - 1) % 6]


def test_nothing_found_is_known_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polls that bring nothing are the most frequent ones."""
    monkeypatch.setattr(PageCodec, "_slices", Mock(side_effect=AssertionError("the careful way")))
    for data in ("", ',"data":[]', ',"data":{"items":{}}', ',"data":{"items":[]}'):
        page = decode(Answer(200, {}, b'{"error":0%s}' % data.encode()), "get_links")
        assert isinstance(page, Page)
        assert page.records == []


def test_key_named_extra_does_not_hide_itself() -> None:
    """A site's own key that has our field's name is an unknown key like any other."""
    assert page_of([exchange_row(extra={"a": 1})]).records[0].extra == {"extra": {"a": 1}}
    for count in (3, 900):
        rows = [exchange_row(id=str(i)) for i in range(count)]
        rows[1]["extra"] = "x"
        assert [row.extra for row in page_of(rows).records[:3]] == [{}, {"extra": "x"}, {}]


def test_unknown_key_is_kept_beside_a_history() -> None:
    """A row with objects in it is not judged by its first half."""
    steps = [{"time": 5, "date": "", "status": "new"}]
    for count in (1, 3, 900):
        rows = [exchange_row(id=str(i), statuses=steps, site_note="x") for i in range(count)]
        assert all(row.extra == {"site_note": "x"} for row in page_of(rows).records)


def test_bytes_that_are_no_text_are_told() -> None:
    """Where the rows should be, too."""
    for data in (b'"\xff"', b'{"\xff":1}'):
        error = decode(Answer(200, {}, b'{"error":0,"data":%s}' % data), "get_links")
        assert isinstance(error, DecodeError | ResponseError)


def test_large_answers_decode_in_slices() -> None:
    """An answer over a quarter megabyte lets others run every few hundred rows."""
    rows = [exchange_row(id=str(i)) for i in range(2_000)]
    body = json.dumps({"error": 0, "data": {"items": rows}}).encode()
    reader = Reader(ACCOUNT, "get_exchanges")
    codec = PageCodec(Exchange, SiteClock(ZoneInfo("Europe/Moscow")), reader)
    assert sum(1 for _ in codec.in_slices(Answer(200, {}, body))) == 8
    page = codec.decode(Answer(200, {}, body))
    assert isinstance(page, Page)
    assert [row.id for row in page.records] == list(range(2_000))
    assert page.records[0].time == datetime(2025, 10, 8, 2, 6, 40, tzinfo=UTC)
    assert page.walls[0] == datetime(2025, 10, 8, 5, 6, 40, tzinfo=UTC)


def test_times_are_corrected_by_the_zone() -> None:
    """Rows and their history are true instants, on the fast way and on the careful one."""
    for rows in ([exchange_row()], [exchange_row(id=str(i)) for i in range(900)]):
        page = page_of(rows, zone="Europe/Moscow")
        assert {row.time for row in page.records} == {datetime(2025, 10, 8, 2, 6, 40, tzinfo=UTC)}
        assert set(page.walls) == {datetime(2025, 10, 8, 5, 6, 40, tzinfo=UTC)}
    history = [{"time": 1759900000, "date": "", "status": "new"}]
    for row in (exchange_row(statuses=history), exchange_row(statuses=history, accrued="")):
        record = page_of([row], zone="Europe/Moscow").records[0]
        assert record.time == record.statuses[0].time == datetime(2025, 10, 8, 2, 6, 40, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "restored"),
    [
        ("?a=1&amp;b=it&#039;s &quot;x&quot; &lt;y&gt;", '?a=1&b=it\'s "x" <y>'),
        ("&amp;copy=1", "&copy=1"),
        ("?a=1&copy=1&reg", "?a=1&copy=1&reg"),
        ("s\u0435lect", "select"),
        ("x=\u0435xec&y=pr\u043ec_open", "x=exec&y=proc_open"),
        ("\u043e\u0431\u043c\u0435\u043d", "\u043e\u0431\u043c\u0435\u043d"),
        ("my_s\u0435lect", "my_s\u0435lect"),
        ("s\u0435l\u0435ct", "s\u0435l\u0435ct"),
    ],
)
def test_texts_are_restored(text: str, restored: str) -> None:
    """Escapes and look-alikes are undone, real Cyrillic and bare ampersands are left alone."""
    assert restore(text) == restored


@pytest.mark.parametrize("odd", [{}, {"user_hash": 5}], ids=["clean", "odd"])
def test_texts_are_restored_in_any_row(odd: dict[str, object]) -> None:
    """Rows that repeat what was found unaltered do not hide the ones after them."""
    names = ["A", "A", "B &amp; C", "A", "B &amp; C", None, "&lt;"]
    rows = [exchange_row(id=str(i), psys_give=name) for i, name in enumerate(names)]
    rows[3] |= odd
    found = [row.psys_give for row in page_of(rows).records]
    assert found == ["A", "A", "B & C", "A", "B & C", None, "<"]


@given(
    body=st.binary(max_size=200) | st.from_regex(rb"\{\"error\":.{0,60}\}"),
    status=st.sampled_from([200, 500]),
)
def test_any_bytes_are_a_value_or_an_error_of_ours(body: bytes, status: int) -> None:
    """Nothing else comes out, whatever comes in."""
    for method in (*RECORDS, "get_info", "add_payout"):
        result = decode(Answer(status, {}, body), method)
        assert isinstance(result, Page | Info | PayoutReceipt | PPAPIError)


def test_raw_data_keeps_its_numbers() -> None:
    """`call` gets JSON with exact numbers; none where there is no data."""
    reader = Reader(ACCOUNT, "test")
    data = decode_data(Answer(200, {}, b'{"error":0,"data":{"a":0.1}}'), reader)
    assert data == {"a": Decimal("0.1")}
    assert decode_data(Answer(200, {}, b'{"error":0}'), reader) is None
    # Python 3.11 goes 1,000 levels deep, later ones go deeper in C; none this deep.
    huge = b'{"error":0,"data":%s1%s}' % (b"[" * 200_000, b"]" * 200_000)
    assert isinstance(decode_data(Answer(200, {}, huge), reader), DecodeError | ResponseError)


def test_escaped_texts_are_restored() -> None:
    """A page in plain ASCII, as PHP writes it, may hold altered texts behind its escapes."""
    for escaped, text in (
        (rb"s\u0435lect", "select"),
        (rb"a\u0026amp;b", "a&b"),
        (rb"caf\u00e9", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"),
    ):
        row = b'{"id":1,"time":1700000000,"query_string":"?a=%b"}' % escaped
        page = decode(in_envelope(b"[%b]" % row), "get_links")
        assert isinstance(page, Page)
        assert page.records[0].query_string == f"?a={text}"


def test_receipt_without_its_number() -> None:
    """A success that tells no payout_id is a DecodeError, so the outcome counts as unknown."""
    error = decode(Answer(200, {}, b'{"error":0,"data":[]}'), "add_payout")
    assert isinstance(error, DecodeError)


def test_clone_info() -> None:
    """Numbers, an empty object for no methods, keys of the clone's own."""
    data = b'{"balance":1.5,"min_payout":10,"items":{},"totalReceived":7.25,"link":"x"}'
    body = b'{"status":"success","error":0,"data":%s}' % data
    info = decode(Answer(200, {}, body), "get_info")
    assert isinstance(info, Info)
    assert info.balance == Decimal("1.5")
    assert info.extra == {"totalReceived": Decimal("7.25"), "link": "x"}


@pytest.mark.parametrize("zone", ["UTC", "Europe/Moscow"])
def test_odd_rows_have_instants_like_others(zone: str) -> None:
    """The careful way reads the same clock as the fast one, and corrects it once."""
    clean, odd = exchange_row(id="1"), exchange_row(id=2, user_hash=5)
    for rows in ([clean, odd], [odd]):
        page = page_of(rows, zone=zone)
        times = {row.time for row in page.records}
        assert times == {page_of([clean], zone=zone).records[0].time}
        assert all(row.time.tzinfo is UTC for row in page.records)


def test_clicks_are_corrected_by_the_zone() -> None:
    """Links have no history of statuses, but a time."""
    found = [decode(sample(CLASSIC, "get_links"), "get_links", z) for z in ("UTC", "Asia/Tokyo")]
    utc, tokyo = ([row.time for row in page.records] for page in found if isinstance(page, Page))
    assert [(one - other).total_seconds() for one, other in zip(utc, tokyo, strict=True)] == [
        9 * 3600
    ] * len(utc)


def test_receipts_have_the_site_s_text() -> None:
    """What the site says of a payout is kept."""
    body = b'{"error":0,"error_text":"Done &amp; dusted","data":{"payout_id":"7"}}'
    assert decode(Answer(200, {}, body), "add_payout") == PayoutReceipt(7, "Done &amp; dusted")


def test_numbers_of_a_sites_own_that_nothing_holds_are_texts() -> None:
    """A key with 1e400 made a record that no state could read back."""
    row = json.dumps(exchange_row()).encode()[:-1] + b',"odd":[1e400,{"deep":-1e-400}],"ok":1.50}'
    page = decode(in_envelope(b"[%b]" % row), "get_exchanges")
    assert isinstance(page, Page)
    [record] = page.records
    assert record.extra == {"odd": ["1E+400", {"deep": "-1E-400"}], "ok": Decimal("1.50")}
    assert parse_stored(dump_stored(record), Exchange) == record


def test_a_row_of_megabytes_is_not_even_looked_into() -> None:
    """Its key may tell which one it is; beside it the others come."""
    long = json.dumps(exchange_row(user_hash="x" * 1_100_000)).encode()
    items = b'{"7":%b,"8":%b}' % (long, json.dumps(exchange_row()).encode())
    page = decode(in_envelope(items), "get_exchanges")
    assert isinstance(page, Page)
    assert len(page.records) == 1
    [row] = page.unreadable
    assert (row.id, row.time) == (7, None)

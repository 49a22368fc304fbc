"""Values: exact money, odd forms of everything, and what is named where one cannot be read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppapi_async import (
    DecodeError,
    Dialect,
    Info,
    PayoutStatus,
    ResponseError,
)
from ppapi_async.protocol import (
    Answer,
    Reader,
    decode_data,
    decode_info,
)
from ppapi_async.protocol.fields import parse_json
from ppapi_async.protocol.page import Page
from tests.protocol.test_codec import (
    ACCOUNT,
    CLASSIC,
    decode,
    exchange_row,
    in_envelope,
    page_of,
    payout_row,
    sample,
    unreadable_of,
)

AMOUNTS = st.decimals(
    allow_nan=False, allow_infinity=False, places=12, min_value=-(10**12), max_value=10**12
)


@given(amount=AMOUNTS, form=st.integers(0, 2))
def test_money_is_exact_in_any_form(amount: Decimal, form: int) -> None:
    """Strings, numbers, exponents: every place arrives, and zero is never negative."""
    written = [f'"{amount}"', f"{amount:f}", f"{amount:e}"][form]
    row = json.dumps(exchange_row(amount_give="@")).replace('"@"', written)
    body = b'{"error":0,"data":{"items":[%s]}}' % row.encode()
    page = decode(Answer(200, {}, body), "get_exchanges")
    assert isinstance(page, Page)
    assert page.records[0].amount_give == amount


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({"partner_reward": "-0"}, "partner_reward", Decimal(0)),
        ({"exchange_success": True}, "exchange_success", True),
        ({"exchange_success": ""}, "exchange_success", False),
        ({"accrued": "1"}, "accrued", True),
        ({"id": 7}, "id", 7),
        ({"time": "1759900000"}, "time", datetime(2025, 10, 8, 5, 6, 40, tzinfo=UTC)),
        ({"user_hash": 123}, "user_hash", "123"),
        ({"course_get": ""}, "course_get", None),
        ({"currency_code_get": ...}, "currency_code_get", ""),
        ({"currency_code_get": None}, "currency_code_get", ""),
        ({"status": "my12"}, "status", "my12"),
        ({"statuses": {"1": {"time": 5, "status": "new"}}}, "statuses", 1),
        ({"statuses": [{"time": 5, "status": "new", "date": None}]}, "statuses", 1),
        ({"psys_give": "A &amp; B"}, "psys_give", "A & B"),
    ],
)
def test_odd_forms_of_values(changes: dict[str, object], name: str, value: object) -> None:
    """Forms that servers were seen to send, alone and among clean rows, at any place."""
    for rows in (
        [exchange_row(**changes)],
        {"1": exchange_row(id="1"), "x": exchange_row(**{"id": "2", **changes})},
        [exchange_row(id=str(i)) for i in range(20)] + [exchange_row(**{"id": "99", **changes})],
    ):
        page = page_of(rows)
        assert len(page.records) == len(rows)
        found = getattr(page.records[-1], name)
        assert (len(found) if name == "statuses" else found) == value


@pytest.mark.parametrize(
    ("changes", "path", "shown"),
    [
        ({"amount_give": "x"}, "amount_give", "not an amount: 'x'"),
        ({"amount_give": "NAN"}, "amount_give", "not a finite amount"),
        ({"amount_give": ""}, "amount_give", "not an amount"),
        ({"course_get": "NAN"}, "course_get", "not a finite amount"),
        ({"amount_give": ...}, "amount_give", "missing"),
        ({"time": "yesterday"}, "time", "not a unix time"),
        ({"time": "2026-01-01T00:00:00"}, "time", "not a unix time"),
        ({"time": 10**19}, "time", "not a unix time"),
        ({"accrued": 2}, "accrued", "not a flag (0 or 1): 2"),
        ({"user_hash": []}, "user_hash", "not a text"),
        ({"status": []}, "status", "not a text: a list of 0 entries"),
        ({"statuses": 5}, "statuses", "not a list of rows: 5"),
        ({"statuses": [5]}, "statuses[0]", "not an object: 5"),
    ],
)
def test_bad_row_is_named_and_never_vanishes(
    changes: dict[str, object], path: str, shown: str
) -> None:
    """The row's id, the path and the value are told; it hides no good row, nor do they hide it."""
    rows = [exchange_row(id=str(i)) for i in range(3)] + [exchange_row(**{"id": "99", **changes})]
    page = page_of(rows)
    assert [row.id for row in page.records] == [0, 1, 2]
    assert page.size == 4
    [row] = page.unreadable
    assert row.id == 99
    assert (row.time is None) == (path == "time")
    assert row.problems[0][0] == path
    assert shown in row.problems[0][1]


def test_odd_forms_of_links() -> None:
    """What is null is as good as missing, whatever else is odd about the row."""
    items = json.loads(sample(CLASSIC, "get_links").body)["data"]["items"]
    odd = {**next(iter(items.values())), "referrer": None, "browser": 5, "ip": None, "note": None}
    page = decode(
        Answer(200, {}, json.dumps({"error": 0, "data": {"items": [odd]}}).encode()), "get_links"
    )
    assert isinstance(page, Page)
    [row] = page.records
    assert (row.referrer, row.browser, row.ip) == ("", "5", None)
    assert row.extra == {"note": None}


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({"status": 1}, "status", PayoutStatus.DONE),
        ({"account": 79001234567}, "account", "79001234567"),
        ({"method_id": 11.0}, "method_id", 11),
        ({"method_id": 12.0, "account": 5}, "method_id", 12),
        ({"pay_amount": "-0"}, "pay_amount", Decimal(0)),
        ({"pay_amount": 1.5, "account": 5}, "pay_amount", Decimal("1.5")),
        ({"pay_amount": "-1.5", "account": 5}, "pay_amount", Decimal("-1.5")),
    ],
)
def test_odd_forms_of_payouts(changes: dict[str, object], name: str, value: object) -> None:
    """Payouts have a careful way, too."""
    page = page_of([payout_row(**changes)], "get_payouts")
    found = getattr(page.records[0], name)
    assert found == value
    assert not (isinstance(found, Decimal) and found.is_zero() and found.is_signed())


@pytest.mark.parametrize(
    ("changes", "path", "shown"),
    [
        ({"method_id": 11.5}, "method_id", "not a whole number: '11.5'"),
        ({"method_id": True}, "method_id", "not a whole number: True"),
        ({"method_id": "1_1"}, "method_id", "not a whole number: '1_1'"),
        ({"method_id": ""}, "method_id", "not a whole number: ''"),
        ({"pay_amount": True}, "pay_amount", "not an amount: True"),
        ({"pay_amount": []}, "pay_amount", "not an amount: a list of 0 entries"),
        ({"pay_amount": "Infinity"}, "pay_amount", "not a finite amount: 'Infinity'"),
        ({"account": True}, "account", "not a text: True"),
        ({"account": {}}, "account", "not a text: an object of 0 entries"),
        ({"time": "1,5"}, "time", "not a unix time: '1,5'"),
        ({"time": 1759900000.5}, "time", "not a unix time: '1759900000.5'"),
        ({"time": "1759900000.5"}, "time", "not a unix time: '1759900000.5'"),
        ({"time": True}, "time", "not a unix time: True"),
        ({"status": True}, "status", "not a text: True"),
        ({"time": None}, "time", "missing"),
    ],
)
def test_bad_payout_is_named(changes: dict[str, object], path: str, shown: str) -> None:
    """No value of another kind is taken for what it resembles."""
    [row] = page_of([payout_row(id="7", **changes)], "get_payouts").unreadable
    assert row.id == 7
    assert list(row.problems) == [(path, shown)]


def test_bad_parts_of_info_are_named() -> None:
    """Of the account as of each of its payout methods, with the wire's names."""
    methods = [{"id": 1, "title": "A", "comission": "2%", "amount": 3}, {"id": 2, "title": []}]
    data = {"balance": 1, "min_payout": "x", "partner_id": 1.5, "items": methods}
    body = json.dumps({"error": 0, "data": data}).encode()
    error = decode(Answer(200, {}, body), "get_info")
    assert isinstance(error, DecodeError)
    assert dict(error.problems) == {
        "min_payout": "not an amount: 'x'",
        "partner_id": "not a whole number: '1.5'",
        "items[1].title": "not a text: a list of 0 entries",
        "items[1].comission": "missing",
        "items[1].amount": "missing",
    }


def test_payout_methods_by_their_ids() -> None:
    """An object of methods gives each its id; what is no method is named."""
    row = {"title": "A", "comission": 0, "amount": 3}
    data = {"balance": 1, "min_payout": 2, "items": {"11": row, "12": {**row, "id": 13}}}
    info = decode(Answer(200, {}, json.dumps({"error": 0, "data": data}).encode()), "get_info")
    assert isinstance(info, Info)
    assert [method.id for method in info.items] == [11, 13]
    data["items"] = {"11": 5}
    error = decode(Answer(200, {}, json.dumps({"error": 0, "data": data}).encode()), "get_info")
    assert isinstance(error, DecodeError)
    assert list(error.problems) == [("items[0]", "not an object: 5")]


def test_white_space_around_numbers_and_signs() -> None:
    """The careful way takes what the fast one does, and what it does not."""
    odd = payout_row(id=" 7 ", method_id="-11", account=5, time="1759900000")
    row = page_of([odd], "get_payouts").records[0]
    assert (row.id, getattr(row, "method_id", None)) == (7, -11)


@pytest.mark.parametrize(("text", "number"), [("7.0", 7), ("7e3", 7_000), ("-7.50e1", -75)])
@pytest.mark.parametrize("account", ["TX1", 5], ids=["clean", "odd"])
def test_whole_numbers_with_a_fraction_of_zero(text: str, number: int, account: object) -> None:
    """A row was read or not for the same id, whether another field of it was odd or not."""
    row = page_of([payout_row(id=text, time=text, account=account)], "get_payouts").records[0]
    assert (row.id, row.time.timestamp()) == (number, number)


@pytest.mark.parametrize("user_hash", ["5e3f", 5], ids=["clean", "odd"])
def test_a_time_of_less_than_a_microsecond_is_none(user_hash: object) -> None:
    """Whether another field of the row is odd or not."""
    row = json.dumps(exchange_row(time="@", user_hash=user_hash)).replace('"@"', "1e-9")
    page = decode(in_envelope(f"[{row}]".encode()), "get_exchanges")
    assert isinstance(page, Page)
    assert [row.time.timestamp() for row in page.records] == [0]


@pytest.mark.parametrize("text", ["true", "True", "FALSE", "1", "0"])
@pytest.mark.parametrize("user_hash", ["5e3f", 5], ids=["clean", "odd"])
def test_flags_that_are_written_out(text: str, user_hash: object) -> None:
    """In capitals or not, whether another field of the row is odd or not."""
    [row] = page_of([exchange_row(accrued=text, user_hash=user_hash)]).records
    assert row.accrued is (text.lower() in ("true", "1"))


@pytest.mark.parametrize(
    ("envelope", "dialect"),
    [
        ({"error": 0}, Dialect.CLASSIC),
        ({"error": "0"}, Dialect.DELEGATING),
        ({"error": 0, "status": "success"}, Dialect.CLONE),
    ],
)
def test_answers_show_their_dialect(envelope: dict[str, object], dialect: Dialect) -> None:
    """Of get_info and of pages, be they clean or not."""
    info = {**envelope, "data": {"balance": 1, "min_payout": 2}}
    found = decode_info(Answer(200, {}, json.dumps(info).encode()), Reader(ACCOUNT, "x"))
    assert isinstance(found, tuple)
    assert found[1] is dialect
    for changes in ({}, {"user_hash": 5}):
        body = json.dumps({**envelope, "data": {"items": [exchange_row(**changes)]}}).encode()
        page = decode(Answer(200, {}, body), "get_exchanges")
        assert isinstance(page, Page)
        assert page.dialect is dialect


def test_unknown_status_of_a_payout_is_named() -> None:
    """The set of statuses is closed: whether money has moved is nothing to guess."""
    [row] = page_of([payout_row(id="7", status=9)], "get_payouts").unreadable
    [(path, shown)] = row.problems
    assert path == "status"
    assert shown.endswith(": 9")


def test_data_that_python_cannot_hold_is_named() -> None:
    """Strict JSON that is too deep or too long a number is an error with account and method."""
    for data in (b"9" * 5_000, b"[" * 100_000 + b"]" * 100_000):
        answer = Answer(200, {}, b'{"error":0,"data":%s}' % data)
        for method in (decode_data, decode_info):
            error = method(answer, Reader(ACCOUNT, "x"))
            assert isinstance(error, ResponseError | DecodeError)
            assert (error.account, error.method) == ("a.example", "x")


def test_odd_payout_is_read_carefully() -> None:
    """A payout with a number for a text keeps its status, and names one that nobody knows."""
    amounts = {"pay_amount": "1", "original_amount": "1"}
    row = {"id": 5, "time": 1_700_000_000, "method_id": 11, "account": 4276, "status": 1} | amounts
    odd, unknown = {**row, "id": 5.0}, {**row, "status": 9}
    body = json.dumps({"error": 0, "data": {"items": [odd]}}).encode()
    page = decode(Answer(200, {}, body), "get_payouts")
    assert isinstance(page, Page)
    assert page.records[0].id == 5
    assert page.records[0].status is PayoutStatus.DONE
    assert page.records[0].account == "4276"
    [row_left] = page_of([unknown], "get_payouts").unreadable
    assert [path for path, _ in row_left.problems] == ["status"]


def test_problems_of_payout_methods_are_named() -> None:
    """What is wrong with the methods of get_info is found under their places, with the values."""
    good = {"id": 1, "title": "T", "comission": "1%", "amount": "1"}
    methods: list[object] = [good, {**good, "amount": "much"}, 5, {**good, "title": None}]
    data = {"balance": "1", "min_payout": "1", "items": methods}
    error = decode(Answer(200, {}, json.dumps({"error": 0, "data": data}).encode()), "get_info")
    assert isinstance(error, DecodeError)
    paths = [path for path, _ in error.problems]
    assert paths == ["items[1].amount", "items[2]", "items[3].title"]
    amount, number, title = [shown for _, shown in error.problems]
    assert "much" in amount
    assert "not an object: 5" in number
    assert title == "missing"


def test_problems_of_a_history_are_named() -> None:
    """A step of an exchange's history is found under its place, with its value."""
    steps = [{"time": 1, "status": "new"}, {"time": "soon", "status": "payed"}]
    row = json.dumps(exchange_row(statuses=steps)).encode()
    [odd] = unreadable_of(in_envelope(b"[%b]" % row))
    assert odd.problems == (("statuses[1].time", "not a unix time: 'soon'"),)


@pytest.mark.parametrize("method", ["get_info", "add_payout"])
def test_data_in_another_encoding_is_an_error_of_ours(method: str) -> None:
    """What is not UTF-8 in the data of a single record is told, not raised."""
    data = b'{"balance":"1","min_payout":"1","payout_id":1,"note":"\xcc\xe8"}'
    error = decode(Answer(200, {}, b'{"error":0,"data":%b}' % data), method)
    assert isinstance(error, DecodeError)
    assert error.problems == (("data", "UnicodeDecodeError"),)


@pytest.mark.parametrize("amount", [True, [1], {"amount": 1}, "NaN", "1,5"])
def test_what_is_no_amount_is_named(amount: object) -> None:
    """Money is a number or a text of one; what else comes is told with its value."""
    row = json.dumps(exchange_row(amount_give=amount)).encode()
    [odd] = unreadable_of(in_envelope(b"[%b]" % row))
    assert odd.id == 1895
    assert [path for path, _ in odd.problems] == ["amount_give"]


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_constants_of_python_are_not_json(constant: str) -> None:
    """What only Python's parser knows is refused, rather than becoming a float."""
    with pytest.raises(ValueError, match="is not JSON"):
        parse_json(b'{"amount":%b}' % constant.encode())


def test_a_page_of_bad_rows_is_not_read_to_its_end() -> None:
    """Where nothing is as it should be, ten thousand rows tell enough."""
    row = b'{"id":1895,"time":1}'
    error = decode(in_envelope(b"[%b]" % b",".join([row] * 10_300)), "get_exchanges")
    assert isinstance(error, DecodeError)
    assert error.problems[0] == ("items", "more than 10,000 rows cannot be read")
    assert ("amount_give", "missing") in error.problems
    assert len(unreadable_of(in_envelope(b"[%b]" % b",".join([row] * 600)))) == 600


def test_row_without_id_gets_its_key() -> None:
    """Clones may leave the id to the key of the object."""
    assert page_of({"77": exchange_row(id=...)}).records[0].id == 77

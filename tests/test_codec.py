"""The codec: what each recorded answer becomes, exact money, odd forms, and errors that name."""

from __future__ import annotations

import functools
import itertools
import json
import pickle
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
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
    BlockedError,
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
    RateLimitedError,
    RedirectError,
    ResponseError,
    ServerError,
    UnreadableRow,
)
from ppapi_async.protocol import (
    Answer,
    PageCodec,
    Reader,
    clean_rows,
    data_steps,
    dump_stored,
    finish,
    info_steps,
    parse_stored,
    receipt_steps,
)
from ppapi_async.protocol.converter import converter
from ppapi_async.protocol.fields import parse_json
from ppapi_async.protocol.page import Page
from ppapi_async.protocol.responses import error_code, recognise, retry_after
from ppapi_async.protocol.site_clock import SiteClock
from ppapi_async.protocol.text import may_be_altered, restore

SAMPLES = Path(__file__).parent / "samples"
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
        result = finish(info_steps(answer, reader))
        return result[0] if isinstance(result, tuple) else result
    if method == "add_payout":
        return finish(receipt_steps(answer, reader))
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
    for maker in (converter, clean_rows.decoders, clean_rows._own_decoder):
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


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (1, "Ошибка ключа REST API", AuthError),
        (2, "IP blocked", AuthError),
        (3, "Method not supported", MethodNotSupportedError),
        (3, "", MethodNotSupportedError),
        (1, "ip blocked", AuthError),
        (2, "", AuthError),
        (1, "METHOD not supported", MethodNotSupportedError),
        (1, "REST API key error", AuthError),
        (4, "Api disabled", ApiDisabledError),
        (1, "no active partner program", ApiError),
        (7, "whatever", ApiError),
    ],
)
def test_refusals_by_text_and_code(code: int, text: str, kind: type[ApiError]) -> None:
    """Texts in both languages, and codes where there is no text."""
    body = json.dumps({"error": str(code), "error_text": text}).encode()
    error = decode(Answer(200, {}, body), "get_links")
    assert type(error) is kind
    assert (error.code, error.text) == (code, text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Ошибка! На выбранную валюту запрещено выводить деньги", "method"),
        ("Error! You are unable to make a selected currency transaction", "currency"),
        ("Ошибка! Неверный кошелек", "account"),
        ("Ошибка! Недостаточно средств на Вашем счете", "balance"),
        ("Error! Your account in blacklist. Contact us", "blacklist"),
        ("Ошибка! Ваш счет в черном списке. Свяжитесь с нами", "blacklist"),
        ("no partner id", "programme"),
        ("Nein", "other"),
    ],
)
def test_reasons_of_rejected_payouts(text: str, reason: str) -> None:
    """All texts of the wire notes, in both languages."""
    body = json.dumps({"error": 1, "error_text": text}, ensure_ascii=False).encode()
    error = decode(Answer(200, {}, body), "add_payout")
    assert isinstance(error, PayoutRejected)
    assert error.reason == reason


def test_an_unusual_zero_tells_no_dialect() -> None:
    """A success that no known server writes like this is one, but shows no dialect."""
    body = json.dumps({"error": "00", "data": {"items": [exchange_row()]}}).encode()
    page = decode(Answer(200, {}, body), "get_exchanges")
    assert isinstance(page, Page)
    assert page.dialect is None
    assert len(page.records) == 1


def test_an_error_that_is_no_number_is_neither_yes_nor_no() -> None:
    """What no server writes as `error` is named, and not taken for a success or a refusal."""
    error = decode(Answer(200, {}, b'{"error":"maybe","data":[]}'), "get_exchanges")
    assert isinstance(error, DecodeError)
    assert error.problems == (("error", '"maybe"'),)


@pytest.mark.parametrize("data", [b"", b',"data":[]', b',"data":{}', b',"data":{"items":[]}'])
def test_nothing_found_in_a_large_answer(data: bytes) -> None:
    """However long the text beside it is, each way to say that there is nothing says so."""
    body = b'{"error":0,"error_text":"%b"%b}' % (b"x" * 300_000, data)
    page = decode(Answer(200, {}, body), "get_exchanges")
    assert isinstance(page, Page)
    assert page.records == []


def test_nothing_found_has_three_forms() -> None:
    """No `data`, an empty list, an empty object: all mean no rows, on success only."""
    for data in ("", ',"data":[]', ',"data":{}', ',"data":{"items":{}}', ',"data":{"items":[]}'):
        page = decode(
            Answer(200, {}, b'{"error":0,"error_text":""%s}' % data.encode()), "get_links"
        )
        assert isinstance(page, Page)
        assert page.records == []
    assert isinstance(decode(Answer(200, {}, b'{"error":4}'), "get_links"), ApiError)
    contradictory = Answer(200, {}, b'{"error":0,"status":"error","error_text":"x"}')
    assert isinstance(decode(contradictory, "get_links"), DecodeError)


@pytest.mark.parametrize(
    "data", ["null", "5", '"x"', "[1]", '{"rows":[]}', '{"items":null}', "false"]
)
def test_data_of_another_shape_is_not_empty(data: str) -> None:
    """What is neither rows nor a known form of none raises, so that no row vanishes."""
    answer = Answer(200, {}, b'{"error":0,"data":%s}' % data.encode())
    error = decode(answer, "get_links")
    assert isinstance(error, DecodeError)
    assert error.problems[0][0] == "data"


NOTICES = (
    "<br />\n<b>Warning</b>:  No key in {x}: [] in <b>/w/a.php</b> on line <b>3</b><br />\n",
    "\nNotice: Trying to access [] of {} in /w/wp-content/a.php on line 12\n",
    "PHP Deprecated:  strftime() in /w/a.php on line 7\n",
    "\ufeff",
    "\n\r\n ",
)


@pytest.mark.parametrize(
    "notices", [(n,) for n in NOTICES] + [(NOTICES[0], NOTICES[1], NOTICES[3])]
)
def test_php_noise_before_the_json(notices: tuple[str, ...]) -> None:
    """Warnings, notices and byte-order marks before the answer are taken off by their form."""
    body = "".join(notices).encode() + sample(CLASSIC, "get_links").body
    page = decode(Answer(200, {}, body), "get_links")
    assert isinstance(page, Page)
    assert len(page.records) == 3


@pytest.mark.parametrize(
    "body",
    [
        b'hello {"error":0,"error_text":""}',
        b'{"error":0,"error_text":""} trailing',
        b'{"error":0,"error_text":""}{"error":0}',
        b'{"error":0,"data":{"items":[{"id":"1","time":1',
        b'{"error_text":""}',
        b"null",
        b"[]",
        b"3",
        b"\xff\xfe",
        b"",
        b'{"error":NaN}',
    ],
)
def test_what_is_not_wholly_json_is_not_the_api(body: bytes) -> None:
    """No scan for something that looks like JSON: the whole body is the envelope, or none is."""
    error = decode(Answer(200, {}, body), "get_links")
    assert isinstance(error, ResponseError)


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind"),
    [
        (301, {"Location": "https://b.example/?api_key=KEY1KEY1KEY1"}, b"", RedirectError),
        (307, {}, b"", RedirectError),
        (403, {}, b"<html>no</html>", BlockedError),
        (503, {"CF-Mitigated": "challenge"}, b"<html></html>", BlockedError),
        (200, {}, b"<title>Just a moment...</title>", BlockedError),
        (429, {"Retry-After": "7"}, b"", RateLimitedError),
        (429, {"Retry-After": "7"}, b'{"error":0,"error_text":""}', RateLimitedError),
        (500, {}, b"<b>x</b>", ServerError),
        (500, {}, b'{"error":0,"error_text":"","data":[]}', ServerError),
        (524, {}, b"", ServerError),
        (200, {}, b"<br />\n<b>Fatal error</b>: Allowed memory size", ServerError),
        (404, {}, b"<html>nothing here</html>", ResponseError),
        (200, {}, b"<html>a shop</html>", ResponseError),
        (400, {}, b'{"error":1,"error_text":"REST API key error"}', AuthError),
    ],
)
def test_pages_that_stand_in_for_the_api(
    status: int, headers: dict[str, str], body: bytes, kind: type[PPAPIError]
) -> None:
    """Each is told by its status and its text; the key never shows."""
    error = decode(Answer(status, headers, body), "get_links")
    assert type(error) is kind
    assert "KEY1KEY1" not in str(error) + repr(error.__dict__)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert again.__dict__ == error.__dict__
    if isinstance(error, RateLimitedError):
        assert error.retry_after == 7
    if isinstance(error, RedirectError):
        assert "?" not in error.location


REFUSED = "the API refused"
WRONG_KEY = "; on 2.7 sites a wrong key says so too"


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (429, b"", "too many requests; poll less often"),
        (302, b"", "the site redirects, which is not followed; if it moved, use its new url"),
        (403, b"", "a page stands before the API; ask the site to let this address through"),
        (503, b"x", "the server failed with HTTP 503"),
        (404, b"x", "no API at this url; check the url, or the site has removed its API"),
        (200, b" ", "the answer is empty"),
        (200, b"x", "the answer is not the API's"),
        (501, b"", "HTTP 501: unknown method, or the site's API module is off"),
        (200, b'{"error":7,"error_text":"no"}', "the API refused: no (error 7)"),
        (200, b'{"error":7}', "the API refused: no reason given (error 7)"),
        (
            200,
            b'{"error":1,"error_text":"Api disabled"}',
            f"{REFUSED}: Api disabled (error 1); off or in maintenance{WRONG_KEY}",
        ),
        (
            200,
            b'{"error":3}',
            f"{REFUSED}: no reason given (error 3); ask the site to enable the method for this key",
        ),
        (
            200,
            b'{"error":2}',
            f"{REFUSED}: no reason given (error 2); check the key and its list of addresses",
        ),
    ],
)
def test_errors_say_what_to_do(status: int, body: bytes, words: str) -> None:
    """Each in one sentence, which names the site and the method before it."""
    error = decode(Answer(status, {}, body), "get_links")
    assert isinstance(error, PPAPIError)
    assert error.message == words
    assert str(error).startswith(f"a.example: get_links: {words}")


def test_a_refused_payout_is_told_in_the_words_of_the_site() -> None:
    """There is nothing to add to them."""
    error = decode(Answer(200, {}, b'{"error":1,"error_text":"blacklist"}'), "add_payout")
    assert isinstance(error, PayoutRejected)
    assert error.message == "the API refused: blacklist (error 1)"


def test_altered_text_beside_no_rows() -> None:
    """Signs of altered text may stand where no row is."""
    page = decode(Answer(200, {}, b'{"error":0,"error_text":"a &amp; b"}'), "get_links")
    assert isinstance(page, Page)
    assert page.records == []


def test_problems_are_listed_in_the_message() -> None:
    """The first five, each with its place and value."""
    method = {"id": 1, "title": "T", "amount": 1}
    methods = [{**method, "comission": f"{n}x"} for n in range(6)]
    data = {"balance": 1, "min_payout": 1, "items": methods}
    error = decode(Answer(200, {}, json.dumps({"error": 0, "data": data}).encode()), "get_info")
    assert isinstance(error, DecodeError)
    listed = (f"items[{n}].comission = not an amount: '{n}x'" for n in range(5))
    assert error.message == f"the answer is not what the API promises: {'; '.join(listed)}"
    assert len(error.problems) == 6


def test_retry_after_in_both_forms() -> None:
    """Seconds, and an HTTP date against the server's own clock."""
    date = "Tue, 24 Nov 2026 00:00:10 GMT"
    assert retry_after({"Retry-After": "120"}) == 120
    assert retry_after({"Retry-After": date, "Date": "Tue, 24 Nov 2026 00:00:00 GMT"}) == 10
    assert retry_after({"Retry-After": date}, datetime(2026, 11, 25, tzinfo=UTC)) == 0
    assert retry_after({"Retry-After": "Tue, 24 Nov 1970 00:00:10 -0000"}) == 0
    for odd in ("soon", "-5", "1e3", "nan", "inf", "7,5", "1.5.5", "\u0667", ""):
        assert retry_after({"Retry-After": odd}) is None
    assert retry_after({}) is None
    assert [retry_after({"Retry-After": text}) for text in ("7.5", "0.25", "3.", ".5")] == [
        *(7.5, 0.25, 3, 0.5)
    ]


def test_retry_after_at_its_edges() -> None:
    """White space, too many digits, clocks that name no zone, and no clock at all."""
    assert retry_after({"Retry-After": " 7 "}) == 7
    assert retry_after({"Retry-After": "86399"}) == 86_399
    assert retry_after({"Retry-After": "9" * 9}) == 86_400  # a day at the most
    naive, aware = "Tue, 24 Nov 2026 00:00:10 -0000", "Tue, 24 Nov 2026 00:00:00 GMT"
    assert retry_after({"Retry-After": naive, "Date": aware}) == 10
    assert retry_after({"Retry-After": aware, "Date": naive.replace(":10", ":00")}) == 0
    assert retry_after({"Retry-After": naive, "Date": naive.replace(":10", ":00")}) == 10
    assert retry_after({"Retry-After": aware, "Date": "Tue, 24 Nov 2026 02:59:58 +0300"}) == 2
    without: list[dict[str, str]] = [{}, {"Date": "now"}]
    for date in without:
        soon = datetime.now(UTC) + timedelta(hours=1)
        seconds = retry_after({"Retry-After": format_datetime(soon, usegmt=True), **date})
        assert seconds is not None
        assert 3_500 < seconds <= 3_600


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        *(("0", 0), ('"0"', 0), ("3", 3), ('"12"', 12), ("9" * 9, 999_999_999)),
        *(("9" * 10, -1), ("-1", -1), ("1.0", -1), ('""', -1), ("null", -1), ('"x"', -1)),
    ],
)
def test_codes_of_envelopes(raw: str, code: int) -> None:
    """A number or a string of digits, of a length that a code may have."""
    assert error_code(raw.encode()) == code


@pytest.mark.parametrize(
    ("error", "status", "dialect"),
    [
        (b"0", None, Dialect.CLASSIC),
        (b'"0"', None, Dialect.DELEGATING),
        (b"0", "success", Dialect.CLONE),
        (b'"0"', "", Dialect.CLONE),
        (b"1", None, None),
        (b'"1"', "success", None),
    ],
)
def test_dialects_by_their_envelopes(
    error: bytes, status: str | None, dialect: Dialect | None
) -> None:
    """Only a success tells who wrote it."""
    assert recognise(error, status) is dialect


@pytest.mark.parametrize("method", ["get_links", "add_payout"])
def test_statuses_with_which_a_refusal_is_believed(method: str) -> None:
    """200 always; 4xx not of a payout, and not what a gateway says for itself; others never."""
    body = b'{"error":1,"error_text":"REST API key error"}'
    answers = {status: decode(Answer(status, {}, body), method) for status in range(199, 600)}
    believed = {status for status, error in answers.items() if isinstance(error, AuthError)}
    others = set(range(400, 500)) - {408, 429} if method == "get_links" else set()
    assert believed == {200} | others
    success = b'{"error":0,"error_text":"","data":[]}'
    pages = {
        status
        for status in (199, 200, 201, 299, 400, 404, 499, 500)
        if isinstance(decode(Answer(status, {}, success), "get_links"), Page)
    }
    assert pages == {200}


def test_clipped_text() -> None:
    """On one line, redacted before it is cut, and marked where it was."""
    reader = Reader(ACCOUNT, "get_links")
    assert reader.clip(" a\n b\t") == "a b"
    assert reader.clip("x" * 200) == "x" * 200
    assert reader.clip("x" * 201) == "x" * 200 + "…"
    assert reader.clip("abc", 3) == "abc"
    assert reader.clip("abcd", 3) == "abc…"
    assert "KEY1" not in reader.clip("x" * 195 + "KEY1KEY1KEY1")


@pytest.mark.parametrize("spelled", ["KEY1KEY1KEY1", "%4b%45%591KEY1KEY1", "&#75;EY1KEY1KEY1"])
def test_a_text_is_cut_before_it_is_redacted(spelled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty megabytes of beginnings of the key held the loop for eleven seconds at every poll."""
    seen = list[int]()
    redact = Account.redact

    def note(account: Account, text: str) -> str:
        seen.append(len(text))
        return redact(account, text)

    monkeypatch.setattr(Account, "redact", note)
    reader = Reader(ACCOUNT, "get_links")
    for before in range(150, 215):
        shown = reader.clip("x" * before + spelled + "y" * 10**6)
        assert not any(spelled[at : at + 8] in shown for at in range(len(spelled) - 7))
        assert not any(part in shown for part in ("KEY1", "EY1K", "Y1KE", "1KEY"))
    assert max(seen) < 1_000


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("a\u202eb\u2066c\u200fd", "a\\u202eb\\u2066c\\u200fd"),
        ("a\x9bb\x7fc\x00d", "a\\x9bb\\x7fc\\x00d"),
        ("a\u2028b\x85c\r\nd", "a b c d"),
        ("Ошибка ключа", "Ошибка ключа"),
    ],
)
def test_what_is_shown_steers_no_terminal(text: str, shown: str) -> None:
    """Errors and logs end in terminals: escapes and marks of direction are written out."""
    reader = Reader(ACCOUNT, "get_links")
    assert reader.clip(text) == shown
    assert reader.clip("a\ud800b") == "a\\ud800b"
    body = json.dumps({"error": 1, "error_text": text}).encode()
    error = decode(Answer(200, {}, body), "get_links")
    assert isinstance(error, ApiError)
    assert error.text == shown
    page = decode(Answer(500, {"Server": text}, text.encode("utf-8", "replace")), "get_links")
    assert isinstance(page, ResponseError)
    for part in (str(page), page.excerpt, *page.headers.values()):
        assert not set(part) & set("\x1b\x07\x9b\x7f\x00\u202e\u2066\u200f\u2028\x85\r\n")


def test_rows_that_are_too_long_are_unreadable() -> None:
    """A row of 300,000 keys held the loop for half a second; others beside it come."""
    long = exchange_row(id="7") | {f"k{n}": n for n in range(6_000)}
    texts = exchange_row(id="8", user_hash="x" * 70_000)
    for rows in ([long, exchange_row()], [texts, exchange_row()], [exchange_row(), texts] * 5):
        page = page_of(rows)
        assert {row.id for row in page.records} == {1895}
        assert {row.id for row in page.unreadable} == {7 if rows[0] is long else 8}
        assert all("a row of" in row.problems[0][1] for row in page.unreadable)
        assert all(row.time is not None for row in page.unreadable)


@pytest.mark.parametrize(
    "amount",
    [
        "9" * 61,
        "0." + "1" * 61,
        "1e61",
        "1e-61",
        "-1e999999",
        "1e999999999",
        "0e-999999",
        "9" * 100_000,
        "9" * 300,
        "1" + "0" * 61,
    ],
)
@pytest.mark.parametrize("name", ["amount_give", "course_get"])
def test_amounts_have_sixty_digits_at_the_most(name: str, amount: str) -> None:
    """Whoever calculates with a million digits, or formats 1e999999999, would be stopped by it."""
    for count in (1, 300):
        rows = [exchange_row(id=str(n)) for n in range(count)]
        rows.append(exchange_row(**{"id": "999", name: amount}))
        page = page_of(rows)
        assert len(page.records) == count
        assert [row.id for row in page.unreadable] == [999]
    good = exchange_row(**{"id": "5", name: "9" * 30 + "." + "9" * 30})
    assert page_of([good]).unreadable == []


def test_lists_within_records_have_an_end() -> None:
    """1.3 million steps of a status history took seconds; a million methods 1.3 GB."""
    steps = [{"time": 1, "status": "a", "date": ""}] * 1_001
    for rows in ([exchange_row(statuses=steps)], [exchange_row(accrued="true", statuses=steps)]):
        page = page_of(rows)
        assert [row.problems for row in page.unreadable] == [
            (("statuses", "more than 1,000 entries: a list of 1,001 entries"),)
        ]
    data = {"balance": 1, "min_payout": 1, "items": [1] * 400_000}
    error = decode(Answer(200, {}, json.dumps({"error": 0, "data": data}).encode()), "get_info")
    assert isinstance(error, DecodeError)
    assert error.problems == (("items", "more than 1,000 entries: a list of 400,000 entries"),)


def test_what_cannot_be_rows_is_not_split() -> None:
    """Two megabytes of `1,1,1,…` are a million objects once they are split."""
    for items in (b"1," * 400_000 + b"1", b"{}," * 400_000 + b"{}"):
        error = decode(in_envelope(b"[%b]" % items), "get_exchanges")
        assert isinstance(error, DecodeError)
        assert error.problems == (("data", "a list of what cannot be rows"),)


def test_a_refusal_of_any_length_is_told_in_short() -> None:
    """Its text is decoded as far as it is shown, wherever that is cut."""
    for unit in ("Ошибка ", "\\u041e", "\\ud83d\\ude00", '\\"', "é"):
        text = json.dumps("x")[1:-1] + unit * 5_000
        body = b'{"error":1,"error_text":"%b"}' % text.encode()
        error = decode(Answer(200, {}, body), "get_links")
        assert isinstance(error, ApiError)
        assert len(error.text) == 501
        assert error.text.startswith(json.loads(f'"{text[:61]}"'[:-1].rstrip("\\") + '"')[:5])
    code = decode(Answer(200, {}, b'{"error":"%b","error_text":""}' % (b"1" * 10**6)), "get_links")
    assert isinstance(code, DecodeError)


def test_a_payout_is_not_refused_by_an_empty_501() -> None:
    """It may come from what stands between: whoever believes it may pay twice."""
    assert not isinstance(decode(Answer(501, {}, b""), "add_payout"), ApiError)


PAGES: list[tuple[int, bytes, type[ResponseError], str]] = [
    (300, b"", RedirectError, "redirects"),
    (301, b"", RedirectError, "redirects"),
    (399, b"", RedirectError, "redirects"),
    (401, b"x", BlockedError, "let this address through"),
    (403, b"x", BlockedError, "let this address through"),
    (451, b"x", BlockedError, "let this address through"),
    (404, b"x", ResponseError, "no API at this url"),
    (400, b"x", ResponseError, "the answer is not the API's"),
    (299, b"x", ResponseError, "the answer is not the API's"),
    (200, b" \n", ResponseError, "the answer is empty"),
    (429, b"x", RateLimitedError, "poll less often"),
    (500, b"x", ServerError, "HTTP 500"),
    (501, b"x", ServerError, "HTTP 501"),
    (200, b"parse ERROR", ServerError, "HTTP 200"),
    (200, b"x" * 4_090 + b"critical error", ResponseError, "the answer is not the API's"),
    (200, b"x" * 4_082 + b"critical error", ServerError, "HTTP 200"),
]


@pytest.mark.parametrize(("status", "body", "kind", "told"), PAGES)
def test_what_pages_are_told_as(
    status: int, body: bytes, kind: type[ResponseError], told: str
) -> None:
    """The error says who asked what, who answered and how the page begins."""
    headers = {"Server": "nginx KEY1KEY1KEY1", "X-Other": "1", "Location": "/a?b=1?c"}
    error = decode(Answer(status, headers, body), "get_links")
    assert type(error) is kind
    assert isinstance(error, ResponseError)
    assert told in error.message
    assert (error.account, error.method, error.status) == ("a.example", "get_links", status)
    assert error.headers.keys() == {"Server", "Location"}
    assert error.headers["Server"].startswith("nginx ")
    assert "KEY1" not in error.headers["Server"]
    assert error.headers["Location"] == "/a"
    assert error.excerpt == Reader(ACCOUNT, "").clip(body.decode())


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('{"error":0,"status":"fail KEY1KEY1KEY1"}', "status"),
        ('{"error":"x KEY1KEY1KEY1"}', "error"),
        ('{"error":-1,"status":"fail"}', "error"),
        ('{"error":0,"status":""}', "status"),
        ('{"error":0,"status":"fail %s"}' % ("x" * 60), "status"),
    ],
)
def test_neither_yes_nor_no(body: str, problem: str) -> None:
    """What an envelope says is named where it is no code and no status that is known."""
    error = decode(Answer(200, {}, body.encode()), "get_links")
    assert isinstance(error, DecodeError)
    assert (error.account, error.method) == ("a.example", "get_links")
    [(name, value)] = error.problems
    assert name == problem
    assert f"envelope's {problem} is {value!r}" in error.message
    assert "KEY1" not in value
    assert value == "" or value.startswith(("-1", "fail ", '"x '))
    assert len(value) == (51 if "xxx" in body else len(value))


@pytest.mark.parametrize(
    ("code", "text", "method", "kind", "advice"),
    [
        (1, "", "get_info", ApiError, "no reason given (error 1)"),
        (1, "Ouch", "get_info", ApiError, "the API refused: Ouch (error 1)"),
        (2, "Ouch", "add_payout", AuthError, "Ouch (error 2); check the key"),
        (3, "Ouch", "add_payout", MethodNotSupportedError, "ask the site to enable the method"),
        (1, "API DISABLED", "add_payout", ApiDisabledError, "off or in maintenance"),
        (1, "Ouch", "add_payout", PayoutRejected, "Ouch (error 1)"),
        (1, "x" * 501, "get_info", ApiError, "x" * 500 + "… (error 1)"),
    ],
)
def test_what_refusals_are_told_as(
    code: int, text: str, method: str, kind: type[ApiError], advice: str
) -> None:
    """The text of the site, the code, and what to do about it."""
    body = json.dumps({"error": code, "error_text": text or None}).encode()
    error = decode(Answer(200, {}, body), method)
    assert type(error) is kind
    assert isinstance(error, ApiError)
    assert advice in error.message
    assert not error.message.endswith("; ")
    assert (error.account, error.method, error.code) == ("a.example", method, code)


def test_an_empty_501_is_a_refusal() -> None:
    """It is how classic says that there is no such method; white space is empty, too."""
    error = decode(Answer(501, {}, b" \n"), "get_links")
    assert type(error) is MethodNotSupportedError
    assert (error.account, error.method, error.code) == ("a.example", "get_links", 501)
    assert "API module is off" in error.message


ALTERED = ("&", "\u0430", "\u0440", "\u0501", "\u04cf", r"\u0430", r"\u0501", r"\u0026")
UNALTERED = ("plain", "\u00e9", r"\n", r"\u0041", "u0430", "\u6f22", r"a\b u0430")


@pytest.mark.parametrize("text", ALTERED + UNALTERED)
def test_bodies_that_may_be_altered(text: str) -> None:
    """Entities and Cyrillic, as they are or as escapes; one of two signs is not enough."""
    assert may_be_altered(text.encode()) == (text in ALTERED)


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


def payout_row(**changes: object) -> dict[str, object]:
    """Return a payout as classic sends it, with changes."""
    items = json.loads(sample(CLASSIC, "get_payouts").body)["data"]["items"]
    return {**next(iter(items.values())), **changes}


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
    found = finish(info_steps(Answer(200, {}, json.dumps(info).encode()), Reader(ACCOUNT, "x")))
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
        for steps in (data_steps, info_steps):
            error = finish(steps(answer, Reader(ACCOUNT, "x")))
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


@pytest.mark.parametrize(("bad", "told"), [(19, 19), (20, 20), (250, 20)])
def test_twenty_problems_are_enough(bad: int, told: int) -> None:
    """Of one record; the message has the first five."""
    methods = [{"id": 1, "title": "T", "amount": 1, "comission": "x"}] * bad
    data = {"balance": 1, "min_payout": 1, "items": methods}
    error = decode(Answer(200, {}, json.dumps({"error": 0, "data": data}).encode()), "get_info")
    assert isinstance(error, DecodeError)
    assert len(error.problems) == told
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
    assert sum(1 for _ in codec.steps(Answer(200, {}, body))) == 8
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
    data = finish(data_steps(Answer(200, {}, b'{"error":0,"data":{"a":0.1}}'), reader))
    assert data == {"a": Decimal("0.1")}
    assert finish(data_steps(Answer(200, {}, b'{"error":0}'), reader)) is None
    # Python 3.11 goes 1,000 levels deep, later ones go deeper in C; none this deep.
    huge = b'{"error":0,"data":%s1%s}' % (b"[" * 200_000, b"]" * 200_000)
    assert isinstance(
        finish(data_steps(Answer(200, {}, huge), reader)), DecodeError | ResponseError
    )


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

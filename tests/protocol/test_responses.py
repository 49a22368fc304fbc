"""Answers: the API's envelope, or a page in its place, and the errors that they become."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from ppapi_async import (
    Account,
    ApiDisabledError,
    ApiError,
    AuthError,
    BlockedError,
    DecodeError,
    Dialect,
    MethodNotSupportedError,
    PayoutRejected,
    PPAPIError,
    RateLimitedError,
    RedirectError,
    ResponseError,
    ServerError,
)
from ppapi_async.protocol import (
    Answer,
    Reader,
)
from ppapi_async.protocol.page import Page
from ppapi_async.protocol.responses import error_code, recognise, retry_after
from ppapi_async.protocol.text import may_be_altered
from tests.protocol.test_codec import (
    ACCOUNT,
    CLASSIC,
    decode,
    exchange_row,
    in_envelope,
    page_of,
    sample,
)


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

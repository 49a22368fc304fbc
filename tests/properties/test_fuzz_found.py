"""What the fuzzers have found, each by its own name."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import (
    Iterator,
)
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

import pytest

from ppapi_async import (
    Account,
    ApiError,
    DecodeError,
    Exchange,
    Link,
    PayoutReceipt,
)
from ppapi_async.protocol import (
    Answer,
    Reader,
    decode_data,
    decode_receipt,
    dump_stored,
    finish,
    parse_stored,
)
from ppapi_async.protocol.evidence import Evidence
from ppapi_async.protocol.page import Page
from ppapi_async.protocol.responses import retry_after, strip_noise
from ppapi_async.streaming.counting import Query
from ppapi_async.streaming.state import HandedOut
from ppapi_async.streaming.window_reader import WindowRead
from tests.leaks import assert_absent
from tests.properties.test_fuzz import (
    ACCOUNT,
    _watched,  # noqa: F401 - a fixture of all
    begin,
    codec_of,
)
from tests.sites.raw import KEY, NOW, Reply, Script, Seen, http, served
from tests.sites.simulated import Mark, Site
from tests.sites.simulated import Reader as Simulation


def site_script(site: Site) -> Script:
    """Return a script that answers get_exchanges as a 2.7 server with these rows does."""

    def answer(seen: Seen) -> Reply:
        form = {name: int(value) for name, value in parse_qsl(seen.body.decode())}
        asked = Query(form.get("start_time"), form.get("end_time"), form.get("offset", 0))
        rows = [
            {
                "id": str(row.id),
                "time": int(row.time.timestamp()),
                **dict.fromkeys(("amount_give", "amount_get", "partner_reward"), "1"),
                **dict.fromkeys(("exchange_success", "accrued"), 1),
            }
            for row in site.answer(asked).records
        ]
        data = {"items": rows} if rows else []
        return http(200, json.dumps({"error": "0", "error_text": "", "data": data}))

    return answer


DELEGATING_INFO = '{"error":"0","error_text":"","data":{"balance":"1","min_payout":"1","items":[]}}'


async def test_newest_row_is_not_told_twice_where_it_is_old() -> None:
    """The look for what moved meanwhile began at the newest row, and told it again if it was old.

    That look is read in windows; those that ended more than a day ago were not taken for ones that
    may repeat rows. Found by `test_order_is_by_time`, with ten times the rows.
    """
    site = Site({i: NOW - 30 * 86_400 - i * 600 for i in range(1_800)}, cap=100, now=NOW)
    async with served(get_exchanges=site_script(site)) as (server, session, _):
        server.script["get_info"] = lambda _: http(200, DELEGATING_INFO)
        ids = [row.id async for row in session.iter_exchanges(None, None)]
    assert sorted(ids) == list(range(1_800))


def read_all(site: Site, now: int, **more: int) -> list[int]:
    """Return the ids that a plan brings of a 2.7 server with pages of two rows."""
    evidence = Evidence(capped=True, promises_falling=True)
    reader = Simulation(site, evidence, now=now, most_requests=500)
    reader.plan.jump = more.get("jump", 0)
    return [row.id for row in reader.run()]


def test_rows_without_a_date_do_not_make_a_stream_ask_for_ever() -> None:
    """More than a page of rows at second 1 or before it was looked for further and further back.

    Sites have such rows where a date is missing. Nothing can be asked for before second 1.
    """
    site = Site({i: 5_000 * i for i in range(-20, 30)}, cap=2, now=10_000_000)
    assert sorted(read_all(site, 10_000_000)) == list(range(-20, 30))


def test_rows_that_stand_twice_where_a_window_is_cut_are_forgotten_once() -> None:
    """Raised KeyError where a window was left in a second with a row that the answer had twice."""
    evidence = Evidence(capped=True, page=8, promises_falling=True)
    read = WindowRead[Mark](evidence, 1, 99)
    seconds = [(7, 60), (6, 50), (5, 40), (4, 30), (3, 9), (2, 5), (1, 5), (1, 5)]
    walls = [datetime.fromtimestamp(second, UTC) for _, second in seconds]
    read.feed(Page([Mark(i, w) for (i, _), w in zip(seconds, walls, strict=True)], walls))
    assert read.rest == (1, 5)
    read.stop()
    assert sorted(read.rows) == [3, 4, 5, 6, 7]


@pytest.mark.untraced
async def test_a_row_that_moves_past_newer_windows_is_told_once() -> None:
    """From new to old with windows read at once: told at its new place, and at its old one, too.

    The newest window fails at first, and is read after the older ones.
    """
    twice = []
    for number in range(2, 12):
        rows = {i: NOW - 86_400 * i for i in range(40)}
        site = Site(rows, cap=4, moves=[(number, 5), (number, 9), (number, 12)], now=NOW)
        answer, failures = site_script(site), iter(range(3))

        def script(seen: Seen, answer: Script = answer, left: Iterator[int] = failures) -> Reply:
            late = b"end_time" not in seen.body and next(left, None) is not None
            return http(503, "") if late else answer(seen)

        async with served(get_exchanges=script) as (server, session, _):
            server.script["get_info"] = lambda _: http(200, DELEGATING_INFO)
            stream = session.iter_exchanges(
                NOW - 60 * 86_400, None, newest_first=True, window=timedelta(days=4), concurrency=6
            )
            ids = [row.id async for row in stream]
        twice += [row_id for row_id in ids if ids.count(row_id) > 1]
        assert set(ids) == set(rows)
    assert not twice


def test_a_row_dated_far_ahead_does_not_hide_rows_that_move() -> None:
    """The look for what moved meanwhile began at the newest row, even if that is of next year."""
    rows = {1: 1, 2: 10_000_000 + 400 * 86_400, 3: 1}
    site = Site(rows, cap=2, moves=[(2, 3)], now=10_000_000)
    assert sorted(read_all(site, 10_000_000)) == [1, 2, 3]


def test_rows_that_move_in_the_hour_that_comes_twice_are_met() -> None:
    """When the site's clock is set back, the present lies behind the newest row."""
    site = Site({1: 1, 2: 10_000_000, 3: 1}, cap=2, moves=[(2, 3)], now=10_000_000 - 3_000)
    assert sorted(read_all(site, 10_000_000, jump=3_600)) == [1, 2, 3]


def row_with(name: str, literal: str) -> Answer:
    """Return a page of two exchanges, in the first of which a field has this JSON."""
    known = {"id": "5", "time": "1759900000", "exchange_success": "1", "accrued": "1"}
    known |= dict.fromkeys(("amount_give", "amount_get", "partner_reward"), '"1"')
    odd, good = (
        ",".join(f'"{key}":{value}' for key, value in (known | changes).items())
        for changes in ({name: literal}, {"id": "6"})
    )
    items = f"[{{{odd}}},{{{good}}}]"
    return Answer(200, {}, f'{{"error":0,"error_text":"","data":{{"items":{items}}}}}'.encode())


@pytest.mark.parametrize("literal", ["1e999999999", "-1e999999999", "1e99999999999999999999"])
@pytest.mark.parametrize("name", ["id", "time"])
def test_numbers_with_huge_exponents_are_not_written_out(name: str, literal: str) -> None:
    """An id of 1e999999999 became an int with a billion digits, which takes minutes."""
    begin()
    page = codec_of("get_exchanges").decode(row_with(name, literal))
    assert isinstance(page, Page)
    assert [getattr(row, name) for row in page.unreadable] == [None]


@pytest.mark.parametrize("literal", ["1e99999999999999999999", "9" * 5_000])
def test_numbers_that_python_cannot_read_are_an_error(literal: str) -> None:
    """Raised InvalidOperation or ValueError where they stand under a key that we do not know."""
    answer = row_with("x", literal)
    page = codec_of("get_exchanges").decode(answer)
    assert isinstance(page, Page)
    assert [row.id for row in page.unreadable] == [5]
    assert isinstance(decode_data(answer, Reader(ACCOUNT, "test")), DecodeError)


@pytest.mark.parametrize("literal", [str(2**63), f'"{2**63}"', f"-{2**63 + 1}"])
def test_ids_have_64_bits(literal: str) -> None:
    """What keeps the ids of rows raised OverflowError on larger ones, in the middle of a stream."""
    page = codec_of("get_exchanges").decode(row_with("id", literal))
    assert isinstance(page, Page)
    assert [row.id for row in page.unreadable] == [None]
    page = codec_of("get_exchanges").decode(row_with("id", str(2**63 - 1)))
    assert isinstance(page, Page)
    assert page.records[0].id == 2**63 - 1


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Europe/Moscow"])
@pytest.mark.parametrize(
    ("literal", "year"),
    [
        ("253402300799", 9999),
        ("253402300800", 9999),
        ("9000000000000000000", 9999),
        ("-62169984000", 1),
        ('"-62169984000"', 1),
        ("-62135596800", 1),
    ],
)
def test_dates_that_no_datetime_holds_are_the_first_or_the_last(
    literal: str, year: int, zone: str
) -> None:
    """A date left empty, and 9999 with a zone: the row is read, on pages of any size."""
    answer = row_with("time", literal)
    codec = codec_of("get_exchanges", zone)
    for page in (codec.decode(answer), finish(codec._slices(answer))):
        assert isinstance(page, Page)
        assert page.unreadable == []
        assert abs(page.records[0].time.year - year) <= 1
        stored = parse_stored(dump_stored(page.records[0]), Exchange)
        assert stored == page.records[0]


def test_keys_of_one_row_in_place_of_others_are_kept() -> None:
    """A row that lacks a key that others have, and has one of its own, lost that one.

    So did a row whose other key was made up for by a colon in a text of the first row.
    """
    first = {"id": 1, "time": 1, "date": "", "referrer": "https://a.example"}
    for second in (
        {"id": 2, "time": 1, "date": "", "mark": 7},
        {**first, "referrer": "", "mark": 7},
    ):
        body = json.dumps({"error": 0, "data": {"items": [first, second]}}, separators=(",", ":"))
        for page in (
            codec_of("get_links").decode(Answer(200, {}, body.encode())),
            finish(codec_of("get_links")._slices(Answer(200, {}, body.encode()))),
        ):
            assert isinstance(page, Page)
            assert page.records[1].extra == {"mark": 7}


@pytest.mark.parametrize("text", ["false", "null", "[]", "0", "{}", '""'])
def test_an_error_text_of_another_type_does_not_hide_the_answer(text: str) -> None:
    """`"error_text":false` made a receipt an outcome unknown, and a refusal a page."""
    paid = Answer(200, {}, f'{{"error":0,"error_text":{text},"data":{{"payout_id":"7"}}}}'.encode())
    receipt = decode_receipt(paid, Reader(ACCOUNT, "add_payout"))
    assert isinstance(receipt, PayoutReceipt)
    refused = Answer(200, {}, f'{{"error":1,"error_text":{text}}}'.encode())
    assert isinstance(decode_receipt(refused, Reader(ACCOUNT, "add_payout")), ApiError)


@pytest.mark.parametrize(
    "wait",
    [
        "\u00b2",
        "Mon, 1 Jan 2024 0:0:0 +99999999999999999999",
        "Mon, 1 Jan 99999999999999999999 0:0:0",
    ],
)
def test_waits_that_are_none_are_none(wait: str) -> None:
    """A Retry-After or a Date of these raised ValueError or OverflowError in place of HTTP 429."""
    assert retry_after({"Retry-After": wait}) is None
    assert retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT", "Date": wait}) == 0


@pytest.mark.parametrize(
    "end", ["%2525252", "&amp;amp;#00000", "&amp;amp;am", "\\\\\\u006", "&#x00000"]
)
def test_a_key_that_breaks_off_within_a_long_spelling_is_redacted(end: str) -> None:
    """The text ended within a character that was escaped several times, and told the rest."""
    assert ACCOUNT.redact(f"a {KEY[:20]}{end}") == "a ***"


SLOW_TEXTS = {
    "most of a key, piled up": (KEY[:-1] + "%25" * 500 + KEY, "***" + "%25" * 500 + "***"),
    "its beginning, percent-encoded": ("%41%62%33%64" * 30_000 + "~", None),
    "its beginning, in entities": ("&#65;&#98;&#51;&#100;&amp;" * 20_000 + "~", None),
}


@pytest.mark.untraced
@pytest.mark.parametrize("name", SLOW_TEXTS)
def test_no_text_holds_redaction_up(name: str) -> None:
    """The first took for ever, the second minutes: the rest was gone through for each beginning."""
    begin()
    text, expected = SLOW_TEXTS[name]
    assert ACCOUNT.redact(text) == (text if expected is None else expected)


def test_no_text_holds_the_search_for_json_up() -> None:
    """White space behind a notice was gone through again for each of its characters: hours."""
    begin()
    notice = b"Notice: x in y on line 7\n"
    assert strip_noise(notice + b" " * 400_000 + b"x") == b"x"


def test_marks_and_notices_in_turns_are_no_recursion_error() -> None:
    """Each notice behind a byte-order mark took a level of recursion."""
    noise = b"\xef\xbb\xbfNotice: x in y on line 7\n" * 5_000
    assert strip_noise(noise + b'{"error":0}') == b'{"error":0}'
    page = codec_of("get_links").decode(Answer(200, {}, noise + b'{"error":0}'))
    assert isinstance(page, Page)


def test_stored_text_that_is_nested_deeply_is_a_value_error() -> None:
    """Raised RecursionError."""
    with pytest.raises(ValueError, match="not a stored Link"):
        parse_stored('{"x":' + "[" * 5_000 + "]" * 5_000 + "}", Link)


def _packed(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode())).decode()


@pytest.mark.parametrize("packed_ids", ["", "a", "AAAA", _packed("1 x"), _packed(str(2**64))])
def test_a_position_whose_ids_are_damaged_is_a_value_error(packed_ids: str) -> None:
    """Raised zlib.error or OverflowError, from within a stream."""
    with pytest.raises(ValueError, match="checkpoint: is damaged"):
        HandedOut().unpack([packed_ids])


def test_a_link_without_a_key_is_not_kept_by_its_error() -> None:
    """The frame of the ValueError held the link, which may be the key and nothing else."""
    with pytest.raises(ValueError, match="no api_key") as caught:
        Account.from_link(KEY)
    assert_absent(KEY, caught.value)


@pytest.mark.parametrize("name", ["\ud800", f"{KEY}\udfff"])
def test_names_that_cannot_be_written_are_refused(name: str) -> None:
    """Half a character in a name failed later, where the account's state is looked up."""
    with pytest.raises(ValueError, match="name") as caught:
        Account("https://site.example", KEY, name=name)
    assert_absent(KEY, caught.value)

"""Keys that a site adds of its own: none is lost, and they are read as fast as the rows are."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC
from decimal import Decimal
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppapi_async import Account, DecodeError, Exchange, Link, Payout
from ppapi_async.models import NO_EXTRA, Row
from ppapi_async.protocol import Answer, PageCodec, Reader, clean_rows, decode_info, finish
from ppapi_async.protocol.converter import converter
from ppapi_async.protocol.fields import KNOWN_KEYS
from ppapi_async.protocol.page import Page
from ppapi_async.protocol.site_clock import SiteClock

KNOWN = {
    Link: {"id": "7", "time": 1_700_000_000, "date": "2023-11-14 22:13:20", "browser": "Chrome"},
    Exchange: {
        "id": "7",
        "time": 1_700_000_000,
        "date": "2023-11-14 22:13:20",
        "currency_code_give": "BTC",
        "currency_code_get": "USDT",
        "amount_give": "1.5",
        "amount_get": "2",
        "exchange_success": 1,
        "accrued": 0,
        "partner_reward": "0",
        "user_hash": "5e3f",
    },
    Payout: {
        "id": "7",
        "time": 1_700_000_000,
        "method_id": "11",
        "account": "TX1",
        "pay_amount": "1",
        "original_amount": "1",
        "status": "0",
    },
}
ACCOUNT = Account("https://a.example", "k")
OWN = {"site_note": "a:b", "rate": 97.25, "place": 7}
RowJson = dict[str, object]


def row_of(record: type[Row], row_id: int = 7, **more: object) -> RowJson:
    """Return a clean row with keys of the site's own."""
    return {**KNOWN[record], "id": str(row_id), **more}


def codec_of(record: type[Row]) -> PageCodec[Row]:
    """Return a codec that has seen nothing yet."""
    return PageCodec(record, SiteClock(UTC), Reader(ACCOUNT, "get_x"))


def written(rows: Sequence[RowJson], *, keyed: bool = False) -> bytes:
    """Return the answer with these rows."""
    items: object = {row["id"]: row for row in rows} if keyed else rows
    data = {"error": 0, "error_text": "", "data": {"items": items}}
    return json.dumps(data, separators=(",", ":"), default=str).encode()


def page_of(codec: PageCodec[Row], body: bytes) -> Page[Row]:
    """Decode a body in which each row can be read."""
    page = codec.decode(Answer(200, {}, body))
    assert isinstance(page, Page), page
    assert page.unreadable == []
    return page


def extras_in(body: bytes, record: type[Row]) -> list[RowJson]:
    """Return what is beside the known keys in each row, read by nothing of ours."""
    items = json.loads(body, parse_float=Decimal)["data"]["items"]
    rows = items.values() if isinstance(items, dict) else items
    known = KNOWN_KEYS[record]
    return [{key: one for key, one in row.items() if key not in known} for row in rows]


def no_more(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a way of decoding fail from now on."""
    monkeypatch.setattr(PageCodec, name, Mock(side_effect=AssertionError(name)))


@pytest.mark.parametrize("record", KNOWN)
@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("own", [{"note": "x"}, OWN, {"a": [1.5, {"b": {"c": "1"}}], "d": None}])
def test_keys_in_every_row_are_read_with_the_page(
    record: type[Row], keyed: bool, own: RowJson, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first page is not even split: its first row shows what to look for."""
    no_more("_slices", monkeypatch)
    body = written([row_of(record, n, **own) for n in range(400)], keyed=keyed)
    page = page_of(codec_of(record), body)
    assert [row.extra for row in page.records] == extras_in(body, record)
    assert [row.id for row in page.records] == list(range(400))


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("places", [range(1, 400, 2), range(399, 400), range(5, 400, 40)])
def test_keys_in_some_rows_are_read_with_the_page_once_they_were_seen(
    keyed: bool, places: range, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first page that shows them is split; none of its rows goes the careful way."""
    no_more("_decode_odd", monkeypatch)
    rows = [row_of(Exchange, n, **(OWN if n in places else {})) for n in range(400)]
    codec, body = codec_of(Exchange), written(rows, keyed=keyed)
    first = page_of(codec, body)
    page_of(codec, body)
    no_more("_slices", monkeypatch)
    again = page_of(codec, body)
    for page in (first, again):
        assert [row.extra for row in page.records] == extras_in(body, Exchange)
        assert all(row.extra is NO_EXTRA for row in page.records if row.id not in places)


def test_other_keys_on_each_page_are_read() -> None:
    """Nothing is remembered that would hide a new key, or put an old one where it is not."""
    codec = codec_of(Exchange)
    for number in range(60):
        rows = [row_of(Exchange, n) for n in range(30)]
        rows[number % 30] |= {f"k{number}": number, f"m{number // 7}": "x"}
        body = written(rows)
        assert [row.extra for row in page_of(codec, body).records] == extras_in(body, Exchange)


def test_what_a_site_sends_fills_no_memory() -> None:
    """However many keys of its own it makes up, and however long these are."""
    codec = codec_of(Link)
    for number in range(60):
        body = written([row_of(Link, **{f"k{number}": 1, "long" * 50 + str(number): 2})])
        assert [row.extra for row in page_of(codec, body).records] == extras_in(body, Link)
        assert len(codec._own.names) <= 16
        assert all(len(name) <= 100 for name in codec._own.names)
    body = written([row_of(Link, n, **{f"k{n}": 1}) for n in range(300)])
    assert [row.extra for row in page_of(codec, body).records] == extras_in(body, Link)
    assert clean_rows._own_decoder.cache_info().currsize <= 32


HIDDEN: dict[str, Callable[[str], str]] = {
    "a blank before its colon": lambda row: f'{row[:-1]},"hidden" :7}}',
    "a tab before its colon": lambda row: f'{row[:-1]},"hidden"\t\n:7}}',
    "a name that ends like that of a field": lambda row: row.replace(
        '"currency_code_get":"USDT"', '"x\\"currency_code_get":7'
    ),
    "a name that is a field's but for blanks": lambda row: row.replace(
        '"currency_code_get":"USDT"', '"currency_ code_get":7'
    ),
    "written with escapes": lambda row: f'{row[:-1]},"h\\u0069dden":7}}',
    "another alphabet": lambda row: f'{row[:-1]},"\u0431\u0430\u043b\u043b":7}}',
    "an empty name": lambda row: f'{row[:-1]},"":7}}',
    "both of these": lambda row: f'{row[:-1]},"\u0431\u0430\u043b\u043b":7,"":8}}',
    "in place of a field": lambda row: row.replace('"currency_code_get":"USDT"', '"hidden":7'),
    "a field twice": lambda row: f'{row[:-1]},"hidden":7,"date":"x"}}',
    "in place of a field, which is in its value": lambda row: row.replace(
        '"currency_code_get":"USDT"', '"hidden":{"currency_code_get":"a"}'
    ),
    "twice": lambda row: f'{row[:-1]},"hidden":1,"hidden":7}}',
}


@pytest.mark.untraced
@pytest.mark.parametrize("way", HIDDEN)
@pytest.mark.parametrize("shown", [(), ("hidden",), ("hidden", "x")])
@pytest.mark.parametrize("count", [3, 900])
@pytest.mark.parametrize("keyed", [False, True])
def test_no_key_hides_from_the_count(
    way: str, shown: Sequence[str], count: int, keyed: bool
) -> None:
    """Keys were lost that the count did not see, or that made up for another one."""
    plain = row_of(Exchange, **dict.fromkeys(shown, 1))
    rows = [json.dumps({**plain, "id": str(n)}, separators=(",", ":")) for n in range(count)]
    rows[1] = HIDDEN[way](rows[1])
    if keyed:
        rows = [f'"{n}":{row}' for n, row in enumerate(rows)]
    items = ("{%s}" if keyed else "[%s]") % ",".join(rows)
    body = f'{{"error":0,"error_text":"","data":{{"items":{items}}}}}'.encode()
    codec = codec_of(Exchange)
    for _ in range(3):
        found = [row.extra for row in page_of(codec, body).records]
        assert found == extras_in(body, Exchange)
        assert found[1]


@pytest.mark.parametrize("name", ["currency_code_get", "date"])
def test_no_key_hides_behind_the_name_that_a_row_stands_under(name: str) -> None:
    """`"date":{…}` seemed to be the date of a row that has none."""
    lacking = row_of(Exchange, 2, hidden=7)
    del lacking[name]
    rows = {"1": row_of(Exchange, 1), name: lacking}
    data = {"error": 0, "error_text": "", "data": {"items": rows}}
    body = json.dumps(data, separators=(",", ":")).encode()
    assert [row.extra for row in page_of(codec_of(Exchange), body).records] == [{}, {"hidden": 7}]


@pytest.mark.parametrize("step", [{"date": "1970-01-01"}, {"date": ""}, {}])
@pytest.mark.parametrize("date", ["2023-11-14", "", ...])
def test_no_key_hides_behind_those_of_a_history(step: RowJson, date: object) -> None:
    """Steps of a history have keys that rows have, too, and may do without one of them."""
    rows = [row_of(Exchange, n, status="new", statuses=[]) for n in range(3)]
    rows[0]["statuses"] = [{"time": 5, "status": "new", **step}]
    rows[1] |= {"date": date}
    rows[2] |= {"hidden": 7}
    body = written([{k: v for k, v in row.items() if v is not ...} for row in rows])
    page = page_of(codec_of(Exchange), body)
    assert [row.extra for row in page.records] == [{}, {}, {"hidden": 7}]


def test_no_key_hides_behind_one_within_an_own_one() -> None:
    """A field's name within it is not that field in the row that lacks it."""
    rows = [row_of(Link, 0, own={"date": 1}), row_of(Link, 1, own=1, hidden=7)]
    del rows[1]["date"]
    page = page_of(codec_of(Link), written(rows))
    assert [row.extra for row in page.records] == [{"own": {"date": 1}}, {"own": 1, "hidden": 7}]


def test_no_key_hides_behind_a_row_that_is_not_counted() -> None:
    """The first row seemed to stand before the items, so that as many keys could hide."""
    rows = {str(n): row_of(Link, n, browser="items") for n in range(3)}
    hidden = {f"k{n}": n for n in range(len(rows["0"]) + 1)}
    rows["2"] |= hidden
    data = {"error": 0, "data": {"items": rows}}
    body = json.dumps(data, separators=(",", ":")).replace('"items":{', '"it\\u0065ms":{')
    page = page_of(codec_of(Link), body.encode())
    assert [row.extra for row in page.records] == [{}, {}, hidden]


@pytest.mark.parametrize("record", [Link, Exchange])
def test_empty_values_are_read_with_the_page(
    record: type[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key whose value is empty in all rows, or in some, is there all the same."""
    no_more("_slices", monkeypatch)
    name = "currency_code_get" if record is Exchange else "browser"
    for empty in (range(50), range(3, 50, 7)):
        rows = [row_of(record, n, **({name: ""} if n in empty else {})) for n in range(50)]
        page = page_of(codec_of(record), written(rows))
        assert [not getattr(row, name) for row in page.records] == [n in empty for n in range(50)]


def test_no_key_hides_in_rows_before_the_items() -> None:
    """What is counted before the first row, nobody may take for the rows'."""
    rows = json.dumps([row_of(Exchange, n, user_hash="items", a=n, b=n) for n in range(3)])
    for spelled in ('"it\\u0065ms"', '"items"'):
        body = f'{{"error":0,"data":{{{spelled}:{rows}}}}}'.replace(", ", ",").replace(": ", ":")
        page = page_of(codec_of(Exchange), body.encode())
        assert [row.extra for row in page.records] == [{"a": n, "b": n} for n in range(3)]


@pytest.mark.parametrize("colon", ["\\u003a", "\\u003A", ":"])
@pytest.mark.parametrize("field", ["date", "user_hash", "own"])
def test_no_key_hides_behind_a_colon_of_a_text(colon: str, field: str) -> None:
    """Nor where a text writes it as an escape, so that there are fewer colons than texts have."""
    rows = [row_of(Exchange, n, own="x") for n in range(3)]
    rows[0][field] = "@"
    rows[2]["hidden"] = 7
    body = written(rows).replace(b"@", colon.encode())
    codec = codec_of(Exchange)
    for _ in range(2):
        found = [row.extra for row in page_of(codec, body).records]
        assert found == extras_in(body, Exchange)
        assert found[2] == {"own": "x", "hidden": 7}


def test_what_is_called_items_elsewhere_is_none() -> None:
    """Where the rows begin is proven before anything is counted."""
    rows = json.dumps([row_of(Link, n, own=n) for n in range(3)], separators=(",", ":"))
    for before in ('"b":"items","a":[{}],', '"b":"items","a":{"c":0},'):
        body = f'{{"error":0,"data":{{{before}"items":{rows}}}}}'.encode()
        assert [row.extra for row in page_of(codec_of(Link), body).records] == [
            {"own": n} for n in range(3)
        ]


@pytest.mark.untraced
def test_histories_are_read_with_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their keys are counted, too, whatever a row beside them has of its own."""
    no_more("_slices", monkeypatch)
    steps = [{"time": 5, "date": "1970-01-01 00:00:05", "status": "new"}]
    for own in ({}, OWN):
        rows = [
            row_of(Exchange, n, status="new", statuses=steps * (n % 3 + 1), **own)
            for n in range(200)
        ]
        page = page_of(codec_of(Exchange), written(rows))
        for row in page.records:
            assert isinstance(row, Exchange)
            assert len(row.statuses) == row.id % 3 + 1
        assert [row.extra for row in page.records] == extras_in(written(rows), Exchange)


@pytest.mark.parametrize("step", [{"time": 5.5}, {"time": "1970-01-01T00:00:05Z"}])
def test_histories_are_looked_at(step: RowJson) -> None:
    """Half seconds and other forms of time in them are told, as those of rows are."""
    rows = [row_of(Exchange, n, statuses=[{"status": "a", "time": 5, **step}]) for n in range(3)]
    page = codec_of(Exchange).decode(Answer(200, {}, written(rows)))
    if step == {"time": 5.5}:
        assert isinstance(page, Page)
        assert [row.id for row in page.unreadable] == [0, 1, 2]


@pytest.mark.parametrize("texts", ["}", "x"])
@pytest.mark.parametrize("own", [{}, {"own": [{}]}])
def test_a_long_row_is_unreadable_on_a_page_of_any_size(texts: str, own: RowJson) -> None:
    """Whatever it is long by: braces in a text seemed to end it."""
    rows = [row_of(Exchange, n, **own) for n in range(3)]
    rows[1]["user_hash"] = texts * 70_000
    page = codec_of(Exchange).decode(Answer(200, {}, written(rows)))
    assert isinstance(page, Page)
    assert [row.id for row in page.unreadable] == [1]
    assert [row.id for row in page.records] == [0, 2]


def test_a_row_that_is_long_by_what_is_within_it_is_unreadable() -> None:
    """Objects within it begin as rows do."""
    rows = [
        row_of(Link, n, own=[{"id": "1", "text": "x" * size}] * 3)
        for n, size in enumerate((1, 30_000, 1))
    ]
    page = codec_of(Link).decode(Answer(200, {}, written(rows)))
    assert isinstance(page, Page)
    assert [row.id for row in page.unreadable] == [1]


def test_rows_that_are_nested_too_deeply_hide_no_other() -> None:
    """RecursionError went up to the caller, from own keys that were nested 600 deep."""
    for odd in ("", '"user_ip":5,'):
        rows = [
            json.dumps(row_of(Exchange, n))[:-1] + f',{odd}"own":{"[" * depth}{"]" * depth}}}'
            for n, depth in enumerate((0, 5, 600))
        ]
        rows[0] = json.dumps(row_of(Exchange, 0))
        body = f'{{"error":0,"data":{{"items":[{",".join(rows)}]}}}}'.encode()
        page = codec_of(Exchange).decode(Answer(200, {}, body))
        assert isinstance(page, Page)
        assert page.size == 3
        assert {0, 1} <= {row.id for row in page.records}


def test_a_site_with_odd_rows_is_not_tried_whole_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that had to be split makes the next one be split at once; a clean one ends that."""
    whole = Mock(wraps=converter)
    monkeypatch.setattr("ppapi_async.protocol.decoder.converter", whole)
    codec = codec_of(Link)
    tried = []
    for odd in (False, True, True, True, False, False):
        rows = [row_of(Link, 1), row_of(Link, 2, **({"browser": 5} if odd else {}))]
        whole.reset_mock()
        assert [row.id for row in page_of(codec, written(rows)).records] == [1, 2]
        tried.append(whole.called)
    assert tried == [True, True, False, False, False, True]


def test_numbers_of_own_keys_are_exact_or_a_text() -> None:
    """As on the careful way: amounts to the last place, whole numbers of any length."""
    numbers = '"a":1.10,"b":1e400,"c":-0,"d":123456789012345678901234567890,"e":[-1e-400,2E1]'
    row = json.dumps(row_of(Link))[:-1] + f",{numbers}}}"
    body = f'{{"error":0,"data":{{"items":[{row},{row}]}}}}'.encode()
    for record in page_of(codec_of(Link), body).records:
        assert repr(record.extra) == repr(
            {
                "a": Decimal("1.10"),
                "b": "1E+400",
                "c": 0,
                "d": 123456789012345678901234567890,
                "e": ["-1E-400", Decimal("2E+1")],
            }
        )


def test_numbers_of_own_keys_on_the_careful_way() -> None:
    """They become the same there."""
    row = row_of(Link, browser=5, own={"deep": [1.5, Decimal("1e400")], "a": None})
    body = written([row]).replace(b'"1E+400"', b"1e400")
    [record] = page_of(codec_of(Link), body).records
    assert record.extra == {"own": {"deep": [Decimal("1.5"), "1E+400"], "a": None}}


def test_an_account_that_is_nested_too_deeply_is_an_error_of_ours() -> None:
    """RecursionError went up to the caller of get_info."""
    own = f"{'[' * 600}{']' * 600}"
    body = f'{{"error":0,"data":{{"balance":1,"min_payout":1,"own":{own}}}}}'.encode()
    error = decode_info(Answer(200, {}, body), Reader(ACCOUNT, "get_info"))
    assert isinstance(error, DecodeError)
    assert error.problems == (("data", "RecursionError"),)


def test_a_time_that_is_no_number_at_all_is_named() -> None:
    """What places a row is looked for in whatever the row is."""
    body = written([row_of(Link, time="@")]).replace(b'"@"', b"1e99999999999999999999")
    page = codec_of(Link).decode(Answer(200, {}, body))
    assert isinstance(page, Page)
    assert [(row.id, row.time) for row in page.unreadable] == [(7, None)]


@pytest.mark.parametrize("value", ["1e99999999999999999999", "9" * 5_000, '"\xff"'])
def test_a_value_of_a_sites_own_that_is_refused_hides_no_other_row(value: str) -> None:
    """Only the row that has it may be unreadable."""
    rows = [json.dumps(row_of(Link, n))[:-1] + ',"own":1}' for n in range(3)]
    rows[1] = rows[1].replace('"own":1', f'"own":{value}')
    body = f'{{"error":0,"data":{{"items":[{",".join(rows)}]}}}}'.encode("latin-1")
    page = codec_of(Link).decode(Answer(200, {}, body))
    assert isinstance(page, Page)
    assert page.size == 3
    assert [row.extra for row in page.records if row.id != 1] == [{"own": 1}] * 2


@pytest.mark.untraced
def test_a_turn_of_the_loop_decodes_so_many_bytes() -> None:
    """Rows of 60 kilobytes with thousands of keys come a few at a time."""
    row = row_of(Link, **{f"{n:05}": n for n in range(4_000)})
    steps = codec_of(Link).in_slices(Answer(200, {}, written([row] * 40)))
    assert sum(1 for _ in steps) >= 20


@pytest.mark.untraced
@pytest.mark.parametrize("own", [{}, {"own": 1}])
def test_a_turn_of_the_loop_decodes_so_many_rows(own: RowJson) -> None:
    """However short they are: 14,000 of them are a quarter of a megabyte."""
    row = {"id": 1, "time": 1, **own}
    for count, least in ((1_500, 0), (1_501, 6), (8_000, 30)):
        codec, answer = codec_of(Link), Answer(200, {}, written([row] * count))
        page_of(codec, answer.body)
        assert sum(1 for _ in codec.in_slices(answer)) >= least


NAMES = st.sampled_from(["a", "b c", 'q"', "date", "status", "\u0431", "", "__class__", "x\\"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.text(max_size=6)
    | st.sampled_from(['"a":', "1.50", '{"date":1}', "\\"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"id": st.integers(0, 99), "time": st.integers(0, 10**9)},
        optional={
            **dict.fromkeys(
                ("date", "browser", "referrer"), st.sampled_from(["", "x", ' " :', "a:b"])
            ),
            **dict.fromkeys(("a", "b c", 'q"', "\u0431", "", 'x"date'), VALUES),
        },
    ),
    max_size=5,
)


@settings(deadline=None)
@given(
    pages=st.lists(ROWS, min_size=1, max_size=4),
    keyed=st.booleans(),
    separators=st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :"), (",\n", "\t:")]),
    escaped=st.booleans(),
)
def test_own_keys_are_those_of_the_json(
    pages: list[list[RowJson]], keyed: bool, separators: tuple[str, str], escaped: bool
) -> None:
    """Whatever keys rows have or lack, page after page, whole or split."""
    whole, split = codec_of(Link), codec_of(Link)
    for rows in pages:
        items: object = {row["id"]: row for row in rows} if keyed else rows
        data = {"error": 0, "error_text": "", "data": {"items": items}}
        body = json.dumps(data, separators=separators, ensure_ascii=escaped).encode()
        page = page_of(whole, body)
        sliced = finish(split._slices(Answer(200, {}, body)))
        assert isinstance(sliced, Page)
        for records in (page.records, sliced.records):
            assert [dict(row.extra) for row in records] == extras_in(body, Link)

"""Ids and times of an answer, read before its rows are; or its rows at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from ppapi_async import Account, Exchange
from ppapi_async.errors import PPAPIError
from ppapi_async.protocol import Answer, PageCodec, Reader, finish
from ppapi_async.protocol.heads import HeadCodec
from ppapi_async.protocol.page import KeptPage, Page
from ppapi_async.protocol.site_clock import SiteClock

ACCOUNT = Account("https://site.example", "k" * 32, timezone="Europe/Moscow")


def codec_of() -> PageCodec[Exchange]:
    """Return the codec of a site three hours ahead of UTC."""
    clock = SiteClock(ZoneInfo("Europe/Moscow"))
    return PageCodec(Exchange, clock, Reader(ACCOUNT, "get_exchanges"))


def row(number: int, **more: object) -> dict[str, object]:
    """Return a row as 2.7 has it."""
    amounts = {"amount_give": "1.5", "amount_get": "2", "course_give": "1", "course_get": "2"}
    return {
        "id": str(number),
        "time": 1_700_000_000 - number,
        "partner_reward": "0",
        **amounts,
    } | more


def body_of(items: object, **envelope: object) -> bytes:
    """Return an answer that lists these."""
    whole = {"error": "0", "error_text": "", "data": {"items": items}} | envelope
    return json.dumps(whole).encode()


def heads_of(body: bytes) -> Page[Exchange] | KeptPage | PPAPIError:
    """Read an answer as streams do."""
    return finish(HeadCodec(codec_of()).in_slices(Answer(200, {}, body)))


ROWS = [row(number) for number in range(1, 4)]
LONG = [row(number, user_hash="f" * 300) for number in range(1, 1_201)]
USUAL: Mapping[str, tuple[bytes, int]] = {
    "a list": (body_of(ROWS), 3),
    "by id": (body_of({str(one["id"]): one for one in ROWS}, error=0), 3),
    "of a clone": (body_of(ROWS, status="success"), 3),
    "after a BOM and a warning": (
        b"\xef\xbb\xbfWarning: something in x.php on line 5\n" + body_of(ROWS),
        3,
    ),
    "keys of the site's own": (body_of([row(5, utm="x") | {"more": [1, {}]}]), 1),
    "an amount that cannot be read": (body_of([row(1), row(2, amount_get="a lot")]), 2),
    "nothing found, 2.7": (body_of([], data=[]), 0),
    "nothing found, 2.2": (b'{"error":0,"error_text":""}', 0),
    "nothing found, clone": (body_of({}), 0),
    "large": (body_of(LONG), 1_200),
    "large, by id": (body_of({str(one["id"]): one for one in LONG}), 1_200),
}
OTHER: Mapping[str, bytes] = {
    "an error": body_of([], error=1, error_text="REST API key error"),
    "a clone's error": body_of(ROWS, status="error"),
    "no JSON": b"<html>",
    "data without items": body_of([], data={}),
    "data that lists": body_of([], data=[1]),
    "an id that is none": body_of([row(1), row(1) | {"id": "x"}]),
    "an id of more than 64 bits": body_of([row(1), row(2**63)]),
    "no id": body_of({"5": {"time": 1_700_000_000}}),
    "a date that was left empty": body_of([row(1), row(2, time=-62_169_984_000)]),
    "half a second": body_of([row(1), row(2, time=1_700_000_000.5)]),
    "a time of another zone": body_of([row(1), row(2, time="2024-01-01T00:00:00+03:00")]),
    "very large": body_of([row(n, user_hash="f" * 3_000) for n in range(1, 701)]),
}


@pytest.mark.untraced
@pytest.mark.parametrize("name", USUAL)
def test_rows_that_are_kept_are_those_that_the_codec_reads(name: str) -> None:
    """Ids and times come at once; what was kept has the same rows, in few pieces."""
    body, count = USUAL[name]
    whole, page = codec_of().decode(Answer(200, {}, body)), heads_of(body)
    assert isinstance(page, KeptPage)
    assert isinstance(whole, Page)
    assert (len(page.ids), len(page.walls), len(page.records)) == (count, count, count)
    pieces = [codec_of().decode(Answer(200, {}, piece)) for piece in dict.fromkeys(page.records)]
    assert len(pieces) <= -(-count // 250)
    assert all(isinstance(piece, Page) and piece.size <= 250 for piece in pieces)
    kept = [one for piece in pieces if isinstance(piece, Page) for one in piece.records]
    assert kept == whole.records
    readable = set(whole.ids)
    known = zip(page.ids, page.walls, strict=True)
    assert [one for one in known if one[0] in readable] == list(
        zip(whole.ids, whole.walls, strict=True)
    )
    odd = [one for piece in pieces if isinstance(piece, Page) for one in piece.unreadable]
    assert odd == whole.unreadable
    assert "amount" not in repr(page)


@pytest.mark.parametrize("name", OTHER)
def test_an_answer_of_no_usual_form_is_read_at_once(name: str) -> None:
    """So an error is found, and a row that can be placed only with care is."""
    answer = Answer(200, {}, OTHER[name])
    whole, page = codec_of().decode(answer), heads_of(OTHER[name])
    assert type(page) is type(whole)
    if isinstance(page, Page) and isinstance(whole, Page):
        assert (page.records, page.unreadable) == (whole.records, whole.unreadable)
    else:
        assert str(page) == str(whole)


def test_another_status_is_no_page() -> None:
    """Whatever the body says."""
    answer = Answer(503, {}, body_of(ROWS))
    page = finish(HeadCodec(codec_of()).in_slices(answer))
    assert isinstance(page, PPAPIError)


def test_a_large_answer_lets_others_run() -> None:
    """It is cut up in steps."""
    assert len(list(HeadCodec(codec_of()).in_slices(Answer(200, {}, body_of(LONG))))) >= 5


def test_times_are_those_of_the_wire() -> None:
    """They prove a window by the site's own clock; the account's zone comes in later."""
    page = heads_of(body_of(ROWS))
    assert isinstance(page, KeptPage)
    assert page.walls[0] == datetime.fromtimestamp(1_700_000_000 - 1, UTC)

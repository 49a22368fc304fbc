"""A site's rows may hold the partner's own key: it goes into no change, state, log or database."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

import pytest

from ppapi_async import Account, Fleet, Link, Secret, Session, SQLiteState
from ppapi_async.protocol import Answer, finish
from ppapi_async.protocol.own_key import without_key
from ppapi_async.protocol.responses import Decoder, Slices
from tests import virtual_time
from tests.leaks import assert_absent, assert_unlogged
from tests.sites.raw import KEY, RawServer, Reply, Script, Seen, http, served
from tests.virtual_time import BEGINNING, hooks

ODD_KEY = "k+/=&%ü\"<\\'9f3a7c21e8b04d65f1a2"
START, END = datetime.fromtimestamp(BEGINNING - 3_600, UTC), datetime.fromtimestamp(BEGINNING, UTC)
AT = int(BEGINNING) - 600


def _click(key: str) -> dict[str, object]:
    spelled = quote(key, safe="")
    link = f"https://site.example/api.html?api_action=pp&api_key={spelled}&method=get_info"
    return {
        "id": "7",
        "time": AT,
        "date": "2026-01-01 00:01:00",
        "browser": f"curl {key.upper()}",
        "ip": "203.0.113.7",
        "referrer": link,
        "user_hash": "a1b2",
        "query_string": f"utm_source={spelled}&x=1",
        "mark": {"of the site": [key, {key: 5}, 1.5]},
    }


@contextlib.asynccontextmanager
async def _site(key: str, script: Script) -> AsyncIterator[Session]:
    """Open a session with a site that answers for clicks by the script, in time that flies."""
    async with RawServer() as server:
        server.script["get_links"] = script
        async with Session(Account(server.url, key), hooks=hooks()) as session:
            yield session


def _answers(rows: list[dict[str, object]]) -> Script:
    body = json.dumps({"error": 0, "error_text": "", "data": {"items": rows}})
    return lambda _: http(200, body)


@pytest.mark.parametrize("key", [KEY, ODD_KEY], ids=["plain", "odd"])
def test_promise_4_a_key_within_a_row_goes_no_further(
    key: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither into the row, its repr, a change, the state file, nor into logs; all else stays."""
    caplog.set_level(logging.DEBUG)

    async def read() -> Link:
        async with _site(key, _answers([_click(key)])) as session:
            (link,) = await session.get_links(START, END)
            async with SQLiteState(tmp_path / "state.db") as state:
                async for change in session.watch_links(since=START, state=state):
                    assert change.record == link
                    assert_absent(key, change, str(change), repr(change.record))
                    logging.getLogger("program").info("%r", change)
                    break
        return link

    link = virtual_time.run(read())
    assert link.referrer == (
        "https://site.example/api.html?api_action=pp&api_key=***&method=get_info"
    )
    assert (link.query, link.browser) == ({"utm_source": "***", "x": "1"}, "curl ***")
    assert link.extra == {"mark": {"of the site": ["***", {"***": 5}, Decimal("1.5")]}}
    assert_absent(key, *[file.read_bytes() for file in tmp_path.iterdir()])
    assert_unlogged(key, caplog.records)


async def test_promise_4_a_key_in_the_answers_of_a_fleet_goes_no_further() -> None:
    """Nor into what a fleet tells, be it payout methods or raw data."""
    method = {"id": 1, "title": KEY, "mark": KEY, "comission": "1%", "amount": "1"}
    info = {"balance": "1", "min_payout": "1", "items": [method]}
    body = json.dumps({"error": 0, "error_text": "", "data": info})
    async with served(get_info=lambda _: http(200, body)) as (_, session, _):
        assert_absent(KEY, repr(await session.call("get_info")))
        async with Fleet([session.account], hooks=hooks()) as fleet:
            found = await fleet.get_info()
    assert_absent(KEY, repr(found))
    assert "title='***'" in repr(found)


def test_a_row_with_the_key_is_told_once() -> None:
    """It has the same text at every poll, so it does not seem to have changed."""
    polls = itertools.count()

    def answer(seen: Seen) -> Reply:
        rows = [_click(KEY), _click(KEY) | {"id": "8"}] if next(polls) > 6 else [_click(KEY)]
        return _answers(rows)(seen)

    async def watch() -> list[int]:
        delivered = []
        async with _site(KEY, answer) as session:
            async for change in session.watch_links(since=START):
                delivered.append(change.record.id)
                if change.record.id == 8:
                    break
        return delivered

    assert virtual_time.run(watch()) == [7, 8]


def _of(result: object) -> Decoder[object]:
    """Return what decodes to this, in slices."""

    def decode(_: Answer) -> Slices[object]:
        yield
        return result

    return decode


def _without(key: str, result: object) -> object:
    body = json.dumps(result, default=str).encode()
    return finish(without_key(Secret(key), Answer(200, {}, body), _of(result)))


def test_numbers_are_never_altered() -> None:
    """A key of digits may be within an amount or an id; these are no texts."""
    key = "1234567890123456"
    row = {"id": int(key), "amount": Decimal(f"0.{key}"), "text": f"of {key}"}
    assert _without(key, dict(row)) == {**row, "text": "of ***"}


def test_a_short_key_is_left_in_rows() -> None:
    """It could be part of anything, and rows are not to be altered by chance."""
    assert _without("k3y-of-fifteen-", ["k3y-of-fifteen-"]) == ["k3y-of-fifteen-"]


def test_what_is_nested_deeply_is_gone_through() -> None:
    """As deep as JSON may be."""
    deep: list[object] = [KEY]
    for _ in range(20_000):
        deep = [deep]
    finish(without_key(Secret(KEY), Answer(200, {}, KEY.encode()), _of(deep)))
    while isinstance(deep[0], list):
        deep = deep[0]
    assert deep == ["***"]


SIZES: Mapping[str, Callable[[], tuple[bytes, object]]] = {
    "none in 32 MB": lambda: (b"x" * 2**25, None),
    "at the end of 32 MB": lambda: (b"x" * 2**25 + KEY.encode(), None),
    "across two slices": lambda: (b"x" * (128 * 1024 - 9) + KEY.encode(), [KEY]),
    "in a long text": lambda: (KEY.encode(), [f"{KEY} " * 2_000]),
    "in many texts": lambda: (KEY.encode(), [[KEY] for _ in range(20_000)]),
    "in one list": lambda: (KEY.encode(), [KEY] * 100_000),
    "in many names": lambda: (KEY.encode(), {f"{n} {KEY}": KEY for n in range(50_000)}),
}


@pytest.mark.untraced
@pytest.mark.parametrize("name", SIZES)
def test_no_turn_of_the_loop_is_long(name: str) -> None:
    """An answer is looked through in slices, and its texts some at a time."""
    body, result = SIZES[name]()
    slices, turns = without_key(Secret(KEY), Answer(200, {}, body), _of(result)), []
    while True:
        began = time.process_time()
        try:
            next(slices)
        except StopIteration:
            break
        finally:
            turns.append(time.process_time() - began)
    assert sorted(turns)[-2:][0] < 0.05  # one may have met the collector
    assert_absent(KEY, repr(result))

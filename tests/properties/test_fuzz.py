"""Whatever comes from outside is a value or an error of ours: no other exception, no hang, no key.

The strategies of answers are in `mutated`. What these tests have found stands at the end, each by
its name.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import signal
import zlib
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import TypeVar
from zoneinfo import ZoneInfo

import pytest
from attrs import define
from hypothesis import given, settings
from hypothesis import strategies as st

from ppapi_async import (
    Account,
    Exchange,
    Info,
    Link,
    Payout,
    PayoutReceipt,
    PPAPIError,
    Session,
)
from ppapi_async.models import Row
from ppapi_async.protocol import (
    Answer,
    PageCodec,
    Reader,
    decode_data,
    decode_info,
    decode_receipt,
    finish,
)
from ppapi_async.protocol.converter import structure
from ppapi_async.protocol.fields import correct_times, finish_row, parse_json, rows_of
from ppapi_async.protocol.page import Page
from ppapi_async.protocol.site_clock import SiteClock
from tests.conftest import DEPTH
from tests.leaks import assert_absent, assert_survives_pickling, assert_unlogged
from tests.properties.mutated import METHODS, Mutant, encoded, mutants
from tests.sites.raw import KEY, NOW, End, RawServer, Reply, Seen, served

T = TypeVar("T")
ACCOUNT = Account("https://site.example", KEY)
RECORDS: Mapping[str, type[Row]] = {
    "get_links": Link,
    "get_exchanges": Exchange,
    "get_payouts": Payout,
}
ZONES = ("UTC", "UTC", "Europe/Moscow", "America/New_York", "Pacific/Apia")
MONEY = (
    "original_amount",
    "amount_give",
    "amount_get",
    "partner_reward",
    "course_give",
    "course_get",
    "pay_amount",
)


class HangError(BaseException):
    """One example takes minutes; nothing may take this for anything else."""


@pytest.fixture(autouse=True)
def _watched() -> Iterator[None]:
    def bark(*_: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, bark)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def begin() -> None:
    """Begin a new example: if it takes minutes, hypothesis tells of it and makes it smaller."""
    signal.setitimer(signal.ITIMER_REAL, 120)


def codec_of(method: str, zone: str = "UTC") -> PageCodec[Row]:
    """Return the codec of a list method."""
    return PageCodec(RECORDS[method], SiteClock(ZoneInfo(zone)), Reader(ACCOUNT, method))


def check_error(error: PPAPIError) -> None:
    """An error can be printed, pickled and logged, and does not tell the key."""
    assert_absent(KEY, error)
    assert_survives_pickling(error)
    assert error.account == ACCOUNT.name


def items_of(text: bytes) -> list[object]:
    """Return the rows that an answer has, read by nothing of ours; of repeated names the last.

    An object with a name twice is one that JSON leaves undefined and PHP cannot write; all
    tiers take the later one, so two rows under the same key of `items` are one row.
    """
    # What is not UTF-8 beside the rows is nothing to them.
    whole = text.decode(errors="replace")
    envelope = json.loads(whole, parse_float=fraction, parse_int=fraction)
    data = envelope.get("data", [])
    if data in ([], {}):
        return []
    items = data["items"]
    return list(items.values()) if isinstance(items, dict) else list(items)


def fraction(text: str) -> Decimal | None:
    """Return a number exactly; None for one that not even a Decimal can hold."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def check_page(page: Page[Row], mutant: Mutant) -> None:
    """No row is lost or made up, and money is what the wire says, to the last place."""
    assert mutant.answer.status == 200
    rows = items_of(mutant.json)
    assert len(page.records) == len(page.walls)
    assert page.size == len(rows)
    if page.unreadable:
        return  # which they are, the way row by row tells; see `carefully`
    for record, row in zip(page.records, rows, strict=True):
        assert isinstance(row, dict)
        for name in MONEY:
            amount = getattr(record, name, None)
            if amount is not None:
                careful = Decimal(row[name])
                assert amount.as_tuple() == (abs(careful) if careful == 0 else careful).as_tuple()


def repeats_names(text: bytes) -> bool:
    """Tell whether an object has a name twice."""
    found = []

    def note(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found.append(len(dict(pairs)) < len(pairs))
        return dict(pairs)

    whole = text.decode(errors="replace")
    json.loads(whole, object_pairs_hook=note, parse_int=fraction, parse_float=fraction)
    return any(found)


def carefully(mutant: Mutant, zone: str) -> list[Row] | None:
    """Return the page's rows as the careful way has them, without those that it refuses."""
    try:
        envelope = parse_json(mutant.json)
    except (ValueError, RecursionError):  # what the envelope has beside the rows
        return None
    assert isinstance(envelope, dict)
    data = envelope.get("data")
    rows: list[Row] = []
    for value in rows_of(data.get("items", [])) if isinstance(data, dict) else []:
        row = structure(value, RECORDS[mutant.method])
        if isinstance(row, list):
            continue
        finish_row(row, value)
        correct_times([row], SiteClock(ZoneInfo(zone)))
        rows.append(row)
    return rows


@given(body=st.binary(max_size=200), status=st.sampled_from([200, 200, 404, 500, 429]))
def test_arbitrary_bytes_are_an_error(body: bytes, status: int) -> None:
    """No method takes bytes at random for an answer."""
    answer = Answer(status, {}, body)
    for method in RECORDS:
        error = codec_of(method).decode(answer)
        assert isinstance(error, PPAPIError)
        check_error(error)


@given(mutant=mutants(tuple(RECORDS)), zone=st.sampled_from(ZONES))
def test_lists_are_complete_or_an_error(mutant: Mutant, zone: str) -> None:
    """Whatever comes: all of its rows, exact, or one error; the fast and the careful way agree."""
    begin()
    codec = codec_of(mutant.method, zone)
    result = codec.decode(mutant.answer)
    assert repr(finish(codec._slices(mutant.answer))) == repr(result)
    if isinstance(result, PPAPIError):
        check_error(result)
        return
    check_page(result, mutant)
    careful = carefully(mutant, zone)
    if careful is not None and not repeats_names(mutant.json):
        assert repr(result.records) == repr(careful)


@given(mutant=mutants(("get_info", "get_info", "add_payout")))
def test_single_objects_are_a_value_or_an_error(mutant: Mutant) -> None:
    """get_info, add_payout and raw calls, whatever comes."""
    begin()
    for method, decode, kind in (
        ("get_info", decode_info, tuple),
        ("add_payout", decode_receipt, PayoutReceipt),
        ("test", decode_data, object),
    ):
        result = decode(mutant.answer, Reader(ACCOUNT, method))
        if isinstance(result, PPAPIError):
            check_error(result)
            continue
        assert isinstance(result, kind)
        if isinstance(result, PayoutReceipt):
            assert mutant.answer.status == 200
            assert_absent(KEY, result)
        if isinstance(result, tuple):
            check_info(result[0], mutant)


def check_info(info: Info, mutant: Mutant) -> None:
    """All methods of payment are there, and the balance is exact."""
    data = json.loads(mutant.json, parse_float=fraction, parse_int=fraction)["data"]
    assert len(info.items) == len(data.get("items") or ())
    assert info.balance == Decimal(data["balance"])


# --- the session, over a real socket


def reply_of(mutant: Mutant, data: bytes, said: Mapping[str, str], cut: int) -> Reply:
    """Return the bytes of the HTTP answer; the connection ends with it."""
    head = {"Content-Length": str(len(data)), **mutant.answer.headers, **said}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    whole = f"HTTP/1.1 {mutant.answer.status} X\r\n{lines}\r\n".encode() + data
    return Reply(whole[: len(whole) - cut], End.CLOSE)


@st.composite
def replies(draw: st.DrawFn, methods: Sequence[str] = METHODS) -> Reply:
    """Return an HTTP answer: a mutant, packed in some way, or cut anywhere; or no HTTP at all."""
    mutant = draw(mutants(methods))
    data, said = draw(encoded(mutant.answer.body))
    cut = draw(st.sampled_from([0, 0, 0, 0, 0, 0, 1, 20, 200, len(data), len(data) + 9]))
    return reply_of(mutant, data, said, cut)


Call = Callable[[Session], Awaitable[object]]
LISTS = ("links", "exchanges", "payouts")


async def _rows(stream: AsyncIterable[object]) -> list[object]:
    return [row async for row in stream]


def _calls() -> Mapping[str, tuple[str, Call]]:
    """Return all that a session can be asked, with the method that it comes to."""
    calls: dict[str, tuple[str, Call]] = {
        "get_info": ("get_info", lambda session: session.get_info()),
        "call": ("get_payouts", lambda session: session.call("get_payouts", a=1)),
        "add_payout": ("add_payout", lambda session: session.add_payout(11, "wallet")),
        "add_payout, bounds": (
            "add_payout",
            lambda session: session.add_payout(11, "wallet", at_least=Decimal(1)),
        ),
    }
    for name in LISTS:
        get, many = f"get_{name}", f"iter_{name}"

        def ask(session: Session, get: str = get) -> Awaitable[object]:
            result: Awaitable[object] = getattr(session, get)(1, NOW)
            return result

        def go(session: Session, many: str = many) -> Awaitable[object]:
            return _rows(getattr(session, many)(None, None, concurrency=3))

        def look(session: Session, many: str = many) -> Awaitable[object]:
            stream = getattr(session, many)(1, NOW, newest_first=True, window=timedelta(days=900))
            return _rows(stream.windows())

        calls |= {get: (get, ask), many: (get, go), f"{many}, windows": (get, look)}
    return calls


CALLS = _calls()


@define
class Answers:
    """A script that gives drawn answers in turn, the last one for ever."""

    replies: Sequence[Reply]
    given: int = 0

    def __call__(self, _: Seen) -> Reply:
        """Return the next one."""
        self.given += 1
        return self.replies[min(self.given, len(self.replies)) - 1]


async def ask(call: Call, scripts: Mapping[str, Answers]) -> tuple[object, RawServer]:
    """Make a call of a session and return what it came to, with nothing left in the loop."""
    loop, troubles = asyncio.get_running_loop(), list[object]()
    loop.set_exception_handler(lambda _, context: troubles.append(context))
    # A stream that asks on and on is a hang, too.
    async with asyncio.timeout(240), served() as (server, session, _):
        server.script |= scripts
        try:
            result: object = await call(session)
        except PPAPIError as error:
            result = error
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not troubles
    return result, server


@pytest.mark.untraced
@settings(max_examples=20 * DEPTH * DEPTH)
@given(
    name=st.sampled_from(sorted(CALLS)),
    first=st.lists(replies(), min_size=1, max_size=3),
    info=st.none() | replies(("get_info",)),
)
def test_sessions_give_a_value_or_an_error(
    name: str, first: list[Reply], info: Reply | None
) -> None:
    """Over a real socket: value or error, one payout at most, nothing left behind, no key told."""
    begin()
    method, call = CALLS[name]
    scripts = {method: Answers(first)}
    if info is not None and method != "get_info":
        scripts["get_info"] = Answers([info])
    with logged() as records:
        result, server = asyncio.run(ask(call, scripts))
    assert_unlogged(KEY, records)
    assert server.count("add_payout") <= 1
    assert len(server.seen) < 500
    if isinstance(result, PPAPIError):
        assert_absent(KEY, result)
        assert_survives_pickling(result)


@contextlib.contextmanager
def logged() -> Iterator[list[logging.LogRecord]]:
    """Collect all that is logged meanwhile, by whomever."""
    records: list[logging.LogRecord] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    root, collector = logging.getLogger(), Collector(1)
    level = root.level
    root.addHandler(collector)
    root.setLevel(1)
    try:
        yield records
    finally:
        root.removeHandler(collector)
        root.setLevel(level)


def whole(encoding: str, wire: bytes) -> bytes:
    """Return what a body unpacks to, in one go."""
    if "gzip" in encoding:
        return gzip.decompress(wire)
    if encoding == "deflate" and wire:
        return zlib.decompress(wire, zlib.MAX_WBITS if wire[0] & 15 == 8 else -zlib.MAX_WBITS)
    return wire

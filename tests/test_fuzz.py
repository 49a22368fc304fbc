"""Whatever comes from outside is a value or an error of ours: no other exception, no hang, no key.

The strategies of answers are in `mutated`. What these tests have found stands at the end, each by
its name.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import html
import json
import logging
import random
import re
import signal
import zlib
from array import array
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote
from zoneinfo import ZoneInfo

import pytest
from attrs import define
from hypothesis import given, settings
from hypothesis import strategies as st

from ppapi_async import (
    Account,
    ApiError,
    DecodeError,
    Exchange,
    Info,
    Link,
    Payout,
    PayoutReceipt,
    PPAPIError,
    Session,
)
from ppapi_async.accounts_file import load_accounts
from ppapi_async.models import Row
from ppapi_async.protocol import (
    Answer,
    PageCodec,
    Reader,
    data_steps,
    dump_stored,
    finish,
    info_steps,
    parse_stored,
    receipt_steps,
)
from ppapi_async.protocol.converter import structure
from ppapi_async.protocol.dialects import endpoints
from ppapi_async.protocol.evidence import Evidence
from ppapi_async.protocol.fields import correct_times, finish_row, parse_json, rows_of
from ppapi_async.protocol.page import Page
from ppapi_async.protocol.responses import retry_after, strip_noise
from ppapi_async.protocol.site_clock import SiteClock
from ppapi_async.protocol.text import restore
from ppapi_async.streaming.counting import Query
from ppapi_async.streaming.state import Identity, Position, Told
from ppapi_async.streaming.window_reader import WindowRead
from ppapi_async.transport.body import BodyReader, BodyTooLargeError, CutShortError

from .conftest import DEPTH
from .leaks import assert_absent, assert_survives_pickling, assert_unlogged
from .mutated import METHODS, Mutant, encoded, headers, mutants, spelled_keys
from .sites.raw import KEY, NOW, End, RawServer, Reply, Script, Seen, http, served
from .sites.simulated import Mark, Site
from .sites.simulated import Reader as Simulation

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
                told = Decimal(row[name])
                assert amount.as_tuple() == (abs(told) if told == 0 else told).as_tuple()


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
    told = carefully(mutant, zone)
    if told is not None and not repeats_names(mutant.json):
        assert repr(result.records) == repr(told)


@given(mutant=mutants(("get_info", "get_info", "add_payout")))
def test_single_objects_are_a_value_or_an_error(mutant: Mutant) -> None:
    """get_info, add_payout and raw calls, whatever comes."""
    begin()
    for method, steps, kind in (
        ("get_info", info_steps, tuple),
        ("add_payout", receipt_steps, PayoutReceipt),
        ("test", data_steps, object),
    ):
        result = finish(steps(mutant.answer, Reader(ACCOUNT, method)))
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


@pytest.mark.no_cover
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


# --- the other decoders of what comes from outside

TEXTS = st.text(max_size=40 * DEPTH)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)


@given(text=TEXTS | mutants().map(lambda one: one.json.decode("utf-8", "replace")))
def test_stored_text_is_a_record_or_a_value_error(text: str) -> None:
    """A store that was damaged is told by one exception."""
    begin()
    for kind in (*RECORDS.values(), Info):
        with contextlib.suppress(ValueError):
            parse_stored(text, kind)


@given(mutant=mutants(("get_links", "get_exchanges", "get_payouts", "get_info")))
def test_what_was_decoded_is_stored_exactly(mutant: Mutant) -> None:
    """A record of whatever a site sends comes back from a store as it was."""
    if mutant.method == "get_info":
        told = finish(info_steps(mutant.answer, Reader(ACCOUNT, "get_info")))
        records: Sequence[Row | Info] = [told[0]] if isinstance(told, tuple) else []
    else:
        page = codec_of(mutant.method).decode(mutant.answer)
        records = page.records if isinstance(page, Page) else []
    for record in records:
        text = dump_stored(record)
        assert repr(parse_stored(text, type(record))) == repr(record)
        text.encode()


def test_bytes_that_are_half_a_character_do_not_get_into_a_record() -> None:
    """They are no UTF-8; a watch ended over such a text, which no state could keep."""
    body = b'{"error":0,"data":{"items":[{"id":"1","time":1,"date":"","ip":"\xed\xa0\x80"}]}}'
    page = codec_of("get_links").decode(Answer(200, {}, body))
    assert not isinstance(page, Page) or [dump_stored(record) for record in page.records] == []


IDENTITY = Identity("a", "get_links", "", None, None)
POSITION = Position(5, 9, 3, Told(array("q", [3, 1, 2])).pack(), finished=False).dump(IDENTITY)


@given(data=st.data())
def test_a_damaged_position_is_a_value_error(data: st.DataObject) -> None:
    """A checkpoint's JSON, any part of it replaced or lost, can be gone on with or is refused."""
    begin()
    changed: dict[str, Any] = dict(POSITION)
    for name in data.draw(st.lists(st.sampled_from(sorted(POSITION)), max_size=3)):
        packed = st.binary(max_size=20).map(lambda raw: base64.b64encode(zlib.compress(raw)))
        told = st.lists(TEXTS | packed.map(bytes.decode), max_size=3)
        changed[name] = data.draw(JSONS | told)
    for name in data.draw(st.lists(st.sampled_from(sorted(POSITION)), max_size=1)):
        changed.pop(name, None)
    try:
        position = Position.parse(changed, IDENTITY)
        told_ids = Told()
        told_ids.unpack(position.told)
    except ValueError:
        return
    assert Position.parse(position.dump(IDENTITY), IDENTITY) == position


PIECES = st.sampled_from(
    [
        *(
            "https://",
            "http://",
            "HTTPS://",
            "//",
            "/",
            "?",
            "&",
            "#",
            "=",
            "@",
            ":",
            "[",
            "]",
            ";",
        ),
        *("site.example", "127.0.0.1", "[::1]", "[::", "localhost", "xn--", "é.example", ".", ".."),
        *("api_key", "api_key=", "{api_key}", "api.html", "api.php", "/api/userapi/v1", ":99999"),
        *("\\", "\x00", "\n", " ", "\u200b", "\ud800", "%", "%25", "%00", "+", "a" * 300, KEY),
        *("/api/userapi/v1/" + "a" * 50, "." * 400, "/" * 400, "api_key=" + KEY, "?api_key=" + KEY),
    ]
)
LINKS = st.lists(PIECES | spelled_keys | st.text(max_size=5), max_size=8 * DEPTH).map("".join)


@pytest.mark.no_cover
@given(link=LINKS, name=LINKS, zone=st.sampled_from(["UTC", "", "..", "/etc", "\0", "a" * 400]))
def test_accounts_are_made_or_refused(link: str, name: str, zone: str) -> None:
    """Any link, url, name or zone: an account, or a ValueError that does not repeat the key."""
    begin()
    makers: list[Callable[[], Account]] = [
        lambda: Account.from_link(link),
        lambda: Account.from_link("https://site.example/?api_key=" + link, allow_http=True),
        lambda: Account(link, KEY),
        lambda: Account("https://site.example", KEY, name=name),
        lambda: Account("https://site.example", link, name="a"),
        lambda: Account("https://site.example", "k", timezone=zone),
    ]
    for make in makers:
        try:
            account = make()
        except ValueError as error:
            if KEY not in plain(link.partition("?")[0]):  # nobody looks for it in a url
                assert_absent(KEY, error)
            continue
        assert account.host
        assert account.fingerprint
        assert all(url.startswith("http") for url in endpoints(account, None))
        # A name that holds the key is refused, unless in a mixture of encodings: nobody types that.
        told = KEY.lower() in plain(account.url + account.name).lower()
        if not told and account.api_key.reveal() == KEY:
            assert_absent(KEY, account, account.name)


def piled_up(character: str, chance: random.Random) -> str:
    """Write one character in one of the ways in which pages may, applied repeatedly."""
    code, deep = ord(character), chance.randint(0, 6)
    zeros = "0" * chance.choice([0, 0, 2, 6, 40])
    return chance.choice(
        [
            character,
            f"%{'25' * deep}{code:02x}",
            f"%{'25' * deep}{code:02X}",
            f"&{'amp;' * deep}#{zeros}{code};",
            f"&{'amp;' * deep}#x{zeros}{code:x};",
            "\\" * (deep + 1) + f"u{code:04X}",
            "\\" * (deep + 1) + f"x{code:02x}",
        ]
    )


def told_key(seed: int) -> str:
    """Write the whole key, each of its characters in a way of its own."""
    chance = random.Random(seed)
    return "".join(piled_up(character, chance) for character in KEY)


TOLD_KEYS = spelled_keys | st.integers(0, 2**32).map(told_key)
TRAPS = st.sampled_from(
    [
        *(
            "%25" * 500,
            "&amp;" * 500,
            "&" + "amp;" * 500,
            "\\" * 500,
            "&#" + "0" * 500,
            KEY[0] * 500,
        ),
        *(
            KEY[:-1],
            KEY[:-1] * 20,
            "".join(f"%25{ord(c):x}" for c in KEY[:-1]),
            "%",
            "&#x",
            "\\u00",
        ),
    ]
)


@given(
    pieces=st.lists(TOLD_KEYS | TRAPS | TEXTS, max_size=5 * DEPTH), cut=st.none() | st.integers(0)
)
def test_redaction_leaves_nothing(pieces: list[str], cut: int | None) -> None:
    """The key never shows, however it is written and wherever the text breaks off."""
    begin()
    text = "".join(pieces)
    # Only a beginning of the key cannot be told from text, and never a short one.
    text = text[: None if cut is None else cut % (len(text) + 1)]
    clean = ACCOUNT.redact(text)
    assert KEY not in plain(clean)
    if not any(piece in TRAP_KEYS for piece in pieces):
        rest = plain(clean)
        assert not any(KEY[:length] in rest for length in range(9, len(KEY)))
    assert ACCOUNT.redact(clean) == clean


PUMPS = st.sampled_from(["%25", "%", "&amp;", "amp;", "&", "\\", "0", KEY[:4]]) | st.text(
    "%25&amp;#0xX\\u4041e<br/> \t\n\ufeff", min_size=1, max_size=8
)
NOTICES = (
    "",
    "Notice: x in y on line 7",
    "<br />\n<b>Warning</b>:  x on line <b>7</b>",
    "{",
    "<br",
)


@pytest.mark.no_cover
@given(
    before=st.lists(TOLD_KEYS | st.sampled_from([KEY[:-1], KEY[:5], *NOTICES]) | PUMPS, max_size=3),
    pump=PUMPS | TOLD_KEYS | st.sampled_from(NOTICES),
    behind=st.lists(TOLD_KEYS | st.sampled_from(["x", " on line ", "", *NOTICES]), max_size=2),
)
def test_texts_that_repeat_hold_nothing_up(before: list[str], pump: str, behind: list[str]) -> None:
    """Whatever a page repeats, patterns go through it in as good as one pass.

    Were it more, these would take minutes.
    """
    begin()
    text = "".join([*before, pump * (100_000 // max(1, len(pump))), *behind])
    assert KEY not in ACCOUNT.redact(text)
    restore(text)
    body = text.encode()
    assert body.endswith(strip_noise(body))
    error = codec_of("get_links").decode(Answer(200, {"Server": text, "Retry-After": text}, body))
    assert isinstance(error, PPAPIError)
    assert KEY not in str(error)


TRAP_KEYS = (KEY[:-1], KEY[:-1] * 20, "".join(f"%25{ord(c):x}" for c in KEY[:-1]))


def plain(text: str) -> str:
    """Return a text without its escapes, however many times `told_key` applied them."""
    for _ in range(9):
        text = html.unescape(unquote(text, errors="replace"))
        text = re.sub(r"(?<!\\)\\+(?:u00|x)([0-9a-fA-F]{2})", lambda m: chr(int(m[1], 16)), text)
    return text


@given(query=st.text() | LINKS | st.text("&=;%?+a", max_size=200 * DEPTH))
def test_any_query_string_is_a_dict(query: str) -> None:
    """A landing page's query is whatever a visitor typed."""
    begin()
    link = Link(1, datetime.now(UTC), query_string=query)
    assert all(isinstance(value, str) for value in link.query.values())


@given(
    text=st.text()
    | st.lists(st.sampled_from(["&amp;", "&", "#039;", "s\u0435lect", "\u0435", "_"])).map("".join)
)
def test_restoring_ends_and_keeps_what_was_not_altered(text: str) -> None:
    """No text grows; one without entities and look-alikes stays as it is."""
    begin()
    restored = restore(text)
    assert len(restored) <= len(text)
    if "&" not in text and text.isascii():
        assert restored == text


@given(found=headers() | st.dictionaries(st.sampled_from(["Retry-After", "Date"]), TEXTS))
def test_any_wait_is_seconds_or_none(found: dict[str, str]) -> None:
    """Whatever stands in Retry-After and Date."""
    seconds = retry_after(found)
    assert seconds is None or 0 <= seconds < float("inf")


@given(data=st.data(), body=st.binary(max_size=300), limit=st.sampled_from([0, 10, 10**6]))
def test_bodies_are_whole_or_refused(data: st.DataObject, body: bytes, limit: int) -> None:
    """Any bytes in any pieces, packed or not: the body within the limit, or an error."""
    wire, said = data.draw(encoded(body))
    if data.draw(st.booleans()):
        wire = data.draw(st.binary(max_size=300))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    pieces = [wire[a:b] for a, b in pairwise([0, *cuts, len(wire)])]
    try:
        reader = BodyReader(said.get("Content-Encoding", ""), limit)
        for piece in pieces:
            reader.feed(piece)
        got = reader.close()
    except (CutShortError, BodyTooLargeError):
        return
    assert len(got) <= limit
    assert got == whole(said.get("Content-Encoding", ""), wire)


def whole(encoding: str, wire: bytes) -> bytes:
    """Return what a body unpacks to, in one go."""
    if "gzip" in encoding:
        return gzip.decompress(wire)
    if encoding == "deflate" and wire:
        return zlib.decompress(wire, zlib.MAX_WBITS if wire[0] & 15 == 8 else -zlib.MAX_WBITS)
    return wire


FIELDS = ("url", "name", "api_key", "link", "key_env", "key_file", "api_login", "timezone")
OTHER_FIELDS = ("dialect", "allow_http", "accounts", "defaults", "Api-Key", KEY)
VALUES = (
    *('"https://site.example"', '"http://127.0.0.1"', f'"{KEY}"', '"UTC"', '"Mars"', "true", "12"),
    *("1e5", "[]", "{}", "[1, 2]", "{ a = 1 }", "1979-05-27", '"""\n"""', "'''a'''", '"{name}"'),
    *('"{name.x}"', '"{0}"', '"{"', '"PATH"', '"none.key"', '"\\u0000"', '"clone"', '"user-api"'),
    *(f'"https://site.example/api.html?api_key={KEY}"', f'"https://{KEY}"', '"', "nan", "a.b", ""),
)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Return something like a file of accounts; never with a command, which would be run."""
    lines = []
    headings = st.sampled_from(
        ["[[accounts]]", "[[accounts]]", "[defaults]", "[accounts]", "[x.y]"]
    )
    for _ in range(draw(st.integers(0, 6 * DEPTH))):
        if draw(st.booleans()):
            lines.append(draw(headings))
        else:
            name, value = (
                draw(st.sampled_from(FIELDS + OTHER_FIELDS)),
                draw(st.sampled_from(VALUES)),
            )
            lines.append(f"{name}{draw(st.sampled_from([' = ', '=', '.a = ', ' ']))}{value}")
    if draw(st.booleans()):
        lines.insert(0, f'[[accounts]]\nurl = "https://b.example"\napi_key = "{KEY}"')
    content = "\n".join(lines).encode("utf-8", "surrogatepass")
    at = draw(st.integers(0, len(content)))
    more = draw(st.sampled_from([b"", b"", b"\xff", b"\xef\xbb\xbf", b"\r", b"\x00", b"[" * 3000]))
    return content[:at] + more + content[at:]


@given(content=files() | st.binary(max_size=200))
def test_files_of_accounts_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """Accounts, or one ValueError with what is wrong, line by line and without the key."""
    begin()
    path = tmp_path_factory.getbasetemp() / "accounts.toml"
    path.touch(0o600)
    path.write_bytes(content)
    try:
        accounts = load_accounts(path)
    except ValueError as error:
        assert_absent(KEY, error)
    else:
        assert accounts
        assert_absent(KEY, [one for one in accounts if KEY not in one.url])


# --- what was found


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
    assert isinstance(finish(data_steps(answer, Reader(ACCOUNT, "test"))), DecodeError)


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
    receipt = finish(receipt_steps(paid, Reader(ACCOUNT, "add_payout")))
    assert isinstance(receipt, PayoutReceipt)
    refused = Answer(200, {}, f'{{"error":1,"error_text":{text}}}'.encode())
    assert isinstance(finish(receipt_steps(refused, Reader(ACCOUNT, "add_payout"))), ApiError)


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


@pytest.mark.no_cover
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


@pytest.mark.parametrize("told", ["", "a", "AAAA", _packed("1 x"), _packed(str(2**64))])
def test_a_position_whose_ids_are_damaged_is_a_value_error(told: str) -> None:
    """Raised zlib.error or OverflowError, from within a stream."""
    with pytest.raises(ValueError, match="checkpoint: is damaged"):
        Told().unpack([told])


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

"""Positions, redaction, texts: whatever comes is a value or an error of ours, and takes no time."""

from __future__ import annotations

import base64
import contextlib
import html
import random
import re
import zlib
from array import array
from collections.abc import (
    Callable,
    Sequence,
)
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppapi_async import (
    Account,
    Info,
    Link,
    PPAPIError,
)
from ppapi_async.accounts_file import load_accounts
from ppapi_async.models import Row
from ppapi_async.protocol import (
    Answer,
    Reader,
    decode_info,
    dump_stored,
    parse_stored,
)
from ppapi_async.protocol.dialects import endpoints
from ppapi_async.protocol.page import Page
from ppapi_async.protocol.responses import retry_after, strip_noise
from ppapi_async.protocol.text import restore
from ppapi_async.streaming.state import HandedOut, Identity, Position
from ppapi_async.transport.body import BodyReader, BodyTooLargeError, CutShortError
from tests.conftest import DEPTH
from tests.leaks import assert_absent
from tests.properties.mutated import Mutant, encoded, headers, mutants, spelled_keys
from tests.properties.test_fuzz import (
    ACCOUNT,
    RECORDS,
    _watched,  # noqa: F401 - a fixture of all
    begin,
    codec_of,
    whole,
)
from tests.sites.raw import KEY

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
        decoded = decode_info(mutant.answer, Reader(ACCOUNT, "get_info"))
        records: Sequence[Row | Info] = [decoded[0]] if isinstance(decoded, tuple) else []
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


POSITION = Position(5, 9, 3, HandedOut(array("q", [3, 1, 2])).pack(), finished=False).dump(IDENTITY)


@given(data=st.data())
def test_a_damaged_position_is_a_value_error(data: st.DataObject) -> None:
    """A checkpoint's JSON, any part of it replaced or lost, can be gone on with or is refused."""
    begin()
    changed: dict[str, Any] = dict(POSITION)
    for name in data.draw(st.lists(st.sampled_from(sorted(POSITION)), max_size=3)):
        packed = st.binary(max_size=20).map(lambda raw: base64.b64encode(zlib.compress(raw)))
        texts = st.lists(TEXTS | packed.map(bytes.decode), max_size=3)
        changed[name] = data.draw(JSONS | texts)
    for name in data.draw(st.lists(st.sampled_from(sorted(POSITION)), max_size=1)):
        changed.pop(name, None)
    try:
        position = Position.parse(changed, IDENTITY)
        handed_out = HandedOut()
        handed_out.unpack(position.handed_out_ids)
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


@pytest.mark.untraced
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
        is_held = KEY.lower() in plain(account.url + account.name).lower()
        if not is_held and account.api_key.reveal() == KEY:
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


@pytest.mark.untraced
@settings(max_examples=15 * DEPTH)  # of a hundred thousand characters
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

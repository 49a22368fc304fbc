"""Redaction: whatever a page makes of a key, no piece of it is left; and it takes no time."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ppapi_async import Account, Secret
from ppapi_async.secret import Redactor
from tests.leaks import SPELLINGS, assert_absent

KEY = "Ab3dEf6hIj9kLmN0pQrStUv2xYz45678"
ODD_KEY = "k+/=&%ü\"<\\'9f3a7c21e8b04d65f1a2"
KEYS = {"plain": KEY, "odd": ODD_KEY}
REDACTOR = Redactor([Secret(KEY)])


def _entities_in_percent(text: str) -> str:
    return quote("".join(f"&#{ord(c)};" for c in text), safe="")


WRITTEN: Mapping[str, Callable[[str], str]] = {
    **SPELLINGS,
    "UTF-16, read as UTF-8": "\0".join,
    "UTF-16, in a repr": lambda text: repr("\0".join(text)),
    "UTF-16, in JSON": lambda text: json.dumps("\0".join(text)),
    "UTF-16, percent": lambda text: quote("\0".join(text)),
    "UTF-16, big end": lambda text: "".join(f"\0{c}" for c in text),
    "UTF-32": "\0\0\0".join,
    "with what shows nothing": "\u200b".join,
    "with soft hyphens": "\xad".join,
    "with marks of direction": lambda text: "\u202e" + "\u2066".join(text),
    "with escapes of terminals": "\x1b".join,
    "entities, without ends": lambda text: "".join(f"&#{ord(c)} " for c in text).replace(" ", ""),
    "entities in percent": _entities_in_percent,
    "percent in entities": lambda text: "".join(f"&#{ord(c)};" for c in quote(text)),
    "percent in JSON": lambda text: json.dumps(quote(text))[1:-1],
    "JavaScript": lambda text: "".join(f"%u{ord(c):04x}" for c in text),
    "braces of Python": lambda text: "".join(f"\\U{ord(c):08x}" for c in text),
    "upper case": str.upper,
    "lower case": str.lower,
    "upper case, percent": lambda text: quote(text.upper(), safe=""),
}


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("spelling", WRITTEN)
def test_promise_4_no_piece_of_a_key_is_left(spelling: str, kind: str) -> None:
    """Of eight characters and more, from anywhere in the key; alone, and cut off at its ends."""
    key, write = KEYS[kind], WRITTEN[spelling]
    redactor = Redactor([Secret(key)])
    for start in (0, 1, 5, 11):
        for length in (8, 9, 12, len(key)):
            piece = key[start : start + length]
            shown = redactor.redact(f"sign [{write(piece)}] again")
            assert_absent(key, shown)
            assert shown.startswith("sign [")
            assert shown.endswith("] again")
            assert len(shown) <= len("sign ['***'] again"), shown


@pytest.mark.untraced
@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("spelling", WRITTEN)
def test_promise_4_no_text_that_breaks_off_tells_a_key(spelling: str, kind: str) -> None:
    """At any character: what is left is shorter than five characters of the key."""
    key = KEYS[kind]
    redactor, written = Redactor([Secret(key)]), WRITTEN[spelling](key)
    beginning = len(WRITTEN[spelling](key[:5]))
    for end in range(beginning, len(written), 1 + len(written) // 60):
        shown = redactor.redact(f"sign [{written[:end]}")
        assert shown.startswith("sign [")
        assert "***" in shown, written[:end]
        assert_absent(key, shown)


def test_pieces_of_seven_characters_are_words_like_any() -> None:
    """Unless the text breaks off there."""
    assert REDACTOR.redact(f"of {KEY[3:10]}, {KEY[:7]} and more") == (
        f"of {KEY[3:10]}, {KEY[:7]} and more"
    )
    assert REDACTOR.redact(f"cut {KEY[:7]}") == REDACTOR.redact(f"cut {KEY[:4]}") == "cut ***"
    assert REDACTOR.redact(f"cut {KEY[:3]}") == f"cut {KEY[:3]}"


def test_a_short_key_is_redacted_as_a_whole() -> None:
    """A piece of it could be any word."""
    redactor = Redactor([Secret("k3y!abc")])
    assert redactor.redact("k3y!abc K3Y%21abc k3y!ab k3y!") == "*** *** k3y!ab k3y!"


@pytest.mark.parametrize("odd", ["&nothing;", "&#1114112;", "&#xffffff;", "\\U00110000"])
def test_what_looks_like_a_spelling_and_is_none_is_left(odd: str) -> None:
    """An entity of no name, a number of no character: the key beside it is found all the same."""
    clean = REDACTOR.redact(f"a {odd} b %41 {KEY} {odd}")
    assert KEY not in clean
    assert clean.count(odd) == 2


def test_bytes_that_are_no_utf_8_are_characters_all_the_same() -> None:
    """A key of such characters, percent-encoded by a site that has another encoding."""
    key = "Ab3dEf6h\xe4\xf6\xfc\xdf9kLmN0pQrStUv2xYz"
    clean = Redactor([Secret(key)]).redact(f"a {quote(key.encode('latin-1'))} b")
    assert clean == "a *** b"


@pytest.mark.parametrize("layers", [6, 7, 12, 13, 20])
def test_however_often_a_beginning_is_spelled_the_rest_is_redacted(layers: int) -> None:
    """Layer upon layer, in turns: after a dozen of them no more is undone, and nothing is told."""
    written = KEY
    for number in range(layers):
        first = f"&#{ord(written[0])};" if number % 2 else f"%{ord(written[0]):02x}"
        written = first + written[1:]
    clean = REDACTOR.redact(f"a {written} b")
    assert KEY[1:] not in clean
    assert clean.endswith("*** b")


def test_only_what_tells_is_replaced() -> None:
    """What stands around stays as it was, whatever is escaped there."""
    text = (
        f"a%20b &amp; c\\d <{KEY}>\0 %3C{quote(KEY)}%3E &lt;{KEY[2:14]}&gt; é%C3%A9 100% & more\\"
    )
    assert REDACTOR.redact(text) == (
        "a%20b &amp; c\\d <***>\0 %3C***%3E &lt;***&gt; é%C3%A9 100% & more\\"
    )
    plain = "a%20b &amp; c\\d \0 100% & İstanbul\\"
    assert REDACTOR.redact(plain) is plain


def test_characters_that_grow_in_lower_case_move_nothing() -> None:
    """`İ` is two characters in lower case."""
    assert REDACTOR.redact(f"İİİİ {KEY} İ") == "İİİİ *** İ"


def test_a_key_that_looks_like_a_spelling_is_found_as_it_is_and_undone() -> None:
    """A key may hold `%41` or `&amp;`."""
    key = "k%41b&amp;c\\u0041-0123"
    redactor = Redactor([Secret(key)])
    for way in ("raw", "percent", "percent twice", "HTML", "JSON"):
        assert redactor.redact(f"<{SPELLINGS[way](key)}>") == "<***>"
    assert redactor.redact("<kab&c\\u0041-0123>") == "<***>"


PIECES = st.one_of(
    st.text(max_size=5),
    st.sampled_from(
        ["%", "%25", "&amp;", "&#", "\\", "\\\\", "\0", "\u200b", "%u", "\\x", ";", "İ"]
    ),
    st.builds(
        lambda write, start, length: WRITTEN[write](KEY[start : start + length]),
        st.sampled_from(list(WRITTEN)),
        st.integers(0, 24),
        st.integers(1, 32),
    ),
)


@pytest.mark.untraced
@given(parts=st.lists(PIECES, max_size=8))
@example(parts=["%", WRITTEN["percent, all of it"](KEY)])
@example(parts=["\\", WRITTEN["JSON, upper hex"](KEY)])
@example(parts=["&", WRITTEN["HTML, decimal"](KEY), "%2"])
def test_promise_4_whatever_stands_around_no_key_is_left(parts: list[str]) -> None:
    """What was redacted holds no piece, and nothing is left to be redacted."""
    text = "".join(parts)
    shown = REDACTOR.redact(text)
    for known in (KEY, KEY.lower(), KEY.upper()):
        assert_absent(known, shown)
    assert REDACTOR.redact(shown).replace("***", "") in shown.replace("***", "")


LONG: Mapping[str, str] = {
    "key": f"{KEY} ",
    "its beginning, and a plus": f"{KEY[:8]}%2B",
    "less than a piece, and a plus": f"{KEY[:7]}%2B",
    "quarters of it": "Ab3dEf6h9k",
    "plus": "%2B",
    "percent": "%25",
    "twenty-five": "25",
    "percent signs": "%",
    "entities": "&#65;",
    "ampersands": "&amp;",
    "amp": "amp;",
    "zeros": "0",
    "mixed": "%2525252526amp%3Bamp;\\\\u0026",
    "backslashes": "\\",
    "NULs": "A\0b\0003\0d\0",
    "percent-encoded": "%41%62%33%64",
    "surrogates": "\\ud83d\\ude00\\ud83d",
    "names": "&notanentityofanykind",
}


@pytest.fixture
def _uncollected() -> Iterator[None]:
    """Keep the collector away, which takes a third of a second for what other tests have left."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.untraced
@pytest.mark.usefixtures("_uncollected")
@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("start", ["", "%", "&", "&#", "\\", KEY[:-1]], ids=range(6))
def test_redaction_takes_time_in_proportion_to_the_text(name: str, start: str) -> None:
    """A text eight times as long takes about eight times as long, and little at all."""
    took = []
    for length in (8_000, 64_000):
        text = start + LONG[name] * (length // len(LONG[name]))
        began = time.process_time()
        REDACTOR.redact(text)
        took.append(time.process_time() - began)
    assert took[1] < 40 * took[0] + 0.05, took
    assert took[1] < 1.0


@pytest.mark.usefixtures("_uncollected")
def test_a_text_without_a_secret_takes_microseconds() -> None:
    """Nearly all texts hold none, and polls make many."""
    text = "the API refused: Error! There is not enough money on your balance (error 1)"
    began = time.process_time()
    for _ in range(1_000):
        REDACTOR.redact(text)
    assert time.process_time() - began < 0.1


def test_promise_4_a_redactor_shows_nothing() -> None:
    """Neither in its repr, nor through attributes and slots."""
    redactor = Redactor([Secret(KEY), Secret(ODD_KEY)])
    assert_absent(KEY, redactor, *redactor._patterns())
    account = Account("https://a.example", KEY, api_login=ODD_KEY)
    assert_absent(ODD_KEY, account, account._redactor)


def test_a_secret_that_is_empty_is_looked_for_nowhere() -> None:
    """It is refused elsewhere, by a message that may be redacted before."""
    assert Redactor([Secret("")]).redact("nothing") == "nothing"

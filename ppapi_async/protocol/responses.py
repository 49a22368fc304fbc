"""From an HTTP answer to the API's envelope, or to the error that it is.

The envelope is strict JSON from the first byte to the last; what PHP prints before it is taken off
by its exact form, never by looking for something that resembles JSON.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeAlias, TypeVar

import msgspec
from attrs import field, frozen

from ppapi_async.account import Account, Dialect
from ppapi_async.errors import (
    ApiDisabledError,
    ApiError,
    AuthError,
    BlockedError,
    DecodeError,
    MethodNotSupportedError,
    PayoutRejected,
    PPAPIError,
    RateLimitedError,
    RedirectError,
    ResponseError,
    ServerError,
)

__all__ = [
    "LARGEST_INFO",
    "Answer",
    "Decoder",
    "Envelope",
    "Reader",
    "Slices",
    "clock_ahead",
    "finish",
    "read_answer",
]

T = TypeVar("T")

SUCCESSES = (None, "success", "ok")
"""What the `status` of a clone's success may say."""
LARGEST_INFO = 1024 * 1024
"""Bytes of an answer to get_info; real ones have a few hundred for each payout method."""
_EXCERPT = 200
_MARGIN = 512
"""Characters looked at beyond what is shown: a piece of a key that begins within what is shown is
then long enough to be known for one, in whatever spelling."""
_MOST_NOISE = 1024 * 1024
"""Bytes that PHP may print before the JSON."""
_LONGEST_TEXT = 8192
"""Bytes of an `error_text` that are decoded; no more than 500 characters are shown."""
_SECONDS = re.compile(r"[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30}")
_FIRST_CLOCK, _LAST_CLOCK = 946_684_800, 7_258_118_400  # the years 2000 and 2200
_LONGEST_ASKED = 86_400.0
_LOOKED_AT = 4096  # of a page that is not the API's
_TELLING_HEADERS = ("Server", "Content-Type", "Retry-After", "CF-RAY", "CF-Mitigated", "Location")
_NOISE = re.compile(  # there is one way only to match a text, so that none takes long
    rb"(?:\s+|\xef\xbb\xbf|(?:<br\s*/?>\s*)?(?:<b>)?(?:PHP )?"
    rb"(?:Warning|Notice|Deprecated|Strict Standards|User Warning|User Notice|User Deprecated)"
    rb"(?:</b>)?:\s[^\n]{1,4000}? on line (?:<b>)?\d{1,7}(?:</b>)?(?:<br\s*/?>)?"
    rb"[ \t\r]*(?:\n|(?=\{)))*"
)
_FATAL = re.compile(
    rb"(?:Fatal error|Parse error|critical error|Allowed memory size|database)", re.IGNORECASE
)
_CHALLENGE = re.compile(
    rb"just a moment|challenge-platform|cf-chl|captcha|attention required|access denied"
    rb"|ddos|you have been blocked|(?:your|this) (?:country|region|ip)|not available in",
    re.IGNORECASE,
)


@frozen
class Answer:
    """An HTTP answer as it came: the body already decompressed and within its limit."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


Slices: TypeAlias = Generator[None, None, T | PPAPIError]
"""What is decoded in slices, between which others may run. An error is returned, not raised."""
Decoder: TypeAlias = Callable[[Answer], T | PPAPIError | Slices[T]]
"""Makes of an answer a value or the error that it is: what is small at once, pages in slices."""


def finish(slices: Generator[None, None, T]) -> T:
    """Decode all slices in one go and return what comes of them."""
    while True:
        try:
            next(slices)
        except StopIteration as stop:
            value: T = stop.value
            return value


@frozen
class Reader:
    """Who asked what: errors name it, and redact with it."""

    account: Account
    method: str

    def clip(self, text: str, length: int = _EXCERPT) -> str:
        r"""Return the redacted beginning of `text` on one line, as it can be shown anywhere.

        Cut before it is redacted, with a margin: a site may send megabytes, and what goes into an
        error must not take longer for that. What would steer a terminal, or turn the order of the
        text round, is written out (`\x1b`).
        """
        seen = text[: length + _MARGIN]
        clean = " ".join(self.account.redact(seen).split()).translate(_WRITTEN_OUT)
        is_cut = len(clean) > length or len(text) > len(seen)
        return clean[:length] + "…" if is_cut else clean


_WRITTEN_OUT = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for span in (
        range(0x20),  # C0: among them the escape that begins a terminal's commands
        range(0x7F, 0xA0),  # C1: the same for terminals of eight bits
        (0xAD, 0x61C, 0x180E, 0xFEFF),
        range(0x200B, 0x2010),  # what has no width, and marks of direction
        range(0x2028, 0x202F),  # separators of lines, embeddings and overrides
        range(0x2060, 0x2070),  # what cannot be seen, and isolates
        range(0xD800, 0xE000),  # halves of characters, which no file takes
        range(0xFFF9, 0xFFFC),
        range(0xE0000, 0xE0080),  # tags, which nothing shows
    )
    for code in span
}
"""Characters that a text from a site does not keep where it is shown."""


class Envelope(msgspec.Struct):
    """What every answer of the API is wrapped in."""

    error: msgspec.Raw
    error_text: msgspec.Raw = msgspec.Raw(b'""')
    status: str | None = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    @property
    def code(self) -> int:
        """The error as a number; the wire has 0, "0", 1, "1", 2, 3."""
        return error_code(_beginning(self.error))

    @property
    def text(self) -> str:
        """The error's text; whatever else stands there, as it is written."""
        raw = bytes(memoryview(self.error_text)[:_LONGEST_TEXT])
        whole = len(memoryview(self.error_text)) <= _LONGEST_TEXT
        # Where a longer one is cut there may be the middle of a character: 12 bytes at the most.
        for text in (raw,) if whole else (raw[: len(raw) - n] + b'"' for n in range(13)):
            try:
                return msgspec.json.decode(text, type=str | None) or ""
            except (msgspec.DecodeError, UnicodeDecodeError):
                pass
        return raw.decode(errors="replace")

    @property
    def dialect(self) -> Dialect | None:
        """Which server writes an envelope like this; None where it does not tell."""
        return recognise(_beginning(self.error), self.status)


def _beginning(raw: msgspec.Raw) -> bytes:
    """Return as much of a raw value as is looked at; a number or a word is shorter."""
    return bytes(memoryview(raw)[:_LONGEST_TEXT])


_ENVELOPE = msgspec.json.Decoder(Envelope)


def error_code(raw: bytes) -> int:
    """Return the number of an envelope's raw `error`; -1 for what is none."""
    text = raw.strip(b'"') if len(raw) < 20 else b""
    return int(text) if text.isdigit() and len(text) < 10 else -1


def recognise(error: bytes, status: str | None) -> Dialect | None:
    """Return the dialect whose success looks like this (wire notes, first table).

    Refusals look the same on classic and 2.7, so they tell nothing.
    """
    if error not in (b"0", b'"0"'):
        return None
    if status is not None:
        return Dialect.CLONE
    return Dialect.CLASSIC if error == b"0" else Dialect.DELEGATING


def read_answer(answer: Answer, reader: Reader) -> Envelope | PPAPIError:
    """Return the envelope of a success, or the error that the answer is.

    An error is returned, not raised: the frames here hold the body, which may echo the key, and
    must not become part of a traceback.
    """
    envelope = parse_envelope(answer.body) if answer.body else None
    if envelope is None:
        return _not_the_api(answer, reader)
    # A gateway's JSON may look like one. So a success comes with 200, a refusal also with 4xx; but
    # that a payout was refused is believed with 200 only, since whoever believes it may pay again.
    refused = 400 <= answer.status < 500 and answer.status not in (408, 429) and envelope.code != 0
    if answer.status != 200 and (reader.method == "add_payout" or not refused):
        return _not_the_api(answer, reader)
    if envelope.code != 0 or envelope.status not in SUCCESSES:
        return _refusal(envelope, reader)
    return envelope


def strip_noise(body: bytes) -> bytes:
    """Return `body` without byte-order marks and PHP's warnings and notices before the JSON."""
    noise = _NOISE.match(body, 0, _MOST_NOISE)
    return body[noise.end() :] if noise else body


def parse_envelope(body: bytes) -> Envelope | None:
    """Return the envelope that the whole of `body` is, None if it is none."""
    try:
        return _ENVELOPE.decode(strip_noise(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _refusal(envelope: Envelope, reader: Reader) -> ApiError | DecodeError:
    """Return the error that a refusing envelope means (wire notes, "Errors")."""
    text = reader.clip(envelope.text, 500)
    code = envelope.code
    if code > 0:
        return refusal(code, text, reader)
    name, raw = "status", envelope.status or ""
    if code < 0:
        name, raw = "error", _beginning(envelope.error).decode(errors="replace")
    value = reader.clip(raw, 50)
    return DecodeError(
        f"the envelope's {name} is {value!r}, which means neither yes nor no",
        account=reader.account.name,
        method=reader.method,
        problems=[(name, value)],
    )


def refusal(code: int, text: str, reader: Reader) -> ApiError:
    """Return the error for a refusal with this code and text."""
    said, advice = text.lower(), ""
    kind: type[ApiError] = PayoutRejected if reader.method == "add_payout" else ApiError
    if "rest api key" in said or "ключа rest api" in said or "ip blocked" in said or code == 2:
        kind, advice = AuthError, "check the key and its list of addresses"
    elif "method not supported" in said or code == 3:
        kind, advice = MethodNotSupportedError, "ask the site to enable the method for this key"
    elif "api disabled" in said:
        kind = ApiDisabledError
        advice = "off or in maintenance; on 2.7 sites a wrong key says so too"
    message = f"the API refused: {text or 'no reason given'} (error {code})"
    error = kind(
        f"{message}; {advice}" if advice else message,
        account=reader.account.name,
        method=reader.method,
        code=code,
        text=text,
    )
    if isinstance(error, PayoutRejected):
        error.reason = payout_reason(said)
    return error


_REASONS = (
    ("blacklist", ("blacklist", "черном списке", "чёрном списке")),
    ("account", ("wallet account", "кошел")),
    ("balance", ("not enough money", "недостаточно средств")),
    ("currency", ("unable to make a selected currency",)),
    ("method", ("currency can not be ordered", "запрещено выводить")),
    ("programme", ("partner program", "partner id")),
)


def payout_reason(text: str) -> str:
    """Return why a payout was refused; in Russian `currency` reads like `method`."""
    return next((reason for reason, marks in _REASONS if any(m in text for m in marks)), "other")


def _not_the_api(answer: Answer, reader: Reader) -> PPAPIError:
    status, body = answer.status, answer.body[:_LOOKED_AT]
    # Classic's way of saying no. Of a payout it says nothing: it may come from what stands between.
    if status == 501 and not body.strip() and reader.method != "add_payout":
        advice = "unknown method, or the site's API module is off"
        return MethodNotSupportedError(
            f"HTTP 501: {advice}", account=reader.account.name, method=reader.method, code=status
        )
    kind, message = _kind_of_page(status, answer.headers, body)
    error = kind(
        message,
        account=reader.account.name,
        method=reader.method,
        status=status,
        headers=telling_headers(answer.headers, reader),
        excerpt=reader.clip(body.decode("utf-8", "replace")),
    )
    error.retry_after = retry_after(answer.headers)
    return error


def _kind_of_page(
    status: int, headers: Mapping[str, str], body: bytes
) -> tuple[type[ResponseError], str]:
    """Return the class of error that a page is, and what to tell of it."""
    if status == 429:
        return RateLimitedError, "too many requests; poll less often"
    if 300 <= status < 400:
        return (
            RedirectError,
            "the site redirects, which is not followed; if it moved, use its new url",
        )
    if status in (401, 403, 451) or headers.get("CF-Mitigated") or _CHALLENGE.search(body):
        return (
            BlockedError,
            "a page stands before the API; ask the site to let this address through",
        )
    if status >= 500 or _FATAL.search(body):
        return ServerError, f"the server failed with HTTP {status}"
    if status == 404:
        return ResponseError, "no API at this url; check the url, or the site has removed its API"
    if not body.strip():
        return ResponseError, "the answer is empty"
    return ResponseError, "the answer is not the API's"


def telling_headers(headers: Mapping[str, str], reader: Reader) -> dict[str, str]:
    """Return the headers that tell who answered, without queries and without the key."""
    return {
        name: reader.clip(headers[name]).partition("?")[0]
        for name in _TELLING_HEADERS
        if name in headers
    }


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds of a Retry-After header, a day at the most; None without one.

    They stand there as a number, some servers write a fraction, or as a date. A date is compared
    with the server's own clock where it tells, else with ours.
    """
    text = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), _LONGEST_ASKED)
    until = _http_date(text)
    if until is None:
        return None
    now = now or _http_date(headers.get("Date", "")) or datetime.now(UTC)
    return min(max(0.0, (until - now).total_seconds()), _LONGEST_ASKED)


def clock_ahead(headers: Mapping[str, str], now: float) -> float | None:
    """Return by how many seconds the server's `Date` is ahead of `now`; None where it has none.

    The `Age` of an answer that a cache has kept is added. Up to a second is the header's own. What
    no clock shows, such as the year 9999, is none.
    """
    date = _http_date(headers.get("Date", ""))
    if date is None or not _FIRST_CLOCK <= date.timestamp() < _LAST_CLOCK:
        return None
    age = headers.get("Age", "").strip()
    kept = int(age) if age.isascii() and age.isdigit() and len(age) < 10 else 0
    ahead = date.timestamp() + kept - now
    return 0.0 if -1.0 <= ahead <= 1.0 else ahead


def _http_date(text: str) -> datetime | None:
    """Return the instant that a header names, None if it is none; servers write anything there."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)

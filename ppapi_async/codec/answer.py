"""From an HTTP answer to the API's envelope, or to the error that it is.

The envelope is strict JSON from the first byte to the last; what PHP prints before it is taken off
by its exact form, never by looking for something that resembles JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

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

__all__ = ["Answer", "Envelope", "Reader", "clock_ahead", "read_answer"]

SUCCESSES = (None, "success", "ok")
"""What the `status` of a clone's success may say."""
_EXCERPT = 200
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


@frozen
class Reader:
    """Who asked what: errors name it, and redact with it."""

    account: Account
    method: str

    def clip(self, text: str, length: int = _EXCERPT) -> str:
        """Return the redacted beginning of `text` on one line."""
        clean = " ".join(self.account.redact(text).split())
        return clean if len(clean) <= length else clean[:length] + "…"


class Envelope(msgspec.Struct):
    """What every answer of the API is wrapped in."""

    error: msgspec.Raw
    error_text: msgspec.Raw = msgspec.Raw(b'""')
    status: str | None = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    @property
    def code(self) -> int:
        """The error as a number; the wire has 0, "0", 1, "1", 2, 3."""
        return error_code(bytes(self.error))

    @property
    def text(self) -> str:
        """The error's text; whatever else stands there, as it is written."""
        raw = bytes(self.error_text)
        try:
            return msgspec.json.decode(raw, type=str | None) or ""
        except (msgspec.DecodeError, UnicodeDecodeError):
            return raw.decode(errors="replace")

    @property
    def dialect(self) -> Dialect | None:
        """Which server writes an envelope like this; None where it does not tell."""
        return recognise(bytes(self.error), self.status)


_ENVELOPE = msgspec.json.Decoder(Envelope)


def error_code(raw: bytes) -> int:
    """Return the number of an envelope's raw `error`; -1 for what is none."""
    text = raw.strip(b'"')
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
    if envelope is None or not _may_be_the_api(answer.status, envelope.code, reader.method):
        return _not_the_api(answer, reader)
    if envelope.code != 0 or envelope.status not in SUCCESSES:
        return _refusal(envelope, reader)
    return envelope


def _may_be_the_api(status: int, code: int, method: str) -> bool:
    """Tell whether an envelope is to be believed that comes with this HTTP status.

    A gateway's JSON may look like one. So a success comes with 200, a refusal also with 4xx; but
    that a payout was refused is believed with 200 only, since whoever believes it may pay again.
    """
    if status == 200:
        return True
    return 400 <= status < 500 and status not in (408, 429) and code != 0 and method != "add_payout"


def strip_noise(body: bytes) -> bytes:
    """Return `body` without byte-order marks and PHP's warnings and notices before the JSON."""
    noise = _NOISE.match(body)
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
        name, raw = "error", bytes(envelope.error).decode(errors="replace")
    value = reader.clip(raw, 50)
    return DecodeError(
        f"the envelope's {name} is {value!r}, which means neither yes nor no",
        account=reader.account.name,
        method=reader.method,
        problems=[(name, value)],
    )


def refusal(code: int, text: str, reader: Reader) -> ApiError:
    """Return the error for a refusal with this code and text."""
    kind, advice = _kind_of_refusal(code, text.lower(), reader.method)
    message = f"the API refused: {text or 'no reason given'} (error {code})"
    error = kind(
        f"{message}; {advice}" if advice else message,
        account=reader.account.name,
        method=reader.method,
        code=code,
        text=text,
    )
    if isinstance(error, PayoutRejected):
        error.reason = payout_reason(text.lower())
    return error


def _kind_of_refusal(code: int, text: str, method: str) -> tuple[type[ApiError], str]:
    if "rest api key" in text or "ключа rest api" in text or "ip blocked" in text or code == 2:
        return AuthError, "check the key and its list of addresses"
    if "method not supported" in text or code == 3:
        return MethodNotSupportedError, "ask the site to enable the method for this key"
    if "api disabled" in text:
        return ApiDisabledError, "off or in maintenance; on 2.7 sites a wrong key says so too"
    return (PayoutRejected, "") if method == "add_payout" else (ApiError, "")


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
    if status == 501 and not body.strip():  # classic's way of saying no
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
    if isinstance(error, RateLimitedError):
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
        return ResponseError, "no API at this url; check it, or the site has removed its API"
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
    """Return the seconds of a Retry-After header, in either of its forms; None without one.

    A date is compared with the server's own clock where it tells, else with ours.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    until = _http_date(text)
    if until is None:
        return None
    now = now or _http_date(headers.get("Date", "")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds())


def clock_ahead(headers: Mapping[str, str], now: float) -> float | None:
    """Return by how many seconds the server's `Date` is ahead of `now`; None where it has none.

    The `Age` of an answer that a cache has kept is added. Up to a second is the header's own.
    """
    date = _http_date(headers.get("Date", ""))
    if date is None:
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

"""Faults on demand: what hosts, proxies, PHP and the network do to an answer."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import format_datetime
from enum import StrEnum
from urllib.parse import urlsplit

from attrs import define, evolve, frozen

from .manners import HTML_TYPE, JSON_TYPE, Call, SentAnswer, html_answer


class Fault(StrEnum):
    """What can go wrong.

    Most faults replace the answer: the call is not processed, or with ``after=True`` it is, and its
    answer is lost. The others spoil the real answer, so their call is always processed.
    """

    # Replace the answer: the connection.
    CLOSED = "closed"
    RESET = "reset"
    HALF_HEADER = "half-header"
    HANG = "hang"
    # Replace the answer: pages that are not the API's.
    HTML_404 = "html-404"
    HTML_429 = "html-429"
    HTML_500 = "html-500"
    HTML_502 = "html-502"
    HTML_503 = "html-503"
    HTML_504 = "html-504"
    HTML_520 = "html-520"
    HTML_524 = "html-524"
    CHALLENGE_403 = "challenge-403"
    GEO_200 = "geo-200"
    FATAL_200 = "fatal-200"
    KEY_ECHO = "key-echo"
    REDIRECT_301 = "redirect-301"
    REDIRECT_302 = "redirect-302"
    REDIRECT_307 = "redirect-307"
    # Replace the answer: bodies.
    EMPTY = "empty"
    NULL = "null"
    FALSE = "false"
    API_DISABLED = "api-disabled"
    API_ERROR = "api-error"
    HUGE = "huge"
    GZIP_BOMB = "gzip-bomb"
    # Spoil the real answer.
    BODY_CUT = "body-cut"
    CHUNKED_CUT = "chunked-cut"
    TRUNCATED_JSON = "truncated-json"
    GZIP = "gzip"
    GZIP_CUT = "gzip-cut"
    NOTICE_HTML = "notice-html"
    NOTICE_PLAIN = "notice-plain"
    BOM = "bom"
    CP1251 = "cp1251"
    SLOW = "slow"
    FILTER_IGNORED = "filter-ignored"


@frozen
class Cut:
    """An answer that ends with the connection: what is still sent, and how it ends."""

    sent: bytes = b""
    reset: bool = False


Outcome = SentAnswer | Cut
OwnFault = Callable[[Call, SentAnswer], Outcome]
"""A fault of one's own: makes of a call and its true answer what is sent."""


@define(kw_only=True, eq=False)
class PlannedFault:
    """A fault that waits for its calls; see `FaultQueue.add`."""

    fault: Fault | OwnFault
    method: str | None
    times: int | None
    skip: int
    after: bool
    when: Callable[[Call], bool] | None
    retry_after: int | str | datetime | None
    seconds: float
    location: str
    size: int
    status: int
    code: int | str
    text: str

    @property
    def name(self) -> str:
        """What the fault is called."""
        if isinstance(self.fault, Fault):
            return self.fault
        return getattr(self.fault, "__name__", type(self.fault).__name__)

    def matches(self, method: str, call: Call) -> bool:
        """Tell whether the fault is meant for this call."""
        if self.method is not None and self.method != method:
            return False
        return self.when is None or self.when(call)


class FaultQueue:
    """The planned faults; the first that matches a call strikes it."""

    def __init__(self) -> None:
        """Start with no faults."""
        self._planned: list[PlannedFault] = []
        self._released = asyncio.Event()

    def __len__(self) -> int:
        return len(self._planned)

    def add(
        self,
        fault: Fault | OwnFault,
        *,
        method: str | None = None,
        times: int | None = 1,
        skip: int = 0,
        after: bool = False,
        when: Callable[[Call], bool] | None = None,
        retry_after: int | str | datetime | None = None,
        seconds: float = 1.0,
        location: str = "/elsewhere/api.html",
        size: int = 64 * 1024 * 1024,
        status: int = 200,
        code: int | str = 1,
        text: str = "Api disabled",
    ) -> PlannedFault:
        """Plan a fault for the next `times` calls (None: for all) that match, after `skip` of them.

        `fault` may be a function of yours: it takes the call and its true answer and returns what
        is sent, a `SentAnswer` or a `Cut`. `method` is the name that the vendor's page uses, on
        every dialect. `after` processes the call before its answer is replaced: a payout is booked
        all the same. `retry_after` goes with the HTML statuses, `seconds` with SLOW, `location`
        with redirects (the query is appended), `size` (bytes, decompressed) with HUGE and
        GZIP_BOMB, `status` with KEY_ECHO, `code` and `text` with API_ERROR.
        """
        planned = PlannedFault(
            fault=fault, method=method, times=times, skip=skip, after=after, when=when,
            retry_after=retry_after, seconds=seconds, location=location, size=size,
            status=status, code=code, text=text,
        )  # fmt: skip
        self._planned.append(planned)
        return planned

    def remove(self, planned: PlannedFault) -> None:
        """Take a fault back; nothing happens if it is used up."""
        if planned in self._planned:
            self._planned.remove(planned)

    def clear(self) -> None:
        """Take all faults back, and let go of the calls that hang."""
        self._planned.clear()
        self.release()

    def take(self, method: str, call: Call) -> PlannedFault | None:
        """Return the fault that strikes a call, one use of it less."""
        planned = next((one for one in self._planned if one.matches(method, call)), None)
        if planned is None:
            return None
        if planned.skip > 0:
            planned.skip -= 1
            return None
        if planned.times is not None:
            planned.times -= 1
            if planned.times <= 0:
                self._planned.remove(planned)
        return planned

    async def hang(self) -> None:
        """Wait until `release`."""
        await self._released.wait()

    def release(self) -> None:
        """Let go of the calls that hang now; their connections close without an answer."""
        self._released.set()
        self._released = asyncio.Event()


def strike(
    planned: PlannedFault,
    call: Call,
    *,
    answer: Callable[[Call], SentAnswer],
    refuse: Callable[[int | str, str], SentAnswer],
) -> Outcome:
    """Return what becomes of a call; `answer` processes it, `refuse` words an API error."""
    if not isinstance(planned.fault, Fault):
        return planned.fault(call, answer(call))
    spoil = _SPOILERS.get(planned.fault)
    if spoil is not None:
        return spoil(answer(call))
    if planned.fault is Fault.FILTER_IGNORED:
        return answer(call.without_filters())
    if planned.after:
        answer(call)
    if planned.fault in _API_ERRORS:
        return refuse(planned.code, planned.text)
    return _REPLACEMENTS[planned.fault](planned, call)


# --- replacements

_STATUS_PAGES: Mapping[object, tuple[int, str]] = {
    Fault.HTML_404: (404, "Page not found"),
    Fault.HTML_429: (429, "Too Many Requests"),
    Fault.HTML_500: (500, "Internal Server Error"),
    Fault.HTML_502: (502, "Bad Gateway"),
    Fault.HTML_503: (503, "Service Temporarily Unavailable"),
    Fault.HTML_504: (504, "Gateway Time-out"),
    Fault.HTML_520: (520, "Web server is returning an unknown error"),
    Fault.HTML_524: (524, "A timeout occurred"),
    Fault.CHALLENGE_403: (403, "Just a moment... Checking your browser before accessing the site."),
    Fault.GEO_200: (200, "This site is not available in your country."),
    Fault.FATAL_200: (
        200,
        "<b>Fatal error</b>: Allowed memory size exhausted in <b>/w/wp-db.php</b> on line <b>9</b>",
    ),
}
_API_ERRORS = frozenset({Fault.API_DISABLED, Fault.API_ERROR})
_REDIRECTS: Mapping[object, int] = {
    Fault.REDIRECT_301: 301,
    Fault.REDIRECT_302: 302,
    Fault.REDIRECT_307: 307,
}


def _status_page(planned: PlannedFault, call: Call) -> SentAnswer:
    status, text = _STATUS_PAGES[planned.fault]
    page = f"<!DOCTYPE html><html><head><title>{status}</title></head><body>{text}</body></html>"
    answer = html_answer(status, page)
    if planned.retry_after is None:
        return answer
    return evolve(answer, headers={**answer.headers, "Retry-After": _wait(planned.retry_after)})


def _wait(retry_after: int | str | datetime) -> str:
    if isinstance(retry_after, datetime):
        return format_datetime(retry_after, usegmt=True)
    return str(retry_after)


def _key_echo(planned: PlannedFault, call: Call) -> SentAnswer:
    key = call.query.get("api_key") or call.headers.get("api-key", "")
    page = f"<html><body>No route for {call.target}, the key was {key}</body></html>"
    return html_answer(planned.status, page)


def _redirect(planned: PlannedFault, call: Call) -> SentAnswer:
    answer = html_answer(_REDIRECTS[planned.fault], "<html><body>Moved</body></html>")
    location = f"{planned.location}?{urlsplit(call.target).query}"
    return evolve(answer, headers={**answer.headers, "Location": location})


def _json_answer(text: str) -> SentAnswer:
    return SentAnswer(200, {"Content-Type": JSON_TYPE}, text.encode())


_PADDED_JSON = (b'{"error":0,"error_text":"', b'"}')


def _huge(planned: PlannedFault, call: Call) -> SentAnswer:
    opening, closing = _PADDED_JSON
    body = opening + b"x" * (planned.size - len(opening) - len(closing)) + closing
    return SentAnswer(200, {"Content-Type": JSON_TYPE}, body)


def _gzip_bomb(planned: PlannedFault, call: Call) -> SentAnswer:
    # Compressed piece by piece, so that only the client pays for the size.
    opening, closing = _PADDED_JSON
    padding = planned.size - len(opening) - len(closing)
    piece = b"x" * 65_536
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    packed = [packer.compress(opening)]
    packed += [packer.compress(piece[: padding - at]) for at in range(0, padding, len(piece))]
    packed += [packer.compress(closing), packer.flush()]
    return SentAnswer(
        200, {"Content-Type": JSON_TYPE, "Content-Encoding": "gzip"}, b"".join(packed)
    )


_REPLACEMENTS: Mapping[object, Callable[[PlannedFault, Call], Outcome]] = {
    Fault.CLOSED: lambda planned, call: Cut(),
    Fault.RESET: lambda planned, call: Cut(reset=True),
    Fault.HALF_HEADER: lambda planned, call: Cut(b"HTTP/1.1 200 OK\r\nContent-Ty"),
    Fault.HANG: lambda planned, call: Cut(),
    **dict.fromkeys(_STATUS_PAGES, _status_page),
    **dict.fromkeys(_REDIRECTS, _redirect),
    Fault.KEY_ECHO: _key_echo,
    Fault.EMPTY: lambda planned, call: SentAnswer(200, {"Content-Type": HTML_TYPE}, b""),
    Fault.NULL: lambda planned, call: _json_answer("null"),
    Fault.FALSE: lambda planned, call: _json_answer("false"),
    Fault.HUGE: _huge,
    Fault.GZIP_BOMB: _gzip_bomb,
}


# --- spoiled answers

_NOTICE_HTML = (
    b"<br />\n<b>Notice</b>:  Undefined index: items[] of {} in "
    b"<b>/var/www/site/wp-content/plugins/api.php</b> on line <b>42</b><br />\n"
)
_NOTICE_PLAIN = (
    b'\nWarning: Undefined array key "items" [] {} in /var/www/site/api.php on line 42\n\n'
)


def _half(body: bytes) -> bytes:
    return body[: len(body) // 2]


def _raw(answer: SentAnswer, framing: str, sent: bytes) -> Cut:
    lines = [f"HTTP/1.1 {answer.status} OK", framing]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    lines += [f"Set-Cookie: {cookie}" for cookie in answer.cookies]
    return Cut("\r\n".join([*lines, "", ""]).encode() + sent)


def _body_cut(answer: SentAnswer) -> Cut:
    return _raw(answer, f"Content-Length: {len(answer.body)}", _half(answer.body))


def _chunked_cut(answer: SentAnswer) -> Cut:
    half = _half(answer.body)
    return _raw(answer, "Transfer-Encoding: chunked", b"%x\r\n%b\r\n" % (len(half), half))


def _zipped(answer: SentAnswer) -> SentAnswer:
    headers = {**answer.headers, "Content-Encoding": "gzip"}
    return evolve(answer, headers=headers, body=gzip.compress(answer.body, mtime=0))


def _zipped_half(answer: SentAnswer) -> SentAnswer:
    # The HTTP answer is whole; only the gzip stream inside it stops early.
    zipped = _zipped(answer)
    return evolve(zipped, body=_half(zipped.body))


def _preceded(by: bytes) -> Callable[[SentAnswer], SentAnswer]:
    return lambda answer: evolve(answer, body=by + answer.body)


def _in_cp1251(answer: SentAnswer) -> SentAnswer:
    # A Cyrillic member of its own makes sure that the body is not UTF-8, whatever the rows hold.
    text = '{"site":"Обменник",' + answer.body.decode().removeprefix("{")
    return evolve(answer, body=text.encode("cp1251", "replace"))


_SPOILERS: Mapping[Fault, Callable[[SentAnswer], Outcome]] = {
    Fault.BODY_CUT: _body_cut,
    Fault.CHUNKED_CUT: _chunked_cut,
    Fault.TRUNCATED_JSON: lambda answer: evolve(answer, body=_half(answer.body)),
    Fault.GZIP: _zipped,
    Fault.GZIP_CUT: _zipped_half,
    Fault.NOTICE_HTML: _preceded(_NOTICE_HTML),
    Fault.NOTICE_PLAIN: _preceded(_NOTICE_PLAIN),
    Fault.BOM: _preceded(b"\xef\xbb\xbf"),
    Fault.CP1251: _in_cp1251,
    Fault.SLOW: lambda answer: answer,
}

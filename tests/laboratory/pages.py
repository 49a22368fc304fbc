"""What answers instead of the API: statuses, redirects, pages."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from attrs import evolve

from ppapi_async import (
    BlockedError,
    MethodNotSupportedError,
    PayoutOutcomeUnknown,
    RateLimitedError,
    RedirectError,
    ResponseError,
    ServerError,
)
from ppapi_async.sandbox import Fault as Public
from ppapi_async.sandbox import SentAnswer
from tests.sites.laboratory import KEY, Spoil
from tests.sites.raw import End, Reply, Seen, http_bytes

from .fault import Fault, Outcome, fault
from .public import of_sandbox

__all__ = ["PAGES", "REDIRECTS", "STATUSES"]

_PAGE = "<!DOCTYPE html><html><body><h1>{status}</h1></body></html>"


def _page(status: int, text: str = _PAGE, **headers: str) -> Spoil:
    body = text.replace("{status}", str(status)).encode()
    answer = SentAnswer(status, {"Content-Type": "text/html; charset=utf-8"}, body)
    return lambda seen, truth: Reply(http_bytes(_as_of(truth, answer), **headers))


def _as_of(truth: SentAnswer, answer: SentAnswer) -> SentAnswer:
    """Return an answer with the cookies that the site sets with whatever it says."""
    return evolve(answer, cookies=truth.cookies)


def _status(
    status: int,
    outcome: Outcome,
    *,
    passes: bool | None = None,
    asked: int | None = None,
    text: str = _PAGE,
    **headers: str,
) -> Fault:
    return fault(_page(status, text, **headers), outcome, passes=passes, asked=asked)


_PAGE_500 = SentAnswer(500, {"Content-Type": "text/html"}, b"<h1>500</h1>")
STATUSES: Mapping[str, Fault] = {
    **{str(s): _status(s, ResponseError) for s in (400, 402, 405, 406, 409, 413, 418, 422)},
    **{str(s): _status(s, ResponseError, passes=True) for s in (408, 425)},
    # Where the API is not at the first of the places where it may be, the others are tried.
    "404": fault(of_sandbox(Public.HTML_404), ResponseError, asked=2),
    "410": _status(410, ResponseError, asked=2),
    **{str(s): _status(s, BlockedError) for s in (401, 403, 451)},
    **{str(s): _status(s, ServerError) for s in (507, 508, 509, 598, 599)},
    **{str(s): _status(s, ServerError) for s in (521, 522, 523, *range(525, 531))},
    **{
        str(s): fault(of_sandbox(Public(f"html-{s}")), ServerError)
        for s in (500, 502, 503, 504, 520, 524)
    },
    **{str(s): _status(s, ServerError, passes=False) for s in (505, 506, 511, 999)},
    **{str(s): _status(s, ResponseError) for s in (201, 202, 203, 206, 226)},
    "204": _status(204, ResponseError, text=""),
    "205": _status(205, ResponseError, text=""),
    "304": _status(304, RedirectError, text=""),
    "501 with a page": _status(501, ServerError, passes=False),
    "501, empty": fault(_page(501, ""), MethodNotSupportedError, payout=PayoutOutcomeUnknown),
    "429": fault(of_sandbox(Public.HTML_429), RateLimitedError),
    "429 for 5 s": fault(of_sandbox(Public.HTML_429, retry_after=5), RateLimitedError),
    "429 for an hour": fault(
        of_sandbox(Public.HTML_429, retry_after=3600), RateLimitedError, asked=1, wait=3_600.0
    ),
    "429 till a date": _status(429, RateLimitedError, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
    "429 till nonsense": _status(429, RateLimitedError, Retry_After="soon"),
    "503 for 5 s": fault(of_sandbox(Public.HTML_503, retry_after=5), ServerError),
    "500, then closed": fault(
        lambda seen, truth: Reply(http_bytes(_as_of(truth, _PAGE_500)), End.CLOSE), ServerError
    ),
    "200 of the truth with 500": fault(
        lambda seen, truth: Reply(http_bytes(truth, "500")), ServerError
    ),
    "200 of the truth with 404": fault(
        lambda seen, truth: Reply(http_bytes(truth, "404")), ResponseError, asked=2
    ),
}

# --- redirects


def _redirect(status: int, location: str, **headers: str) -> Spoil:
    """Redirect; `{port}`, `{query}` and `{target}` in the location are those of the request."""

    def spoil(seen: Seen, truth: SentAnswer) -> Reply:
        port = seen.headers["host"].rpartition(":")[2]
        query = seen.target.partition("?")[2]
        where = location.format(port=port, query=query, target=seen.target)
        answer = SentAnswer(status, {"Content-Type": "text/html"}, where.encode())
        return Reply(http_bytes(_as_of(truth, answer), Location=where, **headers))

    return spoil


_ELSEWHERE = "http://127.0.0.1:{port}/elsewhere/api.html"
REDIRECTS: Mapping[str, Fault] = {
    **{
        f"{status} to another host": fault(
            _redirect(status, _ELSEWHERE + "?{query}"), RedirectError
        )
        for status in (300, 301, 302, 303, 305, 307, 308, 399)
    },
    **{
        f"{status} to another path": fault(of_sandbox(Public(f"redirect-{status}")), RedirectError)
        for status in (301, 302, 307)
    },
    "301 to another port": fault(
        _redirect(301, "http://127.0.0.1:9/api.html?{query}"), RedirectError
    ),
    "302 to http": fault(_redirect(302, "http://site.test/api.html?{query}"), RedirectError),
    "307 to itself": fault(_redirect(307, "{target}"), RedirectError),
    "308 without a place": fault(_page(308), RedirectError),
    "302 to nonsense": fault(_redirect(302, "ht!tp://[::1/{query}"), RedirectError),
    "302 to a script": fault(_redirect(302, "javascript:alert('{query}')"), RedirectError),
    "200 with Refresh": fault(
        _redirect(200, _ELSEWHERE, Refresh="0; url=/elsewhere"), ResponseError, passes=True
    ),
}

# --- pages that answer with 200, and others that tell who they are


def _echo(status: int) -> Spoil:
    """Show what was asked for and the key, in a few spellings."""

    def spoil(seen: Seen, truth: SentAnswer) -> Reply:
        shown = f"{seen.target} {seen.body!r} {KEY} {quote(KEY)} {KEY.encode()!r}"
        answer = SentAnswer(
            status,
            {"Content-Type": "text/html", "Server": KEY.encode("utf-8").hex()},
            shown.encode(),
        )
        return Reply(http_bytes(_as_of(truth, answer)))

    return spoil


_FATAL = (
    "<br />\n<b>Fatal error</b>:  Allowed memory size of 134217728 bytes exhausted (tried to"
    " allocate 20480 bytes) in <b>/w/wp-db.php</b> on line <b>2056</b><br />\n"
)
PAGES: Mapping[str, Fault] = {
    "a page": _status(200, ResponseError, passes=True),
    "empty": fault(of_sandbox(Public.EMPTY), ResponseError, passes=True),
    "white space": _status(200, ResponseError, passes=True, text=" \r\n\t "),
    "fatal error": fault(of_sandbox(Public.FATAL_200), ServerError),
    "fatal error with 500": _status(500, ServerError, text=_FATAL),
    "no database": _status(
        200, ServerError, text="<h1>Error establishing a database connection</h1>"
    ),
    "challenge": fault(of_sandbox(Public.CHALLENGE_403), BlockedError),
    "challenge with 503": _status(
        503, BlockedError, passes=True, text="<title>Just a moment...</title>"
    ),
    "challenge with 200": _status(
        200, BlockedError, passes=True, text="<script src=/cdn-cgi/challenge-platform/x.js>"
    ),
    "CF-Mitigated": _status(429, RateLimitedError, CF_Mitigated="challenge"),
    "not in your country": fault(of_sandbox(Public.GEO_200), BlockedError, passes=True),
    "shows the request": fault(of_sandbox(Public.KEY_ECHO), ResponseError, passes=True),
    "echoes the key": fault(_echo(200), ResponseError, passes=True),
    "echoes the key with 500": fault(_echo(500), ServerError),
    "echoes the key with 403": fault(_echo(403), BlockedError),
}

"""What a line decides: which errors pass, and how long to wait."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ppapi_async import (
    ApiError,
    BlockedError,
    DecodeError,
    Hooks,
    PPAPIError,
    RateLimitedError,
    RequestTimeoutError,
    ResponseError,
    ResponseTooLargeError,
    Retry,
    ServerError,
    Session,
    TransportError,
)
from ppapi_async._validation import seconds_of
from ppapi_async.transport.retry import is_transient, wait_asked_by
from tests.sites.raw import KEY, RawServer, Reply, http


def test_statuses_that_pass() -> None:
    """Time-outs, rate limits and failures of servers and gateways; 200 is a page in between."""
    passing = {n for n in range(100, 700) if is_transient(ServerError("x", status=n))}
    assert passing == {
        *(200, 408, 425, 429, 500, 502, 503, 504, 507, 508, 509, 598, 599),
        *range(520, 531),
    }


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (TransportError("x"), True),
        (RequestTimeoutError("x"), True),
        (RateLimitedError("x", status=429), True),
        (ResponseError("x", status=404), False),
        (ResponseTooLargeError("x", status=200), False),
        (ApiError("x", code=1), False),
        (DecodeError("x"), False),
    ],
)
def test_errors_that_pass(error: PPAPIError, passes: bool) -> None:
    """What the API itself says, and what is too large, is the same a moment later."""
    assert is_transient(error) is passes


def limited(seconds: float | None) -> RateLimitedError:
    """Return a 429 with such a Retry-After."""
    error = RateLimitedError("x", status=429)
    error.retry_after = seconds
    return error


def test_waits_that_servers_ask_for() -> None:
    """A rate limit or a server in trouble asks, and not always."""
    assert wait_asked_by(limited(7)) == 7
    assert wait_asked_by(limited(None)) == 0
    assert wait_asked_by(ServerError("x", status=503)) == 0
    assert wait_asked_by(ServerError("x", status=503, retry_after=7.5)) == 7.5
    assert wait_asked_by(BlockedError("x", status=503, retry_after=8)) == 8
    assert wait_asked_by(ApiError("x", code=1)) == 0


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 520, 529])
async def test_what_a_site_asks_for_is_waited(status: int) -> None:
    """`Retry-After` of any of these keeps a read away so long; longer ones are the caller's."""
    waited = list[float]()

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    asked = ["7.5", "3600"]
    async with RawServer() as server:
        server.script["get_info"] = lambda _: http(status, "x", Retry_After=asked[len(waited)])
        async with Session(server.url, KEY, hooks=Hooks(sleep=sleep)) as session:
            with pytest.raises(ResponseError) as caught:
                await session.get_info()
    assert waited == [7.5]
    assert caught.value.retry_after == wait_asked_by(caught.value) == 3600


def test_waits_of_a_retry() -> None:
    """A part of a time that doubles up to the longest; what is asked for, if that is bearable."""
    retry = Retry(delay=timedelta(seconds=2), longest=timedelta(seconds=9))
    error = TransportError("x")
    assert [retry.wait(n, error, 0.5) for n in (1, 2, 3, 4, 50)] == [1, 2, 4, 4.5, 4.5]
    assert [retry.wait(1, limited(n), 0.5) for n in (0, 9, 9.1, None)] == [0, 9, None, 1]


def test_durations() -> None:
    """Seconds in any form, positive, and no flags."""
    assert seconds_of(2, "x") == seconds_of(2.0, "x") == seconds_of(timedelta(seconds=2), "x") == 2
    assert seconds_of(0.001, "x") == 0.001
    for wrong in (0, -1, timedelta(0), float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"^timeout: "):
            seconds_of(wrong, "timeout")
    for kind in (True, "5", None):
        with pytest.raises(TypeError, match=r"^timeout: "):
            seconds_of(kind, "timeout")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["delay", "longest"])
def test_retries_that_are_none(name: str) -> None:
    """At least one attempt, no negative budget, and no negative waits."""
    assert Retry(attempts=1, budget=0, delay=0, longest=0).wait(1, TransportError("x"), 1) == 0
    for wrong in ("attempts", "budget"):
        with pytest.raises(ValueError, match=rf"^retry: {wrong}: pass \d or more"):
            Retry(**{wrong: -1})
    with pytest.raises(ValueError, match=r"^retry: delay, longest: pass more than 0 seconds"):
        Retry(**{name: -0.001})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (RateLimitedError(retry_after=5.0), 5.0),
        (RateLimitedError(retry_after=86_401.0), 86_400.0),
        (RateLimitedError(), 0.0),
        (ServerError(), 0.0),
    ],
)
def test_no_site_silences_a_watch_for_ever(error: PPAPIError, seconds: float) -> None:
    """What a site asks for is waited, a day at the most."""
    assert wait_asked_by(error) == seconds


@pytest.mark.parametrize(
    "date",
    [
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Mon, 01 Jan 1900 00:00:00 +2359",
        "Thu, 01 Jan 1970 00:00:00 GMT",
    ],
)
async def test_a_date_that_no_clock_shows_says_nothing_of_the_clock(date: str) -> None:
    """What came next, a stream or a watch, ended with a bare ValueError or OverflowError."""
    info = '{"error":0,"error_text":"","data":{"balance":"1","min_payout":"1"}}'
    head, mark, rest = http(200, info).data.partition(b"\r\n")
    dated = Reply(head + mark + f"Date: {date}\r\nRetry-After: {date}\r\n".encode() + rest)
    links = http(200, '{"error":0,"error_text":"","data":[]}')
    async with RawServer() as server:
        server.script = {"get_info": lambda _: dated, "get_links": lambda _: links}
        async with Session(server.url, KEY) as session:
            await session.get_info()
            assert session._connection.transport.clock_ahead is None
            assert await session.get_links() == []

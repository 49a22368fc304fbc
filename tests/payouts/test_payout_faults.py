"""Never two payouts: whatever fails and however the session is configured, one request at most.

A raw server counts what arrives. `TestClient` would not do: it switches off aiohttp's resends.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from unittest.mock import AsyncMock
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ppapi_async import (
    Account,
    Dialect,
    Hooks,
    Payout,
    PayoutAttempt,
    PayoutNotSent,
    PayoutOutcomeUnknown,
    PayoutReceipt,
    PayoutSearch,
    PayoutStatus,
    RequestFacts,
    Retry,
    SearchOutcome,
    Session,
    errors,
)
from ppapi_async.payouts import UNSETTLED, judge
from ppapi_async.sandbox import Books, Fault, Partner, PayoutOption, Sandbox
from ppapi_async.transport.client import Transport
from ppapi_async.transport.connector import StaleConnectionError
from tests import virtual_time
from tests.laboratory.catalogue import AFTER_SENDING
from tests.leaks import assert_absent, assert_survives_pickling
from tests.names import Names
from tests.sites.raw import (
    HOOKS,
    INFO,
    KEY,
    LENDERS,
    NOW,
    RECEIPT,
    Clock,
    End,
    RawServer,
    Reply,
    Script,
    Seen,
    Send,
    http,
    outcome_of,
    served,
)

pytestmark = pytest.mark.every_case  # nothing costs more than what they keep from happening
WALLET = "TXabcdefgh"
BALANCE = Decimal("122.01")
ATTEMPT = PayoutAttempt(11, WALLET, datetime.fromtimestamp(NOW, UTC))
COMPARED = evolve(ATTEMPT, clock_ahead=0.0)


# --- the table

CAUSES: Mapping[str, type[errors.PPAPIError]] = {
    **dict.fromkeys(("closed", "reset", "half a head"), errors.TransportError),
    **dict.fromkeys(("100, then closed", "no HTTP"), errors.TransportError),
    **dict.fromkeys(("cut in the middle", "cut in the middle, reset"), errors.TransportError),
    **dict.fromkeys(("gzip cut", "gzip damaged"), errors.TransportError),
    "JSON cut": errors.ResponseError,
    **dict.fromkeys(("500", "502", "503", "520", "524"), errors.ServerError),
    **dict.fromkeys(("500, then closed", "200 of the truth with 500"), errors.ServerError),
    "429": errors.RateLimitedError,
    "a page": errors.ResponseError,
    "empty": errors.ResponseError,
    "body null": errors.ResponseError,
    "data []": errors.DecodeError,
    **dict.fromkeys(
        ("301 to another host", "302 to another host", "303 to another host"), errors.RedirectError
    ),
    **dict.fromkeys(
        ("307 to itself", "308 to another host", "307 to another host"), errors.RedirectError
    ),
    **dict.fromkeys(("hangs", "cut in the middle, hangs"), errors.RequestTimeoutError),
}


WORDS: Mapping[str, str] = {
    "closed": "the connection was closed before an answer came",
    "no HTTP": "the answer is no HTTP (",
    "gzip cut": "the gzip body is cut short",
    "data []": "the answer is not what the API promises: data = not an object",
    **dict.fromkeys(("hangs", "cut in the middle, hangs"), "no answer in 60 s"),
}
"""What is told of some of them: of the kind of error, and never with the url."""


@pytest.mark.parametrize("reused", [False, True], ids=["fresh", "reused"])
@pytest.mark.parametrize("lender", LENDERS)
@pytest.mark.parametrize("fault", AFTER_SENDING)
async def test_a_payout_is_sent_once_and_its_outcome_is_unknown(
    fault: str, lender: str, reused: bool
) -> None:
    """Each fault after sending comes to PayoutOutcomeUnknown, and to one request."""
    async with served(lender, add_payout=AFTER_SENDING[fault]) as (server, session, used):
        if reused:
            await session.get_info()
        error = await outcome_of(session.add_payout(11, WALLET))
    assert server.count("add_payout") == 1
    assert (len(server.seen), server.connections) == (2, 2)  # a read before, and not its connection
    assert server.seen[1].connection == 2
    assert used == []
    assert isinstance(error, PayoutOutcomeUnknown)
    assert (error.account, error.method) == (session.account.name, "add_payout")
    assert error.attempt == ATTEMPT
    assert "find_payout" in str(error)
    assert "again" not in str(error), "somebody may take it for advice"
    cause = error.__cause__
    assert type(cause) is CAUSES[fault]
    assert (cause.account, cause.method) == (error.account, "add_payout")
    assert (cause.__traceback__, cause.__cause__, cause.__context__) == (None, None, None)
    if fault in WORDS:
        assert cause.message.startswith(WORDS[fault])
        assert WORDS[fault] in error.message
    assert_absent(KEY, error)
    assert_survives_pickling(error)


@pytest.mark.parametrize("reused", [False, True], ids=["fresh", "reused"])
@pytest.mark.parametrize("lender", LENDERS)
@pytest.mark.parametrize("fault", ["hangs", "cut in the middle, hangs"])
async def test_a_cancelled_payout_is_sent_once(fault: str, lender: str, reused: bool) -> None:
    """Cancelling a payout under way raises CancelledError, and nothing is sent again."""
    async with served(lender, add_payout=AFTER_SENDING[fault]) as (server, session, used):
        if reused:
            await session.get_info()
        task = asyncio.create_task(session.add_payout(11, WALLET))
        server.on_hang = lambda: task.cancel("enough")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert (server.count("add_payout"), len(server.seen), used) == (1, 2, [])
    assert caught.value.args == ("enough",)
    assert_absent(KEY, caught.value)


@pytest.mark.parametrize("reused", [False, True], ids=["fresh", "reused"])
@pytest.mark.parametrize("lender", LENDERS)
async def test_a_payout_comes_to_a_receipt(lender: str, reused: bool) -> None:
    """Where nothing fails there is a receipt, one request, and the form that the API reads."""
    async with served(lender) as (server, session, used):
        if reused:
            await session.get_info()
        receipt = await session.add_payout(11, f" {WALLET}\n")
    assert receipt == PayoutReceipt(7, "Payout is successfully requested")
    assert (server.count("add_payout"), server.connections, used) == (1, 2, [])
    assert server.seen[-1].verb == "POST"
    assert server.seen[-1].body == f"method_id=11&account={WALLET}".encode()


async def test_a_payout_is_asked_for_in_words_that_servers_know() -> None:
    """What is accepted, the form's type and nothing of aiohttp's own that matters."""
    async with served() as (server, session, _):
        await session.get_info()
        await session.add_payout(11, WALLET)
    read, paid = (seen.headers for seen in server.seen)
    for headers in (read, paid):
        assert headers["accept-encoding"] == "gzip, deflate"
        assert headers["accept"] == "application/json"
    assert "content-type" not in read
    assert paid["content-type"] == "application/x-www-form-urlencoded"
    assert "cookie" not in paid


async def test_a_payout_is_told_to_the_hook() -> None:
    """Once, with its status, size, time and error; and so is the read before it."""
    facts: list[RequestFacts] = []
    now = float(NOW)

    def takes(seconds: float, script: Script) -> Script:
        def later(seen: Seen) -> Reply:
            nonlocal now
            now += seconds
            return script(seen)

        return later

    body = '{"error":1,"error_text":"no"}'
    async with served(on_request=facts.append) as (server, session, _):
        session._connection.transport.hooks = Hooks(clock=lambda: now)
        server.script["get_info"] = takes(0.5, server.script["get_info"])
        server.script["add_payout"] = takes(2.5, server.script["add_payout"])
        await session.add_payout(11, WALLET)
        for script in (takes(9.75, AFTER_SENDING["closed"]), takes(-2, lambda _: http(200, body))):
            server.script["add_payout"] = script
            await outcome_of(session.add_payout(11, WALLET, even_if_unsettled=True))
        await asyncio.sleep(0)
    name, host, port = session.account.name, session.account.host, session.account.port
    place = None, "POST", host, port
    assert facts == [
        RequestFacts(name, "get_info", 1, 200, 0.5, len(INFO), None, None, "GET", host, port),
        RequestFacts(name, "add_payout", 1, 200, 2.5, len(RECEIPT), None, *place),
        RequestFacts(name, "add_payout", 1, None, 9.75, 0, "TransportError", *place),
        RequestFacts(name, "add_payout", 1, 200, 0.0, len(body), "PayoutRejected", *place),
    ]


async def test_a_payout_whose_session_aiohttp_loses_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever aiohttp asserts, the request may have been sent before."""
    async with served() as (_, session, _):
        await session.get_info()
        monkeypatch.setattr(Transport, "_ask", AsyncMock(side_effect=AssertionError))
        error = await outcome_of(session.add_payout(11, WALLET))
    assert isinstance(error, PayoutOutcomeUnknown)
    cause = error.__cause__
    assert type(cause) is errors.TransportError
    assert (cause.message, cause.sent) == ("the session was closed meanwhile; open another", True)


async def test_a_payout_for_which_no_connection_is_clean_is_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where something unasked waits on each connection, it is said that nothing went out."""
    async with served() as (server, session, _):
        await session.get_info()
        monkeypatch.setattr(Transport, "_ask", AsyncMock(side_effect=StaleConnectionError))
        error = await outcome_of(session.add_payout(11, WALLET))
    assert isinstance(error, PayoutNotSent)
    assert error.message.startswith(
        "no payout was requested: the site sends what nobody has asked for; "
    )
    assert (error.reason, server.count("add_payout")) == ("connection", 0)


async def test_a_payout_waits_for_the_limiter() -> None:
    """It is held while the request is under way, and what is told of the request is the same."""
    facts: list[RequestFacts] = []
    held: list[str] = []

    @contextlib.asynccontextmanager
    async def limiter() -> AsyncIterator[None]:
        held.append("taken")
        yield
        held.append(f"left after {server.count('add_payout')}")

    async with served(on_request=facts.append) as (server, session, _):
        assert session._connection._transport is not None
        await session.get_info()
        await asyncio.sleep(0)
        facts.clear()
        for script in (None, AFTER_SENDING["closed"]):
            session._connection._transport.limiter = limiter()
            server.script |= {} if script is None else {"add_payout": script}
            outcome = await outcome_of(session.add_payout(11, WALLET))
        await asyncio.sleep(0)
    assert held == ["taken", "left after 1", "taken", "left after 2"]
    assert isinstance(outcome, PayoutOutcomeUnknown)
    cause = outcome.__cause__
    assert isinstance(cause, errors.TransportError)
    assert cause.method == "add_payout"
    assert [(one.status, one.error, one.seconds) for one in facts] == [
        (200, None, 0),
        (None, "TransportError", 0),
    ]


async def test_a_key_arrives_as_it_is() -> None:
    """Its signs are encoded once, neither less nor more."""
    key = "K+/=&1%41ü"
    async with served(key=key) as (server, session, _):
        await session.add_payout(11, WALLET)
    for seen in server.seen:
        assert parse_qs(urlsplit(seen.target).query)["api_key"] == [key]
        assert "%2B%2F%3D%261%2541%C3%BC" in seen.target


async def test_an_answer_that_is_too_large_leaves_the_outcome_unknown() -> None:
    """It is cut off at the limit to the byte, and told with what to do."""
    async with served() as (server, session, _):
        await session.get_info()
        assert session._connection._transport is not None
        session._connection._transport.largest_answer = len(RECEIPT)
        assert isinstance(await session.add_payout(11, WALLET), PayoutReceipt)
        session._connection._transport.largest_answer -= 1
        error = await outcome_of(session.add_payout(11, WALLET))
    assert isinstance(error, PayoutOutcomeUnknown)
    cause = error.__cause__
    assert isinstance(cause, errors.ResponseTooLargeError)
    assert (cause.account, cause.method, cause.status) == (error.account, "add_payout", 200)
    assert "raise largest_answer" in cause.message
    assert server.count("add_payout") == 2


@pytest.mark.parametrize("end", [End.CLOSE, End.RESET])
@pytest.mark.parametrize("lender", LENDERS)
async def test_a_stale_connection_sends_no_second_payout(lender: str, end: End) -> None:
    """A kept connection that the server has dropped costs at most the one request."""
    info = http(200, INFO, end=end)
    async with served(lender, get_info=lambda _: info) as (server, session, used):
        await outcome_of(session.get_info())
        outcome = await outcome_of(session.add_payout(11, WALLET))
    assert isinstance(outcome, PayoutReceipt | PayoutOutcomeUnknown)
    assert server.count("add_payout") <= 1
    assert used == []


async def test_a_payout_under_way_when_the_session_closes_is_unknown() -> None:
    """Closing the session does not hide that a request was out."""
    async with served(add_payout=AFTER_SENDING["hangs"]) as (server, session, _):
        hanging = asyncio.Event()
        server.on_hang = hanging.set
        task = asyncio.create_task(outcome_of(session.add_payout(11, WALLET)))
        await hanging.wait()
        await session.aclose()
        error = await task
    assert isinstance(error, PayoutOutcomeUnknown)
    assert server.count("add_payout") == 1
    assert_absent(KEY, error)


@given(data=st.binary(max_size=200), ending=st.sampled_from([End.CLOSE, End.RESET]))
async def test_no_bytes_make_a_second_payout(data: bytes, ending: End) -> None:
    """Whatever bytes answer a payout, its outcome is unknown and it was sent once."""
    reply = Reply(data, ending)
    UNSETTLED.clear()  # each example is a process of its own; ports come again
    async with served(add_payout=lambda _: reply) as (server, session, _):
        error = await outcome_of(session.add_payout(11, WALLET))
    assert isinstance(error, PayoutOutcomeUnknown)
    assert server.count("add_payout") == 1


# --- certainly not sent


def test_promise_3_an_answer_nobody_asked_for_is_no_receipt() -> None:
    """What came on a connection meanwhile is not read; the payout goes out on another."""
    stale = RECEIPT.replace('"7"', '"666"')

    async def later(send: Send) -> None:
        await asyncio.sleep(1)
        await send(http(200, stale).data)

    async def whole() -> None:
        async with RawServer() as server:
            server.script["get_info"] = lambda _: evolve(http(200, INFO), flow=later)
            async with Session(server.url, KEY, hooks=virtual_time.hooks()) as session:
                await session.get_info()
                await asyncio.sleep(2)
                assert (await session.add_payout(11, WALLET)).payout_id == 7
        assert (server.count("add_payout"), server.connections) == (1, 2)

    virtual_time.run(whole(), settle=0.0002)


async def test_a_refused_connection_sends_nothing() -> None:
    """Where nobody listens, the payout is not sent, and the error says so."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with Session(f"http://127.0.0.1:{port}", KEY) as session:
        error = await outcome_of(session.add_payout(11, WALLET))
    assert isinstance(error, PayoutNotSent)
    assert_absent(KEY, error)
    assert_survives_pickling(error)


async def _unsent(look: Callable[[], Awaitable[object]], seconds: float = 60) -> object:
    async def find(*_: object) -> None:
        await look()

    connector = aiohttp.TCPConnector(resolver=Names(find))
    async with aiohttp.ClientSession(connector=connector) as lent:
        account = Account("https://site.example", KEY)
        async with Session(
            account, http=lent, timeout=seconds, hooks=HOOKS, retry=Retry(attempts=1)
        ) as session:
            return await outcome_of(session.add_payout(11, WALLET))


async def _forever(step: float = 0.5) -> None:
    Clock().fly(step)
    await asyncio.Event().wait()


async def test_an_unknown_host_sends_nothing() -> None:
    """A host that DNS does not know was sent nothing."""
    error = await _unsent(lambda: asyncio.sleep(0))
    assert isinstance(error, PayoutNotSent)
    assert "DNS" in str(error)
    assert_absent(KEY, error)


async def test_a_connection_time_out_sends_nothing() -> None:
    """Time that runs out before there is a connection is told from time that runs out after."""
    error = await _unsent(_forever)
    assert isinstance(error, PayoutNotSent)
    assert error.message == (
        "no payout was requested: could not connect in time; the site is down, or a firewall is in"
        " between"
    )
    assert error.reason == "connection"
    assert_absent(KEY, error)


@pytest.mark.parametrize("seconds", [1.0, 6.0, 15.0])
async def test_a_connection_time_out_sends_nothing_within_a_short_time_out(seconds: float) -> None:
    """The same holds where the session's time-out is not longer than the connector's."""
    error = await _unsent(lambda: _forever(seconds / 99), seconds)
    assert isinstance(error, PayoutNotSent)


TLS_FAULTS = {
    "no TLS": Reply(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", End.CLOSE),
    "closed": Reply(end=End.CLOSE),
    "reset": Reply(end=End.RESET),
    "hang": Reply(end=End.HANG),
}


@pytest.mark.parametrize("fault", TLS_FAULTS)
async def test_a_failed_handshake_sends_nothing(fault: str) -> None:
    """What fails in the TLS handshake fails before the request."""
    async with served(tls=True, on_bytes=TLS_FAULTS[fault]) as (server, session, _):
        error = await outcome_of(session.add_payout(11, WALLET))
    assert isinstance(error, PayoutNotSent)
    assert server.bytes_seen > 0
    assert server.seen == []
    assert_absent(KEY, error)


async def test_a_payout_cancelled_while_connecting_is_not_sent() -> None:
    """Cancellation before there is a connection sends nothing, then or later."""
    async with served(tls=True, on_bytes=TLS_FAULTS["hang"]) as (server, session, _):
        task = asyncio.create_task(session.add_payout(11, WALLET))
        server.on_hang = task.cancel
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert server.seen == []
    assert_absent(KEY, caught.value)


async def test_a_closed_lender_sends_nothing() -> None:
    """A borrowed session that was closed meanwhile is noticed before sending."""
    lent = aiohttp.ClientSession()
    async with RawServer() as server, Session(server.url, KEY, http=lent) as session:
        await lent.close()
        error = await outcome_of(session.add_payout(11, WALLET))
    assert isinstance(error, PayoutNotSent)
    assert error.reason == "closed"
    assert server.seen == []


# --- refusals, guards


async def _refused(status: int, body: str) -> tuple[object, RawServer]:
    reply = http(status, body)
    async with served(add_payout=lambda _: reply) as (server, session, _):
        return await outcome_of(session.add_payout(11, WALLET)), server


REASONS: Mapping[str, str] = {
    "Error! Selected currency can not be ordered payment": "method",
    "Error! You are unable to make a selected currency transaction": "currency",
    "Error! Invalid wallet account": "account",
    "Ошибка! Неверный кошелек": "account",
    "Error! There is not enough money on your balance": "balance",
    "Ошибка! Недостаточно средств на Вашем счете": "balance",
    "Error! Your account in blacklist. Contact us": "blacklist",
    "no active partner program": "programme",
    "Something new": "other",
}


@pytest.mark.parametrize("text", REASONS)
async def test_a_refusal_is_a_rejection_with_a_reason(text: str) -> None:
    """What the API refuses because of the payout says why, and is not repeated."""
    error, server = await _refused(200, f'{{"error":1,"error_text":"{text}"}}')
    assert isinstance(error, errors.PayoutRejected)
    assert (error.reason, error.text, error.code) == (REASONS[text], text, 1)
    assert server.count("add_payout") == 1
    assert_survives_pickling(error)


REFUSALS: tuple[tuple[int, str, type[errors.ApiError]], ...] = (
    (200, '{"error":"3","error_text":"Method not supported"}', errors.MethodNotSupportedError),
    (200, '{"error":1,"error_text":"REST API key error"}', errors.AuthError),
    (200, '{"error":2,"error_text":"IP blocked"}', errors.AuthError),
    (200, '{"error":"1","error_text":"Api disabled"}', errors.ApiDisabledError),
)


@pytest.mark.parametrize(("status", "body", "kind"), REFUSALS)
async def test_a_refusal_of_the_caller_is_an_api_error(
    status: int, body: str, kind: type[errors.ApiError]
) -> None:
    """What the API says of key, module or method is certain: not carried out."""
    error, server = await _refused(status, body)
    assert type(error) is kind
    assert server.count("add_payout") == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (501, ""),
        (504, '{"error":504}'),
        (502, '{"error":1,"error_text":"Bad gateway"}'),
        (301, '{"error":1}'),
        (400, '{"error":1,"error_text":"Bad request"}'),
        (403, '{"error":"2"}'),
    ],
)
async def test_json_of_a_gateway_is_no_refusal(status: int, body: str) -> None:
    """A proxy's JSON with an HTTP error does not say that nothing was ordered."""
    error, _ = await _refused(status, body)
    assert isinstance(error, PayoutOutcomeUnknown)


async def test_a_receipt_with_an_odd_status_is_no_refusal() -> None:
    """An answer that names a payout and no error was not a refusal, whatever its status says."""
    error, _ = await _refused(200, '{"error":0,"status":"ok","data":{"payout_id":5}}')
    assert isinstance(error, PayoutReceipt | PayoutOutcomeUnknown)


@pytest.mark.parametrize(("least", "most"), [(Decimal("122.02"), None), (None, 122), (123, 124)])
async def test_a_guard_sends_nothing(least: Decimal | int | None, most: int | None) -> None:
    """A balance outside of the guards keeps the payout from being sent, one inside does not."""
    async with served() as (server, session, _):
        with pytest.raises(PayoutNotSent, match=r"balance 122\.01 is") as caught:
            await session.add_payout(11, WALLET, at_least=least, at_most=most)
        assert caught.value.reason == "guard"
        assert (caught.value.account, caught.value.method) == (session.account.name, "add_payout")
        await session.add_payout(11, WALLET, at_least=BALANCE, at_most=BALANCE)
    assert [seen.method for seen in server.seen] == ["get_info", "get_info", "add_payout"]


@pytest.mark.parametrize("fault", AFTER_SENDING)
async def test_a_balance_that_cannot_be_read_sends_nothing(fault: str) -> None:
    """Where the guard cannot be checked, no payout is sent."""
    async with served(get_info=AFTER_SENDING[fault]) as (server, session, _):
        error = await outcome_of(session.add_payout(11, WALLET, at_least=1))
    assert isinstance(error, PayoutNotSent)
    assert error.reason in ("guard", "connection", "place")
    assert server.count("add_payout") == 0
    assert (error.__cause__, error.__context__) == (None, None)
    assert_absent(KEY, error)


async def test_a_refused_balance_sends_nothing() -> None:
    """A refusal of the guard's get_info is raised as what it is."""
    refusal = http(200, '{"error":1,"error_text":"Api disabled"}')
    async with served(get_info=lambda _: refusal) as (server, session, _):
        with pytest.raises(errors.ApiDisabledError):
            await session.add_payout(11, WALLET, at_most=1)
        with pytest.raises(ValueError, match=r"use Session\.add_payout"):
            await session.call("add_payout", method_id=11, account=WALLET)
    assert server.count("add_payout") == 0


# --- what became of it


@contextlib.asynccontextmanager
async def paying(
    dialect: Dialect, *faults: Fault, after: bool = True, timezone: str = "UTC"
) -> AsyncIterator[tuple[Session, Sandbox, PayoutOutcomeUnknown]]:
    """Open a session with a site at which a payout has just ended unknown."""
    methods = (PayoutOption(id=11, title="USDT", currency="USDTTRC20"),)
    books = Books(partner=Partner(api_key=KEY, balance="122.01"), methods=methods)
    async with Sandbox(dialect, books=books, timezone=timezone) as sandbox:
        login = "partner1" if dialect is Dialect.USER_API else None
        account = Account(sandbox.url, KEY, api_login=login, dialect=dialect)
        async with Session(account) as session:
            for fault in faults:
                sandbox.faults.add(fault, method="add_payout", after=after)
            error = await outcome_of(session.add_payout(11, WALLET))
            assert isinstance(error, PayoutOutcomeUnknown)
            yield session, sandbox, error


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("fault", [Fault.CLOSED, Fault.HTML_524, Fault.REDIRECT_302])
async def test_a_payout_that_was_carried_out_is_found(dialect: Dialect, fault: Fault) -> None:
    """find_payout finds the payout whose answer was lost; the site booked one."""
    async with paying(dialect, fault) as (session, sandbox, error):
        assert error.attempt is not None
        for attempt in (error, error.attempt):
            search = await session.find_payout(attempt)
            assert search.outcome is SearchOutcome.FOUND
            assert [one.account for one in search.payouts] == [WALLET]
    assert len(sandbox.books.payouts) == 1


@pytest.mark.parametrize("dialect", Dialect)
async def test_a_payout_that_was_not_carried_out_is_absent(dialect: Dialect) -> None:
    """find_payout says so where the site has booked nothing."""
    async with paying(dialect, Fault.RESET, after=False) as (session, sandbox, error):
        search = await session.find_payout(error)
    assert search.outcome is SearchOutcome.ABSENT
    assert (search.payouts, len(sandbox.books.payouts)) == ((), 0)


def payout(minutes: float = 0, *, method: int = 11, account: str = WALLET) -> Payout:
    """Return a payout so long after the attempt."""
    time = ATTEMPT.sent_at + timedelta(minutes=minutes)
    waiting = PayoutStatus.WAITING
    return Payout(1, time, method, account, BALANCE, BALANCE, waiting)


SECOND = 1 / 60
NEAR, LATE = payout(3), payout(11)
JUDGED: list[tuple[list[Payout], SearchOutcome, list[Payout]]] = [
    ([], SearchOutcome.ABSENT, []),
    ([payout(method=12), payout(account="TX")], SearchOutcome.ABSENT, []),
    *(([payout(m)], SearchOutcome.FOUND, [payout(m)]) for m in (-10, -9, 0, 9, 10)),
    *(
        ([payout(m)], SearchOutcome.AMBIGUOUS, [payout(m)])
        for m in (-10 - SECOND, 10 + SECOND, -60, 60)
    ),
    ([payout(account=" TXabc\tdefgh ")], SearchOutcome.FOUND, [payout(account=" TXabc\tdefgh ")]),
    ([NEAR, LATE, payout(method=12)], SearchOutcome.FOUND, [NEAR]),
    ([NEAR, LATE, NEAR], SearchOutcome.AMBIGUOUS, [NEAR, NEAR]),
    ([LATE, LATE], SearchOutcome.AMBIGUOUS, [LATE, LATE]),
]


@pytest.mark.parametrize(("payouts", "outcome", "fitting"), JUDGED)
def test_what_an_attempt_became(
    payouts: list[Payout], outcome: SearchOutcome, fitting: list[Payout]
) -> None:
    """Same method and wallet, and ten minutes either way for clocks that differ."""
    assert judge(COMPARED, payouts) == PayoutSearch(outcome, tuple(fitting))
    spaced = evolve(COMPARED, account=f" {WALLET[:4]} {WALLET[4:]}")
    assert judge(spaced, payouts) == PayoutSearch(outcome, tuple(fitting))


async def test_two_payouts_that_fit_are_ambiguous() -> None:
    """Of two payouts to one wallet within minutes, either may be the attempt's."""
    async with paying(Dialect.CLASSIC, Fault.HTML_502) as (session, sandbox, error):
        sandbox.books.partner.balance = "50"
        await session.add_payout(11, WALLET, even_if_unsettled=True)
        search = await session.find_payout(error)
    assert search.outcome is SearchOutcome.AMBIGUOUS
    assert len(search.payouts) == 2


async def test_a_payout_that_a_wrong_zone_would_explain_is_ambiguous() -> None:
    """A payout hours ago may be the attempt's, if the account's time zone is wrong."""
    zone = "America/New_York"
    async with paying(Dialect.CLASSIC, Fault.CLOSED, timezone=zone) as (session, _, error):
        assert (await session.find_payout(error)).outcome is SearchOutcome.AMBIGUOUS


async def test_a_search_without_an_attempt_is_refused() -> None:
    """An error that was made without an attempt is a ValueError, not an absent payout."""
    async with Session("https://site.example", KEY) as session:
        with pytest.raises(ValueError, match="the error holds none"):
            await session.find_payout(PayoutOutcomeUnknown("made by hand"))

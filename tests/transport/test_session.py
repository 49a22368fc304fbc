"""The session: what it refuses, retries, tells, borrows, and leaves behind."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import urlsplit

import aiohttp
import pytest
from aioresponses import aioresponses

from ppapi_async import (
    Account,
    ApiDisabledError,
    AuthError,
    BlockedError,
    DecodeError,
    Dialect,
    Hooks,
    PayoutAttempt,
    PayoutNotSent,
    PayoutOutcomeUnknown,
    RateLimitedError,
    RequestFacts,
    ResponseError,
    ResponseTooLargeError,
    Retry,
    SearchOutcome,
    ServerError,
    Session,
    TransportError,
)
from ppapi_async.sandbox import Books, Fault, Sandbox
from ppapi_async.transport.body import BodyReader, BodyTooLargeError, CutShortError
from tests.names import Names
from tests.sites.raw import INFO, KEY, RawServer, http

SLEPT: list[float] = []


@pytest.fixture(autouse=True)
def _clean_slept() -> None:
    SLEPT.clear()


async def sleep(seconds: float) -> None:
    """Note the time instead of passing it."""
    SLEPT.append(seconds)


HOOKS = Hooks(sleep=sleep, chance=lambda: 0.5)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A classic site with a few rows."""
    async with Sandbox(rows=20) as server:
        yield server


@pytest.fixture
async def session(sandbox: Sandbox) -> AsyncIterator[Session]:
    """A session on it that does not really wait."""
    async with Session(sandbox.url, sandbox.api_key, hooks=HOOKS) as opened:
        yield opened


BAD: list[tuple[dict[str, object], str]] = [
    ({"page_size": 0}, "page_size"),
    ({"page_size": 501}, "page_size"),
    ({"timeout": 0}, "timeout"),
    ({"timeout": float("nan")}, "timeout"),
    ({"timeout": timedelta(0)}, "timeout"),
    ({"largest_answer": 5}, "largest_answer"),
]


@pytest.mark.parametrize(("options", "named"), BAD)
def test_bad_options(options: dict[str, object], named: str) -> None:
    """Each is a ValueError that names the argument."""
    with pytest.raises(ValueError, match=f"^{named}"):
        Session("https://a.example", "k", **options)  # type: ignore[arg-type]


def test_bad_accounts() -> None:
    """A url wants a key, an account has one."""
    with pytest.raises(ValueError, match="api_key"):
        Session("https://a.example")
    with pytest.raises(ValueError, match="api_key"):
        Session(Account("https://a.example", "k"), "k")
    with pytest.raises(TypeError, match="timeout"):
        Session("https://a.example", "k", timeout="5")  # type: ignore[arg-type]
    for retry in ({"attempts": 0}, {"budget": -1}, {"delay": -1}):
        with pytest.raises(ValueError, match="retry"):
            Retry(**retry)


async def test_bad_ranges(session: Session) -> None:
    """Naive datetimes, reversed ranges, bad ips and options are refused before anything is sent."""
    naive = datetime(2026, 1, 1)  # noqa: DTZ001
    with pytest.raises(ValueError, match="start: is a naive datetime"):
        session.iter_links(naive)
    with pytest.raises(ValueError, match="end: is a naive datetime"):
        await session.get_links(None, naive)
    with pytest.raises(ValueError, match="end: lies not after start"):
        session.iter_links(5, 5)
    with pytest.raises(ValueError, match="start: lies outside"):
        session.iter_links(10**18)
    with pytest.raises(TypeError, match="start"):
        session.iter_links(5.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ip"):
        session.iter_links(ip="localhost")
    with pytest.raises(ValueError, match="window"):
        session.iter_links(window=timedelta(0))
    with pytest.raises(ValueError, match="concurrency"):
        session.iter_exchanges(concurrency=0)


async def test_used_outside_its_block() -> None:
    """A session that is not open says how to open it; one that is open is not opened again."""
    session = Session("http://127.0.0.1:1", "k")
    with pytest.raises(RuntimeError, match="async with"):
        await session.get_info()
    async with session:
        assert "open" in repr(session)
        with pytest.raises(RuntimeError, match="open already"):
            await session.__aenter__()
    assert "closed" in repr(session)
    assert session.dialect is None


TRANSIENT = [
    Fault.CLOSED,
    Fault.RESET,
    Fault.HALF_HEADER,
    Fault.BODY_CUT,
    Fault.CHUNKED_CUT,
    Fault.GZIP_CUT,
    Fault.TRUNCATED_JSON,
    Fault.EMPTY,
    Fault.NULL,
    Fault.FALSE,
    Fault.GEO_200,
    Fault.FATAL_200,
    Fault.HTML_429,
    Fault.HTML_500,
    Fault.HTML_502,
    Fault.HTML_503,
    Fault.HTML_504,
    Fault.HTML_520,
    Fault.HTML_524,
]


@pytest.mark.parametrize("fault", TRANSIENT)
async def test_passing_failures_are_retried(
    sandbox: Sandbox, session: Session, fault: Fault
) -> None:
    """A read survives what passes, waiting a random part of a growing time."""
    sandbox.faults.add(fault, times=2)
    assert (await session.get_info()).min_payout == 10
    assert len(SLEPT) >= 1


async def test_quirks_of_the_body_are_no_failures(sandbox: Sandbox, session: Session) -> None:
    """Noise of PHP, a byte-order mark, gzip: one request each."""
    for fault in (Fault.NOTICE_HTML, Fault.NOTICE_PLAIN, Fault.BOM, Fault.GZIP):
        sandbox.faults.add(fault)
        assert (await session.get_info()).min_payout
    assert sandbox.requests_count == 4


async def test_full_jitter_and_growth(sandbox: Sandbox) -> None:
    """Half of 0.5, 1, 2 seconds with a chance of one half; then the error."""
    sandbox.faults.add(Fault.HTML_500, times=None)
    async with Session(sandbox.url, sandbox.api_key, hooks=HOOKS) as session:
        with pytest.raises(ServerError):
            await session.get_info()
    assert SLEPT == [0.25, 0.5, 1.0]


@pytest.mark.parametrize(("after", "waits"), [(7, [7.0]), (31, [])])
async def test_retry_after_is_heeded(sandbox: Sandbox, after: int, waits: list[float]) -> None:
    """The server's own wish is waited for, unless it is longer than a client should sleep."""
    sandbox.faults.add(Fault.HTML_429, retry_after=after)
    async with Session(sandbox.url, sandbox.api_key, hooks=HOOKS) as session:
        if waits:
            await session.get_info()
        else:
            with pytest.raises(RateLimitedError) as caught:
                await session.get_info()
            assert caught.value.retry_after == 31
    assert waits == SLEPT


async def test_retry_budget(sandbox: Sandbox) -> None:
    """Of a site that is down, each call costs one request once the budget is used up."""
    sandbox.faults.add(Fault.HTML_500, times=None)
    retry = Retry(attempts=10, budget=3)
    async with Session(sandbox.url, sandbox.api_key, hooks=HOOKS, retry=retry) as session:
        for _ in range(5):
            with pytest.raises(ServerError):
                await session.get_info()
    assert sandbox.requests_count == 5 + 3


FINAL = [
    (Fault.CHALLENGE_403, BlockedError),
    (Fault.HTML_404, ResponseError),
    (Fault.REDIRECT_301, ResponseError),
    (Fault.API_DISABLED, ApiDisabledError),
]


@pytest.mark.parametrize(("fault", "kind"), FINAL)
async def test_what_will_not_pass_is_not_retried(
    sandbox: Sandbox, session: Session, fault: Fault, kind: type[Exception]
) -> None:
    """Refusals and pages that say no raise at once."""
    await session.get_info()
    sandbox.faults.add(fault, times=None)
    with pytest.raises(kind):
        await session.get_info()
    assert sandbox.requests_count == 2


async def test_wrong_key(sandbox: Sandbox) -> None:
    """One request, an AuthError that names account and method."""
    async with Session(sandbox.url, "wrong", hooks=HOOKS) as session:
        with pytest.raises(AuthError, match=r"^127\.0\.0\.1:\d+: get_info: the API refused"):
            await session.get_info()
    assert sandbox.requests_count == 1


@pytest.mark.parametrize("endpoint", ["/api.php", "/service/partner/api.php"])
async def test_endpoint_is_found(endpoint: str) -> None:
    """Where the usual place has nothing, the others are tried once."""
    dialect = Dialect.CLONE if "service" in endpoint else Dialect.CLASSIC
    async with (
        Sandbox(dialect, rows=5, endpoint=endpoint) as sandbox,
        Session(sandbox.url, sandbox.api_key, hooks=HOOKS) as session,
    ):
        await session.get_info()
        assert session.dialect is dialect
        asked = sandbox.requests_count
        await session.get_info()
        assert sandbox.requests_count == asked + 1
        assert len(await session.get_exchanges()) == 5
        assert session.dialect is dialect


async def test_no_api_anywhere() -> None:
    """A site without the API says so after each place has been tried."""
    async with (
        Sandbox(rows=1, endpoint="/elsewhere.html") as sandbox,
        Session(sandbox.url, sandbox.api_key, hooks=HOOKS) as session,
    ):
        for asked in (3, 6):  # all of them each time: it may be there the next time
            with pytest.raises(ResponseError, match="no API at this url"):
                await session.get_info()
            assert sandbox.requests_count == asked


async def test_successes_give_the_budget_back() -> None:
    """Ten of them one repeat, and never more than there were at first."""
    down = False
    async with RawServer() as server:
        server.script["get_info"] = lambda _: http(500) if down else http(200, INFO)
        retry = Retry(attempts=9, budget=1)
        async with Session(server.url, KEY, hooks=HOOKS, retry=retry) as session:
            for successes, repeats in ((0, 1), (9, 0), (1, 1), (1, 0), (50, 1)):
                down = False
                for _ in range(successes):
                    await session.get_info()
                down, before = True, server.count("get_info")
                with pytest.raises(ServerError):
                    await session.get_info()
                assert server.count("get_info") - before == 1 + repeats


async def test_an_unreadable_balance_is_told_of_get_info() -> None:
    """The error names the method that was asked."""
    async with RawServer() as server, Session(server.url, KEY, hooks=HOOKS) as session:
        server.script["get_info"] = lambda _: http(200, '{"error":0,"data":{"balance":"x"}}')
        with pytest.raises(DecodeError) as caught:
            await session.get_info()
    assert caught.value.method == "get_info"


async def test_what_is_gone_is_sought_elsewhere() -> None:
    """HTTP 410 says that there is nothing, as 404 does."""
    async with RawServer() as server, Session(server.url, KEY, hooks=HOOKS) as session:
        server.script["get_info"] = lambda seen: (
            http(410) if urlsplit(seen.target).path == "/api.html" else http(200, INFO)
        )
        assert (await session.get_info()).balance == Decimal("122.01")
        assert server.count("get_info") == 2


async def test_call(sandbox: Sandbox, session: Session) -> None:
    """Any method, one request, raw data with exact numbers."""
    data = await session.call("get_payouts")
    assert isinstance(data, dict | None)
    with pytest.raises(ValueError, match="add_payout"):
        await session.call("add_payout", method_id=1)
    sandbox.faults.add(Fault.HTML_500)
    with pytest.raises(ServerError):
        await session.call("get_info")
    assert sandbox.requests_count == 2


async def test_on_request_tells_facts(sandbox: Sandbox, session: Session) -> None:
    """Each request is told of once, with status, size and error."""
    facts: list[RequestFacts] = []
    session.on_request = facts.append
    sandbox.faults.add(Fault.HTML_500)
    sandbox.faults.add(Fault.CLOSED, times=2)
    await session.get_info()
    await asyncio.sleep(0)
    assert [(f.status, f.error) for f in facts] == [
        (500, "ServerError"),
        (None, "TransportError"),
        (200, None),
    ]
    assert facts[-1].received > 50
    assert facts[-1].attempt == 3


async def test_on_request_tells_where_and_how_many(sandbox: Sandbox, session: Session) -> None:
    """The site's host and port, the HTTP method, and the rows of answers that have any."""
    facts: list[RequestFacts] = []
    session.on_request = facts.append
    await session.get_info()
    exchanges = await session.get_exchanges()
    await session.call("get_info")
    await asyncio.sleep(0)
    assert {(f.host, f.port) for f in facts} == {(session.account.host, session.account.port)}
    assert [(f.verb, f.rows) for f in (facts[0], facts[-1])] == [("GET", None), ("GET", None)]
    told = [(f.verb, f.rows) for f in facts[1:-1]]
    assert {verb for verb, _ in told} == {"POST"}
    assert exchanges
    assert sum(rows or 0 for _, rows in told) >= len(exchanges)


async def test_on_request_may_be_changed_at_any_time(sandbox: Sandbox) -> None:
    """Before the session is open, and while it is; `on_request` says what is called."""
    first, second = list[RequestFacts](), list[RequestFacts]()
    session = Session(sandbox.url, sandbox.api_key)
    assert session.on_request is None
    session.on_request = first.append
    async with session:
        await session.get_info()
        await asyncio.sleep(0)
        session.on_request = second.append
        assert session.on_request == second.append
        await session.get_info()
        await asyncio.sleep(0)
    assert (len(first), len(second)) == (1, 1)


async def test_on_request_that_fails_harms_nothing(session: Session) -> None:
    """A broken hook goes to the loop's handler, not into the call."""
    handled: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: handled.append(context["exception"]))

    def broken(_: RequestFacts) -> None:
        raise KeyError

    session.on_request = broken
    await session.get_info()
    await asyncio.sleep(0)
    assert len(handled) == 1


async def test_borrowed_session_is_left_as_it_was(sandbox: Sandbox) -> None:
    """Only its connector is used; it is not closed; a closed one is refused."""
    async with aiohttp.ClientSession(raise_for_status=True) as http:
        async with Session(sandbox.url, sandbox.api_key, http=http, hooks=HOOKS) as session:
            sandbox.faults.add(Fault.HTML_500)
            await session.get_info()
        assert not http.closed
        assert len(http.cookie_jar) == 0
        response = await http.get(sandbox.url, raise_for_status=False)
        assert response.status == 404
        response.release()
    with pytest.raises(ValueError, match="http"):
        await Session(sandbox.url, sandbox.api_key, http=http).__aenter__()


async def test_lender_closes_first(sandbox: Sandbox) -> None:
    """A borrowed session that was closed meanwhile is a TransportError that nothing was sent."""
    http = aiohttp.ClientSession()
    async with Session(sandbox.url, sandbox.api_key, http=http, hooks=HOOKS) as session:
        await http.close()
        with pytest.raises(TransportError, match="closed") as caught:
            await session.get_info()
        assert not caught.value.sent
        with pytest.raises(PayoutNotSent):
            await session.add_payout(11, "TXabcdefgh")


async def test_answers_have_a_limit(sandbox: Sandbox) -> None:
    """On the wire and unpacked; reading stops, nothing is retried."""
    async with Session(
        sandbox.url, sandbox.api_key, hooks=HOOKS, largest_answer=100_000
    ) as session:
        for fault in (Fault.HUGE, Fault.GZIP_BOMB):
            sandbox.faults.add(fault, size=20_000_000)
            with pytest.raises(ResponseTooLargeError, match=r"100,000 bytes.* largest_answer"):
                await session.get_info()
    assert sandbox.requests_count == 2


async def test_a_balance_has_a_limit_of_its_own(sandbox: Sandbox) -> None:
    """Nobody is told to raise what would change nothing."""
    async with Session(sandbox.url, sandbox.api_key, hooks=HOOKS) as session:
        sandbox.faults.add(Fault.HUGE, size=2_000_000)
        with pytest.raises(ResponseTooLargeError, match="1,048,576 bytes") as caught:
            await session.get_info()
    assert "largest_answer" not in str(caught.value)


async def test_connection_refused() -> None:
    """Nobody listens: a TransportError, and it is known that nothing was sent."""
    async with Session("http://127.0.0.1:1", "k3yk3yk3y", hooks=HOOKS) as session:
        with pytest.raises(TransportError) as caught:
            await session.get_info()
        assert not caught.value.sent
        with pytest.raises(PayoutNotSent, match="no payout was requested"):
            await session.add_payout(1, "wallet")


PAYING = Books.generate(3, 200, 1_750_000_000, 1_760_000_000)


@pytest.mark.untraced
@pytest.mark.parametrize("dialect", list(Dialect))
async def test_payout_on_all_dialects(dialect: Dialect) -> None:
    """The whole balance is requested once, and found again."""
    books = Books.generate(3, 200, 1_750_000_000, 1_760_000_000)
    books.partner.balance = "122.01"
    async with Sandbox(dialect, books=books) as sandbox:
        known = dialect if dialect is Dialect.USER_API else None
        account = Account(sandbox.url, sandbox.api_key, api_login=sandbox.api_login, dialect=known)
        async with Session(account, hooks=HOOKS) as session:
            method = (await session.get_info()).items[0]
            wallet = "TXabcdefghABCDEFGH01" if "USDT" in method.title else "4111111111111111"
            before = len(books.payouts)
            receipt = await session.add_payout(method.id, wallet, at_least=100, at_most=200)
            assert len(books.payouts) == before + 1
            (found,) = [p for p in await session.get_payouts() if p.id == receipt.payout_id]
            assert found.original_amount == Decimal("122.01")
            attempt = PayoutAttempt(method.id, wallet, datetime.now(UTC))
            search = await session.find_payout(attempt)
            assert search.outcome is SearchOutcome.FOUND
            assert search.payouts == (found,)
            late = PayoutAttempt(method.id, wallet, datetime.now(UTC) + timedelta(hours=3))
            assert (await session.find_payout(late)).outcome is SearchOutcome.AMBIGUOUS
            other = PayoutAttempt(method.id, "elsewhere", datetime.now(UTC))
            assert (await session.find_payout(other)).outcome is SearchOutcome.ABSENT


async def test_payout_guards(sandbox: Sandbox, session: Session) -> None:
    """Outside at_least and at_most, or with a balance that cannot be read, nothing is sent."""
    sandbox.books.partner.balance = "50"
    for guards, text in (({"at_least": 51}, "below"), ({"at_most": Decimal("49.99")}, "above")):
        with pytest.raises(PayoutNotSent, match=text):
            await session.add_payout(11, "TXabcdefgh", **guards)
    sandbox.faults.add(Fault.HTML_404, times=9)
    with pytest.raises(PayoutNotSent, match="could not be read"):
        await session.add_payout(11, "TXabcdefgh", at_least=1)
    sandbox.faults.clear()
    sandbox.faults.add(Fault.API_DISABLED)
    with pytest.raises(ApiDisabledError):
        await session.add_payout(11, "TXabcdefgh", at_least=1)
    assert not any(seen.method == "add_payout" for seen in sandbox.requests)


async def test_payout_arguments(session: Session) -> None:
    """Floats, negative amounts, empty wallets and odd ids are refused."""
    for arguments, named in (
        ((0, "w"), "method_id"),
        ((True, "w"), "method_id"),
        ((1, " "), "account"),
    ):
        with pytest.raises(ValueError, match=named):
            await session.add_payout(*arguments)
    with pytest.raises(ValueError, match="at_most"):
        await session.add_payout(1, "w", at_least=5, at_most=4)
    with pytest.raises(ValueError, match="at_least"):
        await session.add_payout(1, "w", at_least=-1)
    with pytest.raises(TypeError, match="at_least"):
        await session.add_payout(1, "w", at_least=0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="attempt"):
        await session.find_payout(PayoutOutcomeUnknown())


GZIPPED = gzip.compress(b"hello " * 100)


@pytest.fixture(params=["gzip", "deflate", "raw deflate", ""])
def packed(request: pytest.FixtureRequest) -> tuple[str, bytes]:
    """A body as each encoding has it."""
    text = b"hello " * 100
    raw = zlib.compressobj(wbits=-15)
    bodies = {
        "gzip": gzip.compress(text),
        "deflate": zlib.compress(text),
        "raw deflate": raw.compress(text) + raw.flush(),
        "": text,
    }
    return request.param.removeprefix("raw "), bodies[request.param]


def feed_all(reader: BodyReader, pieces: list[bytes]) -> None:
    """Feed one piece after the other."""
    for piece in pieces:
        reader.feed(piece)


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_bodies_are_unpacked(packed: tuple[str, bytes], step: int) -> None:
    """Any encoding that is asked for, in any pieces, up to the limit to the byte."""
    encoding, body = packed
    for limit in (600, 599):
        reader = BodyReader(encoding, limit)
        pieces = [body[i : i + step] for i in range(0, len(body), step)]
        if limit == 599:
            with pytest.raises(BodyTooLargeError):
                feed_all(reader, pieces)
        else:
            feed_all(reader, pieces)
            assert reader.close() == b"hello " * 100


def test_cut_bodies_are_noticed() -> None:
    """A gzip body cut at every byte, damaged, of two members, and of an unwanted encoding."""
    for end in range(1, len(GZIPPED)):
        reader = BodyReader("gzip", 10_000)
        reader.feed(GZIPPED[:end])
        with pytest.raises(CutShortError, match="cut short"):
            reader.close()
    with pytest.raises(CutShortError, match="damaged"):
        BodyReader("gzip", 100).feed(b"not gzip at all")
    with pytest.raises(CutShortError, match="not asked for"):
        BodyReader("br", 100)
    double = BodyReader("gzip", 10_000)
    double.feed(GZIPPED + GZIPPED)
    assert len(double.close()) == 1_200
    assert BodyReader("gzip", 10).close() == b""


def test_a_host_that_no_resolver_takes_is_refused() -> None:
    """Before anything is asked."""
    with pytest.raises(ValueError, match=r"^url: has a host that cannot be one"):
        Session(f"https://{'a' * 70}.example", "k3yk3yk3y", hooks=HOOKS)


async def test_mocked_time_out_while_connecting() -> None:
    """What only a mock can say: the connection itself took too long."""
    async with Sandbox(rows=1) as sandbox:
        routing = f"{sandbox.url}/api.html?api_action=pp&api_key={sandbox.api_key}&method="
        with aioresponses(passthrough=[f"{routing}get_info"]) as mocked:
            mocked.post(f"{routing}add_payout", exception=aiohttp.ConnectionTimeoutError())
            async with Session(sandbox.url, sandbox.api_key, hooks=HOOKS) as session:
                with pytest.raises(PayoutNotSent, match="could not connect in time"):
                    await session.add_payout(1, "wallet")


@pytest.mark.parametrize(
    "url", ["http://обмен.рф", "http://ОБМЕН.РФ.", "http://XN--90aiufb.xn--p1ai:80"]
)
async def test_a_host_of_another_script_is_asked_in_punycode(url: str) -> None:
    """`Host` holds the name as it is sent, in one spelling."""

    async def find(*_: object) -> int | None:
        return urlsplit(server.url).port

    async with RawServer() as server:
        connector = aiohttp.TCPConnector(resolver=Names(find))
        async with aiohttp.ClientSession(connector=connector) as lent:
            account = Account(url, KEY, allow_http=True)
            async with Session(account, http=lent, hooks=HOOKS) as session:
                await session.get_info()
                await session.add_payout(11, "TX")
    name = "обмен".encode("idna").decode() + "." + "рф".encode("idna").decode()
    assert {seen.headers["host"] for seen in server.seen} == {name}


async def test_tls_asks_for_a_host_of_another_script_in_punycode() -> None:
    """The name in the TLS hello (SNI) is the one that certificates are for."""
    hellos = list[bytes]()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hellos.append(await reader.read(4096))
        writer.close()

    site = await asyncio.start_server(greet, "127.0.0.1", 0)
    port: int = site.sockets[0].getsockname()[1]

    async def find(*_: object) -> int | None:
        return port

    connector = aiohttp.TCPConnector(resolver=Names(find))
    async with site, aiohttp.ClientSession(connector=connector) as lent:
        account = Account("https://обмен.рф", KEY)
        retry = Retry(attempts=1)
        async with Session(account, http=lent, hooks=HOOKS, retry=retry) as session:
            with pytest.raises(TransportError):
                await session.get_info()
    name = "обмен".encode("idna") + b"." + "рф".encode("idna")
    assert all(name in hello for hello in hellos)
    assert hellos


@pytest.mark.untraced
def test_promise_6_one_session_in_one_loop_after_another() -> None:
    """Opened, used by many tasks at once and closed; then the same object in the next loop."""
    session: Session | None = None

    async def use() -> None:
        nonlocal session
        large = http(200, INFO.replace('"10"}', f'"10","x":"{"x" * 200_000}"}}'))
        async with RawServer() as server:
            server.script["get_info"] = lambda _: large
            session = session or Session(Account(server.url, KEY), hooks=HOOKS)
            object.__setattr__(session.account, "url", server.url)  # it would have one address
            async with session:
                calls = (session.get_info() for _ in range(20))
                assert {info.balance for info in await asyncio.gather(*calls)} == {
                    Decimal("122.01")
                }
                await session.add_payout(11, "TX")

    for _ in range(3):
        asyncio.run(use())

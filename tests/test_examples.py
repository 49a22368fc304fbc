"""The examples do what they say, against live sandboxes, in a loop whose time flies."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from fastapi import FastAPI

from examples import fastapi_service, payout_when_due
from ppapi_async import (
    Account,
    AccountFailed,
    AccountPhase,
    AccountRecovered,
    AccountStatus,
    AccountSuspended,
    AuthError,
    Change,
    ChangeKind,
    Dialect,
    Exchange,
    Fleet,
    FleetEvent,
    Hooks,
    Info,
    PayoutAttempt,
    ServerError,
    SQLiteState,
)
from ppapi_async.accounts_file import load_accounts
from ppapi_async.sandbox import Books, Click, Fault, Order, Partner, Sandbox
from tests import virtual_time
from tests.leaks import assert_absent

if TYPE_CHECKING:  # aiogram takes seconds to import: only the tests of the bot do
    from aiogram import Bot

KEY = "Ab3dEf6hIj9kLmN0pQrStUv2xYz45678"
CHAT, STRANGER = 42, 666
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
TWO_KINDS = pytest.mark.parametrize("dialect", [Dialect.CLASSIC, Dialect.DELEGATING])
ON_POSIX = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
EXAMPLES = Path(payout_when_due.__file__).parent


def order_of(row_id: int, created: int, *, reward: str = "1.5", visitor: str = "") -> Order:
    """Return a new order."""
    return Order(
        id=row_id,
        created=created,
        reward=reward,
        user_hash=visitor,
        currency_give="BTC",
        currency_get="A&B",
    )


def books_of(*visitors: str, balance: str = "5") -> Books:
    """Return books with one order of each visitor, five minutes old: each poll looks at them."""
    begun = int(virtual_time.BEGINNING) - 300
    orders = [order_of(i, begun + i, visitor=visitor) for i, visitor in enumerate(visitors, 1)]
    return Books(partner=Partner(api_key=KEY, balance=balance), orders=orders)


def site_of(books: Books, dialect: Dialect = Dialect.CLASSIC) -> Sandbox:
    """Return a site that keeps the loop's time."""
    return Sandbox(dialect, books=books, clock=virtual_time.now)


def fleet_on(
    site: Sandbox,
    state: Path,
    *,
    key: str = KEY,
    since: datetime | None = None,
    first: Literal["turn", "now"] = "turn",
) -> Fleet:
    """Return a fleet of the site's account, called "one"."""
    account, hooks = Account(site.url, key, name="one"), virtual_time.hooks()
    kept = SQLiteState(state)
    return Fleet([account], interval=60, first=first, state=kept, since=since, hooks=hooks)


def move(books: Books, row_id: int, status: str) -> None:
    """Give an order a new status, just now."""
    books.move_order(row_id, int(virtual_time.now()), status)


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a test in virtual time, and see that it leaves nothing running."""

    async def whole() -> None:
        await main()
        await asyncio.sleep(1)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left

    virtual_time.run(whole())


# --- the bot: what it says


def exchange(*, accrued: bool, reward: str = "0.00000012") -> Exchange:
    """Return an exchange with text that HTML would not bear."""
    return Exchange(
        id=7,
        time=NOON,
        amount_give=Decimal(1),
        amount_get=Decimal(1),
        exchange_success=accrued,
        accrued=accrued,
        partner_reward=Decimal(reward),
        currency_code_give="<b>",
        currency_code_get="R&D",
    )


def told(
    kind: ChangeKind, record: Exchange | Info, previous: Exchange | Info | None = None
) -> FleetEvent:
    """Return a change at the account "a<b"."""
    change: FleetEvent = Change(kind, record, previous, (), "a<b")
    return change


def info(balance: int, least: int = 10) -> Info:
    """Return an account's balance and minimum."""
    return Info(balance=Decimal(balance), min_payout=Decimal(least))


NEW, CHANGED = ChangeKind
YES, NO = exchange(accrued=True), exchange(accrued=False)
WHAT = "0.00000012 for exchange 7 (&lt;b&gt; → R&amp;D)"


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (told(NEW, NO), None),
        (told(NEW, YES), f"reward: {WHAT}"),
        (told(CHANGED, YES, NO), f"reward: {WHAT}"),
        (told(CHANGED, NO, YES), f"taken back: {WHAT}"),
        (told(CHANGED, YES, YES), None),
        (told(CHANGED, NO, NO), None),
        (told(CHANGED, YES), f"old exchange changed: {WHAT} has accrued"),
        (told(CHANGED, NO), f"old exchange changed: {WHAT} has not accrued"),
        (told(CHANGED, info(10), info(9)), "the balance 10 suffices for a payout"),
        (told(CHANGED, info(11), info(10)), None),
        (told(CHANGED, info(0, 0), info(5)), None),
        (AccountRecovered("a<b"), "works again"),
        (
            AccountFailed("a<b", ServerError("<h1>", account="a", method="get_info")),
            "fails; it is polled again, ever more seldom\n&lt;h1&gt;",
        ),
        (
            AccountSuspended("a<b", AuthError("wrong & bad", account="a", method="get_info")),
            "get_info is polled no more\nwrong &amp; bad",
        ),
    ],
)
def test_alerts(event: FleetEvent, text: str | None) -> None:
    """New rewards, reversals and trouble are told, in HTML that Telegram takes; no other change."""
    from examples import telegram_bot

    assert telegram_bot.alert(event) == (None if text is None else f"<b>a&lt;b</b>: {text}")


def status(
    phase: AccountPhase = AccountPhase.WAITING, *, failures: int = 0, lag: int | None = 5
) -> AccountStatus:
    """Return how a fleet gets on with an account."""
    return AccountStatus(
        phase=phase,
        dialect=None,
        last_success=None if lag is None else NOON,
        next_poll=None,
        failures=failures,
        last_error=ServerError("502", account="a") if failures else None,
        lag=None if lag is None else timedelta(seconds=lag),
    )


def test_status_tells_trouble_first_and_fits_a_message() -> None:
    """A hundred accounts with long names, one in trouble: it comes first."""
    from examples import telegram_bot

    statuses = {f"{'<' * 90}{number}": status(lag=None) for number in range(99)}
    text = telegram_bot.status_text(statuses | {"bad": status(failures=3)})
    assert text.splitlines()[:2] == [
        "100 accounts",
        "bad: waiting, read 0:00:05 ago, 3 polls failed",
    ]
    assert len(text.replace("&lt;", "<")) < 4096


# --- the bot: how it runs


TOO_MANY = {"description": "Too Many Requests", "parameters": {"retry_after": 17}}
KICKED = {"description": "Forbidden: bot was kicked from the group chat"}


class Telegram:
    """Takes the place of Telegram's servers: keeps what is sent, and fails on demand."""

    def __init__(self, *, seconds: float = 0.1) -> None:
        self.seconds = seconds
        self.sent: list[Mapping[str, Any]] = []
        self.failures: deque[web.Response | None] = deque()
        self.tries = 0
        self.tried = asyncio.Event()
        self.updates: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self._server = TestServer(web.Application())
        self._server.app.router.add_post("/bot{token}/{method}", self._answer)

    async def __aenter__(self) -> Self:
        await self._server.start_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()

    @property
    def texts(self) -> list[str]:
        """What was sent, without the account's name."""
        return [sent["text"].removeprefix("<b>one</b>: ") for sent in self.sent]

    def bot(self) -> Bot:
        """Return a bot that takes this for Telegram."""
        from aiogram import Bot
        from aiogram.client.default import DefaultBotProperties
        from aiogram.client.session.aiohttp import AiohttpSession
        from aiogram.client.telegram import TelegramAPIServer

        api = TelegramAPIServer.from_base(str(self._server.make_url("")))
        default = DefaultBotProperties(parse_mode="HTML")
        return Bot("1:TOKEN", session=AiohttpSession(api=api), default=default)

    def ask(self, text: str, chat: int = CHAT) -> None:
        """Write something to the bot."""
        message = self._message({"chat_id": chat, "text": text})
        self.updates.put_nowait({"update_id": 1, "message": message})

    def _message(self, sent: Mapping[str, Any]) -> Mapping[str, Any]:
        chat = {"id": int(sent["chat_id"]), "type": "private"}
        return {"message_id": 1, "date": 1, "chat": chat, "text": sent["text"]}

    async def _answer(self, request: web.Request) -> web.Response:
        asked = await request.post()
        method = request.match_info["method"]
        if request.match_info["token"] != "1:TOKEN":
            return _badly(401, {"description": "Unauthorized"})
        if method == "getUpdates":
            return _well(await self._wait(float(str(asked.get("timeout", 0)))))
        if method == "getMe":
            return _well({"id": 1, "is_bot": True, "first_name": "b", "username": "b"})
        assert method == "sendMessage"
        assert asked["parse_mode"] == "HTML"
        self.tries += 1
        self.tried.set()
        await asyncio.sleep(self.seconds)
        if self.failures:
            failure = self.failures.popleft()
            return _hang_up(request) if failure is None else failure
        self.sent.append(asked)
        return _well(self._message(asked))

    async def _wait(self, seconds: float) -> list[Mapping[str, Any]]:
        try:
            return [await asyncio.wait_for(self.updates.get(), seconds)]
        except TimeoutError:
            return []


def _well(result: object) -> web.Response:
    return web.json_response({"ok": True, "result": result})


def _badly(status: int, content: Mapping[str, Any]) -> web.Response:
    return web.json_response({"ok": False, "error_code": status, **content}, status=status)


def _hang_up(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


@asynccontextmanager
async def bot_on(
    site: Sandbox, state: Path, telegram: Telegram, **options: Any
) -> AsyncIterator[asyncio.Task[None]]:
    """Run the bot; end it as systemd does."""
    from examples import telegram_bot

    fleet = fleet_on(site, state, **options)
    serving = asyncio.create_task(telegram_bot.serve(fleet, telegram.bot(), CHAT))
    try:
        yield serving
    finally:
        if not serving.done():
            signal.raise_signal(signal.SIGTERM)
        await asyncio.wait([serving])


@ON_POSIX
@TWO_KINDS
def test_the_bot_tells_rewards_and_reversals_once(dialect: Dialect, tmp_path: Path) -> None:
    """Across a restart, at which what happened meanwhile is told and nothing else."""

    async def main() -> None:
        books, state, telegram = books_of("", ""), tmp_path / "state", Telegram()
        async with site_of(books, dialect) as site, telegram:
            async with bot_on(site, state, telegram):
                await asyncio.sleep(130)
                assert telegram.texts == []
                move(books, 1, "success")
                books.orders.put(order_of(3, int(virtual_time.now()), reward="8"))
                move(books, 3, "success")
                await asyncio.sleep(130)
                move(books, 1, "cancel")
                await asyncio.sleep(130)
            pair = "(BTC → A&amp;B)"
            first = telegram.texts
            assert sorted(first[:-1]) == [
                f"reward: 1.5 for exchange 1 {pair}",
                f"reward: 8 for exchange 3 {pair}",
                "the balance 14.5 suffices for a payout",
            ]
            assert first[-1] == f"taken back: 1.5 for exchange 1 {pair}"
            move(books, 2, "success")
            await asyncio.sleep(130)
            async with bot_on(site, state, telegram):
                await asyncio.sleep(300)
            assert telegram.texts[len(first) :] == [f"reward: 1.5 for exchange 2 {pair}"]
            assert {sent["chat_id"] for sent in telegram.sent} == {str(CHAT)}

    run(main)


@ON_POSIX
def test_status_is_answered_in_the_chat_only(tmp_path: Path) -> None:
    """Strangers get no answer."""

    async def main() -> None:
        telegram = Telegram()
        async with (
            site_of(books_of()) as site,
            telegram,
            bot_on(site, tmp_path / "state", telegram),
        ):
            await asyncio.sleep(130)
            telegram.ask("/status", STRANGER)
            telegram.ask("/status")
            await asyncio.sleep(1)
        assert [sent["chat_id"] for sent in telegram.sent] == [str(CHAT)]
        assert telegram.texts[0].startswith("1 accounts\none: waiting, read 0:00:")

    run(main)


@ON_POSIX
def test_an_alert_waits_for_telegram(tmp_path: Path) -> None:
    """Flood control, a lost connection and a broken server delay it; it is sent once."""

    async def main() -> None:
        books, telegram = books_of(""), Telegram()
        telegram.failures += [
            _badly(429, TOO_MANY),
            None,
            _badly(502, {"description": "Bad Gateway"}),
            web.Response(status=502, text="<h1>Bad Gateway</h1>"),
        ]
        async with (
            site_of(books) as site,
            telegram,
            bot_on(site, tmp_path / "state", telegram),
        ):
            await asyncio.sleep(130)
            move(books, 1, "success")
            await telegram.tried.wait()
            await asyncio.sleep(17 + 1 + 2 + 4 - 1)
            assert (telegram.tries, len(telegram.sent)) == (4, 0)
            await asyncio.sleep(60)
        assert (telegram.tries, len(telegram.sent)) == (5, 1)

    run(main)


@ON_POSIX
def test_what_the_chat_refuses_is_told_after_the_restart(tmp_path: Path) -> None:
    """The bot ends with the reason instead of passing over the alert."""
    from aiogram.exceptions import TelegramForbiddenError

    async def main() -> None:
        books, state, telegram = books_of(""), tmp_path / "state", Telegram()
        telegram.failures.append(_badly(403, KICKED))
        async with site_of(books) as site, telegram:
            async with bot_on(site, state, telegram) as serving:
                await asyncio.sleep(130)
                move(books, 1, "success")
                await asyncio.wait([serving], timeout=130)
                assert isinstance(serving.exception(), TelegramForbiddenError)
            async with bot_on(site, state, telegram):
                await asyncio.sleep(130)
        assert len(telegram.sent) == 1

    run(main)


@ON_POSIX
@pytest.mark.parametrize(("takes", "sent_first"), [(5, 1), (50, 0)])
def test_a_signal_lets_the_alert_in_hand_be_sent(
    takes: float, sent_first: int, tmp_path: Path
) -> None:
    """It counts as told then; one that takes too long is told after the restart."""
    from examples import telegram_bot

    async def main() -> None:
        books, state = books_of(""), tmp_path / "state"
        slow, quick = Telegram(), Telegram()
        async with site_of(books) as site, slow, quick:
            async with bot_on(site, state, slow):
                await asyncio.sleep(130)
                slow.seconds = takes
                move(books, 1, "success")
                await slow.tried.wait()
                signalled = virtual_time.now()
            assert virtual_time.now() - signalled < min(takes, telegram_bot.LAST_WORDS) + 1
            async with bot_on(site, state, quick):
                await asyncio.sleep(130)
        assert (len(slow.sent), len(quick.sent)) == (sent_first, 1 - sent_first)

    run(main)


@ON_POSIX
def test_trouble_is_told_without_the_key(tmp_path: Path) -> None:
    """An account fails, with pages that echo the key, and recovers; another's key is wrong."""

    async def main() -> None:
        telegram, refused = Telegram(), Telegram()
        async with site_of(books_of()) as site, telegram, refused:
            loop, faults = asyncio.get_running_loop(), site.faults
            loop.call_later(100, lambda: faults.add(Fault.KEY_ECHO, times=None, status=500))
            loop.call_later(200, faults.clear)
            async with bot_on(site, tmp_path / "state", telegram):
                await asyncio.sleep(600)
            async with bot_on(site, tmp_path / "refused", refused, key=KEY[::-1]):
                await asyncio.sleep(200)
        failed, recovered = telegram.texts
        assert failed.startswith("fails; it is polled again")
        assert recovered == "works again"
        assert "is polled no more" in refused.texts[0]
        assert_absent(KEY, failed, *refused.texts)
        assert_absent(KEY[::-1], *refused.texts)

    run(main)


@ON_POSIX
def test_a_wrong_token(tmp_path: Path) -> None:
    """The bot ends at once, before any account is asked."""
    from aiogram import Bot
    from aiogram.exceptions import TelegramUnauthorizedError

    from examples import telegram_bot

    async def main() -> None:
        telegram = Telegram()
        async with site_of(books_of()) as site, telegram:
            bot = telegram.bot()
            wrong = Bot("2:TOKEN", session=bot.session)
            with pytest.raises(TelegramUnauthorizedError):
                await telegram_bot.serve(fleet_on(site, tmp_path / "state"), wrong, CHAT)
            assert not site.requests

    run(main)


# --- the service


@asynccontextmanager
async def service_on(site: Sandbox, path: Path, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Run the service, without a port of its own."""
    app = fastapi_service.create_app(fleet_on(site, path / "watches", **options), path / "book")
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")
    async with app.router.lifespan_context(app), client:
        yield client


async def get(client: httpx.AsyncClient, path: str) -> Any:
    """Return an answer's JSON."""
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def health(client: httpx.AsyncClient) -> tuple[int, bool | None, str]:
    """Return the status, whether all is well, and what is said of the account."""
    answer = await client.get("/health")
    content = answer.json()
    is_wrong, is_unread = (
        bool(content["accounts"] or content["tasks"]),
        bool(content["not read yet"]),
    )
    assert content["ok"] is (False if is_wrong else None if is_unread else True)
    return answer.status_code, content["ok"], content["accounts"].get("one", "")


async def ready(client: httpx.AsyncClient) -> int:
    """Return the status of /ready."""
    return (await client.get("/ready")).status_code


def test_health_is_right_from_the_first_second(tmp_path: Path) -> None:
    """Unknown until the account has been read, then well; 503 while it fails, without the key."""

    async def main() -> None:
        async with site_of(books_of()) as site, service_on(site, tmp_path) as client:
            assert (await health(client), await ready(client)) == ((200, None, ""), 503)
            await asyncio.sleep(130)
            assert (await health(client), await ready(client)) == ((200, True, ""), 200)
            fault = site.faults.add(Fault.KEY_ECHO, times=None, status=500)
            await asyncio.sleep(130)
            code, ok, text = await health(client)
            assert (code, ok, await ready(client)) == (503, False, 200)
            assert text.startswith("failing, ")
            assert "polls failed: one: get_" in text
            assert_absent(KEY, text)
            site.faults.remove(fault)
            await asyncio.sleep(600)
            assert await health(client) == (200, True, "")

    run(main)


def test_health_tells_a_wrong_key_in_the_first_second(tmp_path: Path) -> None:
    """Polled at once, as the program does: suspended, so 503, and ready to be asked."""

    async def main() -> None:
        options: dict[str, Any] = {"first": "now", "key": KEY[::-1]}
        async with site_of(books_of()) as site, service_on(site, tmp_path, **options) as client:
            await asyncio.sleep(1)
            code, ok, text = await health(client)
            assert (code, ok, await ready(client)) == (503, False, 200)
            assert text.startswith("suspended, 1 polls failed")
            assert_absent(KEY[::-1], text)

    run(main)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (status(), None),
        (status(lag=180), None),
        (status(lag=181), "waiting, read 0:03:01 ago"),
        (status(AccountPhase.PAUSED, lag=999), None),
        (status(AccountPhase.POLLING, lag=None), None),
        (status(AccountPhase.FAILING, failures=2), "failing, 2 polls failed: a: 502"),
        (status(AccountPhase.SUSPENDED), "suspended, 0 polls failed: None"),
    ],
)
def test_trouble(found: AccountStatus, text: str | None) -> None:
    """Failures, suspension, a lag of more than three intervals; not what has not been read yet."""
    assert fastapi_service.trouble(found) == text


def test_a_task_that_fails_shows_in_health(tmp_path: Path) -> None:
    """A book that cannot be written ends the booking, and health says so."""

    async def main() -> None:
        books = books_of("")
        async with site_of(books) as site, service_on(site, tmp_path) as client:
            await asyncio.sleep(130)
            with fastapi_service.opened(tmp_path / "book") as connection:
                connection.execute("DROP TABLE exchanges")
            move(books, 1, "success")
            await asyncio.sleep(130)
            answer = await client.get("/health")
            assert answer.status_code == 503
            [ended] = answer.json()["tasks"]
            assert "no such table" in ended

    run(main)


@TWO_KINDS
def test_rewards_are_booked_once_by_sub_id(dialect: Dialect, tmp_path: Path) -> None:
    """By the last click before the exchange; a reversal counts; a restart goes on."""

    async def main() -> None:
        books = books_of("ann", "ann", "bob", "cid")
        begun = int(virtual_time.BEGINNING) - 300
        for at, (visitor, sub) in enumerate((("ann", "early"), ("ann", "select"), ("bob", "tg"))):
            row_id, query = books.clicks.next_id, f"?rid=1&sub={sub}"
            click = Click(id=row_id, created=begun + at, user_hash=visitor, query_string=query)
            books.clicks.put(click)
        books.clicks.put(Click(id=9, created=begun + 99, user_hash="bob", query_string="?sub=late"))
        since = datetime.fromtimestamp(begun - 60, UTC)
        expected = [
            {"account": "one", "sub": "", "exchanges": 1, "reward": "1.5"},
            {"account": "one", "sub": "select", "exchanges": 2, "reward": "3.0"},
        ]
        async with site_of(books, dialect) as site:
            async with service_on(site, tmp_path, since=since) as client:
                await asyncio.sleep(130)
                assert await get(client, "/rewards") == []
                for row_id in (1, 2, 3, 4):
                    move(books, row_id, "success")
                await asyncio.sleep(130)
                tg = {"account": "one", "sub": "tg", "exchanges": 1, "reward": "1.5"}
                assert await get(client, "/rewards") == [*expected, tg]
            move(books, 3, "cancel")
            async with service_on(site, tmp_path, since=since) as client:
                await asyncio.sleep(130)
                assert await get(client, "/rewards") == expected
                assert (await get(client, "/accounts"))[0]["balance"] == "9.5"

    run(main)


def test_balances_are_those_of_the_latest_poll(tmp_path: Path) -> None:
    """From the first poll on, though a state knows them; of an account that fails the last one."""

    async def main() -> None:
        books = books_of(balance="7.50")
        async with site_of(books) as site:
            for first, then in (("7.50", "8"), ("8", "9")):
                async with service_on(site, tmp_path, first="now") as client:
                    assert (await get(client, "/accounts"))[0]["balance"] is None
                    await asyncio.sleep(1)
                    account = (await get(client, "/accounts"))[0]
                    assert (account["name"], account["balance"]) == ("one", first)
                    books.partner.balance = then
                    await asyncio.sleep(130)
                    assert (await get(client, "/accounts"))[0]["balance"] == then
                    site.faults.add(Fault.HTML_502, method="get_info", times=None)
                    await asyncio.sleep(310)
                    assert (await get(client, "/accounts"))[0]["balance"] == then
                    site.faults.clear()

    run(main)


# --- payouts: by the clock of the machine, as nothing has to be waited for

WALLET = "TXabcdefgh"


def due(*, balance: str = "50", blacklist: Sequence[str] = ()) -> Sandbox:
    """Return a site that owes some money."""
    partner = Partner(api_key=KEY, balance=balance)
    return Sandbox(books=Books(partner=partner, blacklist=blacklist))


async def _at_once(_: float) -> None:
    """Sleep no longer than others need."""
    await asyncio.sleep(0)


async def pay(site: Sandbox, journal: Path, *others: Sandbox, **options: Any) -> int:
    """Run the program on some sites, and return the exit code."""
    options = {"really": True, "at_least": 0, "method": 11, "wallet": WALLET, **options}
    ways = {"one": (options.pop("method"), options.pop("wallet"))}
    accounts = [Account(site.url, KEY, name="one")]
    accounts += [Account(other.url, KEY, name=other.url) for other in others]
    book = payout_when_due.Journal(str(journal))
    try:
        fleet = Fleet(accounts, hooks=Hooks(sleep=_at_once))
        return await payout_when_due.run(fleet, ways, book, **options)
    finally:
        book.close()


def requests_for_payouts(site: Sandbox) -> list[dict[str, str]]:
    """Return what was sent to add_payout."""
    return [seen.form for seen in site.requests if seen.method == "add_payout"]


async def test_a_payout_is_requested_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the method and the wallet that were said; the next run finds nothing due."""
    async with due() as site:
        assert await pay(site, tmp_path / "journal") == 0
        assert await pay(site, tmp_path / "journal") == 0
        sent = [(form["method_id"], form["account"]) for form in requests_for_payouts(site)]
        assert sent == [("11", WALLET)]
    assert capsys.readouterr().out == "one: payout 1 is requested\none: the balance 0 is below 10\n"


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ({"really": False}, 0, f"would request 50 by 11 (Tether TRC20 USDT) to {WALLET}; "),
        ({"at_least": 51}, 0, "the balance 50 is below 51"),
        ({"method": 22}, 1, "method 22 is not offered now, only ['11 (Teth"),
    ],
)
async def test_nothing_is_sent(
    options: dict[str, Any],
    code: int,
    text: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In a dry run, below the least that is wanted, by a method whose reserve is too small."""
    async with due() as site:
        assert await pay(site, tmp_path / "journal", **options) == code
        assert requests_for_payouts(site) == []
        assert len(site.books.payouts) == 0
    assert capsys.readouterr().out.startswith(f"one: {text}")


@pytest.mark.parametrize(
    ("fault", "method", "code"),
    [(Fault.HTML_502, "get_info", 1), (Fault.API_DISABLED, "get_info", 3)],
)
async def test_a_site_that_does_not_tell_its_balance(
    fault: Fault, method: str, code: int, tmp_path: Path
) -> None:
    """Nothing is sent: run it again, or look after the key."""
    async with due() as site:
        site.faults.add(fault, method=method, times=None)
        assert await pay(site, tmp_path / "journal") == code
        assert requests_for_payouts(site) == []


async def test_the_gravest_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of two accounts one refuses; the other is due, and nobody has said how to pay it."""
    async with due() as site, due() as other:
        site.faults.add(Fault.API_DISABLED, times=None)
        assert await pay(site, tmp_path / "journal", other) == 3
        assert requests_for_payouts(other) == []
    assert "50 is due; choose with --pay: ['11 (Teth" in capsys.readouterr().out


async def test_a_refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3, the site's reason, and no note: nothing was ordered."""
    async with due(blacklist=[WALLET]) as site:
        assert await pay(site, tmp_path / "journal") == 3
        assert await pay(site, tmp_path / "journal", wallet="TXother") == 0
    assert "blacklist" in capsys.readouterr().out


async def test_what_was_certainly_not_sent(tmp_path: Path) -> None:
    """The look at the balance before the request fails: exit code 1, and no note."""
    async with due() as site:
        site.faults.add(Fault.HTML_502, method="get_info", skip=1, times=2)
        assert await pay(site, tmp_path / "journal") == 1
        assert await pay(site, tmp_path / "journal") == 0
        assert len(requests_for_payouts(site)) == 1


async def test_a_lost_answer_is_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The payout was booked, and is found at once."""
    async with due() as site:
        site.faults.add(Fault.CLOSED, method="add_payout", after=True)
        assert await pay(site, tmp_path / "journal") == 0
        assert len(requests_for_payouts(site)) == len(site.books.payouts) == 1
        assert await pay(site, tmp_path / "journal") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("UTC is payout 1")
    assert second == "one: the balance 0 is below 10"


async def test_a_lost_request_is_not_repeated_for_an_hour(tmp_path: Path) -> None:
    """Code 4 as long as a slow server may still book it; then the note goes, then it is paid."""
    journal = tmp_path / "journal"
    async with due() as site:
        site.faults.add(Fault.CLOSED, method="add_payout")
        assert [await pay(site, journal) for _ in range(3)] == [4, 4, 4]
        assert len(requests_for_payouts(site)) == 1
        earlier = PayoutAttempt(11, WALLET, datetime.now(UTC) - timedelta(hours=2), 0.0)
        with fastapi_service.opened(journal) as connection:
            connection.execute("UPDATE unsettled SET attempt = ?", (earlier.to_json(),))
        assert [await pay(site, journal) for _ in range(3)] == [1, 0, 0]
        assert len(requests_for_payouts(site)) == 2
        assert len(site.books.payouts) == 1


async def test_a_note_stands_while_the_payouts_cannot_be_read(tmp_path: Path) -> None:
    """Who does not answer get_payouts either is asked by the next run, which finds it."""
    async with due() as site:
        site.faults.add(Fault.RESET, method="add_payout", after=True)
        fault = site.faults.add(Fault.HTML_502, method="get_payouts", times=None)
        assert await pay(site, tmp_path / "journal") == 4
        site.faults.remove(fault)
        assert await pay(site, tmp_path / "journal") == 0
        assert len(requests_for_payouts(site)) == 1


async def test_ended_in_the_middle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that is cancelled while the request is under way leaves a note for the next one."""
    async with due() as site:
        site.faults.add(Fault.HANG, method="add_payout", after=True)
        paying = asyncio.create_task(pay(site, tmp_path / "journal"))
        while not requests_for_payouts(site):
            await site.arrived(site.requests_count + 1)
        paying.cancel()
        await asyncio.wait([paying])
        assert paying.cancelled()
        site.books.request_payout(11, WALLET, int(datetime.now(UTC).timestamp()))
        site.faults.clear()
        assert await pay(site, tmp_path / "journal") == 0
        assert len(requests_for_payouts(site)) == 1
    assert capsys.readouterr().out.endswith("UTC is payout 1\n")


@contextmanager
def served(site: Sandbox) -> Iterator[Sandbox]:
    """Run a site in a thread, for programs that have a loop of their own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(site.start(), loop).result()
        yield site
        asyncio.run_coroutine_threadsafe(site.close(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_promise_3_a_note_of_an_earlier_journal_still_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Journals had another table: what is unsettled in it is looked for, and not paid again."""
    monkeypatch.setenv("ONE_KEY", KEY)
    accounts, journal = tmp_path / "accounts.toml", tmp_path / "journal"
    arguments = ["--accounts", str(accounts), "--journal", str(journal), "--really"]
    arguments += ["--pay", "one", "11", WALLET]
    sent = datetime.now(UTC) - timedelta(minutes=1)
    with fastapi_service.opened(journal) as connection:
        connection.execute("CREATE TABLE attempts (account PRIMARY KEY, method, wallet, sent)")
        note = ("one", 11, WALLET, sent.isoformat())
        connection.execute("INSERT INTO attempts VALUES (?, ?, ?, ?)", note)
    with served(due()) as site:
        accounts.write_text(
            f'[[accounts]]\nurl = "{site.url}"\nname = "one"\nkey_env = "ONE_KEY"\n'
        )
        accounts.chmod(0o600)
        for _ in range(2):
            assert payout_when_due.main(arguments) == payout_when_due.UNKNOWN
        assert requests_for_payouts(site) == []
        assert payout_when_due.main([*arguments, "--forget", "one"]) == 0
        assert len(requests_for_payouts(site)) == 1


def test_the_program_is_dry_unless_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the command line, with a file of accounts and the key in the environment."""
    monkeypatch.setenv("ONE_KEY", KEY)
    accounts, journal = tmp_path / "accounts.toml", tmp_path / "journal"
    arguments = ["--accounts", str(accounts), "--journal", str(journal)]
    arguments += ["--pay", "one", "11", WALLET]
    with served(due()) as site:
        accounts.write_text(
            f'[[accounts]]\nurl = "{site.url}"\nname = "one"\nkey_env = "ONE_KEY"\n'
        )
        accounts.chmod(0o600)
        assert payout_when_due.main(arguments) == 0
        assert requests_for_payouts(site) == []
        with fastapi_service.opened(journal) as connection:
            earlier = PayoutAttempt(11, "TXwrong", datetime(2026, 1, 1, tzinfo=UTC))
            note = ("one", earlier.to_json())
            connection.execute("INSERT INTO unsettled VALUES (?, ?)", note)
        assert payout_when_due.main([*arguments, "--really", "--forget", "one"]) == 0
        assert len(requests_for_payouts(site)) == 1
    out = capsys.readouterr().out
    assert "would request 50" in out
    assert out.endswith("one: payout 1 is requested\n")
    assert_absent(KEY, out)


KILLED_BEFORE_SENDING = """
import os, signal, sys
from examples import payout_when_due
note = payout_when_due.Journal.note
def killed(journal, account, attempt):
    note(journal, account, attempt)
    os.kill(os.getpid(), signal.SIGKILL)
payout_when_due.Journal.note = killed
sys.exit(payout_when_due.main(sys.argv[1:]))
"""
KILLED_BY_US = """
import sys
from examples import payout_when_due
sys.exit(payout_when_due.main(sys.argv[1:]))
"""


@ON_POSIX
@pytest.mark.parametrize("is_sent", [False, True], ids=["noted", "sent"])
def test_promise_3_a_killed_program_pays_once(
    is_sent: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between note and request, or between request and answer: the note stands.

    The next run looks for the payout: it finds the one that was booked, and sends nothing while
    the one that was not may still be. Only an hour later it is sent, once.
    """
    monkeypatch.setenv("ONE_KEY", KEY)
    journal = tmp_path / "journal"
    with served(due()) as site:
        file = tmp_path / "accounts.toml"
        file.write_text(f'[[accounts]]\nurl = "{site.url}"\nname = "one"\nkey_env = "ONE_KEY"\n')
        file.chmod(0o600)
        arguments = ["--accounts", str(file), "--journal", str(journal), "--really"]
        arguments += ["--pay", "one", "11", WALLET]
        if is_sent:
            site.faults.add(Fault.HANG, method="add_payout", after=True)
        code = KILLED_BY_US if is_sent else KILLED_BEFORE_SENDING
        with subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=EXAMPLES.parent) as run:
            while is_sent and not len(site.books.payouts) and run.poll() is None:
                time.sleep(0)  # until the site has booked it
            if is_sent:
                run.kill()
        assert run.returncode == -signal.SIGKILL
        site.faults.clear()
        assert len(requests_for_payouts(site)) == len(site.books.payouts) == is_sent
        assert payout_when_due.main(arguments) == (0 if is_sent else 4)
        with fastapi_service.opened(journal) as connection:
            assert connection.execute("SELECT count(*) FROM unsettled").fetchone() == (not is_sent,)
            earlier = PayoutAttempt(11, WALLET, datetime.now(UTC) - timedelta(hours=2), 0.0)
            connection.execute("UPDATE unsettled SET attempt = ?", (earlier.to_json(),))
        assert [payout_when_due.main(arguments) for _ in range(3)] == (
            [0, 0, 0] if is_sent else [1, 0, 0]
        )
        assert len(requests_for_payouts(site)) == len(site.books.payouts) == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--pay", "three", "11", WALLET], "there is no account called three"),
        (["--pay", "two", "TRC20", WALLET], "invalid literal for int()"),
        (["--pay", "two", "11", " "], "a wallet is empty"),
        (["--accounts", "nowhere.toml"], "there is no such file of accounts"),
    ],
)
def test_wrong_arguments(
    arguments: list[str],
    text: str,
    sample: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2, with the reason."""
    journal = str(sample.with_name("journal"))
    with pytest.raises(SystemExit) as caught:
        payout_when_due.main(["--accounts", str(sample), "--journal", journal, *arguments])
    assert caught.value.code == 2
    assert text in capsys.readouterr().err


# --- from the command line


def test_the_bot_starts(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the token and the chat of the environment, and not without."""
    from examples import telegram_bot

    started: list[tuple[Fleet, Bot, int]] = []

    async def serve(fleet: Fleet, bot: Bot, chat: int) -> None:
        started.append((fleet, bot, chat))

    monkeypatch.setattr(telegram_bot, "serve", serve)
    monkeypatch.setattr("sys.argv", ["bot", "--accounts", str(sample), "--state", f"{sample}.db"])
    monkeypatch.delenv("TELEGRAM_TOKEN", raising=False)
    with pytest.raises(SystemExit, match="TELEGRAM_TOKEN"):
        telegram_bot.main()
    monkeypatch.setenv("TELEGRAM_TOKEN", "1:TOKEN")
    monkeypatch.setenv("TELEGRAM_CHAT", "-100")
    telegram_bot.main()
    [(fleet, bot, chat)] = started
    assert (repr(fleet), bot.token, chat) == ("<Fleet of 2 accounts, closed>", "1:TOKEN", -100)


def test_the_service_starts(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a port of this machine only."""
    started: list[tuple[FastAPI, dict[str, Any]]] = []

    def serve(app: FastAPI, **options: Any) -> None:
        started.append((app, options))

    monkeypatch.setattr("uvicorn.run", serve)
    options = ["--accounts", str(sample), "--data", str(sample.parent), "--since", "2026-01-31"]
    monkeypatch.setattr("sys.argv", ["service", *options])
    fastapi_service.main()
    [(app, options_of_uvicorn)] = started
    assert {"/health", "/ready", "/accounts", "/rewards"} <= app.openapi()["paths"].keys()
    assert options_of_uvicorn == {"port": 8000}


# --- the file of accounts


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the sample, with keys in the environment."""
    monkeypatch.setenv("ONE_KEY", KEY)
    monkeypatch.setenv("TWO_KEY", KEY[::-1])
    path = tmp_path / "accounts.toml"
    path.write_bytes((EXAMPLES / "accounts.toml").read_bytes())
    path.chmod(0o600)
    return path


def test_the_sample_of_accounts(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It loads as it stands; of the accounts in comments only the password manager is missing."""
    assert [account.name for account in load_accounts(sample)] == ["one.example", "two"]
    monkeypatch.setenv("PATH", str(sample.parent))
    lines = sample.read_text().splitlines()
    uncommented = [re.sub(r"^# (\[|\w+ = )", r"\1", line) for line in lines]
    sample.write_text("\n".join(uncommented))
    (sample.parent / "three.key").write_text("k")
    (sample.parent / "three.key").chmod(0o600)
    with pytest.raises(ValueError, match="key_command: 'pass' cannot be started") as caught:
        load_accounts(sample)
    assert len(str(caught.value).splitlines()) == 1

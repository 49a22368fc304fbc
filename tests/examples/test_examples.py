"""The examples do what they say, against live sandboxes, in a loop whose time flies."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
)
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from examples import payout_when_due
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
    Info,
    ServerError,
    SQLiteState,
)
from ppapi_async.sandbox import Books, Fault, Order, Partner, Sandbox
from tests import virtual_time
from tests.leaks import assert_absent

if TYPE_CHECKING:  # aiogram takes seconds to import: only the tests of the bot do
    from aiogram import Bot

pytestmark = pytest.mark.usefixtures("_aiogram")
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


def change_of(
    kind: ChangeKind, record: Exchange | Info, previous: Exchange | Info | None = None
) -> FleetEvent:
    """Return a change at the account "a<b"."""
    change: FleetEvent = Change(kind, record, previous, (), "a<b")
    return change


def info(balance: int, least: int = 10) -> Info:
    """Return an account's balance and minimum."""
    return Info(balance=Decimal(balance), min_payout=Decimal(least))


NEW, CHANGED = ChangeKind.NEW, ChangeKind.CHANGED
YES, NO = exchange(accrued=True), exchange(accrued=False)
WHAT = "0.00000012 for exchange 7 (&lt;b&gt; → R&amp;D)"


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (change_of(NEW, NO), None),
        (change_of(NEW, YES), f"reward: {WHAT}"),
        (change_of(CHANGED, YES, NO), f"reward: {WHAT}"),
        (change_of(CHANGED, NO, YES), f"taken back: {WHAT}"),
        (change_of(CHANGED, YES, YES), None),
        (change_of(CHANGED, NO, NO), None),
        (change_of(CHANGED, YES), f"old exchange changed: {WHAT} has accrued"),
        (change_of(CHANGED, NO), f"old exchange changed: {WHAT} has not accrued"),
        (change_of(CHANGED, info(10), info(9)), "the balance 10 suffices for a payout"),
        (change_of(CHANGED, info(11), info(10)), None),
        (change_of(CHANGED, info(0, 0), info(5)), None),
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


@pytest.mark.untraced
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


@pytest.mark.untraced
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


@pytest.mark.untraced
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


@pytest.mark.untraced
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

"""Telegram alerts on rewards: one chat hears of all your partner accounts.

    pip install ppapi-async aiogram
    export TELEGRAM_TOKEN=123456:ABC-DEF TELEGRAM_CHAT=987654321 ONE_KEY=…
    python telegram_bot.py --accounts accounts.toml --state telegram_bot.sqlite

The chat is told of rewards that accrue and of accruals that are taken back, of balances that reach
the least payout, and of accounts that fail, recover or are polled no more. Asked /status there, the
bot answers how each account gets on.

What was sent is noted in the state: a restart repeats none of it, and first tells what was missed.
(Failures are not noted: those that last are told again.) SIGINT and SIGTERM end the bot after the
alert in hand.
"""

from __future__ import annotations

import argparse
import asyncio
import html
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial

from aiogram import Bot, Dispatcher, F
from aiogram.client.default import DefaultBotProperties
from aiogram.exceptions import (
    ClientDecodeError,
    TelegramNetworkError,
    TelegramRetryAfter,
    TelegramServerError,
)
from aiogram.filters import Command
from aiogram.types import Message

from ppapi_async import (
    AccountFailed,
    AccountRecovered,
    AccountStatus,
    AccountSuspended,
    Change,
    ChangeKind,
    Exchange,
    Fleet,
    FleetEvent,
    Info,
    SQLiteState,
    load_accounts,
)

LONGEST_PAUSE = 300.0  # seconds, between two tries to reach Telegram
LAST_WORDS = 10.0  # seconds, for the alert in hand when the bot ends
SAVING = 0.5  # seconds in which the store notes that an alert was sent
MOST_LINES = 40  # of /status; Telegram takes 4096 characters


def alert(event: FleetEvent) -> str | None:
    """Return what the chat is told of an event, in Telegram's HTML; None: nothing."""
    text = _news(event)
    return None if text is None else f"<b>{_quoted(event.account)}</b>: {text}"


def _news(event: FleetEvent) -> str | None:
    match event:
        case Change(kind, Exchange() as order, Exchange() | None as before):
            return _news_of_order(kind, order, before)
        case Change(_, Info() as info, Info() as before) if _suffices(info) > _suffices(before):
            return f"the balance {info.balance:f} suffices for a payout"
        case AccountFailed(_, error):
            return f"fails; it is polled again, ever more seldom\n{_quoted(error.message)}"
        case AccountRecovered():
            return "works again"
        case AccountSuspended(_, error):
            return f"{error.method} is polled no more\n{_quoted(error.message)}"
    return None


def _news_of_order(kind: ChangeKind, order: Exchange, before: Exchange | None) -> str | None:
    pair = _quoted(f"{order.currency_code_give} → {order.currency_code_get}")
    what = f"{order.partner_reward:f} for exchange {order.id} ({pair})"
    if before is None and kind is ChangeKind.CHANGED:  # so long ago that it is forgotten
        return f"old exchange changed: {what} has {'' if order.accrued else 'not '}accrued"
    if order.accrued == (before is not None and before.accrued):
        return None
    return f"reward: {what}" if order.accrued else f"taken back: {what}"


def _suffices(info: Info) -> bool:
    return info.balance > 0 and info.balance >= info.min_payout


def _quoted(text: str) -> str:
    return html.escape(text[:500], quote=False)


def status_text(statuses: Mapping[str, AccountStatus]) -> str:
    """Return the answer to /status, those in trouble first."""
    lines = []
    for name, status in sorted(statuses.items(), key=lambda item: -item[1].failures)[:MOST_LINES]:
        lag = status.lag and timedelta(seconds=int(status.lag.total_seconds()))
        age = "not read yet" if lag is None else f"read {lag} ago"
        trouble = f", {status.failures} polls failed" if status.failures else ""
        lines.append(f"{_quoted(name[:40])}: {status.phase}, {age}{trouble}")
    return "\n".join([f"{len(statuses)} accounts", *lines])


async def patiently(ask: Callable[[], Awaitable[object]]) -> None:
    """Ask Telegram until it answers.

    Raises:
        TelegramAPIError: that will never be: a wrong token, a chat that does not let the bot in.
    """
    pause = 1.0
    while True:
        try:
            await ask()
            return
        except TelegramRetryAfter as error:
            wait = float(error.retry_after)
        except (ClientDecodeError, TelegramNetworkError, TelegramServerError):
            wait, pause = pause, min(2 * pause, LONGEST_PAUSE)
        await asyncio.sleep(wait)


async def tell(fleet: Fleet, bot: Bot, chat: int, idle: asyncio.Event) -> None:
    """Tell the chat what happens, until the fleet is left; `idle` is set between two alerts."""
    async with fleet.events("exchanges", "info") as events:
        async for event in events:
            if (text := alert(event)) is not None:
                # Sent before the loop goes on, for a change counts as delivered when the next event
                # is asked for: if this fails or the process dies, it is sent after the restart.
                idle.clear()
                await patiently(partial(bot.send_message, chat, text))
                idle.set()


async def serve(fleet: Fleet, bot: Bot, chat: int) -> None:
    """Tell and answer until a signal comes."""
    dispatcher = Dispatcher()

    @dispatcher.message(Command("status"), F.chat.id == chat)  # strangers get no answer
    async def _(message: Message) -> None:
        await message.answer(status_text(fleet.status()))

    async with bot, fleet:
        await patiently(bot.me)  # polling begins with it, and would not ask twice
        polling = asyncio.create_task(dispatcher.start_polling(bot, close_bot_session=False))
        idle = asyncio.Event()
        idle.set()
        delivery = asyncio.create_task(tell(fleet, bot, chat, idle))
        await asyncio.wait([polling, delivery], return_when=asyncio.FIRST_COMPLETED)
        if not polling.done():  # delivery has failed
            await dispatcher.stop_polling()
        try:
            await asyncio.wait_for(idle.wait(), LAST_WORDS)
            await asyncio.sleep(SAVING)  # the alert in hand was sent, and counts as delivered
        except TimeoutError:
            delivery.cancel()  # it is sent after the restart
        await fleet.aclose()  # ends the events
        await asyncio.wait([polling, delivery], timeout=LAST_WORDS)
        for task in (polling, delivery):
            if task.done() and not task.cancelled():
                task.result()


def main() -> None:
    """Run the bot."""
    parser = argparse.ArgumentParser(description="Telegram alerts on rewards.")
    parser.add_argument("--accounts", default="accounts.toml", help="default: %(default)s")
    parser.add_argument("--state", default="telegram_bot.sqlite", help="default: %(default)s")
    options = parser.parse_args()
    token, chat = os.environ.get("TELEGRAM_TOKEN"), os.environ.get("TELEGRAM_CHAT")
    if not (token and chat):
        sys.exit("set TELEGRAM_TOKEN and TELEGRAM_CHAT in the environment")
    fleet = Fleet(load_accounts(options.accounts), state=SQLiteState(options.state))
    bot = Bot(token, default=DefaultBotProperties(parse_mode="HTML"))
    asyncio.run(serve(fleet, bot, int(chat)))


if __name__ == "__main__":
    main()

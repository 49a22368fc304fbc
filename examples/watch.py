"""Print what happens at your partner accounts, until Ctrl-C or SIGTERM.

    pip install ppapi-async
    export ONE_KEY=…
    python watch.py --accounts accounts.toml --state watch.sqlite

Each account is polled at once, its balance comes first, then every new and changed exchange and
payout. What was printed is noted in the state: a restart goes on there. A signal lets requests
under way end and closes all there is; a second one does not wait for them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from collections.abc import Callable

from ppapi_async import (
    AccountFailed,
    AccountRecovered,
    AccountSuspended,
    Change,
    Exchange,
    Fleet,
    FleetEvent,
    Info,
    Payout,
    RowsUnreadable,
    SQLiteState,
    load_accounts,
)


def line(event: FleetEvent) -> str:
    """Return what is printed of an event."""
    match event:
        case Change(kind, Info() as info):
            text = f"{kind} balance {info.balance:f}, paid out from {info.min_payout:f}"
        case Change(kind, Exchange() as row):
            accrued = "accrued" if row.accrued else "not accrued"
            text = f"{kind} exchange {row.id}, reward {row.partner_reward:f}, {accrued}"
        case Change(kind, Payout() as row):
            text = f"{kind} payout {row.id}, {row.pay_amount:f} {row.pay_currency_code}"
        case AccountFailed(_, error) | AccountSuspended(_, error) | RowsUnreadable(_, error):
            text = error.message
        case AccountRecovered():
            text = "works again"
        case _:
            text = "something new"
    return f"{event.account}: {text}"


async def print_events(fleet: Fleet, write: Callable[[str], object]) -> None:
    """Print until the fleet is closed."""
    async with fleet.events("info", "exchanges", "payouts", initial_info=True) as events:
        async for event in events:
            # Before the loop goes on: a change counts as delivered when the next is asked for.
            write(line(event))


async def watch(fleet: Fleet, write: Callable[[str], object]) -> None:
    """Print until a signal comes."""
    loop, stop, signals = asyncio.get_running_loop(), asyncio.Event(), 0
    this = asyncio.current_task()

    def end() -> None:
        nonlocal signals
        signals += 1
        stop.set()
        if signals > 1 and this is not None:
            this.cancel()  # breaks off what is under way

    for number in (signal.SIGINT, signal.SIGTERM):
        # Windows has no such handlers: there asyncio.run has Ctrl-C cancel this task.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, end)
    async with fleet:
        printing = asyncio.create_task(print_events(fleet, write))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([printing, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            await fleet.aclose()  # ends the loop over the events, wherever it waits
        await printing  # what went wrong, if anything did


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description="Print what happens at your partner accounts.")
    parser.add_argument("--accounts", default="accounts.toml", help="default: %(default)s")
    parser.add_argument("--state", default="watch.sqlite", help="default: %(default)s")
    parser.add_argument("--interval", type=float, default=60.0, help="seconds, from poll to poll")
    options = parser.parse_args()
    state = SQLiteState(options.state)
    accounts = load_accounts(options.accounts)
    fleet = Fleet(accounts, interval=options.interval, first="now", state=state)
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(watch(fleet, lambda text: print(text, flush=True)))


if __name__ == "__main__":
    main()

"""Three workers share the accounts of six sites; one is killed, and the others take its accounts.

    export PARTNER_DATABASE=postgresql://user:password@host/database
    python shared_fleet.py

The sites are sandboxes of this process, the workers processes of their own. What matters is in
`work`: on machines of yours, start that same program as often as you like, each time with the same
accounts and the same name of the group.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys

from ppapi_async import Account, Change, Fleet, PostgresState, ShardsGained, ShardsLost
from ppapi_async.sandbox import Sandbox

SITES, WORKERS = 6, 3


async def work(name: str, database: str, accounts: list[Account]) -> None:
    """Poll a fair share of the accounts until SIGTERM comes."""
    # Five seconds are short: a worker that stands still for so long loses its accounts.
    state = PostgresState(database, hung_after=5)
    async with Fleet(accounts, interval=2, first="now", state=state, shared="example") as fleet:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        closing = asyncio.create_task(close_when(stop, fleet))
        async for event in fleet.events("exchanges"):
            if isinstance(event, ShardsGained):
                print(f"{name}: polls {', '.join(event.accounts)}", flush=True)
                print(f"{name}: one of {len(fleet.workers())} workers", flush=True)
            elif isinstance(event, ShardsLost):
                why = f": {event.error}" if event.error else ""
                print(f"{name}: leaves {', '.join(event.accounts)} to others{why}", flush=True)
            elif isinstance(event, Change):
                print(f"{name}: {event.account}: {event.kind} {event.record}"[:100], flush=True)
            else:
                print(f"{name}: {event.account}: {event}", flush=True)
        closing.cancel()


async def close_when(stop: asyncio.Event, fleet: Fleet) -> None:
    """End the loop over the events, and hand the accounts over, when it is time."""
    await stop.wait()
    await fleet.aclose()


async def show(database: str, seconds: float) -> None:
    """Run the sites and the workers, and kill one of these."""
    async with contextlib.AsyncExitStack() as stack:
        sites = [Sandbox(rows=0, seed=number, live=True, pace=1800) for number in range(SITES)]
        for site in sites:
            await stack.enter_async_context(site)
        accounts = [
            (site.url, site.api_key, f"site {number}") for number, site in enumerate(sites, 1)
        ]
        job = json.dumps({"database": database, "accounts": accounts}).encode()
        workers = [await start(f"worker {number + 1}", job) for number in range(WORKERS)]
        try:
            await asyncio.gather(*(site.arrived(1) for site in sites))
            await asyncio.sleep(seconds)
            print("--- worker 1 is killed", flush=True)
            workers[0].kill()
            await asyncio.gather(*(site.arrived(site.requests_count + 2) for site in sites))
            await asyncio.sleep(seconds)
            print("--- the others are asked to end", flush=True)
            for worker in workers[1:]:
                worker.terminate()
            await asyncio.gather(*(worker.wait() for worker in workers))
        finally:
            for worker in workers:
                with contextlib.suppress(ProcessLookupError):
                    worker.kill()


async def start(name: str, job: bytes) -> asyncio.subprocess.Process:
    """Start a worker. What is secret goes through its standard input: a command line is public."""
    command = [sys.executable, __file__, "--worker", name]
    worker = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)
    if worker.stdin is not None:
        worker.stdin.write(job)
        worker.stdin.close()
    return worker


def main() -> None:
    """Show it, or be one of the workers."""
    parser = argparse.ArgumentParser(description="Three workers share the accounts of six sites.")
    parser.add_argument("--seconds", type=float, default=5.0, help="before and after the kill")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        job = json.load(sys.stdin)
        accounts = [Account(url, key, name=name) for url, key, name in job["accounts"]]
        asyncio.run(work(asked.worker, job["database"], accounts))
        return
    database = os.environ.get("PARTNER_DATABASE")
    if not database:
        parser.error("set PARTNER_DATABASE to the url of a database in PostgreSQL")
    asyncio.run(show(database, asked.seconds))


if __name__ == "__main__":
    main()

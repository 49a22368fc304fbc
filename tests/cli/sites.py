"""Sandboxes that run beside a command: in a thread, for a command has an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from ppapi_async.sandbox import Sandbox

__all__ = ["DEAD", "accounts_text", "dead_account", "running", "write_accounts"]

DEAD = "dE4d9" * 7
"""The key of an account whose site does not answer."""


@contextlib.contextmanager
def running(*sandboxes: Sandbox) -> Iterator[asyncio.AbstractEventLoop]:
    """Serve sites until the block is left; yield the loop they run in."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="sites", daemon=True)
    thread.start()

    async def start() -> contextlib.AsyncExitStack:
        async with contextlib.AsyncExitStack() as stack:
            for one in sandboxes:
                await stack.enter_async_context(one)
            return stack.pop_all()

    try:
        stack = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
        try:
            yield loop
        finally:
            asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


def accounts_text(sites: Mapping[str, Sandbox]) -> str:
    """Return an accounts file for sites by name."""
    lines: list[str] = []
    for name, site in sites.items():
        lines += ["[[accounts]]", f'name = "{name}"', f'url = "{site.url}"']
        lines += [f'api_key = "{site.api_key}"', f'timezone = "{site.timezone}"']
        if site.api_login is not None:
            lines.append(f'api_login = "{site.api_login}"')
    return "\n".join([*lines, ""])


def dead_account(name: str) -> str:
    """Return an account of an accounts file whose site does not answer."""
    return f'[[accounts]]\nname = "{name}"\nurl = "http://127.0.0.1:9"\napi_key = "{DEAD}"\n'


def write_accounts(path: Path, sites: Mapping[str, Sandbox]) -> Path:
    """Write an accounts file that only this user may read; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(accounts_text(sites))
    return path

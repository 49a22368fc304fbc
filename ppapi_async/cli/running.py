"""Runs what a command does in an event loop that Ctrl-C and SIGTERM end cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine
from typing import TypeVar

from ppapi_async.cli.exits import CommandFailed, exit_of

__all__ = ["run"]

T = TypeVar("T")


def run(work: Callable[[], Coroutine[object, object, T]]) -> T:
    """Run a coroutine function to its end, and return what it returns.

    Ctrl-C and SIGTERM cancel it, so that it cleans up; a second Ctrl-C does not wait for that.

    Raises:
        CommandFailed: it met an error of the library, which the user is told.
        KeyboardInterrupt: it was interrupted, by either signal.
    """
    from ppapi_async.errors import PPAPIError

    is_stopped = False

    async def until_stopped() -> T:
        nonlocal is_stopped
        task = asyncio.current_task()

        def stop() -> None:
            nonlocal is_stopped
            is_stopped = True
            if task is not None:
                task.cancel()

        # Not on Windows, and not in other threads than the main one.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
        return await work()

    try:
        return asyncio.run(until_stopped())
    except PPAPIError as error:
        raise CommandFailed(str(error), exit_of([error])) from None
    except asyncio.CancelledError:
        if is_stopped:
            raise KeyboardInterrupt from None
        raise

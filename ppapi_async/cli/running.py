"""Runs what a command does in an event loop that Ctrl-C and SIGTERM end cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import TypeVar

from ppapi_async.cli.exits import CommandFailed, exit_of
from ppapi_async.cli.failures import for_users

__all__ = ["run"]

T = TypeVar("T")


def run(work: Callable[[], Coroutine[object, object, T]]) -> T:
    """Run a coroutine function to its end, and return what it returns.

    Ctrl-C, SIGTERM and the end of the terminal cancel it, so that it cleans up; a second Ctrl-C
    does not wait for that.

    Raises:
        CommandFailed: it met an error of the library, which the user is told.
        KeyboardInterrupt: it was interrupted, by any of these signals.
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

        numbers = [signal.SIGTERM]
        if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)  # the terminal was closed, and nohup is not there
        loop = asyncio.get_running_loop()
        # Not on Windows, and not in other threads than the main one.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            for number in numbers:
                loop.add_signal_handler(number, stop)
        try:
            return await work()
        finally:
            # A loop that closes shuts its pipe first, and Python complains of a signal in between.
            with contextlib.suppress(NotImplementedError):
                for number in numbers:
                    loop.remove_signal_handler(number)

    try:
        return asyncio.run(until_stopped())
    except PPAPIError as error:
        raise CommandFailed(for_users(str(error)), exit_of([error])) from None
    except asyncio.CancelledError:
        if is_stopped:
            raise KeyboardInterrupt from None
        raise

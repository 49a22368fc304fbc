"""The entry point of the command line: `ppapi`, and `python -m ppapi_async`.

Exit codes are those of `ppapi_async.cli.exits`. Ctrl-C is how a sandbox is meant to end, so that is
0 there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        argv: the arguments without the program's name; None takes those of the process.

    >>> main(["dmo"])
    2
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # it was closed, and another file could get its number
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123
    try:
        with _signals_as_ctrl_c():
            from ppapi_async.cli.group import run

            return run(argv)
    except KeyboardInterrupt:  # before there was a command
        print("interrupted", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("ppapi_async"):
            raise
        needs = f"ppapi: the command line needs {error.name}: pip install 'ppapi-async[cli]'"
        print(needs, file=sys.stderr)
        return 2


@contextlib.contextmanager
def _signals_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and the end of the terminal do what Ctrl-C does, outside an event loop, too.

    What is ignored, as SIGHUP is by nohup, stays ignored.
    """
    taken = []
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]
        taken = [one for one in numbers if one and signal.getsignal(one) is signal.SIG_DFL]
    for one in taken:
        signal.signal(one, signal.default_int_handler)
    try:
        yield
    finally:
        for one in taken:
            signal.signal(one, signal.SIG_DFL)

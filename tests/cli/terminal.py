"""Runs `ppapi` as people, pipes and programs do.

`ppapi` runs it in this process, which is quick and measured; `Terminal` in a process of its own on
a real pty, for what only a terminal shows: progress, confirmation, Ctrl-C, widths.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import re
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

from attrs import field, frozen
from click.testing import CliRunner

from ppapi_async import cli
from ppapi_async.cli.main import main

__all__ = ["Ran", "Terminal", "bare", "ppapi", "started"]

# Commands are loaded when they run; a test that is not measured may be the first to run one.
for _module in pkgutil.walk_packages(cli.__path__, f"{cli.__name__}."):
    importlib.import_module(_module.name)

PROGRAM = (sys.executable, "-X", "faulthandler", "-W", "error", "-m", "ppapi_async")
"""Not with `-X dev`: asyncio would tell a busy machine's every slow turn between the lines."""
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b[=>]")
_LEAD = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    " os.execv(sys.argv[1], sys.argv[1:])"
)
"""Makes the terminal the one from which Ctrl-C comes, then becomes the command."""
_PATIENCE = 60.0


def bare(text: str) -> str:
    """Return text without colours and movements of the cursor."""
    return _ESCAPES.sub("", text)


@frozen
class Ran:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str = field(default="")


def ppapi(
    *arguments: str,
    input: str = "",  # noqa: A002
    env: Mapping[str, str] | None = None,
    terminal: bool = False,
) -> Ran:
    """Run a command in this process, piped, as scripts do.

    Args:
        arguments: as in a shell.
        input: what stdin has.
        env: more variables of the environment.
        terminal: have it believe that stdin, stdout and stderr are a terminal.
    """
    with CliRunner().isolation(input=input, env=env) as (out, err, *_):
        if terminal:
            for stream in (sys.stdin, sys.stdout, sys.stderr):
                stream.isatty = lambda: True  # type: ignore[method-assign]
        code = main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
        return Ran(code, out.getvalue().decode(), err.getvalue().decode())


@contextlib.contextmanager
def started(
    *arguments: str, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a process of its own, with pipes; it is killed in the end."""
    with subprocess.Popen(
        [*PROGRAM, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(env or {})},
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class Terminal:
    r"""A command on a terminal of its own.

    >>> with Terminal("payout", "one", "5", "TX…", columns=80) as terminal:  # doctest: +SKIP
    ...     terminal.wait_for("Type")
    ...     terminal.type("no\n")
    ...     assert terminal.end() == 1
    """

    def __init__(
        self, *arguments: str, columns: int = 80, env: Mapping[str, str] | None = None
    ) -> None:
        self._arguments = arguments
        self._columns = columns
        self._env = env or {}
        self._seen = b""

    def __enter__(self) -> Self:
        import fcntl
        import pty
        import termios

        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, self._columns, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", **self._env}
        environment.pop("COLUMNS", None)

        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LEAD, *PROGRAM, *self._arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    @property
    def text(self) -> str:
        """All that was written so far, without colours and movements of the cursor."""
        return bare(self.raw).replace("\r\n", "\n")

    @property
    def raw(self) -> str:
        """All that was written so far, as the terminal gets it."""
        return self._seen.decode(errors="replace")

    def type(self, text: str) -> None:
        r"""Type text; `\x03` is Ctrl-C."""
        os.write(self._ours, text.encode())

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command."""
        self._process.send_signal(number)

    def wait_for(self, text: str) -> str:
        """Wait until a text was written; return all that was."""
        until = time.monotonic() + _PATIENCE
        while text not in self.text:
            if not self._read(until):
                raise AssertionError(f"no {text!r} in {self.text!r}")
        return self.text

    def wait_for_hidden(self, text: str) -> None:
        """Wait until a text was written and what is typed does not show.

        The one comes before the other, or after it: getpass and click differ by their versions.
        """
        import termios

        self.wait_for(text)
        until = time.monotonic() + _PATIENCE
        while termios.tcgetattr(self._ours)[3] & termios.ECHO:
            if time.monotonic() > until:
                raise AssertionError(f"what is typed shows after {self.text!r}")
            self._read(time.monotonic() + 0.001)

    def end(self) -> int:
        """Wait for the end; return the exit code."""
        until = time.monotonic() + _PATIENCE
        while self._read(until):
            pass
        return self._process.wait(timeout=_PATIENCE)

    def interrupt(self) -> int:
        r"""Press Ctrl-C until the command ends, as a person would; return the exit code.

        One that comes just before Python begins to read a line is heeded after that line only.
        """
        until = time.monotonic() + _PATIENCE
        while self._process.poll() is None and time.monotonic() < until:
            self.type("\x03")
            soon = time.monotonic() + 0.5
            while self._read(soon):
                pass
        return self.end()

    def _read(self, until: float) -> bool:
        """Take what comes; False if nothing more does."""
        ready, _, _ = select.select([self._ours], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return False
        try:
            found = os.read(self._ours, 65536)
        except OSError:  # Linux says so where the other end is closed
            return False
        self._seen += found
        return bool(found)

"""A key from where the file says that it is: a variable, a file, a command.

Each function returns the key as a secret, or what is wrong as text. Nothing is raised: the frames
hold bare keys. A name that may be a key in the wrong field is not repeated.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from ppapi_async.account import Secret
from ppapi_async.accounts_file.commands import Stop, run
from ppapi_async.accounts_file.report import Report
from ppapi_async.files import read

__all__ = ["key_of_command", "key_of_file", "key_of_variable", "watch_command"]

_NAME = "{name}"
_LARGEST = 64 * 1024
"""Bytes of a file with a key, or of what a program prints."""


def key_of_variable(template: Secret, name: str) -> Secret | str:
    """Return the key that an environment variable holds."""
    variable = _filled(template, name)
    with contextlib.suppress(KeyError, ValueError):
        return Secret(os.environ[variable])
    is_name = _NAME in template.reveal() or re.fullmatch("[A-Z_]+", variable)
    shown = repr(variable) if is_name else "this variable"
    return f"{shown} is not set in the environment; write the name of a variable, not the key"


def key_of_file(report: Report, template: Secret, name: str, seconds: float) -> Secret | str:
    """Return the key that is all there is in a file."""
    shown = repr(_filled(template, name)) if _NAME in template.reveal() else "this file"
    try:
        path = Path(report.path).parent / Path(_filled(template, name)).expanduser()
        content, status = read(path, _LARGEST, seconds=seconds)
        report.watch(str(path), status, holds_key=True)
        return Secret(content.decode("utf-8-sig").rstrip("\r\n"))
    except UnicodeDecodeError:
        return f"{shown} is not UTF-8"
    except (OSError, RuntimeError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "not a path"
    return f"{shown} cannot be read: {reason}; a relative path starts at the accounts file"


def key_of_command(
    report: Report, words: Sequence[Secret], name: str, seconds: float
) -> Secret | str:
    """Return the first line that a program prints."""
    # A lone word may be a key; more than one are a command.
    shown = repr(Path(words[0].reveal()).name) if len(words) > 1 else "this program"
    try:
        printed = _printed(words, name, Path(report.path).parent, seconds)
        if isinstance(printed, bytes):
            return Secret(printed.partition(b"\n")[0].decode().rstrip("\r"))
    except UnicodeDecodeError:
        return f"{shown} printed no UTF-8"
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "not a command"
        return f"{shown} cannot be started: {reason}"
    if printed is Stop.LATE:
        return f"{shown} took more than {seconds:g} s and was ended; see command_timeout"
    if printed is Stop.TOO_MUCH:
        return f"{shown} printed more than {_LARGEST // 1024} KB and was ended; the key is one line"
    return f"{shown} failed with exit code {printed}; run it by hand to see what it says"


def watch_command(report: Report, words: Sequence[Secret], name: str) -> None:
    """Note warnings about the program, and about scripts among its arguments."""
    directory = Path(report.path).parent
    program = shutil.which(_filled(words[0], name))
    if program is not None:
        report.watch_program(program)
    for word in words:
        with contextlib.suppress(OSError, ValueError):
            path = directory / _filled(word, name)
            if path.is_file():
                report.watch_program(str(path))


def _printed(
    words: Sequence[Secret], name: str, directory: Path, seconds: float
) -> bytes | int | Stop:
    """Return what a program prints, its exit code if it fails, or why it was ended."""
    try:
        return run([_filled(word, name) for word in words], directory, seconds, _LARGEST)
    except (KeyboardInterrupt, SystemExit) as stop:
        stop.__traceback__ = None  # its frames hold what was printed so far
        raise


def _filled(template: Secret, name: str) -> str:
    """Return a text with the account's name in its place."""
    return template.reveal().replace(_NAME, name)

"""Bad input: one line that names the argument, and what to pass."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NoReturn

__all__ = ["MOST_ROWS", "Parser", "UsageError", "number"]

MOST_ROWS = 10_000_000  # about four gigabytes


class UsageError(Exception):
    """What the user asked for cannot be done; the message is the one line to print."""


class Parser(argparse.ArgumentParser):
    """Reports bad input in one line, without the usage in front of it."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing."""
        raise UsageError(f"{self.prog}: {message}")


def number(least: int, most: int) -> Callable[[str], int]:
    """Return an argparse type for whole numbers in a range."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(
                f"{text!r}: pass a whole number from {least} to {most}"
            )
        return value

    return read

"""Decoding in steps: generators that yield where others may run, and return what came of it."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias, TypeVar

from ppapi_async.errors import PPAPIError

__all__ = ["Outcome", "finish"]

T = TypeVar("T")
Outcome: TypeAlias = Generator[None, None, T | PPAPIError]
"""The steps of something that may turn out to be an error, which is returned."""


def finish(steps: Generator[None, None, T]) -> T:
    """Carry the steps out in one go and return their result."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            value: T = stop.value
            return value

"""What a session takes from outside: time and chance; and what it tells of its requests."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from attrs import frozen

__all__ = ["Hooks", "RequestFacts"]


@frozen
class RequestFacts:
    """What `Session.on_request` is told of each HTTP request; nothing in it is secret."""

    account: str
    method: str
    attempt: int
    status: int | None
    """None where no answer came."""
    seconds: float
    received: int
    """Bytes of the body, decompressed."""
    error: str | None
    """The name of the error's class."""
    rows: int | None = None
    """Rows in the answer, readable or not; None where it is no list of rows, or the same answer as
    one that was delivered before, which is not decoded again."""
    verb: str = ""
    """The HTTP method: GET or POST."""
    host: str = ""
    """The site's host, with the port unless it is the scheme's own; as `Account.host`."""
    port: int = 0
    """The site's port."""


@frozen
class Hooks:
    """What a test replaces: the wall clock, sleeping, and chance (0 ≤ x < 1)."""

    clock: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random

    def __attrs_post_init__(self) -> None:
        for name in ("clock", "sleep", "chance"):
            if not callable(getattr(self, name)):
                raise TypeError(f"{name}: pass a function")

"""A sandbox that is never at rest: other rows, but never more of them, and other faults."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque

from attrs import define, evolve

from ppapi_async import Account
from ppapi_async.account import Dialect
from ppapi_async.sandbox import Books, Fault, Sandbox
from tests import virtual_time
from tests.laboratory.catalogue import CONTENT, KINDS
from tests.laboratory.public import in_sandbox
from tests.sites.raw import KEY

__all__ = ["LARGEST", "PAGE", "RestlessSite"]

LARGEST = 512 * 1024
"""The most bytes that a client shall take: some faults send twice as much."""
_SPOILS = {name: one.spoil for name, one in CONTENT.items() if name in KINDS and one.spoil}
_HOUR = 3_600
_ROWS = 40
PAGE = 10
"""Rows in an answer unless asked for more."""
_STATUSES = ("new", "payed", "success", "error")


@define(eq=False)
class RestlessSite:
    """A sandbox whose rows change within a fixed set, and the account on it."""

    sandbox: Sandbox
    draw: random.Random
    faults: Counter[str]

    @classmethod
    def make(cls, dialect: Dialect, draw: random.Random, faults: Counter[str]) -> RestlessSite:
        """Make up the books of the last half day."""
        end = int(virtual_time.now())
        books = Books.generate(draw.randrange(1000), _ROWS, end - 12 * _HOUR, end, clicks=_ROWS)
        books.partner.api_key = KEY
        sandbox = Sandbox(
            dialect,
            books=books,
            default_limit=PAGE,
            clock=virtual_time.now,
            sleep=asyncio.sleep,
        )
        sandbox.requests = deque(maxlen=10)  # what the server remembers is no leak
        return cls(sandbox, draw, faults)

    @property
    def account(self) -> Account:
        """The account, under a name of its own, its dialect still to be learned."""
        sandbox = self.sandbox
        login = sandbox.api_login
        return Account(sandbox.url, KEY, api_login=login, name=f"at {sandbox.dialect}")

    def trouble(self, most: int = 3) -> None:
        """Forget the faults so far, and plan others."""
        self.sandbox.faults.clear()
        for _ in range(self.draw.randint(0, most)):
            name = self.draw.choice([*Fault, *_SPOILS])
            self.faults[f"sandbox: {name}"] += 1
            self.sandbox.faults.add(
                name if isinstance(name, Fault) else in_sandbox(_SPOILS[name]),
                times=self.draw.randint(1, 2),
                skip=self.draw.randint(0, 3),
                after=self.draw.random() < 0.5,
                retry_after=self.draw.choice([None, 2, 600]),
                seconds=self.draw.choice([1.0, 30.0, 90.0]),
                size=self.draw.choice([LARGEST // 2, 2 * LARGEST]),
            )

    def move(self) -> None:
        """Change an order, a payout and the balance: other rows, but never more of them."""
        books, now = self.sandbox.books, int(virtual_time.now())
        order = books.orders[self.draw.randint(1, len(books.orders))]
        history = ((order.created, "new"), (now, self.draw.choice(_STATUSES)))
        accrued = not order.accrued
        books.orders.put(evolve(order, history=history, success=accrued, accrued=accrued))
        if len(books.payouts):
            payout = self.draw.choice(list(books.payouts))
            books.payouts.put(evolve(payout, status=(payout.status + 1) % 4))
        books.partner.balance = str(self.draw.randint(0, 9))  # below what may be paid out

"""The accounts of an open fleet: taken in, let go, closed; and the connections that they share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import aiohttp
from attrs import define, field

from ppapi_async.account import Account
from ppapi_async.errors import StateError
from ppapi_async.fleet.circuit_breaker import Breaker
from ppapi_async.fleet.host import Host
from ppapi_async.fleet.member import Member
from ppapi_async.session import Session, connection_of
from ppapi_async.transport.connection import open_http
from ppapi_async.transport.fairness import Decoding, in_turns
from ppapi_async.watching.poll_policy import LONGEST_WAIT, PollPolicy, phase_of

__all__ = ["Roster"]

_ACCOUNTS_OF_TURN = 100  # taken in before others may run
_KEEP_ALIVE = 5.0
"""Seconds that an idle connection is kept: enough for the requests of one poll, no longer. An idle
https connection costs 300 KB, and the next poll of its host is far away."""


@define(eq=False)
class Roster:
    """The accounts of an open fleet, by name. Closed, it may be opened again, in another loop.

    Args:
        interval: from one poll of an account to its next, in seconds.
        per_host: requests to one host at once.
        rate: requests a second to one host, None for as many as come.
        lent: an aiohttp session whose connector is to be shared.
        make_session: makes the session of an account.
        elsewhere: whether other workers poll the accounts, until this one is given them.
    """

    interval: float
    per_host: int
    rate: float | None
    lent: aiohttp.ClientSession | None
    make_session: Callable[..., Session]
    elsewhere: bool = False
    members: dict[str, Member] = field(factory=dict, init=False)
    _hosts: dict[str, Host] = field(factory=dict, init=False)
    _retiring: dict[asyncio.Task[None], str] = field(factory=dict, init=False)
    """What lets go of accounts, and their names."""
    _http: aiohttp.ClientSession | None = field(default=None, init=False)
    _decoding: Decoding = field(factory=Decoding, init=False)

    async def open(self, accounts: Sequence[Account]) -> None:
        """Make what the accounts share, and take them in."""
        self._http = self.lent
        if self._http is None:
            self._http = open_http(aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE))
        self._decoding = Decoding()  # its locks belong to this loop
        async for account in in_turns(accounts, _ACCOUNTS_OF_TURN):
            self.enlist(account)

    def enlist(self, account: Account) -> Member:
        """Take an account in, and return it."""
        host = self._hosts.get(account.host)
        if host is None:
            breaker = Breaker(max(LONGEST_WAIT, self.interval))
            host = self._hosts[account.host] = Host(account.host, self.per_host, self.rate, breaker)
        session = self.make_session(account, http=self._http, limiter=host.limiter)
        connection_of(session).open(self._decoding)
        host.members.add(account.name)
        policy = PollPolicy(self.interval, may_pass=(StateError,))
        phase = phase_of(account.name, self.interval)
        member = Member(session, host, phase, policy, elsewhere=self.elsewhere)
        for retiring, name in self._retiring.items():
            if name == account.name:
                member.predecessor = retiring
        self.members[account.name] = member
        return member

    def retire(self, name: str) -> None:
        """Let an account go, if it is there; what is under way for it is broken off."""
        member = self.members.pop(name, None)
        if member is None:
            return
        member.host.members.discard(name)
        if not member.host.members:
            self._hosts.pop(member.session.account.host)
        retiring = asyncio.create_task(member.aclose())
        self._retiring[retiring] = name
        retiring.add_done_callback(self._retiring.pop)

    async def aclose(self) -> None:
        """Let all accounts go, and close the connections that are not lent."""
        members, http = list(self.members.values()), self._http
        self.members.clear()
        self._hosts.clear()
        self._http = None
        try:
            await asyncio.gather(*self._retiring, *(member.aclose() for member in members))
        finally:
            if http is not None and http is not self.lent:
                await http.close()

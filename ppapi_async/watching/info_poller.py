"""Polls get_info: delivers when balance, minimum or methods change."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncGenerator
from decimal import Decimal

from attrs import define, evolve

from ppapi_async.models import Info, PayoutMethod
from ppapi_async.protocol import dump_stored, parse_stored
from ppapi_async.transport.client import Transport
from ppapi_async.watching.changes import Change, ChangeKind
from ppapi_async.watching.delivery import IN_HAND, Delivery, WatchStore, differing
from ppapi_async.watching.fast_poll import Unchanged, unless_known
from ppapi_async.watching.poll_slots import TakeSlot

__all__ = ["InfoPoller"]

_INFO = "info"


@define(eq=False, kw_only=True)
class InfoPoller:
    """Polls get_info: delivers when balance, minimum or methods change."""

    transport: Transport
    store: WatchStore
    initial: bool = False
    """Whether the next poll that works delivers the info whatever it is: as new, or as changed
    where what was delivered last is known and differs. Delivered once, it is False."""
    take_slot: TakeSlot = contextlib.nullcontext
    worked: bool = False
    _last: Info | None = None
    _in_hand: Info | None = None
    _asked: int | None = None
    """The digest of this poll's answer."""
    _delivered: int | None = None
    """The same of the last answer that has been delivered."""

    @property
    def method(self) -> str:
        """The API method."""
        return "get_info"

    async def poll(self) -> AsyncGenerator[Delivery[Info], None]:
        """Yield at most one change."""
        if not self.worked:
            await self._open()
        await self.store.flush()  # what could not be saved last time
        async with self.take_slot() as slot:
            info = await self._ask()
            if slot is not None:
                slot.end_reading()
            self.worked = True
            if info is None:
                return
            if self._last is None and not self.initial:
                await self._save(info)
                return
            previous, in_hand, self._in_hand = self._last, self._in_hand, None
            names = () if previous is None else _names_to_deliver(info, previous)
            if not names and in_hand is not None:  # it may have been delivered, and taken back
                previous, names = in_hand, _names_to_deliver(info, in_hand)
            name = self.transport.account.name
            if names:
                change = Change(ChangeKind.CHANGED, info, previous, names, name)
                self._in_hand, self._delivered = info, None
                await self.store.announce(IN_HAND, dump_stored(info))
            elif self.initial:
                change = Change(ChangeKind.NEW, info, account=name)
            else:
                self._delivered = self._asked
                return
            delivery = Delivery(change, functools.partial(self._save, info))
            yield delivery
            delivery.check()

    async def _ask(self) -> Info | None:
        """Return the info, None if the answer is the one of last time."""
        known = () if self._delivered is None or self.initial else (self._delivered,)
        decode = unless_known(known, self.transport.decode_info)
        answer: tuple[Info, int] | Unchanged = await self.transport.read("get_info", {}, decode)
        if isinstance(answer, Unchanged):
            return None
        info, self._asked = answer
        return info

    async def _open(self) -> None:
        entries = await self.store.load()
        saved, in_hand = entries.get(_INFO), entries.get(IN_HAND)
        if saved is None:
            return
        try:
            self._last = parse_stored(saved, Info)
            self._in_hand = None if in_hand is None else parse_stored(in_hand, Info)
        except ValueError:
            return  # of another version; there is nothing to be lost but one comparison
        self.worked = True

    async def _save(self, info: Info) -> None:
        self._last, self._delivered, self._in_hand = info, self._asked, None
        self.initial = False
        self.store.put(_INFO, dump_stored(info))
        self.store.drop([IN_HAND])
        await self.store.flush()


def _names_to_deliver(info: Info, last: Info) -> tuple[str, ...]:
    """Return the names of what has changed: what a method would pay moves with every rate."""
    same_methods = _methods(info) == _methods(last)
    return tuple(n for n in differing(info, last) if n != "items" or not same_methods)


def _methods(info: Info) -> list[PayoutMethod]:
    return [evolve(method, amount=Decimal()) for method in info.items]

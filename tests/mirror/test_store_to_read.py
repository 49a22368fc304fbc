"""A mirror's store opened for reading: it finds what is there, and makes nothing."""

from __future__ import annotations

import pytest

from ppapi_async import Account, StateError
from ppapi_async.mirror.store import MirrorStore, StoreToRead

ACCOUNT = Account("https://one.example", "k" * 32, name="one")
MOVED = Account("https://elsewhere.example", "n" * 32, name="one", timezone="Europe/Moscow")
NEW = Account("https://new.example", "n" * 32, name="new")


async def test_it_finds_what_the_mirror_has(mirror_url: str, store: MirrorStore) -> None:
    """Beside who writes it, in both databases; an account that has moved is the same one."""
    number = await store.account(ACCOUNT)
    place = await store.place(number, "one", "links")
    await store.deliver(place, 7)
    reading = await StoreToRead.open_to_read(mirror_url)
    try:
        assert await reading.account(ACCOUNT) == await reading.account(MOVED) == number
        found = await reading.place(number, "one", "links")
        assert (found.version, found.delivered) == (place.version, 7)
        assert await reading.coverage(number, "links") == []
    finally:
        await reading.aclose()


async def test_it_makes_nothing(mirror_url: str, store: MirrorStore) -> None:
    """What is new to the mirror stays so."""
    reading = await StoreToRead.open_to_read(mirror_url)
    try:
        assert await reading.account(NEW) == 0
        place = await reading.place(0, "new", "payouts")
        assert (place.version, place.document, place.delivered) == (0, None, None)
        with pytest.raises(StateError):
            await reading.deliver_from_now(place)
    finally:
        await reading.aclose()
    async with store.connect() as connection:
        found = await connection.exec_driver_sql("SELECT count(*) FROM accounts")
        assert found.scalar() == 0


async def test_fingerprints_of_two_accounts_are_refused(
    mirror_url: str, store: MirrorStore
) -> None:
    """A person has to say which one it is."""
    await store.account(Account("https://one.example", "k" * 32))
    await store.account(Account("https://two.example", "x" * 32, name="one"))
    reading = await StoreToRead.open_to_read(mirror_url)
    try:
        with pytest.raises(StateError, match="is two accounts of the mirror"):
            await reading.account(ACCOUNT)
    finally:
        await reading.aclose()

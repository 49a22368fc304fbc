"""Positions that somebody has tampered with, and those that stand under an earlier fingerprint."""

from __future__ import annotations

import base64
import json
import time
import tracemalloc
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ppapi_async import Account, FileCheckpoint, MemoryCheckpoint, Session
from ppapi_async.streaming.state import HandedOut
from tests.sites.raw import HOOKS, KEY, NOW, RawServer, http

_ROWS = [{"id": str(n), "time": NOW - 600 + n, "date": ""} for n in (3, 2, 1)]
_PAGE = json.dumps({"error": 0, "error_text": "", "data": {"items": _ROWS}})


def _packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9)).decode()


TAMPERED: Mapping[str, Callable[[], dict[str, Any]]] = {
    "bomb": lambda: {"told": [_packed(b"1 " * 80_000_000)]},
    "bomb of blanks": lambda: {"told": [_packed(b" " * 160_000_000)]},
    "many small bombs": lambda: {"told": [_packed(b"1 " * 400_000)] * 200},
    "bomb that says how large it is": lambda: {
        "told": [_packed(b"1 " * 80_000_000)],
        "rows": 10**9,
    },
    "cut short": lambda: {"told": [_packed(b"1 " * 100)[:-8]]},
    "ids of a thousand digits": lambda: {"told": [_packed(b"9" * 1_000)]},
    "ids of five thousand digits": lambda: {"told": [_packed(b"9" * 5_000)]},
    "fraction": lambda: {"cursor": 1e30},
    "far future": lambda: {"cursor": 10**30},
    "far past": lambda: {"now": -(10**30)},
    "infinity": lambda: {"now": float("inf")},
    "rows below zero": lambda: {"rows": -1},
}


@pytest.mark.parametrize("name", TAMPERED)
async def test_a_tampered_position_is_an_error_at_once(name: str, tmp_path: Path) -> None:
    """It says what to do; it takes neither time nor memory, and nothing is asked."""
    checkpoint = FileCheckpoint(tmp_path / "position.json")
    async with RawServer() as server:
        server.script["get_links"] = lambda _: http(200, _PAGE)
        async with Session(Account(server.url, KEY), hooks=HOOKS) as session:
            assert len([row async for row in session.iter_links(checkpoint=checkpoint)]) == 3
            asked = server.count("get_links")
            checkpoint.save({**(checkpoint.load() or {}), **TAMPERED[name]()})
            began = time.process_time()
            with pytest.raises(
                ValueError, match=r"^checkpoint: is damaged; delete it to start anew"
            ):
                await anext(aiter(session.iter_links(checkpoint=checkpoint)))
            assert time.process_time() - began < 2
            assert server.count("get_links") == asked


@pytest.mark.untraced
def test_a_bomb_is_not_unpacked() -> None:
    """160 KB that stand for 160 MB take a few MB at the most."""
    bomb = _packed(b"1 " * 80_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"^checkpoint: is damaged"):
            HandedOut().unpack([bomb], 3)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.untraced
def test_positions_of_many_rows_come_back() -> None:
    """What is packed is taken back, also ids of the longest kind."""
    handed_out, again = HandedOut(), HandedOut()
    handed_out.add(range(200_000))
    handed_out.pack()
    handed_out.add([2**63 - 1, 5, -(2**63)])
    again.unpack(handed_out.pack(), 200_003)
    assert sorted(again.ids) == sorted(handed_out.ids)


async def test_a_position_under_a_former_fingerprint_is_taken_over() -> None:
    """Of an earlier version, and of the account before it had a name; not of another account."""
    checkpoint = MemoryCheckpoint()
    async with RawServer() as server:
        server.script["get_links"] = lambda _: http(200, _PAGE)
        plain = Account(server.url, KEY)
        async with Session(plain, hooks=HOOKS) as session:
            assert len([row async for row in session.iter_links(checkpoint=checkpoint)]) == 3
        saved = dict(checkpoint.load() or {})
        for account in (plain, Account(server.url, KEY, name="mine")):
            for former in account.former_fingerprints:
                checkpoint.save({**saved, "account": former})
                async with Session(account, hooks=HOOKS) as session:
                    assert [row async for row in session.iter_links(checkpoint=checkpoint)] == []
                assert (checkpoint.load() or {})["account"] == account.fingerprint
        checkpoint.save({**saved, "account": Account(server.url, KEY[:-1]).fingerprint})
        async with Session(plain, hooks=HOOKS) as session:
            with pytest.raises(ValueError, match="another account"):
                await anext(aiter(session.iter_links(checkpoint=checkpoint)))

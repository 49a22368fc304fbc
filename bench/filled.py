"""A mirror full of made-up rows, put straight into the tables: `python -m bench.filled PATH ROWS`.

Half of the rows are clicks, half orders, of 90 days up to `END`; the first account has a tenth of
all. Seven orders in ten are of visitors who clicked. The same arguments make the same rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ppapi_async.mirror.schema import ROWS
from ppapi_async.mirror.store import MirrorStore

__all__ = ["DAYS", "END", "fill"]

END = datetime(2026, 11, 28, 12, tzinfo=UTC)
DAYS = 90
_SEEN = "2026-11-28 12:00:00.000000"
_PAIRS = (
    ("USDTTRC20", "Tether TRC20", "SBERRUB", "Сбербанк"),
    ("BTC", "Bitcoin", "USDTTRC20", "Tether TRC20"),
    ("USDTTRC20", "Tether TRC20", "BTC", "Bitcoin"),
    ("SBERRUB", "Сбербанк", "BTC", "Bitcoin"),
    ("ETH", "Ethereum", "CARDUAH", "Visa/MasterCard UAH"),
    ("XMR", "Monero", "USDTTRC20", "Tether TRC20"),
)
_STATUSES = ("success", "success", "success", "success", "success", "success", "cancel", "new")
_SOURCES = (
    "telegram",
    "youtube",
    "forum",
    "banner_3",
    "bestchange",
    "%D0%BE%D0%B1%D0%B7%D0%BE%D1%80",
)
_HOSTS = ("t.me", "forum.example.net", "www.example.org", "search.example.com", "blog.example.io")
_PAYOUTS_AN_ACCOUNT = 12
_LARGE = 10
"""The first account has one row in so many."""


def fill(path: Path, *, accounts: int = 200, rows: int = 2_000_000, seed: int = 1) -> None:
    """Make a mirror in SQLite, and fill it."""

    async def make() -> None:
        await (await MirrorStore.open(f"sqlite:///{path}")).aclose()

    asyncio.run(make())
    large = rows // _LARGE if accounts > 1 else rows
    others = (rows - large) // max(1, accounts - 1)
    draw = random.Random(seed)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        indexes = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        ).fetchall()
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        for number in range(1, accounts + 1):
            _fill_account(connection, number, large if number == 1 else others, draw)
        for _, sql in indexes:  # faster than to keep them while rows come
            connection.execute(sql)
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _fill_account(
    connection: sqlite3.Connection, number: int, rows: int, draw: random.Random
) -> None:
    account = (number, f"account-{number}", f"site-{number}.example", "UTC", None, _SEEN, _SEEN)
    connection.execute("INSERT INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?)", account)
    clicks = rows // 2
    visitors = [f"{draw.getrandbits(128):032x}" for _ in range(max(1, clicks * 2 // 3))]
    _insert(connection, "links", _clicks(number, clicks, visitors, draw))
    _insert(connection, "exchanges", _orders(number, rows - clicks, visitors, draw))
    _insert(connection, "payouts", _payouts(number, draw))
    info = (number, number, _SEEN, "55.12", "10", None, "[]", None)
    change = (number, 0, number, "info", None, "new", _SEEN, "[]", None, "{}")
    connection.execute(f"INSERT INTO changes VALUES ({', '.join('?' * len(change))})", change)
    connection.execute(f"INSERT INTO balances VALUES ({', '.join('?' * len(info))})", info)
    for resource in ROWS:
        proven = (number, resource, None, _SEEN, _SEEN)
        connection.execute("INSERT INTO coverage VALUES (?, ?, ?, ?, ?)", proven)


def _insert(connection: sqlite3.Connection, table: str, rows: Iterable[tuple[object, ...]]) -> None:
    marks = ", ".join("?" * len(ROWS[table].columns))
    connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)


def _times(count: int) -> Iterator[str]:
    """Yield instants from the beginning to the end, as the mirror has them."""
    start, step = END - timedelta(days=DAYS), timedelta(days=DAYS) / max(1, count)
    for place in range(count):
        yield (start + place * step).replace(tzinfo=None, microsecond=0).isoformat(" ") + ".000000"


_TAIL = (None, _SEEN, _SEEN, None, None, None)
"""extra, first_seen, last_seen, changed_at, gone_at, missing_since."""


def _clicks(
    number: int, count: int, visitors: list[str], draw: random.Random
) -> Iterator[tuple[object, ...]]:
    chance = draw.random
    for place, time in enumerate(_times(count), 1):
        some = int(chance() * 1_000_000)
        source = _SOURCES[some % len(_SOURCES)]
        query = f"rid=17&utm_source={source}&sub={some % 300}"
        if some % 20 == 0:
            query += f"&yclid={some}{place}"
        referrer = f"https://{_HOSTS[some % len(_HOSTS)]}/topic/{some % 1_000}?page={some % 7}"
        yield (
            number, place, time, time[:19], "Chrome", f"203.0.113.{some % 255}",
            referrer if some % 3 else "", visitors[int(chance() * len(visitors))], query, *_TAIL,
        )  # fmt: skip


def _orders(
    number: int, count: int, visitors: list[str], draw: random.Random
) -> Iterator[tuple[object, ...]]:
    chance = draw.random
    for place, time in enumerate(_times(count), 1):
        some = int(chance() * 1_000_000)
        give, give_by, get, get_by = _PAIRS[some % len(_PAIRS)]
        status = _STATUSES[some % len(_STATUSES)]
        is_done = status == "success"
        is_known = chance() < 0.7
        visitor = visitors[int(chance() * len(visitors))] if is_known else f"{some:032x}"
        yield (
            number, place, time, f"{some % 977}.{some:06}", f"{some % 89}.{some:06}12",
            int(is_done), int(is_done and some % 10 < 9), f"{some % 13}.{some:06}12",
            time[:19], give, get, "1", f"97.{some:06}", visitor, f"203.0.113.{some % 255}",
            give_by, get_by, status, f"{place:030x}", *_TAIL,
        )  # fmt: skip


def _payouts(number: int, draw: random.Random) -> Iterator[tuple[object, ...]]:
    for place, time in enumerate(_times(_PAYOUTS_AN_ACCOUNT), 1):
        amount = f"{draw.randrange(10, 900)}.{draw.randrange(100):02}"
        yield (
            number, place, time, 11, f"TX{place:032x}", amount, amount, "1", time[:19],
            "USDTTRC20", "USD", *_TAIL,
        )  # fmt: skip


if __name__ == "__main__":
    fill(Path(sys.argv[1]), rows=int(sys.argv[2]))

"""The site's database, and what happens to its rows: by customers, operators and by itself."""

from __future__ import annotations

import hashlib
import itertools
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

Ties = Literal["query", "rotated", "random", "id"]
"""How rows of one second are ordered: in another way for each limit and offset, as measured; by id,
turned by the offset; anew for each request; or by id, which no database promises."""

_SCHEMA = """
CREATE TABLE clicks (
    id INTEGER PRIMARY KEY, time TEXT, browser TEXT DEFAULT '', ip TEXT DEFAULT '',
    referrer TEXT DEFAULT '', user_hash TEXT DEFAULT '', query_string TEXT DEFAULT ''
);
CREATE TABLE exchanges (
    id INTEGER PRIMARY KEY, created TEXT, edited TEXT, status TEXT DEFAULT 'new',
    psys_give TEXT DEFAULT '', psys_get TEXT DEFAULT '',
    currency_code_give TEXT DEFAULT '', currency_code_get TEXT DEFAULT '',
    course_give TEXT DEFAULT '1', course_get TEXT DEFAULT '1',
    amount_give TEXT DEFAULT '1', amount_get TEXT DEFAULT '1',
    accrued INTEGER DEFAULT 0, partner_reward TEXT DEFAULT '0',
    user_hash TEXT DEFAULT '', user_ip TEXT DEFAULT '', hash TEXT DEFAULT '',
    hidden INTEGER DEFAULT 0
);
CREATE TABLE status_log (order_id INTEGER, time TEXT, status TEXT);
CREATE TABLE payouts (
    id INTEGER PRIMARY KEY, time TEXT, method_id INTEGER DEFAULT 11, account TEXT DEFAULT '',
    pay_amount TEXT DEFAULT '1', pay_currency_code TEXT DEFAULT 'USDTTRC20',
    original_amount TEXT DEFAULT '1', original_currency_code TEXT DEFAULT 'USD',
    status INTEGER DEFAULT 0, basket INTEGER DEFAULT 0
);
CREATE INDEX clicks_time ON clicks (time);
CREATE INDEX exchanges_edited ON exchanges (edited);
"""
_UNCONFIRMED = timedelta(minutes=15)
_FORMAT = "%Y-%m-%d %H:%M:%S"


class Tables:
    """What the site stores: local wall clocks as text, as MySQL has them."""

    def __init__(self, clock: Callable[[], float], timezone: str, ties: Ties) -> None:
        """Make empty tables; `clock` tells true unix seconds."""
        self.clock = clock
        self.zone = ZoneInfo(timezone)
        self.ties = ties
        self.database = sqlite3.connect(":memory:", isolation_level=None)
        self.database.row_factory = sqlite3.Row
        self.database.executescript(_SCHEMA)
        self.database.create_function("tie", 1, self._tie)
        self._queries = itertools.count()
        self._salt = b""

    def wall(self, instant: float | None = None) -> str:
        """Return what the site's clock shows at an instant, by default now."""
        return datetime.fromtimestamp(self._instant(instant), self.zone).strftime(_FORMAT)

    def _instant(self, instant: float | None) -> float:
        return self.clock() if instant is None else instant

    # --- questions

    def find(
        self,
        table: str,
        by: str,
        conditions: Sequence[str] = (),
        values: Sequence[object] = (),
        *,
        limit: int,
        offset: int,
    ) -> list[sqlite3.Row]:
        """Return a page of rows: newest first, sorted by time and by nothing else."""
        query = next(self._queries)
        self._salt = (f"{limit} {offset}" if self.ties == "query" else f"{query}").encode()
        where = " AND ".join(["1", *conditions])
        tie = {"id": "id", "rotated": f"(id + {offset}) % 97"}.get(self.ties, "tie(id)")
        return self.database.execute(
            f"SELECT * FROM {table} WHERE {where} ORDER BY {by} DESC, {tie} LIMIT ?, ?",
            [*values, offset, limit],
        ).fetchall()

    def _tie(self, row_id: int) -> bytes:
        return hashlib.blake2b(b"%d %b" % (row_id, self._salt), digest_size=7).digest()

    def column(self, statement: str, values: Sequence[object] = ()) -> list[object]:
        """Return the first column of what a statement finds."""
        return [row[0] for row in self.database.execute(statement, values)]

    def ids(self, table: str) -> set[int]:
        """Return the ids of a table's rows, hidden or not."""
        return {int(str(row_id)) for row_id in self.column(f"SELECT id FROM {table}")}

    # --- rows

    def insert(self, table: str, rows: Iterable[Mapping[str, object]]) -> None:
        """Store rows as they are given."""
        with self.database:
            for names, alike in itertools.groupby(rows, tuple):
                marks = ", ".join("?" * len(names))
                self.database.executemany(
                    f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})",
                    (list(row.values()) for row in alike),
                )

    def click(self, *, at: float | None = None, **more: object) -> None:
        """Have a visitor come by the partner's link."""
        self.insert("clicks", [{"time": self.wall(at)} | more])

    def order(self, status: str = "new", *, at: float | None = None, **more: object) -> int:
        """Have a customer place an order; unconfirmed it has the status `auto`, and is hidden."""
        wall = self.wall(at)
        self.insert("exchanges", [{"created": wall, "edited": wall, "status": status} | more])
        row_id = int(str(self.column("SELECT max(id) FROM exchanges")[0]))
        self._log(row_id, wall, status)
        return row_id

    def _log(self, row_id: int, wall: str, status: str) -> None:
        self.database.execute("INSERT INTO status_log VALUES (?, ?, ?)", [row_id, wall, status])

    # --- what customers and operators do

    def confirm(self, row_id: int) -> None:
        """Have a customer confirm an order: both its times are set anew."""
        wall = self.wall()
        self.database.execute(
            "UPDATE exchanges SET created = ?, edited = ?, status = 'new' WHERE id = ?",
            [wall, wall, row_id],
        )
        self._log(row_id, wall, "new")

    def set_status(self, row_id: int, status: str) -> None:
        """Give an order a status, which moves it to the present; only `success` accrues."""
        wall = self.wall()
        self.database.execute(
            "UPDATE exchanges SET edited = ?, status = ?, accrued = ? WHERE id = ?",
            [wall, status, int(status == "success"), row_id],
        )
        self._log(row_id, wall, status)

    def set_by_hand(self, row_id: int, *, accrued: int, partner_reward: str) -> None:
        """Do what the operator's page of partner exchanges does: the edit time stays."""
        self.database.execute(
            "UPDATE exchanges SET accrued = ?, partner_reward = ? WHERE id = ?",
            [accrued, partner_reward, row_id],
        )

    def basket(self, row_id: int, inside: bool) -> None:
        """Put a payout into the operator's basket, or take it out."""
        self.database.execute("UPDATE payouts SET basket = ? WHERE id = ?", [int(inside), row_id])

    def hide(self, row_id: int, hidden: bool = True) -> None:
        """Ban or hide an exchange."""
        self.database.execute("UPDATE exchanges SET hidden = ? WHERE id = ?", [int(hidden), row_id])

    # --- what the site does by itself

    def clean(self) -> None:
        """Remove orders that nobody has confirmed for a quarter of an hour."""
        before = self.wall(self.clock() - _UNCONFIRMED.total_seconds())
        self.database.execute(
            "DELETE FROM exchanges WHERE status = 'auto' AND created < ?", [before]
        )

    def forget(self, *, clicks: int = 60, exchanges: int = 60, history: int = 40) -> None:
        """Delete what is older than so many days, as sites do daily."""
        for table, by, days in (
            ("clicks", "time", clicks),
            ("exchanges", "edited", exchanges),
            ("status_log", "time", history),
        ):
            before = self.wall(self.clock() - days * 86_400)
            self.database.execute(f"DELETE FROM {table} WHERE {by} < ?", [before])


def seconds_between(earlier: str, later: str) -> float:
    """Return the seconds from one wall clock to another."""
    first, last = (datetime.strptime(wall, _FORMAT) for wall in (earlier, later))  # noqa: DTZ007
    return (last - first).total_seconds()

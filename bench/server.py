"""A site that costs next to nothing: rows encoded in advance, an answer is one slice of them.

`python -m bench.server SHAPE ROWS CAP DIALECT` prints its port and serves until its standard input
is closed. It honours start_time, end_time, limit and offset, in the form or the query.
"""

from __future__ import annotations

import asyncio
import sys
from bisect import bisect_left, bisect_right
from itertools import accumulate
from urllib.parse import parse_qsl

from bench.http import head, serve, tcp_socket
from bench.rows import newest_first, times_of

_INFO = b'{"error":%b,"error_text":"","data":{"balance":"1.5","min_payout":"10"}}'


class Shelf:
    """All rows of a site in one piece, newest first; CAP 0 is none."""

    def __init__(self, shape: str, rows: int, cap: int, dialect: str) -> None:
        """Encode all rows."""
        self._keyed = dialect == "classic"
        self._error = b"0" if self._keyed else b'"0"'
        self._cap = cap
        self._times = times_of(rows)
        written = newest_first(shape, rows)
        parts = [b'"%d":%b' % row for row in written] if self._keyed else [r for _, r in written]
        self._ends = [0, *accumulate(len(part) + 1 for part in parts)]
        self._rows = memoryview(b",".join(parts) + b",")

    def answer(self, asked: dict[str, str]) -> list[bytes | memoryview]:
        """Return the parts of the body for these parameters."""
        if asked.get("method") == "get_info":
            return [_INFO % self._error]
        first, last = self._slice(asked)
        head = b'{"error":%b,"error_text":""' % self._error
        if first >= last:
            return [head + (b"}" if self._keyed else b',"data":[]}')]
        rows = self._rows[self._ends[first] : self._ends[last] - 1]
        opening, closing = (b"{", b"}") if self._keyed else (b"[", b"]")
        return [head + b',"data":{"items":' + opening, rows, closing + b"}}"]

    def _slice(self, asked: dict[str, str]) -> tuple[int, int]:
        count = len(self._times)
        start, end = int(asked.get("start_time", 0)), int(asked.get("end_time", 0))
        oldest = bisect_left(self._times, start) if start > 0 else 0
        newest = bisect_right(self._times, end) if end > 0 else count
        first, last = count - newest, count - oldest
        if not self._cap:
            return first, last
        first += int(asked.get("offset", 0))
        limit = int(asked.get("limit", 0)) or 100
        return first, min(last, first + min(limit, self._cap))

    def reply(self, target: bytes, form: bytes) -> list[bytes | memoryview]:
        """Return the parts of an answer."""
        query = target.decode().partition("?")[2]
        parts = self.answer(dict(parse_qsl(query)) | dict(parse_qsl(form.decode())))
        return [head(sum(map(len, parts))), *parts]


if __name__ == "__main__":
    shape, rows, cap, dialect = sys.argv[1:]
    shelf = Shelf(shape, int(rows), int(cap), dialect)
    listener = tcp_socket()
    listener.bind(("127.0.0.1", 0))
    asyncio.run(serve(shelf.reply, listener))

"""`python -m bench.sandboxed ROWS START END BURST KEY`: the library's sandbox until stdin ends."""

from __future__ import annotations

import asyncio
import sys

from ppapi_async.account import Dialect
from ppapi_async.sandbox import Books, Sandbox


async def main(rows: int, start: int, end: int, burst: int, key: str) -> None:
    middle = (start + end) // 2
    books = Books.uniform(rows, start, end, burst_at=middle, burst=burst)
    async with Sandbox(Dialect.DELEGATING, books=books, api_key=key) as sandbox:
        print(sandbox.url.rpartition(":")[2], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    rows, start, end, burst = map(int, sys.argv[1:5])
    asyncio.run(main(rows, start, end, burst, sys.argv[5]))

"""A thousand sites that cost next to nothing: one process, one port, any address of 127.0.0.0/8.

`python -m bench.fleet_server` prints its port and serves until its standard input is closed. Every
key of every host is good; a key that begins with `classic` gets classic answers, any other 2.7's.
A row of each kind appears every ten minutes. What arrived when is kept, for `GET /arrivals`
(`[[unix time, key, method], …]`, after which it is forgotten).
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import re
import socket
import time

from bench.http import head, serve, tcp_socket
from bench.rows import cyrillic, link, plain

STEP = 600
"""Seconds between two rows."""
_OLDEST = 12  # rows before the server began
_UNSETTLED = 3  # steps after which a reward is credited
_INFO_ITEMS = (
    '{"id":"11","title":"Psys USDTTRC20","comission":"2%","amount":"119.5698"}',
    '{"id":"33","title":"Psys SBERRUB","comission":"1.5%","amount":"120.17985"}',
)
_ASKED = re.compile(rb"[?&](api_key|method)=([^& ]+)")
_BOUND = re.compile(rb"(?:^|&)(start_time|end_time|offset)=(\d+)")


def _payout(row_id: int, second: int) -> bytes:
    return (
        f'{{"id":"{row_id}","time":{second},"date":"2025-10-08 05:07:40","method_id":"11"'
        f',"account":"TX{row_id:030d}","pay_amount":"48.5","pay_currency_code":"USDTTRC20"'
        f',"original_amount":"50.1","original_currency_code":"USD","status":"1"}}'
    ).encode()


def _exchange(row_id: int, second: int, *, keyed: bool, settled: bool) -> bytes:
    row = (plain if keyed else cyrillic)(row_id - row_id % 3, second)  # one that is not accrued
    row = row.replace(b'"id":"%d"' % (row_id - row_id % 3), b'"id":"%d"' % row_id)
    return row.replace(b'"accrued":0', b'"accrued":1') if settled else row


@functools.lru_cache(maxsize=4096)
def answer(method: str, first: int, last: int, now: int, *, keyed: bool) -> bytes:
    """Return a whole answer with the rows number `first` to `last`, both included."""
    error = b"0" if keyed else b'"0"'
    if method == "get_info":
        return _packed(error, _info(keyed=keyed))
    rows = []
    for number in range(last, first - 1, -1):
        second = number * STEP
        if method == "get_exchanges":
            row = _exchange(number, second, keyed=keyed, settled=now - number >= _UNSETTLED)
        else:
            row = (_payout if method == "get_payouts" else link)(number, second)
        rows.append(b'"%d":%b' % (number, row) if keyed else row)
    if not rows:
        return _packed(error, b"" if keyed else b"[]")
    return _packed(error, (b'{"items":{%b}}' if keyed else b'{"items":[%b]}') % b",".join(rows))


def _info(*, keyed: bool) -> bytes:
    if keyed:
        items = ",".join(f'"{item[7:9]}":{item}' for item in _INFO_ITEMS)
        return f'{{"balance":"122.01","min_payout":"10","items":{{{items}}}}}'.encode()
    return (
        '{"partner_id":"17","balance":"122.01","min_payout":"10"'
        f',"items":[{",".join(_INFO_ITEMS)}]}}'
    ).encode()


def _packed(error: bytes, data: bytes) -> bytes:
    body = b'{"error":%b,"error_text":""%b}' % (error, data and b',"data":' + data)
    return head(len(body)) + body


class Sites:
    """Answers for any key, and what has arrived."""

    def __init__(self) -> None:
        """Begin with a few rows."""
        self._oldest = int(time.time()) // STEP - _OLDEST
        self._arrivals: list[tuple[float, str, str]] = []

    def reply(self, target: bytes, form: bytes) -> tuple[bytes]:
        """Return the answer, in one piece."""
        arrived = time.time()
        asked = dict(_ASKED.findall(target))
        if not asked:
            return (self._told(),)
        key, method = asked[b"api_key"].decode(), asked[b"method"].decode()
        self._arrivals.append((arrived, key, method))
        now = int(arrived) // STEP
        bounds = {name: int(value) for name, value in _BOUND.findall(form)}
        first = max(self._oldest, -(-bounds.get(b"start_time", 0) // STEP))
        last = min(now, bounds.get(b"end_time", int(arrived)) // STEP)
        last -= bounds.get(b"offset", 0)
        if method == "get_info":
            first = last = 0
        return (answer(method, first, last, now, keyed=key.startswith("classic")),)

    def _told(self) -> bytes:
        body = json.dumps(self._arrivals).encode()
        self._arrivals = []
        return head(len(body)) + body


def _listen() -> socket.socket:
    """Listen on all addresses of the loopback device and on no other."""
    listener = tcp_socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    listener.bind(("0.0.0.0", 0))
    return listener


if __name__ == "__main__":
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {1})  # the client has core 0
    asyncio.run(serve(Sites().reply, _listen()))

"""Made-up pages as bytes: the rows that the benches decode and the bench server gives out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

START = 1_700_000_000
DAYS = 90
SPAN = DAYS * 86_400
ROW_BYTES = 348

_PAIRS = (
    ("USDTTRC20", "Tether TRC20", "SBERRUB", "Сбербанк", "1", "97.42130000"),
    ("BTC", "Bitcoin", "USDTTRC20", "Tether TRC20", "1", "64250.50000000"),
    ("SBERRUB", "Сбербанк", "BTC", "Биткоин", "6250000", "1"),
    ("LTC", "Litecoin", "CASHRUB", "Наличные", "1", "8402.11000000"),
)
# One in ten is altered by the server, one has another escape, one is not ASCII.
_CAMPAIGNS = ("telegram", "youtube", "banner_3") * 2 + (
    "sub-17",
    "s\u0435lect",
    "it&#039;s",
    "обзор",
)


def times_of(rows: int) -> list[int]:
    """Return the wire second of each row, oldest first, evenly over the span."""
    return [START + index * SPAN // rows for index in range(rows)]


def _date(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _hash(row_id: int) -> str:
    return hashlib.md5(str(row_id % 5000).encode()).hexdigest()


def plain(row_id: int, second: int) -> bytes:
    """Return a row as classic has it, ASCII and exactly `ROW_BYTES` long."""
    give, _, get, _, course_give, course_get = _PAIRS[row_id % 4]
    row = (
        f'{{"id":"{row_id}","time":{second},"date":"{_date(second)}"'
        f',"currency_code_give":"{give}","currency_code_get":"{get}"'
        f',"course_give":"{course_give}","course_get":"{course_get}"'
        f',"amount_give":"{row_id % 977}.5","amount_get":"{row_id % 9973}.455"'
        f',"exchange_success":1,"accrued":{row_id % 3 % 2},"partner_reward":"1.%s"'
        f',"user_hash":"{_hash(row_id)}","user_ip":"203.0.113.{row_id % 250}"}}'
    )
    return (row % ("05" + "0" * (ROW_BYTES - len(row)))).encode()


def cyrillic(row_id: int, second: int) -> bytes:
    """Return a row as 2.7 has it, with the payment systems' names as many sites write them."""
    give, name_give, get, name_get, course_give, course_get = _PAIRS[row_id % 4]
    return (
        f'{{"id":"{row_id}","time":{second},"date":"{_date(second)}"'
        f',"psys_give":"{name_give}","psys_get":"{name_get}"'
        f',"currency_code_give":"{give}","currency_code_get":"{get}"'
        f',"course_give":"{course_give}","course_get":"{course_get}"'
        f',"amount_give":"{row_id % 977}.5","amount_get":"{row_id % 9973}.455"'
        f',"exchange_success":1,"accrued":{row_id % 3 % 2},"partner_reward":"1.05"'
        f',"user_hash":"{_hash(row_id)}","user_ip":"203.0.113.{row_id % 250}"'
        f',"status":"success","hash":"{row_id:030x}"}}'
    ).encode()


def link(row_id: int, second: int) -> bytes:
    """Return a click whose query the server has escaped and altered."""
    campaign = _CAMPAIGNS[row_id % len(_CAMPAIGNS)]
    return (
        f'{{"id":"{row_id}","time":{second},"date":"{_date(second)}","browser":"Chrome"'
        f',"ip":"203.0.113.{row_id % 250}"'
        f',"referrer":"https:\\/\\/t.me\\/club?post={row_id}&amp;a=1"'
        f',"user_hash":"{_hash(row_id)}"'
        f',"query_string":"?rid=17&amp;utm_source={campaign}&amp;sub={row_id}"}}'
    ).encode()


SHAPES: Mapping[str, Callable[[int, int], bytes]] = {
    "plain": plain,
    "cyrillic": cyrillic,
    "link": link,
}


def newest_first(shape: str, rows: int) -> list[tuple[int, bytes]]:
    """Return the ids and rows of a whole site, from new to old as servers answer."""
    write = SHAPES[shape]
    written = [
        (index, write(index, second)) for index, second in enumerate(times_of(rows), 100_001)
    ]
    return written[::-1]


def with_odd(rows: Sequence[tuple[int, bytes]], share: float) -> list[tuple[int, bytes]]:
    """Return the rows with a share of them in forms that msgspec's lax mode refuses."""
    wanted = round(len(rows) * share)
    made = list(rows)
    for number in range(wanted):
        at = (2 * number + 1) * len(rows) // (2 * wanted)  # in the middle of its share
        row_id, row = rows[at]
        made[at] = (row_id, _odd(row, number))
    return made


def _odd(row: bytes, number: int) -> bytes:
    if number % 2:
        return row.replace(b'"exchange_success":1', b'"exchange_success":""')
    return row.replace(b'"user_ip":"203.0.113.', b'"user_ip":203.').replace(b'"}', b"}")


def listed(rows: Sequence[tuple[int, bytes]], error: bytes = b'"0"') -> bytes:
    """Return the answer that lists the rows, as 2.7 does."""
    joined = b",".join([row for _, row in rows])
    return b'{"error":%b,"error_text":"","data":{"items":[%b]}}' % (error, joined)


def keyed(rows: Sequence[tuple[int, bytes]]) -> bytes:
    """Return the answer that has the rows under their ids, as classic does."""
    joined = b",".join([b'"%d":%b' % row for row in rows])
    return b'{"error":0,"error_text":"","data":{"items":{%b}}}' % joined

"""Records as rows of an answer: the wire's field names, text, numbers and clock."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from ppapi_async.account import Dialect

from .records import BookedPayout, Click, Order, PayoutOption, Step, plain
from .shelf import WallClock
from .texts import cut, through_float, wire_text

WireRow = dict[str, object]

_STATUS_NAME = re.compile(r"[A-z0-9]{3,35}")
_OWN_KEYS: WireRow = {"site_note": "", "rating": 5, "flags": {"vip": "0"}, "tags": []}
"""Such as sites add to rows by filters of their own."""
_LONGEST_QUERY = 500
_LONGEST_BROWSER = 250


class RowWriter:
    """Writes records as rows the way one dialect does."""

    def __init__(self, dialect: Dialect, clock: WallClock, *, own_keys: bool = False) -> None:
        """Write for a dialect, with times as the site's clock shows them, and keys of its own."""
        self._own_keys = _OWN_KEYS if own_keys else {}
        self._clone = dialect is Dialect.CLONE
        self._newer = dialect in (Dialect.DELEGATING, Dialect.USER_API)
        self._clock = clock

    def _text(self, text: str) -> str:
        return wire_text(text, newer=self._newer)

    def amount(self, text: str) -> object:
        """Return an amount: a decimal string, on clones a JSON number with the very same digits."""
        return msgspec.Raw(text.encode()) if self._clone else text

    def _begin(self, row_id: int, instant: int) -> WireRow:
        wall = self._clock.wall(instant)
        return {"id": str(row_id), "time": wall, "date": WallClock.text(wall), **self._own_keys}

    def click(self, click: Click) -> WireRow:
        """Write a row of get_links."""
        return self._begin(click.id, click.created) | {
            "browser": self._text(cut(click.browser, _LONGEST_BROWSER)),
            "ip": click.ip,
            "referrer": self._text(cut(click.referrer, _LONGEST_QUERY)),
            "user_hash": click.user_hash,
            "query_string": self._text(cut(click.query_string, _LONGEST_QUERY)),
        }

    def order(self, order: Order, *, log: Iterable[Step] | None = None) -> WireRow:
        """Write a row of get_exchanges, with what is left in the log of statuses if asked for.

        On newer servers its time is the last edit's.
        """
        row = self._begin(order.id, order.edited if self._newer else order.created)
        if self._newer:
            row["psys_give"] = self._text(order.psys_give)
            row["psys_get"] = self._text(order.psys_get)
        self._fill_exchange(row, order)
        if self._newer:
            row["status"] = order.status
            row["hash"] = order.hash
            if log is not None:
                row["statuses"] = [self._step(at, status) for at, status in log]
        return row

    def _fill_exchange(self, row: WireRow, order: Order) -> None:
        # Clones leave a currency without a code out; the others send "".
        if order.currency_give or not self._clone:
            row["currency_code_give"] = self._text(order.currency_give)
        if order.currency_get or not self._clone:
            row["currency_code_get"] = self._text(order.currency_get)
        row["course_give"] = self.amount(through_float(order.course_give))
        row["course_get"] = self.amount(through_float(order.course_get))
        row["amount_give"] = self.amount(through_float(order.amount_give))
        row["amount_get"] = self.amount(through_float(order.amount_get))
        row["exchange_success"] = int(order.success)
        row["accrued"] = int(order.accrued)
        row["partner_reward"] = self.amount(through_float(order.reward))
        row["user_hash"] = order.user_hash
        row["user_ip"] = order.ip

    def _step(self, at: int, status: str) -> WireRow:
        wall = self._clock.wall(at)
        name = status if _STATUS_NAME.fullmatch(status) else ""
        return {"time": wall, "date": WallClock.text(wall), "status": name}

    def payout(self, payout: BookedPayout) -> WireRow:
        """Write a row of get_payouts; its time is the request's on every dialect."""
        return self._begin(payout.id, payout.created) | {
            "method_id": payout.method_id,
            "account": self._text(payout.account),
            "pay_amount": self.amount(payout.pay_amount),
            "pay_currency_code": self._text(payout.pay_currency),
            "original_amount": self.amount(payout.original_amount),
            "original_currency_code": self._text(payout.original_currency),
            "status": str(payout.status),
        }

    def method(self, method: PayoutOption, balance: str) -> WireRow:
        """Write a payout method of get_info, with what the balance comes to."""
        return {
            "id": str(method.id),
            "title": self._text(method.title),
            "comission": f"{method.commission}%",
            "amount": self.amount(plain(method.receives(balance))),
        }

"""Records as rows of an answer: the wire's field names, text, numbers and clock."""

from __future__ import annotations

import html
import re
from functools import lru_cache

import msgspec

from ppapi_async.account import Dialect

from .records import Click, Order, Payout, PayoutMethod, plain
from .shelf import SiteClock

WireRow = dict[str, object]

_WORDS = (
    "select insert union loadfile load_file outfile cookie concat update eval base64 "
    "delete truncate replace infile handler include script"
)
_NEWER_WORDS = f"{_WORDS} shell_exec exec passthru system proc_open"
_LOOK_ALIKES = str.maketrans("aceopx", "асеорх")  # noqa: RUF001 - Cyrillic is the point
_FIRST_LOOK_ALIKE = re.compile("[aceopx]")
_TAG = re.compile(r"<[^>]*>")


@lru_cache(maxsize=2)
def _disguised_words(newer: bool) -> re.Pattern[str]:
    words = (_NEWER_WORDS if newer else _WORDS).split()
    return re.compile(rf"\b(?:{'|'.join(words)})\b", re.IGNORECASE)


def _disguise(word: re.Match[str]) -> str:
    # Lower-cased, and the first letter that has a Cyrillic twin replaced: so it was seen on
    # "select" and "script".
    return _FIRST_LOOK_ALIKE.sub(
        lambda letter: letter[0].translate(_LOOK_ALIKES), word[0].lower(), count=1
    )


@lru_cache(maxsize=4096)
def wire_text(text: str, *, newer: bool = False) -> str:
    """Return a text as the servers give it out.

    Tags are stripped, words of SQL and code disguised (more of them by `newer` servers, 2.7),
    and the rest HTML-escaped.
    """
    disguised = _disguised_words(newer).sub(_disguise, _TAG.sub("", text))
    return html.escape(disguised, quote=False).replace('"', "&quot;").replace("'", "&#039;")


class RowWriter:
    """Writes records as rows the way one dialect does."""

    def __init__(self, dialect: Dialect, clock: SiteClock) -> None:
        """Write for a dialect, with times as the site's clock shows them."""
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
        return {"id": str(row_id), "time": wall, "date": SiteClock.text(wall)}

    def click(self, click: Click) -> WireRow:
        """Write a row of get_links."""
        return self._begin(click.id, click.created) | {
            "browser": self._text(click.browser),
            "ip": click.ip,
            "referrer": self._text(click.referrer),
            "user_hash": click.user_hash,
            "query_string": self._text(click.query_string),
        }

    def order(self, order: Order, *, with_history: bool = False) -> WireRow:
        """Write a row of get_exchanges; on newer servers its time is the last edit's."""
        row = self._begin(order.id, order.edited if self._newer else order.created)
        if self._newer:
            row["psys_give"] = self._text(order.psys_give)
            row["psys_get"] = self._text(order.psys_get)
        self._fill_exchange(row, order)
        if self._newer:
            row["status"] = order.status
            row["hash"] = order.hash
            if with_history:
                row["statuses"] = [self._step(at, status) for at, status in order.history]
        return row

    def _fill_exchange(self, row: WireRow, order: Order) -> None:
        # Clones leave a currency without a code out; the others send "".
        if order.currency_give or not self._clone:
            row["currency_code_give"] = order.currency_give
        if order.currency_get or not self._clone:
            row["currency_code_get"] = order.currency_get
        row["course_give"] = self.amount(order.course_give)
        row["course_get"] = self.amount(order.course_get)
        row["amount_give"] = self.amount(order.amount_give)
        row["amount_get"] = self.amount(order.amount_get)
        row["exchange_success"] = int(order.success)
        row["accrued"] = int(order.accrued)
        row["partner_reward"] = self.amount(order.reward)
        row["user_hash"] = order.user_hash
        row["user_ip"] = order.ip

    def _step(self, at: int, status: str) -> WireRow:
        wall = self._clock.wall(at)
        return {"time": wall, "date": SiteClock.text(wall), "status": status}

    def payout(self, payout: Payout) -> WireRow:
        """Write a row of get_payouts; its time is the request's on every dialect."""
        return self._begin(payout.id, payout.created) | {
            "method_id": payout.method_id,
            "account": self._text(payout.account),
            "pay_amount": self.amount(payout.pay_amount),
            "pay_currency_code": payout.pay_currency,
            "original_amount": self.amount(payout.original_amount),
            "original_currency_code": payout.original_currency,
            "status": str(payout.status),
        }

    def method(self, method: PayoutMethod, balance: str) -> WireRow:
        """Write a payout method of get_info, with what the balance comes to."""
        return {
            "id": str(method.id),
            "title": self._text(method.title),
            "comission": f"{method.commission}%",
            "amount": self.amount(plain(method.receives(balance))),
        }

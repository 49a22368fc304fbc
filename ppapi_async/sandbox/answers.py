"""Calls in, answers out: the four dialects over the books. Pure; no socket, no clock of its own."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import count, islice

from attrs import evolve

from ppapi_async.account import Dialect

from .books import Books, Refusal
from .manners import JSON_TYPE, Call, Manner, SentAnswer, encode, html_answer, intval, trim
from .records import BookedPayout, Click, Order
from .rows import RowWriter, WireRow
from .shelf import By, R, Shelf

_METHODS = frozenset({"get_info", "get_links", "get_exchanges", "get_payouts", "add_payout"})
_NO_METHOD = 3, "Method not supported"
_NO_IP = re.compile(r"[%\s]")
_NOT_FOUND = "<!DOCTYPE html><html><body><h1>404 Not Found</h1></body></html>"

_TEXTS: Mapping[str, Mapping[Refusal | str, str]] = {
    "en": {
        "key": "REST API key error",
        "paid": "Payout is successfully requested",
        Refusal.METHOD: "Error! Selected currency can not be ordered payment",
        Refusal.ACCOUNT: "Error! Invalid wallet account",
        Refusal.BLACKLIST: "Error! Your account in blacklist. Contact us",
        Refusal.RESERVE: "Error! You are unable to make a selected currency transaction",
        Refusal.BALANCE: "Error! There is not enough money on your balance",
    },
    "ru": {
        "key": "Ошибка ключа REST API",
        "paid": "Выплата успешно заказана",
        Refusal.METHOD: "Ошибка! На выбранную валюту запрещено выводить деньги",  # noqa: RUF001
        Refusal.ACCOUNT: "Ошибка! Неверный кошелек",
        Refusal.BLACKLIST: "Ошибка! Ваш счет в черном списке. Свяжитесь с нами",  # noqa: RUF001
        Refusal.RESERVE: "Ошибка! На выбранную валюту запрещено выводить деньги",  # noqa: RUF001
        Refusal.BALANCE: "Ошибка! Недостаточно средств на Вашем счете",
    },
}


class Site:
    """A site in one dialect: finds whose books a call is about and answers from them."""

    def __init__(self, manner: Manner, books: Sequence[Books]) -> None:
        """Serve several partners' books in one manner."""
        self.manner = manner
        self._books = books
        self._rows = RowWriter(manner.dialect, manner.clock, own_keys=manner.own_keys)
        self._sessions = count(1)
        self._listings = count()
        self._by: By = "edited" if manner.newer else "created"

    def prepare(self) -> None:
        """Sort what listings need sorted, which else the first call would wait for."""
        for books in self._books:
            books.clicks.index(clock=self.manner.clock)
            books.orders.index(self._by, self.manner.clock)
            books.payouts.index(clock=self.manner.clock)

    def answer(self, call: Call, now: int) -> SentAnswer:
        """Answer a call that arrived at the true instant `now`."""
        method = self.manner.method_of(call)
        if self.manner.refuses_uri(call):
            answer = html_answer(414, "")
        elif method is None:
            answer = html_answer(404, _NOT_FOUND)
        else:
            answer = self._route(call, method, now)
        return self._with_session(answer)

    def refuse(self, code: int | str, text: str) -> SentAnswer:
        """Answer any call with an error of the API's."""
        return self._with_session(self._failure(code, text))

    def _with_session(self, answer: SentAnswer) -> SentAnswer:
        if self.manner.dialect is Dialect.CLONE:
            return answer
        # A session for every request, whether or not the client kept the last one.
        number = next(self._sessions)
        cookies = [f"PHPSESSID={number:026x}; path=/"]
        if self.manner.newer:
            cookies.append(f"premium_session_id={number:040x}; path=/; HttpOnly")
        return evolve(answer, cookies=tuple(cookies))

    def _route(self, call: Call, method: str, now: int) -> SentAnswer:
        # An empty key or an unknown method never reaches the module on classic: bare 501.
        known = method in _METHODS or (method == "test" and self.manner.dialect is Dialect.USER_API)
        if self.manner.dialect is Dialect.CLASSIC and not (
            known and trim(call.query.get("api_key"))
        ):
            return html_answer(501 if self.manner.answers_501 else 200, "")
        books = self._find_books(call)
        if books is None or books.partner.banned:
            text = "Api disabled" if self.manner.newer else _TEXTS[self.manner.language]["key"]
            return self._failure(1, text)
        if books.partner.ip_blocked and self.manner.dialect is Dialect.USER_API:
            return self._failure(2, "IP blocked")
        if not known:
            delegates = self.manner.dialect is Dialect.DELEGATING
            return self._failure(*((1, "Api disabled") if delegates else _NO_METHOD))
        if self.manner.newer and not books.partner.may(method):
            return self._failure(*_NO_METHOD)
        return self._perform(books, method, call, now)

    def _find_books(self, call: Call) -> Books | None:
        """Find whose key it is: trimmed, and without case, as the database compares."""
        if self.manner.dialect is Dialect.USER_API:
            key, login = call.headers.get("api-key"), call.headers.get("api-login")
        else:
            key, login = call.query.get("api_key"), None
        for books in self._books:
            partner = books.partner
            if trim(key).lower() == partner.api_key.lower() and (
                self.manner.dialect is not Dialect.USER_API or trim(login) == partner.api_login
            ):
                return books
        return None

    def _texts_for(self, call: Call) -> Mapping[Refusal | str, str]:
        """Return the texts in the site's language, or in the one that the User API is asked for."""
        asked = call.headers.get("api-lang", "") if self.manner.dialect is Dialect.USER_API else ""
        return _TEXTS.get(asked[:2].lower(), _TEXTS[self.manner.language])

    def _perform(self, books: Books, method: str, call: Call, now: int) -> SentAnswer:
        asked = self.manner.parameters(call)
        if method == "test":
            echoed: WireRow = {"ip": call.ip, "partner_id": asked.get("partner_id", "")}
            return self._json({"error": 0, "error_text": "", "data": echoed})
        if method == "get_info":
            return self._success(self._info(books))
        if method == "add_payout":
            return self._add_payout(books, asked, self._texts_for(call), now)
        lists = {
            "get_links": self._links,
            "get_exchanges": self._exchanges,
            "get_payouts": self._payouts,
        }
        rows = lists[method](books, asked)
        alter = self.manner.row_filter
        return self._listing(rows if alter is None else (alter(method, row) for row in rows))

    # --- envelopes

    def _json(self, payload: WireRow) -> SentAnswer:
        body = encode(payload, ascii_only=self.manner.dialect is Dialect.CLASSIC)
        return SentAnswer(200, {"Content-Type": JSON_TYPE}, body)

    def _success(self, data: WireRow, text: str = "") -> SentAnswer:
        if self.manner.dialect is Dialect.CLONE:
            return self._json({"status": "success", "error": 0, "error_text": text, "data": data})
        if self.manner.newer:
            return self._json({"error": "0", "error_text": "", "data": data or []})
        found: WireRow = {"data": data} if data else {}
        return self._json({"error": 0, "error_text": text, **found})

    def _failure(self, code: int | str, text: str, **more: object) -> SentAnswer:
        status: WireRow = {"status": "error"} if self.manner.dialect is Dialect.CLONE else {}
        return self._json({**status, "error": code, "error_text": text, **more})

    def _items(self, rows: Iterable[WireRow]) -> WireRow | list[WireRow]:
        """Put rows together: a list on 2.7, elsewhere an object under their ids, in order."""
        if self.manner.newer:
            return list(rows)
        return {str(row["id"]): row for row in rows}

    def _listing(self, rows: Iterable[WireRow]) -> SentAnswer:
        items = self._items(rows)
        found: WireRow = {"items": items} if items or self.manner.dialect is Dialect.CLONE else {}
        return evolve(self._success(found), rows=len(items))

    # --- methods

    def _info(self, books: Books) -> WireRow:
        partner, amount = books.partner, self._rows.amount
        data: WireRow = {"partner_id": partner.id} if self.manner.newer else {}
        data |= {"balance": amount(partner.balance), "min_payout": amount(books.min_payout)}
        if self.manner.dialect is Dialect.CLONE:
            data |= {"totalReceived": amount(partner.received), "link": f"/?rid={partner.id}"}
        payable = not self.manner.newer or Decimal(partner.balance) > 0
        methods = [method for method in books.methods if payable and method.covers(partner.balance)]
        items = self._items(self._rows.method(method, partner.balance) for method in methods)
        if items or self.manner.dialect is not Dialect.CLASSIC:
            data["items"] = items
        return data

    def _add_payout(
        self,
        books: Books,
        asked: Mapping[str, str],
        texts: Mapping[Refusal | str, str],
        now: int,
    ) -> SentAnswer:
        outcome = books.request_payout(
            intval(asked.get("method_id")), asked.get("account", ""), now
        )
        if isinstance(outcome, BookedPayout):
            return self._success({"payout_id": str(outcome.id)}, texts["paid"])
        more: WireRow = {"data": []} if self.manner.newer else {}
        return self._failure(1, texts[outcome], **more)

    def _links(self, books: Books, asked: Mapping[str, str]) -> Iterable[WireRow]:
        ip = self._ip(asked)
        # The ip filter of classic get_links is broken and finds nothing, always.
        if ip and self.manner.dialect is Dialect.CLASSIC:
            return ()
        matches: list[Callable[[Click], bool]] = [lambda click: click.ip == ip] if ip else []
        return map(self._rows.click, self._select(books.clicks, asked, matches))

    def _exchanges(self, books: Books, asked: Mapping[str, str]) -> Iterable[WireRow]:
        matches: list[Callable[[Order], bool]] = []
        if hidden := books.hidden_orders:
            matches.append(lambda order: order.id not in hidden)
        if ip := self._ip(asked):
            matches.append(lambda order: order.ip == ip)
        if self.manner.newer and (public_hash := self._filter(asked, "hash")):
            matches.append(lambda order: order.hash == public_hash)
        if (ids := self._ids(asked)) is not None:
            matches.append(lambda order: order.id in ids)
        with_history = asked.get("status_history", "") not in ("", "0")
        found = self._select(books.orders, asked, matches, by=self._by)
        return (
            self._rows.order(order, log=books.log_of(order) if with_history else None)
            for order in found
        )

    def _payouts(self, books: Books, asked: Mapping[str, str]) -> Iterable[WireRow]:
        matches: list[Callable[[BookedPayout], bool]] = []
        if hidden := books.hidden_payouts:
            matches.append(lambda payout: payout.id not in hidden)
        if (ids := self._ids(asked)) is not None:
            matches.append(lambda payout: payout.id in ids)
        return map(self._rows.payout, self._select(books.payouts, asked, matches))

    def _ids(self, asked: Mapping[str, str]) -> frozenset[int] | None:
        """Return the ids asked for, None for all; 0 is all, and `,` is none of them."""
        listed = self._filter(asked, "id") if self.manner.newer else ""
        if listed in ("", "0"):
            return None
        return frozenset(intval(one) for one in listed.split(","))

    def _ip(self, asked: Mapping[str, str]) -> str:
        return _NO_IP.sub("", self._filter(asked, "ip"))

    def _filter(self, asked: Mapping[str, str], name: str) -> str:
        return asked.get(name, "") if self.manner.honours_filter else ""

    def _select(
        self,
        shelf: Shelf[R],
        asked: Mapping[str, str],
        matches: list[Callable[[R], bool]],
        *,
        by: By = "created",
    ) -> Iterable[R]:
        """Return the rows asked for, in the site's order."""
        manner, turn = self.manner, next(self._listings)
        first, last = manner.bounds_of(asked) if manner.honours_filter else (None, None)
        offset, limit = manner.page(asked, turn)
        rank = manner.rank(offset, limit, turn)
        index = shelf.index(by, manner.clock)
        oldest_first = manner.order == "oldest first"
        if not matches and manner.order != "by id":
            found = index.ids(
                first, last, offset=offset, limit=limit, rank=rank, oldest_first=oldest_first
            )
            return (shelf[at] for at in found)
        every = index.ids(first, last, rank=rank, oldest_first=oldest_first)
        ids = sorted(every, reverse=True) if manner.order == "by id" else every
        rows = (shelf[at] for at in ids)
        wanted = (row for row in rows if all(match(row) for match in matches))
        rest = islice(wanted, min(offset, sys.maxsize), None)
        return rest if limit is None else islice(rest, min(limit, sys.maxsize))

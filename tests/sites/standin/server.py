"""The stand-in's answers, over a real socket."""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Mapping
from decimal import Decimal
from email.utils import formatdate
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web
from attrs import define, field, frozen

from .tables import Tables, Ties
from .texts import date_of, escaped, intval, second_of, through_float, wall_of

JSON_TYPE = "application/json; charset=utf-8"
_REFUSED_URIS = ("base64", "concat", "eval(", "union+select")
_METHOD = "Error! Selected currency can not be ordered payment"
_WALLET = "Error! Invalid wallet account"
_BLACKLIST = "Error! Your account in blacklist. Contact us"
_BALANCE = "Error! There is not enough money on your balance"
_RESERVE = "Error! You are unable to make a selected currency transaction"
_STATUS = re.compile(r"[A-z0-9]{3,35}")

Row = dict[str, object]
Form = Mapping[str, str]


@frozen(kw_only=True)
class Method:
    """A way to be paid."""

    id: int
    title: str
    currency: str
    commission: str = "0"
    rate: str = "1"
    reserve: str = "1000000000"


@define(kw_only=True)
class User:
    """A partner of the site."""

    id: int = 1
    balance: str = "0"
    banned: bool = False


@frozen
class Asked:
    """A request that came."""

    method: str
    form: Form
    status: int


def _plain(amount: Decimal) -> str:
    text = f"{round(amount, 12):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@define(kw_only=True)
class StandIn:
    """A site: ``async with StandIn(clock=…) as site: ...  # site.url, site.key, site.tables``."""

    key: str = "StandInKey0StandInKey0StandInKey"
    clock: Callable[[], float] = time.time
    timezone: str = "UTC"
    ties: Ties = "query"
    methods: tuple[Method, ...] = (Method(id=11, title="Tether", currency="USDTTRC20"),)
    min_payout: str = "10"
    blacklist: frozenset[str] = frozenset()
    disabled: bool = False
    user: User = field(factory=User)
    others: dict[str, User] = field(factory=dict)
    tables: Tables = field(init=False)
    asked: deque[Asked] = field(init=False, factory=lambda: deque(maxlen=100_000))
    port: int = field(init=False, default=0)
    _sessions: itertools.count[int] = field(init=False, factory=itertools.count)
    _runner: web.ServerRunner | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.tables = Tables(self.clock, self.timezone, self.ties)

    @property
    def url(self) -> str:
        """Where the site is."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    # --- requests

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        query = dict(parse_qsl(urlsplit(request.raw_path).query, keep_blank_values=True))
        posted = await request.post() if request.method == "POST" else {}
        form = {name: str(value) for name, value in posted.items()}
        status, body = self._answer(request.raw_path, query, form)
        self.asked.append(Asked(query.get("method", "").strip(), form, status))
        response = web.Response(status=status)
        response.headers["Date"] = formatdate(self.clock(), usegmt=True)
        if isinstance(body, str):
            response.text, response.content_type = body, "text/html"
        else:
            text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
            response.body = text.replace("/", "\\/").encode()
            response.headers["Content-Type"] = JSON_TYPE
        session = next(self._sessions)
        response.set_cookie("PHPSESSID", f"{session:026x}")
        response.set_cookie("premium_session_id", f"{session:040x}")
        return response

    def _answer(self, uri: str, query: Form, form: Form) -> tuple[int, Row | str]:
        if any(part in uri.lower() for part in _REFUSED_URIS):
            return 414, ""
        if urlsplit(uri).path != "/api.html":
            return 404, "<!DOCTYPE html><html><body><h1>404</h1></body></html>"
        user = self._user(query.get("api_key", "").strip().lower())
        method = query.get("method", "").strip()
        calls: Mapping[str, Callable[[User, Form], Row]] = {
            "get_info": self._info,
            "get_links": self._links,
            "get_exchanges": self._exchanges,
            "get_payouts": self._payouts,
            "add_payout": self._add_payout,
        }
        known = query.get("api_action", "").strip() == "pp" and method in calls
        if self.disabled or not known or user is None or user.banned:
            return 200, {"error": 1, "error_text": "Api disabled"}
        self.tables.clean()
        return 200, calls[method](user, form)

    def _user(self, key: str) -> User | None:
        keys = {name.lower(): user for name, user in self.others.items()}
        return ({self.key.lower(): self.user} | keys).get(key) if key else None

    # --- methods

    def _info(self, user: User, form: Form) -> Row:
        balance = Decimal(user.balance)
        listed = [one for one in self.methods if balance > 0 and self._covers(one, balance)]
        items = [
            {
                "id": str(method.id),
                "title": escaped(method.title),
                "comission": f"{method.commission}%",
                "amount": _plain(self._receives(method, balance)),
            }
            for method in listed
        ]
        data = {"balance": user.balance, "min_payout": self.min_payout, "items": items}
        return _success({"partner_id": user.id} | data)

    @staticmethod
    def _covers(method: Method, balance: Decimal) -> bool:
        """Compare the reserve with the amount before commission, in the method's currency."""
        return balance * Decimal(method.rate) <= Decimal(method.reserve)

    @staticmethod
    def _receives(method: Method, balance: Decimal) -> Decimal:
        return balance * (1 - Decimal(method.commission) / 100) * Decimal(method.rate)

    def _add_payout(self, user: User, form: Form) -> Row:
        number, account = intval(form.get("method_id", "")), form.get("account", "")
        method = next((one for one in self.methods if one.id == number), None)
        balance = Decimal(user.balance)
        if method is None:
            return _refusal(_METHOD)
        if not re.fullmatch(r"\S{5,100}", account):
            return _refusal(_WALLET)
        if account in self.blacklist:
            return _refusal(_BLACKLIST)
        if balance <= 0 or balance < Decimal(self.min_payout):
            return _refusal(_BALANCE)
        if not self._covers(method, balance):
            return _refusal(_RESERVE)
        return _success({"payout_id": str(self._book(user, method, account))})

    def _book(self, user: User, method: Method, account: str) -> int:
        row = {
            "time": self.tables.wall(),
            "method_id": method.id,
            "account": account,
            "pay_amount": _plain(self._receives(method, Decimal(user.balance))),
            "pay_currency_code": method.currency,
            "original_amount": user.balance,
        }
        self.tables.insert("payouts", [row])
        user.balance = "0"
        return int(str(self.tables.column("SELECT max(id) FROM payouts")[0]))

    # --- lists

    def _links(self, user: User, form: Form) -> Row:
        ip = _cleaned(form.get("ip", ""))
        wanted: list[tuple[str, list[object]]] = [("ip = ?", [ip])] if ip else []
        return self._list(user, form, "clicks", "time", _click, wanted)

    def _exchanges(self, user: User, form: Form) -> Row:
        wanted: list[tuple[str, list[object]]] = [("status != 'auto'", []), ("NOT hidden", [])]
        wanted += _ids(form)
        if ip := _cleaned(form.get("ip", "")):
            wanted.append(("user_ip = ?", [ip]))
        if public_hash := form.get("hash", ""):
            wanted.append(("hash = ?", [public_hash]))
        with_history = form.get("status_history", "") not in ("", "0")

        def write(row: sqlite3.Row) -> Row:
            return _exchange(row) | ({"statuses": self._history(row["id"])} if with_history else {})

        return self._list(user, form, "exchanges", "edited", write, wanted)

    def _history(self, row_id: int) -> list[Row]:
        logged = self.tables.database.execute(
            "SELECT time, status FROM status_log WHERE order_id = ? ORDER BY rowid", [row_id]
        )
        return [
            {
                "time": second_of(row["time"]),
                "date": date_of(row["time"]),
                "status": row["status"] if _STATUS.fullmatch(row["status"]) else "",
            }
            for row in logged
        ]

    def _payouts(self, user: User, form: Form) -> Row:
        return self._list(user, form, "payouts", "time", _payout, [("NOT basket", []), *_ids(form)])

    def _list(
        self,
        user: User,
        form: Form,
        table: str,
        by: str,
        write: Callable[[sqlite3.Row], Row],
        wanted: list[tuple[str, list[object]]],
    ) -> Row:
        if user is not self.user:
            return _success([])
        for name, sign in (("start_time", ">="), ("end_time", "<=")):
            bound = intval(form.get(name, ""))
            if bound > 0:
                wanted = [*wanted, (f"{by} {sign} ?", [wall_of(bound)])]
        limit, offset = intval(form.get("limit", "")), intval(form.get("offset", ""))
        rows = self.tables.find(
            table,
            by,
            [condition for condition, _ in wanted],
            [value for _, values in wanted for value in values],
            limit=min(limit, 500) if limit > 0 else 100,
            offset=max(0, offset),
        )
        return _success({"items": [write(row) for row in rows]} if rows else [])


def _success(data: object) -> Row:
    return {"error": "0", "error_text": "", "data": data}


def _refusal(text: str) -> Row:
    return {"error": 1, "error_text": text.replace("'", "&#039;"), "data": []}


def _cleaned(ip: str) -> str:
    return re.sub(r"[%\s]", "", ip)


def _ids(form: Form) -> list[tuple[str, list[object]]]:
    """Read the comma list of ids: nothing and 0 are no filter, a list of nothing finds nothing."""
    listed = form.get("id", "")
    if listed in ("", "0"):
        return []
    ids = [number for number in map(intval, listed.split(",")) if number > 0]
    return [(f"id IN ({', '.join('?' * len(ids))})", [*ids])]


def _began(row: sqlite3.Row, by: str) -> Row:
    return {"id": str(row["id"]), "time": second_of(row[by]), "date": date_of(row[by])}


def _click(row: sqlite3.Row) -> Row:
    return _began(row, "time") | {
        "browser": escaped(row["browser"]),
        "ip": row["ip"],
        "referrer": escaped(row["referrer"]),
        "user_hash": row["user_hash"],
        "query_string": escaped(row["query_string"]),
    }


def _exchange(row: sqlite3.Row) -> Row:
    texts = ("psys_give", "psys_get", "currency_code_give", "currency_code_get")
    amounts = ("course_give", "course_get", "amount_give", "amount_get")
    return {
        **_began(row, "edited"),
        **{name: escaped(row[name]) for name in texts},
        **{name: through_float(row[name]) for name in amounts},
        "exchange_success": int(row["status"] == "success"),
        "accrued": row["accrued"],
        "partner_reward": through_float(row["partner_reward"]),
        "user_hash": row["user_hash"],
        "user_ip": row["user_ip"],
        "status": row["status"],
        "hash": row["hash"],
    }


def _payout(row: sqlite3.Row) -> Row:
    return _began(row, "time") | {
        "method_id": row["method_id"],
        "account": escaped(row["account"]),
        "pay_amount": row["pay_amount"],
        "pay_currency_code": escaped(row["pay_currency_code"]),
        "original_amount": row["original_amount"],
        "original_currency_code": escaped(row["original_currency_code"]),
        "status": str(row["status"]),
    }

"""Calls, answers, and the manner of a site: what of a request it heeds, how it writes JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec
from attrs import evolve, field, frozen

from ppapi_async.account import Dialect

from .rows import WireRow
from .shelf import WallClock

JSON_TYPE = "application/json; charset=utf-8"
HTML_TYPE = "text/html; charset=utf-8"

ENDPOINTS: Mapping[Dialect, str] = {
    Dialect.CLASSIC: "/api.html",
    Dialect.DELEGATING: "/api.html",
    Dialect.CLONE: "/service/partner/api.php",
    Dialect.USER_API: "/api/userapi/v1/",
}
_USER_API_METHODS = {
    "get_partner_info": "get_info",
    "get_partner_links": "get_links",
    "get_partner_exchanges": "get_exchanges",
    "get_partner_payouts": "get_payouts",
    "add_partner_payout": "add_payout",
    "test": "test",
}
_ATTACKS = ("base64", "concat", "eval(", "union+select")
_TURN = 97
_MASK = 2**64 - 1
_FILTERS = frozenset({"start_time", "end_time", "ip", "id", "hash"})

_LEADING_NUMBER = re.compile(
    r"[ \t\n\r\v\f]*([+-]?)((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
)
_MOST = 2**63 - 1
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


def _lower_names(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@frozen
class Call:
    """A request that arrived. `target` is its path and query as they were sent, `ip` whence."""

    http_method: str
    path: str
    query: Mapping[str, str] = field(factory=dict)
    form: Mapping[str, str] = field(factory=dict)
    headers: Mapping[str, str] = field(factory=dict, converter=_lower_names)
    target: str = ""
    ip: str = ""

    def without_filters(self) -> Call:
        """Return the same call with nothing that narrows the rows."""
        query = {name: value for name, value in self.query.items() if name not in _FILTERS}
        form = {name: value for name, value in self.form.items() if name not in _FILTERS}
        return evolve(self, query=query, form=form)


@frozen
class SentAnswer:
    """A complete answer. `cookies` are its `Set-Cookie` headers, `rows` how many it lists."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cookies: tuple[str, ...] = ()
    rows: int | None = None


def html_answer(status: int, page: str) -> SentAnswer:
    """Answer with a page that is not the API's."""
    return SentAnswer(status, {"Content-Type": HTML_TYPE}, page.encode())


def intval(text: str | None) -> int:
    """Read an integer as PHP's ``intval`` does: a number at the beginning within 64 bits, or 0."""
    found = _LEADING_NUMBER.match(text or "")
    if found is None:
        return 0
    sign, number = found.groups()
    if number.isdigit():  # no more digits than decide: int() refuses thousands of them
        size = int(number.lstrip("0")[:20] or "0")
    else:
        size = int(min(float(number), 1e20))
    return max(-size, -_MOST - 1) if sign == "-" else min(size, _MOST)


def bound(text: str | None) -> int | None:
    """Read a time bound: 0, negative, absent and nonsense all mean none."""
    seconds = intval(text)
    return seconds if seconds > 0 else None


def encode(payload: WireRow, *, ascii_only: bool) -> bytes:
    """Write JSON as PHP does: slashes escaped, and on classic everything beyond ASCII too."""
    # A slash can only stand inside a string, so escaping it in the finished text is safe.
    body = msgspec.json.encode(payload).replace(b"/", b"\\/")
    if not ascii_only or body.isascii():
        return body
    return _NOT_ASCII.sub(lambda text: json.dumps(text[0])[1:-1], body.decode()).encode()


def trim(text: str | None) -> str:
    """Take the blanks from both ends, as PHP's ``trim`` does."""
    return (text or "").strip(" \t\n\r\0\x0b")


Ties = Literal["shuffled", "random", "rotated", "by id"]
ServerOrder = Literal["newest first", "oldest first", "by id"]
Bounds = Literal["inclusive", "start exclusive", "end exclusive", "exclusive"]
RowFilter = Callable[[str, WireRow], WireRow]
Cap = int | tuple[int, ...] | None


@frozen(kw_only=True)
class Manner:
    """How a site answers. See `Sandbox` for what can be chosen."""

    dialect: Dialect
    endpoint: str
    clock: WallClock = field(factory=WallClock)
    cap: Cap = 500
    default_limit: int = 100
    honours_limit: bool = True
    honours_offset: bool = True
    honours_filter: bool = True
    ties: Ties = "shuffled"
    order: ServerOrder = "newest first"
    bounds: Bounds = "inclusive"
    own_keys: bool = False
    row_filter: RowFilter | None = None
    answers_501: bool = True
    language: str = "en"

    @property
    def newer(self) -> bool:
        """Whether this is version 2.7, under either of its two interfaces."""
        return self.dialect in (Dialect.DELEGATING, Dialect.USER_API)

    def method_of(self, call: Call) -> str | None:
        """Return the method a call names, under its usual name; None if it is not for the API.

        What is for the API but not for its partners, by another `api_action`, has no method: "".
        """
        if self.dialect is Dialect.USER_API:
            if not call.path.startswith(self.endpoint):
                return None
            name = call.path.removeprefix(self.endpoint)
            return _USER_API_METHODS.get(name, name)
        if self.dialect is Dialect.CLASSIC:  # looks at the end of the path only, in any case
            is_here = call.path.lower().endswith(self.endpoint.lower())
        else:
            is_here = call.path == self.endpoint
        if not is_here:
            return None
        if trim(call.query.get("api_action")) != "pp":
            return ""
        return trim(call.query.get("method"))

    def refuses_uri(self, call: Call) -> bool:
        """Tell whether 2.7 takes a call for an attack, by words in its path and query."""
        target = call.target.lower()
        return self.newer and any(word in target for word in _ATTACKS)

    def parameters(self, call: Call) -> Mapping[str, str]:
        """Return a method's parameters: the form's; only clones read the query too."""
        if self.dialect is Dialect.CLONE:
            return {**call.query, **call.form}
        return call.form

    def page(self, asked: Mapping[str, str], turn: int) -> tuple[int, int | None]:
        """Return offset and limit of the rows to give out in the `turn`-th answer."""
        if self.dialect is Dialect.CLASSIC:
            return 0, None
        cap = self.cap[turn % len(self.cap)] if isinstance(self.cap, tuple) else self.cap
        limit: int | None = intval(asked.get("limit")) if self.honours_limit else 0
        if not limit or limit < 0:
            limit = None if cap is None else self.default_limit
        if limit is not None and cap is not None:
            limit = min(limit, cap)
        offset = intval(asked.get("offset")) if self.honours_offset else 0
        return max(0, offset), limit

    def bounds_of(self, asked: Mapping[str, str]) -> tuple[int | None, int | None]:
        """Return the first and the last second to give out, on the site's clock."""
        first, last = bound(asked.get("start_time")), bound(asked.get("end_time"))
        if first is not None and self.bounds in ("start exclusive", "exclusive"):
            first += 1
        if last is not None and self.bounds in ("end exclusive", "exclusive"):
            last -= 1
        return first, last

    def rank(self, offset: int, limit: int | None, turn: int) -> Callable[[int], int] | None:
        """Return what rows of one second are ordered by; None for their ids.

        Servers sort by time and by nothing else: what comes of equal times is the database's
        plan, which is another for each limit and offset.
        """
        if self.ties == "by id":
            return None
        if self.ties == "rotated":
            return lambda row_id: (row_id + offset) % _TURN
        salt = turn if self.ties == "random" else hash((offset, limit or 0))
        return lambda row_id: _mixed(row_id, salt)


def _mixed(row_id: int, salt: int) -> int:
    """Return a number that looks random and is the same in every process."""
    number = (row_id * 0x9E3779B97F4A7C15 ^ salt * 0xD1342543DE82EF95) & _MASK
    return (number ^ number >> 29) * 0xBF58476D1CE4E5B9 & _MASK

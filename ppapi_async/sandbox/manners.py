"""Calls, answers, and the manner of a site: what of a request it heeds, how it writes JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import msgspec
from attrs import evolve, field, frozen

from ppapi_async.account import Dialect

from .rows import WireRow
from .shelf import SiteClock

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
    """A request that arrived. `target` is its path and query as they were sent."""

    http_method: str
    path: str
    query: Mapping[str, str] = field(factory=dict)
    form: Mapping[str, str] = field(factory=dict)
    headers: Mapping[str, str] = field(factory=dict, converter=_lower_names)
    target: str = ""

    def without_filters(self) -> Call:
        """Return the same call with nothing that narrows the rows."""
        query = {name: value for name, value in self.query.items() if name not in _FILTERS}
        form = {name: value for name, value in self.form.items() if name not in _FILTERS}
        return evolve(self, query=query, form=form)


@frozen
class Answer:
    """A complete answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def html_answer(status: int, page: str) -> Answer:
    """Answer with a page that is not the API's."""
    return Answer(status, {"Content-Type": HTML_TYPE}, page.encode())


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


@frozen(kw_only=True)
class Manner:
    """How a site answers. `cap` None: all rows in one answer, unless a `limit` asks for fewer."""

    dialect: Dialect
    endpoint: str
    clock: SiteClock = field(factory=SiteClock)
    cap: int | None = 500
    default_limit: int = 100
    honours_limit: bool = True
    honours_offset: bool = True
    honours_filter: bool = True
    language: str = "en"

    @property
    def newer(self) -> bool:
        """Whether this is version 2.7, under either of its two interfaces."""
        return self.dialect in (Dialect.DELEGATING, Dialect.USER_API)

    def method_of(self, call: Call) -> str | None:
        """Return the method a call names, under its usual name; None if it is not for the API."""
        if self.dialect is Dialect.USER_API:
            if not call.path.startswith(self.endpoint):
                return None
            name = call.path.removeprefix(self.endpoint)
            return _USER_API_METHODS.get(name, name)
        if call.path != self.endpoint or call.query.get("api_action") != "pp":
            return None
        return call.query.get("method", "")

    def parameters(self, call: Call) -> Mapping[str, str]:
        """Return a method's parameters: the form's; only clones read the query too."""
        if self.dialect is Dialect.CLONE:
            return {**call.query, **call.form}
        return call.form

    def page(self, asked: Mapping[str, str]) -> tuple[int, int | None]:
        """Return offset and limit of the rows to give out."""
        if self.dialect is Dialect.CLASSIC:
            return 0, None
        limit: int | None = intval(asked.get("limit")) if self.honours_limit else 0
        if not limit or limit < 0:
            limit = None if self.cap is None else self.default_limit
        if limit is not None and self.cap is not None:
            limit = min(limit, self.cap)
        offset = intval(asked.get("offset")) if self.honours_offset else 0
        return max(0, offset), limit

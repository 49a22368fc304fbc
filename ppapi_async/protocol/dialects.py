"""The four dialects as data: a method and its parameters to an HTTP request.

All that differs between servers on the way *to* them is in `TRAITS`. Reads are POST with the
routing in the query and the method's parameters in query and form: classic and 2.7 read them only
from the form (in the query they are silently ignored and everything comes back), clones are
documented to read them from the query. get_info has no parameters, so it is the GET that the
vendor's page shows: aiohttp may resend a GET once by itself, which cannot hurt here.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from attrs import field, frozen

from ppapi_async.account import Account, Dialect, Secret

__all__ = ["TRAITS", "HttpRequest", "Traits", "endpoints", "request_for", "traits_of"]

_USER_API_METHODS = {
    "get_info": "get_partner_info",
    "get_links": "get_partner_links",
    "get_exchanges": "get_partner_exchanges",
    "get_payouts": "get_partner_payouts",
    "add_payout": "add_partner_payout",
    "test": "test",
}


@frozen
class Traits:
    """What is known of a dialect's servers (wire notes, first table)."""

    paths: tuple[str, ...]
    """Endpoints to try, in this order, where the account does not give one."""
    capped: bool | None
    """Whether a server silently cuts long answers; None: not known."""
    surely_whole: int
    """An answer of fewer rows was not cut, whatever the server's cap."""
    newest_first: bool
    """Whether answers are known to run from new to old, so that a cut loses the oldest rows."""
    rows_move: bool
    """Whether an exchange may move forward in time while one reads (edit-time servers)."""
    filters_by_edit: bool
    """Whether the time filter of get_exchanges is known to go by the last change."""
    filters_ip: bool
    """Whether the `ip` filter is known to work. Classic's get_links finds nothing with it."""
    reads_query: bool
    """Whether the method's parameters go into the query of a read, too."""
    payout_in_query: bool = False
    """Whether add_payout's parameters must go into the query."""


_UNKNOWN = Traits(
    paths=("/api.html", "/api.php", "/service/partner/api.php"),
    capped=None,
    surely_whole=10,
    newest_first=False,
    rows_move=True,
    filters_by_edit=False,
    filters_ip=False,
    reads_query=True,
)
TRAITS: Mapping[Dialect, Traits] = {
    Dialect.CLASSIC: Traits(
        paths=("/api.html", "/api.php"),
        capped=False,
        surely_whole=0,
        newest_first=True,
        rows_move=False,
        filters_by_edit=False,
        filters_ip=False,
        reads_query=True,
    ),
    Dialect.DELEGATING: Traits(
        paths=("/api.html", "/api.php"),
        capped=True,
        surely_whole=100,
        newest_first=True,
        rows_move=True,
        filters_by_edit=True,
        filters_ip=True,
        reads_query=True,
    ),
    Dialect.CLONE: Traits(
        paths=("/service/partner/api.php", "/api.html", "/api.php"),
        capped=None,
        surely_whole=10,
        newest_first=False,
        rows_move=True,
        filters_by_edit=False,
        filters_ip=False,
        reads_query=True,
        payout_in_query=True,
    ),
    Dialect.USER_API: Traits(
        paths=("/api/userapi/v1",),
        capped=True,
        surely_whole=100,
        newest_first=True,
        rows_move=True,
        filters_by_edit=True,
        filters_ip=True,
        reads_query=False,
    ),
}


def traits_of(dialect: Dialect | None) -> Traits:
    """Return what is known of this dialect; of None, what holds for any."""
    return _UNKNOWN if dialect is None else TRAITS[dialect]


def endpoints(account: Account, dialect: Dialect | None) -> tuple[str, ...]:
    """Return the urls at which the API may be, the likeliest first."""
    if account.endpoint is not None and dialect is not Dialect.USER_API:
        return (account.endpoint,)
    return tuple(account.base_url + path for path in traits_of(dialect).paths)


@frozen
class HttpRequest:
    """A request as data. The parts that carry the secret do not show in its repr."""

    verb: str
    endpoint: str
    query: tuple[tuple[str, str], ...] = field(repr=False)
    form: tuple[tuple[str, str], ...] | None = field(repr=False)
    secrets: tuple[tuple[str, Secret], ...]
    """Where secrets go: query names without a colon, `header:Name` for headers."""

    def url(self) -> str:
        """Return the whole url, key included: pass it on, do not keep it."""
        pairs = [*self.query]
        # The key stands where sites' own links have it: after api_action.
        pairs[1:1] = [(n, s.reveal()) for n, s in self.secrets if ":" not in n]
        # urlencode would take three times as long.
        query = "&".join([f"{quote(name)}={quote(value, safe='')}" for name, value in pairs])
        return f"{self.endpoint}?{query}" if pairs else self.endpoint

    def headers(self) -> dict[str, str]:
        """Return the headers that carry secrets."""
        return {n.removeprefix("header:"): s.reveal() for n, s in self.secrets if ":" in n}

    def body(self) -> bytes:
        """Return the form, encoded; empty for a GET."""
        return urlencode(self.form or ()).encode()


def request_for(
    account: Account,
    dialect: Dialect | None,
    endpoint: str,
    method: str,
    params: Mapping[str, str | int],
) -> HttpRequest:
    """Return the request that every server of the dialect understands (of None: all servers)."""
    traits = traits_of(dialect)
    form = tuple((name, str(value)) for name, value in params.items())
    in_query = traits.payout_in_query if method == "add_payout" else traits.reads_query
    if dialect is Dialect.USER_API:
        return _user_api_request(account, endpoint, method, form)
    routing = (("api_action", "pp"), ("method", method))
    return HttpRequest(
        verb="GET" if method == "get_info" else "POST",
        endpoint=endpoint,
        query=routing + (form if in_query else ()),
        form=None if method == "get_info" else form,
        secrets=(("api_key", account.api_key),),
    )


def _user_api_request(
    account: Account, endpoint: str, method: str, form: tuple[tuple[str, str], ...]
) -> HttpRequest:
    secrets = [("header:API-Key", account.api_key)]
    if account.api_login is not None:
        secrets.insert(0, ("header:API-Login", account.api_login))
    path = _USER_API_METHODS.get(method, method)
    url = f"{endpoint}/{quote(path, safe='')}"
    return HttpRequest("POST", url, (), form, tuple(secrets))

"""How requests get to a site: through the account's proxy, over connections that are clean.

aiohttp keeps what arrives on an idle connection, and takes it for the answer to the next request:
a second answer of a confused proxy would become a receipt for a payout. So a connection on which
anything has come before it was asked for is not used. What comes a moment later cannot be told
from the answer; so what must not be mistaken goes over a connection of its own.

Proxies of the environment are not used.
"""

from __future__ import annotations

import base64
from urllib.parse import unquote

import aiohttp
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from attrs import field, frozen
from yarl import URL

from ppapi_async.account import Account
from ppapi_async.secret import Secret
from ppapi_async.site_url import SiteUrl, read_url

__all__ = [
    "NO_PROXY",
    "CleanRequest",
    "LoneRequest",
    "Route",
    "StaleConnectionError",
    "refuse_lent_proxy",
    "route_of",
]


class StaleConnectionError(Exception):
    """Something waits to be read although nothing was asked; the request was not sent."""


class CleanRequest(aiohttp.ClientRequest):
    """A request that is not sent over a connection with something left on it."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send the request; aiohttp closes the connection if this fails.

        Raises:
            StaleConnectionError: nothing was sent; another connection may be clean.
        """
        if conn.protocol is not None and conn.protocol.should_close:
            raise StaleConnectionError
        return await super().send(conn)


class LoneRequest(CleanRequest):
    """A request with a connection of its own, before and after which nothing is sent over it.

    The connector that opens the connection is the session's, lent or not: its resolver, TLS and
    proxy are the same.
    """

    @property
    def connection_key(self) -> ConnectionKey:
        """What the connector looks for among its idle connections: none is like this one."""
        return super().connection_key._replace(proxy_headers_hash=id(self))

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send the request, and have the connection closed after the answer."""
        response = await super().send(conn)
        if conn.protocol is not None:
            conn.protocol.force_close()
        return response


_EXTRA = "proxy: a socks5 proxy needs aiohttp-socks; pip install 'ppapi-async[socks]'"


@frozen
class Route:
    """How the requests of an account go out; nothing in it is shown."""

    proxy: URL | None = field(default=None, repr=False)
    """What aiohttp is told for each request: proxies of http and https."""
    login: str | None = field(default=None, repr=False)
    """`Proxy-Authorization`: of the tunnel for https, of the request itself for http."""
    connector: aiohttp.BaseConnector | None = field(default=None, repr=False)
    """A connector of the account's own, which goes through a socks5 proxy."""
    errors: tuple[type[Exception], ...] = ()
    """What the proxy's failures are raised as: nothing has been sent."""


NO_PROXY = Route()


def route_of(account: Account) -> Route:
    """Return the way through the account's proxy; an event loop has to be running.

    Raises:
        ValueError: a socks5 proxy, and what speaks that is not installed.
    """
    if account.proxy is None:
        return NO_PROXY
    if account.proxy.reveal().lower().startswith("socks5:") and not _knows_socks():
        raise ValueError(_EXTRA)  # from a frame without the password
    return _route(account.proxy)


def _knows_socks() -> bool:
    try:
        import aiohttp_socks  # noqa: F401, PLC0415
    except ImportError:
        return False
    return True


def _route(proxy: Secret) -> Route:
    read = read_url(proxy.reveal())
    if isinstance(read, str):  # which the account has refused
        return NO_PROXY
    user, _, password = (unquote(part) for part in (read.login or "").partition(":"))
    if read.scheme == "socks5":
        return _through_socks(read, user, password)
    login = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    return Route(URL(f"{read.scheme}://{read.host}"), login if read.login else None)


def _through_socks(read: SiteUrl, user: str, password: str) -> Route:
    import aiohttp_socks  # noqa: PLC0415  # an extra, and no account may need it

    at = URL(f"socks5://{read.host}")
    connector = aiohttp_socks.ProxyConnector(
        proxy_type=aiohttp_socks.ProxyType.SOCKS5,
        host=at.host or "",
        port=at.port or 1080,
        username=user or None,
        password=password or None,
        rdns=True,  # names are looked up where the proxy is
        limit=0,
    )
    errors = (
        aiohttp_socks.ProxyError,
        aiohttp_socks.ProxyConnectionError,
        aiohttp_socks.ProxyTimeoutError,
    )
    return Route(connector=connector, errors=errors)


def refuse_lent_proxy(http: aiohttp.ClientSession) -> None:
    """Refuse a lent session that names a proxy, for only its connector would be used.

    Raises:
        ValueError: it names one, or would take the environment's.
    """
    if getattr(http, "_default_proxy", None) is not None:
        raise ValueError("http: the aiohttp session has a proxy; pass it as Account(proxy=…)")
    if http.trust_env:
        raise ValueError(
            "http: the aiohttp session takes proxies of the environment (trust_env=True), which are"
            " not trusted with the key; leave that out, and pass a proxy as Account(proxy=…)"
        )

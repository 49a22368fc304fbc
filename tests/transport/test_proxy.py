"""The proxy of an account, on loopback sockets: who sees what, and what a failure comes to."""

from __future__ import annotations

import asyncio
import base64
import sys
from typing import Any

import aiohttp
import pytest

from ppapi_async import (
    Account,
    Fleet,
    PayoutNotSent,
    Retry,
    Session,
    TransportError,
)
from tests.sites.raw import INFO, KEY, RECEIPT, RawServer, http

PASSWORD = "pr0xy-p4ssw0rd"
LOGIN = "Basic " + base64.b64encode(f"user:{PASSWORD}".encode()).decode()
ONCE = Retry(attempts=1)


def _proxy_of(server: RawServer, scheme: str = "http") -> str:
    return server.url.replace("http://", f"{scheme}://user:{PASSWORD}@")


def _frames(error: BaseException) -> str:
    """Return all that a traceback with locals would show of this library's frames."""
    shown, trace = [repr(error), str(error)], error.__traceback__
    while trace is not None:
        if "ppapi_async/ppapi_async" in trace.tb_frame.f_code.co_filename or (
            "/ppapi_async/" in trace.tb_frame.f_code.co_filename
        ):
            shown.append(repr(trace.tb_frame.f_locals))
        trace = trace.tb_next
    return "\n".join(shown)


async def test_an_http_proxy_gets_the_login_and_all_requests() -> None:
    """Reads and payouts go to the proxy with the whole url; nothing goes past it."""
    script: dict[str, Any] = {
        "get_info": lambda _: http(200, INFO),
        "add_payout": lambda _: http(200, RECEIPT),
    }
    async with RawServer(script=script) as proxy, RawServer() as site:
        account = Account(site.url, KEY, proxy=_proxy_of(proxy))
        async with Session(account) as session:
            await session.get_info()
            await session.add_payout(11, "w")
    assert site.connections == 0
    assert [seen.method for seen in proxy.seen] == ["get_info", "add_payout"]
    assert all(seen.target.startswith(site.url) for seen in proxy.seen)
    assert [seen.headers["proxy-authorization"] for seen in proxy.seen] == [LOGIN, LOGIN]
    assert proxy.connections == 2  # a payout has one of its own


async def test_accounts_of_a_fleet_have_proxies_of_their_own() -> None:
    """Accounts share connections, not proxies."""
    script: dict[str, Any] = {"get_info": lambda _: http(200, INFO)}
    async with RawServer(script=script) as proxy, RawServer() as site:
        accounts = [
            Account(site.url, KEY, name="through", proxy=_proxy_of(proxy)),
            Account(site.url, KEY, name="straight"),
        ]
        async with Fleet(accounts) as fleet:
            await fleet.get_info()
    assert (len(proxy.seen), len(site.seen)) == (1, 1)
    assert "proxy-authorization" not in site.seen[0].headers


@pytest.mark.parametrize("status", [407, 502])
async def test_promise_4_a_refused_tunnel_shows_no_password_and_got_no_key(status: int) -> None:
    """The proxy is asked for host and port only; its refusal means that nothing was sent."""
    async with RawServer() as proxy:
        proxy.on_bytes = http(status, PASSWORD)
        account = Account("https://site.invalid", KEY, proxy=_proxy_of(proxy))
        async with Session(account, retry=ONCE) as session:
            with pytest.raises(TransportError) as read:
                await session.get_info()
            with pytest.raises(PayoutNotSent) as paid:
                await session.add_payout(11, "w")
    assert f"the proxy refuses ({status}" in str(read.value)
    assert all(b"CONNECT site.invalid:443 " in head for head in proxy.heads)
    assert all(KEY.encode() not in head for head in proxy.heads)
    assert all(LOGIN.encode() in head for head in proxy.heads)
    for error in (read.value, paid.value):
        assert not any(text in _frames(error) for text in (PASSWORD, LOGIN, KEY))


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_proxy_that_is_not_there_means_that_nothing_was_sent(scheme: str) -> None:
    """Nobody listens at the proxy's port."""
    async with RawServer() as proxy:
        proxy.refuse()
        account = Account("https://site.invalid", KEY, proxy=_proxy_of(proxy, scheme))
        async with Session(account, retry=ONCE) as session:
            with pytest.raises(PayoutNotSent) as caught:
                await session.add_payout(11, "w")
    assert not any(text in _frames(caught.value) for text in (PASSWORD, LOGIN, KEY))


async def test_a_socks_proxy_gets_the_login_and_the_host() -> None:
    """SOCKS5 with user and password; a refusal of the login tells no password."""
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read(64))
        writer.write(b"\x05\x02")
        got.append(await reader.read(256))
        writer.write(b"\x01\x01")  # no
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        proxy = f"socks5://user:{PASSWORD}@127.0.0.1:{port}"
        async with Session(Account("https://site.invalid", KEY, proxy=proxy), retry=ONCE) as one:
            with pytest.raises(TransportError) as caught:
                await one.get_info()
    assert PASSWORD.encode() in got[1]
    assert not any(text in _frames(caught.value) for text in (PASSWORD, KEY))
    assert caught.value.sent is False


async def test_socks_without_the_extra_is_refused_when_the_session_opens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The message names what to install, and no frame holds the password."""
    monkeypatch.setitem(sys.modules, "aiohttp_socks", None)
    account = Account("https://site.invalid", KEY, proxy=f"socks5://user:{PASSWORD}@127.0.0.1:1")
    with pytest.raises(ValueError, match=r"ppapi-async\[socks\]") as caught:
        Session(account)._connection.open()
    assert PASSWORD not in _frames(caught.value)


@pytest.mark.parametrize("options", [{"proxy": "http://127.0.0.1:9"}, {"trust_env": True}], ids=str)
async def test_a_lent_session_with_a_proxy_is_refused(options: dict[str, Any]) -> None:
    """Only its connector would be used: its proxy would be bypassed in silence."""
    async with aiohttp.ClientSession(**options) as lender:
        with pytest.raises(ValueError, match=r"Account\(proxy="):
            async with Session("https://site.invalid", KEY, http=lender):
                pass
        with pytest.raises(ValueError, match=r"Account\(proxy="):
            async with Fleet([Account("https://site.invalid", KEY)], http=lender):
                pass


def test_one_session_object_works_in_one_loop_after_another() -> None:
    """Opened, used and closed in three runs; the last two connect anew."""

    async def use(session: Session) -> None:
        async with RawServer() as site:
            session._connection.account = Account(site.url, KEY)
            async with session:
                await session.get_info()

    session = Session("http://127.0.0.1:1", KEY)
    for _ in range(3):
        asyncio.run(use(session))


@pytest.mark.parametrize("kind", ["session", "fleet"])
def test_locks_that_were_waited_for_work_in_the_next_loop(kind: str) -> None:
    """A lock belongs to the loop in which it was first waited for; the next opening has its own."""

    async def hold(lock: asyncio.Lock) -> None:
        async with lock:
            await asyncio.sleep(0)

    async def use(one: Session | Fleet) -> None:
        async with one:
            session = one.session("site.invalid") if isinstance(one, Fleet) else one
            await asyncio.gather(
                *(hold(session._connection.transport.decoding.lock) for _ in range(3))
            )

    account = Account("https://site.invalid", KEY)
    one = Session(account) if kind == "session" else Fleet([account])
    for _ in range(3):
        asyncio.run(use(one))

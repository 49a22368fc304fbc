"""What an error says of a connection that failed: what happened, and what to do."""

from __future__ import annotations

import errno
import socket
import ssl
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from ppapi_async import Retry, Session, TransportError
from ppapi_async.transport.body import CutShortError
from ppapi_async.transport.failures import describe
from tests.sites.raw import KEY, End, RawServer, Reply

AT = ConnectionKey("site.test", 443, True, True, None, None, None)


def _invalid(message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = message
    return error


def _tls(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] …")
    error.reason = reason
    return error


_REQUEST = SimpleNamespace(real_url="https://site.test")
CASES: dict[str, tuple[Exception, str]] = {
    "refused": (
        aiohttp.ClientConnectorError(
            AT, ConnectionRefusedError(errno.ECONNREFUSED, "x ('::1', 1)")
        ),
        "cannot connect (Connection refused); check the url, or the site is down",
    ),
    "several addresses": (
        aiohttp.ClientConnectorError(AT, OSError("Multiple exceptions: one, two")),
        "cannot connect (Multiple exceptions: one, two); check the url, or the site is down",
    ),
    "nothing said": (
        aiohttp.ClientConnectorError(AT, OSError()),
        "cannot connect (OSError); check the url, or the site is down",
    ),
    "name": (
        aiohttp.ClientConnectorDNSError(AT, socket.gaierror(-2, "Name or service not known")),
        (
            "DNS does not know the host (Name or service not known); check the url, and whether you"
            " are online"
        ),
    ),
    "certificate": (
        aiohttp.ClientConnectorCertificateError(AT, _invalid("certificate has expired")),
        (
            "the site's certificate is not valid (certificate has expired), so nothing was sent;"
            " check the url and this machine's clock, else the site has to mend it"
        ),
    ),
    "no https": (
        aiohttp.ClientConnectorSSLError(AT, _tls("WRONG_VERSION_NUMBER")),
        "the site does not speak https at this port; check the url",
    ),
    "another TLS failure": (
        aiohttp.ClientConnectorSSLError(AT, _tls("TLSV1_ALERT_INTERNAL_ERROR")),
        "no TLS connection (TLSV1_ALERT_INTERNAL_ERROR); check the url, or ask the site",
    ),
    "TLS without a reason": (
        aiohttp.ClientConnectorSSLError(AT, OSError("odd")),
        "no TLS connection (odd); check the url, or ask the site",
    ),
    "proxy unreachable": (
        aiohttp.ClientProxyConnectionError(AT, OSError(errno.ECONNREFUSED, "refused")),
        "cannot connect to the proxy (Connection refused); check proxy= of the account",
    ),
    "proxy refuses": (
        aiohttp.ClientHttpProxyError(_REQUEST, (), status=407, message="Auth"),  # type: ignore[arg-type]
        "the proxy refuses (407 Auth); check proxy= of the account",
    ),
    "no HTTP": (
        aiohttp.ClientResponseError(_REQUEST, (), status=400, message="Bad status line"),  # type: ignore[arg-type]
        (
            "the answer is no HTTP (Bad status line); check the url, or something between here and"
            " the site is broken"
        ),
    ),
    "no answer": (
        aiohttp.ServerDisconnectedError(),
        (
            "the connection was closed before an answer came; the site may be restarting: try again"
            " later"
        ),
    ),
    "reset": (
        aiohttp.ClientOSError(errno.ECONNRESET, "whatever"),
        (
            "the connection broke (Connection reset by peer); the site may be restarting: try again"
            " later"
        ),
    ),
    "cut without a cause": (
        aiohttp.ClientPayloadError("not all"),
        "the answer was cut short (not all); the site may be restarting: try again later",
    ),
    "packed": (
        CutShortError("the body is compressed with br", "ask the site"),
        "the body is compressed with br; ask the site",
    ),
    "unpacked": (
        CutShortError("the gzip body is cut short"),
        "the gzip body is cut short; the site may be restarting: try again later",
    ),
    "unheard of": (
        aiohttp.ClientError("odd"),
        "ClientError: odd; the site may be restarting: try again later",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_failure_says_what_happened_and_what_to_do(case: str) -> None:
    """In words, without the host, which errors name already as their account."""
    error, expected = CASES[case]
    said = "; ".join(describe(error, str))
    assert said == expected
    assert "site.test" not in said


async def test_a_refused_connection_names_the_account_once() -> None:
    """Its name is the host's; aiohttp's own text would name it once more."""
    async with RawServer() as server:
        server.refuse()
        async with Session(server.url, KEY, retry=Retry(attempts=1)) as session:
            with pytest.raises(TransportError) as caught:
                await session.get_info()
        name = session.account.name
    assert str(caught.value) == (
        f"{name}: get_info: cannot connect (Connection refused); check the url, or the site is down"
    )


async def test_an_answer_that_is_cut_says_how_much_came() -> None:
    """As aiohttp counts it, which earlier ones do not."""
    cut = Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{", End.CLOSE)
    async with RawServer(on_bytes=cut) as server:
        async with Session(server.url, KEY, retry=Retry(attempts=1)) as session:
            with pytest.raises(
                TransportError,
                match=r"cut short \((.*1 of 1000 bytes.*|Not enough data.*)\); the site",
            ):
                await session.get_info()

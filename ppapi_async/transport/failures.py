"""What aiohttp raises, in words that say what to do. Pure.

The name of the site stands before these words already, so they do without it where they can.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable

import aiohttp

from ppapi_async.transport.body import CutShortError

__all__ = ["UNSENT", "describe"]

UNSENT: tuple[type[Exception], ...] = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ServerFingerprintMismatch,
    UnicodeError,
)
"""What comes before a request is sent."""
_NO_COMMON_VERSION = frozenset(
    {
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "UNSUPPORTED_PROTOCOL",
        "UNSUPPORTED_SSL_VERSION",
        "NO_PROTOCOLS_AVAILABLE",
    }
)
"""What OpenSSL calls it: by the server's alert, or by its answer."""
_LATER = "the site may be restarting: try again later"
_PROXY = "check proxy= of the account"


def describe(error: Exception, clip: Callable[[str], str]) -> tuple[str, str]:
    """Return what happened and what to do; `clip` makes text of others fit to be shown."""
    cause = getattr(error, "os_error", error)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        said = clip(f"{error.status} {error.message}")
        return f"the proxy refuses ({said})", _PROXY
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"cannot connect to the proxy ({clip(_said(cause))})", _PROXY
    if isinstance(cause, ssl.SSLError) or isinstance(error, aiohttp.ClientSSLError):
        return _of_tls(error, cause, clip)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        advice = "check the url, and whether you are online"
        return f"DNS does not know the host ({clip(_said(cause))})", advice
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect ({clip(_said(cause))})", "check the url, or the site is down"
    return _of_answer(error, clip)


def _of_answer(error: Exception, clip: Callable[[str], str]) -> tuple[str, str]:
    """Return the same of what went wrong on an open connection."""
    if isinstance(error, aiohttp.ClientResponseError):
        advice = "check the url, or something between here and the site is broken"
        return f"the answer is no HTTP ({clip(error.message)})", advice
    if isinstance(error, aiohttp.ClientPayloadError):
        cause = error.__cause__
        said = getattr(cause, "message", "") or str(cause or error)
        return f"the answer was cut short ({clip(said)})", _LATER
    if isinstance(error, CutShortError):
        return clip(error.args[0]), error.args[1] if error.args[1:] else _LATER
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection was closed before an answer came", _LATER
    if isinstance(error, OSError):
        return f"the connection broke ({clip(_said(error))})", _LATER
    return clip(f"{type(error).__name__}: {error}"), _LATER


def _said(error: object) -> str:
    """Return what the system says, without addresses where it has words of its own."""
    number = getattr(error, "errno", None)
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror) and number:
        return os.strerror(number)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _of_tls(error: Exception, cause: object, clip: Callable[[str], str]) -> tuple[str, str]:
    reason = getattr(cause, "reason", None)
    if reason in _NO_COMMON_VERSION:
        what = f"no version of TLS in common ({reason}): the server speaks only TLS 1.0, 1.1 or SSL"
        return (
            f"{what}, or refuses what is offered",
            "this client offers TLS 1.2 and newer, unless a connector that was lent says otherwise",
        )
    invalid = getattr(error, "certificate_error", cause)
    if isinstance(invalid, ssl.SSLCertVerificationError):
        said = clip(invalid.verify_message)
        return (
            f"the site's certificate is not valid ({said}), so nothing was sent",
            "check the url and this machine's clock, else the site has to mend it",
        )
    if reason == "WRONG_VERSION_NUMBER":
        return "the site does not speak https at this port", "check the url"
    return f"no TLS connection ({clip(reason or str(cause))})", "check the url, or ask the site"

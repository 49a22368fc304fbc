"""Posts changes to a server, signed as Standard Webhooks says (standardwebhooks.com)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from ipaddress import ip_address
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from ppapi_async.cli.exits import CommandFailed, Exit
from ppapi_async.cli.output import plain
from ppapi_async.cli.watching.delivery import Parcel, Problem, Recipient
from ppapi_async.secret import Secret
from ppapi_async.transport.hooks import Hooks
from ppapi_async.version import __version__

__all__ = ["Webhook", "secret_of", "signature", "webhook_url"]

_PREFIX = "whsec_"
_SHORTEST_SECRET = 16
_ASKED_TO_WAIT = frozenset({408, 425, 429})


def webhook_url(text: str, *, allow_http: bool) -> URL:
    """Return the url of a webhook.

    Raises:
        CommandFailed: it is none, or what is sent there could be read on the way.
    """
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise CommandFailed("--webhook: pass a url such as https://bot.example/ppapi", Exit.USAGE)
    if url.scheme == "http" and not allow_http and not _is_loopback(url.host):
        raise CommandFailed(
            "--webhook: use https, or allow others on the way to read it with --allow-http",
            Exit.USAGE,
        )
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def secret_of(text: str) -> Secret:
    """Return the bytes that sign, in base64: those behind `whsec_`, or those of the text itself.

    Raises:
        CommandFailed: it is too short, or no base64 behind `whsec_`.
    """
    problem = ""
    try:
        text = text.strip()
        key = (
            base64.b64decode(text.removeprefix(_PREFIX), validate=True)
            if text.startswith(_PREFIX)
            else text.encode()
        )
        if len(key) < _SHORTEST_SECRET:
            problem = f"has fewer than {_SHORTEST_SECRET} bytes: anybody could guess it"
    except (binascii.Error, UnicodeEncodeError):
        problem = f"is no base64 behind {_PREFIX}"
    if problem:
        text, key = "", b""  # not in a traceback
        raise CommandFailed(f"the webhook's secret {problem}", Exit.USAGE)
    return Secret(base64.b64encode(key).decode())


def signature(secret: Secret, parcel: Parcel, timestamp: int) -> str:
    """Return what proves that a parcel is from who has the secret, and when it was sent."""
    signed = f"{parcel.id}.{timestamp}.".encode() + parcel.body
    made = hmac.new(base64.b64decode(secret.reveal()), signed, hashlib.sha256)
    return f"v1,{base64.b64encode(made.digest()).decode()}"


class Webhook(Recipient):
    """A server that takes changes.

    Args:
        url: where to, by `webhook_url`.
        secret: what signs, by `secret_of`.
        seconds: how long an answer may take.
        hooks: the clock.
    """

    def __init__(self, url: URL, secret: Secret, *, seconds: float, hooks: Hooks) -> None:
        self._url, self._secret, self._seconds, self._hooks = url, secret, seconds, hooks
        # Path and query may hold a token.
        self.name = f"webhook {plain(str(url.host))}"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._seconds),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def take(self, parcel: Parcel) -> Problem | None:
        """Post a change, once; None: the server has taken it."""
        timestamp = int(self._hooks.clock())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"ppapi-async/{__version__}",
            "webhook-id": parcel.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._secret, parcel, timestamp),
        }
        try:
            async with self._session.post(
                self._url, data=parcel.body, headers=headers, allow_redirects=False
            ) as answer:
                return _judge(answer)
        except TimeoutError:
            return Problem(f"no answer within {self._seconds:g} s")
        except (aiohttp.ClientError, OSError) as error:
            # Its text has the whole url.
            return Problem(f"could not be reached ({type(error).__name__})")


def _judge(answer: aiohttp.ClientResponse) -> Problem | None:
    status = answer.status
    if 200 <= status < 300:
        return None
    if status >= 500 or status in _ASKED_TO_WAIT:
        asked = answer.headers.get("Retry-After", "")
        wait = float(asked) if asked.isascii() and asked.isdigit() and len(asked) < 6 else 0.0
        return Problem(f"answered {status}", wait=wait)
    if 300 <= status < 400:
        return Problem(f"answered {status}, and redirects are not followed", may_pass=False)
    return Problem(f"answered {status}, which is final", may_pass=False)

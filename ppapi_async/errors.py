"""Everything the library raises for the outside world, as one tree.

Misuse (a wrong argument) is a plain `ValueError` or `TypeError`; every other failure is a
`PPAPIError`. Errors carry data, survive pickling, and never hold a key: whoever builds one passes
text that has been through `Account.redact`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from ppapi_async.models import PayoutAttempt

__all__ = [
    "ApiDisabledError",
    "ApiError",
    "AuthError",
    "BlockedError",
    "DecodeError",
    "IncompleteError",
    "MethodNotSupportedError",
    "PPAPIError",
    "PayoutNotSent",
    "PayoutOutcomeUnknown",
    "PayoutRejected",
    "RateLimitedError",
    "RedirectError",
    "RequestTimeoutError",
    "ResponseError",
    "ResponseTooLargeError",
    "ServerError",
    "StateError",
    "TransportError",
]


class PPAPIError(Exception):
    """The root of all that goes wrong outside: catch this to catch everything.

    Attributes:
        message: what happened and what to do, without account and method.
        account: the name of the account, `""` where none is involved.
        method: the API method, `""` where none is involved.
    """

    def __init__(self, message: str = "", *, account: str = "", method: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.account = account
        self.method = method

    def __str__(self) -> str:
        return ": ".join(part for part in (self.account, self.method, self.message) if part)


class TransportError(PPAPIError):
    """No usable answer: DNS, connection refused or reset, TLS, an answer cut short.

    Attributes:
        sent: False where it is certain that no byte of the request left this machine.
    """

    def __init__(
        self, message: str = "", *, account: str = "", method: str = "", sent: bool = True
    ) -> None:
        super().__init__(message, account=account, method=method)
        self.sent = sent


class RequestTimeoutError(TransportError, TimeoutError):
    """No whole answer within the time-out."""


class ResponseError(PPAPIError):
    """An answer that is not the API's: a web page, an error of the web server, a cut JSON.

    Attributes:
        status: the HTTP status.
        headers: the few headers that help to tell who answered; the key is redacted.
        excerpt: the beginning of the body, the key redacted.
        retry_after: seconds that the server asks to wait, a day at the most; None where it does
            not say.
    """

    def __init__(
        self,
        message: str = "",
        *,
        account: str = "",
        method: str = "",
        status: int = 0,
        headers: Mapping[str, str] | None = None,
        excerpt: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, account=account, method=method)
        self.status = status
        self.headers = dict(headers or {})
        self.excerpt = excerpt
        self.retry_after = retry_after

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text} [HTTP {self.status}: {self.excerpt}]" if self.excerpt else text


class RedirectError(ResponseError):
    """The site redirects. Not followed: it would send the key elsewhere and drop the filters."""

    @property
    def location(self) -> str:
        """Where the site points, without the query."""
        return self.headers.get("Location", "")


class BlockedError(ResponseError):
    """A challenge or geo-blocking page stands before the API."""


class RateLimitedError(ResponseError):
    """HTTP 429: too many requests."""


class ServerError(ResponseError):
    """HTTP 5xx, or PHP's fatal error with status 200."""


class ResponseTooLargeError(ResponseError):
    """The answer is larger than the limit, on the wire or decompressed; reading was stopped."""


class DecodeError(PPAPIError):
    """The API's answer, but not what it should be. No row is dropped to get around it.

    Attributes:
        problems: `(path, value)` of each problem, e.g. `("items[3](id=1895).amount_give", "'x'")`.
    """

    def __init__(
        self,
        message: str = "",
        *,
        account: str = "",
        method: str = "",
        problems: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message, account=account, method=method)
        self.problems = tuple(problems)


class ApiError(PPAPIError):
    """The API said no.

    Attributes:
        code: the envelope's `error`, or the HTTP status where that is the whole answer.
        text: the envelope's `error_text`, in the site's language.
    """

    def __init__(
        self,
        message: str = "",
        *,
        account: str = "",
        method: str = "",
        code: int = 0,
        text: str = "",
    ) -> None:
        super().__init__(message, account=account, method=method)
        self.code = code
        self.text = text


class AuthError(ApiError):
    """The key is wrong, revoked, or this address is not on its list."""


class ApiDisabledError(ApiError):
    """`Api disabled`: the module is off or in maintenance; on 2.7 also a wrong key."""


class MethodNotSupportedError(ApiError):
    """The site does not have this method, or has not enabled it for this key."""


class PayoutRejected(ApiError):  # noqa: N818 - an outcome of a payout, named as the contract does
    """The API refused the payout; nothing was ordered.

    Attributes:
        reason: one of `method`, `currency`, `account`, `balance`, `blacklist`, `programme`,
            `other`. Where texts do not tell two reasons apart, the likelier one.
    """

    def __init__(
        self,
        message: str = "",
        *,
        account: str = "",
        method: str = "",
        code: int = 0,
        text: str = "",
        reason: str = "other",
    ) -> None:
        super().__init__(message, account=account, method=method, code=code, text=text)
        self.reason = reason


class PayoutNotSent(PPAPIError):  # noqa: N818 - an outcome of a payout
    """Certain: this call sent no payout request. It is safe to ask again, but for `unsettled`.

    Attributes:
        reason: `guard`: the balance lies outside the limits, or could not be read; `connection`:
            the site was not reached; `place`: the API was not found, so nothing was sent to it;
            `closed`: the session, or what was lent to it, is closed; `unsettled`: another payout of
            this account is under way, or it is not known what became of it.
        attempt: with `unsettled`, the other payout if it was sent: pass it to
            `Session.find_payout`.
    """

    def __init__(
        self,
        message: str = "",
        *,
        account: str = "",
        method: str = "",
        reason: str = "connection",
        attempt: PayoutAttempt | None = None,
    ) -> None:
        super().__init__(message, account=account, method=method)
        self.reason = reason
        self.attempt = attempt


class PayoutOutcomeUnknown(PPAPIError):  # noqa: N818 - an outcome of a payout
    """The request may or may not have been carried out. Do not repeat it: see `find_payout`.

    Attributes:
        attempt: what was sent and when; pass it to `Session.find_payout`.
    """

    def __init__(
        self,
        message: str = "",
        *,
        account: str = "",
        method: str = "",
        attempt: PayoutAttempt | None = None,
    ) -> None:
        super().__init__(message, account=account, method=method)
        self.attempt = attempt


class IncompleteError(PPAPIError):
    """The rows of some seconds could not be proven complete.

    Attributes:
        spans: the unproven spans as `(first, last)` instants, both inclusive, in UTC; None is an
            open end.
    """

    def __init__(
        self,
        message: str = "",
        *,
        account: str = "",
        method: str = "",
        spans: Sequence[tuple[datetime | None, datetime | None]] = (),
    ) -> None:
        super().__init__(message, account=account, method=method)
        self.spans = tuple(spans)


class StateError(PPAPIError):
    """The store of a watch's state, or the database of a mirror, could not be read or written.

    Attributes:
        may_pass: False where to try again does not help: what is there is something else, a later
            version has made it, or this process may not use it.
    """

    def __init__(
        self, message: str = "", *, account: str = "", method: str = "", may_pass: bool = True
    ) -> None:
        super().__init__(message, account=account, method=method)
        self.may_pass = may_pass

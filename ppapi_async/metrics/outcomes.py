"""What a request came to, in few words: a label that has few values. Pure."""

from __future__ import annotations

from enum import StrEnum

from ppapi_async import errors

__all__ = ["ADVISED_BUCKETS", "RequestOutcome", "outcome_of"]

ADVISED_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds: what the semantic conventions advise for the durations of HTTP requests."""


class RequestOutcome(StrEnum):
    """What a request came to."""

    OK = "ok"
    NO_ANSWER = "no_answer"
    """No usable answer: DNS, refused, reset, a timeout."""
    RATE_LIMITED = "rate_limited"
    """The site, or what stands before it, asks for fewer requests."""
    BLOCKED = "blocked"
    """A challenge, or a page that says this address may not."""
    BAD_ANSWER = "bad_answer"
    """An answer that is not the API's: a server error, a redirect, a page."""
    UNREADABLE = "unreadable"
    """The API's answer, but not what it should be."""
    REFUSED = "refused"
    """The API said no: the key, the method, a payout."""
    FAILED = "failed"
    """Anything else."""


_OUTCOMES: tuple[tuple[type[errors.PPAPIError], RequestOutcome], ...] = (
    (errors.TransportError, RequestOutcome.NO_ANSWER),
    (errors.RateLimitedError, RequestOutcome.RATE_LIMITED),
    (errors.BlockedError, RequestOutcome.BLOCKED),
    (errors.ResponseError, RequestOutcome.BAD_ANSWER),
    (errors.DecodeError, RequestOutcome.UNREADABLE),
    (errors.ApiError, RequestOutcome.REFUSED),
)
"""The first that fits counts."""


def outcome_of(error: str | None) -> RequestOutcome:
    """Return what a request came to.

    Args:
        error: the name of the error's class, as `RequestFacts.error` has it; None: none.
    """
    if error is None:
        return RequestOutcome.OK
    kind: object = getattr(errors, error, None)
    for known, outcome in _OUTCOMES:
        if isinstance(kind, type) and issubclass(kind, known):
            return outcome
    return RequestOutcome.FAILED

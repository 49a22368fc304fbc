"""What went wrong with accounts: a word for a table, and below it what happened and what to do."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ppapi_async.cli.output import note, plain

if TYPE_CHECKING:
    from ppapi_async.errors import PPAPIError

__all__ = ["for_users", "state_of", "tell_failures", "words_of"]

_NAMES = 3
"""Accounts that are named where many have one trouble."""

_FOR_PROGRAMS = (", or raise largest_answer", ", or pass a longer timeout=")
"""Advice of the library that the command line has no option for."""


def state_of(error: PPAPIError | None) -> str:
    """Return what a table says of an account; "ok" without an error."""
    from ppapi_async import errors

    if error is None:
        return "ok"
    words: tuple[tuple[type[PPAPIError], str], ...] = (
        (errors.AuthError, "key refused"),
        (errors.ApiDisabledError, "API is off"),
        (errors.MethodNotSupportedError, "not enabled"),
        (errors.RequestTimeoutError, "timed out"),
        (errors.TransportError, "no answer"),
        (errors.RedirectError, "redirects"),
        (errors.BlockedError, "blocked"),
        (errors.RateLimitedError, "asked too often"),
        (errors.ServerError, "site is broken"),
        (errors.ResponseError, "no API there"),
        (errors.DecodeError, "unreadable"),
        (errors.IncompleteError, "incomplete"),
        (errors.StateError, "database"),
    )
    return next((text for kind, text in words if isinstance(error, kind)), "failed")


def for_users(text: str) -> str:
    """Return what an error says, without advice that only a program can follow."""
    for advice in _FOR_PROGRAMS:
        text = text.replace(advice, "")
    return text


def words_of(error: PPAPIError) -> str:
    """Return what happened and what to do, without the account."""
    text = for_users(str(error))
    return plain(text.removeprefix(f"{error.account}: ") if error.account else text)


def tell_failures(errors: Mapping[str, PPAPIError]) -> None:
    """Tell on stderr what went wrong with which accounts; what is one trouble is told once.

    Args:
        errors: by the names of the accounts.
    """
    from ppapi_async.errors import StateError

    found: dict[str, list[str]] = {}
    for name, error in errors.items():
        found.setdefault(words_of(error), []).append(name)
    for text, names in found.items():
        shown = ", ".join(map(plain, names[:_NAMES]))
        more = f" and {len(names) - _NAMES:,} more" if len(names) > _NAMES else ""
        note(f"{shown}{more}: {text}")
    sites = [name for name, error in errors.items() if not isinstance(error, StateError)]
    if sites:
        few = " ".join(shlex.quote(plain(one)) for one in sites) if len(sites) <= _NAMES else "NAME"
        note(f"a closer look: ppapi doctor {few}")

"""Which accounts a command is about: where the accounts file is, and who is in it."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
import platformdirs

from ppapi_async.cli.exits import CommandFailed, Exit
from ppapi_async.cli.output import note, plain, quoted

if TYPE_CHECKING:
    from ppapi_async.account import Account
    from ppapi_async.accounts_file import AccountEntry

__all__ = ["accounts_path", "check_known", "choose", "inspect", "load", "names_in_file"]

T = TypeVar("T")


def accounts_path(given: str | None) -> Path:
    """Return the path of the accounts file: the one that is given, or the platform's place."""
    if given:
        return Path(given).expanduser()
    return platformdirs.user_config_path("ppapi", appauthor=False) / "accounts.toml"


def load(given: str | None) -> list[Account]:
    """Return the accounts of the file.

    Args:
        given: its path, as the user said it; None: the platform's place.

    Raises:
        CommandFailed: there is none, or something is wrong in it.
    """
    from ppapi_async.accounts_file import load_accounts

    return _read(given, load_accounts)


def inspect(given: str | None) -> list[AccountEntry]:
    """Return what the file says of accounts; no key is fetched.

    Args:
        given: its path, as the user said it; None: the platform's place.

    Raises:
        CommandFailed: there is none, or something is wrong in it.
    """
    from ppapi_async.accounts_file import inspect_accounts

    return _read(given, inspect_accounts)


def names_in_file(given: str | None) -> frozenset[str] | None:
    """Return the names of the accounts of the file; None where none was given and none is there.

    Args:
        given: its path, as the user said it; None: the platform's place.

    Raises:
        CommandFailed: the one that was given is not there, or something is wrong in it.
    """
    if not given and not accounts_path(given).exists():
        return None
    return frozenset(entry.account.name for entry in inspect(given))


def _read(given: str | None, reading: Callable[[Path], list[T]]) -> list[T]:
    path = accounts_path(given)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = reading(path)
        except FileNotFoundError:
            raise CommandFailed(
                f"there is no accounts file {plain(str(path))}; 'ppapi init' writes one, --accounts"
                " FILE or PPAPI_ACCOUNTS name another",
                Exit.USAGE,
            ) from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise CommandFailed(f"{plain(str(path))}: {reason}", Exit.USAGE) from None
        except ValueError as error:
            raise CommandFailed(str(error), Exit.USAGE) from None
    for warning in caught:
        note(f"warning: {warning.message}")
    return found


def choose(accounts: Sequence[Account], names: Sequence[str]) -> list[Account]:
    """Return the accounts of these names, in the order of the file; all without any.

    Raises:
        click.UsageError: there is none of a name; a similar one is suggested.
    """
    check_known([account.name for account in accounts], names)
    return [account for account in accounts if not names or account.name in names]


def check_known(known: Iterable[str], names: Sequence[str], *, place: str = "") -> None:
    """Refuse names that no account has.

    Args:
        known: the names that there are.
        names: those that were given.
        place: where they are looked for, such as " in the copy"; "" is the accounts file.

    Raises:
        click.UsageError: there is none of a name; a similar one is suggested.
    """
    there = list(known)
    for name in names:
        if name not in there:
            near = difflib.get_close_matches(name, there, n=1, cutoff=0.5)
            if near:
                hint = f"; did you mean {near[0]!r}?"
            else:
                hint = "" if place else "; 'ppapi list' shows them"
            raise click.UsageError(f"there is no account {quoted(name)}{place}{hint}")

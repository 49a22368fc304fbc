"""Changes an accounts file: what else stands in it stays as it is, byte for byte.

A change is made under a lock, checked by reading what would be the file, and then put in place of
the file as a whole: whoever reads it meanwhile sees the one or the other.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import tomlkit
from attrs import frozen
from tomlkit.items import Array, Table

from ppapi_async.account import Account, Secret
from ppapi_async.accounts_file import AccountEntry, inspect_accounts, statements_of
from ppapi_async.cli.exits import CommandFailed, Exit
from ppapi_async.cli.output import note, plain
from ppapi_async.files import exposed, read

__all__ = ["NewAccount", "append", "create", "remove", "there_already"]

_Change: TypeAlias = Callable[[str, Sequence[AccountEntry]], str]
"""From a file's text, and the accounts in it, to the text that it will have."""

_LARGEST = 4 * 1024 * 1024
_HEAD = """\
# The accounts of ppapi. Whoever has a key can request payouts: keep this file to yourself.
# 'ppapi add' and 'ppapi remove' change it, and so may you; 'ppapi doctor' tries it.

"""


@frozen
class NewAccount:
    """An account that is to be put into a file."""

    account: Account
    """With its key, or with a stand-in where the key is kept elsewhere."""
    source: str
    """Where the key is: api_key, key_env, key_file or key_command."""
    value: Secret
    """What the source says: the key itself, a variable, a path or a command."""
    has_zone: bool
    """Whether its zone was said; else it is that of the file's defaults, or UTC."""


def create(path: Path, accounts: Sequence[NewAccount]) -> None:
    """Write a first accounts file, which only this user can read.

    Raises:
        CommandFailed: there is something at its path, it cannot be written, or would be wrong.
    """
    text = _HEAD + "\n".join(_block(one) for one in accounts)
    with _failures_told(path):
        inspect_accounts(path, text.encode())
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(path.parent), _draft(path, text) as draft:
            try:
                os.link(draft, path)  # which replaces nothing, as a rename would
            except OSError:  # it is there, or the file system has no links
                if os.path.lexists(path):
                    raise there_already(path) from None
                draft.rename(path)


def there_already(path: Path) -> CommandFailed:
    """Return what is said of a file that is not to be replaced."""
    return CommandFailed(
        f"{plain(str(path))} is there already; 'ppapi add' adds an account to it", Exit.USAGE
    )


def append(path: Path, accounts: Sequence[NewAccount]) -> None:
    """Add accounts at the end of a file.

    Raises:
        CommandFailed: the file is wrong, cannot be written, or would be wrong.
    """

    def changed(text: str, _: Sequence[AccountEntry]) -> str:
        document = tomlkit.parse(text)
        if isinstance(rows := document["accounts"], Array):
            for one in accounts:
                inline = tomlkit.inline_table()
                inline.update(_table(one))
                rows.append(inline)
            return tomlkit.dumps(document)
        line_end = "\r\n" if "\r\n" in text else "\n"
        added = "\n".join(_block(one) for one in accounts).replace("\n", line_end)
        return f"{text}{'' if text.endswith(chr(10)) else line_end}{line_end}{added}"

    _change(path, changed)


def remove(path: Path, names: Collection[str]) -> None:
    """Take accounts out of a file, each with the comment right above it.

    Raises:
        CommandFailed: the file is wrong, lacks one of them, cannot be written, or would be empty.
    """

    def changed(text: str, entries: Sequence[AccountEntry]) -> str:
        known = [entry.account.name for entry in entries]
        if missing := [name for name in names if name not in known]:
            raise CommandFailed(f"somebody else has removed {plain(missing[0])!r}; try again")
        numbers = [at for at, name in enumerate(known) if name in names]
        if len(numbers) == len(known):
            raise CommandFailed(
                "an accounts file has one account at least; to have none, delete"
                f" {plain(str(path))}",
                Exit.USAGE,
            )
        document = tomlkit.parse(text)
        if isinstance(rows := document["accounts"], Array):
            for at in reversed(numbers):
                del rows[at]
            return tomlkit.dumps(document)
        return _without(text, numbers)

    _change(path, changed)


def _change(path: Path, change: _Change) -> None:
    with _failures_told(path):
        target = Path(os.path.realpath(path))  # a link stays one
        with _locked(target.parent):
            before, status = read(target, _LARGEST)
            mark = "\ufeff" if before.startswith(b"\xef\xbb\xbf") else ""
            entries = inspect_accounts(path, before)
            text = mark + change(before.decode("utf-8-sig"), entries)
            inspect_accounts(path, text.encode())
            _check_rest(path, before.decode("utf-8-sig"), text.removeprefix(mark))
            with _draft(target, text) as draft:
                if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                    os.chown(draft, status.st_uid, status.st_gid)
                draft.chmod(status.st_mode & 0o7777)
                if read(target, _LARGEST)[0] != before:  # an editor knows no lock
                    raise CommandFailed("the file was changed meanwhile; try again")
                draft.replace(target)
        for warning in exposed(str(path), status, holds_key=any(one.has_key for one in entries)):
            note(f"warning: {warning}")


def _check_rest(path: Path, before: str, after: str) -> None:
    """Look whether all else says what it said.

    Raises:
        CommandFailed: it does not.
    """
    old, new = tomlkit.parse(before).unwrap(), tomlkit.parse(after).unwrap()
    fewer, more = sorted((old.pop("accounts"), new.pop("accounts")), key=len)
    if old != new or fewer != [row for row in more if row in fewer]:
        raise CommandFailed(f"{plain(str(path))} is written in a way of its own; change it by hand")


# --- texts


def _table(one: NewAccount) -> Table:
    """Return the fields of an account; what `Account` finds by itself is left out."""
    account, table = one.account, tomlkit.table()
    table["url"] = account.url
    if account.name != Account(account.url, "key", allow_http=True).name:
        table["name"] = account.name
    if one.source == "key_command":
        table[one.source] = shlex.split(one.value.reveal())
    else:
        table[one.source] = one.value.reveal()
    if account.api_login is not None:
        table["api_login"] = account.api_login.reveal()
    if one.has_zone:
        table["timezone"] = account.timezone
    if account.allow_http:
        table["allow_http"] = True
    return table


def _block(one: NewAccount) -> str:
    return f"[[accounts]]\n{_table(one).as_string()}"


def _without(text: str, numbers: Collection[int]) -> str:
    """Return the text without accounts, counted from 0, and the comments right above them."""
    pieces = [piece for _, piece in statements_of(text)]
    is_kept = [True] * len(pieces)
    number, is_inside = -1, False
    for at, piece in enumerate(pieces):
        match piece.lstrip()[:1]:
            case "[":
                is_account = tomlkit.parse(piece).unwrap() == {"accounts": [{}]}
                number += is_account
                is_inside = is_account and number in numbers
                above = at
                while is_inside and above and pieces[above - 1].lstrip().startswith("#"):
                    above -= 1
                above = above or at  # what stands at the very top is about the file
                is_kept[above : at + 1] = [not is_inside] * (at + 1 - above)
            case "" | "#":
                # Not between its fields, nor what parts it from what follows.
                is_kept[at] = not (is_inside and (not piece.strip() or _has_more(pieces[at:])))
            case _:
                is_kept[at] = not is_inside
    kept = "".join(piece for piece, stays in zip(pieces, is_kept, strict=True) if stays)
    return kept.rstrip() + "\n"


def _has_more(pieces: Sequence[str]) -> bool:
    """Tell whether more fields follow before the next table."""
    first = next(
        (piece.lstrip()[:1] for piece in pieces if piece.lstrip()[:1] not in ("", "#")), "["
    )
    return first != "["


# --- files


@contextlib.contextmanager
def _failures_told(path: Path) -> Iterator[None]:
    """Say in the user's words what is wrong with the file.

    Raises:
        CommandFailed: something is.
    """
    try:
        yield
    except FileNotFoundError:
        raise CommandFailed(
            f"there is no accounts file {plain(str(path))}; 'ppapi init' writes one", Exit.USAGE
        ) from None
    except OSError as error:
        raise CommandFailed(
            f"{plain(str(path))}: {error.strerror or error}; nothing was changed"
        ) from None
    except ValueError as error:
        raise CommandFailed(f"{error}\nnothing was changed", Exit.USAGE) from None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Have a folder's files to oneself among those who ask for it like this."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # not every file system has locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _draft(path: Path, text: str) -> Iterator[Path]:
    """Write what is to be a file, beside it; it is gone in the end."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)

"""What payouts were tried, and what became of them: a file that outlives this process.

An attempt is written down, and on the disk, before it is sent. As long as it is not known what
became of it, no other one of the account is written down, and so none is sent: not by this process,
nor by another at the same time, nor after a crash. No key is in it: an account is found again by
one-way fingerprints.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from attrs import frozen

from ppapi_async.account import Account
from ppapi_async.cli.exits import CommandFailed, Exit
from ppapi_async.cli.output import plain
from ppapi_async.errors import StateError
from ppapi_async.models import PayoutAttempt
from ppapi_async.storage.file_kind import LIST_NAMES, READ_APPLICATION, FileKind

__all__ = ["AttemptBusyError", "NotedAttempt", "NotedOutcome", "PayoutJournal"]

_VERSION = 1
_CREATE = (
    """CREATE TABLE attempts (
        id INTEGER PRIMARY KEY,
        account TEXT NOT NULL,
        host TEXT NOT NULL,
        attempt TEXT NOT NULL,
        balance TEXT NOT NULL,
        outcome TEXT,
        payout_id INTEGER,
        settled_at TEXT
    )""",
    "CREATE TABLE owners (attempt INTEGER NOT NULL, fingerprint TEXT NOT NULL)",
    f"PRAGMA application_id = {FileKind.JOURNAL.application}",
    f"PRAGMA user_version = {_VERSION}",
)
_BUSY_SECONDS = 10.0
_READ = (
    "SELECT id, account, host, attempt, balance, outcome, payout_id, settled_at FROM attempts"
    " WHERE outcome IS NULL OR ? ORDER BY id"
)


class NotedOutcome(StrEnum):
    """What became of an attempt."""

    REQUESTED = "requested"
    """The site has the payout."""
    REFUSED = "refused"
    """The site said no."""
    NOT_SENT = "not sent"
    """Nothing reached the site."""
    ABSENT = "absent"
    """The site has none, long after it was sent."""
    FORGOTTEN = "forgotten"
    """The user has looked, and knows."""


class AttemptBusyError(Exception):
    """Another attempt of the account is not settled."""


@frozen
class NotedAttempt:
    """An attempt as it is written down."""

    id: int
    account: str
    """The account's name then."""
    host: str
    attempt: PayoutAttempt
    balance: str
    """What it was asked for, in the site's base currency."""
    outcome: NotedOutcome | None
    """None: not known."""
    payout_id: int | None
    settled_at: datetime | None


class PayoutJournal:
    """The journal of payouts, in a SQLite file that only its owner may read.

    Args:
        path: the file; made if it is not there.

    Raises:
        CommandFailed: it cannot be opened, or a later version has written it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._explained():
            _make_folder(path.parent)
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not path.exists():
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
            # Absolute, for ":memory:" and "file:…" are no files to SQLite.
            self._connection = sqlite3.connect(
                path.absolute(), timeout=_BUSY_SECONDS, isolation_level=None
            )
        with contextlib.ExitStack() as failed, self._explained():
            failed.callback(self._connection.close)
            self._connection.execute("PRAGMA synchronous = EXTRA")  # on the disk, whatever fails
            self._is_empty()  # a look only: what is not ours is not locked either
            with self._transaction():
                for statement in _CREATE if self._is_empty() else ():
                    self._connection.execute(statement)
            failed.pop_all()

    def _is_empty(self) -> bool:
        """Tell whether the tables are still to be made.

        Raises:
            CommandFailed: the file is something else, or a later version has written it.
        """
        ask, path = self._connection.execute, plain(str(self._path))
        (application,), (version,) = (
            ask(READ_APPLICATION).fetchone(),
            ask("PRAGMA user_version").fetchone(),
        )
        try:
            is_empty = FileKind.JOURNAL.is_empty(path, application, [n for (n,) in ask(LIST_NAMES)])
        except StateError as error:
            raise CommandFailed(f"--journal: {error.message}", Exit.USAGE) from None
        if version > _VERSION:
            text = f"{path} was written by a later version; update ppapi-async"
            raise CommandFailed(text, Exit.USAGE)
        return is_empty

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()

    def note(self, account: Account, attempt: PayoutAttempt, balance: str) -> int:
        """Write an attempt down; return its number.

        Raises:
            AttemptBusyError: another one of the account is not settled.
            CommandFailed: it cannot be written.
        """
        with self._explained(), self._transaction():
            if self._busy(account):
                raise AttemptBusyError
            cursor = self._connection.execute(
                "INSERT INTO attempts (account, host, attempt, balance) VALUES (?, ?, ?, ?)",
                (account.name, account.host, attempt.to_json(), balance),
            )
            number = cursor.lastrowid or 0
            self._connection.executemany(
                "INSERT INTO owners (attempt, fingerprint) VALUES (?, ?)",
                [(number, one) for one in _fingerprints(account)],
            )
        return number

    def settle(self, number: int, outcome: NotedOutcome, payout_id: int | None = None) -> None:
        """Write down what became of an attempt.

        Raises:
            CommandFailed: it cannot be written.
        """
        with self._explained(), self._transaction():
            self._connection.execute(
                "UPDATE attempts SET outcome = ?, payout_id = ?, settled_at = ? WHERE id = ?",
                (outcome, payout_id, datetime.now(UTC).isoformat(), number),
            )

    def unsettled(self, account: Account | None = None) -> list[NotedAttempt]:
        """Return the attempts of which it is not known what became, oldest first.

        Args:
            account: only of it, whatever it was called then.

        Raises:
            CommandFailed: the journal cannot be read.
        """
        with self._explained():
            found = self._read(everything=False)
            if account is None:
                return found
            numbers = self._busy(account)
        return [one for one in found if one.id in numbers]

    def all(self) -> list[NotedAttempt]:
        """Return all attempts that were ever written down, oldest first.

        Raises:
            CommandFailed: the journal cannot be read.
        """
        with self._explained():
            return self._read(everything=True)

    def _read(self, *, everything: bool) -> list[NotedAttempt]:
        return [
            NotedAttempt(
                number,
                account,
                host,
                PayoutAttempt.from_json(attempt),
                balance,
                None if outcome is None else NotedOutcome(outcome),
                payout_id,
                None if settled_at is None else datetime.fromisoformat(settled_at),
            )
            for number, account, host, attempt, balance, outcome, payout_id, settled_at in (
                self._connection.execute(_READ, (everything,))
            )
        ]

    def _busy(self, account: Account) -> set[int]:
        """Return the numbers of an account's attempts that are not settled."""
        own = _fingerprints(account)
        rows = self._connection.execute(
            "SELECT attempts.id, fingerprint FROM attempts JOIN owners"
            " ON owners.attempt = attempts.id WHERE outcome IS NULL"
        )
        return {number for number, fingerprint in rows if fingerprint in own}

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        with contextlib.ExitStack() as failed:
            failed.callback(self._connection.execute, "ROLLBACK")
            yield
            failed.pop_all()
            self._connection.execute("COMMIT")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Say what is wrong with the file.

        Raises:
            CommandFailed: it cannot be read or written, or is none.
        """
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or str(error)
            if isinstance(error, IsADirectoryError | NotADirectoryError) or (
                getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_NOTADB
            ):
                reason += "; pass another path, the same to all that request payouts"
            raise CommandFailed(
                f"the journal of payouts {plain(str(self._path))} cannot be used: {reason};"
                " without it no payout is requested"
            ) from None


def _make_folder(folder: Path) -> None:
    """Make a folder for its owner only, if it is not there.

    Raises:
        NotADirectoryError: a file is in the way.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise NotADirectoryError(errno.ENOTDIR, f"{plain(str(folder))} is no folder") from error


def _fingerprints(account: Account) -> tuple[str, ...]:
    """Return by what an account is found again, also after it got another name or another key."""
    return account.fingerprint, *account.former_fingerprints

"""Which database a command is about."""

from __future__ import annotations

import re
from pathlib import Path

import platformdirs

from ppapi_async.cli.exits import CommandFailed, Exit
from ppapi_async.cli.missing import is_missing, missing

__all__ = ["database_url"]

_FILE = "sqlite:///"

_ALMOST_URL = re.compile(r"\A(?:postgres|sqlite)[\w+]*:|\A[^./~\\][^@]*:[^@]*@", re.IGNORECASE)


def database_url(given: str | None, *, to_write: bool = False) -> str:
    """Return the url of the copy's database.

    Args:
        given: a url or the path of a SQLite file, as the user said it; None: `partner.db` in the
            platform's place for data.
        to_write: it may be made; that place, too, for this user only, if it is not there.

    Raises:
        CommandFailed: it seems to be a url that was mistyped; or a file that is not there is to be
            read.
    """
    if given and "://" in given:
        if given.startswith(_FILE) and not to_write:
            _check_there(Path(given.removeprefix(_FILE)))
        return given
    if given and _ALMOST_URL.search(given):
        # It is not repeated: it may hold a password.
        raise CommandFailed(
            "the database: this is neither a url nor a path; write postgresql://USER@HOST/NAME, or"
            " the path of a file, with ./ before it if it has a colon and an @",
            Exit.USAGE,
        )
    if given:
        path = Path(given).expanduser().absolute()
        if not to_write:
            _check_there(path)
        return f"{_FILE}{path}"
    folder = platformdirs.user_data_path("ppapi", appauthor=False)
    if to_write:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return f"{_FILE}{folder / 'partner.db'}"


def _check_there(path: Path) -> None:
    if is_missing(path):
        raise CommandFailed(missing(path, "make one with sync"))

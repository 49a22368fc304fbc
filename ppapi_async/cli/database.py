"""Which database a command is about."""

from __future__ import annotations

import re
from pathlib import Path

import platformdirs

from ppapi_async.cli.exits import CommandFailed, Exit

__all__ = ["database_url"]

_ALMOST_URL = re.compile(r"\A(?:postgres|sqlite)[\w+]*:|\A[^./~\\][^@]*:[^@]*@", re.IGNORECASE)


def database_url(given: str | None, *, make_folder: bool = False) -> str:
    """Return the url of the copy's database.

    Args:
        given: a url or the path of a SQLite file, as the user said it; None: `partner.db` in the
            platform's place for data.
        make_folder: make that place, for this user only, if it is not there.

    Raises:
        CommandFailed: it seems to be a url that was mistyped.
    """
    if given and "://" in given:
        return given
    if given and _ALMOST_URL.search(given):
        # It is not repeated: it may hold a password.
        raise CommandFailed(
            "the database: this is neither a url nor a path; write postgresql://USER@HOST/NAME, or"
            " the path of a file, with ./ before it if it has a colon and an @",
            Exit.USAGE,
        )
    if given:
        return f"sqlite:///{Path(given).expanduser().absolute()}"
    folder = platformdirs.user_data_path("ppapi", appauthor=False)
    if make_folder:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'partner.db'}"

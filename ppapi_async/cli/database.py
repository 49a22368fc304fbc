"""Which database a command is about."""

from __future__ import annotations

from pathlib import Path

import platformdirs

__all__ = ["database_url"]


def database_url(given: str | None, *, make_folder: bool = False) -> str:
    """Return the url of the copy's database.

    Args:
        given: a url or the path of a SQLite file, as the user said it; None: `partner.db` in the
            platform's place for data.
        make_folder: make that place, for this user only, if it is not there.
    """
    if given and "://" in given:
        return given
    if given:
        return f"sqlite:///{Path(given).expanduser().absolute()}"
    folder = platformdirs.user_data_path("ppapi", appauthor=False)
    if make_folder:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'partner.db'}"

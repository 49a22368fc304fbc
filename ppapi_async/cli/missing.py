"""What to say of a file that a user named and that is not there."""

from __future__ import annotations

import difflib
from pathlib import Path

from ppapi_async.cli.output import plain

__all__ = ["is_missing", "missing"]


def is_missing(path: Path) -> bool:
    """Tell whether there is certainly no such file; one that cannot be looked at may be there."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return True
    except OSError:
        pass
    return False


def missing(path: Path, *advice: str) -> str:
    """Return that there is no such file, and which in its folder have a name like it.

    Args:
        path: where it was looked for.
        advice: what else there is to do.
    """
    try:
        names = [one.name for one in path.parent.iterdir() if one.is_file()]
    except OSError:
        names = []
    found = difflib.get_close_matches(path.name, names)
    near = [f"did you mean {' or '.join(map(plain, found))}?"] if found else []
    what = f"{plain(str(path))}: there is no such file"
    for folder in path.parents:
        if folder.is_file():
            what += f", because {plain(str(folder))} is no folder"
    return "; ".join([what, *advice, *near])

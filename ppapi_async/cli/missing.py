"""What to say of a file that a user named and that is not there."""

from __future__ import annotations

import difflib
from pathlib import Path

from ppapi_async.cli.output import plain

__all__ = ["missing"]


def missing(path: Path) -> str:
    """Return that there is no such file, and which in its folder have a name like it."""
    try:
        names = [one.name for one in path.parent.iterdir() if one.is_file()]
    except OSError:
        names = []
    found = difflib.get_close_matches(path.name, names)
    near = f"; did you mean {' or '.join(plain(one) for one in found)}?" if found else ""
    return f"{plain(str(path))}: there is no such file{near}"

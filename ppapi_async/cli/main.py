"""The entry point of the command line: `ppapi`, and `python -m ppapi_async`.

Exit codes are those of `ppapi_async.cli.exits`. Ctrl-C is how a sandbox is meant to end, so that is
0 there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        argv: the arguments without the program's name; None takes those of the process.

    >>> main(["dmo"])
    2
    """
    try:
        from ppapi_async.cli.group import run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("ppapi_async"):
            raise
        needs = f"ppapi: the command line needs {error.name}: pip install 'ppapi-async[cli]'"
        print(needs, file=sys.stderr)
        return 2
    return run(argv)

"""How a command ends: exit codes, the same for all of them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppapi_async.errors import PPAPIError

__all__ = ["CommandFailed", "Exit", "exit_of"]


class Exit(IntEnum):
    """What a command came to, for scripts; part of the public face."""

    DONE = 0
    FAILED = 1
    """At least one thing that was asked for did not work."""
    USAGE = 2
    """It was called wrongly, or a file that it was given is wrong; nothing was done."""
    INCOMPLETE = 3
    """All that failed is that rows could not be proven complete, or differ."""
    PAYOUT_UNKNOWN = 4
    """It is not known whether a payout was requested: settle it before anything else."""
    KEY = 5
    """All that failed is that sites refuse the key."""
    INTERRUPTED = 130
    """Ctrl-C or SIGTERM; a second run goes on."""
    PIPE_CLOSED = 141
    """Whoever read the output went away."""


class CommandFailed(Exception):  # noqa: N818 - not an error of the library, but an end of a command
    """Ends a command, with words for the user.

    Args:
        message: what happened and what to do, in one or more lines; "" if it was told already.
        exit: the exit code.
    """

    def __init__(self, message: str, exit: Exit = Exit.FAILED) -> None:  # noqa: A002
        super().__init__(message)
        self.message = message
        self.exit = exit
        self.command = "ppapi"
        """Which command ended; set where commands are run."""


def exit_of(errors: Iterable[PPAPIError]) -> Exit:
    """Return how a command ends that met these errors: by what they all are, or FAILED.

    >>> exit_of([])
    <Exit.DONE: 0>
    """
    found = {_exit_of_one(error) for error in errors}
    if not found:
        return Exit.DONE
    if Exit.PAYOUT_UNKNOWN in found:
        return Exit.PAYOUT_UNKNOWN
    return found.pop() if len(found) == 1 else Exit.FAILED


def _exit_of_one(error: PPAPIError) -> Exit:
    from ppapi_async import errors

    match error:
        case errors.PayoutOutcomeUnknown():
            return Exit.PAYOUT_UNKNOWN
        case errors.AuthError():
            return Exit.KEY
        case errors.IncompleteError():
            return Exit.INCOMPLETE
        case _:
            return Exit.FAILED

"""The group of all commands, and how each of them ends.

A command's module is loaded when the command is run, or its help is wanted. `ppapi --help` loads
none of them: that is why it takes a tenth of a second.
"""

from __future__ import annotations

import difflib
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TextIO

import click

from ppapi_async.cli.exits import CommandFailed, Exit
from ppapi_async.cli.output import note, quoted
from ppapi_async.version import __version__

__all__ = ["COMMANDS", "Commands", "ppapi", "run"]

COMMANDS: Mapping[str, Mapping[str, str]] = {
    "Accounts": {
        "init": "Write a first accounts file.",
        "add": "Add an account to the accounts file.",
        "list": "List the accounts.",
        "remove": "Remove accounts from the accounts file.",
        "doctor": "Find out what is wrong with accounts, and say what to do.",
    },
    "At the sites": {
        "info": "Show balances, and what can be paid out now.",
        "watch": "Show changes as they come.",
        "payout": "Request a payout, once; settle what is unknown.",
    },
    "Your own copy": {
        "sync": "Copy everything into a database, and keep it up to date.",
        "export": "Write clicks, orders or payouts to a file.",
        "tap": "Write clicks, orders, payouts and balances as Singer messages.",
        "audit": "Compare the copy with the sites.",
        "report": "Draw a report of the copy as one page.",
        "serve": "Show the report on a local address, always as it is now.",
    },
    "To try things": {
        "demo": "Copy, audit and report on two made-up sites.",
        "sandbox": "Run partner APIs on local ports, with made-up books.",
    },
    "This program": {
        "completion": "Print what makes a shell complete commands.",
    },
}
"""The commands with the first sentences of their help, in the order of `ppapi --help`."""
_KNOWN = {name: text for section in COMMANDS.values() for name, text in section.items()}
_HOMES = {"list": "listing"}
"""The modules in `commands` that are not called as their commands are; each has its `command`."""


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to what stderr is just now: beside bars that is what moves them out of the way."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        self.stream = sys.stderr
        super().emit(record)


class Commands(click.Group):
    """Commands that are loaded when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in order."""
        return list(_KNOWN)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command; None where there is none of the name."""
        if cmd_name not in _KNOWN:
            return None
        home = import_module(f"ppapi_async.cli.commands.{_HOMES.get(cmd_name, cmd_name)}")
        command: click.Command = home.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; one that is mistyped is suggested.

        Raises:
            click.UsageError: there is none of this name.
        """
        if args and args[0] not in _KNOWN and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], _KNOWN, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "'ppapi --help' lists them"
            ctx.fail(f"there is no command {quoted(args[0])}; {hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command.

        Raises:
            CommandFailed: it failed, or whoever reads its output went away.
        """
        try:
            result: object = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # Nothing is to be flushed into the closed pipe when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise CommandFailed("", Exit.PIPE_CLOSED) from None
        except CommandFailed as failure:
            failure.command = f"ppapi {ctx.invoked_subcommand}"
            raise
        return result

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without loading any."""
        width = max(map(len, _KNOWN))
        for section, commands in COMMANDS.items():
            with formatter.section(section):
                formatter.write_dl([(name.ljust(width), text) for name, text in commands.items()])


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed, 2 called wrongly, 3 incomplete or different, 4 a payout"
    " whose outcome is unknown, 5 keys refused, 130 interrupted.",
)
@click.version_option(__version__, prog_name="ppapi", message="%(prog)s %(version)s")
@click.option("-v", "--verbose", count=True, help="Say more on stderr; -vv tells each repeat.")
@click.pass_context
def ppapi(context: click.Context, verbose: int) -> None:
    """Look after partner accounts at Premium Exchanger sites."""
    handler = _Handler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("ppapi_async")
    before = log.level
    log.addHandler(handler)
    log.setLevel({0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG))

    def restore() -> None:
        log.removeHandler(handler)
        log.setLevel(before)

    context.call_on_close(restore)


def run(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        result = ppapi.main(argv, prog_name="ppapi", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return Exit.USAGE
    except click.UsageError as error:
        program = error.ctx.command_path.removesuffix(" request") if error.ctx else "ppapi"
        note(f"{program}: {_without_keys(_words(error), argv)}")
        return Exit.USAGE
    except click.ClickException as error:
        note(f"ppapi: {error.format_message()}")
        return Exit.FAILED
    except CommandFailed as failure:
        if failure.message:
            note(f"{failure.command}: {failure.message}")
        return failure.exit
    except (click.Abort, KeyboardInterrupt):
        note("interrupted")
        return Exit.INTERRUPTED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        note(f"ppapi: {where}{error.strerror or error}")
        return Exit.FAILED
    return result if isinstance(result, int) else Exit.DONE


def _words(error: click.UsageError) -> str:
    """Return what is wrong, after the name of the option that it is about."""
    if type(error) is click.BadParameter and isinstance(error.param, click.Option):
        return f"{error.param.opts[0]}: {error.message}"
    return error.format_message()


def _without_keys(message: str, argv: Sequence[str] | None) -> str:
    """Return what click says of arguments, without those that may be keys."""
    for argument in sys.argv[1:] if argv is None else argv:
        for part in (argument, argument.partition("=")[2]):
            if part and (shown := quoted(part)).startswith("("):
                message = message.replace(repr(part), shown).replace(part, shown)
    return message

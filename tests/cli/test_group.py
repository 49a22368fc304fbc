"""How commands are found, told, and how each of them ends."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import errno
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import click
import pytest

from ppapi_async import AuthError, IncompleteError, PayoutOutcomeUnknown, PPAPIError, TransportError
from ppapi_async.account import Dialect
from ppapi_async.cli import group, main
from ppapi_async.cli.commands import sandbox
from ppapi_async.cli.exits import CommandFailed, Exit, exit_of
from ppapi_async.cli.running import run
from ppapi_async.sandbox import Bounds, ServerOrder, Ties
from tests.cli.terminal import PROGRAM, ppapi, started

COMMANDS = [(name, text) for section in group.COMMANDS.values() for name, text in section.items()]
HEAVY = {"aiohttp", "sqlalchemy", "rich", "jinja2", "cattrs", "tomlkit"}


@pytest.mark.untraced
@pytest.mark.parametrize(("name", "text"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_the_list_of_commands_is_true(name: str, text: str) -> None:
    """Each command is there, and its help begins with the sentence that the list has."""
    ran = ppapi(name, "--help")
    assert ran.code == 0
    assert ran.out.splitlines()[2].strip() == text
    assert "Example" in ran.out
    assert text in " ".join(ppapi("--help").out.split())


def test_help_loads_next_to_nothing() -> None:
    """That is why it comes at once: nothing that opens connections, databases or pages."""
    program = (
        "import sys; from ppapi_async.cli.main import main\n"
        f"for name in {[name for name, _ in COMMANDS]!r}: main([name, '--help'])\n"
        f"loaded = {sorted(HEAVY)!r}\n"
        "print([one for one in loaded if one in sys.modules], file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stderr == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dmo"], "ppapi: there is no command 'dmo'; did you mean 'demo'?\n"),
        (["\x1b[2J"], "ppapi: there is no command '\\x1b[2J'; 'ppapi --help' lists them\n"),
        (["--fast"], "ppapi: No such option '--fast'.\n"),
        (["demo", "--rows"], "ppapi: Option '--rows' requires an argument.\n"),
        (
            ["demo", "--rows", "x"],
            "ppapi demo: --rows: 'x': pass a whole number from 1 to 10000000\n",
        ),
        (["demo", "more"], "ppapi demo: Got unexpected extra argument (more)\n"),
    ],
    ids=["mistyped", "hostile", "option", "no value", "bad value", "too much"],
)
def test_what_was_called_wrongly_is_one_line(arguments: list[str], said: str) -> None:
    """On stderr, with exit code 2; nothing on stdout."""
    ran = ppapi(*arguments)
    error = ran.err.replace("option: --fast", "option '--fast'.")  # as click 8.2 has it
    assert (ran.code, ran.out, error) == (2, "", said)


def test_without_a_command_the_help_comes() -> None:
    """On stderr, since it was called wrongly."""
    ran = ppapi()
    assert ran.code == 2
    assert "To try things" in ran.err


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        (CommandFailed("it broke", Exit.INCOMPLETE), 3, "ppapi demo: it broke\n"),
        (CommandFailed("", Exit.KEY), 5, ""),
        (KeyboardInterrupt(), 130, "\ninterrupted\n"),
        (click.Abort(), 130, "interrupted\n"),
        (click.ClickException("odd"), 1, "ppapi: odd\n"),
        (OSError(errno.ENOSPC, "No space left", "file"), 1, "ppapi: file: No space left\n"),
        (OSError("no words"), 1, "ppapi: no words\n"),
    ],
    ids=["failed", "failed and told", "Ctrl-C", "abort", "click", "a file", "no file"],
)
def test_each_end_has_its_code(
    monkeypatch: pytest.MonkeyPatch, end: BaseException, code: int, said: str
) -> None:
    """And words on stderr, never a traceback."""

    @click.command()
    def failing() -> None:
        raise end

    monkeypatch.setattr(group.Commands, "get_command", lambda *_: failing)
    ran = ppapi("demo")
    assert (ran.code, ran.err) == (code, said)


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([], 0),
        ([TransportError("x")], 1),
        ([AuthError("x"), AuthError("y")], 5),
        ([AuthError("x"), TransportError("y")], 1),
        ([IncompleteError("x")], 3),
        ([IncompleteError("x"), AuthError("x")], 1),
        ([PayoutOutcomeUnknown("x"), AuthError("x")], 4),
    ],
    ids=["none", "other", "keys", "keys and others", "incomplete", "two kinds", "payout"],
)
def test_the_code_of_errors_is_what_they_all_are(errors: list[PPAPIError], code: int) -> None:
    """A payout of which nobody knows counts more than all else."""
    assert exit_of(errors) == code


def test_an_error_of_the_library_ends_a_command_with_its_words() -> None:
    """And with its code; what is not the library's comes through."""

    async def refused() -> None:
        raise AuthError("the key is refused", account="one", method="get_info")

    with pytest.raises(CommandFailed, match="one: get_info: the key is refused") as failed:
        run(refused)
    assert failed.value.exit is Exit.KEY

    async def wrong() -> None:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        run(wrong)

    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run(cancelled)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_are_as_ctrl_c(number: signal.Signals) -> None:
    """What runs is cancelled, and cleans up; SIGHUP comes where a terminal is closed."""
    cleaned = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(60)
        finally:
            cleaned.append(True)

    before = signal.getsignal(number)
    signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else _not_taken)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(work)
    finally:
        signal.signal(number, before)
    assert cleaned == [True]


def _not_taken(*_: object) -> None:
    raise AssertionError("the signal was not taken")


def test_nohup_is_heeded() -> None:
    """What is to outlive its terminal is not ended with it."""

    async def work() -> None:
        os.kill(os.getpid(), signal.SIGHUP)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run(work)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_what_waits_outside_a_loop_too(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """A question with its echo off, say, would leave the terminal so."""
    cleaned = []

    @click.command()
    def asking() -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(1)
        finally:
            cleaned.append(True)

    monkeypatch.setattr(group.Commands, "get_command", lambda *_: asking)
    before = signal.getsignal(number)
    signal.signal(number, signal.SIG_DFL)
    try:
        ran = ppapi("demo")
    finally:
        signal.signal(number, before)
    assert (ran.code, ran.err.strip(), cleaned) == (130, "interrupted", [True])


def test_closed_streams_are_as_dev_null(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with `<&- >&- 2>&-` in a shell, where Python has None for them."""
    names = ("stdin", "stdout", "stderr")
    with contextlib.ExitStack() as opened:
        with monkeypatch.context() as closed:
            for name in names:
                closed.setattr(sys, name, None)
            assert main.main(["payout", "list"]) == 0
            for name in names:
                opened.push(getattr(sys, name))


@pytest.mark.skipif(sys.platform == "win32", reason="its loops have no handlers of signals")
def test_no_signal_finds_the_pipe_of_a_loop_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop closes it before it lets go of signals; one that came in between was a traceback."""
    handlers: list[object] = []
    close = asyncio.BaseEventLoop.close  # which comes after the pipe

    def closing(loop: asyncio.BaseEventLoop) -> None:
        handlers.append(signal.set_wakeup_fd(-1))
        close(loop)

    async def work() -> None:
        handlers.append(signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL)

    monkeypatch.setattr(asyncio.BaseEventLoop, "close", closing)
    run(work)
    assert handlers == [True, -1]


def test_an_interrupt_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """While modules are loaded, which on a slow disk takes a while."""

    def loading(argv: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(group, "run", loading)
    ran = ppapi("list")
    assert (ran.code, ran.err) == (130, "interrupted\n")


@pytest.mark.untraced
def test_a_closed_pipe_ends_quietly() -> None:
    """As with `| head`: nothing on stderr, whatever is left to say."""
    with started("completion", "bash") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait() in (0, 141)


def test_a_pipe_that_is_closed_while_it_is_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end has a code of its own, and nothing is flushed into the pipe later."""

    @click.command()
    def writing() -> None:
        raise BrokenPipeError

    monkeypatch.setattr(group.Commands, "get_command", lambda *_: writing)
    with Path(os.devnull).open("w") as screen:
        monkeypatch.setattr(sys, "stdout", screen)
        assert main.main(["demo"]) == 141


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, how to get it; a fault of ours is none of the user's."""
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    monkeypatch.delitem(sys.modules, "ppapi_async.cli.group")
    monkeypatch.setitem(sys.modules, "click", None)
    assert main.main([]) == 2
    assert said.getvalue() == (
        "ppapi: the command line needs click: pip install 'ppapi-async[cli]'\n"
    )
    monkeypatch.setitem(sys.modules, "ppapi_async.cli.group", None)
    with pytest.raises(ModuleNotFoundError):
        main.main([])


def test_verbose_tells_more_and_leaves_the_logs_as_they_were() -> None:
    """The level is that of one run."""
    import logging

    log = logging.getLogger("ppapi_async")
    before = log.level, list(log.handlers)
    for option in ((), ("-v",), ("-vv",)):
        assert ppapi(*option, "completion", "bash").code == 0
    assert (log.level, log.handlers) == before


def test_the_sandbox_has_all_that_there_is_to_choose_from() -> None:
    """The command lists it without loading the sandbox."""
    assert tuple(Dialect) == sandbox.DIALECTS
    for name, kind in (("ties", Ties), ("order", ServerOrder), ("bounds", Bounds)):
        assert sandbox.MANNERS[name] == tuple(one.replace(" ", "-") for one in get_args(kind))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_of_each_shell(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script asks the program, which knows the commands."""
    assert "_PPAPI_COMPLETE" in ppapi("completion", shell).out
    environment = {
        "_PPAPI_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "ppapi de",
        "COMP_CWORD": "de" if shell == "fish" else "1",
    }
    ran = subprocess.run(
        PROGRAM, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert "demo" in ran.stdout
    assert "sandbox" not in ran.stdout


def test_commands_load_what_they_need_when_they_run() -> None:
    """Their modules import nothing at the top that takes long; see the head of `group`."""
    for name, _ in COMMANDS:
        path = Path(group.__file__).parent / "commands" / f"{group._HOMES.get(name, name)}.py"
        tops = ast.parse(path.read_text("utf-8")).body
        modules = {node.module or "" for node in tops if isinstance(node, ast.ImportFrom)}
        assert not {module.partition(".")[0] for module in modules} & HEAVY, path


def _calls(*command: str) -> list[list[str]]:
    """Return the arguments of each `ppapi` in the examples of a command's help."""
    examples = ppapi(*command, "--help").out.partition("Examples:\n")[2].partition("\n\n")[0]
    calls = []
    for line in examples.splitlines():
        # After two spaces there is what the call does.
        words = shlex.shlex(re.split(r"(?<=\S) {2,}", line)[0], None, True, "|<>")
        words.whitespace_split = True
        ours: list[str] | None = None
        for word in words:
            if word == "ppapi":
                ours = []
                calls.append(ours)
            elif word in ("|", "<", ">", ">>"):
                ours = None
            elif ours is not None:
                ours.append(word)
    return calls


@pytest.mark.parametrize("name", [name for name, _ in COMMANDS])
def test_what_the_help_shows_can_be_called(name: str) -> None:
    """Each example has commands, options and values that there are; none of them is run."""
    calls = _calls(name)
    assert calls
    for call in calls:
        at: click.Command = group.ppapi
        context = at.make_context("ppapi", list(call))
        while isinstance(at, click.Group):
            _, below, rest = at.resolve_command(context, [*context._protected_args, *context.args])
            assert below is not None, call
            at, context = below, below.make_context(below.name, rest, parent=context)

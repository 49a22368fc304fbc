"""The blocks of code on a page of documentation, and how each kind of them is tried.

The blocks of a page run in order, in one namespace, in an empty folder, in a loop whose time flies
(but in one as usual if they use PostgreSQL). What is there before the first one:

- `site`, a sandbox of 100 orders, `account` on it, and `session`, which is open;
- `accounts.toml` with the accounts `one` and `two`, which are `sites[0]` and `sites[1]`; commands
  use it. The variables `KEY_ONE` and `KEY_TWO` and a program `pass` have keys, too;
- `https://site.example`, `https://one.example` and `https://two.example` stand for these
  sandboxes, `your key` for the key of each, `postgresql://user:password@db.example/partner` for an
  empty database.

Comments just before a block, which the reader does not see, say what is special about it:

- `<!-- not run: why -->`: it is only compiled, or parsed;
- `<!-- until: site.arrived(3) -->`: it goes on for ever; it is stopped when that has been awaited;
- `<!-- file: bot.py -->`: it is the text of that file;
- `<!-- run -->`: a block for the shell is run by one; others are only checked.

`<!-- invisible-code-block: python … -->` is a block that only the tests see, for what others need
and for assertions.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from types import CodeType
from typing import cast

import click
from attrs import define, field, frozen
from sybil import Document
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer, FencedCodeBlockLexer
from sybil.region import Region

from ppapi_async.cli.group import ppapi

__all__ = ["Block", "Page", "blocks_of", "check_inline", "check_shell", "environment"]

ROOT = Path(__file__).parents[2]
_SHELLS = frozenset({"bash", "console", "sh"})
_NOTE = re.compile(r"<!-- (not run|until|file|run)(?:: ((?:(?!-->).)*))? -->\s*\Z", re.DOTALL)
_SECONDS = 60.0
_PARSERS: Mapping[str, Callable[[str], object]] = {
    "json": json.loads,
    "jsonl": lambda source: [json.loads(line) for line in source.splitlines()],
    "toml": tomllib.loads,
}


@frozen
class Block:
    """A block, and what the comments before it say of it."""

    language: str
    source: str
    line: int
    notes: Mapping[str, str]

    @property
    def is_run(self) -> bool:
        """Whether it is more than parsed."""
        return "not run" not in self.notes and (
            self.language == "python" or (self.language in _SHELLS and "run" in self.notes)
        )


def _notes(text: str) -> dict[str, str]:
    """Return what the comments say with which a text ends."""
    found: dict[str, str] = {}
    while note := _NOTE.search(text):
        found[note[1]] = note[2] or ""
        text = text[: note.start()].rstrip()
    return found


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page that have a language, in order."""
    document = Document(page.read_text("utf-8"), str(page))
    regions: list[Region] = [
        *FencedCodeBlockLexer(r"[a-z]+")(document),
        *DirectiveInHTMLCommentLexer(r"invisible-code-block", arguments=".+")(document),
    ]
    return [
        Block(
            region.lexemes.get("language") or region.lexemes["arguments"],
            region.lexemes["source"],
            document.text.count("\n", 0, region.start) + 1,
            _notes(document.text[: region.start]),
        )
        for region in sorted(regions, key=lambda region: region.start)
    ]


# --- the shell


def _commands(source: str, language: str) -> Iterator[list[str]]:
    """Yield the commands `ppapi …` of a block, as words without what the shell takes."""
    lines = source.replace("\\\n", " ").splitlines()
    if language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    for line in lines:
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        command: list[str] = []
        for word in chain(words, ";"):
            if not set(word) <= set("();<>|&") or not word:
                command.append(word)
                continue
            if "ppapi" in (names := [Path(word).name for word in command]):
                yield command[names.index("ppapi") + 1 :]
            command = []
            if set(word) & set("<>"):
                next(words, None)  # a file is no command


def check_shell(source: str, language: str = "bash") -> int:
    """Check the commands `ppapi …` of a block; return how many there are.

    Raises:
        click.UsageError: there is no such command or option, or no such choice.
    """
    commands = list(_commands(source, language))
    for words in commands:
        _check(words)
    return len(commands)


def _check(words: list[str]) -> None:
    """Take a command's words apart as it does, and convert what is chosen from a list."""
    group = click.Context(ppapi, info_name="ppapi")
    options, rest, _ = ppapi.make_parser(group).parse_args(list(words))
    if not rest:
        return
    name, command, rest = ppapi.resolve_command(group, rest)
    assert command is not None
    context = click.Context(command, info_name=name, parent=group)
    options, _, _ = command.make_parser(context).parse_args(rest)
    for parameter in command.params:
        given = options.get(parameter.name or "")
        if isinstance(parameter.type, click.Choice) and isinstance(given, str):
            parameter.type.convert(given, parameter, context)


def check_inline(text: str) -> list[str]:
    """Return what is wrong with the commands that stand between the words, such as `ppapi sync`."""
    faults = []
    for code in re.findall(r"`ppapi ([^`\n]+)`", re.sub(r"(?ms)^```.*?^```", "", text)):
        name, *words = code.replace("[", " ").replace("]", " ").split()
        for one in name.split("|"):
            if one.startswith("-") or one in ("COMMAND", "…"):
                continue
            group = click.Context(ppapi, info_name="ppapi")
            command = ppapi.get_command(group, one)
            if command is None:
                faults.append(code)
                continue
            known = {name for parameter in command.params for name in parameter.opts}
            known |= {name for parameter in command.params for name in parameter.secondary_opts}
            given = {word.partition("=")[0] for word in words if word.startswith("--")}
            faults += [code] * bool(given - known - {"--help"})
    return faults


# --- all of a page


@define(eq=False)
class Page:
    """What the blocks of a page share.

    Args:
        folder: where they run.
        names: their namespace.
        replaced: what stands for something else, with what it stands for.
        environment: that of programs which they start.
        parsers: what tries other languages, more than whether they can be read.
    """

    folder: Path
    names: dict[str, object]
    replaced: Mapping[str, str]
    environment: Mapping[str, str]
    parsers: Mapping[str, Callable[[str], object]]
    _label: str = field(default="", init=False)

    async def take(self, block: Block, label: str) -> None:
        """Run a block, or check it.

        Raises:
            Exception: whatever is wrong with it.
        """
        self._label = label
        source = block.source
        for name, real in self.replaced.items():
            source = source.replace(name, real)
        if file := block.notes.get("file"):
            (self.folder / file).write_text(source)
        if block.language == "python":
            await self._python(block, source)
        elif block.language in _SHELLS:
            check_shell(block.source, block.language)
            if block.is_run:
                await asyncio.to_thread(self._shell, source, block.language)
        else:
            _PARSERS.get(block.language, str)(source)
            if "not run" not in block.notes:
                self.parsers.get(block.language, str)(source)

    async def _python(self, block: Block, source: str) -> None:
        """Compile a block that may await at its top; run it if it is to be run."""
        tree = compile(
            "\n" * block.line + source, self._label, "exec",
            ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        )  # fmt: skip
        code = cast("CodeType", compile(tree, self._label, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT))
        if not block.is_run or "file" in block.notes:
            return
        if "asyncio.run(" in source:  # a program of its own
            await asyncio.to_thread(self._script, code)
        elif (until := block.notes.get("until")) is None:
            await self._awaited(code)
        else:
            await self._for_a_while(code, until)

    async def _awaited(self, code: CodeType) -> None:
        """Run code that may await."""
        result: object = eval(code, self.names)
        if inspect.isawaitable(result):
            await result

    def _script(self, code: CodeType) -> None:
        """Run a program that ends well."""
        try:
            exec(code, {**self.names, "__name__": "__main__"})
        except SystemExit as ended:
            if ended.code:
                raise AssertionError(f"it ended with {ended.code!r}") from ended

    async def _for_a_while(self, code: CodeType, until: str) -> None:
        """Run code until something has been awaited."""
        running = asyncio.ensure_future(self._awaited(code))
        waiting = asyncio.ensure_future(
            _wait_for(cast("Awaitable[object]", eval(until, self.names)))
        )
        try:
            await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                await running
                raise AssertionError("it ended by itself")
            await waiting
        finally:
            for task in (running, waiting):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    def _shell(self, source: str, language: str) -> None:
        """Run commands that end well."""
        if language == "console":
            given = [line[2:] for line in source.splitlines() if line.startswith("$ ")]
            source = "\n".join(given)
        done = subprocess.run(
            ["sh", "-e", "-c", source], cwd=self.folder, env={**self.environment},
            capture_output=True, text=True, check=False, timeout=_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        self.names["output"] = done.stdout


async def _wait_for(awaitable: Awaitable[object]) -> None:
    await awaitable


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of programs: their accounts, a home, the commands of this Python."""
    home = folder / "home"
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PPAPI_", "PYTEST", "COV"))
    }
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return kept | {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_DATA_HOME": str(home / "data"),
        "PATH": programs,
        "PPAPI_ACCOUNTS": str(folder / "accounts.toml"),
        "COLUMNS": "80",
    }

"""Accounts from a TOML file, and where their keys come from.

People put keys into the wrong fields. So each text of the file is a `Secret` once it is parsed, and
what is wrong is said without values. A frame that holds bare text must not become part of a
traceback: functions that hold some tell the report what is wrong, and only `load_accounts` raises.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import re
import shlex
import shutil
import tomllib
import warnings
from collections import ChainMap, Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote

from attrs import Factory, define, evolve, field, frozen

from ppapi_async._validation import seconds_of
from ppapi_async.account import Account, Dialect
from ppapi_async.files import Stop, exposed, exposed_programs, read, run
from ppapi_async.secret import Redactor, Secret

__all__ = ["AccountEntry", "inspect_accounts", "load_accounts", "statements_of"]

_Fields: TypeAlias = dict[str, Secret]
"""A table in which no field is wrong; a command is quoted as for a shell, false is empty."""
_Place: TypeAlias = tuple[str, str]
"""A table, "accounts[0]" or "defaults", and a field of it; "" for all of it or for the file."""

_FETCHED = ("key_env", "key_file", "key_command")
_SOURCES = ("api_key", "link", *_FETCHED)
_OPTIONS = ("timezone", "dialect", "allow_http", "proxy")
_FIELDS = ("url", "name", *_SOURCES, "api_login", *_OPTIONS)
_TOP = ("accounts", "defaults")
_NAME = "{name}"
_EXAMPLE = '[[accounts]], and below it url = "https://site.example" and key_env = "SITE_KEY"'
_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list"}
_KEYS_WITHIN = (r"api_key=([^&#\s]+)", r"://[^/:?#\s]*:([^/?#\s]+)@")  # in a link, of a proxy
_PATIENCE = 30.0  # seconds, for a pipe in place of a file
_LARGEST, _LARGEST_KEY = 4 * 1024 * 1024, 64 * 1024
_SHORTEST_KEY = 4  # shorter ones are part of every message
_ADVICE = {
    "or allow_http=True": "or write allow_http = true",
    "for the link that a site shows use Account.from_link": (
        "write the link that a site shows as link = …, in place of url"
    ),
}
"""What `Account` says to pass, and what to write in a file."""
_PIECE = re.compile(  # what may hide the end of a statement, and what ends it
    r'"""(?:[^\\]|\\[\s\S])*?"{3,5}'
    r"|'''[\s\S]*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*"
    r"|[\[\]{}\n]"
)


def load_accounts(
    path: str | os.PathLike[str], *, command_timeout: float | timedelta = timedelta(seconds=30)
) -> list[Account]:
    """Read accounts, and fetch their keys, from a TOML file.

    It looks so:

        [defaults]                                # optional; each account may say otherwise
        timezone = "Europe/Moscow"                # also: dialect, allow_http, proxy
        key_command = ["pass", "show", "partner/{name}"]

        [[accounts]]
        url = "https://one.example"

        [[accounts]]
        url = "https://two.example"
        name = "two"
        key_env = "KEY_TWO"

    An account has a `url` and one source of its key, or a `link`, which is both (see
    `Account.from_link`). `name`, `api_login`, `timezone`, `dialect`, `allow_http` and `proxy` are
    those of `Account`. The sources:

    - `api_key`: the key itself.
    - `key_env`: the name of an environment variable. A shell exports only names of letters, digits
      and `_`. So where `KEY_{name}` stands for `KEY_one.example` and that is not set,
      `KEY_one_example` is read, unless another account's variable comes to the same name.
    - `key_file`: a file with nothing but the key; a relative path starts at the accounts file.
    - `key_command`: a list of arguments, or a string that is split as a shell would, though none is
      run. The first line that the program prints is the key. It runs in the directory of the
      accounts file, without input; what it prints to stderr is dropped. What it has started ends
      with it, and so does a program that prints more than 64 KB.

    The last three may stand in the defaults, for accounts without a source of their own. `{name}`
    in them is the account's name, which is the host of its url (and the port, if it has one)
    unless given. Commands run one after the other, once all else is right, until one fails.

    Warns (`UserWarning`) of a file with a key that others can read, and of an accounts file or
    program that others can change or replace, before any command is run. A file may be a pipe; a
    device or a directory is refused. Blocks: in a running event loop use `asyncio.to_thread`.

    Args:
        path: the file, in UTF-8.
        command_timeout: how long one `key_command`, or a pipe in place of a file, may take, as
            seconds or a timedelta.

    Returns:
        The accounts in their order; at least one, and no two of one name.

    Raises:
        ValueError: what is wrong, one line each, with file, line, account (counted from 0) and
            field; never with a key. A key that cannot be had is among it.
        FileNotFoundError: there is no accounts file; other `OSError` where it cannot be read, is
            none, or is larger than 4 MB.
        TypeError: an argument is of the wrong type.

    >>> load_accounts("accounts.toml")  # doctest: +SKIP
    [Account(url='https://one.example', name='one.example'), ...]
    """
    report, seconds = Report(str(Path(path))), seconds_of(command_timeout, "command_timeout")
    entries = _entries(report, seconds)
    commands = [entry for entry in entries if entry.source == "key_command"]
    for entry in commands:
        report.warnings += exposed_programs(entry.words(), Path(report.path).parent)
    others = [entry for entry in entries if entry.source != "key_command"]
    accounts = {entry.place: _with_key(report, entry, seconds) for entry in others}
    for warning in dict.fromkeys(report.warnings):  # before what others may have written is run
        warnings.warn(warning, UserWarning, stacklevel=2)
    for entry in commands:
        # One that fails is enough: nobody wants to dismiss a hundred prompts for a passphrase.
        if not report.problems:
            accounts[entry.place] = _with_key(report, entry, seconds)
    if report.problems:
        raise ValueError(report.text())
    return [account for entry in entries if (account := accounts[entry.place]) is not None]


@frozen
class AccountEntry:
    """An account of a file, and where its key comes from."""

    account: Account
    """With its key only if the file has that; see `has_key`."""
    source: str
    """The field: api_key, link, key_env, key_file or key_command."""
    key_from: str
    """The same in words, without any key: what names the variable, file or program is told only
    where it cannot be a key that was put there by mistake."""

    @property
    def has_key(self) -> bool:
        """Whether the account has its key."""
        return self.source not in _FETCHED


def inspect_accounts(
    path: str | os.PathLike[str], content: bytes | None = None
) -> list[AccountEntry]:
    """Read accounts as `load_accounts` does, but fetch no keys: nothing is run, no key is read.

    Args:
        path: the file; where it would be, if the content is given.
        content: what it holds or will hold; None: it is read.

    Warns and raises as `load_accounts` does.
    """
    report = Report(str(Path(path)))
    entries = _entries(report, _PATIENCE) if content is None else _entries_in(report, content)
    for warning in dict.fromkeys(report.warnings):
        warnings.warn(warning, UserWarning, stacklevel=2)
    found: list[AccountEntry] = []
    for entry in entries:
        is_here = entry.source not in _FETCHED
        account = _with_key(report, entry, _PATIENCE) if is_here else entry.account
        if account is not None:
            found.append(
                AccountEntry(account, entry.source, entry.key_from(Path(report.path).parent))
            )
    if report.problems:
        raise ValueError(report.text())
    return found


@define
class Report:
    """What is wrong with the file at a path, and what to warn of, without the keys in it."""

    path: str
    lines: dict[_Place, int] = field(factory=dict, repr=False)
    labels: dict[str, str] = field(factory=dict, repr=False)
    keys: list[Secret] = Factory(list)
    exported: Counter[str] = field(factory=Counter, repr=False)  # and how many accounts want it
    problems: list[tuple[int, str]] = field(factory=list, repr=False)
    warnings: list[str] = Factory(list)

    def add(self, table: str, name: str, problem: str) -> None:
        """Note what is wrong with a field, or with all of a table ("" for its name)."""
        around = ((table, name), (table, ""), ("", table.partition("[")[0]))
        line = next((self.lines[place] for place in around if place in self.lines), 0)
        where = f"{self.path}:{line}" if line else self.path
        # A key may stand in place of a field's name.
        shown = name if re.fullmatch("[A-Za-z_-]{0,20}", name) else "a field"
        parts = (where, self.labels.get(table, table), shown, problem)
        found = (line, ": ".join(filter(None, parts)))
        if found not in self.problems:  # what is wrong with a default is so for each account
            self.problems.append(found)

    def text(self) -> str:
        """Return the problems, one a line, without any key that was met."""
        text = "\n".join(problem for _, problem in sorted(self.problems))
        return Redactor(k for k in self.keys if len(k.reveal()) >= _SHORTEST_KEY).redact(text)


# From the file to accounts that lack their keys


def _entries(report: Report, seconds: float) -> list[_Entry]:
    """Return the accounts in which nothing is wrong so far.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        content, status = read(report.path, _LARGEST, seconds=seconds)
    except FileNotFoundError:
        problem = "there is no such file of accounts; a relative path starts at the working"
        problem += f" directory, and the file has for each account {_EXAMPLE}"
        raise FileNotFoundError(errno.ENOENT, problem, report.path) from None
    entries = _entries_in(report, content)
    report.warnings += exposed(report.path, status, holds_key=bool(report.keys))
    return entries


def _entries_in(report: Report, content: bytes) -> list[_Entry]:
    """Return the accounts of a file's content in which nothing is wrong so far."""
    document = _document(report, content)
    for name in document.keys() - _TOP:
        report.add("", name, _unknown(name, _TOP))
    given = document.get("defaults", {})
    defaults = _fields(report, "defaults", given, (*_OPTIONS, *_FETCHED))
    rows = document.get("accounts", [])
    if not isinstance(rows, list):
        report.add("", "accounts", "write [[accounts]], with two brackets, above each account")
        rows = []
    elif not rows and not report.problems:
        report.add("", "", f"has no accounts; write for each {_EXAMPLE}")
    entries: list[_Entry] = []
    first: dict[str, str] = {}
    for number, row in enumerate(rows):
        place = f"accounts[{number}]"
        own = _fields(report, place, row, _FIELDS)
        if own is None or defaults is None or not (entry := _entry(report, place, own, defaults)):
            continue
        entries.append(entry)
        name = entry.account.name
        if (other := first.setdefault(name, place)) != place:
            problem = f"{name!r} is that of {other}, too; give each account one of its own"
            report.add(place, "name", problem)
        if entry.source == "key_env":
            report.exported[_exportable(*entry.words())] += 1
    return entries


def _document(report: Report, content: bytes) -> Mapping[str, object]:
    """Return what the file says, and have the report know its lines."""
    try:
        text = content.decode("utf-8-sig")
        document: Mapping[str, object] = tomllib.loads(text)
        with contextlib.suppress(ValueError, RecursionError):  # lines are a courtesy
            report.lines |= lines_of(text)
        return document
    except UnicodeDecodeError as error:
        line, problem = content.count(b"\n", 0, error.start) + 1, "is not UTF-8; save it as such"
    except RecursionError:
        line, problem = 0, "is nested too deeply"
    except ValueError as error:
        line, problem = _syntax_problem(str(error), content.rstrip().count(b"\n") + 1)
    report.lines["", ""] = line
    report.add("", "", problem)
    return {}


def _syntax_problem(message: str, last_line: int) -> tuple[int, str]:
    """Return line and words of tomllib, without what it quotes of the file."""
    at = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
    if at is None:
        return 0, "cannot be read; is a number in it too long?"
    words = re.sub(r"""\(.*\)|(["']).*\w.*\1""", "…", message[: at.start()])
    column = f" at column {at[2]}" if at[2] else ""
    hint = "; text stands in quotes" if words == "Invalid value" else ""
    return int(at[1] or last_line), f"is not TOML: {words}{column}{hint}"


def lines_of(text: str) -> dict[_Place, int]:
    """Return the first line of each table and field of a text that tomllib has accepted.

    tomllib tells no lines, so each statement is read once more, below the header of its table. Of
    inline tables within a list only the list is known.
    """
    lines: dict[_Place, int] = {}
    header, number = "", -1
    for line, statement in statements_of(text):
        if is_header := statement.lstrip().startswith("["):
            header = statement
            number += tomllib.loads(header) == {"accounts": [{}]}
        for name, value in tomllib.loads(header + statement * (not is_header)).items():
            table = f"accounts[{number}]" if header and name == "accounts" else name
            inner = value[0] if header and isinstance(value, list) else value
            fields = ["", *inner] if isinstance(inner, dict) else []
            for place in (("", name), *((table, one) for one in fields)):
                lines.setdefault(place, line)
    return lines


def statements_of(text: str) -> Iterator[tuple[int, str]]:
    """Yield the statements with their lines, blank ones among them."""
    line, start, depth = 1, 0, 0
    text += "\n"
    for piece in _PIECE.finditer(text):
        depth += (piece[0] in ("[", "{")) - (piece[0] in ("]", "}"))
        if piece[0] == "\n" and not depth:
            yield line, text[start : piece.end()]
            line += text.count("\n", start, piece.end())
            start = piece.end()


def _fields(report: Report, place: str, table: object, known: Sequence[str]) -> _Fields | None:
    """Return the fields of a table, None if one of them is wrong."""
    if not isinstance(table, dict):
        report.add(place, "", f"is {_kind(table)}; write a table")
        return None
    texts = [text for text in table.values() if isinstance(text, str)]
    keys = [key for where in _KEYS_WITHIN for text in texts for key in re.findall(where, text)]
    keys += [*map(unquote, keys), table.get("api_key")]
    report.keys += [Secret(key) for key in keys if isinstance(key, str) and key]
    if "name" in known and isinstance(name := table.get("name"), str) and name:
        report.labels[place] = f"{place} {name!r}"
    fields: _Fields = {}
    for name, value in table.items():
        read = _value(name, value) if name in known else _unknown(name, known)
        if isinstance(read, Secret):
            fields[name] = read
        else:
            report.add(place, name, read)
    return fields if len(fields) == len(table) else None


def _value(name: str, value: object) -> Secret | str:
    """Return the value of a known field, or what is wrong with it."""
    if name == "allow_http":
        if isinstance(value, bool):
            return Secret("true" if value else "")
        return "write true or false, without quotes"
    if name == "key_command":
        try:
            words = shlex.split(value) if isinstance(value, str) else value
        except ValueError:
            return "has a quotation mark that is not closed; write a list of arguments"
        if isinstance(words, list) and words and all(isinstance(word, str) for word in words):
            return Secret(shlex.join(words))
        return 'write a list of arguments, such as ["pass", "show", "one"]'
    if not isinstance(value, str):
        return f"is {_kind(value)}; write text in quotes"
    if name == "dialect" and value not in list(Dialect):
        return f"write one of {', '.join(Dialect)}, or leave it out"
    return Secret(value)


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "a table" if isinstance(value, dict) else "a time")


def _unknown(name: str, known: Sequence[str]) -> str:
    """Return what to do about a name that is unknown in its place."""
    if name in _FIELDS:
        return "goes into an account, below [[accounts]]"
    near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1)
    rest = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return f"is unknown; {rest}"


@frozen
class _Entry:
    """An account without its key, which its field `source` gives."""

    place: str
    fields: ChainMap[str, Secret]  # its own, and those of the defaults
    source: str
    account: Account = field(repr=False)

    def has_name(self) -> bool:
        return _NAME in self.fields[self.source].reveal()

    def words(self) -> list[str]:
        """Return what the source says, with the account's name in its place."""
        text = self.fields[self.source].reveal()
        words = shlex.split(text) if self.source == "key_command" else [text]
        return [word.replace(_NAME, self.account.name) for word in words]

    def key_from(self, folder: Path) -> str:
        """Return in words where the key comes from; a key may stand where its source belongs."""
        if self.source not in _FETCHED:
            return "the accounts file"
        word, *arguments = self.words()
        if self.source == "key_env":
            is_name = self.has_name() or word in os.environ or re.fullmatch("[A-Z_]+", word)
            return f"variable {word}" if is_name else "a variable that is not set"
        if self.source == "key_file":
            is_path = self.has_name()
            with contextlib.suppress(OSError, RuntimeError, ValueError):
                is_path = is_path or (folder / Path(word).expanduser()).exists()
            return f"file {word}" if is_path else "a file that is not there"
        is_program = arguments or shutil.which(word)
        return f"command {Path(word).name}" if is_program else "a command that is not there"


def _entry(report: Report, place: str, own: _Fields, defaults: _Fields) -> _Entry | None:
    """Return an account, checked but for its key; None if something is wrong."""
    is_own = not own.keys().isdisjoint(_SOURCES)
    source, *more = [name for name in _SOURCES if name in (own if is_own else defaults)] or [""]
    if not source:
        report.add(place, "", f"has no key; write one of {', '.join(_SOURCES)}")
    elif more:
        problem = f"is a source of the key, as is {source}; leave one"
        report.add(place if is_own else "defaults", more[0], problem)
    elif source == "link" and "url" in own:
        report.add(place, "link", "has the url already; leave out url")
    elif source != "link" and "url" not in own:
        report.add(place, "url", 'is missing; write url = "https://site.example"')
    else:
        fields = ChainMap(own, defaults)
        with _blaming(report, place, fields, source):
            return _Entry(place, fields, source, _account(fields))
    return None


def _account(fields: Mapping[str, Secret]) -> Account:
    """Return what the fields say, with a key only where a link has it."""

    def text(name: str, default: str = "") -> str:
        return fields[name].reveal() if name in fields else default

    if "link" in fields:
        site = Account.from_link(text("link"), allow_http=True)  # which is checked below
    else:
        stand_in = Secret("\ue000" * (len(text("name")) + 1))  # which no name can hold
        site = Account(text("url"), stand_in, allow_http=True)
    return evolve(
        site,
        name=text("name"),
        timezone=text("timezone", "UTC"),
        dialect=Dialect(text("dialect")) if "dialect" in fields else None,
        api_login=fields.get("api_login"),
        proxy=fields.get("proxy"),
        allow_http=bool(text("allow_http")),
    )


@contextlib.contextmanager
def _blaming(
    report: Report, place: str, fields: ChainMap[str, Secret], source: str
) -> Iterator[None]:
    """Tell the report what `Account` refuses, and of which field of the file that is."""
    try:
        yield
    except ValueError as error:
        argument, _, problem = str(error).partition(": ")
        for advice, in_a_file in _ADVICE.items():
            problem = problem.replace(advice, in_a_file)
        own, defaults = fields.maps
        renamed = {"api_key": source, "url": "link" if source == "link" else "url"}
        is_default = argument in defaults and argument not in own
        table = "defaults" if is_default else place
        report.add(table, renamed.get(argument, argument), problem)


# The keys


def _with_key(report: Report, entry: _Entry, seconds: float) -> Account | None:
    """Return an account with its key; None if something is wrong."""
    if entry.source == "key_env":
        key = _key_of_variable(report, entry)
    elif entry.source == "key_file":
        key = _key_of_file(report, entry, seconds)
    elif entry.source == "key_command":
        key = _key_of_command(report, entry, seconds)
    else:
        key = entry.fields.get("api_key", entry.account.api_key)
    if isinstance(key, str):
        report.add(entry.place, entry.source, key)
        return None
    report.keys.append(key)
    with _blaming(report, entry.place, entry.fields, entry.source):
        return evolve(entry.account, api_key=key)
    return None


def _exportable(variable: str) -> str:
    """Return the nearest name of a variable that a shell can export."""
    return re.sub(r"\W|^(?=\d)", "_", variable, flags=re.ASCII)


def _key_of_variable(report: Report, entry: _Entry) -> Secret | str:
    """Return the key that an environment variable holds, or what is wrong."""
    (variable,) = entry.words()
    exportable = _exportable(variable)
    is_shared = report.exported[exportable] > 1
    names = [variable, exportable] if entry.has_name() and not is_shared else [variable]
    for name in names:
        with contextlib.suppress(KeyError, ValueError):
            return Secret(os.environ[name])
    is_name = entry.has_name() or re.fullmatch("[A-Z_]+", variable)
    message = f"{repr(variable) if is_name else 'this variable'} is not set in the environment"
    if exportable == variable or not entry.has_name():
        return f"{message}; write the name of a variable, not the key"
    advice = f"set {exportable!r}"
    if is_shared:
        advice = f"{exportable!r} could be for another account, too; give this one its own key_env"
    return f"{message}, and no shell can export it; {advice}, or use key_file or key_command"


def _key_of_file(report: Report, entry: _Entry, seconds: float) -> Secret | str:
    """Return the key that is all there is in a file, or what is wrong."""
    (name,) = entry.words()
    shown = repr(name) if entry.has_name() else "this file"
    try:
        path = Path(report.path).parent / Path(name).expanduser()
        content, status = read(path, _LARGEST_KEY, seconds=seconds)
        report.warnings += exposed(str(path), status, holds_key=True)
        return Secret(content.decode("utf-8-sig").rstrip("\r\n"))
    except UnicodeDecodeError:
        return f"{shown} is not UTF-8"
    except (OSError, RuntimeError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "not a path"
    return f"{shown} cannot be read: {reason}; a relative path starts at the accounts file"


def _key_of_command(report: Report, entry: _Entry, seconds: float) -> Secret | str:
    """Return the first line that a program prints, or what is wrong."""
    program, *arguments = entry.words()
    # A lone word may be a key; more than one are a command.
    shown = repr(Path(program).name) if arguments else "this program"
    del program, arguments  # an interrupt is raised through this frame
    try:
        printed = run(entry.words(), Path(report.path).parent, seconds, _LARGEST_KEY)
        if isinstance(printed, bytes):
            return Secret(printed.partition(b"\n")[0].decode().rstrip("\r"))
    except (KeyboardInterrupt, SystemExit) as stop:
        stop.__traceback__ = None  # its frames hold what was printed so far
        raise
    except UnicodeDecodeError:
        return f"{shown} printed no UTF-8"
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "not a command"
        return f"{shown} cannot be started: {reason}"
    if printed is Stop.LATE:
        return f"{shown} took more than {seconds:g} s and was ended; see command_timeout"
    if printed is Stop.TOO_MUCH:
        most = f"{_LARGEST_KEY // 1024} KB"
        return f"{shown} printed more than {most} and was ended; the key is one line"
    return f"{shown} failed with exit code {printed}; run it by hand to see what it says"

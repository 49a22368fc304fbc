"""The options of all commands side by side: what means the same is called and told the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from ppapi_async.cli import group
from tests.cli.sites import dead_account, write_accounts
from tests.cli.terminal import ppapi

OVER_ACCOUNTS = ("doctor", "info", "watch", "sync", "export", "audit", "report", "serve")
ORDER = ("--since", "--until", "--account", "--out", "--to", "--from", "--json", "--utc")
"""In which options stand that several commands have; `--accounts` is the last of all."""
OF_ITS_OWN = {
    ("sandbox", "--accounts"),  # writes it
    ("sandbox", "--timezone"),  # takes several
    ("watch", "--json"),  # JSON lines
    ("watch", "--since"),  # in the first run only
    ("init", "--timezone"),  # the site's
    ("add", "--timezone"),
    ("serve", "--since"),  # goes on with the clock
    ("serve", "--until"),
    ("serve", "--name"),  # of the machine
    ("demo", "--rows"),
    ("sandbox", "--live"),  # of a sandbox
    ("sandbox", "--port"),  # of the first site
    ("sandbox", "--rows"),
}
"""Options that mean something else here, and say so."""
REPEATED = "may be given again"


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield each command that has options, by what is typed for it."""
    for name in (name for section in group.COMMANDS.values() for name in section):
        module = {"list": "listing"}.get(name, name)
        command: click.Command = import_module(f"ppapi_async.cli.commands.{module}").command
        if isinstance(command, click.Group):
            for sub in command.commands.values():
                yield f"{name} {sub.name}", sub
        else:
            yield name, command


ALL = dict(commands())
OPTIONS = [
    (name, one)
    for name, command in ALL.items()
    for one in command.params
    if isinstance(one, click.Option)
]
HELPS = (*(name for name in ALL if name != "payout request"), "payout")


def about(option: click.Option) -> tuple[object, ...]:
    """Return what a user is told of an option, and what it takes."""
    kind = option.type
    takes = getattr(kind, "func", None) or kind.name
    told = (option.metavar, option.is_flag, option.multiple, option.envvar)
    # Some are with a condition, "With --live: …"; it is what they say then that counts.
    return *told, re.sub(r"^With --.*?: ", "", option.help or "").lower(), takes


def test_options_of_one_name_are_one_option() -> None:
    """The same value, placeholder, variable and words, wherever a command has it."""
    found: dict[str, dict[tuple[object, ...], list[str]]] = {}
    for name, option in OPTIONS:
        if (name, option.opts[0]) not in OF_ITS_OWN:
            found.setdefault(option.opts[0], {}).setdefault(about(option), []).append(name)
    different = {name: kinds for name, kinds in found.items() if len(kinds) > 1}
    different.pop("--allow-http", None)  # a key, or a change, that others can read
    different.pop("--out", None)  # a table, a list of differences, a page
    different.pop("--interval", None)  # only with --follow
    different.pop("--yes", None)  # says what is done then
    different.pop("--resources", None)  # says what is done with them
    different.pop("--state", None)  # of Singer, whose words these are, and of a watch
    assert not different


def test_options_stand_in_one_order() -> None:
    """Which rows, of whom, to where, from where, shown how, and the accounts file in the end."""
    for name, command in ALL.items():
        names = [one.opts[0] for one in command.params if isinstance(one, click.Option)]
        shared = [one for one in names if one in ORDER]
        assert shared == sorted(shared, key=ORDER.index), name
        if "--accounts" in names and name != "sandbox":
            assert names[-1] == "--accounts", name


@pytest.mark.parametrize(
    ("name", "option"), OPTIONS, ids=[f"{name} {one.opts[0]}" for name, one in OPTIONS]
)
def test_each_option_is_told_in_sentences(name: str, option: click.Option) -> None:
    """With a capital and a period; what it takes has a name, and defaults stand in brackets."""
    text = option.help or ""
    assert text, name
    assert text.endswith("."), text
    assert text[0].isupper(), text
    assert not re.search(r"\b(otherwise|unless said|says it, too|repeated)\b", text.lower()), text
    if not option.is_flag and not isinstance(option.type, click.Choice):
        assert re.fullmatch(r"(\[[A-Z]+:\])?[A-Z]+(,…)?", option.metavar or ""), option.metavar
    if not option.is_flag and option.default not in (None, ()) and option.default is not ...:
        assert option.show_default or "UNSET" in repr(option.default)
    if option.multiple and option.metavar and "," not in option.metavar:
        assert text.endswith(f"; {REPEATED}."), text


@pytest.mark.parametrize("name", HELPS)
def test_help_fits_eighty_columns(name: str) -> None:
    """Examples too, which click does not wrap; no sentence is cut."""
    ran = ppapi(*name.split(), "--help")
    assert ran.code == 0
    assert [line for line in ran.out.splitlines() if len(line) > 80] == []
    assert "..." not in re.sub(r"\[?[A-Z]+\]?\.\.\.", "", ran.out)
    assert "Examples:" in ran.out


@pytest.mark.parametrize("name", [name for name in HELPS if name not in ("list", "completion")])
def test_help_says_how_it_ends(name: str) -> None:
    """A script goes by the exit code."""
    if name != "payout list":
        assert "Exit codes: " in " ".join(ppapi(*name.split(), "--help").out.split())


@pytest.mark.parametrize("name", OVER_ACCOUNTS)
@pytest.mark.parametrize("words", ["onne", "--account onne", "--account one --account onne"])
def test_accounts_are_named_either_way(home: Path, name: str, words: str) -> None:
    """As words after the command, or by an option, at every command about accounts."""
    path = write_accounts(home / "config" / "ppapi" / "accounts.toml", {})
    path.write_text(dead_account("one"))
    resource = ["links", "--live"] if name == "export" else []
    if name in ("report", "serve"):
        assert "[NAME]..." in ppapi(name, "--help").out
        return  # these go by the copy
    ran = ppapi(name, *resource, *words.split())
    assert ran.code == 2
    assert "there is no account 'onne'; did you mean 'one'?" in ran.err


@pytest.mark.parametrize("name", ["export links", "audit", "report", "serve"])
@pytest.mark.parametrize("since", ["2026-02-01", "2026-01-01"], ids=["after", "at"])
def test_a_time_that_ends_before_it_begins(home: Path, name: str, since: str) -> None:
    """Is refused in the same words."""
    path = write_accounts(home / "config" / "ppapi" / "accounts.toml", {})
    path.write_text(dead_account("one"))
    ran = ppapi(*name.split(), "--since", since, "--until", "2026-01-01")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"ppapi {name.partition(' ')[0]}: --since must be before --until\n"

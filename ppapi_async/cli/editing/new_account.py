"""What `init` and `add` ask for, or read: accounts that are to be put into the file.

A link holds the key. So it is typed unseen, or comes by a pipe, and is never an argument, which
would stay in the shell's history and stand in the list of processes.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from zoneinfo import ZoneInfo

import click
from attrs import Factory, define, evolve, frozen

from ppapi_async.cli.exits import CommandFailed, Exit
from ppapi_async.cli.options import accounts_option, zone
from ppapi_async.cli.output import may_ask, note, plain, quoted

if TYPE_CHECKING:
    from ppapi_async.account import Account, Secret
    from ppapi_async.accounts_file import AccountEntry
    from ppapi_async.cli.editing.accounts_edit import NewAccount

__all__ = ["NewAccountOptions", "collect", "new_account_options"]

Command: TypeAlias = Callable[..., int]
_MAY_BE_KEY = re.compile(r"[0-9A-Za-z]{24,}")
_LINK = re.compile(r"""[a-z]+://[^\s"'`<>«»“”]*[?&;]api_key=[^\s"'`<>«»“”]*""", re.IGNORECASE)
_LARGEST = 1024 * 1024
_STAND_IN = "\ue000"
"""In place of a key that is kept elsewhere."""
_USUAL_ZONE = "Europe/Moscow"
_ADVICE = {
    "allow_http=True": "--allow-http if it must be",
    "for the link that a site shows use Account.from_link": "paste the link when asked, or pipe it",
    "link: has no api_key": "that is no link with a key",
}
"""What `Account` says, and what is said here."""
_EXPLANATION = """\
Sites show their partners a link on the page about the API, such as
  https://site.example/api.html?api_action=pp&api_key=…&method=get_info
Paste it here; it is not shown, for it holds the key."""
_ABOUT_ZONES = """\
Sites tell times in a zone of their own and do not say which: with a wrong one, all times are hours
off. 'ppapi doctor' finds out more."""


@frozen(kw_only=True)
class NewAccountOptions:
    """What the user has said already."""

    url: str | None
    name: str | None
    timezone: ZoneInfo | None
    key_env: str | None
    key_file: str | None
    key_command: str | None
    user_api: bool
    allow_http: bool

    @property
    def source(self) -> tuple[str, str] | None:
        """Where the key is kept, other than in the accounts file: a field and its value."""
        file = None if self.key_file is None else str(Path(self.key_file).expanduser().absolute())
        given = (("key_env", self.key_env), ("key_file", file), ("key_command", self.key_command))
        found = [(name, value) for name, value in given if value is not None]
        if len(found) > 1:
            raise click.UsageError("--key-env, --key-file, --key-command: pass one of them")
        return found[0] if found else None


def new_account_options(function: Callable[[NewAccountOptions, str | None], int]) -> Command:
    """Add the options of a new account and that of the file, and the refusal of arguments.

    Args:
        function: takes what was said, and the path of the accounts file.
    """

    @click.argument("refused", nargs=-1, callback=_refuse, expose_value=False, metavar="")
    @click.option("--url", metavar="URL", help="Where the site is, in place of a link.")
    @click.option(
        "--name", metavar="NAME", show_default="its host", help="What to call the account."
    )
    @click.option(
        "--timezone",
        type=zone,
        metavar="ZONE",
        show_default="UTC, or that of the file",
        help="The zone of the site's times, such as Europe/Moscow.",
    )
    @click.option("--key-env", metavar="NAME", help="With --url: the key is in this variable.")
    @click.option("--key-file", metavar="FILE", help="With --url: the key is in this file.")
    @click.option(
        "--key-command",
        metavar="COMMAND",
        help="With --url: this prints the key, such as 'pass show site'.",
    )
    @click.option(
        "--user-api",
        is_flag=True,
        help="With --url: it is the User API of the site, which takes a login, too.",
    )
    @click.option("--allow-http", is_flag=True, help="Send the key unencrypted, readable for all.")
    @accounts_option
    @functools.wraps(function)
    def decorated(
        *,
        url: str | None,
        name: str | None,
        timezone: ZoneInfo | None,
        key_env: str | None,
        key_file: str | None,
        key_command: str | None,
        user_api: bool,
        allow_http: bool,
        accounts_file: str | None,
    ) -> int:
        options = NewAccountOptions(
            url=url,
            name=name,
            timezone=timezone,
            key_env=key_env,
            key_file=key_file,
            key_command=key_command,
            user_api=user_api,
            allow_http=allow_http,
        )
        return function(options, accounts_file)

    return decorated


def _refuse(context: click.Context, _: click.Parameter, value: Sequence[str]) -> None:
    """Refuse arguments, which may be links or keys.

    Raises:
        click.UsageError: there are some.
    """
    if not value:
        return
    command = context.command_path
    raise click.UsageError(
        "takes no link or key as an argument, where the shell's history and the list of processes"
        f" would show it. Run '{command}' and paste it when asked, or pipe it: '{command} < FILE'."
        " If this one held a key, delete it from the history.",
        context,
    )


def collect(
    options: NewAccountOptions, entries: Sequence[AccountEntry] = (), *, several: bool = False
) -> list[NewAccount]:
    """Return the accounts that the user wants to have.

    Args:
        options: what was said already.
        entries: the accounts that are there.
        several: more than one may be pasted.

    Raises:
        click.UsageError: something is wrong in what was said.
        CommandFailed: something is wrong in what was piped, or nothing was.
    """
    _check(options)
    added = _Added(options, list(entries))
    if options.source is not None:
        with _said_wrongly():
            account = added.site(None)
        added.take(_asked_further(added, account) if may_ask() else account)
        if not _is_there(*options.source):
            note("the key is not there now: it must be wherever and whenever ppapi runs")
    elif may_ask():
        _ask(added, several=several)
    else:
        _read(added, several=several)
    return added.accounts


def _check(options: NewAccountOptions) -> None:
    """Look whether the options go together.

    Raises:
        click.UsageError: they do not, or hold a key.
    """
    source = options.source
    if options.url is None and (source or options.user_api):
        raise click.UsageError("--key-env, --key-file, --key-command and --user-api go with --url")
    if source and options.user_api:
        raise click.UsageError("--user-api: login and key are asked for, or piped, one a line")
    if source is None:
        return
    field, value = source
    if field == "key_command":
        try:
            shlex.split(value)
        except ValueError:
            raise click.UsageError("--key-command: a quotation mark is not closed") from None
    elif not _is_there(field, value) and _MAY_BE_KEY.fullmatch(Path(value).name):
        raise click.UsageError(
            f"--{field.replace('_', '-')}: that may be a key, which is no argument; pass what it is"
            " kept in"
        )


def _is_there(field: str, value: str) -> bool:
    """Tell whether the key is where it is said to be, as far as can be told without reading it."""
    if field == "key_command":
        return True
    return value in os.environ if field == "key_env" else os.path.lexists(value)


@define
class _Added:
    """The accounts that are to be, beside those that are there."""

    options: NewAccountOptions
    entries: list[AccountEntry]
    accounts: list[NewAccount] = Factory(list)

    def site(self, secret: Secret | None, login: Secret | None = None) -> Account:
        """Return the account of a link, or of a key where the url was said; None: it is elsewhere.

        Raises:
            ValueError: it cannot be one, or is there already.
        """
        from ppapi_async.account import Account, Secret

        options = self.options
        if options.url is None and secret is not None:
            # In a proxy's place nothing is revealed; from_link hides what it takes apart.
            account = Account.from_link(_link_in(secret).reveal(), allow_http=options.allow_http)
        else:
            account = Account(
                options.url or "",
                secret or Secret(_STAND_IN),
                api_login=login,
                allow_http=options.allow_http,
            )
        for one in self.known():
            is_same = one.base_url == account.base_url and _is_same(one.api_key, account.api_key)
            if secret is not None and is_same:
                raise ValueError(f"that is the account {plain(one.name)!r}, which is there already")
        if options.timezone is not None:
            account = evolve(account, timezone=options.timezone.key)
        return account if options.name is None else self.named(account, options.name)

    def named(self, account: Account, name: str) -> Account:
        """Return the account with a name.

        Raises:
            ValueError: it cannot be a name, or another has it.
        """
        if name != account.name and quoted(name).startswith("("):
            raise ValueError("name: that may be a key, and errors and logs show the name")
        if any(one.name == name for one in self.known()):
            raise ValueError(f"name: there is an account {quoted(name)} already; pass another")
        return evolve(account, name=name)

    def free_name(self, account: Account) -> str:
        """Return a name for an account that no other has."""
        known = {one.name for one in self.known()}
        more = (f"{account.name}-{number}" for number in count(2))
        return next(name for name in chain([account.name], more) if name not in known)

    def take(self, account: Account) -> None:
        """Add an account.

        Raises:
            ValueError: another has its name.
        """
        from ppapi_async.account import Secret
        from ppapi_async.cli.editing.accounts_edit import NewAccount

        account = self.named(account, account.name)
        field, value = self.options.source or ("api_key", "")
        secret = Secret(value) if value else account.api_key
        has_zone = self.options.timezone is not None or may_ask()
        self.accounts.append(NewAccount(account, field, secret, has_zone=has_zone))

    def known(self) -> list[Account]:
        """Return the accounts that are there, or are to be."""
        return [*(one.account for one in self.entries), *(one.account for one in self.accounts)]


def _link_in(pasted: Secret) -> Secret:
    """Return the link in what was pasted: quotes, words or HTML may stand around it."""
    from ppapi_async.account import Secret

    found = _LINK.search(pasted.reveal())
    return pasted if found is None else Secret(found[0].replace("&amp;", "&").rstrip(".,;)]"))


def _is_same(key: Secret, other: Secret) -> bool:
    """Compare keys as sites do: without case."""
    return key.reveal().casefold() == other.reveal().casefold()


@contextlib.contextmanager
def _said_wrongly() -> Iterator[None]:
    """Say what is wrong in options.

    Raises:
        click.UsageError: something is.
    """
    try:
        yield
    except ValueError as error:
        raise click.UsageError(_words(error)) from None


def _words(error: ValueError) -> str:
    text = str(error)
    for advice, here in _ADVICE.items():
        text = text.replace(advice, here)
    return text


# --- people


def _ask(added: _Added, *, several: bool) -> None:
    """Ask for accounts until there are to be no more."""
    options = added.options
    if options.url is not None:
        with _said_wrongly():
            added.site(None)  # before anything is asked
    else:
        note(_EXPLANATION)
    may_be_more = several and options.url is None and options.name is None
    while True:
        account = _asked_for_key(added)
        if account is None:
            return
        added.take(_asked_further(added, account))
        if not may_be_more:
            return


def _asked_for_key(added: _Added) -> Account | None:
    """Ask for a link, or a key; None where there is to be no other."""
    options = added.options
    while True:
        login = _hidden("Login") if options.user_api else None
        if options.url is not None:
            secret = _hidden("Key")
        else:
            secret = _hidden("One more link, or Enter" if added.accounts else "Link")
        if not secret.reveal():
            if added.accounts:
                return None
            continue
        try:
            account = added.site(secret, login)
        except ValueError as error:
            note(f"  {_words(error)}")
            continue
        note(f"  {account.host}, with a key of {len(account.api_key.reveal())} characters")
        return account


def _hidden(what: str) -> Secret:
    from ppapi_async.account import Secret

    text = f"{what} (not shown)"
    return Secret(click.prompt(text, "", hide_input=True, show_default=False, err=True).strip())


def _asked_further(added: _Added, account: Account) -> Account:
    """Ask for what was not said: name and zone."""
    while added.options.name is None:
        name: str = click.prompt("Name", added.free_name(account), err=True).strip()
        try:
            account = added.named(account, name)
            break
        except ValueError as error:
            note(f"  {_words(error)}")
    if added.options.timezone is None:
        if not added.accounts:
            note(_ABOUT_ZONES)
        known = [one.timezone for one in added.known()]
        suggested = known[-1] if known else _zone_here()
        chosen: ZoneInfo = click.prompt("Time zone", suggested, value_proc=zone, err=True)
        account = evolve(account, timezone=chosen.key)
    return account


def _zone_here() -> str:
    """Return the zone of this machine, or that of most sites where it has none of its own."""
    named = os.environ.get("TZ", "") or os.path.realpath("/etc/localtime").partition("zoneinfo/")[2]
    try:
        ZoneInfo(named)
    except (KeyError, ValueError, OSError):
        return _USUAL_ZONE
    return _USUAL_ZONE if named in ("UTC", "Etc/UTC", "GMT", "Etc/GMT") else named


# --- pipes


def _read(added: _Added, *, several: bool) -> None:
    """Take links from stdin, one a line; where the url was said, the key, or login and key.

    Raises:
        CommandFailed: there are none, too many, or wrong ones.
    """
    from ppapi_async.account import Secret

    try:
        lines = [Secret(line.strip()) for line in sys.stdin.read(_LARGEST).splitlines()]
    except UnicodeDecodeError:
        raise CommandFailed("stdin is not UTF-8", Exit.USAGE) from None
    options = added.options
    secrets = [(number, line) for number, line in enumerate(lines, 1) if line.reveal()]
    login = secrets.pop(0)[1] if options.user_api and secrets else None
    what = "link" if options.url is None else "key"
    if not secrets:
        raise CommandFailed(
            f"there is no {what} on stdin; pipe it, or run this on a terminal", Exit.USAGE
        )
    if len(secrets) > 1 and (not several or options.url is not None or options.name is not None):
        raise CommandFailed(f"there is more than one {what} on stdin", Exit.USAGE)
    problems: list[str] = []
    for number, secret in secrets:
        try:
            added.take(added.site(secret, login))
        except ValueError as error:
            problems.append(f"line {number}: {_words(error)}")
    if problems:
        raise CommandFailed("\n".join([*problems, "nothing was written"]), Exit.USAGE)

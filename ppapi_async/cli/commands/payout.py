"""The command `payout`: request a payout, once, and settle what is unknown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
import platformdirs

from ppapi_async.cli.accounts import choose, load
from ppapi_async.cli.exits import CommandFailed, Exit
from ppapi_async.cli.options import accounts_option, json_option, names_option
from ppapi_async.cli.output import (
    Column,
    may_ask,
    note,
    number_text,
    plain,
    say,
    show,
    time_text,
)

if TYPE_CHECKING:
    from ppapi_async.account import Account
    from ppapi_async.cli.payouts.journal import NotedAttempt, PayoutJournal
    from ppapi_async.cli.payouts.paying import PayoutEnd
    from ppapi_async.models import Info, PayoutMethod

__all__ = ["command"]

_BESIDES = ("settle", "list")
"""What is no name of an account here."""
F = TypeVar("F", bound=Callable[..., object])
METHODS = (
    Column("id", "method", "what METHOD takes"),
    Column("title", "title", "its name at the site"),
    Column("commission", "commission %", "what is taken off, in per cent"),
    Column("amount", "you would get", "of the whole balance, in the method's currency"),
)
ATTEMPTS = (
    Column("account", "account", "its name when it was tried"),
    Column("sent_at", "tried at (UTC)", "by this machine's clock"),
    Column("method", "method", "the method's id"),
    Column("wallet", "wallet", "where it goes"),
    Column("balance", "balance", "the whole balance then, in the site's base currency"),
    Column("outcome", "outcome", "requested, refused, not sent, absent, forgotten or unknown"),
    Column("payout", "payout", "its id at the site"),
    Column("host", "", "the site's host"),
    Column("settled_at", "", "when that became known"),
)


class _PayoutCommands(click.Group):
    """`ppapi payout ACCOUNT …` beside `ppapi payout settle`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take what names no command for an account, whose payout is requested."""
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = ["request", *args]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of a request, which is no command to those who use it."""
        options = [one for one in _request.params if isinstance(one, click.Option)]
        records = (one.get_help_record(ctx) for one in options)
        with formatter.section("To request one"):
            formatter.write_dl([record for record in records if record is not None])
        with formatter.section("Besides"):
            formatter.write_dl(
                [(one.name or "", one.get_short_help_str(80)) for one in (_settle, _list)]
            )


def _amount(value: str | Decimal) -> Decimal:
    try:
        amount = Decimal(value)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise click.BadParameter(f"{str(value)!r} is no amount; write one such as 100.50")
    return amount


def _journal_option(function: F) -> F:
    return click.option(
        "--journal",
        metavar="FILE",
        envvar="PPAPI_PAYOUTS",
        show_envvar=True,
        show_default="payouts.db in the place for data",
        help="Where attempts are written down. All that request payouts must share one.",
    )(function)


def _open_journal(given: str | None) -> PayoutJournal:
    """Open the journal that an attempt is to be written into; made if it is not there."""
    from ppapi_async.cli.missing import is_missing
    from ppapi_async.cli.payouts.journal import PayoutJournal

    path = _journal_path(given)
    if given and is_missing(path):
        note(f"{plain(str(path))}: there is no such file; a new journal of payouts begins there")
    return PayoutJournal(path)


def _find_journal(given: str | None) -> PayoutJournal | None:
    """Open the journal that is there; None where nothing was ever written into the usual one.

    Raises:
        CommandFailed: one was named that is not there: what it would say is not known.
    """
    from ppapi_async.cli.missing import is_missing, missing
    from ppapi_async.cli.payouts.journal import PayoutJournal

    path = _journal_path(given)
    if not is_missing(path):
        return PayoutJournal(path)
    if given:
        raise CommandFailed(f"the journal of payouts {missing(path)}", Exit.USAGE)
    note(f"no payout was requested yet; the journal would be {plain(str(path))}")
    return None


def _journal_path(given: str | None) -> Path:
    if given:
        return Path(given).expanduser()
    return platformdirs.user_data_path("ppapi", appauthor=False) / "payouts.db"


@click.group(
    "payout",
    cls=_PayoutCommands,
    invoke_without_command=False,
    no_args_is_help=True,
    subcommand_metavar="ACCOUNT [METHOD WALLET]",
    options_metavar="[--yes]",
)
def command() -> None:
    """Request a payout, once; settle what is unknown.

    Sites pay out the whole balance, and know no way to take that back. So the command shows what
    would happen, and asks; it writes the attempt down before it sends it, sends it once, and
    refuses another one until it is known what became of the last.

    METHOD is the id of a payout method, or its title; without METHOD and WALLET the methods are
    shown. WALLET is the wallet or card to pay to.

    \b
    Examples:
      ppapi payout one                  what can be paid out, and how
      ppapi payout one 11 TXabc…        shows what would happen, and asks
      ppapi payout one 11 TXabc… --yes  asks nothing, for scripts
      ppapi payout settle               what became of those that are unknown

    Exit codes: 0 requested, or shown only; 1 certainly not requested; 4 unknown.
    """


@command.command("request", hidden=True)
@click.argument("account")
@click.argument("method", required=False)
@click.argument("wallet", required=False)
@click.option("--yes", is_flag=True, help="Request it without asking.")
@click.option(
    "--at-least", type=_amount, metavar="AMOUNT", help="Request nothing if the balance is lower."
)
@click.option(
    "--at-most", type=_amount, metavar="AMOUNT", help="Request nothing if the balance is higher."
)
@_journal_option
@json_option(METHODS)
@accounts_option
def _request(
    account: str,
    method: str | None,
    wallet: str | None,
    *,
    yes: bool,
    at_least: Decimal | None,
    at_most: Decimal | None,
    fields: tuple[str, ...] | None,
    journal: str | None,
    accounts_file: str | None,
) -> int:
    """Request a payout, or show the methods."""
    from ppapi_async.cli.payouts import paying
    from ppapi_async.cli.running import run

    (chosen,) = choose(load(accounts_file), [account])
    if method is not None and not (wallet or "").strip():
        raise click.UsageError("say the wallet to pay to, too: ppapi payout ACCOUNT METHOD WALLET")
    if method is None or wallet is None:
        _show_methods(run(lambda: paying.look(chosen)), fields)
        return Exit.DONE
    with _open_journal(journal) as opened:
        if opened.unsettled(chosen):
            _end(paying.in_the_way(chosen))
        info = run(lambda: paying.look(chosen))
        _check(info, at_least, at_most)
        way = _method_of(info, method)
        say(_announcement(chosen, info, way, wallet))
        if not yes and not _is_confirmed(chosen.name):
            return Exit.DONE
        try:
            # What was shown is what is sent: not less, where another was paid out meanwhile.
            end = run(lambda: paying.request(chosen, way.id, wallet, info.balance, at_most, opened))
        except KeyboardInterrupt:
            if not opened.unsettled(chosen):
                raise
            raise CommandFailed(
                "interrupted: the payout may have been requested;"
                f" 'ppapi payout settle {plain(chosen.name)}' finds out",
                Exit.PAYOUT_UNKNOWN,
            ) from None
    _end(end)
    return Exit.DONE


def _end(end: PayoutEnd) -> None:
    if end.exit is not Exit.DONE:
        raise CommandFailed(end.text, end.exit)
    say(end.text)


def _show_methods(info: Info, fields: Sequence[str] | None) -> None:
    show(
        METHODS,
        [
            {
                "id": str(one.id),  # a number, but none to put commas into
                "title": one.title,
                "commission": one.commission,
                "amount": one.amount,
            }
            for one in info.items
        ],
        fields=fields,
    )
    if fields is None:
        note(
            f"balance {number_text(info.balance)}, least {number_text(info.min_payout)}, in the"
            " site's base currency; a method is listed only while its reserve covers the balance"
        )


def _method_of(info: Info, given: str) -> PayoutMethod:
    """Return the method of an id or a title.

    Raises:
        CommandFailed: it is not offered now, or several have the title.
    """
    wanted = given.strip().casefold()
    found = [one for one in info.items if wanted == str(one.id)]
    found = found or [one for one in info.items if wanted == one.title.strip().casefold()]
    if len(found) == 1:
        return found[0]
    offered = ", ".join(f"{one.id} ({plain(one.title)})" for one in info.items) or "none"
    what = "is the title of several methods; say the id" if found else "is not offered now"
    raise CommandFailed(
        f"nothing was requested: method {given!r} {what}; there are: {offered}", Exit.USAGE
    )


def _check(info: Info, least: Decimal | None, most: Decimal | None) -> None:
    """Look whether the balance can be paid out.

    Raises:
        CommandFailed: it cannot, or is not to be.
    """
    balance = number_text(info.balance)
    if info.balance <= 0:
        why = f"the balance is {balance}"
    elif info.balance < info.min_payout:
        why = f"the balance {balance} is below the site's least, {number_text(info.min_payout)}"
    elif least is not None and info.balance < least:
        why = f"the balance {balance} is below --at-least {number_text(least)}"
    elif most is not None and info.balance > most:
        why = f"the balance {balance} is above --at-most {number_text(most)}"
    else:
        return
    raise CommandFailed(f"nothing was requested: {why}")


def _announcement(account: Account, info: Info, way: PayoutMethod, wallet: str) -> str:
    return "\n".join(
        [
            f"account   {plain(account.name)} at {account.host}",
            f"balance   {number_text(info.balance)}, all of it, in the site's base currency",
            f"method    {way.id} ({plain(way.title)}), commission {number_text(way.commission)} %",
            f"wallet    {plain(wallet)}",
            f"you get   {number_text(way.amount)} of the method's currency, by the present rate",
        ]
    )


def _is_confirmed(name: str) -> bool:
    """Ask whether a payout is to be requested; no one is there to answer but on a terminal.

    Raises:
        CommandFailed: it is not.
    """
    if not may_ask():
        note("nothing was requested; pass --yes to request it")
        return False
    answer: str = click.prompt(f"Type {plain(name)} to request it", default="", show_default=False)
    if answer.strip() != name:
        raise CommandFailed("nothing was requested")
    return True


@command.command("settle")
@names_option
@click.option(
    "--forget",
    is_flag=True,
    help="You have looked at the site and know what became of it: strike it out.",
)
@click.option("--yes", is_flag=True, help="With --forget: do not ask.")
@_journal_option
@accounts_option
def _settle(
    *,
    names: tuple[str, ...],
    forget: bool,
    yes: bool,
    journal: str | None,
    accounts_file: str | None,
) -> int:
    """Find out what became of payouts that are unknown.

    \b
    Examples:
      ppapi payout settle               all of them
      ppapi payout settle one           those of one account
      ppapi payout settle --forget one  you know: another may be requested

    Exit codes: 0 all are known now; 4 one is not.
    """
    from ppapi_async.cli.payouts import paying
    from ppapi_async.cli.running import run

    if forget and not names:
        raise click.UsageError("--forget: say of which account")
    chosen = choose(load(accounts_file), names)
    there = _find_journal(journal)
    if there is None:
        return Exit.DONE
    with there as opened:
        found = {one.name: opened.unsettled(one) for one in chosen}
        mine = {noted.id for attempts in found.values() for noted in attempts}
        strange = [] if names else [one for one in opened.unsettled() if one.id not in mine]
        if forget:
            _forget(opened, found, yes=yes)
            return Exit.DONE
        ends = run(lambda: paying.settle_all(chosen, found, opened))
    for end in ends:
        (say if end.exit is Exit.DONE else note)(end.text)
    for noted in strange:
        note(
            f"the payout of {time_text(noted.attempt.sent_at)} UTC of {plain(noted.account)}"
            f" at {plain(noted.host)} is unknown, and the accounts file has no such account"
        )
    if not ends and not strange:
        say("there is nothing to settle")
    return max(
        [Exit.PAYOUT_UNKNOWN] * bool(strange) + [end.exit for end in ends], default=Exit.DONE
    )


def _forget(
    journal: PayoutJournal, found: Mapping[str, Sequence[NotedAttempt]], *, yes: bool
) -> None:
    """Strike attempts out that the user knows about.

    Raises:
        CommandFailed: the user does not want to after all.
    """
    from ppapi_async.cli.payouts.journal import NotedOutcome

    for name, attempts in found.items():
        for one in attempts:
            say(
                f"{plain(name)}: the payout of {plain(one.balance)} tried at"
                f" {time_text(one.attempt.sent_at)} UTC"
            )
            if not yes and not _is_confirmed(name):
                raise CommandFailed("nothing was struck out")
            journal.settle(one.id, NotedOutcome.FORGOTTEN)
            say("struck out; another may be requested")
    if not any(found.values()):
        say("there is nothing to forget")


@command.command("list")
@_journal_option
@json_option(ATTEMPTS)
def _list(*, fields: tuple[str, ...] | None, journal: str | None) -> None:
    """Show the payouts that were tried from here.

    \b
    Examples:
      ppapi payout list
      ppapi payout list --json account,outcome,payout
    """
    found: Sequence[NotedAttempt] = ()
    if (there := _find_journal(journal)) is not None:
        with there as opened:
            found = opened.all()
    elif fields is None:
        return
    show(
        ATTEMPTS,
        [
            {
                "account": one.account,
                "sent_at": one.attempt.sent_at,
                "method": str(one.attempt.method_id),
                "wallet": one.attempt.account,
                "balance": one.balance,
                "outcome": "unknown" if one.outcome is None else one.outcome,
                "payout": None if one.payout_id is None else str(one.payout_id),
                "host": one.host,
                "settled_at": one.settled_at,
            }
            for one in found
        ],
        fields=fields,
    )

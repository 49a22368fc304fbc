"""The command `doctor`: find out what is wrong with accounts, and say what to do."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from ppapi_async.cli.accounts import choose, load
from ppapi_async.cli.exits import Exit
from ppapi_async.cli.options import accounts_option, json_option, names_option
from ppapi_async.cli.output import Column, is_terminal, note, plain, say, show

if TYPE_CHECKING:
    import ssl

    from ppapi_async.account import Account
    from ppapi_async.cli.asking.examination import CheckResult

__all__ = ["command"]

_COLUMNS = (
    Column("account", "account", "the account's name"),
    Column("check", "check", "what was looked at"),
    Column("state", "state", "ok, warning, failed or skipped"),
    Column("text", "", "what was found"),
    Column("advice", "", "what to do"),
    Column("host", "", "of the site"),
)
_AT_ONCE = 16
_MARKS = {"ok": "ok", "warning": "WARN", "failed": "FAIL", "skipped": "-"}
"""Words, so that they say the same without colours."""
_MARK = max(map(len, _MARKS.values())) + 2
_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}
_WIDEST = 100
_FEW = 5
"""Accounts of which all is told where none is named."""


@click.command("doctor")
@names_option
@json_option(_COLUMNS)
@accounts_option
def command(
    names: tuple[str, ...], *, fields: tuple[str, ...] | None, accounts_file: str | None
) -> int:
    """Find out what is wrong with accounts, and say what to do.

    Looks the site's name up, connects, asks for balance and a few rows, and tells what is odd: the
    certificate, redirects, the key, where the API is and which kind it is, how many rows an answer
    has, whether filters work, the clock and the likely time zone, how long answers take. At most
    eight requests for each account, all accounts at once; nothing is changed at the site. Of more
    than five accounts only what is odd is shown on a terminal; name some to see all of theirs.

    \b
    Examples:
      ppapi doctor                                  all accounts
      ppapi doctor one two                          two of them, in full
      ppapi doctor --json account,state | jq 'map(select(.state == "failed"))'

    Exit codes: 0 all is well, though there may be warnings; 1 something failed; 5 all that failed
    is keys.
    """
    import ssl

    from ppapi_async.cli.asking import examination  # noqa: F401 - loaded before the loop runs
    from ppapi_async.cli.running import run

    chosen = choose(load(accounts_file), names)
    is_for_people = fields is None and is_terminal()
    tls = ssl.create_default_context()
    is_short = not names and len(chosen) > _FEW
    show_one = (_show_odd if is_short else _show) if is_for_people else None
    found = run(lambda: _examine(chosen, tls, show_one))
    if not is_for_people:
        rows = [
            {
                "account": account.name,
                "check": one.check,
                "state": one.state.value,
                "text": one.text,
                "advice": one.advice,
                "host": account.host,
            }
            for account, results in found
            for one in results
        ]
        show(_COLUMNS, rows, fields=fields)
    failed = [one for _, results in found for one in results if one.state == "failed"]
    _sum_up([results for _, results in found])
    if not failed:
        return Exit.DONE
    return Exit.KEY if all(one.check == "key" for one in failed) else Exit.FAILED


async def _examine(
    accounts: Sequence[Account],
    tls: ssl.SSLContext,
    show_one: Callable[[Account, Sequence[CheckResult]], None] | None,
) -> list[tuple[Account, list[CheckResult]]]:
    """Examine all accounts at once; show each as soon as those before it are done."""
    import asyncio

    from ppapi_async.cli.asking.examination import examine

    slots = asyncio.Semaphore(_AT_ONCE)

    async def examine_one(account: Account) -> list[CheckResult]:
        async with slots:
            return await examine(account, tls=tls)

    found: list[tuple[Account, list[CheckResult]]] = []
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(examine_one(account)) for account in accounts]
        for account, task in zip(accounts, tasks, strict=True):
            results = await task
            found.append((account, results))
            if show_one is not None:
                show_one(account, results)
    return found


def _show_odd(account: Account, results: Sequence[CheckResult]) -> None:
    """Print what is odd about an account; a line where nothing is."""
    odd = [one for one in results if one.state in ("warning", "failed")]
    if odd:
        _show(account, odd)
        return
    found = {one.check: one.text for one in results}
    mark = _styled(_MARKS["ok"].ljust(_MARK), _COLOURS["ok"])
    say(f"  {mark}{plain(account.name)}  {plain(account.host)}, {found['dialect']}")


def _show(account: Account, results: Sequence[CheckResult]) -> None:
    """Print what was found about an account, for people."""
    from ppapi_async.cli.asking.examination import CHECKS

    width = min(shutil.get_terminal_size().columns, _WIDEST)
    label = max(map(len, CHECKS.values()))
    say(f"{_styled(plain(account.name), 'bold')}  {plain(account.host)}")
    skipped: dict[str, list[str]] = {}
    for one in results:
        if one.state == "skipped":
            skipped.setdefault(one.text, []).append(CHECKS[one.check])
            continue
        mark = _styled(_MARKS[one.state].ljust(_MARK), _COLOURS[one.state])
        texts = [one.text, *([f"→ {one.advice}"] if one.advice else [])]
        say(
            f"  {mark}{CHECKS[one.check].ljust(label)}  {_wrapped(texts, _MARK + label + 4, width)}"
        )
    for reason, names in skipped.items():
        text = _wrapped([f"{', '.join(names)}: {reason}"], _MARK + 2, width)
        say(f"  {_MARKS['skipped'].ljust(_MARK)}{text}")
    say()


def _wrapped(texts: Sequence[str], indent: int, width: int) -> str:
    """Return paragraphs that begin behind an indent and fit the width."""
    lines = [line for text in texts for line in textwrap.wrap(text, max(20, width - indent))]
    return f"\n{' ' * indent}".join(lines)


def _styled(text: str, style: str) -> str:
    """Return the text in a colour, or bold; as it is where nobody wants that."""
    if os.environ.get("NO_COLOR"):
        return text
    return click.style(text, bold=True) if style == "bold" else click.style(text, fg=style)


def _sum_up(found: Sequence[Sequence[CheckResult]]) -> None:
    """Tell on stderr how many accounts are well."""
    states = [{one.state.value for one in results} for results in found]
    failed = sum("failed" in one for one in states)
    odd = sum("warning" in one and "failed" not in one for one in states)
    counts = ((len(states) - failed - odd, "well"), (odd, "with warnings"), (failed, "failed"))
    listed = ", ".join(f"{count:,} {text}" for count, text in counts if count)
    note(f"{len(states):,} account{'s' if len(states) > 1 else ''}: {listed}")

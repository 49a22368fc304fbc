"""Keep a copy of your accounts in a database, and say what they have earned, exactly.

    pip install 'ppapi-async[mirror]'
    python mirror.py
    sqlite3 partner.db 'SELECT account, SUM(accrued) FROM rewards_by_day GROUP BY account'

Without arguments it makes two sites up on this machine, so that you see how it goes, and compares
with their books. For your own, and with PostgreSQL (the extra `postgres`):

    export ONE_KEY=…
    python mirror.py --accounts accounts.toml --database postgresql://user@host/partner

The first run reads all there is, later ones what is new and changed: have cron start it. It may be
killed at any moment. It ends with 1 if an account could not be read, or if `--audit` finds a
difference: that asks the sites again, all from the beginning, and compares row by row.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal

from ppapi_async import Account, Dialect, PPAPIError, load_accounts
from ppapi_async.mirror import AccountReport, Audit, Mirror, RewardSum


def report_line(report: AccountReport) -> str:
    """Return what is printed of an account's synchronisation."""
    if report.error is not None:
        behind = "never read" if report.behind is None else f"behind by {report.behind}"
        return f"{report.account}: {behind}: {report.error}"
    counts = ("new", "changed", "gone", "returned", "unreadable")
    told = [f"{count} {name}" for name in counts if (count := getattr(report, name))]
    return f"{report.account}: {report.rows} rows read{''.join(f', {one}' for one in told)}"


def reward_line(total: RewardSum) -> str:
    """Return what is printed of an account's rewards."""
    return (
        f"{total.account}: {total.accrued:f} accrued, {total.forecast:f} expected,"
        f" {total.exchanges} exchanges"
    )


def audit_lines(audit: Audit) -> list[str]:
    """Return what is printed of an audit."""
    lines = [f"audit: {audit.rows} rows compared, {len(audit.differences)} differ"]
    lines += [f"audit: {name}: {error}" for name, error in audit.errors.items()]
    for one in audit.differences:
        fields = f" in {', '.join(one.fields)}" if one.fields else ""
        lines.append(f"audit: {one.account}: {one.resource} {one.id} {one.kind}{fields}")
    return lines


async def copy(
    url: str, accounts: Sequence[Account], write: Callable[[str], object], *, audit: bool = False
) -> tuple[bool, dict[str, Decimal]]:
    """Bring the database up to date and print what there is.

    Returns:
        Whether everything went well, and by account what has accrued.
    """
    async with Mirror(url, accounts) as mirror:
        report = await mirror.sync()
        for one in report.accounts.values():
            write(report_line(one))
        totals = await mirror.rewards(by=("account",))
        for total in totals:
            write(reward_line(total))
        is_well = report.ok
        if audit:
            found = await mirror.audit()
            is_well = is_well and found.ok
            for line in audit_lines(found):
                write(line)
    return is_well, {total.account or "": total.accrued for total in totals}


@asynccontextmanager
async def made_up(write: Callable[[str], object]) -> AsyncIterator[list[Account]]:
    """Give accounts at two sites on this machine; print in the end what is in their books."""
    from ppapi_async.sandbox import Books, Sandbox

    begun, ended = (int(datetime(2026, month, 1, tzinfo=UTC).timestamp()) for month in (1, 4))
    sites = {
        name: Sandbox(dialect, books=Books.generate(seed, 300, begun, ended))
        for seed, (name, dialect) in enumerate(
            {"one": Dialect.CLASSIC, "two": Dialect.DELEGATING}.items()
        )
    }
    async with AsyncExitStack() as running:
        for site in sites.values():
            await running.enter_async_context(site)
        yield [Account(site.url, site.api_key, name=name) for name, site in sites.items()]
    for name, site in sites.items():
        accrued = [Decimal(order.reward) for order in site.books.orders if order.accrued]
        write(f"{name}: {sum(accrued, Decimal()):f} accrued, say the site's books")


async def run(options: argparse.Namespace, write: Callable[[str], object]) -> bool:
    """Run the program; return whether everything went well."""
    if options.accounts is not None:
        accounts = load_accounts(options.accounts)
        return (await copy(options.database, accounts, write, audit=options.audit))[0]
    async with made_up(write) as accounts:
        return (await copy(options.database, accounts, write, audit=options.audit))[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    parser = argparse.ArgumentParser(description="Keep a copy of your accounts in a database.")
    parser.add_argument("--accounts", help="a TOML file; default: two made-up sites")
    parser.add_argument("--database", default="sqlite:///partner.db", help="default: %(default)s")
    parser.add_argument("--audit", action="store_true", help="compare with the sites row by row")
    options = parser.parse_args(arguments)
    if options.accounts is None:  # made-up sites move to another port with each run, which is told
        logging.getLogger("ppapi_async").setLevel("ERROR")
    try:
        return 0 if asyncio.run(run(options, lambda text: print(text, flush=True))) else 1
    except (PPAPIError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

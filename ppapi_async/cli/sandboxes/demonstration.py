"""What the demo does: two sandboxes, a mirror of them, an audit and a report.

Everything is real but the sites: a mirror that has to page, to adapt its windows and to prove them
complete. What it holds in the end is compared with the sites' own books, to the last digit.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from attrs import frozen
from sqlalchemy import func, select

from ppapi_async.account import Account, Dialect
from ppapi_async.cli.copying.syncing import catch_up
from ppapi_async.cli.exits import CommandFailed, Exit
from ppapi_async.cli.output import note, number_text, plain, say
from ppapi_async.cli.report.gather import gather
from ppapi_async.cli.report.page import ReportPage
from ppapi_async.cli.whole_file import whole_file
from ppapi_async.mirror import Audit, Mirror, ReadOnlyMirror, SyncReport, schema
from ppapi_async.mirror.types import Money
from ppapi_async.sandbox import Sandbox

__all__ = ["Copy", "demonstrate", "differences", "table"]

_ZONE = "Europe/Moscow"  # three hours ahead of UTC, all year
_THREE_MONTHS = timedelta(days=90)
_SHOWN_IDS = 5
# The sandboxes' handlers share the loop with the client, and put thousands of rows into one answer:
# nothing that asyncio's debug mode (`python -X dev`) should report.
_SLOW_CALLBACK = 2.0


@frozen
class Copy:
    """What the mirror holds of one site."""

    ids: Mapping[str, Collection[int]]
    """By resource."""
    rewards: Mapping[str, Decimal]
    """Accrued, by the currency that was given."""


async def demonstrate(*, rows: int, seed: int, folder: Path | None) -> int:
    """Run the demo and return its exit code: DONE, or INCOMPLETE if something differs.

    Args:
        rows: exchanges to make up at each site.
        seed: what they are made up from.
        folder: where the copy and the report go; None: a new temporary one.

    Raises:
        CommandFailed: the folder is not empty.
    """
    asyncio.get_running_loop().slow_callback_duration = _SLOW_CALLBACK
    place = _made(folder)
    note(f"making up {rows:,} exchanges of three months at each of two sites …")
    sites = {
        str(dialect): Sandbox(dialect, rows=rows, seed=seed + number, timezone=_ZONE)
        for number, dialect in enumerate((Dialect.CLASSIC, Dialect.DELEGATING))
    }
    began = time.perf_counter()
    database = place / "partner.db"
    copies, report, audit = await _copy(sites, f"sqlite:///{database}")
    took = time.perf_counter() - began
    note("drawing the report …")
    page = place / "report.html"
    drawn = await _draw(f"sqlite:///{database}")
    with whole_file(page) as file:
        file.write(drawn.encode())
    found = {name: differences(copies[name], site) for name, site in sites.items()}
    say(table(copies, report, audit, found))
    count = sum(len(ids) for copy in copies.values() for ids in copy.ids.values())
    say(f"\n{count:,} rows copied and audited in {took:.1f} s")
    is_right = audit.ok and report.ok and not any(found.values())
    for name, lines in found.items():
        for line in lines:
            say(f"{name}: {line}")
    for name, error in {**report.failed, **audit.errors}.items():
        say(f"{name}: {error.message}")
    say("the copy is as the sites' own books: proven complete" if is_right else "NOT complete")
    say(f"copy:   {database}")
    say(f"report: {page}")
    return Exit.DONE if is_right else Exit.INCOMPLETE


def _made(folder: Path | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="ppapi-demo-"))
    shown = plain(str(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_empty = not any(folder.iterdir())
    except OSError as error:  # a file has the name, or is in the way, or it is not allowed
        text = f"--folder: {shown} cannot be a folder ({error.strerror}); name a new one"
        raise CommandFailed(text, Exit.USAGE) from None
    if not is_empty:
        raise CommandFailed(f"--folder: {shown} is not empty; name a new one", Exit.USAGE)
    return folder.absolute()


async def _copy(
    sites: Mapping[str, Sandbox], url: str
) -> tuple[dict[str, Copy], SyncReport, Audit]:
    """Copy the sites, audit the copy, and return what it holds of each."""
    async with contextlib.AsyncExitStack() as stack:
        for site in sites.values():
            await stack.enter_async_context(site)
        accounts = [
            Account(site.url, site.api_key, name=name, api_login=site.api_login, timezone=_ZONE)
            for name, site in sites.items()
        ]
        mirror = await stack.enter_async_context(Mirror(url, accounts))
        note("copying them …")
        report = await catch_up(mirror, accounts)
        note("asking the sites again, and comparing …")
        audit = await mirror.audit()
        return {name: await _held(mirror, name) for name in sites}, report, audit


async def _held(mirror: Mirror, name: str) -> Copy:
    """Return what a mirror holds of an account."""
    orders, ids = schema.exchanges, {}
    async with mirror.connect() as connection:
        query = select(schema.accounts.c.account).where(schema.accounts.c.name == name)
        number = (await connection.execute(query)).scalar_one()
        for resource, rows in schema.ROWS.items():
            chosen = select(rows.c.id).where(rows.c.account == number)
            ids[resource] = list((await connection.execute(chosen)).scalars())
        code, reward = orders.c.currency_code_give, orders.c.partner_reward
        sums = (
            select(code, func.decimal_sum(reward, type_=Money))
            .where(orders.c.account == number, orders.c.accrued)
            .group_by(code)
        )
        rewards = {row[0]: row[1] for row in await connection.execute(sums)}
    return Copy(ids, rewards)


def differences(copy: Copy, site: Sandbox) -> list[str]:
    """Compare what was copied with the site's books, to the last digit."""
    books = site.books
    true: dict[str, list[int]] = {
        "links": [one.id for one in books.links_in()],
        "exchanges": [one.id for one in books.exchanges_in()],
        "payouts": [one.id for one in books.payouts_in()],
    }
    found = []
    for resource, ids in true.items():
        got, expected = Counter(copy.ids[resource]), Counter(ids)
        if missing := expected - got:
            found.append(f"{missing.total():,} {resource} are missing: {_some(missing)}")
        if strange := got - expected:
            found.append(f"{strange.total():,} {resource} are not in the books: {_some(strange)}")
    zero, rewards = Decimal(), books.rewards_by_currency()
    return found + [
        f"rewards for {code}: {copy.rewards.get(code, zero):f} here,"
        f" {rewards.get(code, zero):f} there"
        for code in sorted(copy.rewards.keys() | rewards.keys())
        if copy.rewards.get(code, zero) != rewards.get(code, zero)
    ]


def _some(ids: Counter[int]) -> str:
    shown = ", ".join(map(str, sorted(ids)[:_SHOWN_IDS]))
    return f"{shown}, …" if len(ids) > _SHOWN_IDS else shown


async def _draw(url: str) -> str:
    """Return the page of everything that the copy holds."""
    now = datetime.now(UTC)
    async with ReadOnlyMirror(url) as mirror:
        zone = ZoneInfo(_ZONE)
        data = await gather(mirror, start=now - _THREE_MONTHS, end=now, zone=zone, now=now)
    return ReportPage().draw(data)


def table(
    copies: Mapping[str, Copy],
    report: SyncReport,
    audit: Audit,
    found: Mapping[str, Sequence[str]],
) -> str:
    """Return the results as an aligned table with a column for each site."""
    differing = Counter(one.account for one in audit.differences)
    lines = [
        ["", *copies],
        *(
            [title, *(f"{len(copy.ids[resource]):,}" for copy in copies.values())]
            for title, resource in (
                ("clicks", "links"),
                ("orders", "exchanges"),
                ("payouts", "payouts"),
            )
        ),
        ["requests", *(f"{report.accounts[name].requests:,}" for name in copies)],
        [
            "rewards (USD)",
            *(number_text(sum(copy.rewards.values(), Decimal())) for copy in copies.values()),
        ],
        ["differ in the audit", *(f"{differing[name]:,}" for name in copies)],
        ["the site's books", *("DIFFER" if found[name] else "same" for name in copies)],
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "   ".join(
            [line[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        )
        for line in lines
    )

"""The demo: three months of two sites, streamed at once and checked against their books.

Everything is real but the sites: sandboxes on local ports, a `Session` each, and streams that have
to page, adapt their windows and prove themselves complete. Progress goes to stderr, the table to
stdout.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TextIO

import click
from attrs import Factory, define, field, frozen

from ppapi_async.account import Account, Dialect
from ppapi_async.cli.options import MOST_ROWS, whole_number
from ppapi_async.errors import PPAPIError
from ppapi_async.models import Exchange, Progress
from ppapi_async.sandbox import Order, Sandbox
from ppapi_async.session import Session

__all__ = ["ROWS", "Check", "Tally", "command", "run", "table"]

ROWS = 40_000
"""Exchanges at each site."""
_ZONE = "Europe/Moscow"  # three hours ahead of UTC, all year
_THREE_MONTHS = timedelta(days=90)
_TOP = 3  # currencies in the table
_SHOWN_IDS = 5
_LINE = 78
# The sandboxes' handlers share the loop with the client, and put thousands of rows into one answer:
# nothing that asyncio's debug mode (`python -X dev`) should report.
_SLOW_CALLBACK = 2.0


def run(
    *, rows: int = ROWS, seed: int = 1, out: TextIO | None = None, err: TextIO | None = None
) -> int:
    """Run the demo and return its exit code: 0 proven complete, 1 something differs.

    Args:
        rows: exchanges to make up at each site.
        seed: what they are made up from.
        out: where the table goes, stdout unless given.
        err: where progress goes, stderr unless given.
    """
    out, screen = out or sys.stdout, Screen(err or sys.stderr)
    screen.say(f"making up {rows:,} exchanges of three months at each of two sites …")
    start = datetime.fromtimestamp(int(time.time()), UTC) - _THREE_MONTHS
    sandboxes = [
        Sandbox(dialect, rows=rows, seed=seed + number, timezone=_ZONE)
        for number, dialect in enumerate((Dialect.CLASSIC, Dialect.DELEGATING))
    ]
    began = time.perf_counter()
    tallies = asyncio.run(_stream_all(sandboxes, start, screen))
    took = time.perf_counter() - began
    checks = [
        Check.of(tally, sandbox, start) for tally, sandbox in zip(tallies, sandboxes, strict=True)
    ]
    print(table(tallies, checks), file=out)
    print(_conclusion(tallies, checks, took), file=out, flush=True)
    return 0 if all(check.complete for check in checks) else 1


async def _stream_all(
    sandboxes: Sequence[Sandbox], start: datetime, screen: Screen
) -> Sequence[Tally]:
    """Read all sites at once."""
    asyncio.get_running_loop().slow_callback_duration = _SLOW_CALLBACK
    try:
        return await asyncio.gather(*(_stream(one, start, screen) for one in sandboxes))
    finally:
        screen.end()


async def _stream(sandbox: Sandbox, start: datetime, screen: Screen) -> Tally:
    """Read one site up to the present, as any program would."""
    tally = Tally(sandbox.dialect)
    async with sandbox:
        account = Account(sandbox.url, sandbox.api_key, name=tally.site, timezone=_ZONE)
        try:
            async with Session(account, on_request=lambda _: tally.count_request()) as session:
                stream = session.iter_exchanges(
                    start, progress=lambda progress: screen.show(tally.site, progress)
                )
                async for window in stream.windows():
                    tally.add(window.records)
        except PPAPIError as error:
            tally.problem = str(error)
    return tally


@define
class Tally:
    """What came from one site."""

    site: str
    requests: int = 0
    """HTTP requests, the one that recognises the dialect and any repeated ones included."""
    windows: int = 0
    ids: list[int] = Factory(list)
    rewards: dict[str, Decimal] = Factory(dict)
    """Accrued, in the site's base currency, by the currency that was given."""
    in_order: bool = True
    problem: str | None = None
    """Why the stream ended early."""
    _latest: datetime | None = None

    def count_request(self) -> None:
        """Count an HTTP request."""
        self.requests += 1

    def add(self, exchanges: Iterable[Exchange]) -> None:
        """Count a window's exchanges."""
        self.windows += 1
        for exchange in exchanges:
            self.ids.append(exchange.id)
            self.in_order &= self._latest is None or exchange.time >= self._latest
            self._latest = exchange.time
            if exchange.accrued:
                code = exchange.currency_code_give
                self.rewards[code] = self.rewards.get(code, Decimal()) + exchange.partner_reward


@frozen
class Check:
    """How a tally compares with the books of its site."""

    site: str
    differences: tuple[str, ...] = field(converter=tuple[str, ...])

    @property
    def complete(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    @classmethod
    def of(cls, tally: Tally, sandbox: Sandbox, start: datetime) -> Check:
        """Compare ids, order and the sums of accrued rewards, to the last digit."""
        since = int(start.timestamp())
        if sandbox.dialect is Dialect.CLASSIC:  # created there, last edited on 2.7
            orders = sandbox.books.exchanges_in(since, by="created")
            rewards = sandbox.books.rewards_by_currency(since, by="created")
        else:
            orders = sandbox.books.exchanges_in(since, by="edited")
            rewards = sandbox.books.rewards_by_currency(since, by="edited")
        return cls(
            tally.site,
            [
                *([] if tally.problem is None else [tally.problem]),
                *_compare_ids(tally, orders),
                *_compare_rewards(tally.rewards, rewards),
            ],
        )


def _compare_ids(tally: Tally, orders: Iterable[Order]) -> list[str]:
    got, true = set(tally.ids), {order.id for order in orders}
    repeated = len(tally.ids) - len(got)
    found = []
    if missing := true - got:
        found.append(f"{len(missing):,} exchanges are missing: {_some(missing)}")
    if strange := got - true:
        found.append(f"{len(strange):,} exchanges are not in the books: {_some(strange)}")
    if repeated:
        found.append(f"{repeated:,} exchanges came more than once")
    if not tally.in_order:
        found.append("exchanges came out of order")
    return found


def _compare_rewards(got: dict[str, Decimal], true: dict[str, Decimal]) -> list[str]:
    nothing = Decimal()
    return [
        f"rewards for {code}: {got.get(code, nothing)} came, {true.get(code, nothing)} in the books"
        for code in sorted(got.keys() | true.keys())
        if got.get(code, nothing) != true.get(code, nothing)
    ]


def _some(ids: set[int]) -> str:
    shown = ", ".join(map(str, sorted(ids)[:_SHOWN_IDS]))
    return f"{shown}, …" if len(ids) > _SHOWN_IDS else shown


def table(tallies: Sequence[Tally], checks: Sequence[Check]) -> str:
    """Return the results as an aligned table with a column for each site."""
    top = _top_currencies(tallies)
    lines = [
        ["", *(tally.site for tally in tallies)],
        ["rows", *(f"{len(tally.ids):,}" for tally in tallies)],
        ["requests", *(f"{tally.requests:,}" for tally in tallies)],
        ["windows", *(f"{tally.windows:,}" for tally in tallies)],
    ]
    lines += [
        [f"rewards for {code}", *(_money(tally.rewards.get(code, Decimal())) for tally in tallies)]
        for code in top
    ]
    lines += [
        [
            "all rewards (USD)",
            *(_money(sum(tally.rewards.values(), Decimal())) for tally in tallies),
        ],
        ["the site's books", *("same" if check.complete else "DIFFER" for check in checks)],
    ]
    return _align(lines)


def _top_currencies(tallies: Sequence[Tally]) -> list[str]:
    totals: dict[str, Decimal] = {}
    for tally in tallies:
        for code, amount in tally.rewards.items():
            totals[code] = totals.get(code, Decimal()) + amount
    return sorted(totals, key=lambda code: (-totals[code], code))[:_TOP]


def _money(amount: Decimal) -> str:
    return f"{amount:,.2f}"


def _align(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "   ".join(
            [line[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        )
        for line in lines
    )


def _conclusion(tallies: Sequence[Tally], checks: Sequence[Check], took: float) -> str:
    rows = sum(len(tally.ids) for tally in tallies)
    streamed = f"{rows:,} exchanges in {took:.1f} s"
    if all(check.complete for check in checks):
        return f"\n{streamed}; ids and rewards as in the sites' own books: proven complete."
    differences = (f"{check.site}: {text}" for check in checks for text in check.differences)
    return "\n".join([f"\n{streamed}; NOT complete:", *differences])


@define
class Screen:
    """Progress: on a terminal one line that is rewritten, elsewhere a line for each quarter."""

    _to: TextIO
    _sites: dict[str, str] = Factory(dict)
    _quarters: dict[str, int] = Factory(dict)

    def say(self, text: str) -> None:
        """Write a line."""
        print(text, file=self._to, flush=True)

    def show(self, site: str, progress: Progress) -> None:
        """Show how far a site is."""
        done = progress.fraction or 0.0
        text = f"{site} {progress.rows:,} rows {done:.0%}"
        self._sites[site] = text
        if self._to.isatty():
            line = "   ".join(self._sites.values())
            print(f"\r{line:<{_LINE}}", end="", file=self._to, flush=True)
        elif int(4 * done) > self._quarters.get(site, 0):
            self._quarters[site] = int(4 * done)
            self.say(text)

    def end(self) -> None:
        """Leave the line that is rewritten, if there is one."""
        if self._to.isatty():
            self.say("")


@click.command("demo")
@click.option(
    "--rows",
    type=whole_number(1, MOST_ROWS),
    default=ROWS,
    metavar="N",
    show_default=True,
    help="Exchanges at each site.",
)
@click.option("--seed", type=int, default=1, help="The same seed makes up the same books.")
def command(*, rows: int, seed: int) -> int:
    """Copy, audit and report on two made-up sites."""
    return run(rows=rows, seed=seed)

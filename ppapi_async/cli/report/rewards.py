"""Rewards over time: which bars there are, who is in them, and the table beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from attrs import frozen
from markupsafe import Markup

from ppapi_async.cli.report.charts import Series, TimeBar, legend, sparkline, stacked_bars
from ppapi_async.cli.report.data import Grain, ReportData
from ppapi_async.cli.report.limits import Limits
from ppapi_async.cli.report.timeline import Timeline
from ppapi_async.cli.report.writing import UNNAMED, Writer
from ppapi_async.protocol.fields import EXACT

__all__ = ["RewardCard", "RewardChart", "Rewards", "rewards_of"]

_MOST_SERIES = 6
_FEW_CURRENCIES = 4
"""Up to so many, the unknown ones, too, have a chart of their own."""


@frozen
class RewardChart:
    """Bars of one currency, and the table with the same values."""

    currency: str
    total: Decimal
    drawing: Markup
    legend: Markup
    names: tuple[Markup, ...]
    """Of the accounts that have a colour."""
    rows: tuple[tuple[str, Decimal, tuple[Decimal, ...]], ...]
    """The time, all of it, and each account's; newest first, times without rewards left out."""


@frozen
class RewardCard:
    """A small chart with a scale of its own."""

    currency: str
    account: str | None
    total: Decimal
    drawing: Markup


@frozen
class Rewards:
    """All charts of rewards."""

    grain: Grain
    charts: tuple[RewardChart, ...]
    cards: tuple[RewardCard, ...]
    """Of currencies beyond those that have a chart."""
    more_cards: int
    unnamed: tuple[RewardCard, ...]
    """Of accounts whose currency is not named."""
    more_unnamed: int
    lines: Mapping[str, Sequence[Decimal]]
    """The rewards of each currency over time, and of each account under `@name`."""


def rewards_of(data: ReportData, writer: Writer, limits: Limits) -> Rewards:
    """Return the charts of rewards, the currencies with most accounts first."""
    calendar = Timeline.of(data, writer)
    count = len(calendar.starts)
    accounts = {one.name: one for one in data.accounts}
    by_account: dict[str, list[Decimal]] = {}
    for one in data.days:
        values = by_account.setdefault(one.account, [Decimal()] * count)
        place = calendar.place(one.day)
        values[place] = EXACT.add(values[place], one.accrued)
    by_currency: dict[str, dict[str, list[Decimal]]] = {}
    for name, values in by_account.items():
        if name in accounts and any(values):
            by_currency.setdefault(accounts[name].currency, {})[name] = values
    order = sorted(
        by_currency, key=lambda one: (one.startswith(UNNAMED), -len(by_currency[one]), one)
    )
    named = [one for one in order if not one.startswith(UNNAMED)]
    full = (order if len(order) <= _FEW_CURRENCIES else named)[: limits.charts]
    rest = [one for one in order if one not in full]
    rest.sort(key=lambda one: -sum(accounts[name].orders for name in by_currency[one]))
    named = [one for one in rest if not one.startswith(UNNAMED)]
    unnamed = [one for one in rest if one.startswith(UNNAMED)]
    sums = {one: _added(by_currency[one].values(), count) for one in order}
    return Rewards(
        calendar.grain,
        tuple(_chart(one, by_currency[one], calendar, writer) for one in full),
        tuple(_card(one, by_currency[one], sums[one]) for one in named[: limits.cards]),
        max(0, len(named) - limits.cards),
        tuple(_card(one, by_currency[one], sums[one]) for one in unnamed[: limits.cards]),
        max(0, len(unnamed) - limits.cards),
        sums | {f"@{name}": values for name, values in by_account.items()},
    )


def _added(lines: Iterable[Sequence[Decimal]], count: int) -> list[Decimal]:
    total = [Decimal()] * count
    for line in lines:
        total = [EXACT.add(*pair) for pair in zip(total, line, strict=True)]
    return total


def _card(
    currency: str, lines: Mapping[str, Sequence[Decimal]], total: list[Decimal]
) -> RewardCard:
    account = next(iter(lines)) if len(lines) == 1 and currency.startswith(UNNAMED) else None
    return RewardCard(currency, account, sum(total, Decimal()), sparkline(total))


def _chart(
    currency: str, lines: Mapping[str, Sequence[Decimal]], calendar: Timeline, writer: Writer
) -> RewardChart:
    count = len(calendar.starts)
    ranked = sorted(lines, key=lambda name: (-sum(lines[name], Decimal()), name))
    # A single one left over stands for itself: "others" would say less in as much room.
    most = _MOST_SERIES if len(ranked) > _MOST_SERIES + 1 else len(ranked)
    drawn = [(f"s{at + 1}", lines[name]) for at, name in enumerate(ranked[:most])]
    names = [writer.site(name, 32) for name in ranked[:most]]
    if others := ranked[most:]:
        drawn.append(("s0", _added((lines[name] for name in others), count)))
        names.append(
            Markup("{} ({})").format(writer.say("others"), writer.counted("accounts", len(others)))
        )
    totals = _added(lines.values(), count)
    total = sum(totals, Decimal())
    columns = [
        TimeBar(
            calendar.name(place, writer, short=True),
            f"{calendar.name(place, writer)}: {writer.numbers.amount(totals[place], currency)}",
        )
        for place in range(count)
    ]
    drawing = stacked_bars(
        columns,
        [Series(style, values) for style, values in drawn],
        label=writer.say(
            "rewards_chart",
            currency=writer.plain(currency),
            total=writer.numbers.amount(total, currency),
        ),
        write=writer.numbers.short,
    )
    rows = tuple(
        (calendar.name(place, writer), totals[place], tuple(values[place] for _, values in drawn))
        for place in reversed(range(count))
        if any(values[place] for _, values in drawn)
    )
    key = legend([(style, name) for (style, _), name in zip(drawn, names, strict=True)])
    return RewardChart(currency, total, drawing, key, tuple(names), rows)

"""What comes first among many, where amounts of several currencies cannot be compared. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from attrs import define, evolve, field, frozen

from ppapi_async.cli.report.data import Amounts, Direction, Funnel, FunnelStep
from ppapi_async.cli.report.sums import LabelSums, total

__all__ = ["Worth", "amounts_added", "best_directions", "funnel_of", "label_funnel", "together"]


@define(eq=False)
class Worth:
    """What amounts are worth beside each other: their share of all in their currency.

    A currency weighs as much as its orders are of all orders, so that an account with a currency of
    its own does not come first because it has all of it.
    """

    _accrued: dict[str, Decimal] = field(factory=dict)
    _forecast: dict[str, Decimal] = field(factory=dict)
    _orders: dict[str, int] = field(factory=dict)

    def add(self, currency: str, accrued: Decimal, forecast: Decimal, orders: int) -> None:
        """Take in what an account has."""
        self._accrued[currency] = total((self._accrued.get(currency, Decimal()), accrued))
        self._forecast[currency] = total((self._forecast.get(currency, Decimal()), forecast))
        self._orders[currency] = self._orders.get(currency, 0) + orders

    def of(self, accrued: Amounts, forecast: Amounts) -> tuple[float, float]:
        """Return what rewards and forecasts are worth."""
        return self._worth(accrued, self._accrued), self._worth(forecast, self._forecast)

    def _worth(self, amounts: Amounts, all_of_them: Mapping[str, Decimal]) -> float:
        return sum(
            float(amount / all_of_them[currency]) * self._orders[currency]
            for currency, amount in amounts.items()
            if amount and all_of_them.get(currency)
        )


@frozen
class _Rank:
    """How a step is compared with others: more comes first, then by label."""

    worth: tuple[float, float]
    counts: tuple[int, int, int]
    label: str

    def key(self) -> tuple[object, ...]:
        return (*(-one for one in self.worth), *(-one for one in self.counts), self.label)


def funnel_of(
    by: str,
    steps: Iterable[FunnelStep],
    worth: Worth,
    *,
    most: int,
    orders: int = 0,
    unjoined_orders: int = 0,
    unjoined_accrued: Amounts | None = None,
    more: Sequence[FunnelStep] = (),
    more_count: int = 0,
) -> Funnel:
    """Return the steps that earned most, and what the others add up to.

    Args:
        by: account, sub_id or referrer.
        steps: all that are kept apart.
        worth: how they are compared.
        most: how many are told one by one.
        orders: how many there are in all.
        unjoined_orders: how many of them are in no step.
        unjoined_accrued: their rewards.
        more: what is known only of several labels together.
        more_count: how many labels those are.
    """
    ranked = sorted(
        steps,
        key=lambda one: _Rank(
            worth.of(one.accrued, one.forecast),
            (one.completed, one.orders, one.clicks),
            one.label,
        ).key(),
    )
    left_out = [*ranked[most:], *more]
    return Funnel(
        by=by,
        steps=tuple(ranked[:most]),
        more=len(ranked[most:]) + more_count,
        rest=together(left_out) if left_out else None,
        unjoined_orders=unjoined_orders,
        unjoined_accrued=unjoined_accrued or {},
        orders=orders,
    )


def label_funnel(
    by: str,
    sums: LabelSums,
    worth: Worth,
    *,
    most: int,
    orders: int,
    unjoined_orders: int,
    unjoined_accrued: Amounts,
) -> Funnel:
    """Return the funnel by sub-id or by referrer; see `funnel_of`."""
    none: dict[str, list[Decimal]] = {}
    steps = [
        _step_of(label, counts, sums.amounts.get(label, none))
        for label, counts in sums.counts.items()
    ]
    return funnel_of(
        by,
        steps,
        worth,
        most=most,
        orders=orders,
        unjoined_orders=unjoined_orders,
        unjoined_accrued=unjoined_accrued,
        more=[_step_of("", sums.left_out, none)] if sums.labels_left_out else [],
        more_count=sums.labels_left_out,
    )


def _step_of(
    label: str, counts: Sequence[int], amounts: Mapping[str, Sequence[Decimal]]
) -> FunnelStep:
    return FunnelStep(
        label=label,
        clicks=counts[0],
        visitors=counts[1],
        orders=counts[2],
        completed=counts[3],
        accrued_orders=counts[4],
        accrued={currency: two[0] for currency, two in amounts.items()},
        forecast={currency: two[1] for currency, two in amounts.items()},
    )


def best_directions(
    directions: Iterable[Direction], most: int
) -> tuple[tuple[Direction, ...], int]:
    """Return those with most orders, and how many others there are."""
    ranked = sorted(directions, key=lambda one: (-one.orders, -one.completed, one.give, one.get))
    return tuple(ranked[:most]), max(0, len(ranked) - most)


def amounts_added(several: Iterable[Amounts]) -> dict[str, Decimal]:
    """Return the sums, currency by currency."""
    found: dict[str, list[Decimal]] = {}
    for amounts in several:
        for currency, amount in amounts.items():
            found.setdefault(currency, []).append(amount)
    return {currency: total(parts) for currency, parts in found.items()}


def together(steps: Sequence[FunnelStep]) -> FunnelStep:
    """Return what several steps add up to, currency by currency."""
    rest = FunnelStep(
        label="",
        clicks=sum(one.clicks for one in steps),
        visitors=sum(one.visitors for one in steps),
        orders=sum(one.orders for one in steps),
        completed=sum(one.completed for one in steps),
        accrued_orders=sum(one.accrued_orders for one in steps),
        accrued=amounts_added(one.accrued for one in steps),
        forecast=amounts_added(one.forecast for one in steps),
    )
    paid = [one.paid for one in steps if one.paid is not None]
    return evolve(rest, paid=amounts_added(paid)) if paid else rest

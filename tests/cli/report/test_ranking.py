"""What comes first, where amounts of several currencies cannot be compared."""

from __future__ import annotations

from decimal import Decimal

from ppapi_async.cli.report.data import Amounts, Direction, FunnelStep
from ppapi_async.cli.report.ranking import (
    Worth,
    amounts_added,
    best_directions,
    funnel_of,
    label_funnel,
)
from ppapi_async.cli.report.sums import LabelSums

USD, EUR = "USD", "EUR"


def step(label: str, accrued: Amounts | None = None, **values: object) -> FunnelStep:
    """Return a step that earned so much."""
    return FunnelStep(label=label, accrued=accrued or {}, **values)  # type: ignore[arg-type]


def order_of(worth: Worth, *steps: FunnelStep) -> list[str]:
    """Return the labels, the best first."""
    return [one.label for one in funnel_of("sub_id", steps, worth, most=50).steps]


def test_those_that_earned_most_come_first() -> None:
    """Then those that may earn most, then by orders and clicks, then by label."""
    worth = Worth()
    worth.add(USD, Decimal(100), Decimal(50), 10)
    steps = (
        step("b"), step("a"), step("c", clicks=9), step("d", orders=1), step("e", completed=1),
        step("f", forecast={USD: Decimal(3)}), step("g", {USD: Decimal(1)}),
        step("h", {USD: Decimal(2)}),
    )  # fmt: skip
    assert order_of(worth, *steps) == ["h", "g", "f", "e", "d", "c", "a", "b"]


def test_currencies_are_compared_by_their_shares() -> None:
    """A tenth of the dollars, of many orders, comes before all of a currency of few."""
    worth = Worth()
    worth.add(USD, Decimal(600), Decimal(), 600)
    worth.add(USD, Decimal(400), Decimal(), 300)
    worth.add("¤ new", Decimal(50_000), Decimal(), 3)
    steps = (
        step("new", {"¤ new": Decimal(50_000)}), step("tenth", {USD: Decimal(100)}),
        step("little", {USD: Decimal(2)}), step("lost", {EUR: Decimal(5)}),
    )  # fmt: skip
    assert order_of(worth, *steps) == ["tenth", "new", "little", "lost"]


def test_what_is_left_out_is_added_up() -> None:
    """Currency by currency; payouts too, where there are any."""
    steps = [
        step("a", {USD: Decimal(3)}, orders=3, paid={USD: Decimal(5)}),
        step("b", {USD: Decimal("0.1"), EUR: Decimal(1)}, orders=2, clicks=4, visitors=3,
             completed=2, accrued_orders=1, forecast={EUR: Decimal(7)}, paid={USD: Decimal(6)}),
        step("c", {USD: Decimal("0.2")}, orders=1, clicks=1, paid={EUR: Decimal(2)}),
    ]  # fmt: skip
    worth = Worth()
    worth.add(USD, Decimal("3.3"), Decimal(), 6)
    funnel = funnel_of("account", steps, worth, most=1, orders=6)
    assert [one.label for one in funnel.steps] == ["a"]
    assert (funnel.by, funnel.more, funnel.orders) == ("account", 2, 6)
    assert funnel.rest == FunnelStep(
        label="", clicks=5, visitors=3, orders=3, completed=2, accrued_orders=1,
        accrued={USD: Decimal("0.3"), EUR: Decimal(1)}, forecast={EUR: Decimal(7)},
        paid={USD: Decimal(6), EUR: Decimal(2)},
    )  # fmt: skip
    assert funnel_of("account", steps, worth, most=3).rest is None
    more = [step("", clicks=100)]
    funnel = funnel_of("sub_id", [step("x")], worth, most=5, more=more, more_count=70)
    assert funnel.more == 70
    assert funnel.rest is not None
    assert (funnel.rest.clicks, funnel.rest.paid) == (100, None)


def test_a_funnel_of_labels() -> None:
    """Over accounts of several currencies, with what no longer is kept apart."""
    sums = LabelSums(limit=2)
    sums.add("sub=9", [3, 2, 0, 0, 0, Decimal(0), Decimal(0)], USD)
    sums.add("sub=1", [5, 4, 3, 2, 1, Decimal(10), Decimal(20)], USD)
    sums.add("sub=1", [1, 1, 1, 1, 1, Decimal(7), Decimal(0)], EUR)
    sums.add("sub=2", [9, 9, 0, 0, 0, Decimal(0), Decimal(0)], USD)
    funnel = label_funnel(
        "sub_id", sums, Worth(), most=9, orders=9, unjoined_orders=5,
        unjoined_accrued={USD: Decimal(2)},
    )  # fmt: skip
    assert funnel.steps == (
        FunnelStep(
            label="sub=1", clicks=6, visitors=5, orders=4, completed=3, accrued_orders=2,
            accrued={USD: Decimal(10), EUR: Decimal(7)},
            forecast={USD: Decimal(20), EUR: Decimal(0)},
        ),
        FunnelStep(label="sub=2", clicks=9, visitors=9),
    )  # fmt: skip
    assert funnel.rest == FunnelStep(label="", clicks=3, visitors=2)
    assert (funnel.more, funnel.orders, funnel.unjoined_orders) == (1, 9, 5)
    assert funnel.unjoined_accrued == {USD: Decimal(2)}


def test_directions_with_most_orders_come_first() -> None:
    """And it is said how many others there are."""
    few, many = Direction(give="BTC", get="ETH", orders=1), Direction(give="A", get="B", orders=5)
    done = Direction(give="X", get="Y", orders=1, completed=1)
    assert best_directions([few, many, done], 2) == ((many, done), 1)
    assert best_directions([few], 2) == ((few,), 0)


def test_amounts_are_added_by_currency() -> None:
    """Exactly, and never across."""
    several = [{USD: Decimal("0.1")}, {}, {EUR: Decimal(1), USD: Decimal("0.2")}]
    assert amounts_added(several) == {USD: Decimal("0.3"), EUR: Decimal(1)}

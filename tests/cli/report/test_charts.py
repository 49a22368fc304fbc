"""Charts of the report: what is drawn where."""

from __future__ import annotations

import re
from decimal import Decimal
from xml.etree import ElementTree as ET

import pytest
from markupsafe import Markup

from ppapi_async.cli.report.charts import (
    Series,
    TimeBar,
    bar,
    grade,
    heat_map,
    legend,
    sparkline,
    stacked_bars,
    strip,
    ticks,
)


def numbers(*values: float | str) -> list[Decimal]:
    """Return Decimals."""
    return [Decimal(value) for value in values]


def drawn(markup: Markup) -> ET.Element:
    """Return the tree of what was drawn, which is well-formed."""
    return ET.fromstring(f"<root>{markup}</root>")


@pytest.mark.parametrize(
    ("least", "most", "expected"),
    [
        (0, 100, [0, 25, 50, 75, 100]),
        (0, 97, [0, 25, 50, 75, 100]),
        (0, 7, [0, 2, 4, 6, 8]),
        (0, 1, ["0", "0.25", "0.5", "0.75", "1"]),
        (-40, 100, [-50, 0, 50, 100]),
        (0, 0, [0]),
        (0, "1e300", ["0", "2.5e299", "5e299", "7.5e299", "1e300"]),
    ],
)
def test_an_axis_has_round_values(least: float, most: float, expected: list[float]) -> None:
    """They enclose all values, and zero is among them."""
    assert ticks(Decimal(least), Decimal(most)) == numbers(*expected)


def bars(series: list[Series], count: int) -> ET.Element:
    """Draw bars."""
    columns = [TimeBar(f"{at} <b>", f"note {at} & more") for at in range(count)]
    return drawn(stacked_bars(columns, series, label='a "chart"', write=str))


def paths(root: ET.Element) -> dict[str | None, list[tuple[int, int, int]]]:
    """Return the bars of each series: place, top and bottom, from 0 at the top to 1000."""
    return {
        path.get("class"): [
            (int(one[1]), int(one[2]), int(one[3]))
            for one in re.finditer(r"M(\d+) (-?\d+)V(-?\d+)", path.get("d", ""))
        ]
        for path in root.iter("path")
    }


def test_bars_are_stacked() -> None:
    """Each stands on those before it; what is nothing is not drawn."""
    nothing = Series("s3", numbers(0, 0))
    root = bars([Series("s1", numbers(50, 0)), Series("s2", numbers(25, 100)), nothing], 2)
    assert paths(root) == {"s1": [(0, 500, 1000)], "s2": [(0, 250, 500), (1, 0, 1000)]}
    assert root[0].attrib == {"class": "plot", "role": "img", "aria-label": 'a "chart"'}
    texts = [text.text for text in root.iter("text")]
    assert texts == [
        "0",
        "25",
        "50",
        "75",
        "100",
        "note 0 & more",
        "note 1 & more",
        "0 <b>",
        "1 <b>",
    ]


def test_negative_values_go_downwards() -> None:
    """Rewards taken back are below the line, and do not lessen what is above it."""
    root = bars(
        [Series("s1", numbers(100)), Series("s2", numbers(-50)), Series("s3", [Decimal(-50)])], 1
    )
    assert paths(root) == {"s1": [(0, 0, 500)], "s2": [(0, 500, 750)], "s3": [(0, 750, 1000)]}


def test_small_values_are_seen() -> None:
    """A bar of next to nothing is a thin line."""
    ((_, top, bottom), _) = paths(bars([Series("s1", numbers("0.0001", 100))], 2))["s1"]
    assert bottom > top


@pytest.mark.parametrize("count", [1, 2, 7, 8, 90, 365])
def test_labels_are_few_and_within(count: int) -> None:
    """An axis has up to seven labels, whose anchors keep them inside."""
    root = bars([Series("s1", [Decimal(1)] * count)], count)
    labels = [text for text in root.iter("text") if text.get("y") == "208"]
    assert 1 <= len(labels) <= 7
    for text in labels:
        place = float(text.get("x", "").rstrip("%"))
        side = text.get("class", "").split()[0]
        assert 0 <= place <= 100
        assert side == "mid" or place < 8 or place > 92 or count == 1


def test_no_bars() -> None:
    """Without columns there is an empty axis."""
    assert paths(bars([], 0)) == {}


def test_sparkline() -> None:
    """A line from the lowest to the highest; many values are few points, each of as many."""
    (path,) = drawn(sparkline(numbers(0, 5, 10))).iter("path")
    assert path.get("d") == "M0 22L1 12L2 2"
    (path,) = drawn(sparkline(numbers(*range(100)), most=10)).iter("path")
    assert path.get("d", "").count("L") == 9
    (path,) = drawn(sparkline([Decimal(5)] * 91, most=45)).iter("path")
    assert set(re.findall(r" ([\d.]+)", path.get("d", ""))) == {"2"}
    assert [sparkline(numbers(*values)) for values in ((), (1,), (0, 0, 0))] == ["", "", ""]


@pytest.mark.parametrize(
    ("part", "whole", "width"),
    [(1, 4, "25%"), (0, 4, "0%"), (9, 4, "100%"), (-1, 4, "0%"), (1, 0, "0%")],
)
def test_bar(part: int, whole: int, width: str) -> None:
    """A part of the width, never more than all of it."""
    assert [one.get("width") for one in drawn(bar(Decimal(part), Decimal(whole))).iter("rect")] == [
        "100%",
        width,
    ]


def test_heat_map() -> None:
    """A cell for each value, by its grade, and what it is in words."""
    cells = [[0, 1, 6], [2, 12, 0]]
    notes = [[f"{value} <i>" for value in row] for row in cells]
    root = drawn(heat_map(("Mon", "Tue"), cells, notes, label="map", columns=("a", "", "c")))
    assert [one.get("class") for one in root.iter("rect")] == ["q0", "q1", "q3", "q1", "q6", "q0"]
    texts = [text.text for text in root.iter("text")]
    assert texts == ["Mon", "Tue", *[note for row in notes for note in row], "a", "c"]
    assert grade(5, 0) == 0


def test_strip() -> None:
    """What is there is drawn, what is missing stays open."""
    rects = list(drawn(strip([(1, True), (1, False), (2, True)])).iter("rect"))
    assert [(one.get("x"), one.get("width")) for one in rects] == [("0%", "25%"), ("50%", "50%")]
    assert not list(drawn(strip([])).iter("rect"))


def test_legend() -> None:
    """A colour and its text, which is escaped unless it is markup."""
    root = drawn(legend([("s1", Markup("<bdi>one</bdi>")), ("s2", Markup.escape("<two>"))]))
    assert "".join(root.itertext()) == "one<two>"

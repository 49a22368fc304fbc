"""Charts as SVG: bars, lines, heat maps and strips. Nothing here knows what they show.

Widths are shares of whatever room there is, heights are pixels; so texts keep their size at any
width. Colours are classes of the page's style sheet: a policy of the page forbids any other style.
What is passed as text is escaped here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from itertools import accumulate

from attrs import frozen
from markupsafe import Markup, escape

__all__ = ["Series", "TimeBar", "bar", "heat_map", "sparkline", "stacked_bars", "strip", "ticks"]

_HEAD = 24
"""Pixels above the bars: what is under the pointer is written there."""
_PLOT = 168
_FOOT = 22
_LETTER = 7.4
"""Pixels of a character of an axis, in a wide font."""
_MOST_LABELS = 7
_CELL = 22
_DETAIL = 1000
"""Into how many steps the height of a plot is divided."""


@frozen
class Series:
    """Values that are drawn in one colour."""

    style: str
    """A class of the style sheet."""
    values: Sequence[Decimal]


@frozen
class TimeBar:
    """What stands at one place of the horizontal axis."""

    label: str
    """Short, for the axis."""
    note: str
    """What is told where the pointer is."""


def share(part: Decimal, whole: Decimal) -> float:
    """Return a part of a whole as a float; 0 where there is no whole."""
    if not whole:
        return 0.0
    with localcontext() as context:
        context.clear_traps()
        return float(part / whole)


def ticks(least: Decimal, most: Decimal, wanted: int = 4) -> list[Decimal]:
    """Return round values that enclose a range, zero among them where it is within."""
    span = most - least
    if not span:
        return [least]
    raw = span / wanted
    power = Decimal(1).scaleb(raw.adjusted())
    step = next(
        one * power for one in map(Decimal, ("1", "2", "2.5", "5", "10")) if one * power >= raw
    )
    first = (least / step).to_integral_value("ROUND_FLOOR")
    last = (most / step).to_integral_value("ROUND_CEILING")
    return [step * number for number in range(int(first), int(last) + 1)]


def stacked_bars(
    columns: Sequence[TimeBar],
    series: Sequence[Series],
    *,
    label: str,
    write: Callable[[Decimal], str],
) -> Markup:
    """Return bars over a common axis, the values of all series stacked; below zero downwards.

    Args:
        columns: one for each value of a series.
        series: from the bottom up.
        label: what a screen reader says.
        write: writes a value of the vertical axis.
    """
    heights = [sum((max(one, Decimal()) for one in at), Decimal()) for at in _across(series)]
    depths = [sum((min(one, Decimal()) for one in at), Decimal()) for at in _across(series)]
    marks = ticks(min(depths, default=Decimal()), max(heights, default=Decimal()))
    low, high = marks[0], marks[-1]

    def level(value: Decimal) -> float:
        return 1 - share(value - low, high - low)

    texts = [write(mark) for mark in marks]
    room = round(max(map(len, texts)) * _LETTER) + 10
    levels = [round(_HEAD + level(mark) * _PLOT, 1) for mark in marks]
    axis = Markup("").join(
        Markup('<text x="{}" y="{}">{}</text>').format(room - 8, y + 4, text)
        for y, text in zip(levels, texts, strict=True)
    )
    grid = Markup("").join(
        Markup('<line class="{}" x2="100%" y1="{y}" y2="{y}"/>').format(
            "grid" if mark else "base", y=y
        )
        for y, mark in zip(levels, marks, strict=True)
    )
    return Markup(
        '<div class="plot" role="img" aria-label="{label}"><svg class="axis" width="{room}" '
        'height="{height}" aria-hidden="true">{axis}</svg><svg class="area" width="100%" '
        'height="{height}" aria-hidden="true">{grid}<svg class="bars" y="{head}" width="100%" '
        'height="{plot}" viewBox="-.5 0 {width} {detail}" preserveAspectRatio="none">{bars}</svg>'
        "{notes}{labels}"
        "</svg></div>"
    ).format(
        label=label,
        room=room,
        height=_HEAD + _PLOT + _FOOT,
        axis=axis,
        grid=grid,
        head=_HEAD,
        plot=_PLOT,
        width=len(columns),
        detail=_DETAIL,
        bars=_stacks(series, level),
        notes=_notes([column.note for column in columns]),
        labels=_labels([column.label for column in columns]),
    )


def _across(series: Sequence[Series]) -> list[tuple[Decimal, ...]]:
    return list(zip(*(one.values for one in series), strict=True))


def _stacks(series: Sequence[Series], level: Callable[[Decimal], float]) -> Markup:
    """Return a path for each series: a thick line for each value, on top of those before."""
    count = len(series[0].values) if series else 0
    above, below = [Decimal()] * count, [Decimal()] * count
    paths = []
    for one in series:
        path = []
        for place, value in enumerate(one.values):
            if not value:
                continue
            ends = above if value > 0 else below
            start, ends[place] = ends[place], ends[place] + value
            top = round(level(max(start, ends[place])) * _DETAIL)
            bottom = round(level(min(start, ends[place])) * _DETAIL)
            path.append(f"M{place} {top}V{max(bottom, top + 3)}")
        if path:
            paths.append(Markup('<path class="{}" d="{}"/>').format(one.style, "".join(path)))
    return Markup("").join(paths)


def _notes(notes: Sequence[str]) -> Markup:
    """Return what is shown where the pointer is: a hidden text after the place of each column.

    The whole starts at the right edge, where the texts end, so that they need no place of their
    own; the style sheet has the heights.
    """
    width = 100 / len(notes) if notes else 0
    return Markup('<svg class="notes" x="100%" y="{}">{}</svg>').format(
        _HEAD,
        Markup("").join(
            Markup('<rect x="{}%" width="{}%"/><text>{}</text>').format(
                _short(place * width - 100), _short(width), note
            )
            for place, note in enumerate(notes)
        ),
    )


def _labels(labels: Sequence[str]) -> Markup:
    """Return the labels of a horizontal axis; two of three only where there is room."""
    count = len(labels)
    step = -(-count // _MOST_LABELS) if count else 1
    written = []
    for number, place in enumerate(range(0, count, step)):
        middle = (place + 0.5) / count * 100
        side = (
            "start" if middle < 8 and count > 1 else "end" if middle > 92 and count > 1 else "mid"
        )
        at = {"start": place / count * 100, "end": (place + 1) / count * 100, "mid": middle}[side]
        written.append(
            Markup('<text class="{}" x="{}%" y="{}">{}</text>').format(
                side if number % 3 == 0 else f"{side} wide",
                _short(at),
                _HEAD + _PLOT + 16,
                labels[place],
            )
        )
    return Markup("").join(written)


def _short(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")


def sparkline(values: Sequence[Decimal], *, most: int = 45) -> Markup:
    """Return a small line without axes, for beside a number that tells how much it is.

    Args:
        values: from left to right.
        most: how many points are drawn; of more values, each point is the sum of some, and the
            first ones, which would be too few for a point, are left out.
    """
    size = -(-len(values) // most) or 1
    points = [
        sum(values[at : at + size], Decimal())
        for at in range(len(values) % size, len(values), size)
    ]
    if len(points) < 2 or not any(points):
        return Markup("")
    low, high = min(*points, Decimal()), max(*points, Decimal())
    heights = [round(22 - 20 * share(point - low, high - low), 1) for point in points]
    line = "L".join(f"{at} {y:g}" for at, y in enumerate(heights))
    return Markup(
        '<svg class="spark" viewBox="0 0 {} 24" preserveAspectRatio="none" aria-hidden="true">'
        '<path d="M{}"/></svg>'
    ).format(len(points) - 1, line)


def bar(part: Decimal, whole: Decimal, style: str = "s1") -> Markup:
    """Return a horizontal bar for beside a number."""
    width = min(max(share(part, whole), 0.0), 1.0) * 100
    return Markup(
        '<svg class="bar" aria-hidden="true"><rect class="rail" width="100%" height="100%"/>'
        '<rect class="{}" width="{}%" height="100%"/></svg>'
    ).format(style, _short(width))


def heat_map(
    rows: Sequence[str],
    cells: Sequence[Sequence[int]],
    notes: Sequence[Sequence[str]],
    *,
    label: str,
    columns: Sequence[str],
) -> Markup:
    """Return cells that are the darker the more they count, 24 in a row.

    Args:
        rows: the label of each row.
        cells: of each row.
        notes: what is told where the pointer is, for each cell.
        label: what a screen reader says.
        columns: the labels of the columns; empty ones are not drawn.
    """
    most = max((max(row) for row in cells), default=0)
    width = 100 / max(map(len, cells), default=1)
    drawn = Markup("").join(
        Markup('<svg class="notes r{}" x="100%" y="{}">{}</svg>').format(
            number,
            _HEAD + number * _CELL,
            Markup("").join(
                Markup('<rect class="q{}" x="{}%"/><text>{}</text>').format(
                    grade(value, most), _short(place * width - 100), notes[number][place]
                )
                for place, value in enumerate(row)
            ),
        )
        for number, row in enumerate(cells)
    )
    height = _HEAD + len(cells) * _CELL
    room = round(max(map(len, rows), default=0) * _LETTER) + 12
    axis = Markup("").join(
        Markup('<text x="{}" y="{}">{}</text>').format(room - 8, _HEAD + at * _CELL + 15, row)
        for at, row in enumerate(rows)
    )
    foot = Markup("").join(
        Markup('<text class="start" x="{}%" y="{}">{}</text>').format(
            _short(place * width), height + 14, text
        )
        for place, text in enumerate(columns)
        if text
    )
    return Markup(
        '<div class="plot" role="img" aria-label="{label}"><svg class="axis" width="{room}" '
        'height="{height}" aria-hidden="true">{axis}</svg><svg class="area" width="100%" '
        'height="{height}" aria-hidden="true">{drawn}{foot}</svg></div>'
    ).format(
        label=label,
        room=room,
        height=height + _FOOT,
        axis=axis,
        drawn=drawn,
        foot=foot,
    )


def grade(value: int, most: int) -> int:
    """Return how dark a cell is, 0 (nothing) to 6."""
    return -(-value * 6 // most) if value > 0 and most > 0 else 0


def strip(parts: Sequence[tuple[float, bool]]) -> Markup:
    """Return a strip of time, its gaps hatched.

    Args:
        parts: the share of each part, and whether it is there.
    """
    ends = list(accumulate(width for width, _ in parts))
    whole = ends[-1] if ends else 0
    there = Markup("").join(
        Markup('<rect x="{}%" width="{}%" height="100%"/>').format(
            _short((end - width) / whole * 100), _short(width / whole * 100)
        )
        for end, (width, is_there) in zip(ends, parts, strict=True)
        if is_there and whole
    )
    return Markup('<svg class="strip" aria-hidden="true">{}</svg>').format(there)


def legend(entries: Sequence[tuple[str, Markup]]) -> Markup:
    """Return what the colours mean: a class and its text for each."""
    return Markup('<ul class="legend">{}</ul>').format(
        Markup("").join(
            Markup(
                '<li><svg class="key" aria-hidden="true"><rect class="{}" width="100%" '
                'height="100%"/></svg>{}</li>'
            ).format(style, escape(text))
            for style, text in entries
        )
    )

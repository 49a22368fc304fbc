"""The times that the bars of a chart stand for: days, or as much longer ones as stay readable."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import TYPE_CHECKING

from attrs import frozen

from ppapi_async.cli.report.data import Grain, ReportData

if TYPE_CHECKING:
    from ppapi_async.cli.report.writing import Writer

__all__ = ["Timeline", "grain_of", "start_of"]

_GRAINS: tuple[tuple[Grain, int], ...] = (("day", 100), ("week", 730), ("month", 3_650))
"""What a bar is, up to how many days of a report."""
_LONGEST = timedelta(days=36_500)


def grain_of(first: date, last: date) -> Grain:
    """Return what a bar is where these are the first and the last day."""
    length = (last - first).days + 1
    return next((name for name, most in _GRAINS if length <= most), "year")


def start_of(grain: Grain, day: date) -> date:
    """Return the first day of the bar that a day is in."""
    if grain == "day":
        return day
    if grain == "week":
        return day - timedelta(days=min(day.weekday(), (day - date.min).days))
    return day.replace(day=1) if grain == "month" else day.replace(month=1, day=1)


@frozen
class Timeline:
    """The times of the bars: days, or as much longer ones as keep them readable."""

    grain: Grain
    starts: tuple[date, ...]
    """The first day of each bar."""

    @classmethod
    def of(cls, data: ReportData, writer: Writer) -> Timeline:
        """Return the bars of a report, from its start, or its first day, to its end."""
        last = writer.numbers.last_day(data.end)
        given = [one.day for one in data.days]
        first = (
            min(given, default=last)
            if data.start is None
            else writer.numbers.local(data.start).date()
        )
        first = max(min(first, last), last - min(_LONGEST, last - date.min))
        grain = grain_of(first, last) if data.grain == "day" else data.grain
        return cls(grain, tuple(_starts(grain, first, last)))

    def place(self, day: date) -> int:
        """Return which bar a day is in; days outside are in the first or the last one."""
        low, high = 0, len(self.starts)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.starts[middle] <= day else (low, middle)
        return low

    def name(self, place: int, writer: Writer, *, short: bool = False) -> str:
        """Return what to call a bar."""
        start, numbers = self.starts[place], writer.numbers
        if self.grain == "year":
            return str(start.year)
        if self.grain == "month" or (short and self.grain == "week"):
            return numbers.month(start)
        return numbers.day(start, year=not short)


def _starts(grain: Grain, first: date, last: date) -> Iterable[date]:
    if grain == "day":
        return [first + timedelta(days=number) for number in range((last - first).days + 1)]
    if grain == "week":
        monday = first - timedelta(days=first.weekday())
        return [monday + timedelta(days=at) for at in range(0, (last - monday).days + 1, 7)]
    years = range(first.year, last.year + 1)
    if grain == "year":
        return [date(year, 1, 1) for year in years]
    months = [date(year, month, 1) for year in years for month in range(1, 13)]
    return [month for month in months if first.replace(day=1) <= month <= last]

"""The site's clock: local wall-clock that the wire reports as if it were UTC.

A site at UTC+3 writes `time` three hours ahead of the true instant, and its filters compare the
same shifted clock. A *wire second* here is such a number. Where the clock repeats an hour, the
earlier instant is meant; so a wire second has exactly one instant, and ranges that touch share out
all rows between them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo

from attrs import define, field, frozen

__all__ = ["ClockCheck", "SiteClock"]

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST = datetime.min.replace(tzinfo=UTC)
_LATEST = datetime.max.replace(microsecond=0, tzinfo=UTC)


@frozen
class SiteClock:
    """Converts between true instants and the site's clock.

    Operators type dates by hand, `9999-12-31` and `0000-00-00` among them. Whatever lies beyond
    what a datetime can hold becomes the earliest or the latest one; nothing here overflows.
    """

    zone: tzinfo
    is_utc: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        is_utc = self.zone is UTC or getattr(self.zone, "key", None) in ("UTC", "Etc/UTC")
        object.__setattr__(self, "is_utc", is_utc)

    def to_instant(self, wall: datetime) -> datetime:
        """Return the true instant of a wall-clock that was read as UTC."""
        if self.is_utc:
            return wall
        try:
            return wall.replace(tzinfo=self.zone).astimezone(UTC)
        except OverflowError:
            return _LATEST if wall > _EPOCH else _EARLIEST

    def to_instants(self, walls: Iterable[datetime]) -> list[datetime]:
        """Return what `to_instant` returns for each, in half the time or less.

        The offset is looked up once for each day. No clock is set forward and back within one; on
        a day on which it is set at all, each time is looked up by itself.
        """
        found, offsets = list[datetime](), dict[int, timedelta | None]()
        for wall in walls:
            day = wall.toordinal()
            if day not in offsets:
                offsets[day] = None
                if _EARLIEST.toordinal() < day < _LATEST.toordinal():
                    midnight = wall.replace(hour=0, minute=0, second=0, tzinfo=self.zone)
                    offset = midnight.utcoffset()
                    offsets[day] = offset if offset == (midnight + _DAY).utcoffset() else None
            offset = offsets[day]
            found.append(self.to_instant(wall) if offset is None else wall - offset)
        return found

    def second_to_instant(self, second: int) -> datetime:
        """Return the true instant of a wire second."""
        try:
            wall = _EPOCH + second * _SECOND
        except OverflowError:
            return _LATEST if second > 0 else _EARLIEST
        return self.to_instant(wall)

    def ahead_at(self, second: int) -> timedelta:
        """Return how far the site's clock is ahead of UTC when it shows this wire second."""
        try:
            wall = _EPOCH + second * _SECOND
        except OverflowError:
            return timedelta()
        return wall - self.to_instant(wall)

    def first_second(self, instant: datetime) -> int:
        """Return a wire second that no row at or after `instant` lies before."""
        return self._wall(instant, -self.jump(instant))

    def last_second(self, instant: datetime) -> int:
        """Return the wire second that no row before `instant` lies after."""
        return self._wall(instant, self.jump(instant) - timedelta(microseconds=1))

    def _wall(self, instant: datetime, shift: timedelta) -> int:
        since_epoch = instant - _EPOCH + self._offset(instant) + shift
        return since_epoch // _SECOND

    def jump(self, instant: datetime) -> timedelta:
        """Return how far the zone's clock moves within a day of `instant`; mostly not at all."""
        if self.is_utc:
            return timedelta()
        instant = min(max(instant, _EARLIEST + _DAY), _LATEST - _DAY)
        offsets = [self._offset(instant + step) for step in (-_DAY, timedelta(), _DAY)]
        return max(offsets) - min(offsets)

    def _offset(self, instant: datetime) -> timedelta:
        """Return how far the site's clock is ahead of UTC."""
        inner = min(max(instant, _EARLIEST + _DAY), _LATEST - _DAY)
        return inner.astimezone(self.zone).utcoffset() or timedelta()


_TOLERATED = 600
"""Seconds by which rows may be dated ahead of the server's clock."""
_QUARTER = 900
_FRESH = 120  # seconds that a row may be old that was just made
_ZONES = range(-12 * 4, 14 * 4 + 1)
"""Quarter hours by which zones differ from UTC."""


@define
class ClockCheck:
    """Whether the rows of an account are dated ahead of the server's own clock.

    If they are, the account's zone is wrong: its times are off, and so are the ranges that are
    asked for. Rows that are dated behind say nothing; they may be old.
    """

    zone: tzinfo
    warning: str | None = None
    """What is wrong, and what to do."""
    _most: int = 0
    """Quarter hours of the last warning."""

    def see(self, newest: int, present: float) -> str | None:
        """Take the newest row that a poll has read; return a warning that was not given before.

        Args:
            newest: its second.
            present: the present by the server's clock.
        """
        ahead = newest - present
        if ahead <= _TOLERATED:
            return None
        quarters = math.ceil((ahead - _FRESH) / _QUARTER)
        if quarters <= self._most:
            return None  # a row that is older than the one before
        self._most = quarters
        self.warning = self._text(quarters, present)
        return self.warning

    def _text(self, quarters: int, present: float) -> str:
        amount = f"{quarters / 4:g} h" if quarters % 4 == 0 else f"{quarters * 15} min"
        text = f"rows are dated {amount} ahead of the server's clock: "
        offset = datetime.fromtimestamp(present, self.zone).utcoffset() or timedelta()
        likely = quarters + offset // timedelta(minutes=15)
        if likely not in _ZONES:
            return f"{text}no time zone explains that; the site's clock, or a row's date, is wrong"
        hours, minutes = divmod(abs(likely) * 15, 60)
        sign = "-" if likely < 0 else "+"
        name = f"UTC{sign}{hours}{f':{minutes}' if minutes else ''}"
        return (
            f"{text}is the site at {name}? pass timezone= with the name of its zone, or times are"
            " wrong by that much"
        )

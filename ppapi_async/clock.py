"""The site's clock: local wall-clock that the wire reports as if it were UTC.

A site at UTC+3 writes `time` three hours ahead of the true instant, and its filters compare the
same shifted clock. A *wire second* here is such a number. Where the clock repeats an hour, the
earlier instant is meant; so a wire second has exactly one instant, and ranges that touch share out
all rows between them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from attrs import field, frozen

__all__ = ["SiteClock"]

_DAY = timedelta(days=1)


@frozen
class SiteClock:
    """Converts between true instants and the site's clock."""

    zone: tzinfo
    is_utc: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        is_utc = self.zone is UTC or getattr(self.zone, "key", "") in ("UTC", "Etc/UTC")
        object.__setattr__(self, "is_utc", is_utc)

    def to_instant(self, wall: datetime) -> datetime:
        """Return the true instant of a wall-clock that was read as UTC."""
        if self.is_utc:
            return wall
        try:
            return wall.replace(tzinfo=self.zone).astimezone(UTC)
        except OverflowError:
            return wall

    def second_to_instant(self, second: int) -> datetime:
        """Return the true instant of a wire second."""
        return self.to_instant(datetime.fromtimestamp(second, UTC))

    def first_second(self, instant: datetime) -> int:
        """Return a wire second that no row at or after `instant` lies before."""
        return self._wall(instant, -self.jump(instant))

    def last_second(self, instant: datetime) -> int:
        """Return the wire second that no row before `instant` lies after."""
        return self._wall(instant, self.jump(instant) - timedelta(microseconds=1))

    def _wall(self, instant: datetime, shift: timedelta) -> int:
        wall = instant.astimezone(self.zone).replace(tzinfo=UTC)
        return (wall + shift - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)

    def jump(self, instant: datetime) -> timedelta:
        """Return how far the zone's clock moves within a day of `instant`; mostly not at all."""
        if self.is_utc:
            return timedelta()
        offsets = [
            (instant + step).astimezone(self.zone).utcoffset() or timedelta()
            for step in (-_DAY, timedelta(), _DAY)
        ]
        return max(offsets) - min(offsets)

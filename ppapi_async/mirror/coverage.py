"""Which times are proven: ranges that do not overlap. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from attrs import evolve, frozen

__all__ = ["NEAR", "Proven", "merged"]

NEAR = timedelta(hours=1)
"""How far before a range those end that may become one by it."""


@frozen
class Proven:
    """A range that was read completely."""

    start: datetime | None
    """None: from the beginning."""
    end: datetime
    """Exclusive."""
    proven_at: datetime

    def holds(self, instant: datetime) -> bool:
        """Tell whether an instant lies within it."""
        return instant < self.end and (self.start is None or self.start <= instant)

    def begins_before(self, instant: datetime | None) -> bool:
        """Tell whether it begins earlier; None is the beginning."""
        return instant is not None and (self.start is None or self.start < instant)


def merged(known: Iterable[Proven], new: Proven) -> list[Proven]:
    """Return the ranges after another was read, in order.

    The latest proof of a time counts. Neighbours that were proven together are one; so are older
    ones that were proven in the same hour, by the earlier proof: each poll begins a little later
    than the one before it, and leaves a piece behind.
    """
    parts = [new]
    for one in known:
        if new.start is not None and one.begins_before(new.start):
            parts.append(evolve(one, end=min(one.end, new.start)))
        if one.end > new.end:
            is_later = one.start is not None and one.start > new.end
            parts.append(evolve(one, start=one.start if is_later else new.end))
    parts.sort(key=lambda part: part.end)
    ranges: list[Proven] = []
    for part in parts:
        last = ranges[-1] if ranges else None
        if last is not None and last.end == part.start and _are_one(last, part, new):
            earlier = min(last.proven_at, part.proven_at)
            ranges[-1] = evolve(last, end=part.end, proven_at=earlier)
        else:
            ranges.append(part)
    return ranges


def _are_one(one: Proven, other: Proven, new: Proven) -> bool:
    if one.proven_at == other.proven_at:
        return True
    are_old = new.proven_at not in (one.proven_at, other.proven_at)
    return are_old and _hour(one.proven_at) == _hour(other.proven_at)


def _hour(instant: datetime) -> datetime:
    return instant.replace(minute=0, second=0, microsecond=0)

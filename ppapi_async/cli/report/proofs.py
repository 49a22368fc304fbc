"""Which times of a report are proven, as ranges without gaps between them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from attrs import evolve

from ppapi_async.cli.report.data import Range
from ppapi_async.mirror.coverage import Proven

__all__ = ["coarse", "gaps_of", "proven_share", "ranges_of"]


def ranges_of(proven: Sequence[Proven], start: datetime | None, end: datetime) -> list[Range]:
    """Return the ranges of `[start, end)`, proven or not, in order.

    Neighbours that are proven become one, by the earlier proof.

    Args:
        proven: in order; they do not overlap.
        start: None: from the beginning.
        end: exclusive.
    """
    found: list[Range] = []
    at, is_open = start, False
    for one in proven:
        is_earlier = start is not None and (one.start is None or one.start < start)
        first = start if is_earlier else one.start
        last = min(one.end, end)
        if (start is not None and one.end <= start) or (first is not None and first >= end):
            continue
        if first is not None and (at is None or at < first):
            found.append(Range(start=at, end=first))
        elif is_open:
            joined = min(one.proven_at, found[-1].proven_at or one.proven_at)
            found[-1] = evolve(found[-1], end=last, proven_at=joined)
            at = last
            continue
        found.append(Range(start=first, end=last, proven_at=one.proven_at))
        at, is_open = last, True
    if at is None or at < end:
        found.append(Range(start=at, end=end))
    return found


def coarse(ranges: Sequence[Range], most: int) -> list[Range]:
    """Return about as many ranges as that, or fewer, over the same time.

    Of those that are proven the longest stay. The others become part of the gaps around them, so
    nothing is shown as proven that is not.

    Args:
        ranges: in order, without gaps between them.
        most: how many there may be.
    """
    if len(ranges) <= most:
        return list(ranges)
    places = [place for place, one in enumerate(ranges) if one.proven_at is not None]
    places.sort(key=lambda place: _length(ranges[place]), reverse=True)
    kept = set(places[: most // 2])
    found: list[Range] = []
    for place, one in enumerate(ranges):
        if place in kept:
            found.append(one)
        elif found and found[-1].proven_at is None:
            found[-1] = evolve(found[-1], end=one.end)
        else:
            found.append(Range(start=one.start, end=one.end))
    return found


def _length(one: Range) -> timedelta:
    return timedelta.max if one.start is None else one.end - one.start


def gaps_of(ranges: Sequence[Range]) -> list[Range]:
    """Return the ranges that are not proven although a later one is."""
    last = max((place for place, one in enumerate(ranges) if one.proven_at), default=0)
    return [one for one in ranges[:last] if one.proven_at is None]


def proven_share(ranges: Sequence[Range], first: datetime) -> float:
    """Return how much of the time is proven, 0 to 1.

    Args:
        ranges: from the report's start to its end.
        first: from when on there was anything, where the report is from the beginning.
    """
    whole, proven = timedelta(), timedelta()
    for one in ranges:
        start = first if one.start is None else one.start
        length = max(timedelta(), one.end - start)
        whole += length
        if one.proven_at is not None:
            proven += length
    if not whole:
        return float(any(one.proven_at for one in ranges))
    return proven / whole

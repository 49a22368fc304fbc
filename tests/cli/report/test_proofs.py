"""Which times of a report are proven."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from ppapi_async.cli.report.data import Range
from ppapi_async.cli.report.proofs import coarse, gaps_of, proven_share, ranges_of
from ppapi_async.mirror.coverage import Proven

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
FIRST, SECOND = NOON + 50 * HOUR, NOON + 60 * HOUR


def at(hours: float | None) -> datetime | None:
    """Return so many hours after noon."""
    return None if hours is None else NOON + hours * HOUR


def proven(*parts: tuple[float | None, float, datetime]) -> list[Proven]:
    """Return ranges that were read completely."""
    return [Proven(at(start), NOON + end * HOUR, when) for start, end, when in parts]


def shown(ranges: list[Range]) -> list[tuple[float | None, float, datetime | None]]:
    """Return ranges in hours after noon."""
    return [
        (None if one.start is None else (one.start - NOON) / HOUR, (one.end - NOON) / HOUR,
         one.proven_at)
        for one in ranges
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("known", "start", "expected"),
    [
        pytest.param([], 0, [(0, 10, None)], id="nothing"),
        pytest.param([], None, [(None, 10, None)], id="nothing, from the beginning"),
        pytest.param([(None, 20, FIRST)], 0, [(0, 10, FIRST)], id="all"),
        pytest.param([(None, 20, FIRST)], None, [(None, 10, FIRST)], id="all from the beginning"),
        pytest.param(
            [(-5, 3, FIRST), (3, 6, SECOND)], 0, [(0, 6, FIRST), (6, 10, None)],
            id="neighbours, by the earlier proof, and nothing after them",
        ),
        pytest.param(
            [(2, 3, FIRST), (5, 30, SECOND)], 0,
            [(0, 2, None), (2, 3, FIRST), (3, 5, None), (5, 10, SECOND)], id="holes",
        ),
        pytest.param(
            [(2, 3, FIRST)], None, [(None, 2, None), (2, 3, FIRST), (3, 10, None)],
            id="not from the beginning",
        ),
        pytest.param(
            [(None, -3, FIRST), (-3, 0, FIRST), (10, 12, SECOND)], 0, [(0, 10, None)],
            id="only of other times",
        ),
    ],
)  # fmt: skip
def test_ranges(
    known: list[tuple[float | None, float, datetime]],
    start: float | None,
    expected: list[tuple[float | None, float, datetime | None]],
) -> None:
    """In order, without gaps, from the start to the end."""
    assert shown(ranges_of(proven(*known), at(start), NOON + 10 * HOUR)) == expected


def test_gaps_are_before_what_is_proven() -> None:
    """What comes after it has not been read yet, which is another matter."""
    ranges = ranges_of(proven((2, 3, FIRST), (5, 6, FIRST)), NOON, NOON + 10 * HOUR)
    assert shown(gaps_of(ranges)) == [(0, 2, None), (3, 5, None)]
    assert gaps_of(ranges_of([], NOON, NOON + HOUR)) == []
    assert gaps_of([]) == []


def test_the_share_that_is_proven() -> None:
    """Of the time of the report; from the beginning, of the time since there was anything."""
    end = NOON + 10 * HOUR
    assert proven_share(ranges_of(proven((5, 10, FIRST)), NOON, end), NOON) == 0.5
    assert proven_share(ranges_of(proven((None, 5, FIRST)), None, end), NOON) == 0.5
    assert proven_share(ranges_of(proven((None, 5, FIRST)), None, end), NOON + 20 * HOUR) == 0
    assert proven_share(ranges_of(proven((None, 50, FIRST)), None, end), end) == 1
    assert proven_share(ranges_of([], None, end), end) == 0


def test_very_many_ranges_become_fewer() -> None:
    """The longest proofs stay; nothing is proven that was not, and all of the time is there."""
    parts = [(3.0 * n, 3.0 * n + 1 + (n % 10 == 0), FIRST) for n in range(100)]
    ranges = ranges_of(proven(*parts), NOON, NOON + 300 * HOUR)
    assert coarse(ranges, 200) == ranges
    few = coarse(ranges, 20)
    assert len(few) <= 21
    assert [one for one in few if one.proven_at] == [
        Range(start=at(30 * n), end=NOON + (30 * n + 2) * HOUR, proven_at=FIRST) for n in range(10)
    ]
    assert (few[0].start, few[-1].end) == (ranges[0].start, ranges[-1].end)
    assert all(one.end == other.start for one, other in pairwise(few))
    opened = ranges_of(proven((None, 1, FIRST), *parts[1:]), None, NOON + 300 * HOUR)
    assert coarse(opened, 4)[0] == opened[0]

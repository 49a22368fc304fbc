"""Which times are proven: ranges that do not overlap, the latest proof of each time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppapi_async.mirror.coverage import Proven, merged

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def proven(start: int | None, end: int, at: int) -> Proven:
    """Return a range between two hours, read at the time of another."""
    hour = timedelta(hours=1)
    begin = None if start is None else NOON + start * hour
    return Proven(begin, NOON + end * hour, NOON + at * hour)


@pytest.mark.parametrize(
    ("known", "new", "expected"),
    [
        ([], (None, 3, 9), [(None, 3, 9)]),
        ([(None, 3, 9)], (3, 5, 9), [(None, 5, 9)]),
        ([(None, 3, 9)], (3, 5, 10), [(None, 3, 9), (3, 5, 10)]),
        ([(None, 9, 9)], (3, 5, 10), [(None, 3, 9), (3, 5, 10), (5, 9, 9)]),
        ([(None, 3, 9), (5, 9, 9)], (2, 6, 10), [(None, 2, 9), (2, 6, 10), (6, 9, 9)]),
        ([(1, 3, 9), (5, 9, 9)], (None, 9, 10), [(None, 9, 10)]),
        ([(1, 3, 9), (5, 9, 9)], (3, 5, 9), [(1, 9, 9)]),
        ([(5, 9, 9)], (1, 2, 9), [(1, 2, 9), (5, 9, 9)]),
        ([(1, 5, 9)], (1, 5, 10), [(1, 5, 10)]),
    ],
)
def test_ranges_are_merged(
    known: list[tuple[int | None, int, int]],
    new: tuple[int | None, int, int],
    expected: list[tuple[int | None, int, int]],
) -> None:
    """What was read again has the new proof, what is beside it the old one."""
    found = merged([proven(*one) for one in known], proven(*new))
    assert found == [proven(*one) for one in expected]


@pytest.mark.parametrize("start", [None, 3])
def test_a_range_holds_its_start_and_not_its_end(start: int | None) -> None:
    """Two that touch do not both speak for one instant."""
    one, moment = proven(start, 5, 9), timedelta(microseconds=1)
    first, end = NOON + timedelta(hours=3), NOON + timedelta(hours=5)
    assert one.holds(first)
    assert one.holds(first - moment) == (start is None)
    assert one.holds(end - moment)
    assert not one.holds(end)


def test_polls_leave_no_piece_each() -> None:
    """Each begins later than the one before: what is left behind is one range an hour."""
    ranges: list[Proven] = []
    for poll in range(180):
        at = NOON + timedelta(minutes=poll, seconds=poll % 7, microseconds=poll)
        ranges = merged(ranges, Proven(at - timedelta(minutes=25), at, at))
    assert len(ranges) == 4
    assert [one.proven_at.hour for one in ranges] == [12, 13, 14, 14]
    assert ranges[-1].proven_at == ranges[-1].end
    assert all(one.end == other.start for one, other in pairwise(ranges))


@pytest.mark.parametrize("minutes", [(10, 30), (30, 10)])
def test_older_ranges_that_become_one_have_the_earlier_proof(minutes: tuple[int, int]) -> None:
    """The audit counts on what is said to be read since."""
    known = [
        Proven(one.start, one.end, one.proven_at + timedelta(minutes=late))
        for one, late in zip((proven(1, 3, 9), proven(3, 5, 9)), minutes, strict=True)
    ]
    found = merged(known, proven(7, 8, 10))
    early = proven(1, 5, 9).proven_at + timedelta(minutes=10)
    assert found == [Proven(known[0].start, known[1].end, early), proven(7, 8, 10)]


HOURS = st.integers(0, 12)


@given(
    st.lists(
        st.tuples(st.none() | HOURS, HOURS).filter(lambda one: one[0] is None or one[0] < one[1]),
        max_size=12,
    )
)
def test_coverage_is_the_union(windows: list[tuple[int | None, int]]) -> None:
    """Each hour is covered by exactly the last window that holds it, and no other is."""
    ranges: list[Proven] = []
    for at, (start, end) in enumerate(windows):
        ranges = merged(ranges, proven(start, end, at // 2))
    for hour in range(-1, 13):
        instant = NOON + timedelta(hours=hour, minutes=30)
        last = None
        for at, (start, end) in enumerate(windows):
            if (start is None or start <= hour) and hour < end:
                last = NOON + timedelta(hours=at // 2)
        holding = [
            one.proven_at
            for one in ranges
            if (one.start is None or one.start <= instant) and instant < one.end
        ]
        assert holding == ([] if last is None else [last])
    for one, following in pairwise(ranges):
        assert following.start is not None
        assert one.end <= following.start
        assert (one.end, one.proven_at) != (following.start, following.proven_at)

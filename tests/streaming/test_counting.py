"""Counting by offset: what proves that all rows of a query came, and what does not."""

from __future__ import annotations

import random

import pytest

from ppapi_async.protocol.evidence import Evidence, TimeOrder
from ppapi_async.streaming.counting import BEYOND, Count, CountOutcome


def carry_out(count: Count, rows: list[int], page: int, *, most: int = 300) -> CountOutcome:
    """Answer as a server with these rows, in this order, until the count ends."""
    for _ in range(most):
        query = count.query
        limit = page if query.limit is None else min(query.limit, page)
        count.feed(rows[query.offset : query.offset + limit])
        if count.outcome is not None:
            return count.outcome
    raise AssertionError("counts without end")


@pytest.mark.parametrize("page", [1, 2, 3, 7, 50])
def test_rows_that_stand_still_are_counted_in_one_walk(page: int) -> None:
    """Each page begins with the last row of the one before; an only row ends the walk."""
    count = Count((77, 77))
    assert carry_out(count, list(range(20)), page) is CountOutcome.PROVEN
    assert count.met == set(range(20))
    assert count.requests <= 20 // max(1, page - 1) + 2


def test_a_row_that_stands_twice_is_a_position_without_a_row() -> None:
    """As in the list that a JOIN makes: there may be one that never came, so it is no proof."""
    count = Count((77, 77))
    assert carry_out(count, [1, 2, 2, 3, 4, 5, 6], 3) is CountOutcome.RESTLESS


@pytest.mark.parametrize(
    "pages",
    [
        # Of 1 to 6 the row 1 went and 7 came; 6 was never told, though six were.
        [[1, 2, 3], [2, 4, 5], [5, 7], [7]],
        # The walk ends with a row that stood elsewhere; another may stand in its place.
        [[1, 2, 3], [3, 4, 5], [2]],
    ],
)
def test_a_page_that_begins_elsewhere_than_the_last_ended_proves_nothing(
    pages: list[list[int]],
) -> None:
    """As many rows as positions were met, but the order did not stand still."""
    count = Count((77, 77))
    for keys in pages:
        count.feed(keys)
    assert count.outcome is None


def test_an_ignored_offset_is_found_out_by_one_question() -> None:
    """The same page again is no news: an offset that no list reaches tells."""
    count = Count((77, 77))
    for _ in range(2):
        count.feed([1, 2, 3])
    assert count.query.offset == BEYOND
    count.feed([1, 2, 3])
    assert count.outcome is CountOutcome.IGNORED


def collected() -> Count:
    """Return a count of six rows in no order that has collected them, and asks to confirm."""
    count = Count((77, 77))
    chance = random.Random(3)
    rows = list(range(6))
    for _ in range(300):
        query = count.query
        if len(count.met) == 6 and query.offset == 5 and query.limit is None and count.requests > 4:
            return count
        chance.shuffle(rows)
        count.feed(rows[query.offset : query.offset + min(query.limit or 4, 4)])
        assert count.outcome is None
    raise AssertionError("collects without end")


@pytest.mark.parametrize(
    ("answer", "proven"), [([3], True), ([3, 4], False), ([], False), ([9], False)]
)
def test_what_was_collected_is_proven_by_a_second_count(answer: list[int], proven: bool) -> None:
    """One row, a known one, at the last place; with more, none or another, all begins anew."""
    count = collected()
    count.feed(answer)
    assert (count.outcome is CountOutcome.PROVEN) is proven
    if not proven:
        assert count.outcome is None
        assert (count.query.offset, count.met) == (0, set())


def test_order_by_time_is_shown_by_ids_in_no_order() -> None:
    """Falling pages of a server that sorts by id have ids that run one way."""
    evidence = Evidence(promises_falling=True)
    evidence.learn_order(TimeOrder.FALLING, [9, 7, 5], [30, 20, 10])
    assert (evidence.falls, evidence.sorts_by_time) == (True, False)
    evidence.learn_order(TimeOrder.FALLING, [4, 6], [9, 8])
    assert evidence.sorts_by_time


@pytest.mark.parametrize("order", [TimeOrder.NONE, TimeOrder.RISING])
def test_one_page_in_another_order_ends_the_belief_in_it(order: TimeOrder) -> None:
    """For the rest of the stream; a page without a row that can be read says nothing."""
    evidence = Evidence(promises_falling=True)
    evidence.learn_order(TimeOrder.FALLING, [9, 7, 8], [30, 20, 10])
    evidence.learn_order(TimeOrder.NONE, [], [])
    assert evidence.sorts_by_time
    seconds = [1, 2, 3] if order is TimeOrder.RISING else [1, 3, 2]
    evidence.learn_order(order, [1, 2, 3], seconds)
    assert (evidence.falls, evidence.sorts_by_time) == (False, False)

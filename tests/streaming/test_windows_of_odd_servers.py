"""Windows of servers without end, with odd rows, in bursts: what is asked, and what is held."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ppapi_async.protocol.evidence import Evidence
from ppapi_async.protocol.page import Page
from ppapi_async.streaming.agenda import EARLIEST
from ppapi_async.streaming.counting import BEYOND, MOST_REQUESTS, Query
from ppapi_async.streaming.planner import LIVE, Plan
from ppapi_async.streaming.window_reader import WindowRead
from tests.sites.simulated import (
    Event,
    Mark,
    Reader,
    Site,
    UnprovenError,
    in_range,
)
from tests.streaming.found import LOST, judge
from tests.streaming.test_window_reader import (
    NOW,
    many_rows,
    page_at,
    page_of,
    read_all,
    row_sets,
    spread,
)


class Endless(Site):
    """A site with as many rows in a second, or seconds with a row, as one asks for."""

    def answer(self, query: Query) -> Page[Mark]:
        """Answer with a full page, whatever the offset."""
        self.asked.append(query)
        first, last = query.start or 1, query.end or 4_000_000_000
        if self.order == "one second":
            if not first <= 77 <= last:
                return Page([], [])
            return page_at(77, *range(query.offset + 1, query.offset + 501))
        newest = last - query.offset
        return page_of({s: s for s in range(newest, max(first, newest - 499) - 1, -1)})


@pytest.mark.untraced
def test_promise_6_an_endless_second_is_given_up() -> None:
    """An offset walk handed out nothing and took 1.4 GB in 12 seconds."""
    site = Endless({}, order="one second", now=10_000)
    evidence = Evidence(capped=True, promises_falling=True)
    with pytest.raises(UnprovenError) as caught:
        Reader(site, evidence, 1, None, most_requests=3_000).run()
    [spans] = caught.value.args
    assert spans == [(77, 77)]
    assert len(site.asked) <= 1_100


def test_promise_6_a_window_without_end_is_given_up() -> None:
    """Whatever comes: after some thousand questions it is said that nothing is proven."""
    read = WindowRead[Mark](Evidence(capped=True, page=2, promises_falling=True), None, None)
    end = NOW
    while (query := read.query) is not None:
        end = query.end or end
        read.feed(page_of({end: end, end - 1: end - 1}))
    assert read.unproven == [(None, None)]
    assert read.requests == 2 * MOST_REQUESTS


@pytest.mark.untraced
def test_promise_6_rows_dated_ahead_have_an_end() -> None:
    """A row a second until 2096: what is dated ahead is read last, and given up by name."""
    site = Endless({}, order="newest first", now=10_000)
    reader = Reader(
        site, Evidence(capped=True, promises_falling=True), 9_000, None, most_requests=1_000
    )
    with pytest.raises(UnprovenError) as caught:
        reader.run()
    [[(first, last)]] = caught.value.args
    assert (first, last) == (reader.plan.horizon + 1, None)
    assert set(range(9_000, 10_001)) <= reader.handed_out
    assert len(site.asked) <= 400
    calm = Reader(
        Endless({}, order="newest first", now=10_000),
        Evidence(capped=True, promises_falling=True),
        9_000,
        None,
        rows_move=False,
        ahead=False,
        most_requests=1_000,
    )
    ids = [row.id for row in calm.run()]
    assert ids == list(range(9_000, calm.plan.horizon + 1))


def test_stop_forgets_the_second_that_may_be_incomplete() -> None:
    """What is left unread is told, and rows of its newest second are not kept."""
    site = Site({1: 10, 2: 20, 3: 20, 4: 30, 5: 40, 6: 50, 7: 60}, cap=6)
    read = WindowRead[Mark](Evidence(capped=True, page=6, promises_falling=True), 1, 100)
    assert read.rest is None
    assert read.query is not None
    read.feed(site.answer(read.query))
    assert read.rest == (1, 20)
    read.stop()
    assert set(read.rows) == {4, 5, 6, 7}
    assert read.rest is None


def test_row_that_leaves_an_overfull_second_is_noticed() -> None:
    """A row that moves away shifts the others under the offset; it is counted anew."""
    for request in range(2, 6):
        rows = dict.fromkeys(range(1300), 77)
        site = Site(rows, cap=500, moves=[(request, 3)], now=10_000)
        read = read_all(site, Evidence(capped=True, promises_falling=True), 1, 100)
        assert set(rows) - {3} <= set(read.rows)
        assert read.unproven == []


def test_unfed_reading_refuses_a_page() -> None:
    """An answer that nobody has asked for is no evidence."""
    read = read_all(Site({}), Evidence(), 1, 9)
    with pytest.raises(ValueError, match="nothing was asked"):
        read.feed(page_at(5, 1))


@pytest.mark.untraced
@given(
    rows=row_sets() | many_rows(),
    capped=st.booleans(),
    cap=st.integers(5, 12),
    start=st.none() | st.integers(1, NOW),
    newest_first=st.booleans(),
    concurrency=st.integers(1, 8),
)
def test_promise_1_honest_servers_are_read_to_the_end(
    rows: dict[int, int],
    capped: bool,
    cap: int,
    start: int | None,
    newest_first: bool,
    concurrency: int,
) -> None:
    """2.2 that cuts nothing and ignores `offset`, and 2.7: never given up, whatever the rows."""
    rows = {i: second for i, second in rows.items() if second <= NOW + LIVE}
    # Of a site with one second see below; all that is before the first one counts as that.
    assume(len({max(second, EARLIEST) for second in rows.values()}) != 1)
    site = Site(rows, cap=cap if capped else None, honours_offset=capped, now=NOW)
    reader = Reader(
        site,
        Evidence(capped=capped, promises_falling=True),
        start,
        None,
        now=NOW,
        newest_first=newest_first,
        concurrency=concurrency,
        most_requests=10_000,
    )
    assert {row.id for row in reader.run()} == in_range(reader, rows)


def test_promise_1_rows_that_stand_twice_do_not_make_a_page_small() -> None:
    """Where `offset` is ignored, a full page with fewer different rows is a full page."""
    rows = {1: 1, 2: NOW - 49, 3: 1, 4: 1, 5: 2, 6: 1, 7: 1}
    site = Site(rows, cap=5, honours_offset=False, repeats=1, now=NOW)
    reader = Reader(site, Evidence(capped=True, promises_falling=True, page=5), now=NOW)
    with pytest.raises(UnprovenError):
        reader.run()


def test_promise_1_seams_of_windows_hold_at_exclusive_bounds() -> None:
    """Rows at both bounds of every window, on a server that leaves out both."""
    rows = {i: 1_000 + 500 * i for i in range(4_000)}
    site = Site(rows, cap=200, excludes_start=True, excludes_end=True, now=NOW)
    evidence = Evidence(capped=True, promises_falling=True)
    reader = Reader(site, evidence, 1_000, 2_000_500, now=NOW, window=50_000)
    assert [row.id for row in reader.run()] == list(range(4_000))


def test_promise_1_pages_of_nothing_but_unreadable_rows_are_passed() -> None:
    """Where no row of a page can be read, the rest is found by counting."""
    rows = {i: 1_000 + 700 * i for i in range(400)}
    odd = frozenset(range(100, 300))
    site = Site(rows, cap=50, unreadable=odd, now=NOW)
    reader = Reader(site, Evidence(capped=True, promises_falling=True), now=NOW)
    assert {row.id for row in reader.run()} == set(rows) - odd
    assert reader.unreadable == {i if i % 3 else (f"digest {i}", 1) for i in odd}


@pytest.mark.untraced
def test_promise_6_who_follows_reads_nothing_dated_ahead() -> None:
    """Without `ahead`, the range ends where a wrong zone cannot reach."""
    rows = {i: NOW - 3_000 + 10 * i for i in range(100_000)}
    reader = Reader(
        Site(rows, cap=500, now=NOW),
        Evidence(capped=True, promises_falling=True),
        NOW - 3_000,
        None,
        now=NOW,
        ahead=False,
    )
    got = {rows[row.id] for row in reader.run()}
    assert got == set(range(NOW - 3_000, reader.plan.horizon + 1, 10))


@pytest.mark.parametrize("other", [10, 9_000_000])
def test_classic_second_is_proven_by_other_rows(other: int) -> None:
    """Where `offset` is ignored, an answer with other rows, too, proves a second by itself."""
    rows = dict.fromkeys(range(10), 5_000_000)
    site = Site(rows | {99: other}, honours_offset=False)
    read = read_all(site, Evidence(capped=False, promises_falling=True), 4_999_990, 5_000_010)
    assert (set(read.rows), read.unproven) == (set(range(10)), [])


@pytest.mark.parametrize(("rows", "proven"), [(4, True), (7, True), (10, False)])
@pytest.mark.parametrize("seconds", [[5_000_000], [-5, 1]], ids=["one", "before all dates"])
def test_classic_second_that_may_be_a_page_is_not_believed(
    rows: int, proven: bool, seconds: list[int]
) -> None:
    """A site with nothing but as many rows in one second as a page may have might cut them.

    What is before the first second, as empty dates are, cannot be asked for apart from it.
    """
    times = {row: seconds[row % len(seconds)] for row in range(rows)}
    site = Site(times, honours_offset=False)
    read = read_all(site, Evidence(capped=False, promises_falling=True), None, None)
    assert bool(read.unproven) is not proven


def test_a_count_to_the_present_needs_no_second_look() -> None:
    """Nothing came or moved since, or there would be another number: two requests are enough."""
    site = Site({1: NOW - 50, 2: NOW - 20, 3: NOW - 5}, cap=100, now=NOW)
    reader = Reader(site, Evidence(capped=True, promises_falling=True), NOW - 100, None, now=NOW)
    assert [row.id for row in reader.run()] == [1, 2, 3]
    assert len(site.asked) == 2


def test_what_moves_before_the_count_is_met_all_the_same() -> None:
    """A row that moves to the present between the pages and the count is looked for."""
    rows = {i: NOW - 5_000 + 10 * i for i in range(200)}
    for number in range(2, 6):
        site = Site(dict(rows), cap=50, moves=[(number, 3)], now=NOW)
        reader = Reader(site, Evidence(capped=True, promises_falling=True), 1, None, now=NOW)
        assert {row.id for row in reader.run()} == set(rows)


@pytest.mark.untraced
@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("start", [None, 1])
@pytest.mark.parametrize(("rows", "burst"), [(100_000, 1_300), (30_000, 600), (700, 0)])
def test_promise_2_few_requests_with_windows_at_once(
    rows: int, burst: int, start: int | None, concurrency: int
) -> None:
    """No more than 1.25 times the pages, and five, with up to four windows at once."""
    now = 90 * 86_400
    site = Site(spread(rows, now, burst=burst), cap=500, now=now)
    evidence = Evidence(capped=True, promises_falling=True)
    reader = Reader(site, evidence, start, None, now=now, concurrency=concurrency)
    assert len(reader.run()) == rows
    assert len(site.asked) + 1 <= 1.25 * -(-rows // 500) + 5


def in_bursts(chance: random.Random, now: int) -> list[int]:
    """Half of the rows in twenty hours of three months."""
    step = now // 20
    middles = [chance.randrange(step * i + 1, step * (i + 1) - 3600) for i in range(20)]
    crowd = [middle + chance.randrange(3600) for middle in middles for _ in range(750)]
    return crowd + [chance.randrange(1, now) for _ in range(15_000)]


def on_six_days(chance: random.Random, _: int) -> list[int]:
    """All rows on six days of three months."""
    days = (5, 6, 30, 61, 62, 88)
    return [86_400 * day + chance.randrange(86_400) for day in days for _ in range(4_000)]


@pytest.mark.untraced
@pytest.mark.parametrize("concurrency", [1, 2, 4])
@pytest.mark.parametrize("start", [None, 1])
@pytest.mark.parametrize("spread_out", [in_bursts, on_six_days])
@pytest.mark.parametrize("mixed", [True, False])
def test_promise_2_few_requests_where_rows_come_in_crowds(
    spread_out: Callable[[random.Random, int], list[int]],
    start: int | None,
    concurrency: int,
    mixed: bool,
) -> None:
    """1.25 times the pages, and five, whether or not ids run as the times do."""
    chance, now = random.Random(3), 90 * 86_400
    seconds = sorted(spread_out(chance, now))
    ids = list(range(len(seconds)))
    if mixed:
        chance.shuffle(ids)
    site = Site(dict(zip(ids, seconds, strict=True)), cap=500, now=now)
    evidence = Evidence(capped=True, promises_falling=True)
    reader = Reader(site, evidence, start, None, now=now, concurrency=concurrency)
    assert len(reader.run()) == len(ids)
    assert len(site.asked) + 1 <= 1.25 * -(-len(ids) // 500) + 5


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("count", [3, 900])
def test_a_range_that_begins_ahead_of_the_clock(ahead: bool, count: int) -> None:
    """All of it is dated ahead: read within bounds, or left out where nobody wants it."""
    first = NOW + 40 * 86_400
    rows = {i: first + 60 * i for i in range(count)}
    site = Site(rows, cap=10, now=NOW)
    reader = Reader(
        site,
        Evidence(capped=True, page=10, promises_falling=True),
        first,
        None,
        now=NOW,
        ahead=ahead,
    )
    if ahead and count > 160:
        with pytest.raises(UnprovenError):
            reader.run()
        return
    assert [row.id for row in reader.run()] == (list(range(count)) if ahead else [])


def test_a_bound_that_is_left_out_is_noticed_where_the_other_is_ignored() -> None:
    """Rows nobody asked for came in place of the known one, and one of its second was lost."""
    rows = {4: 86_402, 3: 86_402, 2: -5, 1: -5, 5: -5}
    for start in (None, 1, 100):
        for capped in (True, None):
            site = Site(
                dict(rows),
                cap=3,
                honours_start=False,
                excludes_end=True,
                moves=[(1, 1), (1, 2)],
                now=NOW,
            )
            evidence = Evidence(capped=capped, promises_falling=capped is True)
            got = {row.id for row in Reader(site, evidence, start, None, now=NOW).run()}
            assert got >= {1, 2, 3, 4}


@pytest.mark.parametrize("window", [None, 500_000])
def test_promise_2_whether_offset_is_ignored_is_asked_once(window: int | None) -> None:
    """Once for a stream, however many windows it has."""
    rows = {i: NOW - (i // 3) * 5_000 for i in range(2_000)}
    site = Site(rows, honours_offset=False, now=NOW)
    got = Reader(site, Evidence(), 1, None, now=NOW, window=window).run()
    assert len(got) == len(rows)
    assert sum(query.offset == BEYOND for query in site.asked) == 1


@pytest.mark.untraced
@pytest.mark.parametrize("order", ["oldest first", "newest first"])
def test_promise_2_bounds_that_are_left_out_cost_little(order: str) -> None:
    """Once they are known to be, they are asked for with a second more, not found out anew."""
    rows = {i: 1_000 + (i // 7) * 50 for i in range(4_000)}
    asked = []
    for left_out in (False, True):
        site = Site(
            rows, cap=20, excludes_start=left_out, excludes_end=left_out, order=order, now=NOW
        )
        assert len(Reader(site, Evidence(), 1, None, now=NOW).run()) == len(rows)
        asked.append(len(site.asked))
    assert asked[1] <= 1.1 * asked[0] + 5


@pytest.mark.parametrize("seed", LOST)
def test_promise_1_rows_that_move_away_do_not_stand_for_rows_never_seen(seed: int) -> None:
    """As many rows left the span that was counted as had been skipped: the numbers were the same.

    A page of known rows was taken for the end of what is new, and the next question jumped over
    what lay below it.
    """
    assert judge(seed) == ""


def test_promise_1_the_first_second_of_a_window_is_asked_for_from_before_it() -> None:
    """A row of the second before showed nothing of a server that leaves out where it begins."""
    rows = {9: 5_003, 8: 4_999, 7: 5_002, 6: 5_000, 5: 5_000}
    site = Site(rows, cap=1, order="by id", excludes_start=True, now=NOW)
    read = read_all(site, Evidence(), 5_000, 6_000, reach=4_999)
    assert set(read.rows) == {9, 7, 6, 5}


def test_promise_6_a_crowd_beside_a_window_that_is_thought_to_be_left_out() -> None:
    """Rows of a seam that moved make a bound seem to be left out; a full second there is no end."""
    rows = dict.fromkeys(range(1, 41), 5_000) | dict.fromkeys(range(41, 60), 4_000)
    evidence = Evidence(capped=True, page=5, promises_falling=True, end_excluded=True)
    site = Site(rows, cap=5, now=NOW)
    read = read_all(site, evidence, 3_000, 6_000)
    assert set(read.rows) == set(rows)
    assert evidence.end_excluded is False
    assert len(site.asked) < 60


@pytest.mark.parametrize("every", [1, 2, 5])
def test_promise_1_the_newer_part_of_a_busy_site_is_closed_all_the_same(every: int) -> None:
    """Rows come faster than they can be counted, but not among those that were there."""
    rows = {i: NOW - 1_000 + 10 * i for i in range(100)}
    events = [Event(number, 1_000 + number) for number in range(1, 200, every)]
    site = Site(dict(rows), cap=5, events=events, now=NOW)
    read = WindowRead[Mark](Evidence(capped=True, page=5, promises_falling=True), 1, None)
    while (query := read.query) is not None:
        read.feed(site.answer(query))
        if read.pages > 10 and not read.closed and read.rest is not None:
            read.close()
        assert len(site.asked) < 60
    assert read.closed
    rest = read.rest
    assert rest is not None
    newer = {i for i, second in rows.items() if second > rest[1]}
    assert len(newer) > 20
    assert newer <= set(read.rows)


def test_a_segment_is_asked_only_for_what_its_state_has() -> None:
    """One that is not complete has no rows; one that is cannot be given back."""
    plan = Plan[Mark](5, 9, now=NOW, evidence=Evidence())
    segment = plan.take()
    assert segment is not None
    with pytest.raises(TypeError, match="is not complete"):
        _ = segment.complete
    read = plan.read(segment)
    while (query := plan.ask(segment, read)) is not None:
        read.feed(Site({1: 7}).answer(query))
    assert dict(segment.complete.seconds) == {1: 7}
    with pytest.raises(TypeError, match="is complete"):
        plan.shrink(segment)

"""Promise 1 on the pure rooms: nothing lost, nothing twice, proven; whatever the server does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ppapi_async.page import Page
from ppapi_async.planning import Plan
from ppapi_async.windows import Evidence, Query, WindowRead

from .conftest import DEPTH
from .simulated import Event, Mark, Reader, Site, UnprovenError, scattered

NOW = 10_000_000
SECONDS = st.one_of(
    st.integers(1, NOW),
    st.integers(NOW - 50, NOW),  # a burst at the present
    st.integers(5_000_000, 5_000_003),  # and one long ago
)


@st.composite
def row_sets(draw: st.DrawFn) -> dict[int, int]:
    """Rows with bursts, gaps and an overfull second."""
    seconds = draw(st.lists(SECONDS, max_size=60))
    seconds += [draw(SECONDS)] * draw(st.sampled_from([0, 0, 3, 30]))
    ids = draw(st.permutations(range(1, len(seconds) + 1)))
    return dict(zip(ids, seconds, strict=True))


def known_capped(page: int) -> Evidence:
    """What is known of a 2.7 server, on the scale of the test."""
    return Evidence(capped=True, surely_whole=min(2, page), newest_first=True)


def unknown(_: int) -> Evidence:
    """What is known of a server that nobody has recognised, but for the smallest page."""
    return Evidence(capped=None, surely_whole=2)


BURSTS = st.lists(
    st.tuples(
        SECONDS | st.sampled_from([-5, 0, 1, NOW + 400 * 86_400]),
        st.sampled_from([0, 0, 1, 50, 100_000]),
        st.integers(1, 30),
    ),
    max_size=4 * DEPTH,
)


@st.composite
def many_rows(draw: st.DrawFn) -> dict[int, int]:
    """The same, and more of them; also from far ahead, or before there was time."""
    rows = scattered(draw(BURSTS), draw(st.integers(0, 2**32)))
    # Not a little ahead of the site's clock: see `readers`.
    return {i: NOW if NOW < second < NOW + 200 * 86_400 else second for i, second in rows.items()}


@st.composite
def events(draw: st.DrawFn, rows: int) -> list[Event]:
    """Rows that come, go and move anywhere while one reads; now and then many at once."""
    number = st.integers(1, draw(st.sampled_from([5, 40, 400])))
    row = st.integers(1, rows + 20)
    second = st.none() | SECONDS | st.sampled_from([-5, NOW + 400 * 86_400])
    event = st.builds(Event, number, row, gone=st.booleans(), second=second)
    return draw(st.lists(event, max_size=6 * DEPTH))


@st.composite
def readers(draw: st.DrawFn, *, still: bool = False) -> Reader:
    """Any server, any range, any way of reading.

    Not among them, for nothing that they answer gives them away: a server whose page becomes
    smaller while one reads (a short answer proves itself by a longer one that came before), one
    that takes repeated rows out of a page after it was cut, one that drops rows from the middle of
    an answer, and one that is known to sort from new to old but does not. And a site whose clock
    was set back, by no more than wrong time zones come to and not for daylight saving: what moves
    to its present lands behind rows that seem to be newer, and the API does not tell the clock.
    """
    cap = draw(st.integers(2, 12))
    evidence_of: Callable[[int], Evidence] = draw(st.sampled_from([known_capped, unknown]))
    is_known = evidence_of is known_capped
    rows = draw(row_sets() | many_rows())
    kind = "still" if still else draw(st.sampled_from(["still", "moves", "moves", "events"]))
    moves = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 60)), max_size=6 * DEPTH)
    often = st.sampled_from([True, True, True, False])
    orders = ["newest first", "newest first", "oldest first", "by id", "alternating"]
    site = Site(
        rows,
        cap=cap,
        limit=draw(st.none() | st.integers(2, 12)),
        honours_offset=draw(st.booleans()),
        honours_filter=draw(often),
        honours_start=draw(often),
        honours_end=draw(often),
        order="newest first" if is_known else draw(st.sampled_from(orders)),
        moves=draw(moves) if kind == "moves" else [],
        events=draw(events(len(rows))) if kind == "events" else [],
        repeats=draw(st.sampled_from([0, 0, 0, 1, 3])),
        grows=draw(st.none() | st.integers(1, 20)),
        now=NOW,
    )
    start = draw(st.none() | st.integers(1, NOW) | st.sampled_from([-5, 0]))
    end = draw(st.none() | st.integers(start or 1, NOW + 100)) if kind != "moves" else None
    return Reader(
        site,
        evidence_of(cap),
        start,
        end,
        now=NOW,
        window=draw(st.none() | st.integers(1_000_000, NOW)),
        newest_first=draw(st.booleans()),
        most_rows=draw(st.none() | st.integers(4, 12)),
        concurrency=draw(st.integers(1, 8)),
        turns=draw(st.lists(st.integers(0, 7), max_size=12)),
        failures=draw(st.frozensets(st.integers(1, 40), max_size=4)),
        most_requests=1_000 + 60 * len(rows),
    )


def seconds_in_range(reader: Reader, rows: dict[int, int]) -> set[int]:
    """Return the ids of the rows that lie in the range."""
    return {
        row_id
        for row_id, second in rows.items()
        if (reader.start is None or second >= reader.start)
        and (reader.end is None or second <= reader.end)
    }


def is_odd(site: Site) -> bool:
    """Tell whether something of what is asked may have no answer that proves anything."""
    honest = site.honours_offset and site.honours_filter
    honest = honest and site.honours_start and site.honours_end
    return not honest or bool(site.moves or site.events) or bool(site.repeats)


@given(reader=readers())
def test_promise_1_every_row_once_or_unproven(reader: Reader) -> None:
    """Whatever the server does: every row that was there all the time once, or it is said.

    A row that moves to the present is met there, if the range reaches it. Of one that comes, goes
    or moves elsewhere nothing is promised: no server does that.
    """
    before = dict(reader.site.rows)
    try:
        got = reader.run()
    except UnprovenError:
        odd = is_odd(reader.site) or reader.site.order == "alternating"
        assert odd, "gave up on a server that answers every question"
        return
    touched = {event.row_id for event in reader.site.events}
    ids = [row.id for row in got]
    told_twice = {row_id for row_id, times in Counter(ids).items() if times > 1}
    assert told_twice <= touched
    inside = seconds_in_range(reader, before)
    moved = {row_id for _, row_id in reader.site.moves}
    assert inside - touched <= set(ids)
    assert set(ids) - inside <= moved | touched


@given(reader=readers(still=True))
def test_order_is_by_time(reader: Reader) -> None:
    """Oldest first, or newest first, unless rows move meanwhile."""
    try:
        times = [row.time for row in reader.run()]
    except UnprovenError:
        return
    ordered = all(a >= b if reader.newest_first else a <= b for a, b in pairwise(times))
    assert ordered


@given(rows=many_rows(), reader=readers(still=True), cap=st.integers(2, 12))
def test_memory_is_bounded_by_the_page(rows: dict[int, int], reader: Reader, cap: int) -> None:
    """On a known server that answers what is asked, however its rows are scattered.

    A window that is being read has 17 pages at most, and so has each that waits to be handed out.
    A second that holds more than a page has to be held whole.
    """
    most = max(Counter(rows.values()).values(), default=0)
    site = Site(rows, cap=cap, now=NOW)
    reader = Reader(
        site,
        known_capped(cap),
        reader.start,
        reader.end,
        now=NOW,
        newest_first=reader.newest_first,
        most_rows=reader.most_rows,
        concurrency=reader.concurrency,
        turns=reader.turns,
        failures=reader.failures,
        most_requests=1_000 + 60 * len(rows),
    )
    assert len(reader.run()) == len(seconds_in_range(reader, rows))
    windows = reader.concurrency + 3
    assert reader.most_held <= windows * (17 * cap + most)


@given(rows=row_sets(), start=st.none() | st.integers(1, NOW), most=st.integers(1, 40))
def test_uncapped_answers_prove_themselves(
    rows: dict[int, int], start: int | None, most: int
) -> None:
    """On a classic server nothing is asked twice, and answers too large narrow the window."""
    site = Site(rows, now=NOW)
    evidence = Evidence(capped=False)
    reader = Reader(site, evidence, start, None, now=NOW, most_rows=most, rows_move=False)
    got = {row.id for row in reader.run()}
    assert got == {i for i, second in rows.items() if start is None or second >= start}
    assert not any(query.offset for query in site.asked)


def spread(count: int, span: int = NOW, *, burst: int = 0) -> dict[int, int]:
    """Rows spread evenly, with a burst in one second."""
    rows = {i: 1 + i * span // count for i in range(count - burst)}
    return rows | {count - burst + i: span // 2 for i in range(burst)}


@pytest.mark.parametrize("start", [None, 1])
@pytest.mark.parametrize(("rows", "burst"), [(100_000, 1_300), (1_000, 0), (30_000, 600), (700, 0)])
def test_promise_2_few_requests(start: int | None, rows: int, burst: int) -> None:
    """1.15 times the pages that are there, and five, on a capped server that is known."""
    site = Site(spread(rows, 90 * 86_400, burst=burst), cap=500, now=90 * 86_400)
    evidence = Evidence(capped=True, surely_whole=100, newest_first=True)
    got = Reader(site, evidence, start, None, now=90 * 86_400).run()
    assert len(got) == rows
    assert len(site.asked) + 1 <= 1.15 * -(-rows // 500) + 5  # get_info is one of them


def test_memory_is_bounded_by_the_window() -> None:
    """A long range through small pages is never held whole."""
    site = Site(spread(100_000, 90 * 86_400), cap=500, now=90 * 86_400)
    evidence = Evidence(capped=True, surely_whole=100, newest_first=True)
    reader = Reader(site, evidence, 1, None, now=90 * 86_400)
    assert len(reader.run()) == 100_000
    assert reader.most_held <= 16_000


@pytest.mark.parametrize("start", [None, 1])
@pytest.mark.parametrize("newest_first", [False, True])
def test_lumpy_ranges_keep_memory_and_requests_bounded(
    start: int | None, newest_first: bool
) -> None:
    """Dense days between empty months: windows are cut where they stand, little is read twice."""
    rows: dict[int, int] = {}
    for day in (100, 101, 400, 700, 703):
        rows |= {len(rows) + i: day * 86_400 + i * 8 for i in range(10_000)}
    now = 1_000 * 86_400
    site = Site(rows, cap=100, now=now)
    evidence = Evidence(capped=True, surely_whole=50, newest_first=True)
    reader = Reader(site, evidence, start, None, now=now, newest_first=newest_first)
    got = [row.id for row in reader.run()]
    assert sorted(got) == sorted(rows)
    assert reader.most_held <= 8_000
    assert len(site.asked) <= 2.5 * len(rows) / 100


YEARS = 3_000 * 86_400


def test_density_does_not_size_fixed_windows() -> None:
    """However dense the part is that the search for the first row comes upon."""
    site = Site(spread(600, YEARS), cap=100, now=YEARS)
    evidence = Evidence(capped=True, surely_whole=50, newest_first=True)
    month = 30 * 86_400
    reader = Reader(site, evidence, None, None, now=YEARS, window=month, rows_move=False)
    assert [row.id for row in reader.run()] == sorted(site.rows)
    assert reader.plan._width == month
    assert evidence.pace.rate is None


def test_what_is_too_large_before_the_first_row_is_looked_for_further_back() -> None:
    """An uncapped answer from the beginning that is too large makes the search reach further."""
    site = Site(spread(600, YEARS), now=YEARS)
    reader = Reader(
        site, Evidence(capped=False), None, None, now=YEARS, most_rows=50, rows_move=False
    )
    assert [row.id for row in reader.run()] == sorted(site.rows)
    firsts = [query.end for query in site.asked if query.start is None]
    assert firsts == sorted(firsts, key=lambda end: -(end or YEARS))
    assert len(firsts) == 2


def test_part_needs_a_rest() -> None:
    """A window that was read to its end cannot be left where it stands."""
    plan = Plan[Mark](1, 9, now=NOW, evidence=Evidence())
    segment = plan.take()
    assert segment is not None
    read = read_all(Site({1: 5}), Evidence(), 1, 9)
    with pytest.raises(ValueError, match="no rest"):
        plan.part(segment, read)


def read_all(
    site: Site, evidence: Evidence, start: int | None, end: int | None
) -> WindowRead[Mark]:
    """Read one window to its end."""
    read = WindowRead[Mark](evidence, start, end)
    while (query := read.query) is not None:
        read.feed(site.answer(query))
    return read


def test_full_page_is_not_taken_for_a_window() -> None:
    """A page as large as the cap is followed by the question for the rest."""
    site = Site(spread(120, 1_000), cap=100)
    read = read_all(site, Evidence(capped=True, surely_whole=100, newest_first=True), 0, 2_000)
    assert len(read.rows) == 120
    assert site.asked[1].end == min(s for s in sorted(site.rows.values())[-100:])


def test_overfull_second_is_walked_by_offset() -> None:
    """1,300 rows of one second come by offset, each page overlapping the last by a row."""
    site = Site(dict.fromkeys(range(1300), 77), cap=500)
    read = read_all(site, Evidence(capped=True, surely_whole=100, newest_first=True), 0, 100)
    assert len(read.rows) == 1_300
    assert [q.offset for q in site.asked if q.start == 77 == q.end] == [499, 998]


def test_overfull_second_without_offset_is_unproven() -> None:
    """Where offset is ignored, the second is named instead of its rows being lost."""
    site = Site(dict.fromkeys(range(1300), 77), cap=500, honours_offset=False)
    read = read_all(site, Evidence(capped=True, surely_whole=100, newest_first=True), 0, 100)
    assert read.unproven == [(77, 77)]


def test_unproven_second_is_not_forgotten_when_a_window_is_cut() -> None:
    """A window that is left where it stands still raises for what it could not prove."""
    rows = {9: 9_999_456, 1: 5_000_003, 2: 5_000_003, 3: 3, 4: 9_999_883, 5: 2, 6: 38, 7: 38, 8: 38}
    site = Site(rows, cap=2, honours_offset=False)
    reader = Reader(site, known_capped(2), now=NOW)
    with pytest.raises(UnprovenError):
        reader.run()


def test_row_that_leaves_an_overfull_second_is_noticed() -> None:
    """A row that moves away shifts the others under the offset; the walk begins again."""
    site = Site(dict.fromkeys(range(1300), 77), cap=500, moves=[(2, 3)], now=10_000)
    read = read_all(site, Evidence(capped=True, surely_whole=100, newest_first=True), 0, 100)
    assert set(read.rows) == set(range(1_300))
    assert [q.offset for q in site.asked if q.start == 77 == q.end] == [499, 0, 499, 998]


@pytest.mark.parametrize(
    ("cap", "offsets"), [(1, [0, 1, 2, 3, 4, 5]), (2, [0, 1, 2, 3, 4]), (3, [0, 2, 4])]
)
def test_small_pages_of_an_overfull_second_overlap(cap: int, offsets: list[int]) -> None:
    """Each page begins with the last row of the one before; a page of one row cannot."""
    site = Site(dict.fromkeys(range(5), 77), cap=cap)
    read = read_all(site, Evidence(capped=True, surely_whole=1, newest_first=True), 77, 77)
    assert (set(read.rows), read.unproven) == (set(range(5)), [])
    assert [query.offset for query in site.asked] == offsets


def page_of(rows: Mapping[int, int]) -> Page[Mark]:
    """Return an answer with these rows, `{id: wire second}`."""
    walls = [datetime.fromtimestamp(second, UTC) for second in rows.values()]
    return Page([Mark(i, wall) for i, wall in zip(rows, walls, strict=True)], walls)


def page_at(second: int, *ids: int) -> Page[Mark]:
    """Return an answer with these rows, all of one second."""
    return page_of(dict.fromkeys(ids, second))


def test_walk_that_is_always_disturbed_is_given_up() -> None:
    """A second whose rows never stand still is begun again five times, then named."""
    read = WindowRead[Mark](Evidence(surely_whole=2), 77, 77)
    for number in range(12):
        assert read.query == Query(77, 77, number % 2)
        read.feed(page_at(77, 2 * number, 2 * number + 1))
    assert (read.query, read.unproven, read.requests) == (None, [(77, 77)], 12)


@pytest.mark.parametrize(
    ("newest_first", "start", "end", "sides"),
    [
        (False, None, None, [(None, 76), (78, None)]),
        (False, 76, 78, [(76, 76), (78, 78)]),
        (False, 77, 77, []),
        (True, 76, 78, [(76, 76)]),
        (True, None, None, [(None, 76)]),
        (True, 77, 78, []),
    ],
)
def test_both_sides_of_an_overfull_second_are_asked_for(
    newest_first: bool, start: int | None, end: int | None, sides: list[tuple[int, int]]
) -> None:
    """After the second what may be older, then what may be newer; and nothing beyond the window."""
    site = Site(dict.fromkeys(range(4), 77), cap=3)
    evidence = Evidence(capped=True, surely_whole=2, newest_first=newest_first)
    read = read_all(site, evidence, start, end)
    assert (len(read.rows), read.unproven) == (4, [])
    walk = [Query(start, end), Query(77, 77, 2)]
    assert site.asked == [*walk, *(Query(*side) for side in sides)]


@pytest.mark.parametrize(
    ("moves", "offsets"),
    [
        ([], [0, 2, 4, 6, 0]),
        ([(3, 1)], [0, 2, 4, 6, 0, 0, 2, 4, 6, 0]),  # the oldest row comes to the head, unread
        ([(3, 7)], [0, 2, 4, 6, 0]),  # one that was read moves
    ],
)
def test_walk_of_an_unfiltered_server_ends_with_a_look_at_its_head(
    moves: list[tuple[int, int]], offsets: list[int]
) -> None:
    """Where the filter is ignored all is walked; what came in at the head is not overlooked."""
    site = Site({i: 100 * i for i in range(1, 8)}, cap=3, honours_filter=False, moves=moves)
    read = read_all(site, Evidence(capped=True, surely_whole=2), 650, None)
    expected = {7} | {row for _, row in moves}
    assert (set(read.rows), read.unproven) == (expected, [])
    assert [query.offset for query in site.asked] == offsets


def test_head_that_is_always_new_is_given_up() -> None:
    """A walk whose head has other rows at each look is begun again five times, then named."""
    read = WindowRead[Mark](Evidence(capped=True, surely_whole=2), 80, 90)
    for number in range(0, 18, 3):
        assert read.query == Query(80, 90)
        read.feed(page_at(77, number, number + 1))
        read.feed(page_at(77, number + 1))
        read.feed(page_at(77, number + 2))
    assert (read.query, read.unproven) == (None, [(80, 90)])


def test_stop_forgets_the_second_that_may_be_incomplete() -> None:
    """What is left unread is told, and rows of its newest second are not kept."""
    site = Site({1: 10, 2: 20, 3: 20, 4: 30, 5: 40}, cap=4)
    read = WindowRead[Mark](Evidence(capped=True, surely_whole=2, newest_first=True), 0, 100)
    assert read.rest is None
    read.feed(site.answer(Query(0, 100)))
    assert read.rest == (0, 20)
    read.stop()
    assert set(read.rows) == {4, 5}
    assert (read.query, read.rest) == (None, None)


def test_window_with_an_unproven_second_is_read_to_its_end() -> None:
    """Left where it stands it would not tell of the second."""
    rows = dict.fromkeys(range(5), 77) | {5 + n: 70 - n for n in range(9)}
    site = Site(rows, cap=3, honours_offset=False)
    read = WindowRead[Mark](Evidence(capped=True, surely_whole=2, newest_first=True), 0, 100)
    for _ in range(3):
        assert read.query is not None
        read.feed(site.answer(read.query))
    assert read.unproven == [(77, 77)]
    assert (read.query, read.rest) == (Query(0, 68), None)


def test_window_in_pieces_is_read_to_its_end() -> None:
    """Where an answer out of order has split the window, what is left is no rest of all of it."""
    read = WindowRead[Mark](Evidence(capped=True, surely_whole=2, newest_first=True), 0, 100)
    read.feed(page_of({1: 50, 2: 91, 3: 10}))
    for start, end, rows in (
        *((0, 50, {3: 10, 1: 50, 4: 31}), (0, 30, {3: 10})),
        *((31, 50, {1: 50, 4: 31}), (51, 100, {})),
    ):
        assert read.query == Query(start, end)
        if rows:
            read.feed(page_of(rows))
    read.feed(page_of({2: 90, 4: 80, 5: 70}))
    assert (read.query, read.rest) == (Query(51, 70), None)


@pytest.mark.parametrize(
    ("evidence", "wholes"),
    [
        (Evidence(), range(10)),
        (Evidence(capped=True), range(10)),
        (Evidence(capped=False), range(40)),
        (Evidence(surely_whole=0), [0]),
        (Evidence(surely_whole=3, largest=20), range(20)),
        (Evidence(surely_whole=20, largest=3), range(20)),
    ],
)
def test_answers_that_prove_themselves(evidence: Evidence, wholes: Iterable[int]) -> None:
    """Nothing, all of a server that cuts nothing, and less than a page is whole."""
    assert [rows for rows in range(40) if evidence.is_whole(rows)] == list(wholes)


def test_a_second_that_never_rests_is_unproven() -> None:
    """Where rows leave an overfull second in every walk over it, the walks come to an end."""
    moves = [(request, request) for request in range(2, 40)]
    site = Site(dict.fromkeys(range(1300), 77), cap=500, moves=moves, now=10_000)
    read = read_all(site, Evidence(capped=True, surely_whole=100, newest_first=True), 0, 100)
    assert read.unproven == [(77, 77)]
    assert len(site.asked) <= 15


def test_ignored_filter_is_recognised() -> None:
    """Rows outside the window mean that the filter is ignored; they are not handed out."""
    site = Site(spread(40, 1_000), honours_filter=False)
    evidence = Evidence(capped=False)
    read = read_all(site, evidence, 500, 600)
    assert evidence.unfiltered
    assert {site.rows[i] for i in read.rows} <= set(range(500, 601))
    edges = Site({1: 499, 2: 500, 3: 600, 4: 601}, honours_filter=False)
    assert set(read_all(edges, Evidence(capped=False), 500, 600).rows) == {2, 3}


def test_rows_that_come_during_a_walk_are_read() -> None:
    """A walk over more than a second ends only when nothing has come in at its head meanwhile."""
    site = Site(spread(250, 1_000), cap=100, honours_filter=False)
    read = WindowRead[Mark](Evidence(capped=True, surely_whole=50, newest_first=True), 100, None)
    came = False
    while (query := read.query) is not None:
        if not came and query.offset == 0 and len(site.asked) > 2:  # where the walk checks
            site.rows[999], site._in_order, came = 2_000, None, True
        read.feed(site.answer(query))
    assert came
    assert not read.unproven
    assert set(read.rows) == {i for i, second in site.rows.items() if second >= 100}


@example(cap=10)
@given(cap=st.integers(10, 30))
def test_unknown_server_is_probed(cap: int) -> None:
    """Of an unknown server a big answer is not believed before a bigger one has been seen."""
    site = Site(spread(cap + 5, 1_000), cap=cap)
    read = read_all(site, Evidence(), 0, 2_000)
    assert len(read.rows) == cap + 5
    assert len(site.asked) > 1


def test_small_answer_of_an_unknown_server_is_believed() -> None:
    """Fewer rows than any server's page need no second question."""
    site = Site(spread(9, 1_000))
    assert len(read_all(site, Evidence(), 0, 2_000).rows) == 9
    assert site.asked == [Query(0, 2_000)]


def test_empty_range_plans_nothing() -> None:
    """A range that ends before it starts has no windows."""
    assert Plan[Mark](5, 4, now=10, evidence=Evidence()).done


def test_single_second_cannot_be_narrowed() -> None:
    """`shrink` says so, instead of asking the same for ever."""
    plan = Plan[Mark](5, 5, now=NOW, evidence=Evidence())
    segment = plan.take()
    assert segment is not None
    assert not plan.shrink(segment)


def test_promise_1_what_is_believed_does_not_outlive_the_stream() -> None:
    """The next stream takes over how fast rows come, and nothing that proves anything."""
    evidence = Evidence(capped=False, surely_whole=400, largest=500, newest_first=True)
    evidence.unfiltered = True
    evidence.pace.rate = 0.5
    fresh = evidence.fresh()
    assert fresh == Evidence(pace=evidence.pace)
    assert fresh.pace is evidence.pace

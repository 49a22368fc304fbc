"""What a watch makes of the rows of its polls, against a simulated site."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from attrs import Factory, define, evolve
from hypothesis import given
from hypothesis import strategies as st

from ppapi_async.models import Exchange
from ppapi_async.protocol import dump_stored, parse_stored
from ppapi_async.protocol.site_clock import SiteClock
from ppapi_async.watching.tracker import Schedule, Tracker, Verdict, WatchPosition

DAY, HOUR, MINUTE = 86_400, 3600, 60
NOW = 1_780_000_000
LOOKBACK = 30 * DAY


@define
class Row:
    """A row of the simulated site: times are the site's, `version` is all that it shows."""

    id: int
    created: int
    edited: int
    version: int = 0
    hidden: bool = False


@define
class World:
    """A site with a clock of its own, and a watch that polls it, is killed and starts again."""

    by_edit: bool
    shift: int = 0
    """How far the site's clock is off, as seen with the account's zone."""
    lookback: int = LOOKBACK
    interval: float = MINUTE
    now: int = NOW
    zone: str = "UTC"
    settled: bool = False
    rows: dict[int, Row] = Factory(dict)
    delivered: list[tuple[str, int, int]] = Factory(list)
    """`(verdict, id, version)` of what the consumer has got."""
    delivered_at: dict[tuple[int, int], int] = Factory(dict)
    """When a version of a row was delivered."""
    tracker: Tracker | None = None
    saved_position: str = ""
    saves: int = 0
    """How often the position has been saved with something new in it."""
    saved_rows: dict[int, Exchange] = Factory(dict)
    read: list[int] = Factory(list)
    """How many rows each poll has read."""

    def time_of(self, row: Row) -> int:
        """Return the time that the filter of the site compares."""
        return row.edited if self.by_edit else row.created

    def add(self, at: int | None = None) -> int:
        """Have a row created, now or at a time of the site's clock."""
        at = self.now + self.shift if at is None else at
        row = Row(len(self.rows) + 1, at, at)
        self.rows[row.id] = row
        return row.id

    def edit(self, row_id: int) -> None:
        """Have a row changed."""
        row = self.rows[row_id]
        row.version += 1
        row.edited = self.now + self.shift

    def accrue(self, row_id: int) -> None:
        """Have a row changed in a way that does not move its time."""
        self.rows[row_id].version += 1

    def record(self, row: Row) -> Exchange:
        """Return the row as the codec would."""
        return Exchange(
            id=row.id,
            time=datetime.fromtimestamp(self.time_of(row), UTC),
            amount_give=Decimal(1),
            amount_get=Decimal(1),
            exchange_success=False,
            accrued=False,
            partner_reward=Decimal(row.version),
        )

    def answer(self, start: int) -> list[Exchange]:
        """Return all rows since then, oldest first."""
        found = [
            self.record(row)
            for row in self.rows.values()
            if self.time_of(row) >= start and not row.hidden
        ]
        self.read.append(len(found))
        return sorted(found, key=lambda row: (row.time, row.id))

    def open(self, since: int | None = None) -> None:
        """Start the watch, from what was saved if anything was."""
        if self.saved_position:
            position = parse_stored(self.saved_position, WatchPosition)
        elif since is not None:
            position = Tracker.begin_at(since)
        else:
            position = Tracker.begin_now(self.now, self.lookback)
        of = Schedule.of_settled if self.settled else Schedule.of_changing
        self.tracker = Tracker(
            clock=SiteClock(ZoneInfo(self.zone)),
            schedule=of(self.interval, self.lookback, 12_345.0),
            meets_old=self.by_edit,
            position=position,
        )
        for row in self.saved_rows.values():
            self.tracker.remember(row, dump_stored(row))
        if position.looked_to is not None:
            self.look_first(self.tracker, position.looked_to)

    def look_first(self, tracker: Tracker, start: int) -> None:
        """Note what is there."""
        found = self.answer(start)
        for row in found:
            self.keep(tracker, row)
        tracker.look_on(self.now)
        tracker.end_first_look(self.now, self.now, newest_of(found))
        self.save(tracker)

    def keep(self, tracker: Tracker, row: Exchange) -> None:
        """Have a row known and saved."""
        tracker.remember(row, dump_stored(row))
        self.saved_rows[row.id] = row

    def save(self, tracker: Tracker) -> None:
        """Have the position saved."""
        text = dump_stored(tracker.to_save("site"))
        self.saves += text != self.saved_position
        self.saved_position = text

    def poll(self, *, fail_after: int | None = None, windows: int = 1) -> None:
        """Poll; a failure comes after so many rows."""
        if self.tracker is None:
            self.open()
        tracker = self.tracker
        assert tracker is not None
        began, reading = self.now, tracker.plan(self.now, self.now)
        found = self.answer(reading.start)
        size = max(1, len(found) // windows)
        for first in range(0, max(1, len(found)), size):
            window = found[first : first + size]
            last = first + size >= len(found)
            for number, row in enumerate(window):
                if fail_after is not None and first + number >= fail_after:
                    return
                self.judge(tracker, row)
            read_to = None if last else int(found[first + size].time.timestamp())
            for row_id in tracker.advance(self.now, read_to, newest_of(window)):
                del self.saved_rows[row_id]
            self.save(tracker)
        if fail_after is None:
            tracker.end_poll(began, reading)
            self.save(tracker)

    def act(self, step: str, number: int) -> None:
        """Do one of `STEPS`."""
        if step == "add":
            for _ in range(number):
                self.add()
        elif step in ("edit", "accrue"):
            self.change_some(number, moving=step == "edit")
        elif step == "wait":
            self.now += number
        elif step == "fail":
            self.poll(fail_after=number)
        elif step == "restart":
            self.open()
        else:
            self.poll(windows=number)

    def change_some(self, number: int, *, moving: bool) -> None:
        """Have a row changed, if there are any and the watch can know of it."""
        if not self.rows:
            return
        row = self.rows[number % len(self.rows) + 1]
        moves = moving and self.by_edit
        if moves or self.now + self.shift - self.time_of(row) < LOOKBACK - 5 * DAY:
            (self.edit if moving else self.accrue)(row.id)

    def judge(self, tracker: Tracker, row: Exchange) -> None:
        """Tell the consumer what there is to tell of a row."""
        verdict = tracker.judge(row, dump_stored(row))
        if verdict is Verdict.SAME:
            return
        if verdict is not Verdict.PAST:
            version = int(row.partner_reward)
            self.delivered.append((verdict.name, row.id, version))
            self.delivered_at.setdefault((row.id, version), self.now)
        self.keep(tracker, row)


def newest_of(rows: list[Exchange]) -> int | None:
    """Return the second of the newest row."""
    return int(rows[-1].time.timestamp()) if rows else None


BOTH = pytest.mark.parametrize("by_edit", [False, True], ids=["creation time", "edit time"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 3)),
        st.tuples(st.just("edit"), st.integers(0, 50)),
        st.tuples(st.just("accrue"), st.integers(0, 50)),
        st.tuples(st.just("wait"), st.sampled_from([1, 30, HOUR, 5 * HOUR, DAY, 4 * DAY])),
        st.tuples(st.just("poll"), st.integers(1, 4)),
        st.tuples(st.just("fail"), st.integers(0, 4)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=40,
)


@given(
    by_edit=st.booleans(),
    shift=st.integers(-26 * HOUR, 26 * HOUR),
    old=st.lists(st.integers(0, 60 * DAY), max_size=10),
    steps=STEPS,
)
def test_promise_7_every_change_is_delivered_once(
    by_edit: bool, shift: int, old: list[int], steps: list[tuple[str, int]]
) -> None:
    """However polls fail, the process restarts and the zone is wrong: once, and nothing else."""
    world = World(by_edit=by_edit, shift=shift)
    for age in sorted(old, reverse=True):
        world.add(NOW + shift - age - 1)
    world.poll()
    assert world.delivered == []
    world.now += 1
    for step, number in steps:
        world.act(step, number)
    world.now += 6 * HOUR
    world.poll()
    got = [(row_id, version) for _, row_id, version in world.delivered]
    assert len(set(got)) == len(got), "delivered twice"
    last = dict(got)
    for row in world.rows.values():
        if row.version or row.id > len(old):
            assert last.get(row.id) == row.version, "not delivered"
        else:
            assert row.id not in last, "invented"
    first_told: dict[int, str] = {}
    for kind, row_id, _ in world.delivered:
        first_told.setdefault(row_id, kind)
    if old and min(old) < LOOKBACK - 2 * DAY:  # else the watch has seen no id to go by
        for row_id, kind in first_told.items():
            assert (kind == "NEW") == (row_id > len(old)), "an old row is no new one"


# --- how far back, and how often


def run_polls(
    world: World, until: int, chance: random.Random, outages: list[tuple[int, int]]
) -> None:
    """Poll as a watch does, with jitter, but for outages; now and then the process starts anew."""
    while world.now < until:
        world.now += max(1, round(world.interval * (0.9 + 0.2 * chance.random())))
        if any(begin <= world.now < end for begin, end in outages):
            world.poll(fail_after=chance.randrange(3))
        else:
            world.poll()
        if chance.random() < 0.01:
            world.open()


@pytest.mark.untraced
@given(
    by_edit=st.booleans(),
    interval=st.sampled_from([60, 300, 900, HOUR, 4 * HOUR]),
    shift=st.integers(-14 * HOUR, 14 * HOUR),
    ages=st.lists(st.integers(0, 30 * DAY), min_size=1, max_size=12),
    at=st.lists(st.integers(0, 8 * HOUR), min_size=12, max_size=12),
    outage=st.one_of(st.none(), st.tuples(st.integers(0, 4 * HOUR), st.integers(0, 3 * HOUR))),
    seed=st.integers(0, 2**32),
)
def test_promise_7_a_change_of_any_age_is_delivered_within_its_bound(
    by_edit: bool,
    interval: int,
    shift: int,
    ages: list[int],
    at: list[int],
    outage: tuple[int, int] | None,
    seed: int,
) -> None:
    """Within max(interval, age / 8), six hours at most, of which an outage counts as nothing.

    The change does not move the row's time. A poll comes up to 1.1 intervals after the one before,
    and after an outage the first one tells.
    """
    world = World(by_edit=by_edit, interval=interval, shift=shift)
    for age in sorted(ages, reverse=True):
        world.add(NOW + shift - age)
    world.poll()
    chance = random.Random(seed)
    begin = NOW + 2 * DAY // 3
    outages = [] if outage is None else [(begin + outage[0], begin + sum(outage))]
    run_polls(world, begin, chance, outages)
    changes = sorted(
        (begin + second, row_id) for row_id, second in zip(world.rows, at, strict=False)
    )
    due: list[tuple[int, int, float]] = []
    for when, row_id in changes:
        run_polls(world, when, chance, outages)
        world.accrue(row_id)
        age = world.now + shift - world.time_of(world.rows[row_id])
        if age <= LOOKBACK:
            within = min(6 * HOUR, age / 8)
            due.append((row_id, world.now, max(within, 1.1 * interval) + 1))
    run_polls(world, begin + 18 * HOUR, chance, outages)
    for row_id, changed, within in due:
        delivered = world.delivered_at.get((row_id, 1))
        assert delivered is not None, "not delivered"
        limit: float = changed + within
        for out, back in outages:
            if changed < back and limit > out:
                limit = max(limit, back + 1.1 * interval + 1)
        assert delivered <= limit, (
            f"a change of {changed} was delivered {delivered - changed} s later"
        )


def test_regular_polls_follow_the_ruler() -> None:
    """Poll number n reads back by the highest power of two in n, as long as no more is due."""
    schedule = Schedule.of_changing(60, LOOKBACK)
    reads: dict[int, int] = {}
    depths = []
    for poll in range(1, 360):
        level = schedule.due(poll * 60, list(reads.items()))
        reads = {depth: time for depth, time in reads.items() if depth > level.depth}
        reads[level.depth] = poll * 60
        depths.append(schedule.levels.index(level))
    whole = len(schedule.levels) - 1
    expected = [(poll & -poll).bit_length() - 1 for poll in range(1, 360)]
    odd = [depth for depth, rule in zip(depths, expected, strict=True) if depth != rule]
    # The last level has six hours, which is no power of two: it takes the place of another one.
    assert odd == [whole, whole]


def test_a_read_that_is_due_is_made_up_for_at_once() -> None:
    """Levels go by the time of the last good read: an outage or a restart skips nothing."""
    schedule = Schedule.of_changing(60, LOOKBACK)
    deepest = schedule.levels[-1]
    assert schedule.due(NOW, []) == deepest
    reads = [(deepest.depth, NOW)]
    assert schedule.due(NOW + 1, reads).depth < deepest.depth
    assert schedule.due(NOW + 6 * HOUR, reads) == deepest
    assert schedule.due(NOW - 1, reads) == deepest, "a clock set back says nothing of the time"


@pytest.mark.parametrize("interval", [0.5, 1, 7, 60, 300, HOUR, 2 * HOUR, 3 * HOUR, DAY])
@pytest.mark.parametrize("lookback", [1, HOUR, 3 * DAY, 30 * DAY, 365 * DAY])
def test_each_age_has_a_level_that_is_often_enough(interval: float, lookback: int) -> None:
    """Also when a row has aged by the time its level is read next."""
    levels = Schedule.of_changing(interval, lookback).levels
    gap = 1.1 * interval
    for age in itertools.chain(range(0, lookback, max(1, lookback // 5000)), [lookback]):
        waits = [
            level.period + gap if level.period else gap
            for level in levels
            if level.depth >= age + (level.period + gap if level.period else gap)
        ]
        assert waits
        assert min(waits) <= max(gap, min(6 * HOUR, age / 8)) + 1e-6
    depths = [level.depth for level in levels]
    assert depths == sorted(set(depths))
    assert len(levels) < 20


def test_what_is_read_grows_with_the_logarithm_of_the_lookback() -> None:
    """A year back costs little more than a month; every poll together reads a few hours."""

    def seconds_a_poll(lookback: int) -> float:
        levels = Schedule.of_changing(60, lookback).levels
        read, before = 0.0, 0
        for level in levels:
            read += (level.depth - before) * 60 / max(60, level.period)
            before = level.depth
        return read

    # Beyond two days each row costs a read in six hours, however old it is.
    assert seconds_a_poll(2 * DAY) < 2 * HOUR
    assert seconds_a_poll(30 * DAY) < 2 * HOUR + 30 * DAY / 355
    assert seconds_a_poll(30 * DAY) * 180 < 30 * DAY


@pytest.mark.untraced
def test_polls_of_many_accounts_do_not_read_far_back_at_once() -> None:
    """Of a thousand accounts that begin together, a few read all of `lookback` in any minute."""
    schedules = [Schedule.of_changing(60, LOOKBACK, number * 21.6) for number in range(1000)]
    deepest = schedules[0].levels[-1].depth
    reads = [[(deepest, NOW)] for _ in schedules]
    deep: list[int] = []
    for minute in range(1, 12 * 60):
        deep.append(0)
        for schedule, known in zip(schedules, reads, strict=True):
            if schedule.due(NOW + minute * 60, known).depth == deepest:
                known[:] = [(deepest, NOW + minute * 60)]
                deep[-1] += 1
    assert max(deep) <= 10
    assert sum(deep) >= 1000


def test_a_quiet_site_is_saved_rarely() -> None:
    """Of the times of reads only those are saved that a restart would miss."""
    world = World(by_edit=False)
    for age in range(20):
        world.add(NOW - age * DAY - HOUR)
    world.poll()
    before = world.saves
    for _ in range(320):
        world.now += MINUTE
        world.poll()
    assert world.saves - before <= 320 / 16 + 320 / 70 + 1


@BOTH
def test_nothing_is_read_twice_as_far_as_needed_at_a_quiet_site(by_edit: bool) -> None:
    """A site whose newest rows are weeks old is not read back from them by every poll."""
    world = World(by_edit=by_edit)
    for _ in range(500):
        world.add(NOW - 10 * DAY)
    world.poll()
    world.read.clear()
    for _ in range(100):
        world.now += MINUTE
        world.poll()
    assert sum(count > 0 for count in world.read) <= 1


@BOTH
def test_rows_that_vanish_and_return_are_not_new(by_edit: bool) -> None:
    """Payouts in the operator's basket, banned exchanges: back as they were, they are no news."""
    world = World(by_edit=by_edit)
    one, other = world.add(NOW - HOUR), world.add(NOW - 3 * DAY)
    world.poll()
    for row_id in (one, other):
        world.rows[row_id].hidden = True
    world.now += 7 * HOUR
    world.poll()
    world.open()
    for row_id in (one, other):
        world.rows[row_id].hidden = False
    world.accrue(other)
    world.now += 7 * HOUR
    world.poll()
    assert world.delivered == [("DIFFERENT", other, 1)]


def test_clicks_keep_the_short_reach() -> None:
    """They never change: a poll reads back a little over an hour, one a day all of the lookback."""
    world = World(by_edit=False, settled=True, lookback=3 * DAY)
    for age in range(3 * DAY, 0, -HOUR):
        world.add(NOW - age)
    world.poll()
    world.read.clear()
    for _ in range(48):
        world.now += HOUR
        world.add()
        world.poll()
    assert sorted(world.read)[-3] <= 3
    assert sum(count > 60 for count in world.read) == 2


# --- what is delivered


@BOTH
def test_nothing_of_the_past_is_delivered(by_edit: bool) -> None:
    """A watch that starts now is silent on what is there, and tells what comes."""
    world = World(by_edit=by_edit)
    for age in (40 * DAY, 20 * DAY, 2 * HOUR, 1, 0):
        world.add(NOW - age)
    world.poll()
    assert world.delivered == []
    new = world.add()
    world.poll()
    assert world.delivered == [("NEW", new, 0)]


@BOTH
def test_since_tells_the_backlog_first(by_edit: bool) -> None:
    """With `since`, all rows from then on are new, also over failures."""
    world = World(by_edit=by_edit)
    rows = [world.add(NOW - age) for age in (50 * DAY, 40 * DAY, 3 * DAY, 5)]
    world.open(since=NOW - 45 * DAY)
    world.poll(fail_after=1)
    world.poll(windows=2)
    assert world.delivered == [("NEW", row_id, 0) for row_id in rows[1:]]


@BOTH
def test_a_row_that_flaps_is_delivered_each_time(by_edit: bool) -> None:
    """Back to what it was is a change, too."""
    world = World(by_edit=by_edit)
    row_id = world.add(NOW - HOUR)
    world.poll()
    for version in (1, 0, 1):
        world.now += MINUTE
        world.edit(row_id)
        world.rows[row_id].version = version
        world.poll()
    assert [version for _, _, version in world.delivered] == [1, 0, 1]


@BOTH
@pytest.mark.parametrize("days", [1, 10, 100])
def test_an_outage_is_made_up_for(by_edit: bool, days: int) -> None:
    """However long no poll worked, the next one covers what was missed."""
    world = World(by_edit=by_edit)
    old = world.add(NOW - 2 * DAY)
    world.poll()
    missed = []
    for _ in range(days):
        world.now += DAY
        missed.append(world.add())
        world.poll(fail_after=0)
    world.edit(old)
    world.now += HOUR
    world.poll(windows=3)
    assert {row_id for _, row_id, _ in world.delivered} == {old, *missed}


@BOTH
def test_memory_is_bounded_by_the_lookback(by_edit: bool) -> None:
    """Rows older than it are forgotten, in memory and in what is saved."""
    world = World(by_edit=by_edit, lookback=3 * DAY)
    world.poll()
    for _ in range(100):
        world.now += 6 * HOUR
        world.add()
        world.poll()
    assert world.tracker is not None
    assert len(world.tracker.known) <= 14
    assert world.saved_rows.keys() == world.tracker.known.keys()


def test_so_many_rows_are_known_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a site with too many rows only the newest are followed: memory and store are bounded."""
    monkeypatch.setattr("ppapi_async.watching.tracker._MOST_KNOWN", 100)
    world = World(by_edit=False)
    world.poll()
    for _ in range(40):
        world.now += MINUTE
        for second in range(10):
            world.add(world.now - second)
        world.poll()
        assert world.tracker is not None
        assert len(world.tracker.known) <= 110
        assert world.saved_rows.keys() == world.tracker.known.keys()
    assert world.tracker is not None
    assert world.tracker.crowded
    assert sorted(row_id for _, row_id, _ in world.delivered) == list(range(1, 401))


def test_a_backlog_is_not_kept_in_memory() -> None:
    """While years are delivered, only the lookback and the window in hand are known."""
    world = World(by_edit=False, lookback=3 * DAY)
    for age in range(1000, 0, -1):
        world.add(NOW - age * DAY)
    world.open(since=NOW - 1001 * DAY)
    world.poll(windows=100)
    assert len(world.delivered) == 1000
    assert len(world.saved_rows) <= 14


def test_a_row_delivered_long_ago_is_changed_not_new() -> None:
    """On a server that filters by edit, a row from before the lookback comes as a change."""
    world = World(by_edit=True)
    old = world.add(NOW - 100 * DAY)
    world.add(NOW - 2 * HOUR)
    world.poll()
    world.now += HOUR
    world.edit(old)
    world.poll()
    assert world.delivered == [("OLD", old, 1)]


@BOTH
def test_rows_that_come_late_are_delivered(by_edit: bool) -> None:
    """A site may look a country up for half a minute before it books an order of then."""
    world = World(by_edit=by_edit)
    world.add(NOW - 10)
    world.poll()
    world.now += MINUTE
    world.add()
    world.poll()
    world.now += MINUTE
    late = world.add(world.now - 90)
    world.poll()
    assert ("NEW", late, 0) in world.delivered


@BOTH
def test_old_rows_are_read_again_where_changes_do_not_show(by_edit: bool) -> None:
    """A change of a row two weeks old comes within six hours, also if its time does not move."""
    world = World(by_edit=by_edit)
    old = world.add(NOW - 14 * DAY)
    world.add(NOW - HOUR)
    world.poll()
    for _ in range(3):
        world.now += HOUR
        world.poll()
    world.accrue(old)
    for _ in range(6):
        world.now += HOUR
        world.poll()
    assert world.delivered == [("DIFFERENT", old, 1)]


def test_a_clock_set_back_is_made_up_for_within_a_day() -> None:
    """Rows with times long before the newest one are found by the daily look back."""
    world = World(by_edit=True, shift=10 * HOUR)
    world.add()
    world.poll()
    world.shift = -10 * HOUR
    world.now += MINUTE
    row_id = world.add()
    for _ in range(25):
        world.now += HOUR
        world.poll()
    assert ("NEW", row_id, 0) in world.delivered


def test_a_row_from_the_future_does_not_stop_the_watch() -> None:
    """A row dated 2099 is delivered, and what comes after it is delivered as well."""
    world = World(by_edit=True)
    world.poll()
    world.add(4_070_908_800)
    world.poll()
    world.now += 10 * DAY
    row_id = world.add()
    world.poll()
    assert [row for _, row, _ in world.delivered] == [row_id - 1, row_id]


def test_an_hour_that_comes_twice_loses_nothing() -> None:
    """In the hour repeated by daylight saving, rows seem an hour older than the newest."""
    end_of_summer = int(datetime(2026, 10, 25, 1, tzinfo=UTC).timestamp())
    world = World(by_edit=True, zone="Europe/Berlin", now=end_of_summer - 5 * MINUTE)
    world.add()
    world.poll()
    clock = SiteClock(ZoneInfo("Europe/Berlin"))
    added = []
    for _ in range(14):
        world.now += 10 * MINUTE
        instant = datetime.fromtimestamp(world.now, UTC)
        wall = instant.astimezone(clock.zone).replace(tzinfo=UTC)
        added.append(world.add(int(clock.to_instant(wall).timestamp())))
        world.poll()
    assert {row_id for _, row_id, _ in world.delivered} == set(added)


def test_doubt_of_a_row_that_is_not_known_is_nothing() -> None:
    """A row in hand that the tracker has forgotten is new to it, doubted or not."""
    world = World(by_edit=False)
    world.add()
    world.poll()
    tracker = world.tracker
    assert tracker is not None
    known = dict(tracker.known)
    tracker.doubt(999)
    assert tracker.known == known
    tracker.doubt(1)
    assert tracker.known.keys() == known.keys()
    assert tracker.known != known


def test_positions_of_other_versions_are_refused() -> None:
    """A position is read back as it was; one of another version is an error."""
    position = evolve(Tracker.begin_now(NOW, LOOKBACK), newest=3, worked=True)
    assert parse_stored(dump_stored(position), WatchPosition) == position
    with pytest.raises(ValueError, match="version"):
        parse_stored(dump_stored(evolve(position, version=3)), WatchPosition)


def test_lookback_is_a_minimum_of_what_is_followed() -> None:
    """A change within the lookback is delivered on a server that knows only creation times."""
    world = World(by_edit=False, lookback=2 * DAY)
    row_id = world.add(NOW - DAY)
    world.poll()
    world.now += 23 * HOUR
    world.edit(row_id)
    world.poll()
    assert world.delivered == [("DIFFERENT", row_id, 1)]

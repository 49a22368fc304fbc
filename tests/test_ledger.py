"""What a watch makes of the rows of its polls, against a simulated site."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from attrs import Factory, define, evolve
from hypothesis import given
from hypothesis import strategies as st

from ppapi_async.clock import SiteClock
from ppapi_async.codec import dump_stored, parse_stored
from ppapi_async.ledger import Ledger, Position, Verdict
from ppapi_async.models import Exchange

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


@define
class World:
    """A site with a clock of its own, and a watch that polls it, is killed and starts again."""

    by_edit: bool
    shift: int = 0
    """How far the site's clock is off, as seen with the account's zone."""
    settles: bool | None = None
    lookback: int = LOOKBACK
    now: int = NOW
    zone: str = "UTC"
    rows: dict[int, Row] = Factory(dict)
    told: list[tuple[str, int, int]] = Factory(list)
    """`(verdict, id, version)` of what the consumer has got."""
    ledger: Ledger | None = None
    saved_position: str = ""
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
        found = [self.record(row) for row in self.rows.values() if self.time_of(row) >= start]
        self.read.append(len(found))
        return sorted(found, key=lambda row: (row.time, row.id))

    def open(self, since: int | None = None) -> None:
        """Start the watch, from what was saved if anything was."""
        settles = self.by_edit if self.settles is None else self.settles
        if self.saved_position:
            position = parse_stored(self.saved_position, Position)
        elif since is not None:
            position = Ledger.begin_at(since, self.now)
        else:
            position = Ledger.begin_now(self.now, self.lookback)
        self.ledger = Ledger(
            clock=SiteClock(ZoneInfo(self.zone)),
            lookback=self.lookback,
            settles=settles,
            meets_old=self.by_edit,
            position=position,
        )
        for row in self.saved_rows.values():
            self.ledger.remember(row, dump_stored(row))
        if not self.saved_position and since is None:
            self.look_first(self.ledger)

    def look_first(self, ledger: Ledger) -> None:
        """Note what is there."""
        found = self.answer(Ledger.first_look(self.now))
        for row in found:
            self.keep(ledger, row)
        ledger.advance(self.now, ledger.position.start, Ledger.newest_of(found, self.now))
        ledger.end_first_look(self.now)
        self.save(ledger)

    def keep(self, ledger: Ledger, row: Exchange) -> None:
        """Have a row known and saved."""
        ledger.remember(row, dump_stored(row))
        self.saved_rows[row.id] = row

    def save(self, ledger: Ledger) -> None:
        """Have the position saved."""
        self.saved_position = dump_stored(ledger.position)

    def poll(self, *, fail_after: int | None = None, windows: int = 1) -> None:
        """Poll; a failure comes after so many rows."""
        if self.ledger is None:
            self.open()
        ledger = self.ledger
        assert ledger is not None
        began, start = self.now, ledger.poll_start(self.now)
        found = self.answer(start)
        size = max(1, len(found) // windows)
        for first in range(0, max(1, len(found)), size):
            window = found[first : first + size]
            last = first + size >= len(found)
            for number, row in enumerate(window):
                if fail_after is not None and first + number >= fail_after:
                    return
                self.judge(ledger, row)
            read_to = None if last else int(found[first + size].time.timestamp())
            newest = Ledger.newest_of(window, self.now)
            for row_id in ledger.advance(self.now, read_to, newest):
                del self.saved_rows[row_id]
            self.save(ledger)
        ledger.end_poll(began, self.now, start)
        self.save(ledger)

    def act(self, step: str, number: int) -> set[int]:
        """Do one of `STEPS`; return the ids of the rows that are new or changed by it."""
        if step == "add":
            return {self.add() for _ in range(number)}
        if step == "edit":
            return self.edit_some(number)
        if step == "wait":
            self.now += number
        elif step == "fail":
            self.poll(fail_after=number)
        elif step == "restart":
            self.open()
        else:
            self.poll(windows=number)
        return set()

    def edit_some(self, number: int) -> set[int]:
        """Have a row changed, if there are any and the watch can know of it."""
        if not self.rows:
            return set()
        row = self.rows[number % len(self.rows) + 1]
        if not self.by_edit and self.now + self.shift - row.created >= LOOKBACK - 5 * DAY:
            return set()
        self.edit(row.id)
        return {row.id}

    def judge(self, ledger: Ledger, row: Exchange) -> None:
        """Tell the consumer what there is to tell of a row."""
        verdict = ledger.judge(row, dump_stored(row))
        if verdict is Verdict.SAME:
            return
        if verdict is not Verdict.PAST:
            self.told.append((verdict.name, row.id, int(row.partner_reward)))
        self.keep(ledger, row)


BOTH = pytest.mark.parametrize("by_edit", [False, True], ids=["creation time", "edit time"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 3)),
        st.tuples(st.just("edit"), st.integers(0, 50)),
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
def test_promise_7_every_change_is_told_once(
    by_edit: bool, shift: int, old: list[int], steps: list[tuple[str, int]]
) -> None:
    """However polls fail, the process restarts and the zone is wrong: once, and nothing else."""
    world = World(by_edit=by_edit, shift=shift)
    for age in sorted(old, reverse=True):
        world.add(NOW + shift - age - 1)
    world.poll()
    assert world.told == []
    expected: list[tuple[int, int]] = []
    pending: set[int] = set()
    world.now += 1
    for step, number in steps:
        pending |= world.act(step, number)
        if step == "poll":
            expected += [(row_id, world.rows[row_id].version) for row_id in pending]
            pending.clear()
    world.poll()
    expected += [(row_id, world.rows[row_id].version) for row_id in pending]
    got = [(row_id, version) for _, row_id, version in world.told]
    assert len(set(got)) == len(got), "told twice"
    assert set(expected) <= set(got), "not told"
    assert {row_id for row_id, _ in got} <= {row_id for row_id, _ in expected} | pending, "invented"
    first_told: dict[int, str] = {}
    for kind, row_id, _ in world.told:
        first_told.setdefault(row_id, kind)
    if old and min(old) < LOOKBACK - 2 * DAY:  # else the watch has seen no id to go by
        for row_id, kind in first_told.items():
            assert (kind == "NEW") == (row_id > len(old)), "an old row is no new one"


@BOTH
def test_nothing_of_the_past_is_told(by_edit: bool) -> None:
    """A watch that starts now is silent on what is there, and tells what comes."""
    world = World(by_edit=by_edit)
    for age in (40 * DAY, 20 * DAY, 2 * HOUR, 1, 0):
        world.add(NOW - age)
    world.poll()
    assert world.told == []
    new = world.add()
    world.poll()
    assert world.told == [("NEW", new, 0)]


@BOTH
def test_since_tells_the_backlog_first(by_edit: bool) -> None:
    """With `since`, all rows from then on are new, also over failures."""
    world = World(by_edit=by_edit)
    rows = [world.add(NOW - age) for age in (50 * DAY, 40 * DAY, 3 * DAY, 5)]
    world.open(since=NOW - 45 * DAY)
    world.poll(fail_after=1)
    world.poll(windows=2)
    assert world.told == [("NEW", row_id, 0) for row_id in rows[1:]]


@BOTH
def test_a_row_that_flaps_is_told_each_time(by_edit: bool) -> None:
    """Back to what it was is a change, too."""
    world = World(by_edit=by_edit)
    row_id = world.add(NOW - HOUR)
    world.poll()
    for version in (1, 0, 1):
        world.now += MINUTE
        world.edit(row_id)
        world.rows[row_id].version = version
        world.poll()
    assert [version for _, _, version in world.told] == [1, 0, 1]


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
    assert {row_id for _, row_id, _ in world.told} == {old, *missed}


@BOTH
def test_memory_is_bounded_by_the_lookback(by_edit: bool) -> None:
    """Rows older than it are forgotten, in memory and in what is saved."""
    world = World(by_edit=by_edit, lookback=3 * DAY)
    world.poll()
    for _ in range(100):
        world.now += 6 * HOUR
        world.add()
        world.poll()
    assert world.ledger is not None
    assert len(world.ledger.known) <= 14
    assert world.saved_rows.keys() == world.ledger.known.keys()


def test_a_backlog_is_not_kept_in_memory() -> None:
    """While years are told, only the lookback and the window in hand are known."""
    world = World(by_edit=False, lookback=3 * DAY)
    for age in range(1000, 0, -1):
        world.add(NOW - age * DAY)
    world.open(since=NOW - 1001 * DAY)
    world.poll(windows=100)
    assert len(world.told) == 1000
    assert len(world.saved_rows) <= 14


def test_a_row_told_long_ago_is_changed_not_new() -> None:
    """On a server that filters by edit, a row from before the lookback comes as a change."""
    world = World(by_edit=True)
    old = world.add(NOW - 100 * DAY)
    world.add(NOW - 2 * HOUR)
    world.poll()
    world.now += HOUR
    world.edit(old)
    world.poll()
    assert world.told == [("OLD", old, 1)]


def test_polls_of_settled_rows_read_little() -> None:
    """A poll reads the overlap; once a day, all of the lookback."""
    world = World(by_edit=True)
    for age in range(20 * DAY, 0, -HOUR):
        world.add(NOW - age)
    world.poll()
    world.read.clear()
    for _ in range(48):
        world.now += HOUR
        world.poll()
    assert sorted(world.read)[-3] < 20
    assert max(world.read) > 400


@BOTH
def test_rows_that_come_late_are_told(by_edit: bool) -> None:
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
    assert ("NEW", late, 0) in world.told


@BOTH
def test_old_rows_are_read_again_where_changes_do_not_show(by_edit: bool) -> None:
    """A change of a row two weeks old is told by the next poll."""
    world = World(by_edit=by_edit)
    old = world.add(NOW - 14 * DAY)
    world.add(NOW - HOUR)
    world.poll()
    for _ in range(3):
        world.now += HOUR
        world.poll()
    world.edit(old)
    world.now += MINUTE
    world.poll()
    assert world.told == [("DIFFERENT", old, 1)]


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
    assert ("NEW", row_id, 0) in world.told


def test_a_row_from_the_future_does_not_stop_the_watch() -> None:
    """A row dated 2099 is told, and what comes after it is told as well."""
    world = World(by_edit=True)
    world.poll()
    world.add(4_070_908_800)
    world.poll()
    world.now += 10 * DAY
    row_id = world.add()
    world.poll()
    assert [row for _, row, _ in world.told] == [row_id - 1, row_id]


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
    assert {row_id for _, row_id, _ in world.told} == set(added)


def test_doubt_of_a_row_that_is_not_known_is_nothing() -> None:
    """A row in hand that the ledger has forgotten is new to it, doubted or not."""
    world = World(by_edit=False)
    world.add()
    world.poll()
    ledger = world.ledger
    assert ledger is not None
    known = dict(ledger.known)
    ledger.doubt(999)
    assert ledger.known == known
    ledger.doubt(1)
    assert ledger.known.keys() == known.keys()
    assert ledger.known != known


def test_positions_of_other_versions_are_refused() -> None:
    """A position is read back as it was; one of another version is an error."""
    position = evolve(Ledger.begin_now(NOW, LOOKBACK), newest=3, worked=True)
    assert parse_stored(dump_stored(position), Position) == position
    with pytest.raises(ValueError, match="version"):
        parse_stored(dump_stored(evolve(position, version=2)), Position)


def test_lookback_is_a_minimum_of_what_is_followed() -> None:
    """A change within the lookback is told on a server that knows only creation times."""
    world = World(by_edit=False, lookback=int(timedelta(days=2).total_seconds()))
    row_id = world.add(NOW - DAY)
    world.poll()
    world.now += 23 * HOUR
    world.edit(row_id)
    world.poll()
    assert world.told == [("DIFFERENT", row_id, 1)]

"""An auditor of what a fleet tells about the sites of a park.

It knows nothing of how the library works: only the books, what the consumer got, when polls say
that they worked, and what reached the store.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import attrs
from attrs import define, evolve, field

from ppapi_async import (
    Account,
    AccountFailed,
    AccountRecovered,
    AccountStatus,
    AccountSuspended,
    Change,
    ChangeKind,
    FleetEvent,
    Info,
    RequestFacts,
    RowsUnreadable,
    ShardsGained,
    ShardsLost,
)
from tests.sites.park import INFO_ID, SOURCES, Desk, Facts, Park, Record, State, facts_of

__all__ = ["Auditor"]

_JOURNAL = 80
"""Lines of what happened to an account before a complaint about it."""


@define(eq=False)
class Story:
    """What was delivered of a row."""

    delivered: list[tuple[float, Sequence[Facts]]] = field(factory=list)
    """When, and what; more where the store failed and the process may know what was before."""
    known: list[Record | None] = field(factory=lambda: [None])
    """What the fleet may take for delivered last; None: nothing."""
    place: int = 0
    """Which of the row's states the last one delivered is, at the earliest."""


@define(eq=False)
class Auditor:
    """Compares what a consumer is delivered with the books. `wrong` has what does not agree."""

    park: Park
    wrong: list[str] = field(factory=list)
    count: int = 0
    repeats: int = 0
    """Changes that were delivered once more after a restart."""
    _desks: dict[str, Desk] = field(factory=dict)
    _stories: dict[tuple[str, str, int], Story] = field(factory=dict)
    _unsaved: dict[str, list[tuple[Story, Story]]] = field(factory=dict)
    """Of each watch the rows delivered since it was last saved, with how they stood before."""
    _failed: int = 0
    """Saves that have failed since the process began."""
    _restarted: float = -math.inf
    _last: dict[tuple[str, str], tuple[float, datetime]] = field(factory=dict)
    _failing: dict[str, set[str]] = field(factory=dict)
    _began: dict[str, tuple[str, float]] = field(factory=dict)
    """Of each account, which method is being read, and since when."""
    _journals: dict[str, list[str]] = field(factory=dict)
    _disorder: dict[str, str] = field(factory=dict)
    """Of each account, what its last poll delivered out of order."""

    def __attrs_post_init__(self) -> None:
        self._desks = {desk.account.name: desk for desk in self.park.desks}

    def _complain(self, text: str, about: object, account: str) -> None:
        journal = "\n".join(self._journals.get(account, [])[-_JOURNAL:])
        self.wrong.append(f"{self.park.clock():.1f}: {text}: {about}\n{journal}")

    def _note(self, account: str, text: str) -> None:
        """Write into the account's journal, which a complaint shows: no two runs are the same."""
        self._journals.setdefault(account, []).append(f"{self.park.clock():.1f} {text}")

    def look(self, statuses: Mapping[str, AccountStatus]) -> None:
        """Note which polls have worked."""
        for name, status in statuses.items():
            self._desks[name].look(status, self.park.clock())

    def note_request(self, facts: RequestFacts) -> None:
        """Note when the reading of a method began: a poll reads one method after the other."""
        self._note(facts.account, f"{facts.method} {facts.status} {facts.received} {facts.error}")
        method, _ = self._began.get(facts.account, ("", 0.0))
        if facts.method != method:
            self._began[facts.account] = facts.method, self.park.clock() - facts.seconds

    # What the consumer gets

    def hear(self, event: FleetEvent) -> None:
        """Judge what the consumer got."""
        self.count += 1
        if isinstance(event, Change):
            self._hear_change(event)
        elif isinstance(event, ShardsGained | ShardsLost):
            self._complain("no fleet of the park is shared", event, event.account)
        else:
            self._hear_notice(event)

    def _hear_notice(
        self, event: RowsUnreadable | AccountFailed | AccountRecovered | AccountSuspended
    ) -> None:
        self._note(event.account, f"delivered {event}")
        failing = self._failing.setdefault(event.account, set())
        self._disorder.pop(event.account, None)
        if isinstance(event, AccountFailed):
            kind = type(event.error).__name__
            if kind in failing:
                self._complain("delivered twice that it fails", event, event.account)
            failing.add(kind)
        elif isinstance(event, AccountRecovered) and failing:
            failing.clear()
        else:
            self._complain("not so", event, event.account)

    def _hear_change(self, event: Change[Record]) -> None:
        desk, source = self._desks[event.account], SOURCES[type(event.record)]
        row_id = INFO_ID if isinstance(event.record, Info) else event.record.id
        self._note(event.account, f"delivered {source} {row_id} {event.kind} {event.fields}")
        states = desk.states[source].get(row_id)
        story = self._stories.setdefault((event.account, source, row_id), Story())
        if states is None:
            return self._complain("there is no such row", event, event.account)
        facts = facts_of(event.record)
        place = _find(facts, states, _place_of_previous(event, states, story.place))
        if place is None:
            was = _find(facts, states, 0) is not None
            return self._complain(
                "was so before what was delivered" if was else "never was so", event, event.account
            )
        self._check(event, desk, states, story, place)
        self._check_order(event, source, states[place])
        silent = [] if event.previous is None else [event.previous]
        before = evolve(story, known=[*story.known, *silent])
        story.delivered.append((self.park.clock(), (facts,)))
        self.repeats += len(story.known) > 1 and event.previous != story.known[-1]
        story.known, story.place = [event.record], place
        watch = f"{desk.account.fingerprint}/get_{source}"
        self._unsaved.setdefault(watch, []).append((story, before))
        return None

    def _check(
        self, event: Change[Record], desk: Desk, states: list[State], story: Story, place: int
    ) -> None:
        is_first = None in story.known
        is_forgotten = desk.is_forgotten(SOURCES[type(event.record)], states)
        if event.kind is ChangeKind.NEW:
            may_seem_new = desk.since is not None and desk.newer and is_forgotten
            if not is_first or (desk.is_past(states) and not may_seem_new):
                self._complain("is not new", event, event.account)
            if event.previous is not None or event.fields:
                self._complain("what is new has no previous", event, event.account)
            return
        if story.known == [None] and desk.is_surely_new(states):
            self._complain("is new", event, event.account)
        if event.previous is None:
            if not (is_first and is_forgotten):
                self._complain("what was before is known", event, event.account)
            return
        delivered = event.previous in story.known
        facts = facts_of(event.previous)
        is_silent = is_first and not desk.is_surely_new(states)
        seen = is_silent and any(state.facts == facts for state in states[: place + 1])
        if not (delivered or seen or self._was_on_its_way(story, states, place, facts)):
            self._complain("previous is not what was delivered last", event, event.account)
        if not event.fields or event.fields != _differing(event.record, event.previous):
            self._complain("fields are others", event, event.account)

    def _was_on_its_way(
        self, story: Story, states: Sequence[State], place: int, facts: Facts
    ) -> bool:
        """Tell whether a killed process may have been about to tell it: it cannot know if it did.

        Only where it is taken back: what is delivered now is what was delivered last.
        """
        return (
            bool(story.delivered)
            and story.delivered[-1][0] <= self._restarted
            and states[place].facts in story.delivered[-1][1]
            and any(state.facts == facts for state in states[story.place : place])
        )

    def _check_order(self, event: Change[Record], source: str, state: State) -> None:
        if isinstance(event.record, Info):
            return
        key, now = (event.account, source), self.park.clock()
        last = self._last.get(key)
        if event.account in self._disorder and (last is None or last[0] < now):
            disorder = self._disorder.pop(event.account)
            if event.account not in self._failing:
                self.wrong.append(disorder)  # that poll has ended, and nothing has ever failed
        began = self._began.get(event.account, ("", -math.inf))[1]
        is_late = state.since >= began  # it got into the books while they were being read
        if last is not None and last[0] == now and last[1] > event.record.time and not is_late:
            # A poll of which the deep part fails reads the newest part again, and then says so.
            self._disorder[event.account] = (
                f"{now:.1f}: is older than what the poll delivered: {event}"
            )
        self._last[key] = (now, event.record.time)

    # What becomes of the process

    def save(self, watch: str) -> None:
        """Note that all that was delivered of a watch is in the store."""
        fingerprint, _, method = watch.rpartition("/")
        for name, desk in self._desks.items():
            if _fingerprint_of(desk.account) == fingerprint:
                self._note(name, f"saved {method}")
        self._unsaved.pop(watch, None)

    def fail(self) -> None:
        """Note that something could not be saved."""
        self._failed += 1

    def restart(self) -> None:
        """Note that the process begins anew: what was not saved may be delivered again."""
        for name in self._desks:
            self._note(name, "the process begins anew")
        lost = [entry for entries in self._unsaved.values() for entry in entries]
        if len(lost) > 1 + self._failed:
            self._complain("more than what was in hand is not saved", len(lost), "")
        for story, before in reversed(lost):
            older = [facts_of(record) for record in before.known if record is not None]
            if not self._failed:
                older = []  # noted before it was delivered: what is taken back is delivered, too
            story.delivered.append((self.park.clock(), (*story.delivered[-1][1], *older)))
            story.known = [*before.known, *story.known]
            story.place = before.place
        self._unsaved.clear()
        self._last.clear()
        self._began.clear()
        self._disorder.clear()  # a process that has ended does not say what failed
        self._failing.clear()
        self._failed, self._restarted = 0, self.park.clock()

    # In the end

    def check_completeness(self) -> None:
        """Check that what lasted two polls that worked was delivered by the end of the first.

        Of the polls from when a change has to be delivered, an eighth of the row's age after it.
        """
        for desk in self.park.desks:
            for source, rows in desk.states.items():
                for row_id, states in rows.items():
                    story = self._stories.get((desk.account.name, source, row_id))
                    self._check_row(desk, source, states, story or Story())

    def _check_row(self, desk: Desk, source: str, states: list[State], story: Story) -> None:
        comes_again = desk.newer and source == "exchanges"
        is_followed = comes_again or not desk.is_forgotten(source, states)
        needless = desk.needless(states)
        ends = [*(state.since for state in states[1:]), math.inf]
        for state, end in zip(states, ends, strict=True):
            polls = desk.polls_since(state.since + state.patience)[:2]
            if len(polls) < 2 or polls[1] > end:
                continue
            heard = polls[1]
            delivered = [some for when, some in story.delivered if when <= heard]
            if delivered and state.facts not in delivered[-1]:
                text = f"{desk.account.name} {source} was delivered otherwise"
            elif not delivered and is_followed and state.facts not in needless:
                text = f"{desk.account.name} {source} was not delivered"
            else:
                continue
            about = (state, end, story.delivered[-2:])
            self._complain(f"{text} by polls of {polls}", about, desk.account.name)


@functools.lru_cache(maxsize=1024)
def _fingerprint_of(account: Account) -> str:
    return account.fingerprint


def _find(facts: Facts, states: Sequence[State], first: int) -> int | None:
    return next((at for at in range(first, len(states)) if states[at].facts == facts), None)


def _place_of_previous(event: Change[Record], states: Sequence[State], first: int) -> int:
    """Return which state the row was in before, at the earliest."""
    previous = event.previous
    return first if previous is None else _find(facts_of(previous), states, first) or first


def _differing(record: Record, previous: Record) -> tuple[str, ...]:
    names = [one.name for one in attrs.fields(type(record))]
    found = [name for name in names if getattr(record, name) != getattr(previous, name)]
    if isinstance(record, Info) and isinstance(previous, Info) and "items" in found:
        one, other = ([evolve(m, amount=Decimal()) for m in i.items] for i in (record, previous))
        if one == other:
            found.remove("items")  # what a method would pay moves with every rate
    return tuple(found)

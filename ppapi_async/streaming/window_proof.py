"""Whether all rows of a window have come, once its parts seem to have: asked for, and doubted.

When no part is left, either order proves the window (on a server that sorts by time, an answer has
shown what lies before it), or a count does: its query has as many positions as rows are known. A
count that disagrees means that rows were left out, or that some came, went or moved meanwhile. Then
it is looked again, first for what is newer than the newest row, then anew, then row by row by
`offset`; each a bounded number of times, and what is still unproven is given up by name.

The newer part of a window can be proven by itself, and the older one left for another reading: see
`rest`.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from attrs import define

from ppapi_async.streaming.agenda import EARLIEST, SMALLEST_PAGE, Agenda, Claim, Part, Proof
from ppapi_async.streaming.counting import BEYOND, Key, Span
from ppapi_async.streaming.window_rows import WindowRows

__all__ = ["WindowProof"]

HeldT = TypeVar("HeldT")
_LARGEST_PAGE = 500  # no server is known to have larger ones
_MOST_DOUBTS = 4  # counts in a row that disagree because rows keep coming
_MOST_RESTARTS = 2  # of a window from which rows go meanwhile


@define
class WindowProof(Generic[HeldT]):
    """What is asked to prove a window, and how its answers are judged."""

    _agenda: Agenda
    _came: WindowRows[HeldT]
    _believes_order: bool = False
    is_current: bool = False
    """Whether the last answer showed that no row came or moved since the first."""
    closed: bool = False
    """Whether the part that is newer than `rest` has been proven: see `close`."""
    _keeps_open: bool = False
    """Whether the newer part could not be proven by itself."""
    _doubts: int = 0
    _just_looked: bool = False
    _looked: int | None = None
    """How many rows there were before the last look for newer ones."""
    _restarts: int = 0
    _counted_whole: bool = False
    _halved: bool = False
    """Whether the window was asked for in halves, each of which was whole."""

    def conclude(self, requests: int) -> None:
        """All parts seem to have come, with so many requests: prove it."""
        evidence = self._came.evidence
        in_order = evidence.sorts_by_time or (
            self._came.evidence.is_as_promised
            and (
                self._believes_order
                or (evidence.capped is False and not self._came.evidence.can_count)
            )
        )
        unsure = evidence.honours_offset is None and evidence.capped is False
        if requests == len(self._came.seconds) == self._agenda.largest == 1 and evidence.holds_more:
            self._agenda.over = True
            return
        if self._came.seconds and unsure and not self._believes_order:
            self._ask_beyond()
        elif not self._came.seconds or (in_order and not self._agenda.loose):
            self._agenda.over = True
        elif not self._came.evidence.can_count:
            self._ask_for_loose(in_order)
        elif evidence.is_mixed and requests > 1 and not self._counted_whole:
            self._count_whole()  # rows that went may be as many as those that were left out
        elif in_order and self._agenda.loose[-1].seam_at_end and not self._came.has_odd:
            span = self._agenda.bounds(self._agenda.loose[-1])
            self._agenda.proof = Proof(
                Claim.OLDEST, span, self._known_in(self._agenda.loose[-1].span)
            )
        else:
            span = self._whole_span()
            self._agenda.proof = Proof(Claim.WHOLE, span, self._known_in(span))

    def _whole_span(self) -> Span:
        """Return what to count: the window, and of what lies before it as little as possible.

        The oldest second may have come in part only. Without it, the start must be no second of the
        window, unless a row has shown that the server does not leave it out.
        """
        start, end = self._agenda.asked
        first, seconds = self._came.start, self._came.seconds.values()
        older = [s for s in seconds if s is not None and first and s < first]
        if not older or self._came.has_odd or self._came.evidence.unfiltered:
            return start, end
        second = max(older) + 1
        shown = start is not None and start in older
        inner = shown or (first is not None and second < first)
        return (second if inner else start), end

    def _ask_beyond(self) -> None:
        """Ask for the oldest second with an offset that has no rows, unless it is ignored.

        Without a cut there is no need to count, and nothing is. But what cuts answers in spite of
        its dialect may as well honour `offset`, and then is counted from the first window on.
        """
        known = [max(s, EARLIEST) for s in self._came.seconds.values() if s is not None]
        oldest = min(known, default=EARLIEST)
        start = oldest - 1 if oldest > EARLIEST + 1 else None
        if self._agenda.loose and self._agenda.loose[-1].seam_at_end:
            start, oldest = self._agenda.asked[0], self._agenda.loose[-1].end or oldest
        self._agenda.proof = Proof(Claim.OFFSET, (start, oldest + 1), BEYOND)

    def _ask_for_loose(self, in_order: bool) -> None:
        if self._agenda.loose:
            self._agenda.open_loose()
        elif in_order or self._halved or self._agenda.largest < SMALLEST_PAGE:
            self._agenda.over = True
        else:
            self._halved = True
            asked = self._agenda.asked
            self._agenda.halve(asked, self._agenda.largest, self._came.seconds_in(asked))

    def feed(self, proof: Proof, keys: list[Key], new: list[Key]) -> None:
        """Take the ids that a proof's query brought, and those of them that were not known."""
        self._agenda.proof = None
        if proof.holds(keys, not new, self._agenda.largest):
            self._accept(proof.claim)
            return
        rows = len(self._came.seconds)
        progressed, self._looked = rows != self._looked, rows
        if proof.claim in (Claim.NEWER, Claim.NEWER_TO_THE_EDGE):
            self._doubt_newer(proof, keys)
        elif keys and self._agenda.loose and progressed:
            seconds = [s for key in new if (s := self._came.seconds[key]) is not None]
            for part in self._agenda.loose:
                if any(map(part.holds, seconds)):
                    self._came.evidence.was_cut(part.before or _LARGEST_PAGE)
            self._agenda.open_loose()
        elif proof.claim is Claim.OLDEST and not keys and self._came.evidence.end_excluded is None:
            self._came.evidence.end_excluded = True
        elif not keys:
            self._restart()
        elif proof.claim is Claim.UP_TO_THE_EDGE:
            self._count_whole()
        else:
            self._look_for_newer(progressed)

    def _accept(self, claim: Claim) -> None:
        if claim is Claim.OLDEST:
            self._agenda.loose.pop()
        elif claim in (Claim.NEWER, Claim.NEWER_TO_THE_EDGE):
            self.closed = True
        else:
            self.is_current = claim is Claim.WHOLE
            self._agenda.over = True

    def _restart(self) -> None:
        """Rows have gone meanwhile: begin anew, or count what is there."""
        self._restarts += 1
        self._agenda.loose.clear()
        if self._restarts > _MOST_RESTARTS:
            self._count_whole()
        else:
            self._came.seconds.clear()
            self._agenda.parts = [Part(*self._agenda.asked)]

    def _look_for_newer(self, progressed: bool) -> None:
        """There are more rows than are known: look whether they came meanwhile."""
        looked_in_vain, self._just_looked = self._just_looked and not progressed, True
        self._doubts += 1
        if looked_in_vain or self._came.newest is None:
            self._count_whole()
        elif self._doubts <= _MOST_DOUBTS:
            self._agenda.parts.append(self._newest_part)
        elif self._is_busy and self._came.first_newest is not None:
            # They come faster than they can be counted; but not among those that were there.
            span = (self._agenda.asked[0], self._came.first_newest - 1)
            self._agenda.proof = Proof(Claim.UP_TO_THE_EDGE, span, self._known_in(span))
        else:
            self._count_whole()

    @property
    def _is_busy(self) -> bool:
        """Whether rows that come meanwhile may be all that makes counts disagree."""
        return self._came.evidence.is_as_promised and self._agenda.asked[1] is None

    @property
    def _newest_part(self) -> Part:
        newest = max(self._came.newest or EARLIEST, EARLIEST)
        return Part(newest, self._agenda.asked[1], seam_at_start=True)

    def _count_whole(self) -> None:
        if self._counted_whole:
            self._agenda.give_up(self._agenda.asked)
        else:
            self._counted_whole = True
            self._agenda.begin_count(self._agenda.asked)

    # Leaving the rest

    @property
    def rest(self) -> tuple[int | None, int] | None:
        """The older part that is still unread, where the newer part has come."""
        if len(self._agenda.parts) != 1 or self._agenda.unproven or self._keeps_open:
            return None
        if self._agenda.count is not None or self._agenda.proof is not None or self._restarts:
            return None
        part = self._agenda.parts[0]
        if part.start != self._agenda.asked[0] or not part.seam_at_end or part.end is None:
            return None
        if part.before is None or not self._came.evidence.looks_cut(part.before):
            return None
        # What is loose in the newer part is counted with it.
        loose = any(other.start is None or other.start <= part.end for other in self._agenda.loose)
        if loose or (self._came.end is not None and part.end >= self._came.end):
            return None
        return (
            (self._came.start, part.end)
            if self._came.start is None or self._came.start <= part.end
            else None
        )

    def close(self) -> bool:
        """Prove the part that is newer than `rest`; True where it is, else `query` goes on."""
        if self.rest is None:
            raise ValueError("read: has no rest that could be left")
        evidence = self._came.evidence
        if evidence.sorts_by_time:
            self.closed = True
        elif not self._came.evidence.can_count:
            self._keeps_open = True
        else:
            claim, start, end = (
                Claim.NEWER,
                (self._agenda.parts[0].end or 0) + 1,
                self._agenda.asked[1],
            )
            if (
                self._doubts > _MOST_DOUBTS
                and self._is_busy
                and self._came.first_newest is not None
            ):
                claim, end = Claim.NEWER_TO_THE_EDGE, self._came.first_newest - 1
            known = self._known_in((start, end))
            self._agenda.proof = Proof(claim, (start - bool(evidence.start_excluded), end), known)
        return self.closed

    def _doubt_newer(self, proof: Proof, keys: list[Key]) -> None:
        """The newer part holds other rows than are known; `close` may be called again."""
        if not keys and self._came.evidence.start_excluded is None:
            self._came.evidence.start_excluded = True
        elif (
            not keys or proof.claim is Claim.NEWER_TO_THE_EDGE or self._agenda.asked[1] is not None
        ):
            self._keeps_open = True
        else:
            self._doubts += 1
            self._agenda.parts.append(self._newest_part)

    def stop(self) -> None:
        """Give up `rest`: forget the rows of its newest second, of which some may be unread."""
        self._came.forget_until(self._agenda.parts[0].end)
        self._agenda.parts.clear()
        self._agenda.over = True

    def _known_in(self, span: Span) -> int:
        """Return how many known rows a span selects, its bounds included."""
        whole = span == self._agenda.asked  # rows of which the second is not known count, too
        return len(self._came.seconds) if whole else len(self._came.seconds_in(span))

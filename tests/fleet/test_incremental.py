"""What is read again, and where a run that was cut goes on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ppapi_async import Account, Fleet, PPAPIError
from ppapi_async.fleet.incremental import Bookmark, Bookmarks, Reread, read_again
from ppapi_async.models import Json, Link
from ppapi_async.sandbox import Sandbox

DAY = timedelta(days=1)
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ACCOUNT = Account("https://site.example", "k" * 32, name="one")
FINISHED: dict[str, Json] = {"account": ACCOUNT.fingerprint, "finished": True}
MIDDLE: dict[str, Json] = {
    "account": ACCOUNT.fingerprint, "finished": False, "told": ["x"], "rows": 5, "cursor": 7,
}  # fmt: skip


def mark(document: dict[str, Json], *, now: datetime = NOW, **values: object) -> Bookmark:
    """Return the bookmark of a run."""
    return Bookmark(document, ACCOUNT, Reread(**values), now)  # type: ignore[arg-type]


def finished(document: dict[str, Json], newest: datetime | None = None, **values: object) -> None:
    """Have a run read everything; its newest row is of then."""
    one = mark(document, **values)  # type: ignore[arg-type]
    one.note([] if newest is None else [Link(1, newest)])
    one.save(FINISHED)


def test_the_first_run_reads_everything() -> None:
    """From the beginning, or from where one likes."""
    assert mark({}).start is None
    assert mark({}, since=NOW - DAY).start == NOW - DAY
    assert mark({}).load() is None


def test_a_later_run_reads_again_what_may_have_changed() -> None:
    """Back from the newest row, which is not the present; and never before the beginning."""
    document: dict[str, Json] = {}
    finished(document, NOW - 10 * DAY)
    assert mark(document, now=NOW + DAY).start == NOW - 40 * DAY
    document.clear()
    finished(document, NOW - 10 * DAY, since=NOW - 15 * DAY)
    assert mark(document, since=NOW - 15 * DAY).start == NOW - 15 * DAY


def test_no_clock_that_is_wrong_leaves_rows_out() -> None:
    """Rows dated ahead count as of the run's beginning; a clock that is ahead moves nothing."""
    document: dict[str, Json] = {}
    finished(document, NOW + 50 * DAY)
    assert mark(document).start == NOW - 30 * DAY
    document.clear()
    finished(document, NOW, now=NOW + 900 * DAY)
    assert mark(document).start == NOW - 30 * DAY


def test_an_account_without_rows_is_read_from_the_beginning() -> None:
    """So is one whose only row has a date that was left empty."""
    document: dict[str, Json] = {}
    finished(document)
    assert mark(document).start is None
    finished(document, datetime(1, 1, 1, tzinfo=UTC))
    assert mark(document).start is None


def test_a_run_that_was_cut_goes_on() -> None:
    """With its own beginning, which the run after it begins from; ids are not kept."""
    document: dict[str, Json] = {}
    first = mark(document)
    first.note([Link(1, NOW - DAY)])
    first.save(MIDDLE)
    second = mark(document, now=NOW + 90 * DAY)
    assert second.start is None
    assert second.load() == MIDDLE | {"told": [], "rows": 0}
    second.note([Link(2, NOW + 80 * DAY)])
    second.save(FINISHED)
    assert mark(document, now=NOW + 91 * DAY).start == NOW - 30 * DAY


def test_a_stopped_bookmark_stays() -> None:
    """Whatever its stream saves from then on."""
    document: dict[str, Json] = {}
    one = mark(document)
    one.stop()
    one.save(FINISHED)
    assert document["position"] is None
    assert "newest" not in document


@pytest.mark.parametrize(
    "change", [{"since": NOW}, {"status_history": True}, {"version": 2}, {"of": 5}]
)
def test_what_was_asked_otherwise_is_read_anew(change: dict[str, object]) -> None:
    """Another beginning, zone or history, or a bookmark of another version."""
    document: dict[str, Json] = {}
    finished(document, NOW)
    if "version" in change or "of" in change:
        document |= change  # type: ignore[arg-type]
        assert mark(document).start is None
    else:
        assert mark(document, **change).start == change.get("since")  # type: ignore[arg-type]


def test_an_account_with_a_new_key_begins_its_range_anew() -> None:
    """If it goes by the key, for its position is another account's."""
    document: dict[str, Json] = {}
    mark(document).save(MIDDLE | {"account": "another"})
    assert mark(document).load() is None


@pytest.mark.parametrize("newest", [5, "x", "2026-01-01T00:00:00"])
def test_a_damaged_bookmark_is_refused(newest: Json) -> None:
    """It says what to do."""
    document: dict[str, Json] = {}
    finished(document, NOW)
    document["newest"] = newest
    with pytest.raises(ValueError, match="bookmark: is damaged; leave it out to read everything"):
        mark(document)


def test_a_day_is_the_least() -> None:
    """The zone of a site may be wrong."""
    with pytest.raises(ValueError, match="lookback: pass a day or more"):
        Reread(lookback=timedelta(hours=23))


async def test_a_piece_counts_when_the_next_is_asked_for() -> None:
    """Left early, the last piece comes again; in the end nothing does but what may have changed."""
    async with Sandbox(rows=200, seed=2) as site:
        account = Account(site.url, site.api_key, name="one")
        books = {one.id: Decimal(one.reward) for one in site.books.exchanges_in()}
        found: dict[int, Decimal] = {}
        bookmarks: Bookmarks = {}
        async with Fleet(account) as fleet:
            for stop_after in (0, 0, 99):
                now = datetime.now(UTC)
                pieces = read_again(fleet, "exchanges", bookmarks, Reread(), now=now)
                count = 0
                async for name, rows in pieces:
                    assert name == "one"
                    assert not isinstance(rows, PPAPIError)
                    if count == stop_after:  # nobody has kept it
                        break
                    found |= {row.id: row.partner_reward for row in rows}  # type: ignore[union-attr]
                    count += 1
                await pieces.aclose()
        assert found == books
        assert "position" not in bookmarks["one"]

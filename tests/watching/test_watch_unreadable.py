"""Rows that cannot be read: a watch goes on with all others, and reports each of them once."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from attrs import evolve

from ppapi_async import (
    DecodeError,
    Dialect,
    Fleet,
    MemoryState,
    PPAPIError,
    RowsUnreadable,
    UnreadableRow,
)
from ppapi_async.protocol.unreadable import UnreadableRows, unreadable_error
from ppapi_async.sandbox import Books, Order
from ppapi_async.sandbox.answers import Site
from ppapi_async.sandbox.manners import Call, SentAnswer
from tests import virtual_time
from tests.watching.test_watch import (
    DAY,
    DIALECTS,
    HOUR,
    account_of,
    books_of,
    later,
    new_order,
    run,
    sandbox_of,
    session_on,
    take,
)

ODD = re.compile(rb'"partner_reward":"?(666[.0-9]*)"?')


@pytest.fixture(autouse=True)
def _odd_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have sandboxes write `x666` where a reward is 666 and something."""
    answer = Site.answer

    def with_odd_ones(site: Site, call: Call, now: int) -> SentAnswer:
        found = answer(site, call, now)
        return evolve(found, body=ODD.sub(rb'"partner_reward":"x\1"', found.body))

    monkeypatch.setattr(Site, "answer", with_odd_ones)


def odd_order(books: Books, row_id: int, reward: str = "666", age: int = 0) -> None:
    """Book an order that cannot be read."""
    at = int(virtual_time.now()) - age
    books.orders.put(Order(id=row_id, created=at, reward=reward))


@pytest.mark.untraced
@DIALECTS
@pytest.mark.parametrize("age", [0, 5 * DAY])
def test_a_watch_reports_an_unreadable_row_once_and_again_when_it_changes(
    dialect: Dialect, age: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Through `on_error` and the log; all other rows are delivered, and no poll fails."""

    async def main() -> None:
        books, errors = books_of(), list[PPAPIError | None]()
        async with sandbox_of(dialect, books) as sandbox, session_on(sandbox) as session:
            later(100, lambda: odd_order(books, 600, age=age))
            later(100, lambda: new_order(books))
            later(8 * HOUR, lambda: odd_order(books, 600, "666.5", age=age + 8 * HOUR))
            later(15 * HOUR, lambda: new_order(books))
            watch = session.watch_exchanges(interval=60, on_error=errors.append)
            delivered = await take(watch, 2)
        assert [kind for kind, _ in delivered] == ["new", "new"]
        assert 600 not in {row_id for _, row_id in delivered}
        assert len(errors) == 2
        for error, value in zip(errors, ("x666", "x666.5"), strict=True):
            assert isinstance(error, DecodeError)
            assert error.method == "get_exchanges"
            assert error.account == "site"
            [(path, shown)] = error.problems
            assert "id=600" in path
            assert path.endswith(".partner_reward")
            assert value in shown
            assert "all others are delivered" in str(error)

    run(main)
    assert sum("cannot be read" in r.getMessage() for r in caplog.records) == 2


def test_what_was_reported_is_not_reported_again_after_a_restart() -> None:
    """The store knows; and a row that can be read after all is delivered as new."""

    async def main() -> None:
        books, state, errors = books_of(), MemoryState(), list[PPAPIError | None]()
        async with sandbox_of(books=books) as sandbox:
            async with session_on(sandbox) as session:
                later(100, lambda: odd_order(books, 600))
                later(200, lambda: new_order(books))
                later(400, lambda: new_order(books))
                watch = session.watch_exchanges(state=state, on_error=errors.append)
                await take(watch, 2)
            assert len(errors) == 1
            async with session_on(sandbox) as session:
                later(100, lambda: odd_order(books, 600, "5"))
                later(200, lambda: new_order(books))
                watch = session.watch_exchanges(state=state, on_error=errors.append)
                assert await take(watch, 3) == [("new", 602), ("new", 600), ("new", 603)]
            assert len(errors) == 1
            names = dict(await state.load(f"{session.account.fingerprint}/get_exchanges"))
            assert not any(name.startswith("unreadable") for name in names)

    run(main)


@pytest.mark.untraced
def test_a_fleet_tells_of_unreadable_rows_and_goes_on() -> None:
    """As an event of its own: the account has not failed."""

    async def main() -> None:
        books = books_of()
        async with sandbox_of(books=books) as sandbox:
            account = account_of(sandbox)
            async with Fleet([account], interval=60, hooks=virtual_time.hooks()) as fleet:
                later(100, lambda: odd_order(books, 600))
                later(1000, lambda: new_order(books))
                events: list[object] = []
                async for event in fleet.events("exchanges"):
                    events.append(event)
                    if len(events) == 2:
                        break
                assert fleet.status()["site"].failures == 0
        odd, new = events
        assert isinstance(odd, RowsUnreadable)
        assert odd.account == "site"
        assert odd.error.method == "get_exchanges"
        assert not isinstance(new, RowsUnreadable)

    run(main)


def row(number: int | None, digest: str = "a", second: int = 1000) -> UnreadableRow:
    """Return an unreadable row."""
    time = datetime.fromtimestamp(second, UTC)
    return UnreadableRow(number, time, (("x", "'y'"),), digest)


def test_so_many_unreadable_rows_are_remembered_and_no_more() -> None:
    """What comes beside a thousand is reported together, once: the store does not grow."""
    rows = UnreadableRows()
    rows.find([row(number) for number in range(5000)])
    assert rows.is_news
    assert len(rows.report()) == 1000
    rows.find([row(number) for number in range(5000)])
    assert not rows.is_news
    assert len(rows.reported) == 1000
    rows.find([row(7, "b")])
    assert rows.is_news
    assert len(rows.report()) == 1


def test_unreadable_rows_without_an_id_go_by_their_text() -> None:
    """Two of them are two, and each is reported once."""
    rows = UnreadableRows()
    rows.find([row(None, "a"), row(None, "b")])
    assert len(rows.report()) == 2
    rows.find([row(None, "b")])
    assert not rows.is_news


def test_unreadable_rows_are_forgotten_like_others() -> None:
    """Those from before what is known."""
    rows = UnreadableRows()
    rows.find([row(1, second=1000), row(2, second=2000)])
    rows.report()
    assert rows.forget_before(1500) == ["unreadable 1"]
    assert list(rows.reported) == ["unreadable 2"]


def test_an_error_of_many_unreadable_rows_lists_twenty_problems() -> None:
    """And says how many rows there are."""
    error = unreadable_error([row(n) for n in range(500)], account="site", method="get_links")
    assert len(error.problems) == 20
    assert "500 rows" in str(error)

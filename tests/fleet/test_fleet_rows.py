"""The rows of all accounts of a fleet: where each begins, and where it was left."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ppapi_async import (
    Account,
    Dialect,
    Exchange,
    FileCheckpoint,
    Fleet,
    MemoryCheckpoint,
    PPAPIError,
    StateError,
    TransportError,
    UnreadableRow,
    Window,
)
from ppapi_async.fleet.merged import Merged
from ppapi_async.fleet.per_account import Checkpoints, checkpoints_of
from ppapi_async.sandbox import Sandbox
from tests import virtual_time
from tests.fleet.test_fleet import fleet_of, park
from tests.watching.test_watch import KEY, books_of, run

ROWS = 120
PAGE = 50
DAY = 86_400


async def take(rows: Merged[Exchange], count: int = 10**9) -> list[tuple[str, int]]:
    """Return account and id of the next rows, and leave the loop after so many."""
    found: list[tuple[str, int]] = []
    async for name, row in rows:
        assert isinstance(row, Exchange), row
        found.append((name, row.id))
        if len(found) == count:
            await asyncio.sleep(1)  # others have read on meanwhile
            break
    return found


async def take_windows(rows: Merged[Exchange], count: int) -> tuple[list[tuple[str, int]], bool]:
    """Return the same of so many windows with rows, and whether there are more."""
    found: list[tuple[str, int]] = []
    async with rows:
        async for name, window in rows.windows():
            assert isinstance(window, Window), window
            found += [(name, row.id) for row in window.records]
            count -= bool(window.records)
            if not count:
                await asyncio.sleep(1)
                return found, True
    return found, False


def whole(*names: str) -> Counter[tuple[str, int]]:
    """Return what there is of these accounts, each once."""
    return Counter((name, number) for name in names for number in range(1, ROWS + 1))


# --- where each begins


def test_each_account_may_begin_elsewhere() -> None:
    """By a mapping from name to start; of whom it has nothing, all comes."""

    async def main() -> None:
        async with park(*[Dialect.CLASSIC] * 3, rows=ROWS) as (sandboxes, accounts):
            times = [order.created for order in sandboxes[0].books.orders]
            start = sorted(times)[100]
            async with fleet_of(accounts) as fleet:
                starts = {"site 0": start, "site 1": None}
                counts = Counter(name for name, _ in await take(fleet.iter_exchanges(starts)))
            assert counts["site 1"] == counts["site 2"] == ROWS
            assert counts["site 0"] == sum(time >= start for time in times) < ROWS

    run(main)


# --- where it was left


@pytest.mark.untraced
@pytest.mark.parametrize("concurrency", [1, 2, 100])
@pytest.mark.parametrize("by_window", [False, True], ids=["rows", "windows"])
def test_promise_1_leaving_loses_nothing_and_repeats_nothing(
    concurrency: int, by_window: bool, tmp_path: Path
) -> None:
    """Left by `break` again and again, anywhere in a window: in the end each row came once."""

    async def main() -> None:
        found: Counter[tuple[str, int]] = Counter()
        async with park(Dialect.CLASSIC, Dialect.DELEGATING, rows=ROWS) as (_, accounts):
            for turn in range(40):
                options = {"concurrency": concurrency, "page_size": PAGE}
                async with fleet_of(accounts, **options) as fleet:
                    rows = fleet.iter_exchanges(checkpoints=tmp_path)
                    if by_window:
                        got, is_left = await take_windows(rows, 1 + turn % 2)
                    else:
                        count = (1, 2, 49, 50, 51, 7)[turn % 6]
                        got = await take(rows, count)
                        is_left = len(got) == count
                    if turn % 3 == 0:  # the others leave it to the closing of the fleet
                        await rows.aclose()
                found.update(got)
                if not is_left:
                    break
        assert found == whole("site 0", "site 1")

    run(main)


@pytest.mark.parametrize("how", ["error", "cancelled", "closed", "fleet closed"])
def test_promise_1_however_it_is_left_the_position_is_that_of_what_came(
    how: str, tmp_path: Path
) -> None:
    """By an error in the loop, a cancellation, or somebody who closes rows or fleet."""

    async def main() -> None:
        found: list[tuple[str, int]] = []

        async def consume(rows: Merged[Exchange]) -> None:
            async for name, row in rows:
                assert isinstance(row, Exchange)
                found.append((name, row.id))
                if len(found) == 77:
                    if how == "error":
                        raise ZeroDivisionError
                    if how == "fleet closed":
                        asyncio.create_task(fleet.aclose())  # noqa: RUF006 - it ends the loop
                    if how == "closed":
                        asyncio.create_task(rows.aclose())  # noqa: RUF006
                    await asyncio.sleep(1)

        async with park(Dialect.CLASSIC, Dialect.DELEGATING, rows=ROWS) as (_, accounts):
            async with fleet_of(accounts, page_size=PAGE) as fleet:
                rows = fleet.iter_exchanges(checkpoints=tmp_path)
                task = asyncio.create_task(consume(rows))
                await asyncio.wait([task], timeout=0.5)
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled() and isinstance(task.exception(), AssertionError):
                    task.result()
                await rows.aclose()
            async with fleet_of(accounts, page_size=PAGE) as fleet:
                found += await take(fleet.iter_exchanges(checkpoints=tmp_path))
        assert Counter(found) == whole("site 0", "site 1")

    run(main)


def test_promise_1_an_account_that_is_removed_goes_on_where_it_was(tmp_path: Path) -> None:
    """What was in hand of it counts when the next is asked for; a failure says that it is gone."""

    async def main() -> None:
        found: list[tuple[str, int]] = []
        failed: list[tuple[str, type]] = []
        async with park(Dialect.CLASSIC, Dialect.DELEGATING, rows=ROWS) as (_, accounts):
            async with fleet_of(accounts, page_size=PAGE) as fleet:
                async for name, row in fleet.iter_exchanges(checkpoints=tmp_path):
                    if isinstance(row, PPAPIError):
                        failed.append((name, type(row)))
                        continue
                    found.append((name, row.id))
                    if len(found) == 13:
                        fleet.remove(name)
            async with fleet_of(accounts, page_size=PAGE) as fleet:
                found += await take(fleet.iter_exchanges(checkpoints=tmp_path))
        assert [kind for _, kind in failed] == [TransportError]
        assert Counter(found) == whole("site 0", "site 1")

    run(main)


@pytest.mark.untraced
def test_checkpoints_may_be_objects_and_paths(tmp_path: Path) -> None:
    """By name; an account without one begins anew each time."""

    async def main() -> None:
        checkpoints: Checkpoints = {"site 0": MemoryCheckpoint(), "site 1": tmp_path / "one.json"}
        async with park(*[Dialect.CLASSIC] * 3, rows=ROWS) as (_, accounts):
            async with fleet_of(accounts) as fleet:
                for expected in (3 * ROWS, ROWS):
                    rows = await take(fleet.iter_exchanges(checkpoints=checkpoints))
                    assert len(rows) == expected
        assert FileCheckpoint(tmp_path / "one.json").load() is not None

    run(main)


NAMES = (
    "one", "One", "ONE", "../../etc/passwd", "a/b", "a\\b", "..", "con", "ы", "x" * 200, "a b", "*",
)  # fmt: skip


def test_each_account_has_a_file_of_its_own(tmp_path: Path) -> None:
    """For each method; whatever an account is called, its file lies there and is no other's."""
    paths: list[Path] = []
    for method in ("get_links", "get_exchanges"):
        for one in checkpoints_of(tmp_path, method, NAMES).values():
            assert isinstance(one, FileCheckpoint)
            paths.append(one._path)
            one.save({})
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert len({path.name.casefold() for path in paths}) == 2 * len(NAMES)
    assert all(path.name.isascii() and len(path.name) < 100 for path in paths)


def test_methods_share_a_directory(tmp_path: Path) -> None:
    """Their positions do not get into each other's way, and a str is a path, too."""

    async def main() -> None:
        async with park(Dialect.CLASSIC, rows=3) as (sandboxes, accounts):
            clicks = len(sandboxes[0].books.clicks)
            async with fleet_of(accounts) as fleet:
                for count in (3, 0):
                    assert len(await take(fleet.iter_exchanges(checkpoints=str(tmp_path)))) == count
                    links = [row async for _, row in fleet.iter_links(checkpoints=tmp_path)]
                    assert len(links) == (clicks if count else 0)

    run(main)


@pytest.mark.parametrize("content", ["{}", "no JSON", "another start"])
def test_a_checkpoint_that_does_not_fit_is_trouble_of_its_account_alone(
    content: str, tmp_path: Path
) -> None:
    """Damaged, or of another range: a failure as a value; the others come whole."""

    async def main() -> None:
        path = tmp_path / "one.json"
        async with park(*[Dialect.CLASSIC] * 2, rows=ROWS) as (_, accounts):
            async with fleet_of(accounts) as fleet:
                if content == "another start":
                    await take(fleet.iter_exchanges(5, checkpoints={"site 0": path}))
                else:
                    path.write_text(content)
                found: dict[str, list[object]] = {}
                async for name, row in fleet.iter_exchanges(checkpoints={"site 0": path}):
                    found.setdefault(name, []).append(row)
            [error] = found["site 0"]
            assert isinstance(error, StateError)
            assert str(error).startswith("site 0: checkpoint: ")
            assert "delete it" in str(error) or "a checkpoint of its own" in str(error)
            assert len(found["site 1"]) == ROWS

    run(main)


# --- windows, and what cannot be read


@pytest.mark.untraced
def test_windows_of_all_accounts() -> None:
    """With their bounds; complete for each and oldest first; a failure is a value."""

    async def main() -> None:
        async with park(*Dialect, rows=ROWS) as (_, accounts):
            refused = Account("http://127.0.0.1:9", KEY, name="refused")
            ids: dict[str, list[int]] = {}
            async with fleet_of([*accounts, refused], page_size=PAGE) as fleet:
                rows = fleet.iter_exchanges()
                async for name, window in rows.windows():
                    if isinstance(window, PPAPIError):
                        assert (name, type(window)) == ("refused", TransportError)
                        continue
                    assert window.requests > 0 or window.records
                    ids.setdefault(name, []).extend(row.id for row in window.records)
                with pytest.raises(RuntimeError, match="once"):
                    rows.windows()
            assert Counter((n, i) for n, some in ids.items() for i in some) == whole(
                *(account.name for account in accounts)
            )

    run(main)


@pytest.mark.parametrize("kind", ["function", "coroutine function", "none"])
def test_rows_that_cannot_be_read_are_handed_over_with_their_account(kind: str) -> None:
    """To a callback that takes name and row; without it a failure lists them in the end."""

    async def main() -> None:
        taken: list[tuple[str, int | None]] = []

        def take_row(name: str, row: UnreadableRow) -> None:
            taken.append((name, row.id))

        async def take_later(name: str, row: UnreadableRow) -> None:
            await asyncio.sleep(1)
            take_row(name, row)

        callbacks: Mapping[str, Any] = {"function": take_row, "coroutine function": take_later}

        def spoil(method: str, row: dict[str, Any]) -> dict[str, Any]:
            spoilt = method == "get_exchanges" and int(row["id"]) % 40 == 0
            return {**row, "partner_reward": "much"} if spoilt else row

        found: dict[str, list[object]] = {"site 1": []}
        options = {"on_unreadable": callbacks[kind]} if kind != "none" else {}
        async with (
            park(Dialect.CLASSIC, rows=ROWS) as (_, accounts),
            Sandbox(books=books_of(ROWS), clock=virtual_time.now, row_filter=spoil) as odd,
            fleet_of([*accounts, Account(odd.url, KEY, name="site 1")]) as fleet,
        ):
            async for name, row in fleet.iter_exchanges(**options):
                found.setdefault(name, []).append(row)
        errors = [row for row in found["site 1"] if isinstance(row, PPAPIError)]
        assert len(found["site 0"]) == ROWS
        if kind == "none":
            assert [type(error).__name__ for error in errors] == ["DecodeError"]
        else:
            assert errors == []
            assert sorted(taken, key=str) == [("site 1", 120), ("site 1", 40), ("site 1", 80)]
            assert len(found["site 1"]) == ROWS - 3

    run(main)


# --- misuse


MISUSE: Mapping[str, tuple[Callable[[Fleet], object], type[Exception], str]] = {
    "nobody's start": (lambda f: f.iter_links({"x": 1}), ValueError, "start: the fleet has no acc"),
    "no start": (lambda f: f.iter_exchanges({"one": 0.5}), TypeError, "start of 'one': pass an"),  # type: ignore[dict-item]
    "late": (lambda f: f.iter_exchanges({"one": 9}, 9), ValueError, "start of 'one': lies not bef"),
    "late for all": (lambda f: f.iter_exchanges(9, 9), ValueError, "end: lies not after start"),
    "names": (lambda f: f.iter_links(["one"]), TypeError, "start: pass an aware datetime"),  # type: ignore[arg-type]
    "a number": (lambda f: f.iter_links(checkpoints=3), TypeError, "checkpoints: pass a directory"),  # type: ignore[arg-type]
    "one for all": (lambda f: f.iter_links(checkpoints=MemoryCheckpoint()), TypeError, "checkp"),  # type: ignore[arg-type]
    "nowhere": (lambda f: f.iter_payouts(checkpoints="/no"), ValueError, "checkpoints: there is"),
    "nobody's": (lambda f: f.iter_links(checkpoints={"x": "y"}), ValueError, "checkpoints: the fl"),
    "nothing": (lambda f: f.iter_links(checkpoints={"one": 3}), TypeError, "checkpoint: pass a Ch"),  # type: ignore[dict-item]
    "no taker": (lambda f: f.iter_payouts(on_unreadable=3), TypeError, "on_unreadable: pass a"),  # type: ignore[arg-type]
}  # fmt: skip


@pytest.mark.parametrize("name", MISUSE)
async def test_misuse_is_named(name: str) -> None:
    """Before anything is asked."""
    call, kind, words = MISUSE[name]
    async with Fleet(Account("http://127.0.0.1:1", KEY, name="one", allow_http=True)) as fleet:
        with pytest.raises(kind, match=f"^{words}"):
            call(fleet)

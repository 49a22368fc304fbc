"""The benches run: with a few rows, since nothing here judges speed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from zoneinfo import ZoneInfo

import attrs
import pytest

from bench import decode, filled, measure, watching
from bench.jobs import b1, httpx_pydantic, report, typed
from bench.processes import Site
from bench.rows import listed, newest_first
from ppapi_async import Account, Exchange
from ppapi_async.mirror import ReadOnlyMirror
from ppapi_async.protocol import Answer, PageCodec, Reader
from ppapi_async.protocol.page import Page
from ppapi_async.protocol.site_clock import SiteClock

pytestmark = pytest.mark.untraced  # takes twice as long with; other tests go through all lines, too


def test_decode_bench_runs() -> None:
    """Each kind of page is decoded, compared with its T, and shown."""
    lines = list(decode.measure(rows=20, rounds=1, repeats=1))
    shown = measure.table(lines)
    for name in ("clean", "1 % odd", "keyed by id", "Cyrillic", "links"):
        assert name in shown
    assert all(line.value > 0 for line in lines)


@pytest.mark.parametrize("shape", ["plain", "cyrillic", "escaped"])
def test_peers_make_the_records_that_we_make(shape: str) -> None:
    """Exact amounts, aware times, bools and un-escaped text: dicts would be less work."""
    rows = newest_first("plain" if shape == "plain" else "cyrillic", 20)
    if shape == "escaped":
        rows = [
            (number, row.replace(b"Tether", b"&quot;Tether&quot; &amp;")) for number, row in rows
        ]
    body = listed(rows)
    reader = Reader(Account("https://bench.example", "k3y-of-the-bench"), "get_exchanges")
    page = PageCodec(Exchange, SiteClock(ZoneInfo("UTC")), reader).decode(
        Answer(200, {"Content-Type": "application/json; charset=utf-8"}, body)
    )
    assert isinstance(page, Page)
    ours = list(page.records)
    assert len(ours) == 20
    assert b1.decode(body) == ours
    assert typed.exchanges(json.loads(body)["data"]["items"]) == ours
    for theirs, mine in zip(httpx_pydantic.decode(body), ours, strict=True):
        wanted = attrs.asdict(mine, filter=attrs.filters.exclude("extra"))
        assert theirs.model_dump() == wanted
        assert [type(one) for one in theirs.model_dump().values()] == [
            type(one) for one in wanted.values()
        ]


def test_watching_costs_little() -> None:
    """A watch of a classic site takes less than a fiftieth of what reading all of it would."""
    lines = list(watching.measure(polls=40))
    assert len(lines) == 4
    assert not any(line.met is False for line in lines)


def test_a_filled_mirror_is_one(tmp_path: Path) -> None:
    """All rows are there and can be read, and a report tells of each."""
    path = tmp_path / "mirror.db"
    filled.fill(path, accounts=3, rows=600)
    told = report.run(Site("", 600), url=f"sqlite:///{path}")
    assert told["rows"] == 600

    async def rows_of(resource: str) -> list[tuple[object, ...]]:
        async with (
            ReadOnlyMirror(f"sqlite:///{path}") as mirror,
            mirror.snapshot() as snapshot,
        ):
            return [row async for piece in snapshot.rows(resource) for row in piece]

    found = {one: len(asyncio.run(rows_of(one))) for one in ("links", "exchanges", "payouts")}
    assert found == {"links": 300, "exchanges": 300, "payouts": 36}


def test_lines_are_saved_with_their_verdicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The JSON holds what the table shows, and what it was measured on."""
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    over = measure.Line("decode", "clean", 1.2, "x T", 1.15)
    missed = measure.Line("decode", "json", 1.2, "x T")
    enough = measure.Line("stream", "ours : B1", 0.9, "x", 0.85, at_most=False)
    path = measure.save("some", [over, missed, enough])
    saved = json.loads(path.read_text("utf-8"))
    assert [line["met"] for line in saved["lines"]] == [False, None, True]
    assert saved["machine"]["packages"]["msgspec"]
    assert "MISSED" in measure.table([over])

"""A mirror whose process is killed at any moment; the long run is `python -m tests.mirror`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mirror.comparison import compare
from tests.mirror.kills import Kills
from tests.mirror.victim import Mode

pytestmark = pytest.mark.untraced  # other tests go through all lines, too


async def _run(mode: Mode, database: str, folder: Path) -> None:
    run = Kills(database=database, folder=folder, kills=3, mode=mode)
    await run.run()
    comparison = await compare(database, run.park.desks, run.journal.reads)
    if mode == "follow":
        comparison.compare_delivered(run.journal.changes)
    assert run.wrong + comparison.wrong == []
    assert comparison.rows > 200
    assert comparison.changes > 0  # a machine that is busy sees few


async def test_a_killed_sync_comes_to_what_the_books_have(tmp_path: Path) -> None:
    """Each row once, each change once; what lasted is among the changes, and nothing else."""
    await _run("sync", f"sqlite:///{tmp_path / 'mirror.db'}", tmp_path)


async def test_a_killed_follow_delivers_each_change(postgres_url: str, tmp_path: Path) -> None:
    """In order, and twice only what was in hand; and the rows are those of the books."""
    await _run("follow", postgres_url, tmp_path)

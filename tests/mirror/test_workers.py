"""Three workers at the jobs of one mirror in PostgreSQL, one of which is killed."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.mirror.comparison import compare
from tests.mirror.kills import Kills

pytestmark = pytest.mark.untraced  # other tests go through all lines, too


async def test_what_a_killed_worker_was_at_is_done_by_others(
    postgres_url: str, tmp_path: Path
) -> None:
    """Killed in the middle of a backfill: all accounts complete, no row and no change twice."""
    found: list[int] = []

    def is_ripe() -> bool:
        """Tell whether some rows are there; many more are not."""
        with psycopg.connect(postgres_url) as connection:
            row = connection.execute("SELECT to_regclass('links') IS NOT NULL").fetchone()
            if row == (True,):
                row = connection.execute("SELECT count(*) FROM links").fetchone()
                found.append(row[0] if row else 0)
        return bool(found) and found[-1] > 50

    run = Kills(
        database=postgres_url,
        folder=tmp_path,
        kills=1,
        mode="jobs",
        workers=3,
        rows=(120,),
        lives=(0, 0.1),
        is_ripe=is_ripe,
    )
    await run.run()
    comparison = await compare(postgres_url, run.park.desks, run.journal.reads)
    assert run.wrong + comparison.wrong == []
    assert comparison.rows > 4 * 480 > 2 * found[-1]

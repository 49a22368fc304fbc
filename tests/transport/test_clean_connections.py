"""Connections on which something waits that nobody has asked for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ppapi_async.transport.connector import CleanRequest, StaleConnectionError


async def test_nothing_is_sent_over_a_connection_that_is_not_clean() -> None:
    """What waits on it would be taken for the answer."""
    connection: Any = SimpleNamespace(protocol=SimpleNamespace(should_close=True))
    request = object.__new__(CleanRequest)
    with pytest.raises(StaleConnectionError):
        await request.send(connection)

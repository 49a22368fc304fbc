"""What tests of the examples share."""

from __future__ import annotations

import pytest

from tests.tracing import untraced


@pytest.fixture(scope="session")
def _aiogram() -> None:
    """Import what the bot needs: it takes seconds, and traced twice as many."""
    with untraced():
        import aiogram  # noqa: F401

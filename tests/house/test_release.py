"""The release check-list knows a changelog that is not ready."""

from __future__ import annotations

import pytest

from tests import release


def test_the_newest_dated_version_is_found() -> None:
    """The first with a date, below an empty [Unreleased]."""
    text = "## [Unreleased]\n\n## [1.2.0] - 2026-01-02\n\n- x\n\n## [1.1.0] - 2025-01-02\n"
    assert release.latest_release(text) == "1.2.0"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("## [Unreleased]\n\n- new\n\n## [1.0.0] - 2026-01-02\n", "under .Unreleased."),
        ("## [Unreleased]\n\n## [1.0.0]\n\n- new\n", "has no date"),
        ("## [Unreleased]\n", "has no date"),
    ],
    ids=["unreleased", "no date", "nothing"],
)
def test_a_changelog_that_is_not_ready_is_refused(text: str, wrong: str) -> None:
    """It says what is missing."""
    with pytest.raises(ValueError, match=wrong):
        release.latest_release(text)

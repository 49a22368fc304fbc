"""The documentation builds without a warning, and without the network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.no_cover
def test_the_pages_are_built_without_a_warning(tmp_path: Path) -> None:
    """Each reference is found, each page is in a table of contents, each block has a lexer."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", tmp_path / "doctrees", "docs", tmp_path / "html"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.returncode == 0
    assert (tmp_path / "html" / "reference" / "index.html").exists()

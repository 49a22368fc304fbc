"""The documentation builds without a warning, without the network, and has every public name."""

from __future__ import annotations

import importlib
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PUBLIC = [
    "ppapi_async",
    "ppapi_async.arrow",
    "ppapi_async.dlt_source",
    "ppapi_async.metrics.opentelemetry",
    "ppapi_async.metrics.prometheus",
    "ppapi_async.mirror",
    "ppapi_async.mirror.jobs",
    "ppapi_async.sandbox",
    "ppapi_async.testing",
]
"""The modules that programs import from; those that are there are to be in the reference."""


def public_names() -> Iterator[str]:
    """Yield every public name with its module."""
    for module in PUBLIC:
        if (ROOT / module.replace(".", "/")).with_suffix(".py").exists() or (
            ROOT / module.replace(".", "/") / "__init__.py"
        ).exists():
            yield from (f"{module}.{name}" for name in importlib.import_module(module).__all__)


def documented_names(inventory: Path) -> set[str]:
    """Return the names that an inventory of Sphinx has."""
    head, packed = inventory.read_bytes().split(b"zlib.\n", 1)
    assert b"version 2" in head
    return {line.split(" ")[0] for line in zlib.decompress(packed).decode().splitlines()}


def test_the_pages_are_built_without_a_warning(tmp_path: Path) -> None:
    """Each reference is found, each page is in a table of contents, each name has a place."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html"]
    command += ["-D", "html_theme=basic"]  # furo takes a quarter longer, to draw the menus
    done = subprocess.run(
        [*command, "-d", tmp_path / "doctrees", "docs", tmp_path / "html"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.returncode == 0
    assert set(public_names()) - documented_names(tmp_path / "html" / "objects.inv") == set()

"""What the README shows works as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2].joinpath("README.md").read_text("utf-8")


def test_the_first_snippet_is_a_script(tmp_path: Path) -> None:
    """Pasted into a file it prints a balance and as many rows as the sandbox has."""
    script = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    path = tmp_path / "first.py"
    path.write_text(script)
    run = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert run.stderr == ""
    first, *rows = run.stdout.splitlines()
    assert re.fullmatch(r"balance [0-9.]+", first)
    assert len(rows) == 100
    times = [row[:25] for row in rows]
    assert times == sorted(times)


STUB = """#!/bin/sh
said="${0##*/} $*"
echo "$said"
case "$said" in "$BAD"*) test -z "$BAD" || exit 3;; esac
"""


@pytest.mark.skipif(sys.platform == "win32", reason="is for a POSIX shell")
@pytest.mark.parametrize(
    ("bad", "last"),
    [
        ("", "python -m tests.coverage_floors"),
        ("python3", "python3"),
        ("pip", "pip"),
        ("uv", "uv pip install"),
        ("ruff check", "ruff check"),
        ("ruff format", "ruff format"),
        ("mypy", "mypy"),
        ("python -m pytest", "python -m pytest"),
        ("python -m tests.coverage_floors", "python -m tests.coverage_floors"),
    ],
)
def test_the_test_command_fails_when_any_part_does(tmp_path: Path, bad: str, last: str) -> None:
    """And shows the output of that part last: nobody has to look for it above."""
    [command] = re.findall(r"<!-- test command -->\n```bash\n(.*)\n```\n<!-- end -->", README)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("mypy", "pip", "python", "python3", "ruff", "uv"):
        program = programs / name
        program.write_text(STUB)
        program.chmod(0o755)
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env={**os.environ, "PATH": path, "BAD": bad},
        stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == (3 if bad else 0)
    assert done.stdout.splitlines()[-1].startswith(last)

"""What is to be true before a release: `python -m tests.release` looks, and says what is left.

It builds into a folder of its own, installs the wheel into fresh environments, one for each extra,
and uploads nothing. It needs uv (`pip install uv`).
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path

from ppapi_async.version import __version__

__all__ = ["latest_release", "main"]

ROOT = Path(__file__).parents[1]
_OWN = frozenset({"bench", "dev", "examples", "mutation"})
"""Extras for work in this repository."""
_BY_HAND = f"""Left to do by hand:
- git tag {__version__}, and push it
- .venv/bin/python -m sphinx -q -b linkcheck docs docs/_build/linkcheck
- uv publish FOLDER/*; README's links and picture are relative: PyPI does not show them
"""


def latest_release(changelog: str) -> str:
    """Return the version of the newest section with a date.

    Raises:
        ValueError: there is none, or something stands under [Unreleased].
    """
    unreleased, *dated = re.split(r"^## \[(?=\d)", changelog, flags=re.MULTILINE)
    if re.search(r"^- ", unreleased, re.MULTILINE):
        raise ValueError("CHANGELOG.md: something stands under [Unreleased]")
    found = re.match(r"([\d.]+)\] - \d{4}-\d\d-\d\d\n", dated[0]) if dated else None
    if found is None:
        raise ValueError("CHANGELOG.md: the newest version has no date")
    return found[1]


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{command[0]}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


def _check_tree() -> None:
    if _run("git", "status", "--porcelain"):
        raise ValueError("the working tree is not clean")


def _check_version() -> None:
    if (found := latest_release((ROOT / "CHANGELOG.md").read_text("utf-8"))) != __version__:
        raise ValueError(f"CHANGELOG.md has {found}, version.py {__version__}")
    tags = _run("git", "tag", "--points-at", "HEAD").split()
    if tags and not {__version__, f"v{__version__}"} & set(tags):
        raise ValueError(f"the tag is {tags[0]}, version.py has {__version__}")


def _install(wheel: Path, extra: str, folder: Path) -> None:
    """Install the wheel with one extra alone; ask it for its version where that has a command."""
    _run("uv", "venv", "-q", folder)
    wanted = f"ppapi-async[{extra}] @ {wheel.as_uri()}" if extra else str(wheel)
    _run("uv", "pip", "install", "-q", "--python", folder / "bin" / "python", wanted)
    if extra == "cli":
        said = _run(folder / "bin" / "ppapi", "--version")
    else:
        program = "import ppapi_async; print(ppapi_async.__version__)"
        said = _run(folder / "bin" / "python", "-c", program)
    if __version__ not in said:
        raise ValueError(f"it says {said!r}")


def main() -> int:
    """Go through the list; return how many points of it are not met."""
    folder = Path(tempfile.mkdtemp(prefix="ppapi-release-"))
    built, failed = folder / "dist", 0

    def check(name: str, what: Callable[[], object]) -> None:
        nonlocal failed
        try:
            what()
        except (OSError, ValueError) as error:
            failed += 1
            sys.stdout.write(f"NO  {name}: {error}\n")
        else:
            sys.stdout.write(f"ok  {name}\n")

    python = sys.executable
    check("the tree is clean", _check_tree)
    check("version, changelog and tag agree", _check_version)
    check("it builds", lambda: _run("uv", "build", "-q", "--out-dir", built))
    wheels = sorted(built.glob("*.whl"))
    files = [*wheels, *sorted(built.glob("*.tar.gz"))]
    check("twine check", lambda: _run("uvx", "twine", "check", "--strict", *files))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = sorted(set(project["optional-dependencies"]) - _OWN)
    for extra in ["", *extras] if wheels else []:
        check(
            f"installs alone: {extra or 'no extra'}",
            lambda extra=extra: _install(wheels[0], extra, folder / (extra or "none")),  # type: ignore[misc]
        )
    pages = ("-m", "sphinx", "-W", "-n", "-q", "-b", "html", "docs", folder / "html")
    check("the pages build", lambda: _run(python, *pages))
    links = ("-m", "pytest", "-q", "tests/docs/test_links.py", "tests/examples/test_readme.py")
    check("README's links lead somewhere", lambda: _run(python, *links))
    sys.stdout.write(_BY_HAND.replace("FOLDER", str(built)))
    return failed


if __name__ == "__main__":
    sys.exit(main())

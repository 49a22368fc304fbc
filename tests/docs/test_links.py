"""Links between the texts of the project lead to files and headings that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for page in [
        *ROOT.glob("*.md"),
        *ROOT.glob("bench/*.md"),
        *ROOT.glob("examples/*.md"),
        *ROOT.glob("docs/**/*.md"),
    ]
    if "_build" not in page.parts
)


def anchors(text: str) -> set[str]:
    """Return what a link to a part of the page may name: headings as GitHub has them, and ids."""
    found: set[str] = set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for heading in re.findall(r"^#+ (.*)$", prose, re.MULTILINE):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number = 0
        while (name := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(name)
    return found


def broken(page: Path) -> list[str]:
    """Return the relative links of a page that lead nowhere."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    faults = []
    for target in re.findall(r"\]\(<?([^)\s>]+)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, heading = target.partition("#")
        to = page.parent / name if name else page
        known = anchors(to.read_text("utf-8")) if to.suffix == ".md" and to.is_file() else set()
        if not to.exists() or (heading and heading not in known):
            faults.append(target)
    return faults


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """To files that are there, and to headings of a page."""
    assert broken(ROOT / page) == []


def test_pages_that_the_code_names_are_there() -> None:
    """In docstrings, help texts and settings, where there are no links."""
    files = [ROOT / "pyproject.toml"]
    for folder in ("ppapi_async", "tests", "examples", "bench"):
        files += (ROOT / folder).rglob("*.py")
    named = {
        (path.name, page)
        for path in files
        for page in re.findall(r"\bdocs/[\w/-]+\.(?:md|png|svg)\b", path.read_text("utf-8"))
    }
    assert named
    assert [one for one in sorted(named) if not (ROOT / one[1]).exists()] == []


def test_a_link_that_leads_nowhere_is_seen(tmp_path: Path) -> None:
    """A file, a heading of another page, and a heading of this one; code is not looked at."""
    (tmp_path / "other.md").write_text("# What `is` not: that\n# Twice\n# Twice\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Here\n[a](gone.md) [b](other.md#there) [c](#nowhere) [d](https://x.example/#y)\n"
        "[e](other.md#what-is-not-that) [f](other.md) [g](#here) [h](other.md#twice-1)\n"
        "```python\nx[0](gone)\n```\n"
    )
    assert broken(page) == ["gone.md", "other.md#there", "#nowhere"]

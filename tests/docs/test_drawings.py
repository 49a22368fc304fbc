"""Drawings can be read: small and large, on light and dark, and by who does not see them."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
WIDE = {"architecture.svg"}
"""For contributors, who read it beside the code: its letters are small on a phone."""
DRAWINGS = sorted({path.name for path in IMAGES.glob("*.svg")} - WIDE)
CONCEPTS = sorted((ROOT / "docs" / "concepts").glob("*.md"))
SVG = "{http://www.w3.org/2000/svg}"
_PHONE = 328  # pixels that a page of 360 leaves to a drawing
_READABLE = 12


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_can_be_read(name: str) -> None:
    """It says what it shows, has colours for both schemes of its own, and letters large enough."""
    text = (IMAGES / name).read_text("utf-8")
    root = ET.fromstring(text)
    said = {root.findtext(f"{SVG}title"), root.findtext(f"{SVG}desc")}
    assert root.get("role") == "img"
    assert len(said) == 2
    assert all(said)
    assert "prefers-color-scheme: dark" in text
    assert "currentColor" not in text  # is black in an <img>
    width = float(root.attrib["viewBox"].split()[2])
    sizes = [float(size) for size in re.findall(r"font(?:-size)?: ([\d.]+)px", text)]
    assert sizes
    assert min(sizes) * _PHONE / width >= _READABLE


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_is_shown_somewhere(name: str) -> None:
    """With words for who does not see it."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    shown = [re.findall(rf"!\[([^]]+)\]\([^)]*{name}\)", page.read_text("utf-8")) for page in pages]
    assert any(shown)


@pytest.mark.parametrize(
    "page", sorted((ROOT / "docs" / "concepts").glob("*.md")), ids=lambda page: page.stem
)
def test_each_concept_is_drawn(page: Path) -> None:
    """But for the page that lists them."""
    assert page.stem == "index" or ".svg)" in page.read_text("utf-8")

"""Look at the built documentation in Chromium, on a narrow screen and a wide one, light and dark.

`python -m tests.docs.look docs/_build [PICTURES]` prints what is wider than its page, and writes a
picture of each page into the folder PICTURES. No test does it: it takes half a minute.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from tests.cli.report.browser import Browser, Tab, find_chromium

WIDTHS = (360, 1280)
SCHEMES = ("light", "dark")
_TOO_WIDE = """
[...document.querySelectorAll("article *")].filter(element => {
    for (let one = element; one.tagName != "ARTICLE"; one = one.parentElement)
        if (getComputedStyle(one).overflowX != "visible") return false;
    return element.getBoundingClientRect().right > innerWidth + 1;
}).slice(0, 3).map(element => element.tagName + ": " + element.textContent.slice(0, 60))
"""


async def too_wide(tab: Tab, page: Path) -> AsyncIterator[str]:
    """Yield what of a page does not fit, and would move all of it to the side."""
    for width in WIDTHS:
        await tab.look(width)
        await tab.open(page.as_uri())
        found = await tab.run(_TOO_WIDE)
        assert isinstance(found, Sequence)
        for one in found:
            yield f"{page.name} at {width}: {one}"


async def look(built: Path, pages: Sequence[Path], pictures: Path | None) -> int:
    """Go through pages; return how many things are too wide."""
    path = find_chromium()
    assert path, "there is no Chromium"
    number = 0
    async with Browser(path) as browser:
        tab = await browser.tab()
        for page in pages:
            async for one in too_wide(tab, page):
                number += 1
                sys.stdout.write(f"{one}\n")
            for width in WIDTHS * bool(pictures):
                for scheme in SCHEMES:
                    await tab.look(width, scheme=scheme)
                    await tab.open(page.as_uri())
                    name = "-".join(page.relative_to(built).with_suffix("").parts)
                    assert pictures
                    (pictures / f"{name}-{width}-{scheme}.png").write_bytes(await tab.shoot(900))
    return number


if __name__ == "__main__":
    _built, *_pictures = map(Path, sys.argv[1:])
    for _folder in _pictures:
        _folder.mkdir(parents=True, exist_ok=True)
    _pages = sorted(_built.resolve().rglob("*.html"))
    sys.exit(asyncio.run(look(_built.resolve(), _pages, next(iter(_pictures), None))) > 0)

"""`python -m tests.cli.report.picture REPORT PICTURE`: what the top of a report looks like, a PNG.

The README's is of the demo's report:

    ppapi demo --folder demo
    python -m tests.cli.report.picture demo/report.html docs/images/report.png
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.cli.report.browser import Browser, find_chromium

__all__ = ["main"]

_WIDTH, _HEIGHT = 1280, 1064


async def _draw(chromium: str, url: str) -> bytes:
    async with Browser(chromium) as browser:
        tab = await browser.tab()
        await tab.look(_WIDTH)
        await tab.open(url)
        return await tab.shoot(_HEIGHT)


def main(report: str, picture: str) -> None:
    """Write the picture of a report.

    Raises:
        SystemExit: there is no Chromium here.
    """
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit("there is no Chromium here")
    url = Path(report).absolute().as_uri()
    Path(picture).write_bytes(asyncio.run(_draw(chromium, url)))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The page of a report as Chromium shows it: nothing cut, nothing loaded, reachable by keyboard."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import aiohttp
import pytest

from ppapi_async.cli.report.data import ReportData
from ppapi_async.cli.report.live import serving
from ppapi_async.cli.report.page import ReportPage
from ppapi_async.cli.report.words import Language
from tests.cli.report.browser import Browser, Tab, find_chromium
from tests.cli.report.made_up import empty, made_up
from tests.cli.report.test_live import Desk

_SCRIPTS = Path(__file__).parent / "report"
LOOKS, CONTRASTS = ((_SCRIPTS / name).read_text() for name in ("looks.js", "contrasts.js"))
WIDTHS = (360, 1024, 1920)
OPEN_ALL = "document.querySelectorAll('details').forEach((one) => { one.open = true; })"
FOCUS = """(() => {
    const one = document.activeElement, box = one.getBoundingClientRect();
    const isSeen = box.left >= 0 && box.width > 1;
    return JSON.stringify([one.tagName, one.className, getComputedStyle(one).outlineStyle, isSeen]);
})()"""
HOSTILE = "<b>\u202e\"'&" + "W" * 400


def hostile(text: str) -> str:
    """Return a text as bad as they come."""
    return f"{HOSTILE}{text}" if len(text) % 2 else f"{text} {'long words ' * 40}"


def pages() -> dict[str, tuple[ReportData, Language]]:
    """Return reports of all sizes, by name."""
    return {
        "empty": (empty(), "en"),
        "calm": (made_up(1, trouble=False), "en"),
        "four": (made_up(4), "ru"),
        "many": (made_up(300), "en"),
        "hostile": (made_up(6, text=hostile), "ru"),
    }


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Start a browser, for all that is seen here: it takes a second or two."""
    path = find_chromium()
    if path is None:
        pytest.skip("there is no Chromium here; on Debian: apt-get install chromium")
    async with Browser(path) as started:
        yield started


async def wrong(tab: Tab, script: str) -> list[str]:
    """Return what a script finds wrong."""
    return cast("list[str]", await tab.run(f"({script})()"))


async def check_looks(tab: Tab, width: int) -> list[str]:
    """Look at the page closed and open."""
    await tab.look(width)
    found = await wrong(tab, LOOKS)
    await tab.run(OPEN_ALL)
    return [f"{width}: {one}" for one in (*found, *await wrong(tab, LOOKS))]


async def check_contrasts(tab: Tab) -> list[str]:
    """Look at the colours of both schemes."""
    found = []
    for scheme in ("light", "dark"):
        await tab.look(1024, scheme=scheme)
        found += [f"{scheme}: {one}" for one in await wrong(tab, CONTRASTS)]
    return found


async def check_keyboard(tab: Tab) -> list[str]:
    """Go from the top to the first details, and open them, by the keyboard alone."""
    found = []
    for step in range(30):
        await tab.press("Tab")
        tag, name, outline, is_seen = json.loads(cast("str", await tab.run(FOCUS)))
        if step == 0 and name != "skip":
            found.append(f"the first stop is {tag}")
        if outline == "none" or not is_seen:
            found.append(f"the focus is not seen on {tag}")
        if tag == "SUMMARY":
            await tab.press("Enter")
            if not await tab.run("document.activeElement.parentElement.open"):
                found.append("Enter does not open details")
            return found
    return [*found, "no details are reached"]


async def check_tooltips(tab: Tab) -> list[str]:
    """Point at a bar and at an hour: each says what it is, above the chart and within it."""
    found = []
    for number in (0, await tab.run("document.querySelectorAll('.plot').length - 1")):
        place = await tab.run(f"""(() => {{
            const area = document.querySelectorAll(".plot")[{number}].querySelector(".area");
            area.scrollIntoView({{block: "center", behavior: "instant"}});
            const box = area.getBoundingClientRect();
            return [box.left + box.width / 2, box.top + box.height / 2];
        }})()""")
        x, y = cast("list[float]", place)
        await tab.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        shown = await tab.run("""(() => {
            const texts = [...document.querySelectorAll(".notes text")];
            const one = texts.filter((text) => getComputedStyle(text).visibility === "visible");
            if (one.length !== 1) return `${one.length} texts`;
            const plot = one[0].closest(".plot").getBoundingClientRect();
            const box = one[0].getBoundingClientRect();
            const isWithin = box.left >= plot.left && box.right <= plot.right + 1
                && box.top >= plot.top && box.bottom <= plot.top + 24;
            return isWithin ? one[0].textContent : "it is cut";
        })()""")
        if not re.search(r"\d", cast("str", shown)) or shown == "0 texts":
            found.append(f"chart {number}: {shown}")
    return found


async def check_print(tab: Tab) -> list[str]:
    """Have a sheet of paper: no table is cut, and what only a screen needs is not there."""
    await tab.look(794)
    await tab.send("Emulation.setEmulatedMedia", media="print")
    wide = await tab.run("document.documentElement.scrollWidth")
    is_bare = await tab.run("!document.querySelector('nav').checkVisibility()")
    await tab.send("Emulation.setEmulatedMedia", media="")
    found = [] if wide == 794 else [f"the sheet is {wide} wide"]
    return found if is_bare else [*found, "the contents are printed"]


@pytest.mark.untraced
async def test_the_page_in_a_browser(browser: Browser, tmp_path: Path) -> None:
    """At three widths, in both schemes, from an empty mirror to three hundred accounts."""
    tab, found = await browser.tab(), []
    for name, (data, language) in (drawn := pages()).items():
        path = tmp_path / f"{name}.html"
        path.write_text(ReportPage(language).draw(data), "utf-8")
        await tab.look(WIDTHS[0])
        await tab.open(path.as_uri())
        assert await tab.run("document.querySelector('h1').offsetHeight > 20"), "there is no text"
        if name == "four":
            found += [f"{name} {one}" for one in await check_keyboard(tab)]
            found += [f"{name} {one}" for one in await check_tooltips(tab)]
            found += [f"{name} {one}" for one in await check_print(tab)]
        for width in WIDTHS:
            found += [f"{name} {one}" for one in await check_looks(tab, width)]
        if name in {"calm", "four"}:
            found += [f"{name} {one}" for one in await check_contrasts(tab)]
    assert not found, "\n".join(found[:40])
    assert {one.rpartition("/")[2] for one in tab.requests} == {f"{name}.html" for name in drawn}
    assert tab.complaints == []
    await check_live_page(await browser.tab())


async def check_live_page(tab: Tab) -> None:
    """A live page renews itself, and stays where it was, with what was open."""
    desk = Desk()
    report = desk.report()
    async with serving(report, "127.0.0.1", 0) as port:
        await tab.look(1024, 600)
        await tab.open(f"http://127.0.0.1:{port}/")
        await tab.run("document.querySelector('figure details').open = true; scrollTo(0, 700)")
        top = await tab.run("scrollY")
        desk.revision = "2"
        renewed = """new Promise((done) => {
            const look = () => live.dataset.revision === "2" ? done(true) : setTimeout(look, 5);
            look();
        })"""
        async with asyncio.timeout(30):
            while not report._viewers:  # noqa: ASYNC110 - it is the browser's turn
                await asyncio.sleep(0)
        desk.wake()
        assert await tab.run(renewed)
        assert await tab.run("scrollY") == top
        assert await tab.run("document.querySelector('figure details').open")
        assert await tab.run("live.className") == ""
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/") as page:
            assert page.status == 200
    assert tab.complaints == []

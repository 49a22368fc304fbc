"""Chromium without a window, driven by its own protocol over a web socket."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeAlias, cast

import aiohttp

__all__ = ["Browser", "Tab", "find_chromium", "running_browser"]

Json: TypeAlias = Mapping[str, "Json"] | Sequence["Json"] | str | int | float | bool | None
_PLACES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_LISTENING = re.compile(rb"DevTools listening on (ws://\S+)")
_SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--mute-audio",
    "--no-default-browser-check",
    "--no-first-run",
    "--remote-debugging-port=0",
)
_START, _CALL = 60, 30
_LEAD = """
import os, signal, sys
if os.fork():
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.execv(sys.argv[1], sys.argv[1:])
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
os.read(0, 1)
os.killpg(0, signal.SIGKILL)
"""
"""Becomes the browser, beside a process that waits for the end of stdin, which is that of the tests
however they end, and then kills all of its group."""


def find_chromium() -> str | None:
    """Return the path of a Chromium, or None where there is none."""
    return next(filter(None, map(shutil.which, _PLACES)), None)


class Tab:
    """A page of the browser, and what it has complained of."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session
        self.requests: list[str] = []
        """What it has asked for."""
        self.complaints: list[str] = []
        """Errors of the console, and violations of the page's policy."""
        self._loaded = asyncio.Event()

    def hear(self, method: str, given: Json) -> None:
        """Take an event."""
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Network.requestWillBeSent":
            self.requests.append(cast("str", at(given, "request", "url")))
        elif method in {"Log.entryAdded", "Runtime.exceptionThrown"}:
            self.complaints.append(json.dumps(given))

    async def send(self, method: str, **given: Json) -> Json:
        """Call a method of the protocol for this tab."""
        return await self._browser.send(method, self._session, **given)

    async def open(self, url: str) -> None:
        """Load a page, wholly."""
        self._loaded.clear()
        await self.send("Page.navigate", url=url)
        async with asyncio.timeout(_CALL):
            await self._loaded.wait()

    async def look(self, width: int, height: int = 900, scheme: str = "light") -> None:
        """Have a screen of some size, light or dark."""
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.send("Emulation.setEmulatedMedia", features=features)

    async def run(self, script: str) -> Json:
        """Return what an expression of JavaScript gives."""
        answer = await self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if isinstance(answer, Mapping) and "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"]))
        result = at(answer, "result")
        return result.get("value") if isinstance(result, Mapping) else None

    async def press(self, key: str) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            codes = {"Tab": 9, "Enter": 13}
            given: dict[str, Json] = {"windowsVirtualKeyCode": codes[key], "key": key, "code": key}
            if key == "Enter" and kind == "keyDown":
                given["text"] = "\r"
            await self.send("Input.dispatchKeyEvent", type=kind, **given)

    async def shoot(self, height: int | None = None) -> bytes:
        """Return a picture of the page, a PNG: of all of it, or as high as said."""
        size = at(await self.send("Page.getLayoutMetrics"), "cssContentSize")
        clip: dict[str, Json] = {
            "x": 0,
            "y": 0,
            "width": at(size, "width"),
            "height": height or at(size, "height"),
            "scale": 1,
        }
        answer = await self.send("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(cast("str", at(answer, "data")))


def at(value: Json, *keys: str) -> Json:
    """Return what stands deep in an answer."""
    for key in keys:
        assert isinstance(value, Mapping)
        value = value[key]
    return value


class Browser:
    """A Chromium with a profile of its own, which is removed at the end."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stack = contextlib.AsyncExitStack()
        self._answers: dict[int, asyncio.Future[Json]] = {}
        self._tabs: dict[str, Tab] = {}
        self._count = 0
        self._socket: aiohttp.ClientWebSocketResponse

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
            folder = stack.enter_context(profile)
            address = await stack.enter_async_context(running_browser(self._path, folder))
            http = await stack.enter_async_context(aiohttp.ClientSession())
            self._socket = await stack.enter_async_context(http.ws_connect(address, max_msg_size=0))
            reader = asyncio.create_task(self._read())
            stack.push_async_callback(asyncio.wait, [reader])
            stack.callback(reader.cancel)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def tab(self) -> Tab:
        """Open a new tab."""
        target = at(await self.send("Target.createTarget", url="about:blank"), "targetId")
        answer = await self.send("Target.attachToTarget", targetId=target, flatten=True)
        session = cast("str", at(answer, "sessionId"))
        tab = self._tabs[session] = Tab(self, session)
        for domain in ("Page", "Network", "Log", "Runtime"):
            await tab.send(f"{domain}.enable")
        return tab

    async def send(self, method: str, session: str | None = None, **given: Json) -> Json:
        """Call a method of the protocol.

        Raises:
            RuntimeError: the browser refuses it.
        """
        self._count += 1
        number = self._count
        message: dict[str, Json] = {"id": number, "method": method, "params": given}
        if session is not None:
            message["sessionId"] = session
        answer: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        await self._socket.send_str(json.dumps(message))
        async with asyncio.timeout(_CALL):
            return await answer

    async def _read(self) -> None:
        async for message in self._socket:
            heard = json.loads(message.data)
            waiting = self._answers.pop(heard.get("id", 0), None)
            if waiting is None:
                if (tab := self._tabs.get(heard.get("sessionId", ""))) is not None:
                    tab.hear(heard["method"], heard.get("params"))
            elif "error" in heard:
                waiting.set_exception(RuntimeError(json.dumps(heard["error"])))
            else:
                waiting.set_result(heard["result"])


@contextlib.asynccontextmanager
async def running_browser(path: str, folder: str) -> AsyncIterator[str]:
    """Run the browser and yield the address of its web socket; nothing of it is left afterwards."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", _LEAD),
        path,
        *_SWITCHES,
        f"--user-data-dir={folder}",
        "about:blank",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    drain: asyncio.Task[bytes] | None = None
    try:
        async with asyncio.timeout(_START):
            said = b""
            while (found := _LISTENING.search(said)) is None:
                line = await process.stderr.readline()
                if not line:
                    raise RuntimeError(f"the browser ended: {said.decode(errors='replace')}")
                said += line
        drain = asyncio.create_task(process.stderr.read())
        yield found[1].decode()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        if drain is not None:
            await drain

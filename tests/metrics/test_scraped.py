"""A real Prometheus scrapes a running fleet and mirror, where its binary is found.

It takes five seconds, for so long Prometheus waits until it looks for its targets.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, start_http_server

from ppapi_async import Account, AccountSuspended, Fleet
from ppapi_async.metrics.prometheus import PrometheusHook, StatusCollector
from ppapi_async.mirror import Mirror
from ppapi_async.sandbox import Books, Partner, Sandbox
from tests.leaks import assert_absent
from tests.metrics.test_dashboards import ALERTS, expressions

PROMETHEUS = shutil.which("prometheus")
KEY = "Qw3rTy7UiOp9AsDf5GhJk1LzXc2VbNm8"
WRONG = "Zz9wRoNgKeY8vUtSrQpOnMlKjIhGfEdC"
CONFIGURATION = """
global: {{scrape_interval: 100ms, scrape_timeout: 100ms, evaluation_interval: 100ms}}
rule_files: [{rules}]
scrape_configs:
  - job_name: partners
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
pytestmark = pytest.mark.skipif(
    PROMETHEUS is None, reason="prometheus is not here: apt-get install prometheus"
)


def free_port() -> int:
    """Return a port that nobody has just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def until(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until there is an answer, some seconds at the most."""
    async with asyncio.timeout(20):
        while not (answer := await ask()):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.05)
    return answer


@contextlib.asynccontextmanager
async def prometheus(target: int, directory: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """Run Prometheus, scraping a port of this machine ten times a second."""
    configuration, port = directory / "prometheus.yml", free_port()
    configuration.write_text(CONFIGURATION.format(rules=json.dumps(str(ALERTS)), port=target))
    process = await asyncio.create_subprocess_exec(
        str(PROMETHEUS),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    )
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:

            async def is_ready() -> bool:
                assert process.returncode is None, "Prometheus has ended"
                with contextlib.suppress(aiohttp.ClientConnectionError):
                    async with http.get("/-/ready") as response:
                        return response.status == 200
                return False

            await until(is_ready)
            yield http
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def ask(http: aiohttp.ClientSession, path: str, **query: str) -> Any:
    """Return the data of an answer of Prometheus' API."""
    async with http.get(f"/api/v1/{path}", params=query) as response:
        answer = await response.json()
    assert answer["status"] == "success", answer
    return answer["data"]


async def value_of(http: aiohttp.ClientSession, query: str) -> float | None:
    """Return what a query finds, None for nothing."""
    found = (await ask(http, "query", query=query))["result"]
    return float(found[0]["value"][1]) if found else None


async def suspended(fleet: Fleet) -> None:
    """Poll until the account of the wrong key is suspended, and on until this is cancelled."""
    async for event in fleet.events("info", "exchanges"):
        if isinstance(event, AccountSuspended):
            assert event.account == "wrong"


@pytest.mark.untraced
async def test_a_real_prometheus_scrapes_a_running_fleet(tmp_path: Path) -> None:
    """It has what the fleet and the mirror have, each alert and panel can ask it, and no key."""
    registry = CollectorRegistry()
    hook = PrometheusHook(registry=registry)
    books = Books.generate(1, 50, 1_790_000_000, 1_792_000_000, partner=Partner(api_key=KEY))
    async with contextlib.AsyncExitStack() as stack:
        site = await stack.enter_async_context(Sandbox(books=books))
        accounts = [Account(site.url, KEY, name="good"), Account(site.url, WRONG, name="wrong")]
        fleet = await stack.enter_async_context(
            Fleet(accounts, interval=0.2, first="now", on_request=hook)
        )
        url = f"sqlite:///{tmp_path / 'mirror.db'}"
        mirror = await stack.enter_async_context(Mirror(url, accounts[:1], on_request=hook))
        await mirror.sync()
        registry.register(StatusCollector(fleet, mirror))
        server, thread = start_http_server(0, "127.0.0.1", registry)
        polling = asyncio.create_task(suspended(fleet))
        try:
            async with prometheus(server.server_port, tmp_path) as http:
                await until(lambda: value_of(http, 'ppapi_accounts{phase="suspended"} == 1'))
                await until(lambda: value_of(http, 'ALERTS{alertname="PpapiAccountSuspended"}'))
                rows = await until(lambda: value_of(http, 'ppapi_mirror_rows{resource="links"}'))
                assert rows == len(list(books.clicks))
                polls = await until(lambda: value_of(http, "rate(ppapi_polls_total[2s]) > 2"))
                assert polls < 20  # five a second
                assert await value_of(http, "ppapi_request_duration_seconds_count") is not None
                for expression in expressions().values():
                    asked = expression.replace("$host", ".*").replace("$__rate_interval", "1m")
                    await ask(http, "query", query=asked)
                rules = (await ask(http, "rules"))["groups"][0]["rules"]
                assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
                series = await ask(http, "series", **{"match[]": '{__name__=~".+"}'})
                names = {one["__name__"] for one in series}
                assert {"ppapi_up", "ppapi_payouts_unsettled", "ppapi_clock_warnings"} <= names
                assert {one["host"] for one in series if "host" in one} == {accounts[0].host}
                assert_absent((KEY, WRONG), json.dumps(series), json.dumps(rules))
        finally:
            polling.cancel()
            await asyncio.wait([polling])
            server.shutdown()
            server.server_close()
            thread.join()

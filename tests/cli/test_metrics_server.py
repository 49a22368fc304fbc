"""`--metrics HOST:PORT`: what Prometheus reads of a command while it runs."""

from __future__ import annotations

import asyncio
import socket
import sys
import urllib.request
from pathlib import Path

import click
import pytest

from ppapi_async.cli.copying import following
from ppapi_async.cli.exits import CommandFailed, Exit
from ppapi_async.cli.metrics_server import serving_metrics
from ppapi_async.cli.options import address
from ppapi_async.cli.watching.watching import WatchPlan, watch
from ppapi_async.sandbox import Sandbox
from tests.cli.terminal import ppapi
from tests.cli.test_sync_follow import SECOND, options_of, said
from tests.leaks import assert_absent
from tests.metrics.observing import values_of


def free_port() -> int:
    """Return a port that nobody has just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def read(port: int) -> str:
    """Return what Prometheus would read."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        text: str = answer.read().decode()
        return text


async def scraped(port: int, name: str) -> str:
    """Return what is read once it holds a metric."""
    async with asyncio.timeout(20):
        while name not in (text := await asyncio.to_thread(read, port)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return text


async def test_a_watch_serves_its_accounts_and_requests(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the address that it was given, until it ends; the key is not there."""
    port = free_port()
    async with Sandbox(rows=3) as site:
        accounts = options_of(site).accounts
        plan = WatchPlan(
            accounts=accounts, resources=("info",), interval=SECOND, since=None,
            state=home / "watch.db", from_now=False, as_json=False, utc=True, timeout=SECOND,
            skip_refused=False, metrics=("127.0.0.1", port),
        )  # fmt: skip
        task = asyncio.create_task(watch(plan))
        await said(capsys, f"metrics are at 127.0.0.1, port {port}\n")
        text = await scraped(port, "ppapi_last_success_timestamp_seconds{")
        task.cancel()
        await asyncio.wait([task])
        assert_absent(site.api_key, text)
    found = values_of(text)
    assert found["ppapi_accounts"][("host", accounts[0].host), ("phase", "suspended")] == 0
    assert sum(found["ppapi_request_duration_seconds_count"].values()) > 0
    with pytest.raises(OSError, match="refused"):
        await asyncio.to_thread(read, port)


async def test_a_copy_that_is_followed_serves_its_rows(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the mirror that it is."""
    port = free_port()
    async with Sandbox(rows=3) as site:
        follow = following.follow(
            options_of(site), interval=SECOND, fields=None, is_utc=True, metrics=("127.0.0.1", port)
        )
        task = asyncio.create_task(follow)
        await said(capsys, "metrics are at")
        text = await scraped(port, "ppapi_mirror_rows{")
        task.cancel()
        await asyncio.wait([task])
    assert "ppapi_mirror_rows" in values_of(text)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("9464", ("127.0.0.1", 9464)),
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("[::1]:80", ("::1", 80)),
        (("::1", 80), ("::1", 80)),
    ],
)
def test_an_address_is_of_this_machine_unless_told(
    given: str | tuple[str, int], meant: tuple[str, int]
) -> None:
    """A port alone is one of loopback."""
    assert address(given) == meant


@pytest.mark.parametrize(
    "given", ["", "x", "127.0.0.1", "127.0.0.1:", ":80", "a:0", "a:70000", "a:٣"]
)
def test_what_is_no_address_is_refused(given: str) -> None:
    """All addresses are never meant by leaving the host out."""
    with pytest.raises(click.BadParameter):
        address(given)


def test_an_address_that_is_taken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """And so is one that others reach."""
    with serving_metrics(("127.0.0.1", port := free_port())):
        with pytest.raises(
            CommandFailed, match=f"nobody can listen at 127.0.0.1, port {port}"
        ) as it:
            with serving_metrics(("127.0.0.1", port)):
                pass
    assert it.value.exit is Exit.USAGE
    with serving_metrics(("0.0.0.0", free_port())):
        assert "whoever reaches that may read them" in capsys.readouterr().err


def test_a_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(CommandFailed, match=r"pip install 'ppapi-async\[prometheus\]'"):
        with serving_metrics(("127.0.0.1", 1)):
            pass


def test_metrics_of_a_copy_go_with_follow(home: Path) -> None:
    """A sync that ends is scraped by nobody."""
    ran = ppapi("sync", "--metrics", "9464")
    assert ran.code == Exit.USAGE
    assert "--metrics: goes with --follow only" in ran.err

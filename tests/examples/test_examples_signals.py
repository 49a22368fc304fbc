"""The examples end by real signals: nothing runs on, is lost, or comes twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from examples import fastapi_service, watch
from ppapi_async import (
    AccountFailed,
    AccountRecovered,
    AccountSuspended,
    AuthError,
    FleetEvent,
    ServerError,
)
from ppapi_async.sandbox import Books, Fault, Partner, Sandbox
from tests import virtual_time
from tests.examples.test_examples import EXAMPLES, KEY, books_of, fleet_on, move, run, site_of
from tests.examples.test_payout_when_due import served
from tests.leaks import assert_absent

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])


@pytest.mark.untraced
@SIGNALS
def test_the_watch_ends_by_a_signal_and_goes_on_after_it(
    number: signal.Signals, tmp_path: Path
) -> None:
    """The balance first, in each run; what was printed is not printed again, what came later is."""

    async def main() -> None:
        books, state = books_of("", "", balance="5"), tmp_path / "state"
        async with site_of(books) as site:
            runs: list[list[str]] = []
            for row_id in (1, 2):
                lines: list[str] = []
                fleet = fleet_on(site, state, first="now")
                watching = asyncio.create_task(watch.watch(fleet, lines.append))
                await asyncio.sleep(2)
                move(books, row_id, "success")
                await asyncio.sleep(130)
                signalled = virtual_time.now()
                signal.raise_signal(number)
                await watching
                assert virtual_time.now() - signalled < 1
                runs.append(lines)
        accrued = "one: changed exchange {}, reward 1.5, accrued"
        assert runs[0][0] == "one: new balance 5, paid out from 10"
        assert sorted(runs[0][1:]) == [
            "one: changed balance 6.5, paid out from 10",
            accrued.format(1),
        ]
        assert runs[1][0] == "one: new balance 6.5, paid out from 10"
        assert sorted(runs[1][1:]) == [
            "one: changed balance 8, paid out from 10",
            accrued.format(2),
        ]

    run(main)


def test_a_second_signal_does_not_wait_for_what_hangs(tmp_path: Path) -> None:
    """The first lets a request end, for ten seconds at the most."""

    async def main() -> None:
        async with site_of(books_of()) as site:
            site.faults.add(Fault.HANG, times=None)
            for signals, seconds in ((1, 10), (2, 1)):
                fleet = fleet_on(site, tmp_path / "state", first="now")
                watching = asyncio.create_task(watch.watch(fleet, print))
                await asyncio.sleep(5)
                began = virtual_time.now()
                for _ in range(signals):
                    signal.raise_signal(signal.SIGTERM)
                    await asyncio.sleep(0.5)
                await asyncio.wait([watching])
                assert watching.cancelled() == (signals == 2)
                assert seconds - 1 < virtual_time.now() - began < seconds + 1

    run(main)


@contextlib.contextmanager
def noted_signals(number: signal.Signals) -> Iterator[list[int]]:
    """Note the signals that nobody else takes: uvicorn raises its own once more when it is done."""
    noted: list[int] = []
    before = signal.signal(number, lambda one, _: noted.append(one))
    try:
        yield noted
    finally:
        signal.signal(number, before)


@pytest.mark.untraced
@SIGNALS
def test_the_service_ends_by_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    """Under uvicorn: it closes its port, then its lifespan the fleet; nothing is left running."""

    async def main() -> None:
        async with site_of(books_of("")) as site:
            fleet = fleet_on(site, tmp_path / "watches", first="now")
            app = fastapi_service.create_app(fleet, tmp_path / "book")
            server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
            with noted_signals(number) as noted:
                serving = asyncio.create_task(server.serve())
                await asyncio.sleep(5)
                assert server.started
                assert fleet.healthy is True
                signal.raise_signal(number)
                await serving
            assert noted == [number]
            assert repr(fleet) == "<Fleet of 1 accounts, closed>"

    run(main)


STARTED = "import sys; from examples import watch; watch.main()"


def test_the_watch_as_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the command line: it prints the balance at once, and SIGTERM ends it with code 0."""
    monkeypatch.setenv("ONE_KEY", KEY)
    file = tmp_path / "accounts.toml"
    partner = Partner(api_key=KEY, balance="5")
    with served(Sandbox(books=Books(partner=partner))) as site:
        file.write_text(f'[[accounts]]\nurl = "{site.url}"\nname = "one"\nkey_env = "ONE_KEY"\n')
        file.chmod(0o600)
        arguments = ["--accounts", str(file), "--state", str(tmp_path / "state")]
        command = [sys.executable, "-c", STARTED, *arguments]
        with subprocess.Popen(
            command, cwd=EXAMPLES.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as program:
            assert program.stdout is not None
            first = program.stdout.readline()
            program.send_signal(signal.SIGTERM)
            out, err = program.communicate()
        assert (first, out, err) == ("one: new balance 5, paid out from 10\n", "", "")
        assert program.returncode == 0


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (AccountRecovered("one"), "one: works again"),
        (AccountFailed("one", ServerError("502", account="one")), "one: 502"),
        (AccountSuspended("one", AuthError("wrong key")), "one: wrong key"),
    ],
)
def test_what_the_watch_prints_of_trouble(event: FleetEvent, text: str) -> None:
    """The message, without the account's name twice, and without the key."""
    assert watch.line(event) == text
    assert_absent(KEY, watch.line(event))

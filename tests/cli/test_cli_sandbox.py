"""The command `sandbox` with several sites: accounts file, pace, log of requests."""

from __future__ import annotations

import io
import re
import signal
import socket
import stat
import sys
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ppapi_async import Account, Fleet, Info, PPAPIError, Retry, Session, load_accounts
from ppapi_async.account import Dialect
from ppapi_async.cli import main as cli
from ppapi_async.cli.sandboxes import sites as command
from ppapi_async.cli.sandboxes.request_log import RequestLog
from ppapi_async.sandbox import Fault, Sandbox, SeenRequest
from tests.cli.test_cli import SECONDS, complaints, run_sandbox, running_sandbox
from tests.leaks import assert_absent

_MODES = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes")
_ARRIVED = datetime(2026, 3, 4, 5, 6, 7, 89_000, UTC).timestamp()


# --- several sites, in a real process


async def _ids_of(accounts: list[Account]) -> Mapping[str, set[int]]:
    """Return the ids of the exchanges of each account, all read at once."""
    ids: dict[str, set[int]] = {account.name: set() for account in accounts}
    async with Fleet(accounts) as fleet:
        infos = await fleet.get_info()
        assert all(isinstance(info, Info) for info in infos.values())
        async for name, row in fleet.iter_exchanges():
            assert not isinstance(row, PPAPIError)
            ids[name].add(row.id)
    return ids


async def test_several_sites_are_read_by_their_accounts_file(tmp_path: Path) -> None:
    """Three dialects on ports of their own: the file has them all, the log each request, no key."""
    file, log = tmp_path / "accounts.toml", tmp_path / "requests.log"
    options = ["--sites", "3", "--dialect", "delegating,user-api", "--dialect", "classic"]
    options += ["--timezone", "Asia/Tbilisi", "--pace", "3600", "--log", str(log)]
    with running_sandbox(*options, "--accounts", str(file)) as (process, screen):
        accounts = load_accounts(file)  # warnings are errors, as of a file that others may read
        assert [account.name for account in accounts] == ["delegating-1", "user-api-2", "classic-3"]
        assert {account.timezone for account in accounts} == {"Asia/Tbilisi"}
        ids = await _ids_of(accounts)
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, rest, complaints(errors)) == (0, "\nstopped\n", "")
    assert set(ids) == {"delegating-1", "user-api-2", "classic-3"}
    assert all(found >= {*range(1, 8)} for found in ids.values())  # there are new ones already
    assert "user-api, live, 3,600 orders an hour" in screen
    assert f"{file} has the accounts, with their keys, and stays" in screen
    assert len(load_accounts(file)) == 3
    keys = re.findall(r"^  key +(\S+)$", screen, re.MULTILINE)
    _check_log(log.read_text(encoding="utf-8"), keys)


def _check_log(lines: str, keys: list[str]) -> None:
    assert len(set(keys)) == 3
    for key in keys:
        assert_absent(key, lines)
    for name in ("delegating-1", "user-api-2", "classic-3"):
        assert re.search(rf"Z {name} get_info: 200, [\d,]+ ms$", lines, re.MULTILINE)
        assert re.search(
            rf"Z {name} get_exchanges .*: 200, \d+ rows?, [\d,]+ ms$", lines, re.MULTILINE
        )


def test_the_example_for_live_sites_watches() -> None:
    """What is printed as an example is what a watcher is tried with."""
    screen = run_sandbox("--dialect", "classic,clone", "--pace", "60", "--rows", "2")
    assert "Fleet([Account('http://127.0.0.1:" in screen
    assert "fleet.events()" in screen
    assert screen.count("  key ") == 2
    alone = run_sandbox("--pace", "60", "--rows", "2")
    assert "session.watch_exchanges(interval=10)" in alone
    compile(screen[screen.index("import asyncio") : screen.index("Ctrl-C")], "example", "exec")
    compile(alone[alone.index("import asyncio") : alone.index("Ctrl-C")], "example", "exec")


def test_ports_follow_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--port` is the first site's; seeds differ, and dialects and zones take turns."""
    made: list[dict[str, object]] = []

    def make(dialect: Dialect, **options: object) -> Sandbox:
        made.append({"dialect": dialect, **options})
        if len(made) == 3:
            raise KeyboardInterrupt
        return Sandbox(dialect, rows=0)

    monkeypatch.setattr(command, "Sandbox", make)
    options = "--sites 3 --dialect clone,classic --timezone UTC,Asia/Tokyo --port 7000 --seed 5"
    assert cli.main(["sandbox", *options.split()]) == 0
    chosen = [(o["dialect"], o["timezone"], o["port"], o["seed"]) for o in made]
    assert chosen == [
        ("clone", "UTC", 7000, 5),
        ("classic", "Asia/Tokyo", 7001, 6),
        ("clone", "UTC", 7002, 7),
    ]


@_MODES
def test_sigterm_ends_it_as_well(tmp_path: Path) -> None:
    """As a service is stopped; the accounts stay, a login among them."""
    file = tmp_path / "accounts.toml"
    options = ("--dialect", "user-api", "--rows", "0", "--accounts", str(file))
    screen = run_sandbox(*options, ended_by=signal.SIGTERM)
    assert screen.endswith("\nstopped\n")
    assert f"load_accounts({str(file)!r})" in screen
    assert "fleet.iter_exchanges()" in screen
    (account,) = load_accounts(file)
    assert account.name == "user-api-1"
    assert account.api_login is not None


# --- the accounts file


@_MODES
def test_the_accounts_file_is_for_its_owner_only(tmp_path: Path) -> None:
    """Mode 600 from the first byte on, whatever the mode of what it replaces."""
    file = tmp_path / "accounts.toml"
    run_sandbox("--rows", "0", "--accounts", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    run_sandbox("--rows", "0", "--accounts", str(file), "--overwrite")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["accounts.toml"]


def test_a_file_that_is_there_is_not_overwritten_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may hold the keys of real accounts: nothing is made up before that is clear."""
    file = tmp_path / "accounts.toml"
    file.write_text("mine", encoding="utf-8")
    assert cli.main(["sandbox", "--port", "0", "--accounts", str(file)]) == 2
    screen = capsys.readouterr()
    assert (screen.out, file.read_text(encoding="utf-8")) == ("", "mine")
    assert screen.err == (
        f"ppapi sandbox: --accounts: {file} exists;"
        " pass another file, or --overwrite to replace it\n"
    )
    run_sandbox("--rows", "0", "--accounts", str(file), "--overwrite", "--key", 'a"\\b')
    (account,) = load_accounts(file)
    assert account.api_key.reveal() == 'a"\\b'


@_MODES
def test_a_file_that_appears_meanwhile_is_not_overwritten_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor is a link followed that somebody put there."""
    file, elsewhere = tmp_path / "accounts.toml", tmp_path / "elsewhere"
    start = Sandbox.start

    async def start_and_link(sandbox: Sandbox) -> None:
        file.symlink_to(elsewhere)
        await start(sandbox)

    monkeypatch.setattr(Sandbox, "start", start_and_link)
    options = ["sandbox", "--rows", "0", "--port", "0", "--accounts", str(file)]
    assert cli.main(options) == 2
    assert not elsewhere.exists()
    assert "exists; pass another file" in capsys.readouterr().err


def test_what_is_no_file_is_not_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A device or a directory stays, whatever was told; nothing is left beside it."""
    (tmp_path / "taken").mkdir()
    options = ["--rows", "0", "--port", "0", "--overwrite", "--accounts", str(tmp_path / "taken")]
    assert cli.main(["sandbox", *options]) == 2
    assert "taken: is a directory, not a file" in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("--sites 0", "--sites: '0': pass a whole number from 1 to 100"),
        ("--sites 1 --dialect classic,clone", "--sites: 1 are fewer than the 2 of --dialect"),
        ("--timezone UTC,Mars", "--timezone: 'Mars' is unknown"),
        ("--dialect classic,", "--dialect: '' is none; choose from classic, "),
        ("--sites 3 --port 65534", "--port: 3 sites from 65534 on go beyond 65535"),
        ("--pace 0", "--pace: '0'"),
        ("--pace fast", "--pace: 'fast': pass a whole number from 1 to"),
        ("--accounts missing/accounts.toml", "--accounts: there is no directory missing"),
        ("--log missing/log", "--log: cannot write to missing/log: No such file or directory"),
    ],
)
def test_what_cannot_be_is_one_clear_line(
    arguments: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is made up: one line on stderr, nothing on stdout, exit code 2."""
    assert cli.main(["sandbox", *arguments.split()]) == 2
    screen = capsys.readouterr()
    assert (screen.out, screen.err.count("\n")) == ("", 1)
    assert f"ppapi sandbox: {named}" in screen.err


def test_a_port_in_use_is_that_of_its_site(capsys: pytest.CaptureFixture[str]) -> None:
    """Of several sites, the one that cannot listen is told by its port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        options = ["--rows", "0", "--sites", "2", "--port", str(port - 1)]
        assert cli.main(["sandbox", *options]) == 2
    assert re.search(rf"cannot listen on port ({port}|{port - 1}): ", capsys.readouterr().err)


# --- the log of requests


def _seen(**facts: object) -> SeenRequest:
    """Return a request as it is when it is over."""
    usual: dict[str, object] = {
        "arrived": _ARRIVED, "method": "get_links", "verb": "POST", "path": "/api.html",
        "query": {"api_action": "pp", "method": "get_links"}, "form": {}, "headers": {},
        "connection": 1, "status": 200, "seconds": 0.0042,
    }  # fmt: skip
    return SeenRequest(**(usual | facts))  # type: ignore[arg-type]


@pytest.fixture
def log() -> RequestLog:
    """Return a log that knows a key."""
    log = RequestLog(io.StringIO())
    log.hide("Ab3dEf6hIj9kLmN0pQrStUv2xYz45678", "partner1", None, "k")
    return log


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({"rows": 1, "form": {"limit": "5"}}, "get_links limit=5: 200, 1 row, 4 ms"),
        ({"rows": 1234}, "get_links: 200, 1,234 rows, 4 ms"),
        ({"status": 502, "fault": Fault.HTML_502}, "get_links: 502, 4 ms, fault html-502"),
        ({"status": None, "seconds": None}, "get_links: no answer"),
        ({"method": "", "status": 404}, "POST /api.html: 404, 4 ms"),
        ({"form": {"account": "a b\n\x1b[2J\u202e"}},
         r"get_links account='a b\n\x1b[2J\u202e': 200, 4 ms"),
        ({"form": {"ip": "9" * 200}}, f"get_links ip='{'9' * 80}…': 200, 4 ms"),
        ({"query": {"API_KEY": "mine", "x-login": "me"}, "form": {"api_key": "mine"}},
         "get_links: 200, 4 ms"),
        ({"form": {"ip": "%41b3dEf6hIj9kLmN0pQrStUv2xYz45678"}}, "get_links ip=***: 200, 4 ms"),
        ({"method": "Ab3dEf6hIj9kLmN0pQrStUv2xYz45678"}, "***: 200, 4 ms"),
        ({"method": "", "path": "/partner1/k"}, "POST /***/k: 200, 4 ms"),
    ],
    ids=["one row", "many rows", "fault", "no answer", "no method", "control characters", "long",
         "other names of keys", "key in a parameter", "key as a method", "login in a path"],
)  # fmt: skip
def test_a_line_for_each_request(log: RequestLog, facts: dict[str, object], line: str) -> None:
    """Time, site, method, parameters, and what came of it; never a key, and always one line."""
    assert log.line("classic-1", _seen(**facts)) == f"2026-03-04T05:06:07.089Z classic-1 {line}"


async def test_the_log_of_a_real_site(log: RequestLog) -> None:
    """What a session asks for, and the fault that it met, in the order in which they ended."""
    lines: list[str] = []

    def note(seen: SeenRequest) -> None:
        assert seen.seconds is not None
        lines.append(re.sub(r"^\S+|[\d,]+ ms", "", log.line("site", seen)).strip())

    async with Sandbox(Dialect.DELEGATING, rows=3, on_request=note) as sandbox:
        account = Account(sandbox.url, sandbox.api_key, dialect="delegating")
        async with Session(account, retry=Retry(attempts=1)) as session:
            for fault in (Fault.CHALLENGE_403, Fault.BODY_CUT):
                sandbox.faults.add(fault)
                with pytest.raises(PPAPIError):
                    await session.call("get_info")
            assert await session.call("get_exchanges", limit=2)
    assert_absent(sandbox.api_key, *lines)
    assert lines == [
        "site get_info: 403, , fault challenge-403",
        "site get_info: no answer, , fault body-cut",
        "site get_exchanges limit=2: 200, 2 rows,",
    ]


def test_a_log_that_cannot_be_written_ends_with_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A full disk is no reason for a site to fail."""

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    log = RequestLog(Full())
    for _ in range(2):
        log.write("site", _seen())
    assert capsys.readouterr().err == "no more of the request log: No space left on device\n"


def test_the_log_goes_to_stderr_unless_a_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Stdout is for what a script reads."""
    RequestLog(sys.stderr).write("site", _seen())
    assert capsys.readouterr() == ("", "2026-03-04T05:06:07.089Z site get_links: 200, 4 ms\n")
    assert "get_links" not in run_sandbox("--rows", "0", "--log")

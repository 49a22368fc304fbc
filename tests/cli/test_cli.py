"""The command line: what it prints, how it ends, and that its examples run."""

from __future__ import annotations

import io
import re
import runpy
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stdout
from http import HTTPStatus
from typing import IO

import pytest

from ppapi_async.account import Dialect
from ppapi_async.cli import main as cli
from ppapi_async.cli.sandboxes import sites as command
from ppapi_async.sandbox import Rates, Sandbox
from ppapi_async.version import __version__

_PYTHON = (sys.executable, "-X", "dev", "-W", "error")
SECONDS = 60


class _InterruptingScreen(io.StringIO):
    """Presses Ctrl-C, or sends another signal, as soon as it has been told how."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__()
        self._number = number

    def write(self, text: str) -> int:
        written = super().write(text)
        if "Ctrl-C stops the sandbox." in text:
            signal.raise_signal(self._number)
        return written


@contextmanager
def running_sandbox(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a sandbox in a process of its own; return it and what it said at its start."""
    command = [*_PYTHON, "-m", "ppapi_async", "sandbox", "--port", "0", "--rows", "7", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, _read_introduction(process.stdout)
        finally:
            process.kill()


def _read_introduction(stdout: IO[str]) -> str:
    lines: list[str] = []
    for line in stdout:
        lines.append(line)
        if line.startswith("Ctrl-C"):
            break
    return "".join(lines)


def complaints(errors: str) -> str:
    """Return what was written to stderr, but for slow turns, of which a busy machine has some."""
    return re.sub(r"^Executing <.*> took [\d.]+ seconds\n", "", errors, flags=re.MULTILINE)


def run_sandbox(*arguments: str, ended_by: signal.Signals = signal.SIGINT) -> str:
    """Return what a sandbox prints until Ctrl-C, or another signal, has ended it well."""
    # Redirected here and not in a fixture: pytest's own capturing would undo that.
    with redirect_stdout(_InterruptingScreen(ended_by)) as screen:
        assert cli.main(["sandbox", "--port", "0", *arguments]) == 0
    return screen.getvalue()


@pytest.mark.parametrize("dialect", [*Dialect])
def test_the_sandbox_says_where_it_is_and_stops_at_ctrl_c(dialect: Dialect) -> None:
    """Url, key and login come first; Ctrl-C is a clean end, exit code 0."""
    printed = run_sandbox("--dialect", dialect, "--rows", "3", "--timezone", "Asia/Tbilisi")
    assert re.search(r"^  url +http://127\.0\.0\.1:\d+$", printed, re.MULTILINE)
    assert re.search(r"^  key +\w{30,}$", printed, re.MULTILINE)
    assert re.search(r"^  clock +Asia/Tbilisi$", printed, re.MULTILINE)
    assert ("login" in printed) == (dialect is Dialect.USER_API)
    assert printed.endswith("\nstopped\n")


def test_the_sandbox_goes_live_and_caps_its_answers() -> None:
    """`--live`, `--cap` and `--seed` are taken; an empty site is one too."""
    options = ["--dialect", "clone", "--live", "--cap", "5", "--seed", "9", "--rows", "0"]
    assert "clone, live" in run_sandbox(*options)


@pytest.mark.untraced
def test_the_key_is_random_unless_given() -> None:
    """`--key` sets it; without, no two sandboxes have the same, whatever the seed."""
    keys = [re.findall(r"^  key +(\S+)$", run_sandbox(*more), re.MULTILINE)[0]
            for more in ([], [], ["--key", "my-Key_1"])]  # fmt: skip
    assert keys[0] != keys[1]
    assert keys[2] == "my-Key_1"


def test_the_sandbox_can_be_told_to_be_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    """What real sites and their copies do is at hand on the command line, too."""
    made: list[dict[str, object]] = []

    def make(*_: object, **options: object) -> None:
        made.append(options)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "Sandbox", make)
    bad = "--cap 500,20 --ties by-id --order oldest-first --bounds end-exclusive --own-keys"
    for arguments in ("", f"--dialect delegating --live --meddling {bad}"):
        assert cli.main(["sandbox", *arguments.split()]) == 0
    names = ("cap", "ties", "order", "bounds", "own_keys")
    assert [made[0][name] for name in names] == [
        ...,
        "shuffled",
        "newest first",
        "inclusive",
        False,
    ]
    expected = [(500, 20), "by id", "oldest first", "end exclusive", True]
    assert [made[1][name] for name in names] == expected
    rates = made[1]["rates"]
    assert isinstance(rates, Rates)
    assert rates.by_hand_per_hour > 0 < rates.baskets_per_hour


def test_ctrl_c_while_the_books_are_made_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C is heeded before the sandbox listens, too."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "Sandbox", interrupt)
    assert cli.main(["sandbox"]) == 0
    assert capsys.readouterr().out.endswith("\nstopped\n")


def test_the_python_example_runs() -> None:
    """What the sandbox prints as an example prints the account and every exchange."""
    with running_sandbox("--dialect", "user-api", "--timezone", "Europe/Moscow") as (_, printed):
        example = printed[printed.index("import asyncio") : printed.index("Ctrl-C")]
        command = [*_PYTHON, "-c", example]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (ran.returncode, complaints(ran.stderr)) == (0, "")
    info, *exchanges = ran.stdout.splitlines()
    assert info.startswith("Info(")
    assert len(exchanges) == 7


@pytest.mark.parametrize("dialect", [*Dialect])
def test_the_curl_example_is_answered(dialect: Dialect) -> None:
    """The url and the headers of the curl line get the account's balance."""
    with running_sandbox("--dialect", dialect) as (_, printed):
        line = next(line for line in printed.splitlines() if line.startswith("curl"))
        headers = dict(re.findall(r'-H "([^:]+): ([^"]+)"', line))
        url = line.split('"')[-2]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(url, headers=headers)
        with opener.open(request, timeout=SECONDS) as answer:
            assert answer.status == HTTPStatus.OK
            assert b'"balance"' in answer.read()


def test_ctrl_c_leaves_nothing_on_stderr() -> None:
    """A real process ends with 0, without a traceback or a warning."""
    with running_sandbox() as (process, _):
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, rest, complaints(errors)) == (0, "\nstopped\n", "")


def test_a_port_in_use_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The line names the port and what to do; exit code 2."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["sandbox", "--rows", "1", "--port", str(port)]) == 2
    assert capsys.readouterr().err == (
        f"ppapi sandbox: cannot listen on port {port}: Address already in use;"
        " pass another --port, or 0 for any free one\n"
    )


def test_a_failure_without_a_number_is_told_in_its_own_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An OSError need not have an errno."""

    async def fail(_: object) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(Sandbox, "start", fail)
    assert cli.main(["sandbox", "--rows", "1", "--port", "0"]) == 2
    assert "no network here; pass another --port" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("deamon", "'deamon'"),
        ("sandbox --rows many", "--rows: 'many': pass a whole number from 0 to"),
        ("sandbox --rows -1", "--rows: '-1'"),
        ("sandbox --port 65536", "--port: '65536': pass a whole number from 0 to 65535"),
        ("sandbox --dialect modern", "'modern' is none; choose from classic"),
        ("sandbox --timezone Mars/Olympus", "'Mars/Olympus' is unknown; pass one such as"),
        ("sandbox --timezone /etc", "--timezone: '/etc' is unknown"),
        ("sandbox --timezone=", "--timezone: '' is unknown"),
        ("sandbox --seed one", "--seed"),
        ("sandbox --key ключ", "--key: pass letters, digits and signs of ASCII"),
        ("sandbox --key=", "--key: pass letters"),
        ("sandbox --dialect delegating --cap 0", "--cap: '0'"),
        ("sandbox --dialect delegating --cap 9,x", "--cap: 'x'"),
        ("sandbox --ties any", "'shuffled'"),
        ("sandbox --cap 100", "--cap: classic sites send all rows in one answer"),
        ("demo --rows 0", "--rows: '0'"),
        ("demo --fast", "--fast"),
    ],
)
def test_bad_input_is_one_clear_line(
    arguments: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on stderr that names the argument, nothing on stdout, exit code 2."""
    assert cli.main(arguments.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert named in printed.err


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    """Both go to stdout and end with 0, as everywhere."""
    for argument, shown in (("--help", "sandbox"), ("--version", __version__)):
        assert cli.main([argument]) == 0
        assert shown in capsys.readouterr().out


def test_python_m_runs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m ppapi_async` exits with what `main` returns."""
    monkeypatch.setattr(sys, "argv", ["ppapi_async", "nonsense"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("ppapi_async", run_name="__main__")
    assert ended.value.code == 2
    assert "'nonsense'" in capsys.readouterr().err


def test_importing_the_command_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who walks through the package's modules, as documentation tools do, starts nothing."""

    def main() -> int:
        raise AssertionError("it ran")

    monkeypatch.setattr(cli, "main", main)
    assert runpy.run_module("ppapi_async.__main__", run_name="elsewhere")["main"] is main

"""Programs that print a key: the terminal that they may ask at, and how they are ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ppapi_async import files
from ppapi_async.files import Stop, exposed_programs

PRINTS = [sys.executable, "-c", "print('k-1')"]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no groups")


class Terminal:
    """Stands in for the terminal of this process."""

    def __init__(self, in_front: int, *, is_gone: bool = False) -> None:
        self.in_front, self.is_gone = in_front, is_gone
        self.handed_to: list[int] = []

    def put_in_place(self, patch: pytest.MonkeyPatch) -> None:
        """Let `/dev/tty` be this one."""
        opened = os.open

        def open_it(path: str, flags: int, mode: int = 0o777) -> int:
            return opened(os.devnull if path == "/dev/tty" else path, flags, mode)

        patch.setattr(os, "open", open_it)
        patch.setattr(os, "tcgetpgrp", lambda _: self.in_front)
        patch.setattr(os, "tcsetpgrp", self._hand_to)

    def _hand_to(self, _: int, group: int) -> None:
        self.handed_to.append(group)
        if self.is_gone:
            raise OSError("the terminal was closed")


@pytest.mark.parametrize("is_gone", [False, True])
def test_the_terminal_is_lent_and_taken_back(
    is_gone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program may ask for a passphrase; afterwards this process is in front again."""
    terminal = Terminal(os.getpgrp(), is_gone=is_gone)
    terminal.put_in_place(monkeypatch)
    assert files.run(PRINTS, tmp_path, 60, 1_000) == b"k-1\n"
    program, own = terminal.handed_to
    assert own == os.getpgrp() != program


def test_the_terminal_of_another_program_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs in the background has no terminal to lend."""
    terminal = Terminal(os.getpgrp() + 1)
    terminal.put_in_place(monkeypatch)
    assert files.run(PRINTS, tmp_path, 60, 1_000) == b"k-1\n"
    assert terminal.handed_to == []


def test_ctrl_c_at_the_terminal_ends_this_program_too(tmp_path: Path) -> None:
    """The terminal tells only the program in front, which is the one that prints the key."""
    code = "import os, signal; signal.signal(signal.SIGINT, signal.SIG_DFL);"
    code += "os.kill(os.getpid(), signal.SIGINT)"
    with pytest.raises(KeyboardInterrupt):
        files.run([sys.executable, "-c", code], tmp_path, 60, 1_000)


@pytest.mark.parametrize(
    ("code", "seconds", "printed"),
    [
        ("print('k-1', end='')", 60.0, b"k-1"),
        ("print('k' * 5000)", 60.0, Stop.TOO_MUCH),
        ("import time; time.sleep(60)", 0.01, Stop.LATE),
    ],
    ids=["prints", "prints too much", "is late"],
)
def test_the_way_of_windows(code: str, seconds: float, printed: bytes | Stop) -> None:
    """There the program alone is waited for; its pipe cannot be looked into."""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        try:
            assert files._read_from_windows(process, seconds, 1_000) == printed
        finally:
            process.send_signal(signal.SIGKILL)


def test_programs_that_are_no_files_are_not_warned_about(tmp_path: Path) -> None:
    """That they cannot be run is told where they are."""
    paths = [str(path) for path in (tmp_path / "missing", tmp_path, Path("a\0b"))]
    assert exposed_programs(paths, tmp_path) == []

"""Files of accounts that others may have touched, keys in files and of commands, odd files."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import socket
import stat
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ppapi_async import Secret
from ppapi_async.accounts_file import Report, load_accounts
from tests.account.conftest import Write
from tests.account.test_accounts_file import (
    KEYS,
    ON_POSIX,
    PLAIN,
    PYTHON,
    one,
    refusal,
)
from tests.leaks import assert_absent, find


def _is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie, whose parent has yet to look, does not."""
    stat_file = Path(f"/proc/{pid}/stat")
    try:
        return stat_file.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes of Linux")
@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("sleep 60 & echo $! > child; echo k-1", None),
        ("sleep 60 & echo $! > child; exit 3", "failed with exit code 3"),
        ("sleep 60 & echo $! > child; wait", "took more than 1 s and was ended"),
        ("(sleep 60; true) & echo $! > child; exec yes", "printed more than 64 KB"),
        ("sleep 60 & echo $! > child; exec >&-; sleep 0.1; exit 0", "api_key"),
    ],
    ids=["ends well", "fails", "hangs", "prints", "closes its output"],
)
def test_commands_leave_nothing_behind(
    write: Write, tmp_path: Path, line: str, problem: str | None
) -> None:
    """What a program has started has its pipe, and was waited for; it ends with the program."""
    started = time.monotonic()
    path = write(one(f"key_command = ['sh', '-c', '{line}']"))
    if problem is None:
        assert load_accounts(path)[0].api_key == Secret("k-1")
    else:
        (complaint,) = refusal(path, command_timeout=1)
        assert problem in complaint or "is empty" in complaint
    assert time.monotonic() - started < 30
    child = int((tmp_path / "child").read_text())
    for _ in range(1_000):
        if not _is_alive(child):
            break
        time.sleep(0.001)  # the system ends it at once, in its own time
    assert not _is_alive(child)


@ON_POSIX
def test_commands_may_ask_at_the_terminal(write: Write) -> None:
    """A program in a group of its own is in the background, and was stopped when it asked."""
    code = "t = open('/dev/tty', 'r+b', 0); t.write(b'Key? '); print(t.readline().decode())"
    path = write(one(f"key_command = [{PYTHON}, '-c', {json.dumps(code)}]"))
    program = (
        "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "from ppapi_async import load_accounts\n"
        "account = load_accounts(sys.argv[1])[0]\n"
        "assert os.tcgetpgrp(0) == os.getpgrp()\n"
        "print(account.api_key.reveal().upper())"
    )
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        while b"Key? " not in shown:
            shown += os.read(ours, 1_000)
        os.write(ours, b"k-typed\n")
        while b"K-TYPED" not in shown:
            shown += os.read(ours, 1_000)
    os.close(ours)
    assert process.returncode == 0


ODD_FILES: Mapping[str, Callable[[Path], None]] = {
    "pipe that nobody writes": lambda path: os.mkfifo(str(path)),
    "directory": lambda path: path.mkdir(),
    "device without an end": lambda path: path.symlink_to("/dev/zero"),
    "device": lambda path: path.symlink_to("/dev/null"),
    "socket": lambda path: _bind(path.parent, path.name),
}


TOLD_OF_ODD = "nobody has finished writing|is a directory|is a device|is a socket"


def _bind(directory: Path, name: str) -> None:
    here = Path.cwd()
    os.chdir(directory)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(name)
    finally:
        os.chdir(here)


@ON_POSIX
@pytest.mark.parametrize("kind", ODD_FILES)
def test_what_is_no_file_is_refused_at_once(write: Write, tmp_path: Path, kind: str) -> None:
    """As the file of accounts and as a file of a key: nothing waits, and nothing is read on."""
    odd = tmp_path / "odd"
    ODD_FILES[kind](odd)
    started = time.monotonic()
    with pytest.raises(OSError, match=TOLD_OF_ODD):
        load_accounts(odd, command_timeout=0.1)
    (complaint,) = refusal(write(one(f"key_file = '{odd}'")), command_timeout=0.1)
    assert re.search(TOLD_OF_ODD, complaint)
    assert time.monotonic() - started < 30


@ON_POSIX
def test_a_pipe_that_is_never_closed_is_given_up(write: Write, tmp_path: Path) -> None:
    """Whoever writes without an end is not waited for beyond the time-out or the size."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    path = write(one("key_file = 'pipe'"))
    keep = os.open(pipe, os.O_RDWR)
    try:
        os.write(keep, PLAIN.encode())
        (complaint,) = refusal(path, command_timeout=0.1)
        assert "nobody has finished writing to this pipe" in complaint
    finally:
        os.close(keep)


def test_files_are_bounded(write: Write) -> None:
    """4 MB of accounts, 64 KB of a key; what is larger is not read to its end."""
    with pytest.raises(OSError, match="is larger than 4096 KB"):
        load_accounts(write(b"#" * (4 * 1024 * 1024 + 1)))
    write(b"k" * (64 * 1024 + 1), "key")
    (complaint,) = refusal(write(one("key_file = 'key'")), "k" * 100)
    assert "this file cannot be read: is larger than 64 KB" in complaint


@ON_POSIX
def test_files_that_others_can_replace_are_warned_of(write: Write, tmp_path: Path) -> None:
    """Whoever can write to its directory can put another in its place."""
    write(PLAIN, "keys/one")
    path = write(one("key_file = 'keys/one'"))
    (tmp_path / "keys").chmod(0o777)
    (complaint,) = warned(path)
    assert complaint.startswith(
        f"{tmp_path / 'keys' / 'one'}: others can replace it, for they can write"
    )
    (tmp_path / "keys").chmod(0o1777)  # as /tmp is
    assert warned(path) == []
    tmp_path.chmod(0o777)
    (complaint,) = warned(path)
    assert complaint.startswith(f"{path}: others can replace it")
    tmp_path.chmod(0o700)


@ON_POSIX
def test_files_of_others_are_warned_of(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a link leads to one. Root's are as good as one's own."""
    write(PLAIN, "key")
    path = write(one("key_file = 'link'"))
    (tmp_path / "link").symlink_to("key")
    assert warned(path) == []
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    if own:
        complaint = warned(path)
        assert [text.partition(": ")[2].partition(",")[0] for text in complaint] == [
            "it belongs to another user",
        ] * 2
    else:
        assert warned(path) == []
        os.chown(tmp_path / "key", 12_345, -1)
        (text,) = warned(path)
        assert text.startswith(f"{tmp_path / 'link'}: it is a link to a file of another user")


@ON_POSIX
@pytest.mark.parametrize("as_argument", [False, True])
def test_commands_that_others_can_change_are_warned_of(
    write: Write, tmp_path: Path, as_argument: bool
) -> None:
    """Before they run, as a program and as a script for one; once for all accounts."""
    script = write("#!/bin/sh\n[ -e ran ] || touch ran; echo k-1", "get key", mode=0o722)
    command = ["sh", "./get key"] if as_argument else [str(script)]
    path = write(
        f"[defaults]\nkey_command = {json.dumps(command)}\n" + one("") + one("name = 'two'")
    )
    (complaint,) = warned(path)
    assert complaint.startswith(
        f"{script}: it is run to get a key, and others can change it; run: chmod"
    )
    (tmp_path / "ran").unlink()
    with pytest.raises(UserWarning, match="it is run to get a key"):
        load_accounts(path)
    assert not (tmp_path / "ran").exists()
    subprocess.run(shlex.split(complaint.partition("run: ")[2]), check=True)
    assert warned(path) == []


def test_commands_run_last_and_until_one_fails(write: Write, tmp_path: Path) -> None:
    """Not before all else is right, and nobody is asked twice by a locked store."""
    code = "import sys; open(sys.argv[1], 'w').close(); sys.exit(sys.argv[1] == 'b')"
    text = f"""
        [defaults]
        key_command = [{PYTHON}, "-c", {json.dumps(code)}, "{{name}}"]
        [[accounts]]
        name = "a"
        url = "https://a.example"
        key_command = [{PYTHON}, "-c", "open('a', 'w').close(); print('{PLAIN}')"]
        [[accounts]]
        name = "b"
        url = "https://b.example"
        [[accounts]]
        name = "c"
        url = "https://c.example"
        [[accounts]]
        url = "https://d.example"
        key_file = "key"
    """
    (complaint,) = refusal(write(text))
    assert "accounts[3]: key_file" in complaint
    assert not (tmp_path / "a").exists()
    write("k", "key")
    (complaint,) = refusal(write(text))
    assert complaint.startswith("8: accounts[1] 'b': key_command: ")
    assert [(tmp_path / name).exists() for name in "abc"] == [True, True, False]


def warned(path: Path) -> list[str]:
    """Return the warnings that a file gives; each points at the line here."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_accounts(path)
    assert {(w.category, w.filename) for w in caught} <= {(UserWarning, __file__)}
    for one_of_them in caught:
        assert_absent(PLAIN, str(one_of_them.message))
    return [str(w.message) for w in caught]


LINK = f"[[accounts]]\nlink = 'https://one.example/?api_key={PLAIN}'"


@ON_POSIX
@pytest.mark.parametrize(
    ("fields", "mode", "complaint"),
    [
        (one(f"api_key = '{PLAIN}'"), 0o600, None),
        (one(f"api_key = '{PLAIN}'"), 0o400, None),
        (one(f"api_key = '{PLAIN}'"), 0o644, "others can read it, and it holds a key"),
        (one(f"api_key = '{PLAIN}'"), 0o640, "others can read it, and it holds a key"),
        (one(f"api_key = '{PLAIN}'"), 0o620, "others can change it, and it holds a key"),
        (LINK, 0o604, "others can read it, and it holds a key"),
        (LINK, 0o666, "others can read and change it, and it holds a key"),
        (one("key_env = 'THE_KEY'"), 0o644, None),
        (one("key_env = 'THE_KEY'"), 0o602, "others can change it, and it says what is run"),
        (one("key_env = 'THE_KEY'"), 0o664, "others can read and change it, and it says what"),
    ],
)
def test_open_files_are_warned_of(
    write: Write, monkeypatch: pytest.MonkeyPatch, fields: str, mode: int, complaint: str | None
) -> None:
    """A file with keys that others can read, and any that others can change."""
    monkeypatch.setenv("THE_KEY", PLAIN)
    path = write(fields, "it's here.toml", mode=mode)
    found = warned(path)
    assert len(found) == (complaint is not None)
    for warning in found:
        assert warning.startswith(f"{path}: {complaint}")
        command = warning.partition("run: ")[2]
        subprocess.run(shlex.split(command), check=True)  # it is meant to be pasted
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@ON_POSIX
def test_open_key_files_are_warned_of(write: Write) -> None:
    """A file of a key, too; the accounts file that only names it may be read."""
    key_file = write(PLAIN, "key", mode=0o640)
    path = write(one("key_file = 'key'"), mode=0o644)
    complaint = f"{key_file}: others can read it, and it holds a key; run: chmod 600 {key_file}"
    assert warned(path) == [complaint]


@ON_POSIX
def test_warnings_come_with_errors(write: Write) -> None:
    """An open file is warned of although something is wrong in it; as an error it shows no key."""
    path = write(one(f"api_key = '{PLAIN}'\ntimezone = 'x'"), mode=0o644)
    with pytest.warns(UserWarning, match="chmod 600"), pytest.raises(ValueError, match="timezone"):
        load_accounts(path)
    with pytest.raises(UserWarning, match="chmod 600") as caught:  # as pytest is set up here
        load_accounts(path)
    assert_absent(PLAIN, caught.value)


@ON_POSIX
def test_warnings_come_before_commands(write: Write, tmp_path: Path) -> None:
    """Who makes an error of the warning runs nothing that others have written; no key shows."""
    text = one(f"name = 'my {PLAIN}'\nkey_command = ['touch', 'ran']") + LINK.replace("one", "two")
    with pytest.raises(UserWarning, match="others can change it") as caught:
        load_accounts(write(text, mode=0o602))
    assert not (tmp_path / "ran").exists()
    assert_absent(PLAIN, caught.value)


@ON_POSIX
def test_pipes_are_not_warned_of(tmp_path: Path) -> None:
    """A decrypted file may come through a pipe, which is read once; its mode means nothing."""
    pipe = tmp_path / "accounts.toml"
    os.mkfifo(pipe)
    pipe.chmod(0o666)
    content = one(f"api_key = '{PLAIN}'")
    writer = threading.Thread(target=pipe.write_text, args=(content,))
    writer.start()
    assert load_accounts(pipe)[0].api_key == Secret(PLAIN)
    writer.join()


def test_no_modes_on_windows(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows' modes say nothing of who may read a file."""
    path = write(one(f"api_key = '{PLAIN}'"), mode=0o666)
    monkeypatch.setattr(sys, "platform", "win32")
    assert load_accounts(path)[0].api_key == Secret(PLAIN)


@given(key=KEYS, before=st.text("'\"\\ z", max_size=3), after=st.text("'\"\\ z", max_size=3))
@example(key="it's=the+key", before='"', after="")
@example(key="the\\key\"it's", before="", after="")
def test_keys_in_other_fields_are_not_shown(key: str, before: str, after: str) -> None:
    """However repr writes a key within a value, it is not in the message."""
    report = Report("-", keys=[Secret(key)])
    report.add("", "", repr(before + key + after))
    assert "***" in report.text()
    assert find(key, report.text()) is None


def test_frames_hold_secrets_only(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """While keys are fetched, no frame of the package holds the text of the file or a key."""
    shown: list[str] = []

    def look(*_: object, **__: object) -> Secret:
        frame = inspect.currentframe()
        while (frame := frame and frame.f_back) is not None:
            if (
                "accounts_file" in frame.f_code.co_filename
                and "tests" not in frame.f_code.co_filename
            ):
                shown.append(f"{frame.f_code.co_qualname}: {frame.f_locals!r}")
        return Secret("k")

    monkeypatch.setattr("ppapi_async.accounts_file._key_of_variable", look)
    path = write(
        one(f"api_key = '{PLAIN}'\napi_login = '{PLAIN}'")
        + f"{LINK.replace('one.', 'two.')}\nname = 'x'\n"
        + "[[accounts]]\nurl = 'https://three.example'\nkey_env = 'X'\n"
    )
    load_accounts(path)
    assert any("load_accounts" in text for text in shown)
    assert [find(PLAIN, text) for text in shown if find(PLAIN, text)] == []

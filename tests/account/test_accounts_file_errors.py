"""What is wrong in a file of accounts, and on which line."""

from __future__ import annotations

import inspect
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from ppapi_async import Secret, accounts_file, files
from ppapi_async.accounts_file import load_accounts
from tests.account.conftest import Write
from tests.account.test_accounts_file import (
    KEY,
    ON_POSIX,
    PLAIN,
    PYTHON,
    one,
    printing,
    refusal,
)
from tests.leaks import assert_absent

# After `#!` stands how the message about the line begins; a line may have two.
WRONG: Mapping[str, str] = {
    "unknown": """
        [[accounts]]
        url = "https://a.example"
        apikey = "PLAIN" #! accounts[0]: apikey: is unknown; did you mean api_key?
        api-login = "PLAIN" #! accounts[0]: api-login: is unknown; did you mean api_login?
        colour = "PLAIN" #! accounts[0]: colour: is unknown; there are url, name, api_key, link,
        PLAIN = "" #! accounts[0]: a field: is unknown; there are url,
        "it's PLAIN" = "" #! accounts[0]: a field: is unknown; there are url,
        """,
    "unknown at the top": """
        acounts = [ #! acounts: is unknown; did you mean accounts?
            {api_key = "PLAIN"}
        ]
        api_key = "PLAIN" #! api_key: goes into an account, below [[accounts]]
        [default] #! default: is unknown; did you mean defaults?
        timezone = "UTC"
        """,
    "wrong defaults": """
        [defaults]
        api_key = "PLAIN" #! defaults: api_key: goes into an account, below [[accounts]]
        name = "PLAIN" #! defaults: name: goes into an account, below [[accounts]]
        tz = "PLAIN" #! defaults: tz: is unknown; there are timezone, dialect, allow_http, proxy, k
        [[accounts]]
        url = "https://a.example"
        [[accounts]]
        nme = "x" #! accounts[1]: nme: is unknown; did you mean name?
        """,
    "wrong types": """
        [[accounts]]
        url = 5 #! accounts[0]: url: is a number; write text in quotes
        name = ["PLAIN"] #! accounts[0]: name: is a list; write text in quotes
        api_key = 123456789123456789 #! accounts[0]: api_key: is a number; write text in quotes
        api_login = {x = "PLAIN"} #! accounts[0]: api_login: is a table; write text in quotes
        timezone = 2026-01-31 #! accounts[0]: timezone: is a time; write text in quotes
        key_env = 1.5 #! accounts[0]: key_env: is a number; write text in quotes
        key_file = true #! accounts[0]: key_file: is true or false; write text in quotes
        allow_http = "PLAIN" #! accounts[0]: allow_http: write true or false, without quotes
        key_command = "'PLAIN" #! accounts[0]: key_command: has a quotation mark that is not closed
        dialect = "PLAIN" #! accounts[0]: dialect: write one of classic, delegating, clone, user-
        """,
    "commands that are none": """
        [[accounts]]
        key_command = [] #! accounts[0]: key_command: write a list of arguments, such as ["pass",
        [[accounts]]
        key_command = ["PLAIN", 5] #! accounts[1]: key_command: write a list of arguments
        [[accounts]]
        key_command = " " #! accounts[2]: key_command: write a list of arguments
        [[accounts]]
        key_command = {x = "PLAIN"} #! accounts[3]: key_command: write a list of arguments
        """,
    "nested tables": """
        [defaults.zone] #! defaults: zone: is unknown; did you mean timezone?
        timezone = 1
        [defaults]
        timezone = 3 #! defaults: timezone: is a number; write text in quotes
        [[accounts]]
        [accounts.api_key] #! accounts[0]: api_key: is a table; write text in quotes
        value = "PLAIN"
        name = "PLAIN"
        [[accounts.keys]] #! accounts[0]: keys: is unknown; there are url,
        x = "PLAIN"
        [[accounts]]
        url.x = "https://a.example" #! accounts[1]: url: is a table; write text in quotes
        """,
    "dotted defaults": """
        defaults.timezone = 3 #! defaults: timezone: is a number; write text in quotes
        defaults.dialect = "PLAIN" #! defaults: dialect: write one of classic, delegating, clone,
        [[accounts]]
        """,
    "inline tables": """
        defaults = {allow_http = "PLAIN"} #! defaults: allow_http: write true or false
        accounts = [ #! accounts[0] 'x': timezone: is a number #! accounts[1]: is a number; write a
            {name = "x", api_key = "PLAIN", timezone = 3},
            5,
        ]
        """,
    "defaults that are no table": """
        defaults = "PLAIN" #! defaults: is text; write a table
        """,
    "one bracket": """
        [accounts] #! accounts: write [[accounts]], with two brackets, above each account
        api_key = "PLAIN"
        """,
    "no url, no key, two keys": """
        [[accounts]] #! accounts[0]: url: is missing; write url = "https://site.example"
        api_key = "PLAIN"
        [[accounts]] #! accounts[1]: has no key; write one of api_key, link, key_env, key_file, key_
        url = "https://a.example"
        [[accounts]]
        url = "https://a.example"
        key_env = "X" #! accounts[2]: key_env: is a source of the key, as is api_key; leave one
        api_key = "PLAIN"
        [[accounts]]
        url = "https://a.example?api_key=PLAIN"
        link = "https://a.example?api_key=PLAIN" #! accounts[3]: link: has the url already; leave
        """,
    "two default sources": """
        [defaults]
        key_file = "x" #! defaults: key_file: is a source of the key, as is key_env; leave one
        key_env = "X"
        [[accounts]]
        url = "https://a.example"
        [[accounts]]
        url = "https://b.example"
        """,
    "what Account refuses": """
        [[accounts]]
        url = "http://a.example" #! accounts[0]: url: http would send the key readable for all; pass
        api_key = "PLAIN"
        [[accounts]]
        url = "https://b.example/?api_key=PLAIN" #! accounts[1]: url: has a query; write the link
        api_key = "PLAIN"
        [[accounts]]
        link = "http://c.example/api.html?api_key=PLAIN" #! accounts[2]: link: http would send the
        [[accounts]]
        link = "https://c.example/api.html" #! accounts[3]: link: has no api_key; copy it from the
        [[accounts]]
        link = "c.example/?api_key=PLAIN" #! accounts[4]: link: has no scheme or no host; pass
        [[accounts]]
        url = "https://d.example"
        api_key = "PLAIN and more" #! accounts[5]: api_key: holds white space or characters that
        [[accounts]]
        url = "https://e.example"
        name = "my PLAIN" #! accounts[6] 'my ***': name: holds the key; errors and logs show the
        api_key = "PLAIN"
        [[accounts]]
        url = "https://f.example"
        name = "Mars"
        api_key = "ODD"
        timezone = "Mars/PLAIN/ODD" #! accounts[7] 'Mars': timezone: 'Mars/***/***' is unknown; pass
        [[accounts]]
        url = "https://g.example"
        dialect = "user-api"
        api_key = "" #! accounts[8]: api_key: is empty; the site shows it in the partner's account
        api_login = "me"
        """,
    "a wrong default, once": """
        [defaults]
        timezone = "Mars/One" #! defaults: timezone: 'Mars/One' is unknown; pass a name such as
        [[accounts]]
        url = "https://a.example"
        api_key = "PLAIN"
        [[accounts]]
        url = "https://b.example"
        api_key = "PLAIN"
        [[accounts]]
        url = "https://c.example"
        api_key = "PLAIN"
        timezone = "Mars/Two" #! accounts[2]: timezone: 'Mars/Two' is unknown; pass a name such as
        """,
    "names twice": """
        [[accounts]]
        url = "https://a.example"
        api_key = "PLAIN"
        [[accounts]] #! accounts[1]: name: 'a.example' is that of accounts[0], too; give each
        url = "https://a.example/api.html"
        api_key = "PLAIN"
        [[accounts]]
        url = "https://b.example"
        name = "a.example" #! accounts[2] 'a.example': name: 'a.example' is that of accounts[0], too
        api_key = "PLAIN"
        """,
    "keys that are not there": """
        [[accounts]]
        url = "https://a.example"
        key_env = "NO_SUCH_KEY_HERE" #! accounts[0]: key_env: 'NO_SUCH_KEY_HERE' is not set in the
        [[accounts]]
        url = "https://b.example"
        key_env = "PLAIN" #! accounts[1]: key_env: this variable is not set in the environment;
        [[accounts]]
        url = "https://c.example"
        key_file = "PLAIN/PLAIN" #! accounts[2]: key_file: this file cannot be read: No such file or
        [[accounts]]
        url = "https://d.example"
        name = "d"
        key_file = "keys/{name}" #! accounts[3] 'd': key_file: 'keys/d' cannot be read: No such file
        [[accounts]]
        url = "https://e.example"
        key_file = "~no-such-user/PLAIN" #! accounts[4]: key_file: this file cannot be read: not a
        [[accounts]]
        url = "https://f.example"
        key_file = "\\u0000PLAIN" #! accounts[5]: key_file: this file cannot be read: not a path;
        """,
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(write: Write, name: str) -> None:
    """All problems at once, each with its line, table and field, and without any key."""
    text = inspect.cleandoc(WRONG[name]).replace("PLAIN", PLAIN)
    expected = [
        f"{number}: {problem.strip()}"
        for number, line in enumerate(text.split("\n"), 1)
        for problem in line.split("#!")[1:]
    ]
    message = refusal(write(text.replace("ODD", json.dumps(KEY)[1:-1])))
    assert [line[: len(start)] for line, start in zip(message, expected, strict=True)] == expected


@pytest.mark.parametrize("text", ["", "# none\n", "accounts = []", '[defaults]\ndialect = "clone"'])
def test_no_accounts(write: Write, text: str) -> None:
    """A file without accounts is refused with what to write into it."""
    (message,) = refusal(write(text))
    assert message == (
        ' has no accounts; write for each [[accounts]], and below it url = "https://site.example"'
        ' and key_env = "SITE_KEY"'
    )


def test_advice_is_for_files(write: Write) -> None:
    """What `Account` says to pass is said as one writes it in a file."""
    (message,) = refusal(write("[[accounts]]\nurl = 'http://a.example'\napi_key = 'k'"))
    assert message.endswith("; pass https, or write allow_http = true")
    (message,) = refusal(write("[[accounts]]\nurl = 'https://a.example?x'\napi_key = 'k'"))
    assert message.endswith(
        "has a query; write the link that a site shows as link = …, in place of url"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"[[accounts]]\napi_key = {PLAIN}\n", "2: is not TOML: Invalid value at column 11; text"),
        (f'[[accounts]]\napi_key = "{PLAIN}', "2: is not TOML: Unterminated string"),
        (f'"{PLAIN}" = 1\n[{PLAIN}]\n', "2: is not TOML: Cannot overwrite a value at column"),
        (f"[{PLAIN}]\n[{PLAIN}]\n", "2: is not TOML: Cannot declare … twice at column"),
        (f"[{PLAIN}]\n[{PLAIN}]", "2: is not TOML: Cannot declare … twice"),
        (f"a = {{{PLAIN} = 1, {PLAIN} = 2}}", "1: is not TOML: Duplicate inline table key …"),
        (f'a = {{"it\'s {PLAIN}" = 1, "it\'s {PLAIN}" = 2}}', "1: is not TOML: Duplicate inline"),
        (f'a = {{"{PLAIN}" = 1}}\n[a."{PLAIN}".b]', "2: is not TOML: Cannot "),
        (f'{PLAIN} "{PLAIN}"', "1: is not TOML: Expected '=' after a key in a key/value pair at"),
        (f"[[{PLAIN}]\n", "1: is not TOML: Expected ']]' at the end of an array declaration at"),
        (f'a = "{PLAIN}\\z"', "1: is not TOML: Unescaped '\\' in a string at column"),
        (f'a = "{PLAIN}\x01"', "1: is not TOML: Illegal character … at column"),
        (f"k = '{PLAIN}'\nx = {'1' * 5000}", "cannot be read; is a number in it too long?"),
        (f"k = '{PLAIN}'\nx = {'[' * 5000}", "is nested too deeply"),
        (b"k = '" + PLAIN.encode() + b"'\n\n# \xff", "3: is not UTF-8; save it as such"),
        (f"k = '{PLAIN}'".encode("utf-16"), "1: is not UTF-8; save it as such"),
    ],
    ids=itertools.count(),  # the path, which is shown, has the id in it
)
def test_what_is_not_toml(write: Write, text: str | bytes, problem: str) -> None:
    """Syntax errors have a line, and quote nothing of the file."""
    (message,) = refusal(write(text))
    assert message.strip().startswith(problem)


def test_windows_files_have_lines(write: Write) -> None:
    """CRLF and a BOM do not shift lines."""
    path = write("\ufeff# one\r\n[[accounts]]\r\nurl = 3\r\n")
    assert refusal(path) == ["3: accounts[0]: url: is a number; write text in quotes"]


def test_lines_are_a_courtesy(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose lines are not understood is a good file all the same."""

    def confused(_: str) -> dict[tuple[str, str], int]:
        raise ValueError

    monkeypatch.setattr(accounts_file, "lines_of", confused)
    assert load_accounts(write(one('api_key = "k"')))[0].name == "one.example"


def test_a_missing_file(tmp_path: Path) -> None:
    """It stays a FileNotFoundError with its attributes, and says what to write."""
    path = tmp_path / "none.toml"
    with pytest.raises(FileNotFoundError, match=r"\[\[accounts\]\]") as caught:
        load_accounts(path)
    assert caught.value.filename == str(path)
    assert caught.value.__suppress_context__


def test_wrong_arguments(write: Write, tmp_path: Path) -> None:
    """The path is one, and the time-out is a time above zero."""
    path = write(one('api_key = "k"'))
    assert load_accounts(str(path), command_timeout=timedelta(seconds=1))
    with pytest.raises(TypeError):
        load_accounts(5)  # type: ignore[arg-type]
    with pytest.raises(OSError, match=re.escape(tmp_path.name)):
        load_accounts(tmp_path)
    for wrong in ("30", True, None):
        with pytest.raises(TypeError, match="command_timeout"):
            load_accounts(path, command_timeout=wrong)  # type: ignore[arg-type]
    for never in (0, -1, float("inf"), float("nan"), timedelta()):
        with pytest.raises(ValueError, match="command_timeout"):
            load_accounts(path, command_timeout=never)


def test_short_keys_do_not_spoil_messages(write: Write) -> None:
    """A key of a letter or two is no secret, and is in every message."""
    (message,) = refusal(write(one('api_key = "e"\ntimezone = "x"')))
    assert message == (
        "4: accounts[0]: timezone: 'x' is unknown; pass a name such as 'Europe/Moscow'"
    )


def test_variables(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account's own variable comes before the default; a value that is no key is refused."""
    monkeypatch.setenv("OWN", "k-own")
    monkeypatch.setenv("KEY_one.example", "k-default")
    defaults = '[defaults]\nkey_env = "KEY_{name}"\n'
    assert load_accounts(write(defaults + one("")))[0].api_key == Secret("k-default")
    assert load_accounts(write(defaults + one("key_env = 'OWN'")))[0].api_key == Secret("k-own")
    monkeypatch.setenv("OWN", f"{PLAIN} {KEY}")
    (message,) = refusal(write(one("key_env = 'OWN'")))
    assert message.startswith("3: accounts[0]: key_env: holds white space")
    monkeypatch.setenv("OWN", PLAIN)
    (message,) = refusal(write(one(f"name = 'my {PLAIN}'\nkey_env = 'OWN'")))
    assert message == "3: accounts[0] 'my ***': name: holds the key; errors and logs show the name"
    monkeypatch.delenv("KEY_one.example")
    (message,) = refusal(write(defaults + one("")))
    assert message.startswith("3: accounts[0]: key_env: 'KEY_one.example' is not set")


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("one.example", "KEY_one_example"),
        ("one.example:8080", "KEY_one_example_8080"),
        ("обмен.рф", "KEY_________"),
        ("My shop", "KEY_My_shop"),
    ],
    ids=["host", "port", "IDN", "blank"],
)
def test_variables_that_a_shell_can_export(
    write: Write, monkeypatch: pytest.MonkeyPatch, name: str, variable: str
) -> None:
    """`export KEY_one.example=…` is an error in every shell: the key may be in KEY_one_example."""
    text = one(f"name = '{name}'\nkey_env = 'KEY_{{name}}'")
    (message,) = refusal(write(text))
    assert message == (
        f"4: accounts[0] '{name}': key_env: 'KEY_{name}' is not set in the environment, and no"
        f" shell can export it; set '{variable}', or use key_file or key_command"
    )
    monkeypatch.setenv(variable, "k-exported")
    assert load_accounts(write(text))[0].api_key == Secret("k-exported")
    monkeypatch.setenv(f"KEY_{name}", "k-exact")  # as containers can
    assert load_accounts(write(text))[0].api_key == Secret("k-exact")


def test_a_variable_does_not_begin_with_a_digit(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host may; a shell takes such a name for a command."""
    text = one("name = '1.example'\nkey_env = '{name}'")
    (message,) = refusal(write(text))
    assert "set '_1_example', or use" in message
    monkeypatch.setenv("_1_example", "k-exported")
    assert load_accounts(write(text))[0].api_key == Secret("k-exported")


@pytest.mark.parametrize("other", ["key_env = 'KEY_{name}'\nname = 'a_b'", "key_env = 'KEY_a_b'"])
def test_a_key_is_never_sent_to_another_site(
    write: Write, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """Where two accounts come to one variable, only the one that is called so has the key."""
    monkeypatch.setenv("KEY_a_b", PLAIN)
    first, second = one("name = 'a.b'\nkey_env = 'KEY_{name}'"), one(other)
    (message,) = refusal(write(first + second))
    assert message == (
        "4: accounts[0] 'a.b': key_env: 'KEY_a.b' is not set in the environment, and no shell can"
        " export it; 'KEY_a_b' could be for another account, too; give this one its own key_env,"
        " or use key_file or key_command"
    )
    monkeypatch.setenv("KEY_a.b", "k-exact")
    keys = [account.api_key.reveal() for account in load_accounts(write(first + second))]
    assert keys == ["k-exact", PLAIN]


def test_a_key_in_place_of_a_variable_is_not_told(write: Write) -> None:
    """What is no template may be a key: neither it nor its like for a shell is repeated."""
    (message,) = refusal(write(one(f"key_env = '{KEY[:3]}.{PLAIN}'")))
    assert message == (
        "3: accounts[0]: key_env: this variable is not set in the environment;"
        " write the name of a variable, not the key"
    )


@pytest.mark.parametrize("content", ["k-1", "k-1\n", "k-1\r\n", "\ufeffk-1\n\n"])
def test_files_of_keys(write: Write, content: str) -> None:
    """Line ends after the key are no part of it; the path starts at the accounts file."""
    key_file = write(content, "keys/one.example")
    for field in ("keys/one.example", "keys/{name}", str(key_file)):
        path = write(one(f"key_file = {json.dumps(field)}"))
        assert load_accounts(path)[0].api_key == Secret("k-1")


def test_files_of_keys_at_home(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` is the home directory."""
    home = write("k-1", "home/key").parent
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    assert load_accounts(write(one("key_file = '~/key'")))[0].api_key == Secret("k-1")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "is empty; the site shows it in the partner's account"),
        (f"{PLAIN}\n{KEY}\n", "holds white space or characters that cannot be sent; copy it again"),
        (PLAIN.encode("utf-16"), "this file is not UTF-8"),
    ],
    ids=itertools.count(),
)
def test_files_without_a_key(write: Write, content: str | bytes, problem: str) -> None:
    """A file that is empty, holds more than a key, or is no text, is refused."""
    write(content, "key")
    (message,) = refusal(write(one("key_file = 'key'")))
    assert message == f"3: accounts[0]: key_file: {problem}"


@pytest.mark.parametrize("printed", ["k-1", "k-1\n", "k-1\r\nlogin: me\n"])
def test_commands(write: Write, printed: str) -> None:
    """The first line that a program prints is the key."""
    path = write(one(f"key_command = {printing(printed)}"))
    assert load_accounts(path)[0].api_key == Secret("k-1")


def test_a_command_as_a_string(write: Write) -> None:
    """It is split as a shell would; no shell looks at it, nor at the name in it."""
    code = "import sys; print('-'.join(sys.argv[1:]))"
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} {{name}} $HOME;ls '*'"
    text = one(f"name = 'a;b$(ls)'\nkey_command = {json.dumps(command)}")
    assert load_accounts(write(text))[0].api_key == Secret("a;b$(ls)-$HOME;ls-*")


def test_commands_run_beside_the_file(write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    """In the directory of the accounts file, without input; what they say to stderr is dropped."""
    code = "import sys; sys.stderr.write('no'); print(open('key').read() + sys.stdin.read())"
    write("k-1", "key")
    path = write(one(f"key_command = [{PYTHON}, '-c', {json.dumps(code)}]"))
    assert load_accounts(path)[0].api_key == Secret("k-1")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (printing(PLAIN, then=f"sys.exit({PLAIN!r})"), "{} failed with exit code 1; run it by"),
        (printing(PLAIN, then="sys.exit(3)"), "{} failed with exit code 3; run it by hand"),
        (printing(""), "is empty; the site shows it in the partner's account"),
        (printing(f"\n{PLAIN}"), "is empty; the site shows it in the partner's account"),
        (printing(f"{PLAIN} {KEY}"), "holds white space or characters that cannot be sent"),
        (
            printing("", then=f"sys.stdout.buffer.write({PLAIN!r}.encode() + bytes([255]))"),
            "{} printed no UTF-8",
        ),
        (f'["{PLAIN}"]', "this program cannot be started: No such file or directory"),
        (f'"{PLAIN}"', "this program cannot be started: No such file or directory"),
        (f'["no-such-program", "{PLAIN}"]', "'no-such-program' cannot be started: No such file"),
        (f'[{PYTHON}, "\\u0000{PLAIN}"]', "{} cannot be started: not a command"),
    ],
    ids=itertools.count(),
)
def test_commands_that_fail(
    write: Write, capfd: pytest.CaptureFixture[str], command: str, problem: str
) -> None:
    """Exit code and program are told; what it printed, and its arguments, are not."""
    (message,) = refusal(write(one(f"key_command = {command}")))
    program = repr(Path(sys.executable).name)
    assert message.startswith(f"3: accounts[0]: key_command: {problem.format(program)}")
    assert capfd.readouterr() == ("", "")


def test_commands_that_hang(write: Write) -> None:
    """A command is ended after the time-out; what it printed until then is gone."""
    path = write(one(f"key_command = {printing(PLAIN, then='time.sleep(60)')}"))
    started = time.monotonic()
    (message,) = refusal(path, command_timeout=0.2)
    assert time.monotonic() - started < 30
    assert "took more than 0.2 s and was ended; see command_timeout" in message


@ON_POSIX
@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_command(
    write: Write, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    """Ctrl-C at the prompt of a command ends it, and shows nothing of it."""
    ended: list[subprocess.Popen[bytes]] = []

    def interrupted(process: subprocess.Popen[bytes]) -> bool:
        ended.append(process)
        raise stop

    monkeypatch.setattr(files, "_has_ended", interrupted)
    path = write(one(f"key_command = ['sh', '-c', ':', '{PLAIN}']"))
    with pytest.raises(stop) as caught:
        load_accounts(path)
    assert_absent(PLAIN, caught.value)
    assert ended[0].returncode is not None


@ON_POSIX
def test_commands_leave_the_input_alone(write: Write) -> None:
    """What is piped into the program is not for its commands."""
    reading, writing = os.pipe()
    os.write(writing, b"typed\n")
    os.close(writing)
    saved = os.dup(0)
    os.dup2(reading, 0)
    try:
        path = write(one("key_command = ['sh', '-c', 'cat; echo k-1']"))
        assert load_accounts(path)[0].api_key == Secret("k-1")
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(reading)


@ON_POSIX
@pytest.mark.parametrize("line", ["yes k-1", "yes k-1 >&2 & yes k-1", "echo k-1; exec yes"])
def test_commands_that_print_for_ever(write: Write, line: str) -> None:
    """They are ended at 64 KB, long before the time-out."""
    (message,) = refusal(write(one(f"key_command = ['sh', '-c', '{line}']")))
    assert "printed more than 64 KB and was ended; the key is one line" in message


@ON_POSIX
def test_commands_that_complain_for_ever(write: Write) -> None:
    """What goes to stderr is kept nowhere; the time-out ends them."""
    path = write(one("key_command = ['sh', '-c', 'echo k-1; exec yes >&2']"))
    (message,) = refusal(path, command_timeout=0.2)
    assert "took more than 0.2 s and was ended" in message

"""Files of accounts: what they give, what is wrong and on which line, and no key in any of it."""

from __future__ import annotations

import inspect
import itertools
import json
import os
import random
import re
import shlex
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import warnings
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ppapi_async import Account, Dialect, Secret, accounts_file, files
from ppapi_async.accounts_file import Report, lines_of, load_accounts
from ppapi_async.site_url import UNSENDABLE
from tests.leaks import assert_absent, find

KEY = "k3Y'\"\\9f3a7c21/e8b+04d65"
PLAIN = "k3y9f3a7c21e8b04d65f1a2"
PYTHON = json.dumps(sys.executable)
ON_POSIX = pytest.mark.skipif(os.name != "posix", reason="modes and signals of POSIX")
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return what writes a file for its owner only."""

    def _write(text: str | bytes, name: str = "accounts.toml", mode: int = 0o600) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return path

    return _write


def refusal(path: Path, *keys: str, **options: Any) -> list[str]:
    """Return what is wrong with a file, line by line; no key is in the error or its frames."""
    with pytest.raises(ValueError, match=re.escape(path.name)) as caught:
        load_accounts(path, **options)
    for key in (KEY, PLAIN, *keys):
        assert_absent(key, caught.value)
    assert type(caught.value) is ValueError
    return [line.removeprefix(str(path)).lstrip(":") for line in str(caught.value).split("\n")]


def printing(text: str, *, then: str = "") -> str:
    """Return a program in Python, as TOML, that prints a text."""
    code = f"import os, signal, sys, time; sys.stdout.write({text!r}); sys.stdout.flush(); {then}"
    return f"[{PYTHON}, '-c', {json.dumps(code)}]"


def one(fields: str) -> str:
    """Return the text of a file with one account."""
    return f'[[accounts]]\nurl = "https://one.example"\n{fields}\n'


# What a file gives


def test_a_file_of_all_kinds(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """All fields and all sources of a key, in the order of the file; accounts override defaults."""
    monkeypatch.setenv("KEY_two", "k-env")
    write("\ufeffk-file\r\n", "keys/three")
    path = write(f"""
        [defaults]
        timezone = "Europe/Moscow"
        dialect = "delegating"
        key_env = "KEY_{{name}}"
        [[accounts]]
        link = "https://one.example/api.html?api_action=pp&api_key=k%2Blink&method=get_info"
        [[accounts]]
        url = "https://two.example"
        name = "two"
        [[accounts]]
        url = "http://three.example:8080"
        allow_http = true
        key_file = "keys/three"
        [[accounts]]
        url = "https://four.example/wp/"
        api_key = "k-own"
        api_login = "me"
        dialect = "user-api"
        timezone = "Asia/Tokyo"
        [[accounts]]
        url = "https://five.example"
        key_command = {printing("k-five")}
    """)
    accounts = load_accounts(path)
    assert accounts == [
        Account(
            "https://one.example/api.html",
            "k+link",
            timezone="Europe/Moscow",
            dialect=Dialect.DELEGATING,
        ),
        Account(
            "https://two.example",
            "k-env",
            name="two",
            timezone="Europe/Moscow",
            dialect=Dialect.DELEGATING,
        ),
        Account(
            "http://three.example:8080",
            "k-file",
            timezone="Europe/Moscow",
            dialect=Dialect.DELEGATING,
            allow_http=True,
        ),
        Account("https://four.example/wp", "k-own", api_login="me", timezone="Asia/Tokyo"),
        Account(
            "https://five.example", "k-five", timezone="Europe/Moscow", dialect=Dialect.DELEGATING
        ),
    ]
    assert [account.name for account in accounts][:2] == ["one.example", "two"]


def test_proxies_in_a_file(write: Write) -> None:
    """One for all, another for one; their passwords are as secret as keys."""
    path = write(
        "[defaults]\nproxy = 'socks5://user:w0rd-of-all@127.0.0.1:1080'\n"
        + one(f"api_key = '{PLAIN}'")
        + f"[[accounts]]\nlink = 'https://two.example/?api_key={PLAIN}'\n"
        + "proxy = 'http://127.0.0.1:3128'\n"
    )
    one_, two = load_accounts(path)
    assert one_.proxy == Secret("socks5://user:w0rd-of-all@127.0.0.1:1080")
    assert two.proxy == Secret("http://127.0.0.1:3128")
    wrong = one(f"api_key = '{PLAIN}'\nproxy = 'sox://user:w0rd-of-all@127.0.0.1'")
    (told,) = refusal(write(wrong), "w0rd-of-all")
    assert told.startswith("4: accounts[0]: proxy: has a scheme that is not one of http, https,")
    (told,) = refusal(write("[defaults]\nproxy = 'x'\n" + one(f"api_key = '{PLAIN}'")))
    assert told.startswith("2: defaults: proxy: has no scheme or no host; pass one such as")
    misplaced = one(f"api_key = '{PLAIN}'\ntimezone = 'http://user:w0rd-of-all@127.0.0.1'")
    (told,) = refusal(write(misplaced), "w0rd-of-all")
    assert "***@127.0.0.1" in told


@ON_POSIX
def test_a_file_with_a_proxys_password_is_as_secret_as_one_with_a_key(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others who can read it are warned about."""
    monkeypatch.setenv("OWN", PLAIN)
    proxy = "proxy = 'http://user:w0rd@127.0.0.1:3128'\n"
    with pytest.warns(UserWarning, match="others can read it, and it holds a key"):
        load_accounts(write(one(f"key_env = 'OWN'\n{proxy}"), mode=0o644))


def test_a_link_over_http(write: Write) -> None:
    """A link is bound by `allow_http` as a url is."""
    path = write(f"[[accounts]]\nlink = 'http://a.example/?api_key={PLAIN}'\nallow_http = true")
    assert load_accounts(path) == [Account("http://a.example", PLAIN, allow_http=True)]


def test_the_documented_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file in the docstring is one, once `pass` is a program that is here."""
    monkeypatch.setenv("KEY_TWO", "k2")
    text = inspect.getdoc(load_accounts) or ""
    toml = inspect.cleandoc(text[text.index("[defaults]") : text.index("An account has")])
    command = f'[{PYTHON}, "-c", "import sys; print(sys.argv[1])", "partner/{{name}}"]'
    toml = toml.replace('["pass", "show", "partner/{name}"]', command)
    shown = [(a.name, a.api_key.reveal(), a.timezone) for a in load_accounts(write(toml))]
    assert shown == [
        ("one.example", "partner/one.example", "Europe/Moscow"),
        ("two", "k2", "Europe/Moscow"),
    ]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12) | st.text(
    "[]{}#\"'\\,= a", min_size=1, max_size=8
)
KEYS = st.text(
    st.characters(min_codepoint=33, exclude_categories=["Cs", "Cc", "Z"]), min_size=8, max_size=20
).filter(lambda key: not re.search(r"\s", key))
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "name": TEXTS,
            "url": st.sampled_from(["https://a.example", "https://b.example/api.html"]),
            "api_key": KEYS,
        },
        optional={
            "timezone": st.sampled_from(["UTC", "Europe/Moscow"]),
            "dialect": st.sampled_from(["classic", "delegating", "clone"]),
            "allow_http": st.booleans(),
        },
    ).filter(
        lambda row: (
            str(row["api_key"]) not in str(row["name"]) and not UNSENDABLE.search(str(row["name"]))
        )
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda row: row["name"],
)
NOISE = (
    '# [[accounts]] \'and """ more\'',
    "",
    "   ",
    "# it's = [",
    "\t# }",
)


ENDS = ("", "  # ", " # ]\"'", "# \"['")


def quoted(value: object, chance: random.Random) -> str:
    """Return a value as TOML, in one of the ways there are."""
    if not isinstance(value, str):
        return json.dumps(value)
    basic = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    ways = [basic, f'""{basic}""', f'"""\n{basic[1:-1]}"""', f'"""\\\n   \n {basic[1:-1]}"""']
    if value.isprintable():
        escaped = value.replace("\\", "\\\\")
        ways += [f"'{value}'"] * ("'" not in value)
        ways += [f"'''{value}'''", f"'''\n{value}'''"] * ("'''" not in value)
        ways += [f'"""{escaped}"""'] * ('"""' not in value)
    if value[0] == " ":
        ways.remove(ways[3])  # which would take the space away
    return chance.choice(ways)


def as_toml(rows: list[dict[str, object]], chance: random.Random) -> tuple[str, dict[Any, int]]:
    """Return a file with these accounts, and the line of each of their fields."""
    lines: dict[Any, int] = {}
    text = ""
    for number, row in enumerate(rows):
        header = chance.choice(["[[accounts]]", " [[ accounts ]] # [x]", '[["accounts"]]'])
        text += f"{chance.choice(NOISE)}\n"
        lines[f"accounts[{number}]", ""] = text.count("\n") + 1
        text += f"{header}\n"
        for field, value in chance.sample(list(row.items()), len(row)):
            text += f"{chance.choice(NOISE)}\n" if chance.random() < 0.5 else ""
            lines[f"accounts[{number}]", field] = text.count("\n") + 1
            key = chance.choice([field, f" {field}  ", f'"{field}"', f"'{field}'"])
            text += f"{key}={quoted(value, chance)}{chance.choice(ENDS)}\n"
    return text, lines


def as_inline_toml(rows: list[dict[str, object]], chance: random.Random) -> str:
    """Return a file with these accounts in one list."""
    tables = (
        ", ".join(f"{field} = {quoted(value, chance)}" for field, value in row.items())
        for row in rows
    )
    return "accounts = [ # ]\n" + ",\n# '[\n".join(f"{{{table}}}" for table in tables) + ",\n]"


@given(rows=ROWS, chance=st.randoms(use_true_random=False), layout=st.integers(0, 7))
def test_files_round_trip(
    rows: list[dict[str, object]], chance: random.Random, layout: int
) -> None:
    """Whatever a file is written like, with CRLF or a BOM too, the accounts in it come out."""
    text = as_inline_toml(rows, chance) if layout & 1 else as_toml(rows, chance)[0]
    text = text.replace("\n", "\r\n") if layout & 2 else text
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "accounts.toml"
        path.touch(0o600)
        path.write_bytes(text.encode("utf-8-sig" if layout & 4 else "utf-8"))
        accounts = load_accounts(path)
    assert [
        (a.name, a.url, a.api_key.reveal(), a.timezone, a.dialect, a.allow_http) for a in accounts
    ] == [
        (
            row["name"],
            row["url"],
            row["api_key"],
            row.get("timezone", "UTC"),
            row.get("dialect"),
            row.get("allow_http", False),
        )
        for row in rows
    ]


@given(rows=ROWS, chance=st.randoms(use_true_random=False))
def test_lines_are_those_of_the_file(rows: list[dict[str, object]], chance: random.Random) -> None:
    """Strings, multi-line strings and comments that look like TOML do not shift any line."""
    text, lines = as_toml(rows, chance)
    tomllib.loads(text)
    found = lines_of(text)
    assert {place: found[place] for place in lines} == lines
    assert set(found) - set(lines) <= {("", "accounts")}


@pytest.mark.parametrize(
    "value",
    [
        r'''"[ # \" { \\"''',
        r"'[ # { \'",
        r'''"""[ " "" \""" \\"""''',
        r'''"""{""""" # "[ ''',
        r'''"""{"""" # "[ ''',
        '"""\n[\n"""',
        "'''[ ' '' \\'''",
        "'''{''''' # '[",
        "'''{'''' # '[",
        "'''\n]\n'''",
        "[ # ]\n']',\n[{a = '}'}]]",
        "1 # [ ' \"",
        "2026-01-31 12:00:00 # {",
    ],
)
def test_values_that_mislead(value: str) -> None:
    """Whatever a value looks like, the line after it is found."""
    text = f"x = {value}\ny = 1\n"
    assert set(tomllib.loads(text)) == {"x", "y"}
    assert lines_of(text) == {("", "x"): 1, ("", "y"): value.count("\n") + 2}


# What is wrong with a file

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
    told = refusal(write(text.replace("ODD", json.dumps(KEY)[1:-1])))
    assert [line[: len(start)] for line, start in zip(told, expected, strict=True)] == expected


@pytest.mark.parametrize("text", ["", "# none\n", "accounts = []", '[defaults]\ndialect = "clone"'])
def test_no_accounts(write: Write, text: str) -> None:
    """A file without accounts is refused with what to write into it."""
    (told,) = refusal(write(text))
    assert told == (
        ' has no accounts; write for each [[accounts]], and below it url = "https://site.example"'
        ' and key_env = "SITE_KEY"'
    )


def test_advice_is_for_files(write: Write) -> None:
    """What `Account` says to pass is said as one writes it in a file."""
    (told,) = refusal(write("[[accounts]]\nurl = 'http://a.example'\napi_key = 'k'"))
    assert told.endswith("; pass https, or write allow_http = true")
    (told,) = refusal(write("[[accounts]]\nurl = 'https://a.example?x'\napi_key = 'k'"))
    assert told.endswith(
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
    (told,) = refusal(write(text))
    assert told.strip().startswith(problem)


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
    (told,) = refusal(write(one('api_key = "e"\ntimezone = "x"')))
    assert told == ("4: accounts[0]: timezone: 'x' is unknown; pass a name such as 'Europe/Moscow'")


# Where keys come from


def test_variables(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account's own variable comes before the default; a value that is no key is refused."""
    monkeypatch.setenv("OWN", "k-own")
    monkeypatch.setenv("KEY_one.example", "k-default")
    defaults = '[defaults]\nkey_env = "KEY_{name}"\n'
    assert load_accounts(write(defaults + one("")))[0].api_key == Secret("k-default")
    assert load_accounts(write(defaults + one("key_env = 'OWN'")))[0].api_key == Secret("k-own")
    monkeypatch.setenv("OWN", f"{PLAIN} {KEY}")
    (told,) = refusal(write(one("key_env = 'OWN'")))
    assert told.startswith("3: accounts[0]: key_env: holds white space")
    monkeypatch.setenv("OWN", PLAIN)
    (told,) = refusal(write(one(f"name = 'my {PLAIN}'\nkey_env = 'OWN'")))
    assert told == "3: accounts[0] 'my ***': name: holds the key; errors and logs show the name"
    monkeypatch.delenv("KEY_one.example")
    (told,) = refusal(write(defaults + one("")))
    assert told.startswith("3: accounts[0]: key_env: 'KEY_one.example' is not set")


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
    (told,) = refusal(write(text))
    assert told == (
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
    (told,) = refusal(write(text))
    assert "set '_1_example', or use" in told
    monkeypatch.setenv("_1_example", "k-exported")
    assert load_accounts(write(text))[0].api_key == Secret("k-exported")


@pytest.mark.parametrize("other", ["key_env = 'KEY_{name}'\nname = 'a_b'", "key_env = 'KEY_a_b'"])
def test_a_key_is_never_sent_to_another_site(
    write: Write, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """Where two accounts come to one variable, only the one that is called so has the key."""
    monkeypatch.setenv("KEY_a_b", PLAIN)
    first, second = one("name = 'a.b'\nkey_env = 'KEY_{name}'"), one(other)
    (told,) = refusal(write(first + second))
    assert told == (
        "4: accounts[0] 'a.b': key_env: 'KEY_a.b' is not set in the environment, and no shell can"
        " export it; 'KEY_a_b' could be for another account, too; give this one its own key_env,"
        " or use key_file or key_command"
    )
    monkeypatch.setenv("KEY_a.b", "k-exact")
    keys = [account.api_key.reveal() for account in load_accounts(write(first + second))]
    assert keys == ["k-exact", PLAIN]


def test_a_key_in_place_of_a_variable_is_not_told(write: Write) -> None:
    """What is no template may be a key: neither it nor its like for a shell is repeated."""
    (told,) = refusal(write(one(f"key_env = '{KEY[:3]}.{PLAIN}'")))
    assert told == (
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
    (told,) = refusal(write(one("key_file = 'key'")))
    assert told == f"3: accounts[0]: key_file: {problem}"


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
    (told,) = refusal(write(one(f"key_command = {command}")))
    program = repr(Path(sys.executable).name)
    assert told.startswith(f"3: accounts[0]: key_command: {problem.format(program)}")
    assert capfd.readouterr() == ("", "")


def test_commands_that_hang(write: Write) -> None:
    """A command is ended after the time-out; what it printed until then is gone."""
    path = write(one(f"key_command = {printing(PLAIN, then='time.sleep(60)')}"))
    started = time.monotonic()
    (told,) = refusal(path, command_timeout=0.2)
    assert time.monotonic() - started < 30
    assert "took more than 0.2 s and was ended; see command_timeout" in told


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
    (told,) = refusal(write(one(f"key_command = ['sh', '-c', '{line}']")))
    assert "printed more than 64 KB and was ended; the key is one line" in told


@ON_POSIX
def test_commands_that_complain_for_ever(write: Write) -> None:
    """What goes to stderr is kept nowhere; the time-out ends them."""
    path = write(one("key_command = ['sh', '-c', 'echo k-1; exec yes >&2']"))
    (told,) = refusal(path, command_timeout=0.2)
    assert "took more than 0.2 s and was ended" in told


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
        (told,) = refusal(path, command_timeout=1)
        assert problem in told or "is empty" in told
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
    (told,) = refusal(write(one(f"key_file = '{odd}'")), command_timeout=0.1)
    assert re.search(TOLD_OF_ODD, told)
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
        (told,) = refusal(path, command_timeout=0.1)
        assert "nobody has finished writing to this pipe" in told
    finally:
        os.close(keep)


def test_files_are_bounded(write: Write) -> None:
    """4 MB of accounts, 64 KB of a key; what is larger is not read to its end."""
    with pytest.raises(OSError, match="is larger than 4096 KB"):
        load_accounts(write(b"#" * (4 * 1024 * 1024 + 1)))
    write(b"k" * (64 * 1024 + 1), "key")
    (told,) = refusal(write(one("key_file = 'key'")), "k" * 100)
    assert "this file cannot be read: is larger than 64 KB" in told


@ON_POSIX
def test_files_that_others_can_replace_are_warned_of(write: Write, tmp_path: Path) -> None:
    """Whoever can write to its directory can put another in its place."""
    write(PLAIN, "keys/one")
    path = write(one("key_file = 'keys/one'"))
    (tmp_path / "keys").chmod(0o777)
    (told,) = warned(path)
    assert told.startswith(
        f"{tmp_path / 'keys' / 'one'}: others can replace it, for they can write"
    )
    (tmp_path / "keys").chmod(0o1777)  # as /tmp is
    assert warned(path) == []
    tmp_path.chmod(0o777)
    (told,) = warned(path)
    assert told.startswith(f"{path}: others can replace it")
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
        told = warned(path)
        assert [text.partition(": ")[2].partition(",")[0] for text in told] == [
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
    (told,) = warned(path)
    assert told.startswith(
        f"{script}: it is run to get a key, and others can change it; run: chmod"
    )
    (tmp_path / "ran").unlink()
    with pytest.raises(UserWarning, match="it is run to get a key"):
        load_accounts(path)
    assert not (tmp_path / "ran").exists()
    subprocess.run(shlex.split(told.partition("run: ")[2]), check=True)
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
    (told,) = refusal(write(text))
    assert "accounts[3]: key_file" in told
    assert not (tmp_path / "a").exists()
    write("k", "key")
    (told,) = refusal(write(text))
    assert told.startswith("8: accounts[1] 'b': key_command: ")
    assert [(tmp_path / name).exists() for name in "abc"] == [True, True, False]


# Who else can read it


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
RUN = "run: chmod 600 {}"


@ON_POSIX
@pytest.mark.parametrize(
    ("fields", "mode", "told"),
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
    write: Write, monkeypatch: pytest.MonkeyPatch, fields: str, mode: int, told: str | None
) -> None:
    """A file with keys that others can read, and any that others can change."""
    monkeypatch.setenv("THE_KEY", PLAIN)
    path = write(fields, "it's here.toml", mode=mode)
    found = warned(path)
    assert len(found) == (told is not None)
    for warning in found:
        assert warning.startswith(f"{path}: {told}")
        command = warning.partition("run: ")[2]
        subprocess.run(shlex.split(command), check=True)  # it is meant to be pasted
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@ON_POSIX
def test_open_key_files_are_warned_of(write: Write) -> None:
    """A file of a key, too; the accounts file that only names it may be read."""
    key_file = write(PLAIN, "key", mode=0o640)
    path = write(one("key_file = 'key'"), mode=0o644)
    told = f"{key_file}: others can read it, and it holds a key; run: chmod 600 {key_file}"
    assert warned(path) == [told]


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


# The key is nowhere


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

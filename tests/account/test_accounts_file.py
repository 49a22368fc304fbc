"""Files of accounts: what they give, what is wrong and on which line, and no key in any of it."""

from __future__ import annotations

import inspect
import json
import os
import random
import re
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppapi_async import Account, Dialect, Secret
from ppapi_async.accounts_file import lines_of, load_accounts
from ppapi_async.site_url import UNSENDABLE
from tests.account.conftest import Write
from tests.leaks import assert_absent

KEY = "k3Y'\"\\9f3a7c21/e8b+04d65"
PLAIN = "k3y9f3a7c21e8b04d65f1a2"
PYTHON = json.dumps(sys.executable)
ON_POSIX = pytest.mark.skipif(os.name != "posix", reason="modes and signals of POSIX")


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
    (message,) = refusal(write(wrong), "w0rd-of-all")
    assert message.startswith("4: accounts[0]: proxy: has a scheme that is not one of http, https,")
    (message,) = refusal(write("[defaults]\nproxy = 'x'\n" + one(f"api_key = '{PLAIN}'")))
    assert message.startswith("2: defaults: proxy: has no scheme or no host; pass one such as")
    misplaced = one(f"api_key = '{PLAIN}'\ntimezone = 'http://user:w0rd-of-all@127.0.0.1'")
    (message,) = refusal(write(misplaced), "w0rd-of-all")
    assert "***@127.0.0.1" in message


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


# Where keys come from


# Who else can read it


# The key is nowhere

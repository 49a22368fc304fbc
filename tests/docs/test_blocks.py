"""Every block of code in the documentation works: it runs against a sandbox, or is parsed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import textwrap
import time
import tomllib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import click
import pytest

from ppapi_async import Dialect, Hooks, Session, load_accounts
from ppapi_async.mirror import Mirror
from ppapi_async.mirror.database import DecimalSum
from ppapi_async.sandbox import Sandbox
from tests import virtual_time
from tests.docs.blocks import (
    ROOT,
    Block,
    Page,
    blocks_of,
    check_inline,
    check_shell,
    environment,
)
from tests.docs.test_links import PAGES

DATABASE = "postgresql://user:password@db.example/partner"
KEY = "k3y-of-the-sandboxes"
PAGES_WITH_BLOCKS = [page for page in PAGES if blocks_of(ROOT / page)]


@pytest.fixture
def _flying(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have clients and sandboxes that are given no clock go by that of a loop whose time flies."""
    began = time.time()

    def clock() -> float:
        loop = asyncio.get_running_loop()
        return began + loop.time() if isinstance(loop, virtual_time.VirtualLoop) else time.time()

    monkeypatch.setattr(Hooks.__init__, "__defaults__", (clock, asyncio.sleep, lambda: 0.5))
    defaults = Sandbox.__init__.__kwdefaults__ or {}
    monkeypatch.setattr(Sandbox.__init__, "__kwdefaults__", {**defaults, "clock": clock})


@contextlib.asynccontextmanager
async def _sandboxes() -> AsyncIterator[list[Sandbox]]:
    async with contextlib.AsyncExitStack() as stack:
        made = [
            Sandbox(rows=100, api_key=KEY),
            Sandbox(rows=100, api_key=KEY, seed=2),
            Sandbox(Dialect.DELEGATING, rows=100, api_key=KEY, seed=3),
        ]
        yield [await stack.enter_async_context(one) for one in made]


def _accounts(sites: list[Sandbox]) -> str:
    accounts = [
        f'[[accounts]]\nname = "{name}"\nurl = "{site.url}"\napi_key = "{KEY}"\n'
        for name, site in zip(("one", "two"), sites, strict=True)
    ]
    return "\n".join(accounts)


def explained(source: str) -> None:
    """Have SQLite prepare statements over the tables and views of a mirror."""
    if "Only in PostgreSQL" in source:
        return
    with contextlib.closing(sqlite3.connect("empty.db")) as connection:
        connection.create_aggregate("decimal_sum", 1, DecimalSum)  # type: ignore[arg-type] # texts
        for statement in source.split(";"):
            if statement.strip():
                connection.execute(f"EXPLAIN {statement}")


def _make_pass(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a program `pass` that prints a key, as the password manager of that name does."""
    folder.mkdir()
    program = folder / "pass"
    program.write_text(f"#!/bin/sh\necho {KEY}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def loaded(source: str) -> None:
    """Load accounts, if that is what the file has, and their keys."""
    if "accounts" in tomllib.loads(source):
        path = Path("accounts-of-the-page.toml")
        path.write_text(source)
        path.chmod(0o600)
        load_accounts(path)


PARSERS: Mapping[str, Callable[[str], object]] = {"sql": explained, "toml": loaded}


async def _take(blocks: list[Block], name: str, folder: Path, database: str) -> None:
    """Go through the blocks of a page."""
    async with _sandboxes() as [site, *sites], Session(site.account("site")) as session:
        accounts = folder / "accounts.toml"
        accounts.write_text(_accounts(sites))
        accounts.chmod(0o600)
        replaced = {"https://site.example": site.url, "https://one.example": sites[0].url}
        replaced |= {"https://two.example": sites[1].url, "your key": KEY, DATABASE: database}
        replaced["/var/lib/partner"] = str(folder)
        names: dict[str, object] = {"site": site, "sites": sites, "session": session}
        names |= {"account": site.account("site"), "asyncio": asyncio, "__name__": "page"}
        if any(block.language == "sql" for block in blocks):
            async with Mirror("sqlite:///empty.db", []):
                pass
        page = Page(folder, names, replaced, environment(folder), PARSERS)
        for block in blocks:
            label = f"{name}:{block.line}"
            try:
                await page.take(block, label)
            except Exception as error:
                error.add_note(f"in the block at {label}")
                raise


@pytest.mark.usefixtures("_flying")
@pytest.mark.parametrize("name", PAGES_WITH_BLOCKS)
def test_the_blocks_of_a_page_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """In order, in one namespace, as a reader would paste them; tests/docs/blocks.py says how."""
    blocks = blocks_of(ROOT / name)
    monkeypatch.chdir(tmp_path)
    for variable in ("KEY_ONE", "KEY_TWO", "KEY_one", "KEY_two"):
        monkeypatch.setenv(variable, KEY)
    _make_pass(tmp_path / "bin", monkeypatch)
    wants_database = any(block.is_run and DATABASE in block.source for block in blocks)
    database: str = request.getfixturevalue("postgres_url") if wants_database else DATABASE
    run = asyncio.run if wants_database else virtual_time.run  # which cannot see PostgreSQL work
    run(_take(blocks, name, tmp_path, database))


@pytest.mark.parametrize("name", PAGES)
def test_commands_between_the_words_exist(name: str) -> None:
    """With their options."""
    assert check_inline((ROOT / name).read_text("utf-8")) == []


def test_what_does_not_run_says_why() -> None:
    """In a sentence, so that it can be judged."""
    for name in PAGES_WITH_BLOCKS:
        for block in blocks_of(ROOT / name):
            if "not run" in block.notes:
                assert len(block.notes["not run"].split()) >= 3, f"{name}:{block.line}"


# --- the blocks' own tests


def _page(tmp_path: Path, text: str) -> list[Block]:
    page = tmp_path / "page.md"
    page.write_text(textwrap.dedent(text))
    return blocks_of(page)


def _run(tmp_path: Path, text: str) -> None:
    virtual_time.run(_take(_page(tmp_path, text), "page.md", tmp_path, DATABASE))


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("```python\nawait session.get_balance()\n```\n", AttributeError),
        ("```python\nx = \n```\n", SyntaxError),
        ("<!-- not run: it is too long -->\n```python\nx = \n```\n", SyntaxError),
        ("```python\nasync def main(): 1 / 0\nasyncio.run(main())\n```\n", ZeroDivisionError),
        ("```python\nasync def main(): pass\nexit(asyncio.run(main()) or 3)\n```\n",
         AssertionError),
        ("<!-- until: site.arrived(1) -->\n```python\nx = 1\n```\n", AssertionError),
        ("<!-- until: site.arrived(1) -->\n```python\nx = 1 / 0\n```\n", ZeroDivisionError),
        ("```bash\nppapi synch\n```\n", click.UsageError),
        ("```bash\ncat x | .venv/bin/ppapi export links --formt csv\n```\n", click.UsageError),
        ("```console\n$ ppapi export links --format word\nfine\n```\n", click.UsageError),
        ("<!-- run -->\n```bash\nfalse\n```\n", AssertionError),
        ("```toml\n[x\n```\n", tomllib.TOMLDecodeError),
        ("```toml\n[[accounts]]\nurl = 'https://x.example'\nkey = 'abc'\n```\n", ValueError),
        ("```json\n{'a'}\n```\n", json.JSONDecodeError),
        ("```sql\nSELECT nothing FROM exchanges;\n```\n", sqlite3.OperationalError),
        ("<!-- invisible-code-block: python\nassert 1 > 2\n-->\n", AssertionError),
    ],
    ids=[
        "await", "syntax", "not run, syntax", "script", "script's exit", "ends", "raises",
        "command", "option", "choice", "shell", "toml", "accounts", "json", "sql", "invisible",
    ],
)  # fmt: skip
@pytest.mark.usefixtures("_flying", "_here")
def test_what_is_wrong_with_a_block_is_seen(
    tmp_path: Path, text: str, error: type[Exception]
) -> None:
    """Whatever its kind, and where it stands."""
    with pytest.raises(error) as raised:
        _run(tmp_path, text)
    assert "in the block at page.md:" in str(raised.value.__notes__)


@pytest.mark.usefixtures("_flying", "_here")
def test_a_page_has_what_its_blocks_are_promised(tmp_path: Path) -> None:
    """Sandboxes, an open session, accounts, flying time, files, and a shell."""
    _run(
        tmp_path,
        """
        ```python
        rows = await session.get_exchanges()
        ```
        <!-- invisible-code-block: python
        assert len(rows) == 100
        -->
        ```python
        from ppapi_async import Fleet, Session, load_accounts

        async with Session("https://site.example", "your key") as other:
            assert await other.get_exchanges() == rows
        ```
        <!-- until: sites[1].arrived(5) -->
        ```python
        async with Fleet(load_accounts("accounts.toml"), interval=60) as fleet:
            async for event in fleet.events("exchanges"):
                ...
        ```
        <!-- file: said.py -->
        ```python
        print("here")
        ```
        <!-- run -->
        ```bash
        python said.py
        ```
        <!-- invisible-code-block: python
        assert output == "here\\n"
        -->
        ```text
        anything
        ```
        <!-- not run: nobody has it -->
        ```python
        import nothing
        ```
        """,
    )


def test_commands_between_the_words_are_looked_at() -> None:
    """Names, options, and what stands for several."""
    text = "`ppapi sync [NAME…]`, `ppapi export links|payouts --out X`, `ppapi list|info`"
    assert check_inline(text + " `ppapi COMMAND --help` `ppapi --version`") == []
    assert check_inline("`ppapi synch` `ppapi sync --fast`") == ["synch", "sync --fast"]


@pytest.mark.parametrize(
    ("source", "number"),
    [("ppapi list && ppapi info", 2), ("cat < ppapi", 0), ("x | ppapi add --url https://x", 1)],
    ids=["two", "a file", "a pipe"],
)
def test_commands_are_found_where_the_shell_finds_them(source: str, number: int) -> None:
    """And not where a file is named."""
    assert check_shell(source) == number

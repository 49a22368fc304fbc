"""`ppapi report`: a page in a file, of what a mirror holds."""

from __future__ import annotations

import asyncio
import os
import webbrowser
from pathlib import Path
from typing import Any

import pytest

from ppapi_async import Account, Dialect
from ppapi_async.cli.exits import Exit
from ppapi_async.cli.report import gather as gathering
from ppapi_async.cli.report.data import ReportData
from ppapi_async.cli.report.gather import gather
from ppapi_async.cli.report.page import ReportPage
from ppapi_async.mirror import Mirror
from ppapi_async.sandbox import Sandbox
from tests.cli.sites import dead_account, write_accounts
from tests.cli.terminal import ppapi

__all__ = ["fill", "mirror"]


async def fill(url: str) -> None:
    """Mirror two accounts."""
    sites = [Sandbox(dialect, rows=40, seed=3) for dialect in (Dialect.CLASSIC, Dialect.CLONE)]
    async with sites[0] as first, sites[1] as second:
        accounts = [
            Account(first.url, first.api_key, name="one", timezone="Europe/Moscow"),
            Account(second.url, second.api_key, name="two", timezone="Europe/Moscow"),
        ]
        async with Mirror(url, accounts) as filled:
            await filled.sync()


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the path of a mirror of two accounts."""
    path = tmp_path_factory.mktemp("mirror") / "partner.db"
    asyncio.run(fill(f"sqlite:///{path}"))
    return str(path)


def test_a_report_of_each_kind_of_database(mirror_url: str, tmp_path: Path) -> None:
    """The url is that of `ppapi sync --to`; it may stand in the environment."""
    asyncio.run(fill(mirror_url))
    ran = ppapi("report", env={"PPAPI_MIRROR": mirror_url})
    assert ran.code == Exit.DONE, ran.err
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "Europe/Moscow" in page
    assert "2 accounts" in page


def test_a_report_is_written_and_its_path_told(mirror: str, tmp_path: Path) -> None:
    """The default is a file in the folder where one is; nothing else is left there."""
    ran = ppapi("report", "--from", mirror)
    assert ran.code == Exit.DONE, ran.err
    assert ran.out.startswith("report.html: ")
    assert ran.out.rstrip().endswith(("findings", "finding"))
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "Europe/Moscow" in page
    assert "2 accounts" in page


def test_a_report_of_an_account_in_russian(mirror: str, tmp_path: Path) -> None:
    """What was asked for is what the page is about."""
    ran = ppapi(
        "report", "--from", mirror, "two", "--account", "two", "--lang", "ru", "--since", "all",
        "--until", "2027-01-01", "--timezone", "Asia/Tokyo", "--out", "a.html",
    )  # fmt: skip
    assert ran.code == Exit.DONE, ran.err
    page = (tmp_path / "a.html").read_text("utf-8")
    for text in ('lang="ru"', "1 аккаунт", "Asia/Tokyo", "с самого начала"):
        assert text in page
    assert "<bdi>one</bdi>" not in page


def test_a_report_to_stdout(mirror: str, tmp_path: Path) -> None:
    """The page, and nothing but it; what was found is told beside."""
    ran = ppapi("report", "--from", mirror, "--out", "-")
    assert ran.code == Exit.DONE
    assert ran.out.startswith("<!doctype html>")
    assert ran.out.endswith("</html>")
    assert "finding" in ran.err
    assert not list(tmp_path.iterdir())


def test_a_report_to_a_device(mirror: str) -> None:
    """What is no file is written as it is, and stays what it is."""
    ran = ppapi("report", "--from", mirror, "--out", os.devnull)
    assert ran.code == Exit.DONE
    assert not Path(os.devnull).is_file()


def test_the_accounts_file_says_who_is_followed(
    mirror: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one in its place, if there is one; the one that is given must be there."""
    known: list[object] = []

    async def noted(*given: object, followed: object, **options: Any) -> ReportData:
        known.append(followed)
        return await gather(*given, followed=followed, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(gathering, "gather", noted)
    assert ppapi("report", "--from", mirror).code == Exit.DONE
    path = write_accounts(home / "config" / "ppapi" / "accounts.toml", {})
    path.write_text(dead_account("one"))
    assert ppapi("report", "--from", mirror).code == Exit.DONE
    assert known == [None, frozenset({"one"})]
    ran = ppapi("report", "--from", mirror, "--accounts", "none.toml")
    assert ran.code == Exit.USAGE
    assert "there is no accounts file none.toml" in ran.err


def test_a_report_is_shown(mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--open` shows the file in the browser."""
    shown: list[str] = []
    monkeypatch.setattr(webbrowser, "open", shown.append)
    assert ppapi("report", "--from", mirror, "--open").code == Exit.DONE
    assert shown == [(tmp_path / "report.html").as_uri()]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (
            ("--account", "onw"),
            2,
            "ppapi report: there is no account 'onw' in the copy; did you mean 'one'?",
        ),
        (("zzz",), 2, "there is no account 'zzz' in the copy\n"),
        (("--since", "soon"), 2, "'soon' is none"),
        (("--since", "1d", "--until", "2d"), 2, "--since must be before --until"),
        (("--timezone", "Mars/Base"), 2, "'Mars/Base' is unknown"),
        (("--lang", "de"), 2, "'de' is not one of"),
        (("--out", "-", "--open"), 2, "--open needs a file"),
        (("--out", "no/such/folder.html"), 1, "folder.html"),
        (("--from", "nowhere.db"), 1, "there is no such file"),
    ],
    ids=lambda value: "-".join(value).strip("-") if isinstance(value, tuple) else None,
)
def test_what_is_wrong_is_told(
    mirror: str, tmp_path: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    """In a line, by the exit code, and without a file."""
    ran = ppapi("report", "--from", mirror, *arguments)
    assert ran.code == code
    assert told in ran.err
    assert "Traceback" not in ran.err
    assert not list(tmp_path.iterdir())


def test_an_interrupted_report_leaves_what_was_there(
    mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C at the worst moment, after half of the file, leaves the old one whole."""
    (tmp_path / "report.html").write_text("old")

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    assert ppapi("report", "--from", mirror).code == Exit.INTERRUPTED
    assert (tmp_path / "report.html").read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


def test_an_empty_mirror_has_a_report(tmp_path: Path) -> None:
    """It says how to fill it."""

    async def make() -> None:
        async with Mirror(f"sqlite:///{tmp_path / 'empty.db'}", []):
            pass

    asyncio.run(make())
    ran = ppapi("report", "--from", "empty.db")
    assert ran.code == Exit.DONE, ran.err
    assert ran.out == "report.html: 0 findings\n"
    assert "ppapi sync" in (tmp_path / "report.html").read_text("utf-8")


def test_the_wheel_has_the_templates() -> None:
    """What the page is drawn with lies in the package, where hatchling takes it from."""
    folder = Path(ReportPage.__init__.__code__.co_filename).parent / "templates"
    assert {"report.html", "report.css", "live.js"} <= {one.name for one in folder.iterdir()}

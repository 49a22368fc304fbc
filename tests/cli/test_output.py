"""What commands print, for people, pipes and programs; and what their options take."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppapi_async import Account
from ppapi_async.cli import accounts, options, output
from ppapi_async.cli.database import database_url
from ppapi_async.cli.exits import CommandFailed
from ppapi_async.cli.output import Cell, Column
from tests.cli.terminal import ppapi

NOON = datetime(2026, 11, 28, 12, 0, 5, tzinfo=UTC)
COLUMNS = (
    Column("name", "account", "what it is called"),
    Column("balance", "balance", "what there is"),
    Column("seen", "seen", "when"),
    Column("note", "note", least_width=120),
    Column("secret", "", "for programs only"),
)
ROWS: list[dict[str, Cell]] = [
    {"name": "one", "balance": Decimal("1234.5"), "seen": NOON, "note": "a\tb\n", "secret": True},
    {"name": "\x1b[31mtwo", "balance": None},
]


@pytest.mark.parametrize(
    ("value", "people", "pipes", "programs"),
    [
        (None, "", "", None),
        (True, "yes", "true", True),
        (False, "no", "false", False),
        (12345, "12,345", "12345", 12345),
        (1.25, "1.2", "1.25", 1.25),
        (Decimal("1234567.5"), "1,234,567.50", "1234567.5", "1234567.5"),
        (Decimal("0.00000921"), "0.00000921", "0.00000921", "0.00000921"),
        (Decimal("1E+3"), "1,000.00", "1000", "1000"),
        (Decimal("-0"), "-0.00", "-0", "-0"),
        (NOON, "2026-11-28 15:00", "2026-11-28T12:00:05+00:00", "2026-11-28T12:00:05+00:00"),
        (date(2026, 11, 28), "2026-11-28", "2026-11-28", "2026-11-28"),
        (timedelta(hours=25, seconds=4), "1 d 1 h", "90004", 90004.0),
        (timedelta(), "0 s", "0", 0.0),
        (["a", "b\x1b"], "a, b\\x1b", "a,b\\x1b", ["a", "b\x1b"]),
        ({"USD": Decimal("1.5")}, "1.50 USD", "USD=1.5", {"USD": "1.5"}),
        ("\u202eevil", "\\u202eevil", "\\u202eevil", "\u202eevil"),
    ],
    ids=str,
)
def test_a_value_for_each_reader(value: Cell, people: str, pipes: str, programs: object) -> None:
    """Exact for pipes and programs; nothing that does something to a terminal."""
    assert output._for_people(value, ZoneInfo("Europe/Moscow")) == people
    assert output._for_pipes(value) == pipes
    assert json.loads(output.json_text({"x": value})) == {"x": programs}


def test_a_date_that_has_no_other_zone() -> None:
    """Dates that were left empty are of the year 1."""
    empty = datetime(1, 1, 1, tzinfo=UTC)
    assert output.time_text(empty, ZoneInfo("America/New_York")) == "0001-01-01 00:00"
    assert output.number_text(Decimal("NaN")) == "NaN"


def test_a_table_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each row, the names of the fields first; no cell becomes two."""
    output.show(COLUMNS, ROWS)
    assert capsys.readouterr().out == (
        "name\tbalance\tseen\tnote\tsecret\n"
        "one\t1234.5\t2026-11-28T12:00:05+00:00\ta\\tb\\n\ttrue\n"
        "\\x1b[31mtwo\t\t\t\t\n"
    )


def test_a_table_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """A list of objects with the fields that were asked for; an empty one is a list, too."""
    output.show(COLUMNS, ROWS, fields=["name", "balance"])
    assert json.loads(capsys.readouterr().out) == [
        {"name": "one", "balance": "1234.5"},
        {"name": "\x1b[31mtwo", "balance": None},
    ]
    output.show(COLUMNS, [], fields=["name"])
    assert json.loads(capsys.readouterr().out) == []


def test_a_table_for_people(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wide is left out where there is no room; what is hostile is shown as it is."""
    monkeypatch.setattr(output, "is_terminal", lambda: True)
    total: dict[str, Cell] = {"name": "all", "balance": Decimal("1234.5")}
    for columns, is_wide in (("80", False), ("130", True)):
        monkeypatch.setenv("COLUMNS", columns)
        output.show(COLUMNS, ROWS, zone=ZoneInfo("Europe/Moscow"), total=total)
        out = capsys.readouterr().out
        assert "1,234.50" in out
        assert "2026-11-28 15:00" in out
        assert ("note" in out) is is_wide
        assert "\x1b[31m" not in out
        assert "secret" not in out
        assert "all" in out
        assert max(map(len, out.splitlines())) <= int(columns)


@given(st.text())
def test_no_text_does_anything_to_a_terminal(text: str) -> None:
    """Whatever a site sends: only signs that can be seen come out, and blanks."""
    assert output.plain(text).isprintable()
    assert output._for_pipes(text).isprintable()


def _json_command() -> click.Command:
    @click.command()
    @options.json_option(COLUMNS)
    def command(*, fields: tuple[str, ...] | None) -> None:
        output.say(repr(fields))

    return command


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 0, "None"),
        (["--json", "name, seen,name"], 0, "('name', 'seen')"),
        (["--json", "name,nme"], 2, "there is no field 'nme'; choose from"),
        (["--json"], 2, "name fields; choose from"),
        (["--json", ","], 2, "  balance  what there is"),
    ],
    ids=["none", "some", "unknown", "list", "empty"],
)
def test_fields_are_chosen_or_listed(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, said: str
) -> None:
    """As gh does it."""
    from ppapi_async.cli import group

    monkeypatch.setattr(group.Commands, "get_command", lambda *_: _json_command())
    ran = ppapi("demo", *arguments)
    assert ran.code == code
    assert said in ran.out + ran.err


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("15 min", 900), ("12H", 43_200), ("30d", 2_592_000),
     ("2w", 1_209_600), ("1.5h", 5400)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    """As people write them."""
    assert options.duration(text) == timedelta(seconds=seconds)
    assert options.duration(timedelta(seconds=seconds)) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T12:00+03:00", datetime(2026, 11, 1, 9, tzinfo=UTC)),
        ("2026-11-01 12:00", datetime(2026, 11, 1, 12, tzinfo=UTC)),
    ],
)
def test_moments(text: str, instant: datetime) -> None:
    """A date, a time, or so long ago."""
    assert options.moment(text) == instant
    assert options.moment(instant) is instant
    ago = datetime.now(UTC) - options.moment("30d")
    assert abs(ago - timedelta(days=30)) < timedelta(minutes=5)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (options.duration, "soon"),
        (options.duration, "0s"),
        (options.duration, "-3d"),
        (options.moment, "yesterday"),
        (options.moment, "2026-13-01"),
        (options.moment, "0001-01-01T00:00+10:00"),
        (options.moment, "999999w"),
        (options.zone, "Mars/Olympus"),
        (options.zone, "../etc/passwd"),
        (options.zone, ""),
        (options.whole_number(1, 5), "6"),
        (options.whole_number(1, 5), "many"),
    ],
)
def test_what_is_none_is_refused(read: Callable[[str], object], text: str) -> None:
    """With what to write instead."""
    with pytest.raises(click.BadParameter, match=r"write|pass"):
        read(text)


def test_a_zone_is_taken_as_it_is() -> None:
    """Click converts defaults, too."""
    assert options.zone(ZoneInfo("UTC")) is ZoneInfo("UTC")
    assert options.whole_number(1, 5)(3) == 3


def test_the_accounts_file_is_found(home: Path, tmp_path: Path) -> None:
    """Where the option says, or in the platform's place for settings."""
    assert accounts.accounts_path(None) == home / "config" / "ppapi" / "accounts.toml"
    assert accounts.accounts_path("~/a.toml") == home / "a.toml"
    with pytest.raises(CommandFailed, match=r"there is no accounts file .*'ppapi init' writes one"):
        accounts.load(None)
    with pytest.raises(CommandFailed, match=r"is no file|directory"):
        accounts.load(str(tmp_path))
    broken = tmp_path / "broken.toml"
    broken.write_text("accounts = 3")
    with pytest.raises(CommandFailed, match=r"write \[\[accounts\]\]"):
        accounts.load(str(broken))


def test_a_file_that_others_can_read_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a line on stderr, not as a warning of Python's."""
    path = tmp_path / "a.toml"
    path.write_text('[[accounts]]\nurl = "https://one.example"\napi_key = "a-key-of-nobody"\n')
    path.chmod(0o644)
    (one,) = accounts.load(str(path))
    assert one.name == "one.example"
    said = capsys.readouterr().err
    assert said.startswith("warning: ")
    assert "a-key-of-nobody" not in said


def test_accounts_are_chosen_by_name() -> None:
    """In the order of the file; one that is mistyped is suggested."""
    known = [Account(f"https://{name}.example", "key-of-nobody", name=name) for name in "abc"]
    assert [one.name for one in accounts.choose(known, ["c", "a"])] == ["a", "c"]
    assert accounts.choose(known, []) == known
    with pytest.raises(click.UsageError, match="'ppapi list' shows them"):
        accounts.choose(known, ["nowhere"])


def test_the_database_is_found(home: Path, tmp_path: Path) -> None:
    """A url, a file, or the platform's place for data, which is made for this user only."""
    assert database_url("postgresql://user@host/name") == "postgresql://user@host/name"
    assert database_url("p.db", to_write=True) == f"sqlite:///{tmp_path / 'p.db'}"
    folder = home / "data" / "ppapi"
    assert database_url(None) == f"sqlite:///{folder / 'partner.db'}"
    assert not folder.exists()
    database_url(None, to_write=True)
    assert folder.stat().st_mode & 0o777 == 0o700

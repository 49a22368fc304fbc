"""The dlt source: merged by account and id, exact, with its position in dlt's own state."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ppapi_async import (
    Account,
    Dialect,
    Exchange,
    Info,
    Payout,
    PayoutMethod,
    PPAPIError,
    Retry,
    StatusChange,
)
from ppapi_async.sandbox import Sandbox
from tests.cli.sites import running

pytest.importorskip("dlt", reason="dlt is not installed")

from ppapi_async import dlt_source

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
ORDER = Exchange(
    id=1, time=NOON, amount_give=Decimal(1), amount_get=Decimal("0.5"), exchange_success=True,
    accrued=False, partner_reward=Decimal("0.000000000001"), user_hash="a\0",
    statuses=(StatusChange(NOON, "new"),), extra={"fee": Decimal("0.10")},
)  # fmt: skip


@pytest.fixture(autouse=True)
def _loops_of_dlt(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the event loops that dlt makes: 1.12 stops them only.

    Else Python would complain of them in whichever test comes when it looks for garbage.
    """
    make, made = asyncio.new_event_loop, list[asyncio.AbstractEventLoop]()

    def new_event_loop() -> asyncio.AbstractEventLoop:
        made.append(make())
        return made[-1]

    monkeypatch.setattr("asyncio.new_event_loop", new_event_loop)
    yield
    for loop in made:
        loop.close()


def test_rows_are_as_dlt_takes_them() -> None:
    """Decimals and instants stay; what is nested becomes JSON with amounts as texts."""
    row = dlt_source.row_of(ORDER, "one")
    assert row["account"] == "one"
    assert row["partner_reward"] == Decimal("0.000000000001")
    assert row["time"] == NOON
    assert row["user_hash"] == "a␛0000"
    assert row["extra"] == {"fee": "0.10"}
    assert row["statuses"] == [{"time": NOON.isoformat(), "status": "new", "date": ""}]
    method = PayoutMethod(3, "USDT", Decimal("1.5"), Decimal(98))
    info = dlt_source.row_of(Info(Decimal(1), Decimal(2), (method,)), "one")
    assert json.loads(json.dumps(info["items"]))[0]["commission"] == "1.5"


def test_dlt_is_told_what_columns_are() -> None:
    """Amounts with all their places, instants with a zone; the wallet has its own name."""
    columns = dlt_source.columns_of(Exchange)
    assert columns["partner_reward"] == {"data_type": "decimal", "precision": 38, "scale": 18}
    assert columns["course_get"] == columns["partner_reward"]
    assert columns["course_get"] is not columns["partner_reward"]
    assert columns["time"] == {"data_type": "timestamp", "timezone": True}
    assert columns["statuses"] == columns["extra"] == {"data_type": "json"}
    assert "wallet" in dlt_source.columns_of(Payout)


def test_no_amount_is_rounded() -> None:
    """One that the column does not take is told."""
    long = Exchange(
        id=7, time=NOON, amount_give=Decimal("1E-19"), amount_get=Decimal(1),
        exchange_success=True, accrued=False, partner_reward=Decimal(1),
    )  # fmt: skip
    with pytest.raises(PPAPIError, match=r"amount_give of 7 is 0\.0000000000000000001"):
        dlt_source.row_of(long, "one")


def test_misuse_is_told() -> None:
    """At once, with what to pass."""
    account = Account("https://site.example", "k" * 32, name="one")
    with pytest.raises(ValueError, match="resources: pass any of balances, payouts"):
        dlt_source.ppapi_source(account, resources=("orders",))
    with pytest.raises(ValueError, match="lookback: pass a day or more"):
        dlt_source.ppapi_source(account, lookback=60)


def test_the_source_has_its_tables() -> None:
    """Those that are wanted, merged by their keys."""
    account = Account("https://site.example", "k" * 32, name="one")
    source = dlt_source.ppapi_source(account)
    assert list(source.resources) == ["balances", "payouts", "exchanges", "links"]
    table = source.resources["exchanges"].compute_table_schema()
    assert table["columns"]["account"]["primary_key"]
    assert table["columns"]["id"]["primary_key"]
    assert table["write_disposition"] == "merge"
    assert list(dlt_source.ppapi_source(account, resources=("links",)).resources) == ["links"]


def test_rows_of_sites_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All of them; an account that fails is logged and told, and the others go on."""
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path))
    site = Sandbox(Dialect.DELEGATING, rows=20, seed=4)
    failed: list[str] = []
    with running(site):
        accounts = [
            Account(site.url, site.api_key, name="one"),
            Account(site.url, "wrong" * 7, name="wrong"),
        ]
        source = dlt_source.ppapi_source(
            accounts, on_error=lambda name, _: failed.append(name), retry=Retry(attempts=1)
        )
        orders = list(source.resources["exchanges"])
        balances = list(source.resources["balances"])
    assert {row["id"] for row in orders} == {one.id for one in site.books.exchanges_in()}
    assert [row["balance"] for row in balances] == [Decimal(site.books.partner.balance)]
    assert failed == ["wrong", "wrong"]
    assert caplog.text.count("it goes on in the next run") == 2


@pytest.mark.untraced
@pytest.mark.parametrize("driver", ["duckdb", "psycopg2"])
def test_two_runs_into_a_database(
    driver: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Equal to the books, each row once, with what changed between the two."""
    pytest.importorskip(driver, reason=f"{driver} is not installed")
    is_file = driver == "duckdb"
    url: str = str(tmp_path / "file.duckdb") if is_file else request.getfixturevalue("postgres_url")
    if not is_file and urlsplit(url).password is None:
        url = url.replace("@", ":none@", 1)  # the server asks for none, but dlt does
    command = [sys.executable, "-m", "tests.pipelines.dlt_run", url]
    quiet = {
        "RUNTIME__DLTHUB_TELEMETRY": "false",  # nothing leaves loopback
        "DLT_DATA_DIR": str(tmp_path / "dlt"),
        "DLT_PROJECT_DIR": str(tmp_path),
    }
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120,
        cwd=Path(__file__).parents[2], env={**os.environ, **quiet},
    )  # fmt: skip
    assert ran.stdout.splitlines()[-2:] == ["first run: equal", "second run: equal"], ran.stderr


def test_without_dlt_the_extra_is_named() -> None:
    """The error says what to install."""
    code = "import sys; sys.modules['dlt'] = None; import ppapi_async.dlt_source"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: dlt_source: needs dlt; pip install 'ppapi-async[dlt]'" in ran.stderr

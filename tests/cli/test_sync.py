"""`ppapi sync`: a copy of everything, with progress, through interruptions, told plainly."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from ppapi_async import Dialect
from ppapi_async.sandbox import Sandbox
from tests.cli.sites import accounts_text, running, write_accounts
from tests.cli.terminal import bare, ppapi
from tests.leaks import assert_absent

WRONG = "w7ong" * 7
DEAD = "dE4d9" * 7


@pytest.fixture
def sites(home: Path) -> Iterator[dict[str, Sandbox]]:
    """Serve a site of each dialect, one whose pages change their size, and two that fail."""
    found = {str(one): Sandbox(one, rows=40, seed=4) for one in Dialect}
    found["capped"] = Sandbox(Dialect.DELEGATING, rows=100, seed=5, cap=(50, 37, 20))
    refusing = Sandbox(rows=0)
    with running(*found.values(), refusing):
        path = write_accounts(home / "config" / "ppapi" / "accounts.toml", found)
        more = accounts_text({"revoked": refusing}).replace(refusing.api_key, WRONG)
        dead = f'[[accounts]]\nname = "dead"\nurl = "http://127.0.0.1:9"\napi_key = "{DEAD}"\n'
        path.write_text(path.read_text() + more + dead)
        yield found


def held(path: Path, resource: str = "exchanges") -> dict[str, set[int]]:
    """Return the ids that a copy holds, by account."""
    found: dict[str, set[int]] = {}
    with sqlite3.connect(path) as connection:
        query = f"SELECT a.name, r.id FROM {resource} r JOIN accounts a USING (account)"
        for name, row_id in connection.execute(query):
            found.setdefault(name, set()).add(row_id)
    connection.close()
    return found


def books(sites: dict[str, Sandbox]) -> dict[str, set[int]]:
    """Return the ids of all orders that the sites have."""
    return {name: {one.id for one in site.books.orders} for name, site in sites.items()}


def test_everything_is_copied(sites: dict[str, Sandbox], home: Path) -> None:
    """Into a file of one's own; those that fail are marked and told below, the others come."""
    ran = ppapi("sync", "--json", "account,rows,new,requests,behind,state")
    rows = {row.pop("account"): row for row in json.loads(ran.out)}
    assert ran.code == 1
    assert held(home / "data" / "ppapi" / "partner.db") == books(sites)
    for name, site in sites.items():
        whole = len(site.books.orders) + len(site.books.clicks) + len(site.books.payouts)
        assert rows[name]["state"] == "ok"
        assert rows[name]["new"] == whole
        assert rows[name]["behind"] == 0.0
    assert rows["dead"]["state"] == "no answer"
    assert rows["revoked"]["behind"] is None
    assert "dead: get_info: cannot connect" in ran.err
    assert "revoked: get_info: the API refused" in ran.err
    assert_absent((WRONG, DEAD, *(one.api_key for one in sites.values())), ran.out, ran.err)


def test_it_fits_a_terminal_of_80_columns(sites: dict[str, Sandbox], tmp_path: Path) -> None:
    """Bars on stderr, then the table; the account that never worked says so."""
    ran = ppapi("sync", "--to", "copy.db", "classic", "revoked", terminal=True)
    assert ran.code == 5
    lines = bare(ran.out).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.split()[-4:] == ["0", "never", "key", "refused"] for line in lines)
    assert (tmp_path / "copy.db").stat().st_mode & 0o077 == 0


def test_resources_and_since_are_heeded(sites: dict[str, Sandbox], tmp_path: Path) -> None:
    """Only what is asked for is copied."""
    command = ("sync", "--to", "copy.db", "capped", "--resources", "exchanges", "--since", "30d")
    assert ppapi(*command).code == 0
    found = held(tmp_path / "copy.db")["capped"]
    assert 0 < len(found) < 100
    assert held(tmp_path / "copy.db", "links") == {}

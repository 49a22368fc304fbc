"""Commands that ask the sites: whatever these answer, no key or login is in what is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppapi_async import Dialect, Retry
from ppapi_async.sandbox import Fault, Sandbox
from tests.cli.sites import running, write_accounts
from tests.cli.terminal import ppapi
from tests.leaks import assert_absent

FAULTS = (
    Fault.KEY_ECHO,
    Fault.REDIRECT_302,
    Fault.HTML_404,
    Fault.API_DISABLED,
)


@pytest.mark.parametrize("command", ["info", "sync", "audit"])
def test_no_key_is_in_what_a_command_prints(
    home: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor in the copy: at sites of all dialects, each with another trouble; -vv says the most."""
    monkeypatch.setattr(Retry, "wait", lambda *_: None)  # repeats say the same, later
    sites = {
        f"{dialect} {fault}": Sandbox(dialect, rows=0, seed=place)
        for place, (dialect, fault) in enumerate(
            (dialect, fault) for dialect in Dialect for fault in FAULTS
        )
    }
    with running(*sites.values()):
        write_accounts(home / "config" / "ppapi" / "accounts.toml", sites)
        if command == "audit":
            assert ppapi("sync", "--resources", "info").code == 0
        for name, site in sites.items():
            site.faults.add(Fault(name.partition(" ")[2]), times=None)
        piped = ppapi("-vv", command)
        seen = ppapi(command, terminal=True)
    assert piped.code == seen.code == 1
    assert piped.err.count("\n") >= len(Dialect)
    secrets = [one.api_key for one in sites.values()]
    secrets += [one.api_login for one in sites.values() if one.api_login]
    printed = (piped.out, piped.err, seen.out, seen.err)
    kept = [path.read_bytes() for path in (home / "data").rglob("*") if path.is_file()]
    assert_absent(tuple(secrets), *printed, *kept)

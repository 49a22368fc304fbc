"""The unit file for systemd says what `ppapi sync --follow` does and how it ends."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ppapi_async.cli.commands.sync import command
from ppapi_async.cli.exits import Exit

UNIT = Path(__file__).parents[2] / "examples" / "ppapi-sync.service"


@pytest.fixture
def settings() -> dict[str, list[str]]:
    """Return the settings, each with all its values."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_it_starts_a_sync_that_follows(settings: dict[str, list[str]]) -> None:
    """With arguments that the command takes; accounts and copy are said by variables."""
    program, name, *arguments = settings["ExecStart"][0].split()
    assert (Path(program).name, name) == ("ppapi", "sync")
    context = command.make_context("sync", arguments)
    assert context.params["follow"] is True
    variables = {one.partition("=")[0] for one in settings["Environment"]}
    assert {"PPAPI_ACCOUNTS", "PPAPI_MIRROR"} <= variables
    taken = {one.envvar for one in command.params}
    assert {"PPAPI_ACCOUNTS", "PPAPI_MIRROR"} <= taken


def test_it_knows_the_exit_codes(settings: dict[str, list[str]]) -> None:
    """Asked to end is no failure; what a person has to mend is not started again and again."""
    assert settings["SuccessExitStatus"] == [str(int(Exit.INTERRUPTED))]
    assert settings["Restart"] == ["on-failure"]
    assert settings["RestartPreventExitStatus"] == [f"{int(Exit.USAGE)} {int(Exit.KEY)}"]


def test_the_keys_are_in_no_setting(settings: dict[str, list[str]]) -> None:
    """They come as a credential, or in a file of variables."""
    assert settings["LoadCredential"] == ["accounts.toml:/etc/ppapi/accounts.toml"]
    assert not re.search(r"key\w*\s*=\s*\w{20,}", UNIT.read_text(), re.IGNORECASE)


def test_systemd_takes_it(tmp_path: Path) -> None:
    """Where systemd is there to be asked; it looks whether the program exists, too."""
    analyse = shutil.which("systemd-analyze")
    if analyse is None:
        return
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/ppapi/bin/ppapi", sys.executable))
    ran = subprocess.run(
        [analyse, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")

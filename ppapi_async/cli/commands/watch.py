"""The command `watch`: changes as they come."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click
import platformdirs

from ppapi_async.cli.exits import CommandFailed, Exit
from ppapi_async.cli.options import (
    accounts_option,
    duration,
    interval_option,
    metrics_option,
    moment,
    names_option,
    resources_option,
    utc_option,
)
from ppapi_async.cli.output import note, plain

if TYPE_CHECKING:
    from ppapi_async.account import Account
    from ppapi_async.secret import Secret
    from ppapi_async.watching.resources import ResourceName

__all__ = ["command"]

_LARGEST_SECRET = 4096


@click.command("watch")
@click.option(
    "--since",
    type=moment,
    metavar="WHEN",
    show_default="now",
    help="Begin with rows from then on, in the first run: 30d, 2026-11-01.",
)
@names_option
@resources_option("What to watch.")
@interval_option("From one look at an account to the next.")
@click.option(
    "--state",
    metavar="FILE",
    show_default="watch.db in the place for data",
    help="Keeps what was delivered, so that a later run goes on.",
)
@click.option(
    "--from-now",
    is_flag=True,
    help="Forget what was delivered; begin with what happens from now on.",
)
@click.option(
    "--exec", "program", metavar="COMMAND", help="Run this for each change, with its JSON on stdin."
)
@click.option("--shell", is_flag=True, help="With --exec: have a shell run it.")
@click.option(
    "--webhook",
    metavar="URL",
    envvar="PPAPI_WEBHOOK",
    show_envvar=True,
    help="POST each change there, signed.",
)
@click.option(
    "--webhook-secret-file",
    metavar="FILE",
    show_default="what PPAPI_WEBHOOK_SECRET holds",
    help="With --webhook: holds the secret that signs.",
)
@click.option(
    "--allow-http", is_flag=True, help="With --webhook: send it unencrypted, readable for all."
)
@click.option(
    "--timeout",
    type=duration,
    default="30s",
    show_default=True,
    metavar="TIME",
    help="With --exec and --webhook: how long the program or the answer may take.",
)
@click.option(
    "--skip-refused",
    is_flag=True,
    help="With --webhook: go on without a change that the server refuses for good.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print each change whole, as one JSON object a line; takes no fields.",
)
@metrics_option("Serve metrics there for Prometheus; see docs/guides/metrics.md.")
@utc_option
@accounts_option
def command(
    names: tuple[str, ...],
    *,
    resources: tuple[ResourceName, ...],
    interval: timedelta,
    since: datetime | None,
    state: str | None,
    from_now: bool,
    as_json: bool,
    program: str | None,
    shell: bool,
    webhook: str | None,
    webhook_secret_file: str | None,
    allow_http: bool,
    timeout: timedelta,
    skip_refused: bool,
    metrics: tuple[str, int] | None,
    utc: bool,
    accounts_file: str | None,
) -> None:
    """Show changes as they come.

    It looks at all accounts, or those of these names, until it is ended, through outages and
    restarts. A change counts as delivered when it was printed, when the program has ended with 0,
    and when the server has answered with 2xx. Until then they get it again and again, and nothing
    that comes after it: each change at least once, in order.

    \b
    Examples:
      ppapi watch
      ppapi watch one two --resources exchanges,payouts --since 2d
      ppapi watch --json | jq .record
      ppapi watch --exec 'notify-me --from-stdin'
      ppapi watch --webhook https://bot.example --webhook-secret-file secret

    docs/command-line/watch.md says how a server checks the signature.

    Exit codes: 130 ended by Ctrl-C or SIGTERM, a second run goes on; 1 a server refuses a change
    for good; 5 all keys are refused.
    """
    from ppapi_async.cli.accounts import load
    from ppapi_async.cli.running import run
    from ppapi_async.cli.watching.program import words_of
    from ppapi_async.cli.watching.watching import WatchPlan, watch
    from ppapi_async.cli.watching.webhook import webhook_url

    if shell and program is None:
        raise click.UsageError("--shell: goes with --exec")
    url = None if webhook is None else webhook_url(webhook, allow_http=allow_http)
    plan = WatchPlan(
        accounts=_chosen(load(accounts_file), names, as_json=as_json),
        resources=resources,
        interval=interval,
        since=since,
        state=_state_path(state),
        from_now=from_now,
        as_json=as_json,
        utc=utc,
        timeout=timeout,
        skip_refused=skip_refused,
        metrics=metrics,
        words=None if program is None else words_of(program, shell=shell),
        webhook=None if url is None else (url, _secret(webhook_secret_file)),
    )
    run(lambda: watch(plan))


def _chosen(
    accounts: Sequence[Account], names: Sequence[str], *, as_json: bool
) -> Sequence[Account]:
    """Return the accounts that are named.

    Raises:
        click.UsageError: there is none of a name; of what looks like fields of --json, that it
            takes none.
    """
    from ppapi_async.cli.accounts import choose
    from ppapi_async.cli.watching.texts import FIELDS

    known = {account.name for account in accounts}
    for name in names:
        fields = [one.strip() for one in name.split(",")]
        if as_json and name not in known and (len(fields) > 1 or name in FIELDS):
            raise click.UsageError(
                "--json takes no fields here: it prints each change whole, one object a line; pick"
                f" from them with jq: ppapi watch --json | jq .{plain(fields[0])}"
            )
    return choose(accounts, names)


def _state_path(given: str | None) -> Path:
    if given:
        return Path(given).expanduser()
    folder = platformdirs.user_data_path("ppapi", appauthor=False)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / "watch.db"


def _secret(file: str | None) -> Secret:
    """Return what signs.

    Raises:
        CommandFailed: there is none, or it is not usable.
    """
    from ppapi_async.cli.watching.webhook import secret_of
    from ppapi_async.files import exposed, read

    if file is None:
        if not os.environ.get("PPAPI_WEBHOOK_SECRET"):
            raise CommandFailed(
                "--webhook: what is sent is signed: set PPAPI_WEBHOOK_SECRET, or pass"
                " --webhook-secret-file FILE",
                Exit.USAGE,
            )
        return secret_of(os.environ["PPAPI_WEBHOOK_SECRET"])
    path = Path(file).expanduser()
    try:
        content, status = read(path, _LARGEST_SECRET)
    except OSError as error:
        raise CommandFailed(f"{plain(file)}: {error.strerror}", Exit.USAGE) from None
    for warning in exposed(str(path), status, holds_key=True):
        note(f"warning: {plain(warning)}")
    return secret_of(content.decode("utf-8", "replace"))

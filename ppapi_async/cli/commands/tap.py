"""The command `tap`: rows of the sites as messages of the Singer specification."""

from __future__ import annotations

import json
import sys

import click

from ppapi_async.cli.accounts import choose, load
from ppapi_async.cli.options import accounts_option

__all__ = ["command"]


@click.command("tap")
@click.option("--config", metavar="FILE", help="What to read, as JSON; see below.")
@click.option("--discover", is_flag=True, help="Print the catalog: which streams there are.")
@click.option("--catalog", metavar="FILE", help="Which streams and properties to read.")
@click.option("--state", metavar="FILE", help="How far the run before came.")
@accounts_option
def command(
    *,
    config: str | None,
    discover: bool,
    catalog: str | None,
    state: str | None,
    accounts_file: str | None,
) -> int:
    """Write clicks, orders, payouts and balances as Singer messages.

    Any target of Singer or Meltano reads them. The first run tells everything; with --state, each
    later one what is new, and what may have changed: rows of the last 30 days are told again. The
    key of a row is account and id; a row comes at least once.

    The configuration may have, all of them optional: accounts (the path of the accounts file),
    names (a list of accounts), start_date, lookback_days (30), status_history (false), state_every
    (records between two messages of the state, 10000) and amounts ("decimal" or "text"). It holds
    no keys.

    \b
    Examples:
      ppapi tap --discover > catalog.json
      ppapi tap --state state.json | target-jsonl >> states.jsonl
      tail -n 1 states.jsonl > state.json

    Exit codes: 0 done; 1 an account failed, the others were read; 2 a file that was given is wrong;
    3 some rows could not be read; 5 keys refused.
    """
    from ppapi_async.cli.running import run
    from ppapi_async.cli.tapping import documents
    from ppapi_async.cli.tapping.writing import Tap

    said = documents.TapConfig.read(config)
    if discover:
        click.echo(json.dumps(documents.catalog(plain_amounts=said.plain_amounts), indent=2))
        return 0
    selected = documents.selected_streams(catalog)
    known = documents.TapState(state)
    chosen = choose(load(accounts_file or said.accounts), said.names)
    tap = Tap(sys.stdout.buffer, said, known, selected)
    return run(lambda: tap.run(chosen))

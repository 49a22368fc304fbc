"""The command `demo`: two made-up sites, copied, audited and reported on."""

from __future__ import annotations

from pathlib import Path

import click

from ppapi_async.cli.options import MOST_ROWS, seed_option, whole_number

__all__ = ["ROWS", "command"]

ROWS = 5_000
"""Exchanges at each site; three times as many clicks come with them."""


@click.command("demo")
@click.option(
    "--rows",
    type=whole_number(1, MOST_ROWS),
    default=ROWS,
    metavar="N",
    show_default=True,
    help="Exchanges at each site; clicks and payouts to match.",
)
@seed_option
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    show_default="one of its own in the place for temporary files",
    help="Where the copy and the report go: a new or an empty one.",
)
def command(*, rows: int, seed: int, folder: Path | None) -> int:
    """Copy, audit and report on two made-up sites.

    Everything is real but the sites, which run on local ports: three months of clicks, orders and
    payouts are copied into a SQLite file, compared with the sites' own books, audited, and drawn as
    a page.

    \b
    Examples:
      ppapi demo
      ppapi demo --rows 20000 --folder demo

    Exit codes: 0 the copy is as the sites' books; 3 it is not; 2 the folder is not empty.
    """
    from ppapi_async.cli.running import run
    from ppapi_async.cli.sandboxes.demonstration import demonstrate

    return run(lambda: demonstrate(rows=rows, seed=seed, folder=folder))

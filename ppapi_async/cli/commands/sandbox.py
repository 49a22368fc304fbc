"""The command `sandbox`: partner APIs on local ports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from ppapi_async.cli.options import LAST_PORT, MOST_ROWS, seed_option, whole_number, zone

if TYPE_CHECKING:
    from ppapi_async.sandbox import Bounds, ServerOrder, Ties

__all__ = ["DIALECTS", "MANNERS", "command"]

DIALECTS = ("classic", "delegating", "clone", "user-api")
MANNERS = {
    "ties": ("shuffled", "random", "rotated", "by-id"),
    "order": ("newest-first", "oldest-first", "by-id"),
    "bounds": ("inclusive", "start-exclusive", "end-exclusive", "exclusive"),
}
"""What there is to choose from, without loading the sandbox: the first is the default."""
_MOST_SITES = 100
_MOST_ORDERS = 100_000
_MOST_ROWS_AT_ONCE = whole_number(1, MOST_ROWS)


def _list_of(read: Callable[[str], object]) -> Callable[..., tuple[object, ...]]:
    """Return a callback that reads lists with commas, from an option that may come often."""

    def each(_: click.Context, __: click.Parameter, value: Sequence[str]) -> tuple[object, ...]:
        return tuple(read(one) for text in value for one in text.split(","))

    return each


def _dialect(text: str) -> str:
    if text not in DIALECTS:
        raise click.BadParameter(f"{text!r} is none; choose from {', '.join(DIALECTS)}")
    return text


def _key(value: str) -> str:
    if not value.isascii() or not value.isprintable() or not value or " " in value:
        raise click.BadParameter("pass letters, digits and signs of ASCII without blanks")
    return value


def _manner(name: str, meaning: str) -> Callable[[Callable[..., object]], Callable[..., object]]:
    choices = MANNERS[name]
    return click.option(
        f"--{name}", type=click.Choice(choices), default=choices[0], show_default=True, help=meaning
    )


@click.command("sandbox")
@click.option(
    "--sites",
    type=whole_number(1, _MOST_SITES),
    metavar="N",
    show_default="one for each dialect",
    help="How many, each on a port of its own.",
)
@click.option(
    "--dialect",
    "dialects",
    multiple=True,
    callback=_list_of(_dialect),
    metavar="DIALECT,…",
    show_default=DIALECTS[0],
    help=f"Any of {', '.join(DIALECTS)}; of several, the sites take turns.",
)
@click.option(
    "--rows",
    type=whole_number(0, MOST_ROWS),
    default=1000,
    metavar="N",
    show_default=True,
    help="Exchanges of the last 90 days at each site; clicks and payouts to match.",
)
@click.option(
    "--port",
    type=whole_number(0, LAST_PORT),
    default=8080,
    metavar="N",
    show_default=True,
    help="The port of the first site, the others follow; 0 takes any that are free.",
)
@click.option(
    "--timezone",
    "timezones",
    multiple=True,
    callback=_list_of(lambda name: zone(name).key),
    metavar="ZONE,…",
    show_default="UTC",
    help="The clock of the sites; of several, they take turns.",
)
@seed_option
@click.option("--key", type=_key, metavar="KEY", show_default="a random one", help="The API key.")
@click.option(
    "--accounts",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the accounts of all sites, with their keys, to a file that nobody else may read; it"
    " stays when the sandbox ends.",
)
@click.option(
    "--overwrite", is_flag=True, help="With --accounts: replace the file if there is one."
)
@click.option(
    "--log",
    is_flag=False,
    flag_value="-",
    metavar="FILE",
    help="Write a line for each request to stderr, or append it to a file: time, site, method,"
    " parameters without the key, rows, milliseconds.",
)
@click.option(
    "--live",
    is_flag=True,
    help="Let new clicks and orders come, and old ones move on; 20 orders in a busy hour.",
)
@click.option(
    "--pace",
    type=whole_number(1, _MOST_ORDERS),
    metavar="N",
    help="As --live, with N orders an hour, day and night. All else goes with them: three clicks to"
    " an order, a payout to twenty, and the steps of orders and payouts, which take minutes to days"
    " at 20 an hour, and at 3600 seconds to minutes.",
)
@click.option(
    "--meddling",
    is_flag=True,
    help="With --live or --pace: rewards change by hand, without a trace, and payouts vanish for a"
    " while.",
)
@click.option(
    "--cap",
    type=lambda text: tuple(map(_MOST_ROWS_AT_ONCE, text.split(","))),
    metavar="N,…",
    show_default="500 on delegating and user-api",
    help="The most rows of an answer; several, such as 500,200,20, take turns.",
)
@_manner("ties", "The order of rows of one second: shuffled is another for each limit and offset.")
@_manner("order", "The order of rows.")
@_manner("bounds", "What of start_time and end_time is left out.")
@click.option("--own-keys", is_flag=True, help="Add keys of the site's own to every row.")
def command(
    *,
    sites: int | None,
    dialects: Sequence[str],
    rows: int,
    port: int,
    timezones: Sequence[str],
    seed: int,
    key: str | None,
    accounts: Path | None,
    overwrite: bool,
    log: str | None,
    live: bool,
    pace: int | None,
    meddling: bool,
    cap: tuple[int, ...] | None,
    ties: str,
    order: str,
    bounds: str,
    own_keys: bool,
) -> None:
    """Run partner APIs on local ports, with made-up books.

    They do what real sites do, the odd things too, and are there to try programs on. Ctrl-C and
    SIGTERM end them.

    \b
    Examples:
      ppapi sandbox --dialect delegating --rows 10000
      ppapi sandbox --dialect classic,clone --pace 3600 --accounts a.toml

    Exit codes: 0 ended by Ctrl-C or SIGTERM; 2 it cannot be done so.
    """
    from ppapi_async.account import Dialect
    from ppapi_async.cli.sandboxes.sites import SandboxOptions, serve

    serve(
        SandboxOptions(
            sites=sites or max(len(dialects), len(timezones), 1),
            dialects=[Dialect(one) for one in dialects or DIALECTS[:1]],
            rows=rows,
            port=port,
            timezones=timezones or ["UTC"],
            seed=seed,
            key=key,
            accounts=accounts,
            overwrite=overwrite,
            log=log,
            live=live,
            pace=pace,
            meddling=meddling,
            cap=cap,
            ties=cast("Ties", ties.replace("-", " ")),
            order=cast("ServerOrder", order.replace("-", " ")),
            bounds=cast("Bounds", bounds.replace("-", " ")),
            own_keys=own_keys,
        )
    )

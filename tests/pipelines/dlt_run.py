"""A program that loads two sandboxes by dlt into a database, twice, and compares with the books.

The database is a file of DuckDB, or the url of a database in PostgreSQL.

A process of its own: dlt keeps settings and threads for as long as its process lives.
"""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Any

import dlt

from ppapi_async import Account, Dialect
from ppapi_async.dlt_source import ppapi_source
from ppapi_async.sandbox import Order, Sandbox
from tests.cli.sites import running

DATABASE = sys.argv[-1]
SITES = {
    "one": Sandbox(Dialect.CLASSIC, rows=60, seed=3, timezone="Europe/Moscow"),
    "two": Sandbox(Dialect.DELEGATING, rows=40, seed=4, own_keys=True),
}


def load(pipeline: Any) -> str:
    """Run the pipeline, and tell how its tables compare with the books."""
    accounts = [
        Account(site.url, site.api_key, name=name, timezone=site.timezone)
        for name, site in SITES.items()
    ]
    pipeline.run(ppapi_source(accounts))
    found: list[tuple[object, ...]] = []
    with pipeline.sql_client() as client:
        for query in (
            "SELECT 'exchanges', account, id, partner_reward, accrued FROM exchanges",
            "SELECT 'links', account, id, ip, user_hash FROM links",
            "SELECT 'payouts', account, id, pay_amount, status FROM payouts",
        ):
            with client.execute_query(query) as cursor:
                found += [tuple(row) for row in cursor.fetchall()]
    truth: list[tuple[object, ...]] = []
    for name, site in SITES.items():
        orders, paid = site.books.exchanges_in(), site.books.payouts_in()
        truth += [("exchanges", name, o.id, Decimal(o.reward), o.accrued) for o in orders]
        truth += [("links", name, c.id, c.ip, c.user_hash) for c in site.books.links_in()]
        truth += [("payouts", name, p.id, Decimal(p.pay_amount), str(p.status)) for p in paid]
    is_equal = len(found) == len(truth) and set(found) == set(truth)
    return "equal" if is_equal else "different"


def main() -> None:
    """Load, change the books, and load again."""
    with running(*SITES.values()):
        destinations = dlt.destinations
        is_postgres = DATABASE.startswith("postgresql:")
        make: Any = destinations.postgres if is_postgres else destinations.duckdb
        pipeline = dlt.pipeline("partner", destination=make(DATABASE), dataset_name="partner")
        sys.stdout.write(f"first run: {load(pipeline)}\n")
        for site in SITES.values():
            books = site.books
            last = books.exchanges_in()[-1]
            books.set_by_hand(last.id, accrued=not last.accrued, reward="7.000000000001")
            books.place_order(Order(id=9_000, created=last.created + 1, reward="0.5"))
            books.confirm_order(9_000, last.created + 2)
        sys.stdout.write(f"second run: {load(pipeline)}\n")


if __name__ == "__main__":
    main()

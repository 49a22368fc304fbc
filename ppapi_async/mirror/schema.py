"""The tables of a mirror, for its own use and for queries of yours.

They are SQLAlchemy tables; `comment` of a column says what it holds. Names and meanings are kept
from one version to the next, or a migration changes them.

>>> from sqlalchemy import select
>>> print(select(exchanges.c.id).where(exchanges.c.accrued))
SELECT exchanges.id
FROM exchanges
WHERE exchanges.accrued
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.sql.schema import SchemaItem

from ppapi_async.mirror.types import EscapedText, Instant, JsonText, Money

__all__ = [
    "ROWS",
    "account_fingerprints",
    "accounts",
    "balances",
    "changes",
    "coverage",
    "exchanges",
    "links",
    "metadata",
    "payouts",
    "positions",
    "status_changes",
    "unreadable",
]

metadata = MetaData()
_NUMBER = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only where the type is INTEGER."""


def _account(*, key: bool = True, known: bool = True) -> Column[int]:
    """Return the column of the account; tables with millions of rows do not have it looked up."""
    keys: list[SchemaItem] = [ForeignKey("accounts.account")] if known else []
    comment = "The account's number, see accounts."
    return Column("account", Integer, *keys, primary_key=key, nullable=False, comment=comment)


def _id(what: str) -> Column[int]:
    comment = f"The site's id of the {what}, unique within the account."
    return Column(
        "id", BigInteger, primary_key=True, autoincrement=False, nullable=False, comment=comment
    )


def _resource(*, key: bool = True) -> Column[str]:
    comment = "links, exchanges, payouts or info."
    return Column("resource", Text, primary_key=key, nullable=False, comment=comment)


def _tail() -> list[Column[object]]:
    """Return what the mirror notes of each row."""
    return [
        Column("extra", JsonText, comment="Keys that the library does not know; null: none."),
        Column("first_seen", Instant, nullable=False, comment="When the mirror saw it first."),
        Column("last_seen", Instant, nullable=False, comment="When the site listed it last."),
        Column("changed_at", Instant, comment="When a change was seen last; null: never."),
        Column(
            "gone_at",
            Instant,
            comment="When the mirror saw that the site lists it no more; null: it does.",
        ),
        Column(
            "missing_since",
            Instant,
            comment="Since when an answer that should have held it did not; gone_at is set once"
            " all up to the present has been read, for it may only have moved.",
        ),
    ]


def _text(name: str, comment: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, EscapedText, nullable=nullable, comment=comment)


def _money(name: str, comment: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, Money, nullable=nullable, comment=comment)


def _time(comment: str) -> Column[object]:
    return Column("time", Instant, nullable=False, comment=comment)


def _flag(name: str, comment: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, comment=comment)


accounts = Table(
    "accounts",
    metadata,
    Column(
        "account", Integer, Identity(), primary_key=True, comment="Its number in this database."
    ),
    Column("name", EscapedText, unique=True, nullable=False, comment="What it is called."),
    _text("host", "The host of the site, with the port if that is not the scheme's own."),
    _text("timezone", "The site's own zone, by which times became instants."),
    _text("dialect", "Which server it is, where the account says so.", nullable=True),
    Column("first_seen", Instant, nullable=False, comment="When the mirror took it in."),
    Column("last_synced", Instant, comment="When everything of it was caught up last."),
    comment="Accounts at sites. Keys are in no table.",
)

account_fingerprints = Table(
    "account_fingerprints",
    metadata,
    Column(
        "fingerprint",
        Text,
        primary_key=True,
        comment="Of name, or url and key: one-way, and tells neither.",
    ),
    _account(key=False),
    comment="By what an account is found again after it was renamed, or the site has moved.",
)

links = Table(
    "links",
    metadata,
    _account(known=False),
    _id("visit"),
    _time("When, in UTC."),
    _text("date", "The same as the site wrote it, by its own clock."),
    _text("browser", "The visitor's browser as the site took it; from the visitor, and hostile."),
    _text("ip", "The visitor's address.", nullable=True),
    _text("referrer", "The page the visitor came from; from the visitor, and hostile."),
    _text("user_hash", "The visitor at this site, as in exchanges."),
    _text("query_string", "The query of the landing page, with the partner's sub-ids; hostile."),
    *_tail(),
    Index("links_by_time", "account", "time"),
    comment="Visits that the partner brought.",
)

exchanges = Table(
    "exchanges",
    metadata,
    _account(known=False),
    _id("order"),
    _time("Created, or on 2.7 sites last edited, in UTC."),
    _money("amount_give", "What the visitor gives, in currency_code_give."),
    _money("amount_get", "What the visitor gets, in currency_code_get."),
    _flag("exchange_success", "Whether the order was carried out."),
    _flag("accrued", "Whether the reward has been credited; it may be taken back."),
    _money("partner_reward", "The reward in the site's base currency; a forecast until accrued."),
    _text("date", "The time as the site wrote it, by its own clock."),
    _text("currency_code_give", "The currency that is given, such as BTC."),
    _text("currency_code_get", "The currency that is got."),
    _money("course_give", "So much of the one currency for course_get.", nullable=True),
    _money("course_get", "The other side of the rate.", nullable=True),
    _text("user_hash", "The visitor at this site, as in links."),
    _text("user_ip", "The visitor's address.", nullable=True),
    _text("psys_give", "The payment system of what is given; 2.7 sites only.", nullable=True),
    _text("psys_get", "The payment system of what is got; 2.7 sites only.", nullable=True),
    _text("status", "How far the order is, an open set; 2.7 sites only.", nullable=True),
    _text("hash", "The order's public hash; 2.7 sites only.", nullable=True),
    *_tail(),
    Index("exchanges_by_time", "account", "time"),
    Index("exchanges_by_visitor", "account", "user_hash"),
    comment="Orders of visitors that the partner brought.",
)

payouts = Table(
    "payouts",
    metadata,
    _account(known=False),
    _id("request, the payout_id of the receipt"),
    _time("When it was requested, in UTC."),
    Column("method_id", BigInteger, nullable=False, comment="The method it was requested by."),
    # Not `account`: that is the account's number in every table.
    _text("wallet", "The wallet or card that it goes to; `Payout.account`."),
    _money("pay_amount", "The amount of the payout, in pay_currency_code."),
    _money("original_amount", "The same before it was converted, in original_currency_code."),
    _text("status", "0 waiting, 1 done, 2 cancelled, 3 cancelled by the user."),
    _text("date", "The time as the site wrote it, by its own clock."),
    _text("pay_currency_code", "The currency of the payout."),
    _text("original_currency_code", "The currency of the balance that it is taken from."),
    *_tail(),
    Index("payouts_by_time", "account", "time"),
    comment="Requests for payouts.",
)

ROWS: Mapping[str, Table] = {"links": links, "exchanges": exchanges, "payouts": payouts}
"""The tables of rows, by resource."""

changes = Table(
    "changes",
    metadata,
    Column("revision", _NUMBER, Identity(), primary_key=True, comment="Counts the changes."),
    Column(
        "tx",
        BigInteger,
        nullable=False,
        comment="PostgreSQL's number of the transaction: changes are in order of tx and revision,"
        " and complete below pg_snapshot_xmin(pg_current_snapshot()). 0 in SQLite.",
    ),
    _account(key=False, known=False),
    _resource(key=False),
    Column("id", BigInteger, comment="The row's id; null for info."),
    Column("kind", Text, nullable=False, comment="new, changed, gone or returned."),
    Column("seen_at", Instant, nullable=False, comment="When the mirror saw it."),
    Column("fields", JsonText, nullable=False, comment="The names of the fields that differ."),
    Column("before", Text, comment="The whole row as it was, as JSON; null: new or returned."),
    Column("after", Text, comment="The whole row as it is then, as JSON; null: gone."),
    Index("changes_by_row", "account", "resource", "id"),
    Index("changes_by_place", "account", "resource", "revision"),
    Index("changes_by_time", "seen_at"),
    Index("changes_in_order", "tx", "revision"),
    comment="What has changed since the first reading; for ever.",
)

status_changes = Table(
    "status_changes",
    metadata,
    _account(known=False),
    _id("order"),
    Column(
        "time",
        Instant,
        primary_key=True,
        comment="When the site says so, or else when the mirror saw it.",
    ),
    Column("status", EscapedText, primary_key=True, comment="What the order became."),
    _text("previous", "What it was before, if known.", nullable=True),
    Column("seen_at", Instant, nullable=False, comment="When the mirror saw it."),
    comment="Steps in the history of exchanges: seen, or told with status_history.",
)

balances = Table(
    "balances",
    metadata,
    _account(),
    Column(
        "revision",
        _NUMBER,
        ForeignKey("changes.revision"),
        primary_key=True,
        autoincrement=False,
        comment="Of the change that this is.",
    ),
    Column("seen_at", Instant, nullable=False, comment="When the mirror saw it."),
    _money("balance", "What can be paid out, in the site's base currency."),
    _money("min_payout", "The least balance that a payout is made of, in the same currency."),
    Column("partner_id", BigInteger, comment="The partner's id at the site; 2.7 sites only."),
    Column("items", JsonText, nullable=False, comment="The ways to be paid that there were."),
    Column("extra", JsonText, comment="Keys that the library does not know; null: none."),
    comment="Each change of get_info; the last one of an account is how it is.",
)

coverage = Table(
    "coverage",
    metadata,
    _account(),
    _resource(),
    Column("start", Instant, comment="From here on; null: from the beginning."),
    Column("end", Instant, primary_key=True, comment="Up to here, exclusively."),
    Column("proven_at", Instant, nullable=False, comment="When it was read last, completely."),
    comment="Which times are proven to be here completely; the ranges do not overlap.",
)

unreadable = Table(
    "unreadable",
    metadata,
    _account(),
    _resource(),
    Column("digest", Text, primary_key=True, comment="Of the row as the site wrote it."),
    Column("id", BigInteger, comment="The row's id; null: not even that can be read."),
    Column("time", Instant, comment="When, in UTC; null: that cannot be read."),
    Column("problems", JsonText, nullable=False, comment="[path, value] of each problem."),
    Column("first_seen", Instant, nullable=False, comment="When the mirror saw it first."),
    Column("last_seen", Instant, nullable=False, comment="When the site listed it last."),
    comment="Rows that a site lists and that cannot be read; removed once they can be.",
)

positions = Table(
    "positions",
    metadata,
    _account(),
    _resource(),
    Column("version", BigInteger, nullable=False, comment="Counts the transactions: the fence."),
    Column("document", Text, comment="Where reading stands, as JSON; null: nothing was read."),
    Column("delivered", BigInteger, comment="The revision up to which follow has delivered."),
    Column("updated_at", Instant, nullable=False, comment="When it was written."),
    comment="Where reading stands with one resource of one account.",
)

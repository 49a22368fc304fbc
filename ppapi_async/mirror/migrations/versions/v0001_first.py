"""The first tables."""

from __future__ import annotations

from alembic.operations import Operations
from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Identity, Integer, Text

from ppapi_async.mirror.types import EscapedText, Instant, JsonText, Money

__all__ = ["depends_on", "down_revision", "revision", "upgrade"]

revision = "0001"
down_revision = None
depends_on = None


def upgrade(op: Operations) -> None:
    """Make the tables of version 0001."""
    _make_accounts(op)
    _make_rows(op)
    _make_changes(op)
    _make_positions(op)


def _make_accounts(op: Operations) -> None:
    op.create_table(
        "accounts",
        Column("account", Integer, Identity(), primary_key=True),
        Column("name", EscapedText, unique=True, nullable=False),
        Column("host", EscapedText, nullable=False),
        Column("timezone", EscapedText, nullable=False),
        Column("dialect", EscapedText),
        Column("first_seen", Instant, nullable=False),
        Column("last_synced", Instant),
    )
    op.create_table(
        "account_fingerprints",
        Column("fingerprint", Text, primary_key=True),
        Column("account", Integer, ForeignKey("accounts.account"), nullable=False),
    )


def _make_rows(op: Operations) -> None:
    op.create_table(
        "links",
        *_key(),
        Column("time", Instant, nullable=False),
        Column("date", EscapedText, nullable=False),
        Column("browser", EscapedText, nullable=False),
        Column("ip", EscapedText),
        Column("referrer", EscapedText, nullable=False),
        Column("user_hash", EscapedText, nullable=False),
        Column("query_string", EscapedText, nullable=False),
        *_tail(),
    )
    op.create_table(
        "exchanges",
        *_key(),
        Column("time", Instant, nullable=False),
        Column("amount_give", Money, nullable=False),
        Column("amount_get", Money, nullable=False),
        Column("exchange_success", Boolean, nullable=False),
        Column("accrued", Boolean, nullable=False),
        Column("partner_reward", Money, nullable=False),
        Column("date", EscapedText, nullable=False),
        Column("currency_code_give", EscapedText, nullable=False),
        Column("currency_code_get", EscapedText, nullable=False),
        Column("course_give", Money),
        Column("course_get", Money),
        Column("user_hash", EscapedText, nullable=False),
        Column("user_ip", EscapedText),
        Column("psys_give", EscapedText),
        Column("psys_get", EscapedText),
        Column("status", EscapedText),
        Column("hash", EscapedText),
        *_tail(),
    )
    op.create_table(
        "payouts",
        *_key(),
        Column("time", Instant, nullable=False),
        Column("method_id", BigInteger, nullable=False),
        Column("wallet", EscapedText, nullable=False),
        Column("pay_amount", Money, nullable=False),
        Column("original_amount", Money, nullable=False),
        Column("status", EscapedText, nullable=False),
        Column("date", EscapedText, nullable=False),
        Column("pay_currency_code", EscapedText, nullable=False),
        Column("original_currency_code", EscapedText, nullable=False),
        *_tail(),
    )
    for name in ("links", "exchanges", "payouts"):
        op.create_index(f"{name}_by_time", name, ["account", "time"])
    op.create_index("exchanges_by_visitor", "exchanges", ["account", "user_hash"])


def _key() -> list[Column[int]]:
    return [
        Column("account", Integer, primary_key=True, autoincrement=False),
        Column("id", BigInteger, primary_key=True, autoincrement=False),
    ]


def _tail() -> list[Column[object]]:
    return [
        Column("extra", JsonText),
        Column("first_seen", Instant, nullable=False),
        Column("last_seen", Instant, nullable=False),
        Column("changed_at", Instant),
        Column("gone_at", Instant),
        Column("missing_since", Instant),
    ]


def _make_changes(op: Operations) -> None:
    number = BigInteger().with_variant(Integer, "sqlite")
    op.create_table(
        "changes",
        Column("revision", number, Identity(), primary_key=True),
        Column("tx", BigInteger, nullable=False),
        Column("account", Integer, nullable=False),
        Column("resource", Text, nullable=False),
        Column("id", BigInteger),
        Column("kind", Text, nullable=False),
        Column("seen_at", Instant, nullable=False),
        Column("fields", JsonText, nullable=False),
        Column("before", Text),
        Column("after", Text),
    )
    op.create_index("changes_by_row", "changes", ["account", "resource", "id"])
    op.create_index("changes_by_place", "changes", ["account", "resource", "revision"])
    op.create_index("changes_by_time", "changes", ["seen_at"])
    op.create_index("changes_in_order", "changes", ["tx", "revision"])
    op.create_table(
        "status_changes",
        *_key(),
        Column("time", Instant, primary_key=True),
        Column("status", EscapedText, primary_key=True),
        Column("previous", EscapedText),
        Column("seen_at", Instant, nullable=False),
    )
    op.create_table(
        "balances",
        Column("account", Integer, ForeignKey("accounts.account"), primary_key=True),
        Column(
            "revision",
            number,
            ForeignKey("changes.revision"),
            primary_key=True,
            autoincrement=False,
        ),
        Column("seen_at", Instant, nullable=False),
        Column("balance", Money, nullable=False),
        Column("min_payout", Money, nullable=False),
        Column("partner_id", BigInteger),
        Column("items", JsonText, nullable=False),
        Column("extra", JsonText),
    )


def _make_positions(op: Operations) -> None:
    op.create_table(
        "coverage",
        *_place(),
        Column("start", Instant),
        Column("end", Instant, primary_key=True),
        Column("proven_at", Instant, nullable=False),
    )
    op.create_table(
        "unreadable",
        *_place(),
        Column("digest", Text, primary_key=True),
        Column("id", BigInteger),
        Column("time", Instant),
        Column("problems", JsonText, nullable=False),
        Column("first_seen", Instant, nullable=False),
        Column("last_seen", Instant, nullable=False),
    )
    op.create_table(
        "positions",
        *_place(),
        Column("version", BigInteger, nullable=False),
        Column("document", Text),
        Column("delivered", BigInteger),
        Column("updated_at", Instant, nullable=False),
    )


def _place() -> list[Column[object]]:
    return [
        Column("account", Integer, ForeignKey("accounts.account"), primary_key=True),
        Column("resource", Text, primary_key=True),
    ]

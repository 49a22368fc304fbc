"""The views of the database, for people and BI tools that write SQL.

PostgreSQL adds NUMERIC exactly. SQLite has no such type: there the views add floats and round the
sums to 12 places, which is right to some 15 digits. What has to be exact there is
`Mirror.rewards`, or `decimal_sum` over the tables. Where a table has an account's number, a view
has its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from string import Template

__all__ = ["CANCELLED", "VIEWS"]

CANCELLED = ("cancel", "delete")
"""The statuses after which no reward is to be expected; only 2.7 sites tell statuses."""

_LOST = ", ".join(f"'{status}'" for status in CANCELLED)
_EXPECTED = f"NOT accrued AND gone_at IS NULL AND (status IS NULL OR status NOT IN ({_LOST}))"

_REWARDS_BY_DAY = """
SELECT accounts.name AS account,
       days.day,
       days.exchanges,
       days.completed,
       days.accrued,
       days.forecast,
       days.gone,
       days.gone_accrued
FROM (
    SELECT account,
           $day AS day,
           COUNT(*) FILTER (WHERE gone_at IS NULL) AS exchanges,
           COUNT(*) FILTER (WHERE gone_at IS NULL AND exchange_success) AS completed,
           $accrued AS accrued,
           $forecast AS forecast,
           COUNT(*) FILTER (WHERE gone_at IS NOT NULL) AS gone,
           $gone_accrued AS gone_accrued
    FROM exchanges
    GROUP BY account, $day
) AS days
JOIN accounts ON accounts.account = days.account
"""

# Window functions find a visitor's first and last click in one pass, where a look-up for each would
# need an index on user_hash. Clicks and orders are put together by groups and not by a join: SQLite
# goes through all clicks for each visitor then.
_CLICKS_TO_ORDERS = """
WITH placed AS (
    SELECT account, user_hash, time, referrer, query_string,
           ROW_NUMBER() OVER (PARTITION BY account, user_hash ORDER BY time, id) AS place,
           ROW_NUMBER() OVER (PARTITION BY account, user_hash ORDER BY time DESC, id DESC)
               AS place_from_end
    FROM links
    WHERE user_hash <> ''
),
clicked AS (
    SELECT account, user_hash,
           COUNT(*) AS clicks,
           MIN(time) AS first_click,
           MAX(time) AS last_click,
           MAX(CASE WHEN place = 1 THEN query_string END) AS first_query_string,
           MAX(CASE WHEN place_from_end = 1 THEN query_string END) AS last_query_string,
           MAX(CASE WHEN place = 1 THEN referrer END) AS first_referrer
    FROM placed
    GROUP BY account, user_hash
),
ordered AS (
    SELECT account, user_hash,
           COUNT(*) AS exchanges,
           COUNT(*) FILTER (WHERE exchange_success) AS completed,
           MIN(time) AS first_exchange,
           $accrued AS accrued,
           $forecast AS forecast
    FROM exchanges
    WHERE user_hash <> '' AND gone_at IS NULL
    GROUP BY account, user_hash
),
met AS (
    SELECT account, user_hash, clicks, first_click, last_click, first_query_string,
           last_query_string, first_referrer, 0 AS exchanges, 0 AS completed,
           NULL AS first_exchange, 0 AS accrued, 0 AS forecast
    FROM clicked
    UNION ALL
    SELECT account, user_hash, 0, NULL, NULL, NULL, NULL, NULL, exchanges, completed,
           first_exchange, accrued, forecast
    FROM ordered
),
visitors AS (
    SELECT account, user_hash,
           MAX(clicks) AS clicks,
           MAX(first_click) AS first_click,
           MAX(last_click) AS last_click,
           MAX(first_query_string) AS first_query_string,
           MAX(last_query_string) AS last_query_string,
           MAX(first_referrer) AS first_referrer,
           MAX(exchanges) AS exchanges,
           MAX(completed) AS completed,
           MAX(first_exchange) AS first_exchange,
           SUM(accrued) AS accrued,
           SUM(forecast) AS forecast
    FROM met
    GROUP BY account, user_hash
)
SELECT accounts.name AS account,
       visitors.user_hash,
       visitors.clicks,
       visitors.first_click,
       visitors.last_click,
       visitors.first_query_string,
       visitors.last_query_string,
       visitors.first_referrer,
       visitors.exchanges,
       visitors.completed,
       visitors.first_exchange,
       visitors.accrued,
       visitors.forecast
FROM visitors
JOIN accounts ON accounts.account = visitors.account
"""

_PAYOUT_BALANCE = """
WITH told AS (
    SELECT account, seen_at, $balance AS balance, $min_payout AS min_payout
    FROM balances
    WHERE revision IN (SELECT MAX(revision) FROM balances GROUP BY account)
),
earned AS (
    SELECT account, $ever_accrued AS accrued FROM exchanges GROUP BY account
),
requested AS (
    SELECT account,
           CASE WHEN MIN(original_currency_code) = MAX(original_currency_code)
                THEN MIN(original_currency_code) END AS currency,
           COUNT(*) FILTER (WHERE status = '0' AND gone_at IS NULL) AS waiting_payouts,
           $waiting AS waiting,
           COUNT(*) FILTER (WHERE status = '1') AS paid_payouts,
           $paid AS paid,
           MAX(time) FILTER (WHERE status = '1') AS last_paid
    FROM payouts
    GROUP BY account
),
summed AS (
    SELECT accounts.name AS account,
           told.seen_at,
           told.balance,
           told.min_payout,
           requested.currency,
           COALESCE(earned.accrued, 0) AS accrued,
           COALESCE(requested.waiting_payouts, 0) AS waiting_payouts,
           COALESCE(requested.waiting, 0) AS waiting,
           COALESCE(requested.paid_payouts, 0) AS paid_payouts,
           COALESCE(requested.paid, 0) AS paid,
           requested.last_paid
    FROM accounts
    LEFT JOIN told ON told.account = accounts.account
    LEFT JOIN earned ON earned.account = accounts.account
    LEFT JOIN requested ON requested.account = accounts.account
)
SELECT account,
       seen_at,
       balance,
       min_payout,
       balance > 0 AND balance >= min_payout AS is_due,
       currency,
       accrued,
       waiting_payouts,
       waiting,
       paid_payouts,
       paid,
       last_paid,
       $unexplained AS unexplained
FROM summed
"""


def _views(
    day: str, add: Callable[[str, str], str], amount: Callable[[str], str]
) -> dict[str, str]:
    """Return the views of one kind of database.

    Args:
        day: SQL for the day of `time`, by UTC.
        add: makes SQL that adds up a column where a condition holds.
        amount: makes SQL for a column's amount as one can calculate with it.
    """
    parts = {
        "day": day,
        "accrued": add("partner_reward", "accrued AND gone_at IS NULL"),
        "forecast": add("partner_reward", _EXPECTED),
        "gone_accrued": add("partner_reward", "accrued AND gone_at IS NOT NULL"),
        "ever_accrued": add("partner_reward", "accrued"),
        "waiting": add("original_amount", "status = '0' AND gone_at IS NULL"),
        "paid": add("original_amount", "status = '1'"),
        "balance": amount("balance"),
        "min_payout": amount("min_payout"),
        "unexplained": amount("balance - (accrued - waiting - paid)"),
    }
    texts = {
        "rewards_by_day": _REWARDS_BY_DAY,
        "clicks_to_orders": _CLICKS_TO_ORDERS,
        "payout_balance": _PAYOUT_BALANCE,
    }
    return {name: Template(text).substitute(parts).strip() for name, text in texts.items()}


VIEWS: Mapping[str, Mapping[str, str]] = {
    "sqlite": _views(
        day="SUBSTR(time, 1, 10)",  # instants are text of a fixed width, the day first
        add=lambda amount, where: f"ROUND(TOTAL({amount}) FILTER (WHERE {where}), 12)",
        amount=lambda amount: f"ROUND({amount}, 12)",
    ),
    "postgresql": _views(
        day="CAST(time AT TIME ZONE 'UTC' AS DATE)",
        add=lambda amount, where: f"COALESCE(SUM({amount}) FILTER (WHERE {where}), 0)",
        amount=lambda amount: amount,
    ),
}
"""The SELECT of each view, by the name of SQLAlchemy's dialect and the view's."""

"""A change as a line for people, and as an object for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, tzinfo
from decimal import Decimal
from enum import Enum
from typing import TypeAlias

import click

from ppapi_async.cli.output import number_text, plain
from ppapi_async.models import Exchange, Info, Link, Payout
from ppapi_async.watching.changes import Change, ChangeKind

__all__ = ["FIELDS", "AnyChange", "change_document", "change_line", "document_text", "resource_of"]

AnyChange: TypeAlias = Change[Link | Exchange | Payout | Info]
_RESOURCES: Mapping[type, str] = {
    Link: "links",
    Exchange: "exchanges",
    Payout: "payouts",
    Info: "info",
}
FIELDS = ("kind", "account", "resource", "id", "fields", "record", "previous")
"""Of a change as JSON has it."""
_LABELS = {"partner_reward": "reward", "exchange_success": "success", "min_payout": "least payout"}
_STATES = {"0": "waiting", "1": "done", "2": "cancelled", "3": "cancelled by the user"}
_UNTOLD = frozenset({"time", "date", "extra", "statuses"})
"""Fields whose changes say little to people; JSON has them."""
_LONGEST = 60


def resource_of(change: AnyChange) -> str:
    """Return what the change is of: links, exchanges, payouts or info."""
    return _RESOURCES[type(change.record)]


def change_document(change: AnyChange) -> dict[str, object]:
    """Return a change as JSON has it: amounts and times are text."""
    previous = change.previous
    return {
        "kind": change.kind.value,
        "account": change.account,
        "resource": resource_of(change),
        "id": getattr(change.record, "id", None),
        "fields": list(change.fields),
        "record": change.record.to_dict(),
        "previous": None if previous is None else previous.to_dict(),
    }


def document_text(document: Mapping[str, object]) -> str:
    """Return a document as one line that does nothing to a terminal."""
    text = json.dumps(document, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(document)


def change_line(change: AnyChange, now: datetime, zone: tzinfo, *, colour: bool) -> str:
    """Return a change as people read it.

    >>> from datetime import UTC
    >>> noon = datetime(2026, 11, 28, 12, tzinfo=UTC)
    >>> change = Change(ChangeKind.NEW, Link(id=7, time=noon, ip="192.0.2.1"), account="one")
    >>> change_line(change, noon, UTC, colour=False)
    '2026-11-28 12:00:00  one  new click 7: from 192.0.2.1'
    """
    when = f"{now.astimezone(zone):%Y-%m-%d %H:%M:%S}"
    text = plain(_text(change))
    if not colour:
        return f"{when}  {plain(change.account)}  {text}"
    account = click.style(plain(change.account), fg="cyan")
    return f"{click.style(when, dim=True)}  {account}  {click.style(text, fg=_colour(change))}"


def _colour(change: AnyChange) -> str | None:
    """Return red for what takes money back, green for what brings some."""
    now, before = change.record, change.previous
    if isinstance(now, Exchange) and "accrued" in change.fields:
        return "green" if now.accrued else "red"
    if isinstance(now, Info) and isinstance(before, Info) and "balance" in change.fields:
        return "green" if now.balance > before.balance else "yellow"
    return "blue" if change.kind is ChangeKind.NEW else None


def _text(change: AnyChange) -> str:
    record = change.record
    is_new = change.kind is ChangeKind.NEW
    new = "new " if is_new else ""
    match record:
        case Link():
            return f"{new}click {record.id}: {_of_link(record) if is_new else _steps(change)}"
        case Exchange():
            what = _of_exchange(record) if is_new else _steps(change)
            if not is_new and "partner_reward" not in change.fields:
                what += f", reward {number_text(record.partner_reward)}"
            return f"{new}order {record.id}: {what}"
        case Payout():
            amount = f"{number_text(record.pay_amount)} {record.pay_currency_code}".strip()
            state = _value(record.status) if is_new else _steps(change)
            return f"{new}payout {record.id}: {state}, {amount} to {_cut(record.account)}"
        case Info():
            if is_new or not change.fields:
                return f"balance {number_text(record.balance)}"
            return _steps(change)


def _of_link(link: Link) -> str:
    parts = [f"from {link.ip}"] if link.ip else []
    parts += [_cut(link.referrer)] if link.referrer else []
    parts += [_cut(link.query_string)] if link.query_string else []
    return ", ".join(parts) or "nothing is known of it"


def _of_exchange(order: Exchange) -> str:
    give = f"{number_text(order.amount_give)} {order.currency_code_give}".strip()
    get = f"{number_text(order.amount_get)} {order.currency_code_get}".strip()
    status = f", {order.status}" if order.status else ""
    return f"{give} → {get}, reward {number_text(order.partner_reward)}{status}"


def _steps(change: AnyChange) -> str:
    """Return what has changed, from what to what."""
    names = [name for name in change.fields if name not in _UNTOLD] or list(change.fields)
    steps = []
    for name in names:
        label = _LABELS.get(name, name.replace("_", " "))
        after = _value(getattr(change.record, name))
        before = "" if change.previous is None else f"{_value(getattr(change.previous, name))} → "
        steps.append(f"{label} {before}{after}")
    return ", ".join(steps) or change.kind.value


def _value(value: object) -> str:
    match value:
        case None | "":
            return "nothing"
        case bool():
            return str(int(value))
        case Decimal():
            return number_text(value)
        case Enum():
            return _STATES.get(str(value.value), str(value.value))
        case datetime():
            return f"{value:%Y-%m-%d %H:%M}"
        case tuple():
            return f"{len(value)}"
        case _:
            return _cut(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"

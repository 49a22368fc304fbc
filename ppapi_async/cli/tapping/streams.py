"""The streams of the tap: their JSON Schemas, and records as they go into messages."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from types import UnionType
from typing import TypeAlias, cast, get_args, get_type_hints

import attrs
from attrs import frozen

from ppapi_async.models import (
    Exchange,
    Info,
    Link,
    Payout,
    PayoutStatus,
    Record,
)
from ppapi_async.protocol.stored_text import amount_text, escape, exact_json

__all__ = ["STREAMS", "Schema", "TapStream"]

Schema: TypeAlias = dict[str, object]
_BEFORE_POINT, _AFTER_POINT = 20, 18
"""Digits of an amount that the schema promises, as in `ppapi_async.arrow`."""
_AMOUNT: Schema = {
    "type": "string",
    "format": "x-singer.decimal",
    "precision": _BEFORE_POINT + _AFTER_POINT,
    "scale": _AFTER_POINT,
}
"""The digits as text, as Meltano's targets take decimals: JSON's numbers become floats in most."""
_TEXT: Schema = {"type": "string"}
_SHOWN = 80
_INSTANT: Schema = {"type": "string", "format": "date-time"}
_TYPES: Mapping[object, Schema] = {
    int: {"type": "integer"},
    str: _TEXT,
    bool: {"type": "boolean"},
    datetime: _INSTANT,
    PayoutStatus: _TEXT,
    Mapping[str, object]: _TEXT,
}


@frozen
class TapStream:
    """A stream: what it is called, and what its records have."""

    name: str
    kind: type[Record]
    key: tuple[str, ...]
    extra: Mapping[str, Schema]
    """Properties that a record has not of itself."""

    def schema(self, *, plain_amounts: bool = False) -> Schema:
        """Return the JSON Schema of a record.

        Args:
            plain_amounts: have amounts as plain texts, which take any number of digits.
        """
        own: dict[str, Schema] = {"account": _TEXT, **self.extra}
        own |= _properties(self.kind, _TEXT if plain_amounts else _AMOUNT)
        for name in self.key:
            own[name] = own[name] | {"type": _only(own[name]["type"])}
        return {"type": "object", "properties": own, "required": list(self.key)}

    def too_long(self, record: Record) -> str | None:
        """Return which amount has more digits than the schema promises; None where all fit."""
        for name, value in _values(record).items():
            if isinstance(getattr(record, name, None), Decimal):
                whole, _, places = cast("str", value).lstrip("-").partition(".")
                if len(whole) > _BEFORE_POINT or len(places.rstrip("0")) > _AFTER_POINT:
                    return f"{name} is {cast('str', value)[:_SHOWN]}"
        return None

    def record(
        self, record: Record, account: str, wanted: Collection[str], **more: object
    ) -> dict[str, object]:
        """Return a record as it goes into a message.

        Args:
            record: of this stream.
            account: the account's name.
            wanted: the names of the properties that are selected.
            more: values of properties that the record has not.
        """
        values = {"account": escape(account), **more, **_values(record)}
        return {name: value for name, value in values.items() if name in wanted}


def _properties(kind: type[Record], amount: Schema) -> dict[str, Schema]:
    hints = get_type_hints(kind)
    names = [one.name for one in attrs.fields(cast("type[attrs.AttrsInstance]", kind))]
    return {_name_of(kind, name): _schema_of(hints[name], amount) for name in names}


def _name_of(kind: type[Record], name: str) -> str:
    """Return the name of a property: `account` is the account's name in every stream."""
    return "wallet" if kind is Payout and name == "account" else name


def _schema_of(hint: object, amount: Schema) -> Schema:
    parts = [part for part in get_args(hint) if part is not type(None)]
    only = parts[0] if isinstance(hint, UnionType) else hint
    found = amount if only is Decimal else _TYPES.get(only)
    if found is not None:
        return {**found, "type": ["null", found["type"]]}
    inner = {"type": "object", "properties": _properties(cast("type[Record]", parts[0]), amount)}
    return {"type": ["null", "array"], "items": inner}


def _only(types: object) -> object:
    return next(one for one in types if one != "null") if isinstance(types, list) else types


def _values(record: Record) -> dict[str, object]:
    kind = type(record)
    names = [one.name for one in attrs.fields(cast("type[attrs.AttrsInstance]", kind))]
    return {_name_of(kind, name): _value(getattr(record, name)) for name in names}


def _value(value: object) -> object:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, Decimal):
        return amount_text(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_values(one) for one in cast("Sequence[Record]", value)]
    if isinstance(value, Mapping):
        return json.dumps(exact_json(value)) if value else None
    return value


STREAMS: Mapping[str, TapStream] = {
    one.name: one
    for one in (
        TapStream("balances", Info, ("account",), {"read_at": _INSTANT}),
        TapStream("payouts", Payout, ("account", "id"), {}),
        TapStream("exchanges", Exchange, ("account", "id"), {}),
        TapStream("links", Link, ("account", "id"), {}),
    )
}
"""In the order in which they are read: money first."""

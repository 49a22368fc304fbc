"""What an exported file has for columns, the same whatever its format and wherever it is from."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import datetime
from decimal import Decimal
from enum import Enum, auto
from types import UnionType
from typing import cast, get_args, get_type_hints

from attrs import frozen

from ppapi_async.mirror.rows import COLUMN_NAMES, KINDS, fields_of
from ppapi_async.models import PayoutStatus

__all__ = ["NOTED", "ExportColumn", "ValueKind", "export_columns"]

NOTED = ("first_seen", "changed_at", "gone_at")
"""What a mirror notes of each row, and sites do not know."""


class ValueKind(Enum):
    """What the values of a column are."""

    TEXT = auto()
    NUMBER = auto()
    AMOUNT = auto()
    INSTANT = auto()
    FLAG = auto()
    JSON = auto()


_KINDS: dict[object, ValueKind] = {
    str: ValueKind.TEXT,
    PayoutStatus: ValueKind.TEXT,
    int: ValueKind.NUMBER,
    Decimal: ValueKind.AMOUNT,
    datetime: ValueKind.INSTANT,
    bool: ValueKind.FLAG,
}


@frozen
class ExportColumn:
    """A column of an exported file."""

    name: str
    kind: ValueKind


def export_columns(resource: str, *, from_mirror: bool) -> tuple[ExportColumn, ...]:
    """Return the columns of a resource, in order.

    Args:
        resource: links, exchanges or payouts.
        from_mirror: whether a mirror tells what it has noted, too.
    """
    kind = KINDS[resource]
    types, renamed = get_type_hints(kind), COLUMN_NAMES.get(kind, {})
    own = [
        ExportColumn(renamed.get(name, name), _kind_of(types[name]))
        for name in fields_of(cast("Hashable", kind))
    ]
    noted = [ExportColumn(name, ValueKind.INSTANT) for name in NOTED if from_mirror]
    return (ExportColumn("account", ValueKind.TEXT), *own, *noted)


def _kind_of(type_: object) -> ValueKind:
    parts = [part for part in get_args(type_) if part is not type(None)]
    only = parts[0] if isinstance(type_, UnionType) else type_
    return _KINDS.get(only, ValueKind.JSON)

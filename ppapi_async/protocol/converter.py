"""The one cattrs converter: its hooks are the way from JSON to records.

A page goes from its bytes straight into records, if all of it is clean (`clean_rows`). A single
object, and a row that is not clean, goes through a hook for each of its fields, which knows every
form of a value or names what is wrong with it.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import TypeAlias, TypeVar

import attrs
import cattrs
from attrs import frozen
from cattrs.gen import make_dict_structure_fn, override

from ppapi_async.models import (
    Exchange,
    Info,
    Json,
    Link,
    Payout,
    PayoutMethod,
    PayoutStatus,
    StatusChange,
)
from ppapi_async.protocol.clean_rows import OwnKeys, page_of
from ppapi_async.protocol.fields import (
    MOST_PARTS,
    WIRE_NAMES,
    finish_row,
    flag,
    money,
    optional_money,
    payout_status,
    per_cent,
    rows_of,
    text_of,
    wall_clock,
    whole,
)
from ppapi_async.protocol.page import Page

__all__ = ["MOST_PROBLEMS", "PageBody", "Receipt", "converter", "structure"]

T = TypeVar("T")
Hook: TypeAlias = Callable[[Json, object], object]
MOST_PROBLEMS = 20
"""Listed in one error; what is wrong beside them is counted."""


@frozen
class Receipt:
    """The `data` of add_payout."""

    payout_id: int


@frozen
class PageBody:
    """What the hook for a page takes: the whole body, and what keys the site has of its own."""

    body: bytes = attrs.field(repr=False)
    own: OwnKeys


class _RowsError(ValueError):
    """Rows within a record are not what they should be: `problems` has each path and value."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("not rows")
        self.problems = problems


@functools.cache
def converter() -> cattrs.Converter:
    """Return the converter with a hook for pages, for records and for each kind of value."""
    made = cattrs.Converter(detailed_validation=True)
    hooks: list[tuple[object, Hook]] = [
        (int, whole),
        (Decimal, money),
        (bool, flag),
        (str, text_of),
        (datetime, wall_clock),
        (Decimal | None, optional_money),
        (PayoutStatus, payout_status),
        (tuple[StatusChange, ...], _hook_of_many(StatusChange)),
        (tuple[PayoutMethod, ...], _hook_of_many(PayoutMethod)),
    ]
    for kind, hook in hooks:
        if isinstance(kind, type):
            made.register_structure_hook(kind, hook)
        else:
            made.register_structure_hook_func(functools.partial(operator.eq, kind), hook)
    for record in (Link, Exchange, Payout, PayoutMethod, Info, StatusChange, Receipt):
        made.register_structure_hook(record, _hook_of_record(made, record))
    made.register_structure_hook_func(
        lambda kind: getattr(kind, "__origin__", None) is Page,
        lambda page, kind: page_of(page.body, kind.__args__[0], page.own),
    )
    return made


def _hook_of_record(made: cattrs.Converter, record: type[attrs.AttrsInstance]) -> Hook:
    """Make the hook of a record: null is as good as missing, unknown keys are passed over."""
    overrides = {"extra": override(omit=True)}
    if record is PayoutMethod:
        overrides["commission"] = override(rename="comission", struct_hook=per_cent)
    hook = make_dict_structure_fn(record, made, **overrides)  # type: ignore[arg-type]

    def structure_record(value: Json, kind: object) -> object:
        if not isinstance(value, dict):
            raise ValueError("not an object")
        found = hook({key: one for key, one in value.items() if one is not None}, kind)
        if record is PayoutMethod:  # the one record that is only ever part of another
            finish_row(found, value)
        return found

    return structure_record


def _hook_of_many(record: type[T]) -> Hook:
    """Make the hook of a list of records within a record."""

    def structure_many(value: Json, _: object) -> object:
        items = value or []
        if isinstance(items, dict | list) and len(items) > MOST_PARTS:
            raise ValueError(f"more than {MOST_PARTS:,} entries")
        rows = [structure(one, record) for one in rows_of(items)]
        problems = [
            (f"[{index}].{path}".rstrip("."), shown)
            for index, found in enumerate(rows)
            if isinstance(found, list)
            for path, shown in found
        ]
        if problems:
            raise _RowsError(problems)
        return tuple(rows)

    return structure_many


def structure(value: Json, record: type[T]) -> T | list[tuple[str, str]]:
    """Return the record, or the `(path, value)` of each thing that is wrong with it."""
    try:
        return converter().structure(value, record)
    except cattrs.BaseValidationError as error:
        return list(islice(_problems(error, value), MOST_PROBLEMS))
    except (ValueError, TypeError) as error:
        return [("", f"{error}: {_show(value)}")]


def _problems(error: cattrs.BaseValidationError, value: Json) -> Iterator[tuple[str, str]]:
    """Return what cattrs found wrong with each field."""
    for one in error.exceptions:
        note = next((n for n in getattr(one, "__notes__", ()) if hasattr(n, "name")), None)
        name = "" if note is None else WIRE_NAMES.get(str(note.name), str(note.name))
        inner = value.get(name) if isinstance(value, dict) else None
        if isinstance(one, _RowsError):
            yield from ((f"{name}{path}", shown) for path, shown in one.problems)
        elif isinstance(one, KeyError):
            yield name, "missing"
        else:
            yield name, f"{one}: {_show(inner)}"


def _show(value: Json) -> str:
    if isinstance(value, dict | list):  # not written out: it may have a million entries
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value):,} entries"
    return repr(str(value) if isinstance(value, Decimal) else value)

"""Records as a user's program takes them: dicts, sets, JSON."""

from __future__ import annotations

import copy
import json
import pickle
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import attrs
import msgspec
import pydantic
import pytest

from ppapi_async import (
    Exchange,
    Info,
    Link,
    Payout,
    PayoutMethod,
    PayoutReceipt,
    PayoutStatus,
    StatusChange,
)
from ppapi_async.models import Record
from tests.protocol.test_codec import CLASSIC, COUNTS, DELEGATING, decode, page_of, sample

TIME = datetime(2026, 1, 31, 12, 30, 5, tzinfo=UTC)
ALL: dict[str, Record] = {
    "link": Link(1, TIME, query_string="a=1", extra={"own": [Decimal("0.10"), {"a": None}]}),
    "exchange": Exchange(
        2, TIME, Decimal("1.50"), Decimal("1E-8"), True, False, Decimal("0.3000"),
        statuses=(StatusChange(TIME, "new"),), extra={"rate": Decimal("12345678901234567890.1")},
    ),
    "payout": Payout(3, TIME, 11, "TX1", Decimal(5), Decimal("5.0"), PayoutStatus.WAITING),
    "info": Info(Decimal("7.10"), Decimal(1), (PayoutMethod(11, "USDT", Decimal(2), Decimal(7)),)),
    "receipt": PayoutReceipt(9),
}  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_records_are_json_exactly(name: str) -> None:
    """Each field by its name; amounts and instants are text, and nothing of theirs is lost."""
    record = ALL[name]
    found = record.to_dict()
    kind = type(record)
    assert attrs.has(kind)
    assert list(found) == [one.name for one in attrs.fields(kind)]
    assert json.loads(json.dumps(found)) == found
    assert msgspec.json.decode(msgspec.json.encode(found)) == found


def test_what_a_dict_holds() -> None:
    """As the docstring says it."""
    exchange = ALL["exchange"].to_dict()
    assert exchange["amount_give"] == "1.50"
    assert exchange["partner_reward"] == "0.3000"
    assert exchange["time"] == "2026-01-31T12:30:05+00:00"
    assert exchange["accrued"] is False
    assert exchange["course_give"] is None
    assert exchange["statuses"] == [
        {"time": "2026-01-31T12:30:05+00:00", "status": "new", "date": ""}
    ]
    assert exchange["extra"] == {"rate": "12345678901234567890.1"}
    assert ALL["payout"].to_dict()["status"] == "0"
    assert ALL["link"].to_dict()["extra"] == {"own": ["0.10", {"a": None}]}


@pytest.mark.parametrize("name", ALL)
def test_records_are_hashable(name: str) -> None:
    """Equal ones have one hash, with keys of the site's own, too; a change of any field shows."""
    record = ALL[name]
    same = pickle.loads(pickle.dumps(record))
    assert len({record, same}) == 1
    if isinstance(record, Link):
        assert len({record, attrs.evolve(record, extra={})}) == 2


@pytest.mark.parametrize("file", [CLASSIC, DELEGATING])
def test_what_servers_have_sent_is_taken(file: str, tmp_path: Path) -> None:
    """Of all recorded rows: hashable, JSON, and as many as there are."""
    for name, count in COUNTS.items():
        page = decode(sample(file, name), name.partition("-")[0])
        rows: list[Record] = page.records  # type: ignore[attr-defined]
        assert len(set(rows)) == count
        written = tmp_path / "rows.json"
        written.write_text(json.dumps([row.to_dict() for row in rows]))
        assert [one["id"] for one in json.loads(written.read_text())] == [
            row.id for row in rows if isinstance(row, Link | Exchange | Payout)
        ]


@pytest.mark.parametrize(
    "record", [Link, StatusChange, Exchange, Payout, PayoutMethod, Info, PayoutReceipt]
)
def test_help_describes_each_field(record: type[attrs.AttrsInstance]) -> None:
    """`help(Exchange)` has a line for each, in their order."""
    described = re.findall(r"^ {4,8}(\w+): \S", record.__doc__ or "", re.MULTILINE)
    assert described == [one.name for one in attrs.fields(record)]


def changes_of(extra: dict[str, object]) -> list[Callable[[], object]]:
    """Return all that would change a dict."""
    return [
        lambda: extra.__setitem__("a", 1),
        lambda: extra.__delitem__("own"),
        lambda: extra.__ior__({"a": 1}),
        extra.clear,
        lambda: extra.pop("own", None),
        extra.popitem,
        lambda: extra.setdefault("a", 1),
        lambda: extra.update(a=1),
    ]


def test_extra_is_a_dict_that_cannot_be_changed() -> None:
    """Whatever made it: a constructor, the codec, a pickle, a copy."""
    own = {"own": Decimal("0.10")}
    made = Link(1, TIME, extra=own)
    [read] = page_of([{"id": 1, "time": 1_700_000_000, "own": "x"}], "get_links").records
    for extra in (made.extra, read.extra, Link(2, TIME).extra, copy.deepcopy(made).extra):
        assert isinstance(extra, dict)
        for change in changes_of(extra):
            with pytest.raises(TypeError, match=re.escape("dict(record.extra)")):
                change()
    own["own"] = Decimal(1)
    assert made.extra == {"own": Decimal("0.10")}
    assert dict(made.extra) | {"a": 1} == {"own": Decimal("0.10"), "a": 1}


class Row(pydantic.BaseModel):
    """A model of a user's."""

    model_config = pydantic.ConfigDict(from_attributes=True)

    id: int
    time: datetime
    partner_reward: Decimal
    accrued: bool
    extra: dict[str, object]


def test_pydantic_takes_records() -> None:
    """As objects with attributes, and as dicts; amounts stay exact."""
    exchange = ALL["exchange"]
    by_name = Row.model_validate(exchange)
    assert by_name.partner_reward.as_tuple() == Decimal("0.3000").as_tuple()
    by_dict = Row.model_validate(exchange.to_dict())
    assert by_dict.partner_reward.as_tuple() == Decimal("0.3000").as_tuple()
    assert by_name.time == by_dict.time == TIME
    assert by_name.extra == {"rate": Decimal("12345678901234567890.1")}


@pytest.mark.parametrize("name", ALL)
def test_msgspec_takes_records(name: str) -> None:
    """Straight, with exact amounts, and back into the same record."""
    record = ALL[name]
    kind = type(record)
    assert attrs.has(kind)
    back = msgspec.json.decode(msgspec.json.encode(record), type=kind)
    assert type(back) is kind
    for one in attrs.fields(kind):
        if one.name != "extra":  # an amount in there is text for msgspec
            assert getattr(back, one.name) == getattr(record, one.name)


@pytest.mark.untraced
def test_pandas_and_arrow_take_records() -> None:
    """As rows of a table; amounts are text until somebody says what they are to be."""
    import pandas as pd
    import pyarrow as pa

    exchange = ALL["exchange"]
    assert isinstance(exchange, Exchange)
    rows = [exchange, attrs.evolve(exchange, id=3, partner_reward=Decimal("1E-8"))]
    dicts = [row.to_dict() for row in rows]
    frame = pd.DataFrame(dicts)
    assert list(frame["id"]) == [2, 3]
    assert sum(map(Decimal, frame["partner_reward"])) == Decimal("0.30000001")
    assert list(pd.to_datetime(frame["time"], utc=True)) == [TIME, TIME]
    table = pa.Table.from_pylist(dicts)
    assert table.column_names == [one.name for one in attrs.fields(Exchange)]
    exact = pa.compute.cast(table["amount_give"], pa.decimal128(38, 18))
    assert exact.to_pylist() == [Decimal("1.50"), Decimal("1.50")]

"""Records as a user's program takes them: dicts, sets, JSON."""

from __future__ import annotations

import json
import pickle
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import attrs
import msgspec
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
from tests.test_codec import CLASSIC, COUNTS, DELEGATING, decode, sample

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

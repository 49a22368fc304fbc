"""Records as text and back."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppapi_async import (
    Exchange,
    Info,
    Link,
    Payout,
    PayoutAttempt,
    PayoutMethod,
    PayoutStatus,
    StatusChange,
)
from ppapi_async.models import NO_EXTRA
from ppapi_async.protocol import dump_stored, parse_stored

T = TypeVar("T", Link, Exchange, Payout, Info)

AMOUNTS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TIMES = st.integers(0, 4 * 10**9).map(lambda second: datetime.fromtimestamp(second, UTC))
FRACTIONS = AMOUNTS.filter(lambda amount: not {".", "E"}.isdisjoint(str(amount)))
"""What JSON is decoded to as an amount; whole numbers are ints."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | FRACTIONS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
EXTRAS = st.just(NO_EXTRA) | st.dictionaries(TEXTS, JSON, min_size=1, max_size=3)
LINKS = st.builds(Link, id=st.integers(0), time=TIMES, query_string=TEXTS, extra=EXTRAS)
EXCHANGES = st.builds(
    Exchange,
    id=st.integers(0),
    time=TIMES,
    amount_give=AMOUNTS,
    amount_get=AMOUNTS,
    exchange_success=st.booleans(),
    accrued=st.booleans(),
    partner_reward=AMOUNTS,
    course_give=st.none() | AMOUNTS,
    status=st.none() | TEXTS,
    statuses=st.lists(st.builds(StatusChange, time=TIMES, status=TEXTS), max_size=2).map(tuple),
    extra=EXTRAS,
)
PAYOUTS = st.builds(
    Payout,
    id=st.integers(0),
    time=TIMES,
    method_id=st.integers(0),
    account=TEXTS,
    pay_amount=AMOUNTS,
    original_amount=AMOUNTS,
    status=st.sampled_from(PayoutStatus),
    extra=EXTRAS,
)
METHODS = st.builds(
    PayoutMethod, id=st.integers(0), title=TEXTS, commission=AMOUNTS, amount=AMOUNTS, extra=EXTRAS
)
INFOS = st.builds(
    Info,
    balance=AMOUNTS,
    min_payout=AMOUNTS,
    items=st.lists(METHODS, max_size=3).map(tuple),
    partner_id=st.none() | st.integers(0),
    extra=EXTRAS,
)


@given(record=LINKS | EXCHANGES | PAYOUTS | INFOS)
def test_records_come_back_exactly(record: Link | Exchange | Payout | Info) -> None:
    """Amounts to the last place, those among unknown keys included, and the same text again."""
    text = dump_stored(record)
    back = parse_stored(text, type(record))
    assert back == record
    assert repr(back) == repr(record)
    assert dump_stored(back) == text


def test_any_mapping_of_unknown_keys_is_stored() -> None:
    """A record that was made by hand may have a mapping that is no dict."""
    record = Link(1, datetime.fromtimestamp(5, UTC), extra=MappingProxyType({"a": Decimal("1.5")}))
    assert parse_stored(dump_stored(record), Link) == record


def test_what_has_no_unknown_keys_is_stored_too() -> None:
    """An attrs object of plain values comes back, whatever its fields."""
    attempt = PayoutAttempt(11, "TXabcdefgh", datetime.fromtimestamp(5, UTC))
    assert parse_stored(dump_stored(attempt), PayoutAttempt) == attempt


def test_amounts_among_unknown_keys_of_methods_come_back_exactly() -> None:
    """Of each method of an account, with or without such keys, and of the account itself."""
    exact = Decimal("0.10000000000000000000000000001")
    methods = (
        PayoutMethod(1, "one", Decimal(2), Decimal(3), extra={"fee": exact}),
        PayoutMethod(2, "two", Decimal(2), Decimal(3)),
    )
    for items in ((), methods):
        for extra in ({}, {"rate": exact}):
            info = Info(Decimal("1.50"), Decimal(10), items, extra=extra)
            back = parse_stored(dump_stored(info), Info)
            assert back == info
            assert repr(back) == repr(info)


def test_the_empty_extra_is_one_and_empty() -> None:
    """Records without unknown keys share one mapping, also after copying and pickling."""
    record = Link(id=1, time=datetime.fromtimestamp(0, UTC))
    for other in (copy.deepcopy(record), pickle.loads(pickle.dumps(record))):
        assert other == record
        assert other.extra is NO_EXTRA
    assert (list(NO_EXTRA), len(NO_EXTRA), NO_EXTRA.get("lang")) == ([], 0, None)
    with pytest.raises(KeyError, match="lang"):
        NO_EXTRA["lang"]


def test_what_is_no_record_is_refused() -> None:
    """A damaged text is a ValueError that names the kind."""
    for text in ("", "[]", '{"id":1}', '{"id":"x"}', "{"):
        with pytest.raises(ValueError, match="not a stored Exchange"):
            parse_stored(text, Exchange)


def test_what_cannot_be_stored_is_refused() -> None:
    """Something that would not come back as it was is not stored."""
    with pytest.raises(TypeError, match="object"):
        dump_stored(Link(1, datetime.now(UTC), extra={"a": object()}))

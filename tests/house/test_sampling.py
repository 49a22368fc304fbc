"""What is left out of the whole suite is a combination only, never a value."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sampling import Choice, left_out, sampled

pytest_plugins = ["pytester"]
CASES = """
import pytest

@pytest.fixture(params=["sqlite", "postgres"])
def database(request):
    return request.param

@pytest.mark.parametrize("text, number", [("a", 1), ("a", 2), ("b", 1)])
@pytest.mark.parametrize("dialect", ["classic", "clone"])
def test_product(database, text, number, dialect): pass

@pytest.mark.every_case
@pytest.mark.parametrize("one", [1, 2])
@pytest.mark.parametrize("other", [1, 2])
def test_all(one, other): pass

@pytest.mark.either_database
@pytest.mark.parametrize("dialect", ["classic", "clone", "delegating"])
@pytest.mark.parametrize("mirror_url", ["sqlite", "postgres"])
def test_above(mirror_url, dialect): pass

@pytest.mark.either_database
@pytest.mark.parametrize("mirror_url", ["sqlite", "postgres"])
def test_one(mirror_url): pass

def test_plain(): pass
"""


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), unique=True), st.randoms())
def test_each_value_is_in_a_case(values: list[tuple[int, int, int]], chance: random.Random) -> None:
    """Whatever the combinations are; the same are chosen in whatever order they come."""
    cases = {
        str(one): frozenset[Choice]((str(place), value) for place, value in enumerate(one))
        for one in values
    }
    chosen = sampled(cases)
    assert set().union(*(cases[name] for name in chosen)) == set().union(*cases.values())
    assert len(chosen) <= len(set().union(*cases.values()))
    again = list(cases.items())
    chance.shuffle(again)
    assert sampled(dict(again)) == chosen


@pytest.mark.untraced
def test_what_was_put_together_by_hand_stays_together(
    pytester: pytest.Pytester,
) -> None:
    """Twelve cases become three, with each pair, dialect and database; marked ones stay."""
    pytester.makeini(
        "[pytest]\nmarkers =\n every_case\n either_database\n"
        "asyncio_default_fixture_loop_scope = function\n"
    )
    items, _ = pytester.inline_genitems(pytester.makepyfile(CASES))
    gone = {item.nodeid.partition("::")[2] for item in left_out(items)}
    kept = [name for item in items if (name := item.nodeid.partition("::")[2]) not in gone]
    product = [name for name in kept if name.startswith("test_product")]
    assert len(product) == 3
    for value in ("sqlite", "postgres", "classic", "clone", "a-1", "a-2", "b-1"):
        assert any(value in name for name in product)
    above = [name for name in kept if name.startswith("test_above")]
    assert len(above) == 3
    for dialect in ("classic", "clone", "delegating"):
        assert any(dialect in name for name in above)
    assert len([name for name in kept if name.startswith("test_one")]) == 1
    assert len(kept) == 3 + 4 + 3 + 1 + 1

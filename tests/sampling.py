"""Which cases of a test are run with the whole suite, where they are a product of parameters.

Databases by dialects by faults by callers are hundreds of cases, and nearly all of a fault shows
with one value, whatever the others are. So each value of each parameter is in a case that is run,
not each combination. Of those marked `either_database`, which look at what goes on above the
statements and transactions that have tests of their own on both, one of the two will do.

All are run where a test is asked for by its folder or name, where it is marked `every_case`, and
with `HYPOTHESIS_PROFILE=thorough`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeAlias

import pytest

__all__ = ["left_out", "sampled"]

_DATABASES = {"database_url", "mirror_url"}
Choice: TypeAlias = tuple[str, Hashable]
"""A parameter and its value. Those that one decorator sets together are one."""


def left_out(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """Return those that are not run."""
    cases = defaultdict[str, list[pytest.Item]](list)
    for item in items:
        if item.get_closest_marker("every_case") is None:
            cases[item.nodeid.partition("[")[0]].append(item)
    return [
        item
        for alike in cases.values()
        if len(alike) > 1
        for item in _not_sampled({item.nodeid: item for item in alike})
    ]


def _not_sampled(cases: dict[str, pytest.Item]) -> list[pytest.Item]:
    kept = sampled({name: _choices(item) for name, item in cases.items()})
    return [item for name, item in cases.items() if name not in kept]


def _choices(item: pytest.Item) -> frozenset[Choice]:
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return frozenset()
    params: dict[str, object] = dict(callspec.params)
    found = set[Choice]({("", None)})  # which one case has to have, if nothing else asks for any
    if item.get_closest_marker("either_database") is not None:
        params = {name: value for name, value in params.items() if name not in _DATABASES}
    for mark in item.iter_markers("parametrize"):
        names: str | Sequence[str] = mark.args[0]
        listed = names.split(",") if isinstance(names, str) else names
        own = [name.strip() for name in listed if name.strip() in params]
        found.add((",".join(own), tuple(id(params.pop(name)) for name in own)))
    found |= {(name, id(value)) for name, value in params.items()}  # of fixtures
    return frozenset(found)


def sampled(cases: dict[str, frozenset[Choice]]) -> AbstractSet[str]:
    """Return the names of as few cases as have all choices; the same ones in any order."""
    rest = sorted(cases, key=lambda name: hashlib.sha256(name.encode()).digest())
    wanted = set[Choice]().union(*cases.values())
    if not wanted:
        return cases.keys()
    found = set[str]()
    while wanted:
        best = max(rest, key=lambda name: len(cases[name] & wanted))
        wanted -= cases[best]
        rest.remove(best)
        found.add(best)
    return found

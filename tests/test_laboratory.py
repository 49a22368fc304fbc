"""The table of outcomes: every method and every iterator under every fault.

What has to come of each is beside the fault, in `tests/laboratory`.
"""

from __future__ import annotations

import os

import pytest

from ppapi_async import Dialect
from tests.laboratory.callers import CALLERS
from tests.laboratory.catalogue import FAULTS, KINDS
from tests.laboratory.examination import examine
from tests.laboratory.watching import examine_fleet, examine_watches

IS_THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
WATCHED = FAULTS if IS_THOROUGH else KINDS
LASTING = [name for name, trouble in WATCHED.items() if trouble.on_bytes is None]
"""Those that can come and go."""
DIALECTS = list(Dialect) if IS_THOROUGH else [Dialect.DELEGATING]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", FAULTS)
def test_every_call_under_every_fault(name: str, dialect: Dialect) -> None:
    """Each comes to what the table says, in time, with few requests; nothing leaks or stays.

    Promises 1, 3, 4 and 5: no second payout, no key, an error of the one tree, and the truth as
    soon as the fault is over.
    """
    trouble = FAULTS[name]
    for caller, how in CALLERS.items():
        finding = examine(trouble, caller, dialect)
        assert finding.kind is how.outcome(trouble), f"{caller}: {finding.shown}"
        if how.is_one_request and finding.kind is not None and how.kind != "rows":
            repeated = 4 if trouble.passes and how.kind == "info" else max(1, trouble.asked % 4)
            assert finding.asked <= 2 * repeated, "a GET may be sent once more by aiohttp"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", WATCHED)
def test_watches_begin_under_every_fault(name: str, dialect: Dialect) -> None:
    """Promise 7: what will not pass is raised at once, all else is waited for and told of."""
    examine_watches(WATCHED[name], dialect, later=False)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", LASTING)
def test_watches_live_through_every_fault(name: str, dialect: Dialect) -> None:
    """Promise 7: whatever comes later, a watch goes on, and tells what it missed, once."""
    examine_watches(WATCHED[name], dialect, later=True)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", LASTING)
def test_fleets_live_through_every_fault(name: str, dialect: Dialect) -> None:
    """Promise 7: one account's trouble is never another's, and is told as it is."""
    examine_fleet(WATCHED[name], dialect)

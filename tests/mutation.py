"""A pytest plugin for mutation runs: the same examples each time, no caches, nothing slow."""

from __future__ import annotations

import gc
import os
import resource

import pytest
from hypothesis import Phase, settings

from ppapi_async.protocol import clean_rows, converter

_MOST_MEMORY = 4 * 2**30  # bytes; a mutant that loops for ever fills what it gets
_OWN = {
    "transport.connector": ("test_payout_faults", "test_session"),
    "protocol": ("test_codec", "test_responses", "test_values", "test_serialization"),
    "transport.body": ("test_body",),
    "mirror": ("test_audit", "test_coverage", "test_queries", "test_store.py", "test_windows.py"),
    "payouts": ("test_payout_faults", "test_session"),
    "storage": ("test_state", "test_state_trouble", "test_streams"),
    "transport.retry": ("test_retry", "few_requests_find_out"),
    "transport.failures": ("test_failures",),
    "transport.client": (
        "test_retry",
        "test_payout_faults",
        "test_session",
        "few_requests_find_out",
    ),
    "streaming": ("test_window_reader", "test_windows_of_odd_servers"),
    "protocol.dialects": ("test_dialects",),
}
"""The tests that have to notice by themselves; of others, thousands would pass by most mutants."""
_SLOW = (
    "test_codec.py::test_unknown_keys_are_kept",
    "test_state.py::test_ends_with_its_process",
    "test_state.py::test_killed_",
    "test_state.py::test_two_processes_share_a_file",
    "postgres",  # SQLite has the same tests
)
"""They would take longer than all the others together."""

_LAST = (
    "exactly",
    "is_a_dictionary",
    "large_answers",
    "limit",
    "lumpy_ranges",
    "memory_is_bounded",
    "of_one_moment",
    "order_is_by_time",
    "promise_1_",
    "promise_2_",
    "test_any_",
    "uncapped_answers",
)
"""These take longer than others, and are for what the others do not see."""

settings.register_profile(
    "mutation",
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],  # that an example fails is enough
)


@pytest.hookimpl(trylast=True)
def pytest_configure() -> None:
    """Have results that can be had again, soon, and without a machine that swaps."""
    settings.load_profile("mutation")
    gc.freeze()  # what was imported is shared with the process that forks
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, resource.RLIM_INFINITY))


def _tests_of_mutant() -> tuple[str, ...]:
    """Return the tests of the mutant's module or folder; mutmut names it `ppapi_async.x.y`."""
    _, folder, module, *_ = [*os.environ.get("MUTANT_UNDER_TEST", "").split("."), "", "", ""]
    return _OWN.get(f"{folder}.{module}") or _OWN.get(folder, ("",))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what is slow; begin with one case of each test, since most mutants fail soon."""
    own = _tests_of_mutant()
    items[:] = [
        item
        for item in items
        if any(name in item.nodeid for name in own)
        and not any(name in item.nodeid for name in _SLOW)
    ]
    seen: set[str] = set()

    def rank(item: pytest.Item) -> tuple[bool, bool]:
        test = item.nodeid.partition("[")[0]
        is_another_case = test in seen
        seen.add(test)
        return is_another_case, any(name in test for name in _LAST)

    items.sort(key=rank)


@pytest.fixture(autouse=True)
def _nothing_cached() -> None:
    """Make hooks and decoders anew, so that a run knows all tests that need their makers."""
    converter.converter.cache_clear()
    clean_rows.decoders.cache_clear()
    clean_rows._own_decoder.cache_clear()

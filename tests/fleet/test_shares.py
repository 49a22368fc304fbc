"""Fair shares: everything that is wanted has one holder, fairly, and little is moved for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from ppapi_async.fleet.shares import fair_shares

WORKERS = ("a", "b", "c", "d")


def same(shards: int, *workers: str) -> dict[str, dict[int, int]]:
    """Return what workers want that all have the same accounts, one in each shard."""
    return {worker: dict.fromkeys(range(shards), 1) for worker in workers}


def loads(wanted: Mapping[str, Mapping[int, int]], shares: Mapping[int, str]) -> dict[str, int]:
    """Return how much each worker has."""
    found = dict.fromkeys(wanted, 0)
    for shard, worker in shares.items():
        found[worker] += wanted[worker][shard]
    return found


def test_one_takes_all() -> None:
    """A worker that is alone takes whatever it has accounts of, and nothing else."""
    assert fair_shares({"a": {3: 1, 5: 7}}, {}) == {3: "a", 5: "a"}
    assert fair_shares({"a": {}}, {}) == {}
    assert fair_shares({}, {3: "gone"}) == {}


def test_a_second_one_gets_its_half_and_no_more_is_moved() -> None:
    """Of ten shards five move, and of eleven five."""
    for shards in (10, 11):
        shares = fair_shares(same(shards, "a", "b"), dict.fromkeys(range(shards), "a"))
        assert Counter(shares.values()) == {"a": shards - 5, "b": 5}


def test_what_a_dead_one_held_goes_to_the_others() -> None:
    """Nobody else's shard moves."""
    held = {shard: WORKERS[shard % 3] for shard in range(12)}
    shares = fair_shares(same(12, "a", "b"), held)
    assert all(shares[shard] == worker for shard, worker in held.items() if worker != "c")
    assert Counter(shares.values()) == {"a": 6, "b": 6}


def test_shards_weigh_what_their_accounts_do() -> None:
    """A host with many accounts is worth as many hosts with one."""
    wanted = {worker: {0: 6, **dict.fromkeys(range(1, 7), 1)} for worker in "ab"}
    shares = fair_shares(wanted, {})
    assert loads(wanted, shares) == {"a": 6, "b": 6}


def test_a_shard_that_is_too_heavy_to_move_stays() -> None:
    """Where a move would only turn the loads round, there is none."""
    wanted = {worker: {0: 6, 1: 1} for worker in "ab"}
    assert fair_shares(wanted, {0: "a", 1: "b"}) == {0: "a", 1: "b"}
    assert fair_shares(wanted, {0: "a", 1: "a"}) == {0: "a", 1: "b"}


def test_a_shard_goes_to_who_has_accounts_of_it() -> None:
    """Workers with other accounts are given what they can poll."""
    wanted = {"a": {0: 1, 1: 1}, "b": {1: 1, 2: 1}}
    shares = fair_shares(wanted, {0: "a", 1: "a", 2: "a"})
    assert shares == {0: "a", 1: "a", 2: "b"}


WANTED = st.dictionaries(
    st.sampled_from(WORKERS),
    st.dictionaries(st.integers(0, 15), st.integers(1, 9), max_size=16),
    max_size=4,
)
HELD = st.dictionaries(st.integers(0, 15), st.sampled_from((*WORKERS, "gone")), max_size=16)


@given(WANTED, HELD)
def test_whoever_is_there_shares_are_fair_and_stay(
    wanted: dict[str, dict[int, int]], held: dict[int, str]
) -> None:
    """Each shard that is wanted has one who wants it; asked again, nothing moves any more."""
    shares = fair_shares(wanted, held)
    assert shares.keys() == {shard for shards in wanted.values() for shard in shards}
    assert all(shard in wanted[worker] for shard, worker in shares.items())
    assert fair_shares(wanted, shares) == shares
    reordered = {worker: wanted[worker] for worker in reversed(wanted)}
    assert fair_shares(reordered, dict(reversed(held.items()))) == shares
    have = loads(wanted, shares)
    for shard, giver in shares.items():
        for taker, shards in wanted.items():
            if shard in shards and taker != giver:
                weight = wanted[giver][shard] + shards[shard]
                assert have[giver] - have[taker] < weight


@given(st.integers(1, 4), st.dictionaries(st.integers(0, 15), st.sampled_from(WORKERS)))
def test_like_shards_are_shared_evenly_with_the_fewest_moves(
    count: int, held: dict[int, str]
) -> None:
    """No two loads differ by more than one, and only what is too much for somebody moves."""
    workers = WORKERS[:count]
    wanted = same(16, *workers)
    shares = fair_shares(wanted, held)
    have = loads(wanted, shares)
    assert max(have.values()) - min(have.values()) <= 1
    kept = Counter(worker for shard, worker in held.items() if worker in workers)
    moved = sum(held.get(shard) in workers and held[shard] != one for shard, one in shares.items())
    least, more = divmod(16, count)
    most = sorted(kept.values(), reverse=True)
    fewest = sum(max(0, load - least - (place < more)) for place, load in enumerate(most))
    assert moved == fewest

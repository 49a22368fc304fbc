"""Which worker is to hold which shard: fair, with as few moves as possible. Pure.

Every worker works it out for itself, from what all of them see, and does its own part: it gives
away what is another's, and takes what is its own and free. They may see different things for a
moment. Then a lock decides, and they look again.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["fair_shares"]


def fair_shares(wanted: Mapping[str, Mapping[int, int]], held: Mapping[int, str]) -> dict[int, str]:
    """Return who is to hold each shard.

    A shard goes to one who wants it. One that is held moves only where that makes two loads more
    equal without turning them round: so nobody's load is twice a shard or more above that of
    another who could take it, and from there nothing moves any more.

    Args:
        wanted: by worker, the weight of each shard that it wants.
        held: by shard, who holds it.
    """
    shares = {shard: worker for shard, worker in held.items() if shard in wanted.get(worker, ())}
    loads = dict.fromkeys(sorted(wanted), 0)
    for shard, worker in shares.items():
        loads[worker] += wanted[worker][shard]
    weights: dict[int, int] = {}
    for shards in wanted.values():
        for shard, weight in shards.items():
            weights[shard] = max(weight, weights.get(shard, 0))
    for shard in sorted(weights.keys() - shares.keys(), key=lambda one: (-weights[one], one)):
        able = [worker for worker in loads if shard in wanted[worker]]
        worker = min(able, key=loads.__getitem__)
        shares[shard] = worker
        loads[worker] += wanted[worker][shard]
    while (move := _best_move(wanted, shares, loads)) is not None:
        shard, worker = move
        former = shares[shard]
        loads[former] -= wanted[former][shard]
        loads[worker] += wanted[worker][shard]
        shares[shard] = worker
    return shares


def _best_move(
    wanted: Mapping[str, Mapping[int, int]], shares: Mapping[int, str], loads: Mapping[str, int]
) -> tuple[int, str] | None:
    """Return a shard and who is to have it instead: the heaviest of one who has too much."""
    upwards = sorted(loads, key=loads.__getitem__)
    for giver in reversed(upwards):
        given = [shard for shard, worker in shares.items() if worker == giver]
        for taker in upwards:
            spare = loads[giver] - loads[taker]
            able = [
                (wanted[giver][shard], -shard)
                for shard in given
                if shard in wanted[taker] and wanted[giver][shard] + wanted[taker][shard] <= spare
            ]
            if able:
                return -max(able)[1], taker
    return None

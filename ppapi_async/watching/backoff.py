"""When to poll: intervals, phases, and how long to stay away from what fails. Pure.

All in seconds.
"""

from __future__ import annotations

import hashlib

__all__ = ["LONGEST_WAIT", "after_failures", "after_success", "next_beat", "phase_of"]

LONGEST_WAIT = 900.0
"""However often polls fail, the next one is no later than this, or than the interval if longer."""


def after_success(interval: float, taken: float, chance: float) -> float:
    """Return the wait after a poll that took so long; jitter keeps many watches apart."""
    return min(interval, max(0.0, interval - taken)) * (0.9 + 0.2 * chance)


def after_failures(failures: int, interval: float, chance: float) -> float:
    """Return the wait after so many failed polls in a row: doubling, with jitter."""
    longest = max(LONGEST_WAIT, interval)
    return min(longest, interval * 2.0 ** min(failures - 1, 32)) * (0.75 + 0.25 * chance)


def phase_of(name: str, interval: float) -> float:
    """Return when in the interval a name has its turn: stable, and evenly spread over names."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64 * interval


def next_beat(now: float, interval: float, phase: float) -> float:
    """Return the first moment after `now` that has this phase of the interval."""
    beat = now - (now - phase) % interval + interval
    return beat if beat > now else beat + interval

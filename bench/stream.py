"""A whole stream of single records against hand-written loops and other libraries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median

from bench.measure import Line
from bench.processes import Site, run, serving

_PEERS = {
    "ours": ("ours", {}),
    "ours, concurrency 4": ("ours", {"concurrency": 4}),
    "B0 aiohttp + orjson": ("b0", {}),
    "B1 aiohttp + msgspec": ("b1", {}),
    "httpx + pydantic": ("httpx_pydantic", {}),
    "dlt, then msgspec": ("dlt_client", {}),
}
_AIMS = {"B1 aiohttp + msgspec": 0.85, "httpx + pydantic": 2.0, "dlt, then msgspec": 2.0}
_TYPED = ("ours", "ours, concurrency 4", "B1 aiohttp + msgspec")


def measure(*, rows: int = 100_000, rounds: int = 5) -> Iterator[Line]:
    """Stream from a capped server, all clients taking turns, each in a fresh process."""
    with serving("plain", rows, cap=500, dialect="delegating") as site:
        yield from _compare("", site, _take_turns(site, tuple(_PEERS), rounds))
    with serving("cyrillic", rows, cap=500, dialect="delegating") as site:
        yield from _compare("Cyrillic names, ", site, _take_turns(site, _TYPED, rounds))


def _take_turns(
    site: Site, names: tuple[str, ...], rounds: int
) -> dict[str, list[dict[str, float]]]:
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            job, options = _PEERS[name]
            try:
                runs[name].append(run(job, site, **options))
            except ModuleNotFoundError:
                continue
            if runs[name][-1]["ids"] != site.rows:
                raise ValueError(f"{name} did not get all rows: {runs[name][-1]}")
    return {name: taken for name, taken in runs.items() if taken}


def _compare(title: str, site: Site, runs: Mapping[str, list[dict[str, float]]]) -> Iterator[Line]:
    seconds = {name: median(r["seconds"] for r in taken) for name, taken in runs.items()}
    cpu = {name: median(r["cpu"] for r in taken) for name, taken in runs.items()}
    for name in ("ours", "ours, concurrency 4"):
        for peer, taken in seconds.items():
            if peer.startswith("ours"):
                continue
            note = (
                f"{site.rows / seconds[name]:,.0f} rows/s to {site.rows / taken:,.0f}"
                f"; by CPU {cpu[peer] / cpu[name]:.2f}; {runs[name][0]['requests']:.0f} requests"
            )
            ratios = [
                theirs["seconds"] / mine["seconds"]
                for mine, theirs in zip(runs[name], runs[peer], strict=True)
            ]
            aim = None if title else _AIMS.get(peer)
            value = taken / seconds[name]
            shown = f"{title}{name} : {peer}"
            yield Line("stream", shown, value, "x", aim, at_most=False, note=note, runs=ratios)

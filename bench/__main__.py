"""`python -m bench [--quick] [--only decode,stream,…] [--name NAME]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial

from bench import (
    decode,
    exporting,
    fleet,
    memory,
    mirror,
    report,
    requests,
    sharing,
    stall,
    stream,
    watching,
)
from bench.measure import Line, save, table

_WHOLE: dict[str, Callable[[], Iterator[Line]]] = {
    "decode": decode.measure,
    "stream": stream.measure,
    "memory": memory.measure,
    "stall": stall.measure,
    "requests": requests.measure,
    "watching": watching.measure,
    "fleet": fleet.measure,
    "sharing": sharing.measure,
    "mirror": mirror.measure,
    "report": report.measure,
    "exporting": exporting.measure,
}
_QUICK: dict[str, Callable[[], Iterator[Line]]] = {
    "decode": partial(decode.measure, rounds=40),
    "stream": partial(stream.measure, rows=25_000, rounds=3),
    "memory": partial(memory.measure, rows=200_000, rounds=1),
    "stall": partial(stall.measure, rows=40_000, rounds=2),
    "requests": partial(requests.measure, rows=20_000),
    "watching": partial(watching.measure, polls=360),
    "fleet": partial(fleet.measure, interval=10, seconds=30, many_seconds=50, rounds=3),
    "mirror": partial(mirror.measure, rows=20_000, accounts=200),
    "report": partial(report.measure, rows=200_000, rounds=1),
    "exporting": partial(exporting.measure, rows=200_000, accounts=50),
    "sharing": partial(sharing.measure, accounts=300, seconds=20),
}


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = set(names) - set(_WHOLE)
    if unknown:
        raise argparse.ArgumentTypeError(f"choose from {', '.join(_WHOLE)}")
    return names


def main() -> int:
    """Measure, print the table, write the JSON; 1 where an aim is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything: a minute")
    parser.add_argument("--only", type=_names, default=list(_WHOLE), help="sections, with commas")
    parser.add_argument("--name", default="latest", help="of the file in bench/results")
    asked = parser.parse_args()
    lines: list[Line] = []
    for name in asked.only:
        print(f"{name} …", file=sys.stderr, flush=True)
        lines += (_QUICK if asked.quick else _WHOLE)[name]()
    print(table(lines))
    print(f"\n{save(asked.name, lines)}")
    return int(any(line.met is False for line in lines))


if __name__ == "__main__":
    sys.exit(main())

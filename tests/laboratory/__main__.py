"""Print the table of outcomes, as Markdown."""

from __future__ import annotations

import argparse
import sys

from ppapi_async import Dialect

from .callers import CALLERS
from .catalogue import FAULTS
from .examination import examine


def main() -> int:
    """Examine, and return 1 if an outcome is not what the table says."""
    parser = argparse.ArgumentParser(prog="python -m tests.laboratory", description=__doc__)
    parser.add_argument("words", nargs="*", help="only faults whose names hold one of these")
    parser.add_argument("--dialect", type=Dialect, default=Dialect.DELEGATING, choices=Dialect)
    asked = parser.parse_args()
    print(f"| fault | {' | '.join(CALLERS)} |\n|{'---|' * (1 + len(CALLERS))}")
    wrong = 0
    for name, trouble in FAULTS.items():
        if asked.words and not any(word in name for word in asked.words):
            continue
        cells = []
        for caller, how in CALLERS.items():
            try:
                finding = examine(trouble, caller, asked.dialect)
            except (AssertionError, TimeoutError) as error:
                cells.append(f"**{type(error).__name__}: {str(error)[:150]!r}**")
                wrong += 1
                continue
            is_right = finding.kind is how.outcome(trouble)
            wrong += not is_right
            cells.append(finding.shown if is_right else f"**{finding.shown}**")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())

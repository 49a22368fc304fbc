"""`python -m bench.child JOB SITE OPTIONS`: run one job and print what it measured as JSON."""

from __future__ import annotations

import gc
import importlib
import json
import sys
import time

from bench.processes import Site


def main() -> int:
    name, site, options = sys.argv[1:]
    try:
        job = importlib.import_module(f"bench.jobs.{name}")
    except ModuleNotFoundError as error:
        print(error, file=sys.stderr)
        return 3
    gc.collect()
    began, cpu = time.perf_counter(), time.process_time()
    measured: dict[str, float] = job.run(Site(**json.loads(site)), **json.loads(options))
    result = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
    print(json.dumps(result | measured))
    return 0


if __name__ == "__main__":
    sys.exit(main())

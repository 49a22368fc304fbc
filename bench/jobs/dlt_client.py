"""Dlt's RESTClient with its offset paginator, whose dicts become the same attrs classes."""

from __future__ import annotations

from dlt.sources.helpers.rest_client.client import RESTClient
from dlt.sources.helpers.rest_client.paginators import OffsetPaginator

from bench.jobs.typed import exchanges
from bench.processes import Site

PAGE = 500


def run(site: Site) -> dict[str, float]:
    client = RESTClient(
        base_url=site.url,
        paginator=OffsetPaginator(limit=PAGE, total_path=None, stop_after_empty_page=True),
        data_selector="data.items",
    )
    rows, ids = 0, set[int]()
    query = {
        "api_action": "pp",
        "api_key": site.key,
        "method": "get_exchanges",
        "start_time": site.start,
        "end_time": site.end - 1,
    }
    for page in client.paginate("/api.html", method="POST", params=query):
        for record in exchanges(page):
            rows += 1
            ids.add(record.id)
    return {"rows": rows, "ids": len(ids)}

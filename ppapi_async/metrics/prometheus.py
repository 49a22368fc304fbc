"""Accounts and requests as metrics of Prometheus; extra `prometheus`.

`StatusCollector` tells how accounts get on, when it is scraped; `PrometheusHook` counts requests as
they end. Labels are the site's host, and the account's name only if you ask for it.
"""

from __future__ import annotations

from ppapi_async.metrics.outcomes import ADVISED_BUCKETS, outcome_of
from ppapi_async.transport.hooks import RequestFacts

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
except ImportError as error:
    raise ImportError(
        "metrics.prometheus: needs prometheus-client; pip install 'ppapi-async[prometheus]'"
        f" ({error})"
    ) from None

from ppapi_async.metrics.status_collector import StatusCollector

__all__ = ["PrometheusHook", "StatusCollector"]


class PrometheusHook:
    """Pass it as `on_request=` to sessions, fleets and mirrors, one for all of them.

    Metrics, with the labels `host` and `method`:

    - `ppapi_request_duration_seconds`: histogram, until the answer is decoded; also with `outcome`.
    - `ppapi_rows_total`: rows in answers.
    - `ppapi_received_bytes_total`: bytes of answers, unpacked.
    - `ppapi_retries_total`: requests that repeat one that failed.

    Args:
        registry: where they are registered.
        by_account: add the label `account`: as many series as there are accounts.

    Raises:
        ValueError: the registry has metrics of these names already.

    >>> Session(account, on_request=PrometheusHook())                      # doctest: +SKIP
    """

    def __init__(self, *, registry: CollectorRegistry = REGISTRY, by_account: bool = False) -> None:
        self._by_account = by_account
        labels = ("host", "account", "method") if by_account else ("host", "method")
        self._duration = Histogram(
            "ppapi_request_duration_seconds",
            "Duration of requests, until the answer is decoded.",
            (*labels, "outcome"),
            registry=registry,
            buckets=ADVISED_BUCKETS,
        )
        self._rows = Counter("ppapi_rows", "Rows in answers.", labels, registry=registry)
        self._received = Counter(
            "ppapi_received_bytes", "Bytes of answers, unpacked.", labels, registry=registry
        )
        self._retries = Counter(
            "ppapi_retries", "Requests that repeat one that failed.", labels, registry=registry
        )

    def __repr__(self) -> str:
        return "<PrometheusHook>"

    def __call__(self, facts: RequestFacts) -> None:
        """Record a request."""
        accounts = (facts.account,) if self._by_account else ()
        place = facts.host, *accounts, facts.method
        self._duration.labels(*place, outcome_of(facts.error).value).observe(facts.seconds)
        if facts.rows is not None:
            self._rows.labels(*place).inc(facts.rows)
        self._received.labels(*place).inc(facts.received)
        self._retries.labels(*place).inc(facts.attempt > 1)

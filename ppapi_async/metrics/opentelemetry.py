"""Requests as metrics and spans of OpenTelemetry, by its API alone; extra `opentelemetry`.

Names are those of the semantic conventions for HTTP clients, and `ppapi.…` for what is of this
API. There is no `url.full`, which would hold the key, and no query.
"""

from __future__ import annotations

import time

from ppapi_async.metrics.outcomes import ADVISED_BUCKETS, outcome_of
from ppapi_async.transport.hooks import RequestFacts
from ppapi_async.version import __version__

try:
    from opentelemetry import metrics, trace
except ImportError as error:
    raise ImportError(
        "metrics.opentelemetry: needs opentelemetry-api; pip install 'ppapi-async[opentelemetry]'"
        f" ({error})"
    ) from None

__all__ = ["OpenTelemetryHook"]

_SCOPE = "ppapi_async"
_NANOSECONDS = 1_000_000_000


class OpenTelemetryHook:
    """Pass it as `on_request=` to sessions, fleets and mirrors, one for all of them.

    Metrics, each with `server.address`, `server.port`, `ppapi.method`:

    - `http.client.request.duration`: histogram, seconds, until the answer is decoded; also with
      `http.request.method`, `http.response.status_code`, `error.type` and `ppapi.outcome`.
    - `ppapi.client.rows`: rows in answers.
    - `ppapi.client.received`: bytes of answers, unpacked.
    - `ppapi.client.retries`: requests that repeat one that failed.

    Args:
        meter_provider: whose metrics they are; None: the global one, as it is then.
        tracer_provider: the same for spans.
        spans: make a span of each request as well, below the one that is current where the request
            is made. The site is told nothing of it.
        by_account: add `ppapi.account`, the account's name: as many series as there are accounts.

    >>> Session(account, on_request=OpenTelemetryHook())                   # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        meter_provider: metrics.MeterProvider | None = None,
        tracer_provider: trace.TracerProvider | None = None,
        spans: bool = False,
        by_account: bool = False,
    ) -> None:
        meter = metrics.get_meter(_SCOPE, __version__, meter_provider)
        self._by_account = by_account
        self._tracer = trace.get_tracer(_SCOPE, __version__, tracer_provider) if spans else None
        self._duration = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=ADVISED_BUCKETS,
        )
        self._rows = meter.create_counter("ppapi.client.rows", "{row}", "Rows in answers.")
        self._received = meter.create_counter(
            "ppapi.client.received", "By", "Bytes of answers, unpacked."
        )
        self._retries = meter.create_counter(
            "ppapi.client.retries", "{request}", "Requests that repeat one that failed."
        )

    def __repr__(self) -> str:
        return "<OpenTelemetryHook>"

    def __call__(self, facts: RequestFacts) -> None:
        """Record a request."""
        place: dict[str, str | int] = {
            "server.address": facts.host.removesuffix(f":{facts.port}").strip("[]"),
            "server.port": facts.port,
            "ppapi.method": facts.method,
        }
        if self._by_account:
            place["ppapi.account"] = facts.account
        result = place | {
            "http.request.method": facts.verb,
            "ppapi.outcome": outcome_of(facts.error).value,
        }
        if facts.status is not None:
            result["http.response.status_code"] = facts.status
        if facts.error is not None:
            result["error.type"] = facts.error
        if self._tracer is not None:
            self._record_span(self._tracer, facts, result)
        self._duration.record(facts.seconds, result)
        if facts.rows is not None:
            self._rows.add(facts.rows, place)
        self._received.add(facts.received, place)
        if facts.attempt > 1:
            self._retries.add(1, place)

    def _record_span(
        self, tracer: trace.Tracer, facts: RequestFacts, result: dict[str, str | int]
    ) -> None:
        end = time.time_ns()
        attributes = dict(result)
        if facts.attempt > 1:
            attributes["http.request.resend_count"] = facts.attempt - 1
        if facts.rows is not None:
            attributes["ppapi.rows"] = facts.rows
        span = tracer.start_span(
            facts.method,
            kind=trace.SpanKind.CLIENT,
            attributes=attributes,
            start_time=end - int(facts.seconds * _NANOSECONDS),
        )
        if facts.error is not None:
            span.set_status(trace.StatusCode.ERROR)
        span.end(end)

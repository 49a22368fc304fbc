"""The hook for OpenTelemetry, with the real SDK: names, units and attributes of the conventions."""

from __future__ import annotations

import asyncio
import importlib
import sys
import time
from typing import Any

import pytest
from attrs import evolve
from opentelemetry.sdk.metrics.export import Histogram, HistogramDataPoint, Sum
from opentelemetry.trace import SpanKind, StatusCode

from ppapi_async import AuthError, RequestFacts, Retry, Session, TransportError, errors
from ppapi_async.metrics.opentelemetry import OpenTelemetryHook
from ppapi_async.metrics.outcomes import RequestOutcome, outcome_of
from ppapi_async.sandbox import Fault, Sandbox
from tests.metrics.observing import Observer

ADVISED = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""https://opentelemetry.io/docs/specs/semconv/http/http-metrics/#metric-httpclientrequestduration"""
FACTS = RequestFacts(
    "one", "get_links", 1, 200, 0.3, 900, None, rows=12, verb="POST", host="site.example", port=443
)


def evolved(**changes: Any) -> RequestFacts:
    """Return the facts of a request that differ in these."""
    return evolve(FACTS, **changes)


async def test_requests_are_measured_as_the_conventions_say() -> None:
    """Duration in seconds with the advised buckets, where, what, and what it came to."""
    observer = Observer()
    async with Sandbox(rows=30) as site:
        retry = Retry(delay=0, attempts=2)
        async with Session(
            site.url, site.api_key, retry=retry, on_request=observer.hook()
        ) as session:
            site.faults.add(Fault.HTML_500)
            await session.get_info()
            site.faults.add(Fault.API_ERROR, text="REST API key error")
            with pytest.raises(AuthError):
                await session.get_info()
            rows = await session.get_payouts()
            await asyncio.sleep(0)
        host, _, port = session.account.host.partition(":")
    metric = observer.metrics()["http.client.request.duration"]
    assert (metric.unit, metric.description) == ("s", "Duration of HTTP client requests.")
    assert isinstance(metric.data, Histogram)
    for point in metric.data.data_points:
        assert isinstance(point, HistogramDataPoint)
        assert tuple(point.explicit_bounds) == ADVISED
    where = {"server.address": host, "server.port": int(port)}
    info = {"ppapi.method": "get_info", "http.request.method": "GET", **where}
    points = observer.points("http.client.request.duration")
    assert points[:3] == [
        (
            {
                **info,
                "http.response.status_code": 500,
                "error.type": "ServerError",
                "ppapi.outcome": "bad_answer",
            },
            1,
        ),
        ({**info, "http.response.status_code": 200, "ppapi.outcome": "ok"}, 1),
        (
            {
                **info,
                "http.response.status_code": 200,
                "error.type": "AuthError",
                "ppapi.outcome": "refused",
            },
            1,
        ),
    ]
    assert points[3][0] == {
        **where,
        "ppapi.method": "get_payouts",
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "ppapi.outcome": "ok",
    }
    payouts = {"ppapi.method": "get_payouts", **where}
    [counted] = [n for one, n in observer.points("ppapi.client.rows") if one == payouts]
    assert counted >= len(rows) > 0
    retries = [(one["ppapi.method"], n) for one, n in observer.points("ppapi.client.retries")]
    assert retries == [("get_info", 1)]


async def test_no_answer_has_no_status() -> None:
    """The error's class says what happened."""
    observer = Observer()
    async with Session("http://127.0.0.1:9", "k", retry=Retry(attempts=1)) as session:
        session.on_request = observer.hook()
        with pytest.raises(TransportError):
            await session.get_info()
        await asyncio.sleep(0)
    [(attributes, count)] = observer.points("http.client.request.duration")
    assert count == 1
    assert "http.response.status_code" not in attributes
    assert attributes["error.type"] == "TransportError"
    assert attributes["ppapi.outcome"] == "no_answer"


def test_sums_are_sums() -> None:
    """Rows, bytes and retries only rise, and have units."""
    observer = Observer()
    hook = observer.hook()
    for attempt in (1, 2, 3):
        hook(evolved(attempt=attempt))
    metrics = observer.metrics()
    units = {name: metrics[name].unit for name in metrics}
    assert units == {
        "http.client.request.duration": "s",
        "ppapi.client.rows": "{row}",
        "ppapi.client.received": "By",
        "ppapi.client.retries": "{request}",
    }
    for name, value in (("rows", 36), ("received", 2_700), ("retries", 2)):
        data = metrics[f"ppapi.client.{name}"].data
        assert isinstance(data, Sum)
        assert data.is_monotonic
        assert [count for _, count in observer.points(f"ppapi.client.{name}")] == [value]


@pytest.mark.parametrize("by_account", [False, True])
def test_an_account_is_named_only_if_asked_for(by_account: bool) -> None:
    """Each account would be a series of its own."""
    observer = Observer()
    observer.hook(by_account=by_account, spans=True)(FACTS)
    names = [
        attributes.get("ppapi.account")
        for name in observer.metrics()
        for attributes, _ in observer.points(name)
    ]
    names += [(span.attributes or {}).get("ppapi.account") for span in observer.spans]
    assert set(names) == {"one" if by_account else None}


@pytest.mark.parametrize(
    ("host", "port", "address"),
    [
        ("site.example", 443, "site.example"),
        ("site.example:8443", 8443, "site.example"),
        ("[::1]:8080", 8080, "::1"),
        ("xn--90aiufb.xn--p1ai", 443, "xn--90aiufb.xn--p1ai"),
    ],
)
def test_address_and_port_are_apart(host: str, port: int, address: str) -> None:
    """As the conventions have them, whatever kind of host it is."""
    observer = Observer()
    observer.hook()(evolved(host=host, port=port))
    [(attributes, _)] = observer.points("http.client.request.duration")
    assert (attributes["server.address"], attributes["server.port"]) == (address, port)


async def test_each_request_is_a_span_below_the_current_one() -> None:
    """A client's span, named by the method, as long as the request took; failed ones say so."""
    observer = Observer()
    tracer = observer.tracers.get_tracer(__name__)
    async with Sandbox(rows=3) as site:
        async with Session(
            site.url, site.api_key, retry=Retry(delay=0), on_request=observer.hook(spans=True)
        ) as session:
            site.faults.add(Fault.HTML_500)
            before = time.time_ns()
            with tracer.start_as_current_span("mine") as mine:
                await session.get_info()
            await asyncio.sleep(0)
            after = time.time_ns()
    *made, _ = sorted(observer.spans, key=lambda span: span.name == "mine")
    assert [span.name for span in made] == ["get_info", "get_info"]
    for span in made:
        assert span.kind is SpanKind.CLIENT
        assert span.parent is not None
        assert span.parent.span_id == mine.get_span_context().span_id
        assert before <= (span.start_time or 0) <= (span.end_time or 0) <= after
    failed, repeated = made
    assert (failed.status.status_code, failed.status.description) == (StatusCode.ERROR, None)
    assert repeated.status.status_code is StatusCode.UNSET
    assert repeated.attributes is not None
    assert repeated.attributes["http.request.resend_count"] == 1
    assert failed.attributes is not None
    assert "http.request.resend_count" not in failed.attributes
    assert not [name for span in made for name in span.attributes or {} if "url" in name]


def test_rows_are_in_the_span_of_a_list() -> None:
    """And in no other."""
    observer = Observer()
    hook = observer.hook(spans=True)
    hook(FACTS)
    hook(evolved(rows=None))
    rows = [(span.attributes or {}).get("ppapi.rows") for span in observer.spans]
    assert rows == [12, None]


def test_without_an_sdk_nothing_happens() -> None:
    """The API alone drops it all: a library may always have its hook."""
    hook = OpenTelemetryHook(spans=True)
    hook(FACTS)
    assert repr(hook) == "<OpenTelemetryHook>"


def test_every_class_of_error_has_an_outcome() -> None:
    """Few, so that they make few series; what is no error of requests is simply a failure."""
    found = {
        name: outcome_of(name)
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.PPAPIError)
    }
    no_requests = {"PPAPIError", "IncompleteError", "StateError"}
    no_requests |= {"PayoutNotSent", "PayoutOutcomeUnknown"}
    assert {name for name, one in found.items() if one is RequestOutcome.FAILED} == no_requests
    assert found["PayoutRejected"] is RequestOutcome.REFUSED
    assert found["RequestTimeoutError"] is RequestOutcome.NO_ANSWER
    assert found["RateLimitedError"] is RequestOutcome.RATE_LIMITED
    assert found["BlockedError"] is RequestOutcome.BLOCKED
    assert found["RedirectError"] is RequestOutcome.BAD_ANSWER
    assert found["DecodeError"] is RequestOutcome.UNREADABLE
    assert outcome_of(None) is RequestOutcome.OK
    assert outcome_of("annotations") is RequestOutcome.FAILED


@pytest.mark.parametrize(
    ("module", "library"), [("opentelemetry", "opentelemetry"), ("prometheus", "prometheus_client")]
)
def test_a_missing_extra_is_named(
    module: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what to install."""
    importlib.import_module(f"ppapi_async.metrics.{module}")
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"ppapi_async.metrics.{module}")
    with pytest.raises(ImportError, match=rf"pip install 'ppapi-async\[{module}\]'") as caught:
        importlib.import_module(f"ppapi_async.metrics.{module}")
    assert str(caught.value).startswith(f"metrics.{module}: needs ")

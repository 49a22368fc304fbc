"""What the SDK of OpenTelemetry collects in memory, and Prometheus' text, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import define, field
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, Metric
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from ppapi_async.metrics.opentelemetry import OpenTelemetryHook

__all__ = ["Observer", "values_of"]


@define(eq=False)
class Observer:
    """A real SDK, whose exporters keep all in memory."""

    reader: InMemoryMetricReader = field(factory=InMemoryMetricReader)
    exporter: InMemorySpanExporter = field(factory=InMemorySpanExporter)
    tracers: TracerProvider = field(factory=lambda: TracerProvider(shutdown_on_exit=False))
    meters: MeterProvider = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))

    def hook(self, *, spans: bool = False, by_account: bool = False) -> OpenTelemetryHook:
        """Return a hook that this one observes."""
        return OpenTelemetryHook(
            meter_provider=self.meters,
            tracer_provider=self.tracers,
            spans=spans,
            by_account=by_account,
        )

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """Those that have ended."""
        return self.exporter.get_finished_spans()

    def metrics(self) -> dict[str, Metric]:
        """Return what there is, by name."""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        scopes = [scope for one in data.resource_metrics for scope in one.scope_metrics]
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self, name: str) -> list[tuple[Mapping[str, object], float]]:
        """Return attributes and value of each point of a metric; of a histogram how many."""
        return [
            (
                dict(point.attributes or {}),
                point.count
                if isinstance(point, HistogramDataPoint)
                else getattr(point, "value", 0.0),
            )
            for point in self.metrics()[name].data.data_points
        ]

    def text(self) -> str:
        """Return all that it was told, as it would be sent."""
        data = self.reader.get_metrics_data()
        spans = [span.to_json() for span in self.spans]
        return "\n".join([*spans, "" if data is None else data.to_json()])


def values_of(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Return what a scraped text holds: by name, then by labels in order of their names."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found

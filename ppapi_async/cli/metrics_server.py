"""What `--metrics HOST:PORT` does: serves the metrics of a command to Prometheus while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

from attrs import define

from ppapi_async.cli.exits import CommandFailed, Exit
from ppapi_async.cli.output import note, plain
from ppapi_async.site_url import is_loopback

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from ppapi_async.metrics.prometheus import PrometheusHook
    from ppapi_async.metrics.status_collector import HasStatus

__all__ = ["Address", "CommandMetrics", "serving_metrics"]

Address: TypeAlias = tuple[str, int]
"""Host and port."""


@define(eq=False)
class CommandMetrics:
    """The metrics of a command; of none, where nobody has asked for any."""

    on_request: PrometheusHook | None = None
    _registry: CollectorRegistry | None = None

    def tell_of(self, source: HasStatus) -> None:
        """Tell how the accounts of a fleet or a mirror get on that is open in this loop."""
        if self._registry is not None:
            from ppapi_async.metrics.prometheus import StatusCollector

            self._registry.register(StatusCollector(source))


@contextlib.contextmanager
def serving_metrics(address: Address | None) -> Iterator[CommandMetrics]:
    """Serve metrics there, in a thread, until this is left.

    Raises:
        CommandFailed: what it needs is not installed, or nobody can listen there.
    """
    if address is None:
        yield CommandMetrics()
        return
    try:
        from prometheus_client import CollectorRegistry, start_http_server

        from ppapi_async.metrics.prometheus import PrometheusHook
    except ImportError:
        text = "--metrics: needs prometheus-client; pip install 'ppapi-async[prometheus]'"
        raise CommandFailed(text, Exit.USAGE) from None
    host, port = address
    shown = f"{plain(host)}, port {port}"
    registry = CollectorRegistry()
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        text = f"--metrics: nobody can listen at {shown} ({error.strerror}); pass another"
        raise CommandFailed(text, Exit.USAGE) from None
    try:
        whoever = "" if is_loopback(host) else "; whoever reaches that may read them"
        note(f"metrics are at {shown}{whoever}")
        yield CommandMetrics(PrometheusHook(registry=registry), registry)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

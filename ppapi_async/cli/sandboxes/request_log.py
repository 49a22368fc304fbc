"""The log of a sandbox: a line for each request, without any key."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TextIO

from attrs import define, field

from ppapi_async.sandbox import SeenRequest
from ppapi_async.secret import Redactor, Secret

__all__ = ["RequestLog"]

_ROUTING = frozenset({"api_action", "method"})
_MAY_BE_SECRET = re.compile("key|login|token|pass", re.IGNORECASE)
_PLAIN = re.compile(r"[\w.,:;@+/%*-]+")
_LONGEST = 80  # characters of one value
_SHORTEST = 4  # shorter keys are part of every line


@define
class RequestLog:
    """Writes a line for each request that is over.

    As in `2026-11-28T14:30:40.123Z classic-1 get_links start_time=1790000000: 200, 37 rows, 4 ms`.
    When the file cannot be written to any more, stderr is told once.
    """

    _to: TextIO
    _redactor: Redactor = field(factory=lambda: Redactor(()), init=False)
    _hidden: list[Secret] = field(factory=list, init=False)
    _has_failed: bool = field(default=False, init=False)

    def hide(self, *secrets: str | None) -> None:
        """Never show these, wherever a request has them."""
        self._hidden += [Secret(text) for text in secrets if text and len(text) >= _SHORTEST]
        self._redactor = Redactor(self._hidden)

    def write(self, site: str, seen: SeenRequest) -> None:
        """Write the line of a request that is over."""
        if self._has_failed:
            return
        try:
            print(self.line(site, seen), file=self._to, flush=True)
        except OSError as error:
            self._has_failed = True
            if self._to is not sys.stderr:
                print(f"no more of the request log: {error.strerror}", file=sys.stderr)

    def line(self, site: str, seen: SeenRequest) -> str:
        """Return the line of a request that is over."""
        arrived = datetime.fromtimestamp(seen.arrived, UTC).isoformat(timespec="milliseconds")
        asked = [self._shown(seen.method)] if seen.method else [seen.verb, self._shown(seen.path)]
        words = [arrived.replace("+00:00", "Z"), site, *asked, *self._parameters(seen)]
        return f"{' '.join(words)}: {', '.join(_answered(seen))}"

    def _parameters(self, seen: SeenRequest) -> Iterator[str]:
        for name, value in (seen.query | seen.form).items():
            if name not in _ROUTING and not _MAY_BE_SECRET.search(name):
                yield f"{self._shown(name)}={self._shown(value)}"

    def _shown(self, text: str) -> str:
        """Return a text in one piece and on one line."""
        text = self._redactor.redact(text)
        if len(text) > _LONGEST:
            text = text[:_LONGEST] + "…"
        return text if _PLAIN.fullmatch(text) else repr(text)


def _answered(seen: SeenRequest) -> Iterator[str]:
    yield "no answer" if seen.status is None else str(seen.status)
    if seen.rows is not None:
        yield f"{seen.rows:,} {'row' if seen.rows == 1 else 'rows'}"
    if seen.seconds is not None:
        yield f"{1_000 * seen.seconds:,.0f} ms"
    if seen.fault is not None:
        yield f"fault {seen.fault}"

"""A program that is observed: `python -m tests.security.observed WHO` prints what WHO was told.

In a process of its own, because observers change aiohttp, logging and the interpreter for good.
Each begins with what shows the key, so that it is certain that the observer looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping

import aiohttp

from ppapi_async import Fleet, Session
from tests import virtual_time
from tests.laboratory.catalogue import AFTER_SENDING
from tests.security.troubles import END, KEY_VARIABLE, START, TROUBLES, WALLET, meet
from tests.sites.raw import RawServer, served

__all__ = ["CARELESS", "CARELESS_FRAME", "HEADERS", "OBSERVERS", "WORK", "work"]

CARELESS = "a careless request"
CARELESS_FRAME = "a careless frame"
WORK = "a day's work"
HEADERS = "the headers of that work"
Told = Mapping[str, str]
_log = logging.getLogger("program")


def _run(main: Coroutine[object, object, None]) -> None:
    virtual_time.run(main)


async def _be_careless() -> None:
    """Ask with aiohttp alone, as in the documentation of every site."""
    async with RawServer() as server, aiohttp.ClientSession() as http:
        query = {"api_key": os.environ[KEY_VARIABLE], "method": "get_info"}
        async with http.get(server.url, params=query) as response:
            await response.read()


def _fail_carelessly() -> None:
    key = os.environ[KEY_VARIABLE]
    raise ValueError(len(key))


async def work(headers: set[str]) -> None:
    """Read, stream, pay and ask a fleet, without trouble; collect the headers that the site got."""
    async with served(key=os.environ[KEY_VARIABLE]) as (server, session, _):
        await session.get_info()
        async for _payout in session.iter_payouts(START, END):
            pass
        await session.add_payout(11, WALLET)
        async with Fleet([session.account], hooks=virtual_time.hooks()) as fleet:
            await fleet.get_info()
    headers.update(*(seen.headers for seen in server.seen))


# --- Sentry


def _sentry() -> Told:
    import sentry_sdk
    from sentry_sdk import serializer
    from sentry_sdk.envelope import Envelope
    from sentry_sdk.transport import Transport

    class Listener(Transport):
        def capture_envelope(self, envelope: Envelope) -> None:
            captured.append(envelope.serialize().decode())

    captured: list[str] = []
    vars(serializer).update(MAX_DATABAG_DEPTH=30, MAX_DATABAG_BREADTH=300)
    sentry_sdk.init(
        dsn="http://public@127.0.0.1:9/1",
        transport=Listener(),
        traces_sample_rate=1.0,
        send_default_pii=True,
        attach_stacktrace=True,
        include_local_variables=True,
        max_value_length=100_000,
    )

    def report(error: BaseException) -> None:
        sentry_sdk.capture_exception(error)
        _log.error("in trouble", exc_info=error)

    def note(name: str, do: Callable[[], None]) -> None:
        captured.clear()
        with sentry_sdk.isolation_scope(), sentry_sdk.start_transaction(name=name):
            do()
        all_told[name] = "\n".join(captured)

    def fail() -> None:
        try:
            _fail_carelessly()
        except ValueError as error:
            report(error)

    all_told: dict[str, str] = {}
    headers: set[str] = set()
    note(CARELESS, lambda: _run(_be_careless()))
    note(CARELESS_FRAME, fail)
    note(WORK, lambda: _run(work(headers)))
    for name in TROUBLES:
        note(name, lambda name=name: _run(meet(name, report)))  # type: ignore[misc]
    return all_told | {HEADERS: " ".join(headers)}


# --- OpenTelemetry


def _opentelemetry() -> Told:
    from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    AioHttpClientInstrumentor().instrument(tracer_provider=provider)
    tracer = provider.get_tracer(__name__)

    def note(name: str, main: Coroutine[object, object, None]) -> None:
        exporter.clear()
        with tracer.start_as_current_span(name):
            _run(main)
        all_told[name] = "\n".join(span.to_json() for span in exporter.get_finished_spans())

    def report(error: BaseException) -> None:
        with contextlib.suppress(type(error)), tracer.start_as_current_span("trouble"):
            raise error

    all_told: dict[str, str] = {}
    headers: set[str] = set()
    note(CARELESS, _be_careless())
    note(WORK, work(headers))
    for name in TROUBLES:
        note(name, meet(name, report))
    return all_told | {HEADERS: " ".join(headers)}


# --- the interpreter and the loop


@contextlib.contextmanager
def _overheard() -> Iterator[io.StringIO]:
    """Collect what is written to stderr, logs, warnings and unraisable errors among it."""
    heard = io.StringIO()
    handler = logging.StreamHandler(heard)
    logging.root.addHandler(handler)
    try:
        with contextlib.redirect_stderr(heard):
            yield heard
    finally:
        logging.root.removeHandler(handler)


def _interpreter() -> Told:
    """Hear all that development mode, audit hooks, logs and left-over objects have to say."""
    logging.root.setLevel(logging.DEBUG)
    logging.captureWarnings(capture=True)
    audited: set[str] = set()
    sys.addaudithook(lambda event, args: audited.add(f"{event}: {args!r}"))
    all_told: dict[str, str] = {}

    def note(name: str, do: Callable[[], None]) -> None:
        with _overheard() as heard:
            do()
            gc.collect()
        all_told[name] = heard.getvalue()

    note(CARELESS, lambda: asyncio.run(_forget_a_request(), debug=True))
    note("forgotten call", lambda: asyncio.run(_forget_a_call(), debug=True))
    note("forgotten session", lambda: asyncio.run(_forget_a_session(), debug=True))
    note("closed loop", _close_the_loop)
    note("slow callbacks", lambda: asyncio.run(_be_slow(), debug=True))
    all_told["audit"] = "\n".join(audited)
    return all_told


async def _forget_a_request() -> None:
    async with RawServer() as server, aiohttp.ClientSession(raise_for_status=True) as http:
        server.script["get_info"] = AFTER_SENDING["500"]
        query = {"api_key": os.environ[KEY_VARIABLE], "method": "get_info"}
        await _forget(http.get(server.url, params=query))


async def _forget_a_call() -> None:
    for fault in ("500", "reset", "301 to another host", "hangs"):
        async with served(key=os.environ[KEY_VARIABLE], get_info=AFTER_SENDING[fault]) as (
            _,
            session,
            _,
        ):
            await _forget(session.get_info())


async def _forget(call: Awaitable[object]) -> None:
    """Let a task fail, and never ask what became of it."""
    task = asyncio.ensure_future(_wait_for(call))
    await asyncio.wait([task])


async def _wait_for(call: Awaitable[object]) -> None:
    await call


async def _forget_a_session() -> None:
    server = await RawServer().__aenter__()
    session = Session(server.url, os.environ[KEY_VARIABLE])
    session._connection.open()
    await session.get_info()
    del session
    gc.collect()


def _close_the_loop() -> None:
    """End a loop in the middle of requests, as a program does that is stopped."""
    loop = asyncio.new_event_loop()
    loop.set_debug(True)
    for fault in ("hangs", "cut in the middle, hangs"):
        loop.run_until_complete(_leave_requests_behind(fault))
    loop.close()


async def _leave_requests_behind(fault: str) -> None:
    server = await RawServer().__aenter__()
    hanging = asyncio.Semaphore(0)
    server.on_hang = hanging.release
    session = Session(server.url, os.environ[KEY_VARIABLE])
    session._connection.open()
    await session.get_info()  # finds the place of the API, for which a payout would else wait
    server.script |= {"get_info": AFTER_SENDING[fault], "add_payout": AFTER_SENDING[fault]}
    left = [
        asyncio.ensure_future(call) for call in (session.get_info(), session.add_payout(11, WALLET))
    ]
    for _ in left:
        await hanging.acquire()
    for task in left:
        task.print_stack(file=sys.stderr)
        sys.stderr.write(f"{task!r}\n")


async def _be_slow() -> None:
    asyncio.get_running_loop().slow_callback_duration = -1.0
    await work(set())


OBSERVERS: Mapping[str, Callable[[], Told]] = {
    "sentry": _sentry,
    "opentelemetry": _opentelemetry,
    "interpreter": _interpreter,
}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(OBSERVERS[sys.argv[1]]()))

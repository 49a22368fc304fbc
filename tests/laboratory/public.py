"""The sandbox's own faults in the laboratory, and the laboratory's faults in a sandbox."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable

from attrs import evolve

from ppapi_async.sandbox import Call, Cut, Fault, FaultQueue, PlannedFault, SentAnswer
from ppapi_async.sandbox.faults import strike
from ppapi_async.sandbox.manners import JSON_TYPE
from tests.sites.laboratory import Spoil, call_of
from tests.sites.raw import End, Reply, Seen, http_bytes

__all__ = ["in_sandbox", "of_sandbox", "public_fault"]

_ENDS = {False: End.CLOSE, True: End.RESET}


def of_sandbox(fault: Fault, **options: object) -> Spoil:
    """Let a fault of the sandbox strike; the options are those of `FaultQueue.add`."""
    planned = FaultQueue().add(fault, **options)  # type: ignore[arg-type]
    return functools.partial(_strike, planned)


def public_fault(spoil: Spoil | None) -> Fault | None:
    """Return which fault of the sandbox it is."""
    if not isinstance(spoil, functools.partial) or spoil.func is not _strike:
        return None
    fault = spoil.args[0].fault
    assert isinstance(fault, Fault)
    return fault


def _strike(planned: PlannedFault, seen: Seen, truth: SentAnswer) -> Reply:
    if planned.fault is Fault.HANG:  # until the sandbox lets go, which it does not here
        return Reply(end=End.HANG)
    outcome = strike(planned, call_of(seen), answer=lambda _: truth, refuse=_refuse)
    if isinstance(outcome, Cut):
        return Reply(outcome.sent, _ENDS[outcome.reset])
    return Reply(http_bytes(evolve(outcome, cookies=truth.cookies)))


def _refuse(code: int | str, text: str) -> SentAnswer:
    body = json.dumps({"error": code, "error_text": text}).encode()
    return SentAnswer(200, {"Content-Type": JSON_TYPE}, body)


def in_sandbox(spoil: Spoil) -> Callable[[Call, SentAnswer], SentAnswer | Cut]:
    """Return what spoils an answer in the laboratory for `FaultQueue.add`.

    The connection ends with it. What is no answer of the API's, such as a page, stays as it is.
    """

    def spoiled(call: Call, answer: SentAnswer) -> SentAnswer | Cut:
        if not answer.body.startswith(b"{"):
            return answer
        body = "&".join(f"{name}={value}" for name, value in call.form.items())
        seen = Seen("", call.http_method, call.target, call.headers, 0, body.encode())
        reply = spoil(seen, answer)
        assert reply.flow is None, "it takes its time, which an answer of the sandbox does not"
        return Cut(reply.data, reset=reply.end is End.RESET)

    return spoiled

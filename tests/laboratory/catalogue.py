"""All faults of the laboratory, by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from ppapi_async.sandbox.manners import JSON_TYPE, SentAnswer
from tests.sites.raw import COOKIE, RECEIPT, Script

from .contents import CONTENTS, ENVELOPES, ROWS, TEXTS
from .fault import Fault
from .pages import PAGES, REDIRECTS, STATUSES
from .transfer import BYTES, LINE

__all__ = ["AFTER_SENDING", "CONTENT", "FAULTS", "FIRSTS", "KINDS", "OUTCOMES", "script_of"]

CONTENT: Mapping[str, Fault] = {
    **STATUSES, **REDIRECTS, **PAGES, **TEXTS, **ENVELOPES, **CONTENTS, **ROWS,
}  # fmt: skip
"""Those of well-formed HTTP answers that come at once."""
FAULTS: Mapping[str, Fault] = {**LINE, **BYTES, **CONTENT}
_ALIKE = (
    *(str(status) for status in (402, 405, 406, 409, 410, 413, 418, 422, 425, 401, 451)),
    *(str(status) for status in (505, 506, 507, 508, 509, 511, 999, 598, 599)),
    *(str(status) for status in (521, 522, 523, *range(525, 531), 202, 203, 205, 226)),
    *(f"{status} to another host" for status in (300, 303, 305, 308, 399)),
    "302 to nonsense", "302 to a script", "body true", "body 0", 'body ""', "body []", "body 5",
    'body "Api disabled"', "body [null]", "error null", "error false", "error empty",
    "error a list", "error 0.0", "data false", "data true", "data 0", "data 5", 'data ""',
    "data [1]", "data [[]]", "data [null]", "items false", "items 5", 'items ""', 'items "x"',
    "items [5]", 'items ["x"]', "items [[]]", 'items {"a":[]}', "id {}", "id []", 'id "x"',
    'id "-"', "id 1.5", "time false", "time {}", "time []", "length of words", "enormous length",
    "chunk with a negative size", "half a head, reset", "length too large, reset", "two BOMs",
    "cut in the middle, reset", "raw deflate", "echoes the key with 403", "JSONP", "NUL behind",
    "429 till nonsense", "error_text a list", "challenge with 503", "fatal error with 500",
    "500, then closed", "301 to another path", "302 to another path",
    "307 to another path", "chunks cut between two", "gzip cut in the middle",
    "JSON cut in the middle", "shows the request",
)  # fmt: skip
KINDS: Mapping[str, Fault] = {name: one for name, one in FAULTS.items() if name not in _ALIKE}
"""Without those that differ from another only in a number or a word."""
assert set(_ALIKE) <= set(FAULTS), set(_ALIKE) - set(FAULTS)


def _by_outcome() -> Sequence[Sequence[str]]:
    names = defaultdict[object, list[str]](list)
    for name, one in KINDS.items():
        names[one.line, one.info, one.rows, one.passes, one.wait > 0, one.on_bytes].append(name)
    return list(names.values())


_ALIKE_IN_OUTCOME = _by_outcome()
FIRSTS: Mapping[str, Fault] = {alike[0]: KINDS[alike[0]] for alike in _ALIKE_IN_OUTCOME}
"""One of those that come to the same in the same way."""
OUTCOMES: Mapping[str, Fault] = {
    name: KINDS[name] for alike in _ALIKE_IN_OUTCOME for name in (alike[0], alike[-1])
}
"""Two of them at the most."""


# --- for servers that answer by script

_TRUTH = SentAnswer(200, {"Content-Type": JSON_TYPE}, RECEIPT.encode(), (COOKIE,))


def script_of(name: str) -> Script:
    """Return a fault as a script of a raw server: what it makes of a receipt."""
    spoil = FAULTS[name].spoil
    assert spoil is not None, "it is none of an answer"
    return lambda seen: spoil(seen, _TRUTH)


AFTER_SENDING: Mapping[str, Script] = {
    name: script_of(name)
    for name in (
        "closed", "reset", "half a head", "100, then closed", "no HTTP", "cut in the middle",
        "cut in the middle, reset", "gzip cut", "gzip damaged", "JSON cut",
        "500", "502", "503", "520", "524", "429", "500, then closed", "200 of the truth with 500",
        "a page", "empty", "body null", "data []", "301 to another host", "302 to another host",
        "303 to another host", "307 to itself", "308 to another host", "307 to another host",
        "hangs", "cut in the middle, hangs",
    )
}  # fmt: skip
"""Of each kind some that are met when a request was sent: what came of a payout is unknown."""

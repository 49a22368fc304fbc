"""Answers of the API that are odd, or not what they should be."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import cast

from attrs import evolve

from ppapi_async import (
    ApiDisabledError,
    ApiError,
    AuthError,
    DecodeError,
    IncompleteError,
    MethodNotSupportedError,
    PayoutOutcomeUnknown,
    PayoutRejected,
    ResponseError,
)
from ppapi_async.models import Json
from ppapi_async.sandbox import Fault as Public
from ppapi_async.sandbox import SentAnswer
from tests.sites.laboratory import Spoil
from tests.sites.raw import Reply, Seen, http_bytes

from .fault import Fault, Outcome, fault
from .public import of_sandbox

__all__ = ["CONTENTS", "ENVELOPES", "ROWS", "TEXTS"]

Edit = Callable[[dict[str, Json]], Json]


def _value(text: str) -> Json:
    value: Json = json.loads(text)
    return value


def _bytes(edit: Callable[[bytes], bytes]) -> Spoil:
    return lambda seen, truth: Reply(http_bytes(evolve(truth, body=edit(truth.body))))


def _json(edit: Edit) -> Spoil:
    """Send what `edit` makes of the true envelope."""

    def change(body: bytes) -> bytes:
        return json.dumps(edit(json.loads(body))).encode()

    return _bytes(change)


def _body(text: str | bytes) -> Spoil:
    data = text.encode() if isinstance(text, str) else text
    return _bytes(lambda _: data)


# --- text before, after and around the JSON

_TEXTS = re.compile(rb'"(?:user_hash|account|balance)":"')


def _in_cp1251(_: Seen, truth: SentAnswer) -> Reply:
    """Put Russian letters of another encoding into the texts that rows and get_info have."""
    body = _TEXTS.sub(lambda match: match[0] + "Обменник".encode("cp1251"), truth.body)
    return Reply(http_bytes(evolve(truth, body=body)))


_NOTICE = (
    b"<br />\n<b>Notice</b>:  Undefined index: items[] of {} in "
    b"<b>/w/api.php</b> on line <b>42</b><br />\n"
)
TEXTS: Mapping[str, Fault] = {
    "BOM": fault(of_sandbox(Public.BOM), None),
    "two BOMs": fault(_bytes(lambda body: b"\xef\xbb\xbf\r\n\xef\xbb\xbf" + body), None),
    "notice with [] and {}": fault(of_sandbox(Public.NOTICE_HTML), None),
    "warning with [] and {}": fault(of_sandbox(Public.NOTICE_PLAIN), None),
    "fifty notices": fault(_bytes(lambda body: _NOTICE * 50 + body), None),
    "notice and BOM": fault(_bytes(lambda body: _NOTICE + b"\xef\xbb\xbf" + body), None),
    "notice behind": fault(_bytes(lambda body: body + _NOTICE), ResponseError, passes=True),
    "notice within": fault(
        _bytes(lambda body: body[:9] + _NOTICE + body[9:]), ResponseError, passes=True
    ),
    "page around": fault(
        _bytes(lambda body: b"<html>" + body + b"</html>"), ResponseError, passes=True
    ),
    "white space around": fault(_bytes(lambda body: b"\r\n\t " + body + b" \n\n"), None),
    "NUL behind": fault(_bytes(lambda body: body + b"\0"), ResponseError, passes=True),
    "JSON twice": fault(_bytes(lambda body: body + body), ResponseError, passes=True),
    "JSON cut": fault(_bytes(lambda body: body[:-2]), ResponseError, passes=True),
    "JSON cut in the middle": fault(of_sandbox(Public.TRUNCATED_JSON), ResponseError, passes=True),
    "JSONP": fault(_bytes(lambda body: b"callback(" + body + b")"), ResponseError, passes=True),
    "cp1251": fault(_in_cp1251, DecodeError, payout=None, in_rows=True),
    "error_text in cp1251": fault(
        _bytes(lambda body: body.replace(b'_text":"', b'_text":"\xce\xf8')), None
    ),
    "UTF-16": fault(
        _bytes(lambda body: body.decode().encode("utf-16")), ResponseError, passes=True
    ),
    "a hundred thousand brackets": fault(_body("[" * 100_000), ResponseError, passes=True),
}

# --- envelopes

_NO_ENVELOPE = ("true", "0", '""', "[]", "{}", "5", '"Api disabled"', "[null]")


def _with(**members: Json) -> Spoil:
    return _json(lambda envelope: {**envelope, **members})


def _without(name: str) -> Spoil:
    return _json(lambda envelope: {n: value for n, value in envelope.items() if n != name})


def _refusal(code: Json, text: Json, outcome: Outcome, payout: Outcome = PayoutRejected) -> Fault:
    refused = json.dumps({"error": code, "error_text": text})
    return fault(_body(refused), outcome, payout=payout)


ENVELOPES: Mapping[str, Fault] = {
    **{f"body {text}": fault(_body(text), ResponseError, passes=True) for text in _NO_ENVELOPE},
    "body null": fault(of_sandbox(Public.NULL), ResponseError, passes=True),
    "body false": fault(of_sandbox(Public.FALSE), ResponseError, passes=True),
    "error 0 as the other kind": fault(
        _json(lambda e: {**e, "error": 0 if e["error"] == "0" else "0"}), None
    ),
    "more in the envelope": fault(_with(site="x", version=[2, 7], debug={"a": None}), None),
    "error_text null": fault(_with(error_text=None), None),
    "error_text a number": fault(_with(error_text=5), None),
    "error_text a list": fault(_with(error_text=["x"]), None),
    "refusal with a list for a text": _refusal(1, ["No", {"a": 1}], ApiError),
    "no error_text": fault(_without("error_text"), None),
    "no error": fault(_without("error"), ResponseError, passes=True),
    "error null": fault(_with(error=None), DecodeError),
    "error false": fault(_with(error=False), DecodeError),
    "error empty": fault(_with(error=""), DecodeError),
    "error a word": fault(_with(error="yes"), DecodeError),
    "error a list": fault(_with(error=[]), DecodeError),
    "error -1": fault(_with(error=-1), DecodeError),
    "error 0.0": fault(_with(error=_value("0.0")), DecodeError),
    "status error, error 0": fault(_with(status="error"), DecodeError),
    "status a number": fault(_with(status=200), ResponseError, passes=True),
    "wrong key": _refusal(1, "REST API key error", AuthError, AuthError),
    "IP blocked": _refusal(2, "IP blocked", AuthError, AuthError),
    "method off": _refusal(3, "Method not supported", *[MethodNotSupportedError] * 2),
    "disabled": fault(of_sandbox(Public.API_DISABLED), ApiDisabledError, payout=ApiDisabledError),
    "other refusal": fault(
        of_sandbox(Public.API_ERROR, text="Что-то не так"), ApiError, payout=PayoutRejected
    ),
    "refusal without text": _refusal("7", None, ApiError),
    "refusal with rows": fault(_with(error=1, error_text="x"), ApiError, payout=PayoutRejected),
}

# --- data

CONTENTS: Mapping[str, Fault] = {
    **{
        f"data {text}": fault(_with(data=_value(text)), DecodeError, call=None)
        for text in ("null", "false", "true", "0", "5", '""', '"x"', "[1]", "[[]]", "[null]")
    },
    "data of another kind": fault(_with(data={"rows": []}), DecodeError, call=None),
    "data []": fault(_with(data=[]), None, info=DecodeError, payout=PayoutOutcomeUnknown),
    "data {}": fault(_with(data={}), None, info=DecodeError, payout=PayoutOutcomeUnknown),
    "no data": fault(_without("data"), None, info=DecodeError, payout=PayoutOutcomeUnknown),
}


def _items(edit: Callable[[Json], Json]) -> Spoil:
    """Send what `edit` makes of the rows; answers without rows stay as they are."""

    def change(envelope: dict[str, Json]) -> Json:
        data = envelope.get("data")
        if isinstance(data, dict) and "balance" not in data and "items" in data:
            data["items"] = edit(data["items"])
        return envelope

    return _json(change)


def _items_are(text: str) -> Spoil:
    return _items(lambda _: _value(text))


def _rows(edit: Callable[[list[object]], list[object]]) -> Spoil:
    """Send other rows; where they are keyed, the keys stay with them."""

    def change(items: Json) -> Json:
        if isinstance(items, dict):
            return dict(cast("list[tuple[str, Json]]", edit(list(items.items()))))
        return cast("Json", edit(list(cast("list[Json]", items))))

    return _items(change)


def _first(**members: Json) -> Spoil:
    """Send these members in the first row, where there are several."""

    def change(items: Json) -> Json:
        rows = list(items.values()) if isinstance(items, dict) else items
        if isinstance(rows, list) and len(rows) > 1 and isinstance(rows[0], dict):
            rows[0] |= members
        return items

    return _items(change)


def _row_fault(
    spoil: Spoil, outcome: Outcome = DecodeError, *, in_rows: bool | None = None
) -> Fault:
    """Only lists have rows. `in_rows` tells whether it is about single ones, not about the list."""
    if in_rows is None:
        in_rows = outcome is DecodeError
    return fault(spoil, outcome, info=None, call=None, payout=None, in_rows=in_rows)


ROWS: Mapping[str, Fault] = {
    **{
        f"items {text}": _row_fault(_items_are(text), in_rows=False)
        for text in ("null", "false", "5", '""', '"x"')
    },
    **{
        f"items {text}": _row_fault(_items_are(text), in_rows=False)
        for text in (
            "[null]",
            "[5]",
            '["x"]',
            "[[]]",
            "[[{}]]",
            '{"a":null}',
            '{"a":[]}',
        )
    },
    "items []": _row_fault(_items(lambda _: []), None),
    "items {}": _row_fault(_items(lambda _: {}), None),
    "rows out of order": _row_fault(_rows(lambda rows: rows[1::2] + rows[::2]), None),
    "rows from old to new": _row_fault(_rows(lambda rows: rows[::-1]), None),
    # Its list and its counts contradict each other, so nothing can be proven.
    "every row twice": _row_fault(_rows(lambda rows: rows + rows), IncompleteError),
    **{
        f"id {text}": _row_fault(_first(id=_value(text)))
        for text in ("false", "{}", "[]", '""', '"x"', '"1.5"', "1.5", '"-"')
    },
    **{
        f"time {text}": _row_fault(_first(time=_value(text)))
        for text in ("null", "false", '""', '"now"', "{}", "[]", "1e30", "9" * 40)
    },
    "unknown keys": _row_fault(_first(site={"a": [1]}, rate="1.50"), None),
}

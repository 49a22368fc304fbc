"""Answers that no server should give: the recorded ones, damaged in ways that are drawn."""

from __future__ import annotations

import functools
import gzip
import json
import random
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from attrs import define, frozen
from hypothesis import strategies as st

from ppapi_async.protocol import Answer
from tests.conftest import DEPTH
from tests.leaks import SPELLINGS
from tests.sites.raw import KEY

__all__ = ["METHODS", "Mutant", "encoded", "headers", "mutants", "spelled_keys"]

_SAMPLES = Path(__file__).parents[1] / "samples"
METHODS = ("get_info", "get_links", "get_exchanges", "get_payouts", "add_payout")
STATUSES = (*[200] * 30, 301, 302, 307, 400, 401, 403, 404, 410, 429, 451, 500, 501, 502)
STATUSES += (503, 504, 520, 524)


@define
class Obj:
    """A JSON object as it is written: names may repeat, and stand as escaped as they came."""

    pairs: list[tuple[str, Node]]


@define
class Arr:
    """A JSON array as it is written."""

    items: list[Node]


Node: TypeAlias = "Obj | Arr | str"
"""A piece of JSON; a str is the text of a scalar, and need not be good JSON."""


@frozen
class Mutant:
    """An answer, and the part of its body that was to be JSON."""

    method: str
    answer: Answer
    json: bytes
    """Without what was put before and after it, but cut as it was."""


def _literal(value: object) -> str:
    return json.dumps(value, ensure_ascii=True)


def _node(value: object) -> Node:
    if isinstance(value, dict):
        return Obj([(_literal(name), _node(one)) for name, one in value.items()])
    if isinstance(value, list):
        return Arr([_node(one) for one in value])
    return _literal(value)


def written(node: Node, *, comma: str = ",", colon: str = ":") -> str:
    """Return the JSON text of a piece."""
    if isinstance(node, str):
        return node
    again = functools.partial(written, comma=comma, colon=colon)
    if isinstance(node, Arr):
        return f"[{comma.join(map(again, node.items))}]"
    return f"{{{comma.join(f'{name}{colon}{again(one)}' for name, one in node.pairs)}}}"


@functools.cache
def _bodies() -> Mapping[str, list[str]]:
    """Return the recorded bodies by method, and all of them under an empty name."""
    bodies: dict[str, list[str]] = {"": []}
    for path in sorted(_SAMPLES.glob("*.json")):
        for name, pair in json.loads(path.read_text("utf-8")).items():
            body = pair["response"]["body"]
            if body.startswith("{"):
                bodies[""].append(body)
                bodies.setdefault(name.partition("-")[0], []).append(body)
    return bodies


def _deep(opening: str, closing: str, depth: int) -> str:
    return opening * depth + "1" + closing * depth


ODD = (
    *("null", "false", "true", '""', '"0"', "0", "-0", '"-0"', "1", '"1"', "-1", "1.5", "0.10"),
    *("1e400", "1e9", "1e-9", "1e999999999", "-1e-999999999", "1e99999999999999999999", "0e99999"),
    *('"1e999999999"', '"1e99999999999999999999"', '"NAN"', '"sNaN1"', '"Infinity"', '"-inf"'),
    *(str(2**63), str(2**64), f'"{2**63 - 1}"', f'"{2**64}"', "9" * 400, f'"{"9" * 400}"', "1e3"),
    *("9" * 5000, f'"{"9" * 5000}"', f"0.{'1' * 5000}", f'"-{"1" * 60}.{"3" * 60}"', "1.0", "5e2"),
    *("253402300799", "253402300800", '"253402300799"', "-62135596800", "-1", "1759900000.5"),
    *('"2025-10-08 05:07:40"', '"2025-10-08T05:07:40Z"', "[]", "{}", "[[]]", "[null]", '{"a":1}'),
    *(_deep("[", "]", 300), _deep("[", "]", 5000), _deep('{"a":', "}", 300)),
    *(_deep('{"a":', "}", 5000), '"\\ud83d\\ude00"', '"\\u0000"', '"\\ufeff"', '"\u2028"'),
    *('"1_000"', '" 12 "', '"\u0661"', '"\u00b2"', '"1.0"', '"1e3"', '"0.0"', '"0.10"', '"+7"'),
    *('"0x1f"', '"1,5"', '"1.5%"', '"%"', '"- 5"', '"--5"', '"true"', '"True"', '"on"', '"yes"'),
    *('"0.00000921"', '"s\\u0435lect"', '"&amp;amp;#039;"', '"a\\":b"', '"a: b: c"', '"a\\\\"'),
)
"""What may stand where something else was meant."""
BROKEN = (
    *(
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '"\x00"',
        '"\x1f"',
        '"\ud800"',
        "'x'",
        "x",
        "01",
        "+1",
        "1.",
    ),
    *('"\\x"', '"\\u12"', '"', "undefined", ".5", "1e", "NaN", "Infinity", "-Infinity", "", "/**/"),
)
"""The same, in what is not quite JSON."""
NAMES = (
    *("error", "error_text", "status", "data", "items", "id", "time", "date", "amount_give"),
    *("partner_reward", "accrued", "statuses", "extra", "comission", "title", "payout_id", "a"),
    *("", "балл", "\x00", 'a":b', "items[0]", "__class__", "method_id", "account"),
)
NOISE = (
    b"<br />\n<b>Notice</b>:  Undefined index: [] in <b>/www/a.php</b> on line <b>12</b><br />\n",
    b'PHP Warning:  foo() {"error":0,"data":[]} in /a.php on line 3\n',
    b"Deprecated: {} on line 5\n",
    b"Notice: a {} on line 1",
    b"Warning: a on line 12345678\n",
    b"<b>Fatal error</b>:  Allowed memory size of {} bytes\n",
    b"Notice: " * 300 + b"on line ",
    b"<br />\n" * 50,
    b"\xef\xbb\xbf",
    b"\xef\xbb\xbf \n\xef\xbb\xbf",
    b" \t\r\n\x0b\x0c",
    b"\x00",
    b"\x1f\x8b",
    b"<html><body>Just a moment...</body></html>",
    b"<!-- cached -->",
    b"[]",
    b"{}",
    b"null",
    b")]}',\n",
    "Ошибка".encode("cp1251"),
    b"\xff\xfe",
    b"\xed\xa0\x80",
)
"""What is printed before or after the JSON, or gets into it."""

spelled_keys = st.sampled_from(sorted(SPELLINGS)).map(lambda way: SPELLINGS[way](KEY))


@define
class Slot:
    """A place in a tree where something stands."""

    holder: Obj | Arr
    index: int

    @property
    def node(self) -> Node:
        """What stands there."""
        if isinstance(self.holder, Arr):
            return self.holder.items[self.index]
        return self.holder.pairs[self.index][1]

    def put(self, node: Node) -> None:
        """Have this stand there."""
        if isinstance(self.holder, Arr):
            self.holder.items[self.index] = node
        else:
            self.holder.pairs[self.index] = (self.holder.pairs[self.index][0], node)

    @property
    def row(self) -> list[Node] | list[tuple[str, Node]]:
        """What stands beside it."""
        return self.holder.items if isinstance(self.holder, Arr) else self.holder.pairs


def _slots(node: Node) -> Iterator[Slot]:
    """Return all places in a tree, the containers before what they hold."""
    if isinstance(node, str):
        return
    inner = node.items if isinstance(node, Arr) else [one for _, one in node.pairs]
    for index in range(len(inner)):
        yield Slot(node, index)
    for one in inner:
        yield from _slots(one)


def _seldom(draw: st.DrawFn, times: int) -> bool:
    """Return True once in so many times; hypothesis likes the ends of ranges, so a middle."""
    return draw(st.integers(0, times)) == times // 2 + 1


Edit: TypeAlias = Callable[[st.DrawFn, Slot], None]


def _replace(draw: st.DrawFn, slot: Slot) -> None:
    slot.put(draw(st.sampled_from(BROKEN if _seldom(draw, 40) else ODD)))


def _replace_scalar(draw: st.DrawFn, slot: Slot) -> None:
    if isinstance(slot.node, str):
        _replace(draw, slot)


def _retype(draw: st.DrawFn, slot: Slot) -> None:
    """Write the same value as another type would be."""
    node = slot.node
    if isinstance(node, Obj):
        slot.put(Arr([one for _, one in node.pairs]))
    elif isinstance(node, Arr):
        names = draw(st.sampled_from([[f'"{i}"' for i in range(len(node.items))], ['"1"', '"2"']]))
        slot.put(Obj(list(zip(names, node.items, strict=False))))
    else:
        slot.put(node[1:-1] if node.startswith('"') and len(node) > 2 else _literal(node))


def _drop(_: st.DrawFn, slot: Slot) -> None:
    del slot.row[slot.index]


def _rename(draw: st.DrawFn, slot: Slot) -> None:
    if isinstance(slot.holder, Obj):
        name = draw(st.sampled_from(NAMES) | spelled_keys)
        slot.holder.pairs[slot.index] = (_literal(name), slot.node)


def _add(draw: st.DrawFn, slot: Slot) -> None:
    """Put in a key, which may be there already, or an element."""
    node: Node = draw(st.sampled_from(ODD))
    if isinstance(slot.holder, Arr):
        slot.holder.items.insert(slot.index, node)
    else:
        name = _literal(draw(st.sampled_from(NAMES)))
        slot.holder.pairs.insert(draw(st.sampled_from([slot.index, 99])), (name, node))


def _repeat(draw: st.DrawFn, slot: Slot) -> None:
    """Have it there several times: rows, or keys of an object."""
    times = draw(st.sampled_from([1, 1, 2, 7]))
    slot.row[slot.index : slot.index] = slot.row[slot.index : slot.index + 1] * times  # type: ignore[assignment]


def _shuffle(draw: st.DrawFn, slot: Slot) -> None:
    if len(slot.row) < 100:
        random.Random(draw(st.integers(0, 99))).shuffle(slot.row)


def _wrap(draw: st.DrawFn, slot: Slot) -> None:
    slot.put(Arr([slot.node]) if draw(st.booleans()) else Obj([('"items"', slot.node)]))


def _tell_key(draw: st.DrawFn, slot: Slot) -> None:
    """Echo the key within a text."""
    before = draw(st.sampled_from(["", "?a=1&api_key=", "&#", "%25", "\\"]))
    slot.put(_literal(before + draw(spelled_keys) + draw(st.sampled_from(["", "&b=2", '"']))))


def _swap_with_other(draw: st.DrawFn, slot: Slot) -> None:
    """Graft a branch of another answer."""
    other = _node(json.loads(draw(st.sampled_from(_bodies()[""]))))
    slots = list(_slots(other))
    slot.put(slots[draw(st.integers(0, len(slots) - 1))].node if slots else "{}")


_EDITS: Sequence[Edit] = (
    *(_replace, *[_replace_scalar] * 4, _retype, _retype, _drop, _rename, _add),
    *(_repeat, _shuffle, _wrap, _tell_key, _swap_with_other),
)


@st.composite
def _texts(draw: st.DrawFn, method: str) -> str:
    """Return JSON text of a recorded answer after edits at drawn places."""
    tree = _node(json.loads(draw(st.sampled_from(_bodies()[method]))))
    for edit in draw(st.lists(st.sampled_from(_EDITS), max_size=4 * DEPTH)):
        slots = list(_slots(tree))
        if not slots:
            break
        # Nearer the top or, mostly, anywhere: nearly all places are fields of rows.
        most = draw(st.sampled_from([4, 12, *[len(slots)] * 6]))
        edit(draw, slots[draw(st.integers(0, min(most, len(slots)) - 1))])
    comma, colon = draw(st.sampled_from([(",", ":"), (",", ":"), (", ", ": "), (",\n  ", " : ")]))
    return written(tree, comma=comma, colon=colon)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _respell(draw: st.DrawFn, body: bytes) -> bytes:
    """Write the text in another encoding, or with other escapes."""
    text = body.decode("utf-8", "surrogatepass")
    return draw(
        st.sampled_from(
            [
                _utf8(text.replace("/", "\\/")),
                text.encode("utf-16", "surrogatepass"),
                text.encode("cp1251", "replace"),
                _utf8(text.replace('"', "'")),
                _utf8(text.replace("a", "\\u0061")),
                _utf8(text.replace("\\u0435", "\u0435").replace("\\u0441", "\u0441")),
                _utf8(text.replace("\\u", "\\\\u")),
            ]
        )
    )


def _splice(draw: st.DrawFn, body: bytes) -> bytes:
    """Return the beginning of this and the end of another answer."""
    other = draw(st.sampled_from(_bodies()[""])).encode()
    at = draw(st.integers(0, len(other)))
    # The key is told whole or not at all: what is cut at its front nobody can recognise.
    return body[: max(0, body.find(b"{", draw(st.integers(0, len(body)))))] + other[at:]


def _poke(draw: st.DrawFn, body: bytes) -> bytes:
    """Put bytes in anywhere but before it."""
    at = draw(st.integers(1, len(body) + 1))
    more = draw(st.sampled_from(NOISE) | st.binary(max_size=4))
    return body[:at] + more + body[at:]


_DAMAGES = (_respell, _splice, _poke)


@st.composite
def mutants(draw: st.DrawFn, methods: Sequence[str] = METHODS) -> Mutant:
    """Return an answer to one of the methods that a recorded one has become."""
    method = draw(st.sampled_from(methods))
    body = _utf8(draw(_texts(method)))
    is_whole = any(way(KEY).encode() in body for way in SPELLINGS.values())
    if not is_whole and _seldom(draw, 12):
        body = draw(st.sampled_from(_DAMAGES))(draw, body)
    noise = st.lists(st.sampled_from(NOISE), max_size=2).map(b"".join)
    before = draw(noise) if _seldom(draw, 8) else b""
    after = draw(noise) if _seldom(draw, 12) else b""
    if _seldom(draw, 15):
        before += f"<p>/api.html?api_key={draw(spelled_keys)}&method=x</p>".encode()
    if _seldom(draw, 12):
        body, after = body[: draw(st.integers(0, len(body)))], b""
    status = draw(st.sampled_from(STATUSES))
    return Mutant(method, Answer(status, draw(headers()), before + body + after), body)


@st.composite
def headers(draw: st.DrawFn) -> dict[str, str]:
    """Return headers that servers and those before them send, and others."""
    link = draw(st.sampled_from(["/x", "https://b.example/", "//[", "?api_key=", "", "/é"]))
    waits = ["5", "-1", "1e9", "999999999", "9999999999", "\u00b2", "\u0661", "", "soon", "1.5"]
    waits += ["Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 99 Oct 2015 07:28:00 GMT", "1 Jan 1 0:0 +2399"]
    waits += ["Fri, 31 Dec 9999 23:59:59 -2359", "Mon, 1 Jan 2024 0:0:0 +99999999999999999999"]
    waits += ["Mon, 1 Jan 99999999999999999999 0:0:0", "Mon, 1 Jan 2024 99:99:99 +9999"]
    chosen = {
        "Content-Type": st.sampled_from(["application/json", "text/html; charset=cp1251", "x"]),
        "Retry-After": st.sampled_from(waits),
        "Date": st.sampled_from(waits),
        "Location": st.just(link) | spelled_keys.map(lambda key: f"{link}?api_key={key}"),
        "Server": st.sampled_from(["cloudflare", "nginx"]) | spelled_keys,
        "CF-Mitigated": st.just("challenge"),
        "Set-Cookie": st.just("PHPSESSID=1; path=/"),
    }
    found: dict[str, str] = draw(st.fixed_dictionaries({}, optional=chosen))
    return found


@st.composite
def encoded(draw: st.DrawFn, body: bytes) -> tuple[bytes, dict[str, str]]:
    """Return the body as it goes over the wire, and what its headers say of that."""
    raw = zlib.compressobj(wbits=-15)
    packed = {
        "": body,
        "identity": body,
        "gzip": gzip.compress(body, 1),
        "x-gzip": gzip.compress(body[:9], 1) + gzip.compress(body[9:], 1),
        "deflate": draw(st.sampled_from([zlib.compress(body), raw.compress(body) + raw.flush()])),
        "br": body,
    }
    said = draw(st.sampled_from(["", "", "", *packed]))
    done = said if draw(st.integers(0, 5)) else draw(st.sampled_from(sorted(packed)))
    data = packed[done]
    if said and draw(st.integers(0, 4)) == 0:
        data = data[: draw(st.integers(0, len(data)))]
    return data, {"Content-Encoding": said} if said else {}

"""The tables of the vendor's methods have every field of a record, and every key of a site."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
import pytest

from ppapi_async import (
    Account,
    Exchange,
    Info,
    Link,
    Payout,
    PayoutMethod,
    PayoutReceipt,
    StatusChange,
)
from ppapi_async.protocol.fields import WIRE_NAMES
from ppapi_async.protocol.responses import Reader, refusal

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api-methods.md").read_text("utf-8")
RECORDS = (Info, PayoutMethod, Link, Exchange, StatusChange, Payout, PayoutReceipt)
SAMPLES = ("classic-2.2", "delegating-2.7")
TYPES = {"tuple": r"tuple\[(\w+).*\]", "or None": r"(\w+) \| None", "mapping": "Mapping.*"}
"""How the tables write the types of fields, after the name of what is inside."""


def tables(text: str) -> Mapping[str, list[list[str]]]:
    """Return the cells of the tables by the heading that they stand under."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ").replace("`", "")
        elif line.startswith("| `"):
            cells = re.split(r"(?<!\\)\|", line.strip("| "))
            found.setdefault(heading, []).append([cell.strip() for cell in cells])
    return found


def documented(record: type[attrs.AttrsInstance]) -> dict[str, tuple[str, str]]:
    """Return wire name and type of each field that a record's table has."""
    found: dict[str, tuple[str, str]] = {}
    for row in tables(PAGE)[record.__name__]:
        names = [name.strip("`") for name in row[0].split(" → ")]
        found[names[-1]] = (names[0], row[1])
    return found


def in_words(annotation: str) -> str:
    """Return a type as the tables write it."""
    if inner := re.fullmatch(TYPES["tuple"], annotation):
        return f"tuple of `{inner[1]}`"
    if inner := re.fullmatch(TYPES["or None"], annotation):
        return f"`{inner[1]}` or None"
    return "mapping" if re.fullmatch(TYPES["mapping"], annotation) else f"`{annotation}`"


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_field_has_a_line(record: type[attrs.AttrsInstance]) -> None:
    """With its name at the site, and its type."""
    types: dict[str, str] = inspect.get_annotations(record)  # as they are written
    expected = {
        one.name: (
            {"text": "error_text", "extra": "…"}.get(one.name, one.name)
            if record is PayoutReceipt or one.name == "extra"
            else WIRE_NAMES.get(one.name, one.name),
            in_words(types[one.name]),
        )
        for one in attrs.fields(record)
    }
    assert documented(record) == expected


def keys(value: object) -> Iterator[str]:
    """Yield the names of all that there is in an answer; ids are none."""
    for name, one in value.items() if isinstance(value, dict) else ():
        if not name.isdigit():
            yield name
        yield from keys(one)
    for one in value if isinstance(value, list) else ():
        yield from keys(one)


@pytest.mark.parametrize("server", SAMPLES)
def test_every_key_of_a_recorded_answer_has_a_line(server: str) -> None:
    """In a table of the method that it came from, or of the envelope."""
    samples = json.loads((ROOT / "tests" / "samples" / f"{server}.json").read_text("utf-8"))
    envelope = {row[0].strip("`") for row in tables(PAGE)["Every answer"]}
    for sample in samples.values():
        body = sample["response"]["body"]
        if not body:
            continue
        method = sample["request"]["query"]["method"]
        part = PAGE.partition(f"\n## {method}\n")[2].partition("\n## ")[0]
        known = {
            row[0].split(" → ")[0].strip("`") for rows in tables(part).values() for row in rows
        }
        assert set(keys(json.loads(body))) <= known | envelope


@pytest.mark.parametrize("server", SAMPLES)
def test_every_parameter_of_a_recorded_request_has_a_line(server: str) -> None:
    """What the sites were asked with, in the table of the method's parameters."""
    samples = json.loads((ROOT / "tests" / "samples" / f"{server}.json").read_text("utf-8"))
    for sample in samples.values():
        request = sample["request"]
        method = request["query"]["method"]
        asked = {*(request["form"] or {}), *request["query"]} - {"api_action", "api_key", "method"}
        known = {row[0].strip("`") for row in tables(PAGE).get(f"Parameters of {method}", [])}
        assert asked <= known


def test_errors_are_what_the_table_says() -> None:
    """By their English text and by the Russian one, of a payout and of a read."""
    rows = PAGE.partition("\n## Errors\n")[2].partition("---|\n")[2].splitlines()
    account = Account("https://site.example", "key")
    seen = 0
    for row in (row for row in rows if row.startswith("|")):
        english, russian, code, _, raised = re.split(r" *\| *", row)[1:-1]
        if not code:
            continue
        method = "add_payout" if "reason" in raised else "get_info"
        same = {"", "(the same)"}
        for text in (*english.split(", no "), *({russian} - same)):
            error = refusal(int(code), text, Reader(account, method))
            assert type(error).__name__ == re.findall(r"`(\w+)`", raised)[0]
            reason = getattr(error, "reason", None)
            assert reason is None or f"reason `{reason}`" in raised
            seen += 1
    assert seen == 16

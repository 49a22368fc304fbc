"""`ppapi tap`: Singer messages that any target reads, from which nothing is lost by a kill."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import cast

import pytest
from attrs import evolve

from ppapi_async import Account, Dialect, Exchange, Payout, PayoutStatus
from ppapi_async.cli.tapping import writing
from ppapi_async.cli.tapping.documents import TapConfig, TapState, selected_streams
from ppapi_async.cli.tapping.streams import STREAMS
from ppapi_async.sandbox import Order, Sandbox
from ppapi_async.transport.retry import Retry
from tests.cli.sites import running, write_accounts
from tests.cli.terminal import ppapi, started
from tests.leaks import assert_absent

KEY = "k3y" * 11 + "xy"
Message = dict[str, object]
Rows = dict[tuple[str, str, int], Message]
ROWS = ("exchanges", "links", "payouts")


@pytest.fixture
def sites() -> Iterator[dict[str, Sandbox]]:
    """Serve a site of each age, with keys of their own in rows."""
    one = Sandbox(Dialect.CLASSIC, rows=60, seed=3, api_key=KEY, timezone="Europe/Moscow")
    two = Sandbox(Dialect.DELEGATING, rows=40, seed=4, own_keys=True)
    with running(one, two):
        yield {"one": one, "two": two}


@pytest.fixture(autouse=True)
def accounts_file(sites: dict[str, Sandbox], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the accounts file; repeat nothing, so that nothing waits."""
    write_accounts(home / "config" / "ppapi" / "accounts.toml", sites)
    monkeypatch.setattr(writing, "_RETRY", Retry(attempts=1))


def messages_of(text: str) -> list[Message]:
    """Return the messages of an output; each is a line of JSON."""
    return [json.loads(line) for line in text.splitlines()]


def tap(code: int = 0, **files: object) -> list[Message]:
    """Run the tap with these files, and return its messages."""
    arguments: list[str] = []
    for name, document in files.items():
        keep(f"{name}.json", document)
        arguments += [f"--{name}", f"{name}.json"]
    ran = ppapi("tap", *arguments)
    assert ran.code == code, ran.err
    return messages_of(ran.out)


def keep(name: str, document: object) -> None:
    """Write a file."""
    Path(name).write_text(json.dumps(document), encoding="utf-8")


def load(messages: list[Message], rows: Rows) -> Message:
    """Keep the rows of all records before the last state by their keys, and return that state."""
    last = max(place for place, one in enumerate(messages) if one["type"] == "STATE")
    for one in messages[:last]:
        if one["type"] == "RECORD" and one["stream"] in ROWS:
            record = cast("Message", one["record"])
            key = str(one["stream"]), str(record["account"]), cast("int", record["id"])
            rows[key] = record
    return cast("Message", messages[last]["value"])


def check(rows: Rows, sites: Mapping[str, Sandbox]) -> None:
    """Compare rows with the books: each is there, with its reward, its flag and its status."""
    truth: dict[tuple[str, str, int], tuple[object, ...]] = {}
    for name, site in sites.items():
        truth |= {("links", name, one.id): (one.ip,) for one in site.books.links_in()}
        for order in site.books.exchanges_in():
            truth["exchanges", name, order.id] = Decimal(order.reward), order.accrued
        for paid in site.books.payouts_in():
            truth["payouts", name, paid.id] = Decimal(paid.pay_amount), str(paid.status)
    found: dict[tuple[str, str, int], tuple[object, ...]] = {}
    for key, row in rows.items():
        match key[0]:
            case "links":
                found[key] = (row["ip"],)
            case "exchanges":
                found[key] = Decimal(str(row["partner_reward"])), row["accrued"]
            case _:
                found[key] = Decimal(str(row["pay_amount"])), row["status"]
    assert found == truth


def test_the_catalog_has_every_field() -> None:
    """Keys are automatic, amounts exact, times date-times; what is not known is null."""
    ran = ppapi("tap", "--discover")
    streams = {one["stream"]: one for one in json.loads(ran.out)["streams"]}
    assert list(streams) == ["balances", "payouts", "exchanges", "links"]
    exchanges = streams["exchanges"]
    properties = exchanges["schema"]["properties"]
    assert exchanges["key_properties"] == ["account", "id"]
    assert properties["id"] == {"type": "integer"}
    amount = {"format": "x-singer.decimal", "precision": 38, "scale": 18}
    assert properties["partner_reward"] == {"type": ["null", "string"]} | amount
    assert properties["time"] == {"type": ["null", "string"], "format": "date-time"}
    assert properties["statuses"]["items"]["properties"]["time"]["format"] == "date-time"
    by_crumb = {tuple(one["breadcrumb"]): one["metadata"] for one in exchanges["metadata"]}
    assert by_crumb[()]["table-key-properties"] == ["account", "id"]
    assert by_crumb["properties", "account"]["inclusion"] == "automatic"
    assert by_crumb["properties", "hash"]["inclusion"] == "available"


@pytest.mark.untraced
def test_a_run_tells_what_the_books_have(sites: dict[str, Sandbox]) -> None:
    """Each schema stands before its records, which have its properties; no key is told."""
    ran = ppapi("tap")
    assert ran.code == 0
    assert_absent(KEY, ran.out + ran.err)
    messages = messages_of(ran.out)
    rows: Rows = {}
    load(messages, rows)
    check(rows, sites)
    schemas: dict[object, Message] = {}
    for one in messages:
        if one["type"] == "SCHEMA":
            schemas[one["stream"]] = cast("Message", one["schema"])
        elif one["type"] == "RECORD":
            assert {*cast("Message", one["record"])} == {
                *cast("Message", schemas[one["stream"]]["properties"])
            }
    balances = [one["record"] for one in messages[:3] if one["type"] == "RECORD"]
    told = {str(cast("Message", one)["account"]): cast("Message", one) for one in balances}
    for name, site in sites.items():
        assert Decimal(str(told[name]["balance"])) == Decimal(site.books.partner.balance)


def test_a_later_run_tells_what_has_changed(sites: dict[str, Sandbox]) -> None:
    """Also what sites change without moving a row's time; old rows are not told again."""
    rows: Rows = {}
    state = load(tap(), rows)
    for site in sites.values():
        last = site.books.exchanges_in()[-1]
        site.books.set_by_hand(last.id, accrued=not last.accrued, reward="7.000000000001")
        paid = site.books.payouts_in()[-1]
        site.books.move_payout(paid.id, 2)
        newest = max(one.created for one in site.books.exchanges_in())
        site.books.place_order(Order(id=9_000, created=newest + 60, reward="0.5"))
        site.books.confirm_order(9_000, newest + 61)
    messages = tap(state=state)
    assert 0 < sum(one["type"] == "RECORD" for one in messages) < len(rows)
    load(messages, rows)
    check(rows, sites)
    whole_message = {"type": "STATE", "value": state}  # as some targets keep it
    again = tap(state=whole_message)
    assert sum(one["type"] == "RECORD" for one in again) < len(rows)


@pytest.mark.untraced
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_nothing_is_lost_wherever_it_is_cut(sites: dict[str, Sandbox], share: float) -> None:
    """A target keeps rows up to a state; the next run tells all that comes after it."""
    rows: Rows = {}
    messages = tap(config={"state_every": 1})
    cut = messages[: max(12, int(len(messages) * share))]
    assert any(one["type"] == "STATE" for one in cut)
    state = load(cut, rows)
    load(tap(config={"state_every": 1}, state=state), rows)
    check(rows, sites)


@pytest.mark.untraced
def test_a_killed_tap_goes_on(sites: dict[str, Sandbox]) -> None:
    """Killed by SIGKILL amid records, the next run tells the rest."""
    Path("config.json").write_text('{"state_every": 1}', encoding="utf-8")
    lines: list[str] = []
    with started("tap", "--config", "config.json") as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if len(lines) > 40 and json.loads(line)["type"] == "STATE":
                break
        process.kill()
    rows: Rows = {}
    state = load(messages_of("".join(lines)), rows)
    load(tap(state=state), rows)
    check(rows, sites)


async def test_what_is_interrupted_tells_only_of_what_was_written(
    sites: dict[str, Sandbox],
) -> None:
    """The state that is written on the way out has no row that was not."""
    accounts = [
        Account(site.url, site.api_key, name=name, timezone=site.timezone)
        for name, site in sites.items()
    ]
    for cut in (20, 230):
        sink = io.BytesIO()
        run = writing.Tap(sink, TapConfig(state_every=1), TapState(None), selected_streams(None))
        task = asyncio.create_task(run.run(accounts))
        # No event tells of the very moment in which it has written so many.
        while not task.done() and sink.getvalue().count(b'"RECORD"') < cut:  # noqa: ASYNC110
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        rows: Rows = {}
        state = load(messages_of(sink.getvalue().decode()), rows)
        keep("kept.json", state)
        rest = io.BytesIO()
        known = TapState("kept.json")
        await writing.Tap(rest, TapConfig(), known, selected_streams(None)).run(accounts)
        load(messages_of(rest.getvalue().decode()), rows)
        check(rows, sites)


def test_a_catalog_selects_streams_and_properties() -> None:
    """What is not selected is not told; keys always are; of what is unknown one is told."""
    chosen = json.loads(ppapi("tap", "--discover").out)
    for stream in chosen["streams"]:
        root = next(one for one in stream["metadata"] if not one["breadcrumb"])
        root["metadata"]["selected"] = stream["stream"] == "payouts"
        for one in stream["metadata"]:
            if one["breadcrumb"] and one["breadcrumb"][1] in ("id", "wallet"):
                one["metadata"]["selected"] = False
    chosen["streams"].append({"stream": "orders"})
    Path("catalog.json").write_text(json.dumps(chosen), encoding="utf-8")
    ran = ppapi("tap", "--catalog", "catalog.json")
    messages = messages_of(ran.out)
    assert {one["stream"] for one in messages if "stream" in one} == {"payouts"}
    names = {*cast("Message", messages[0]["schema"])["properties"]}  # type: ignore[misc]
    assert {"account", "id"} <= names
    assert "wallet" not in names
    record = next(one["record"] for one in messages if one["type"] == "RECORD")
    assert {*cast("Message", record)} == names
    assert "there is no stream orders" in ran.err


def test_an_account_that_fails_keeps_its_place(sites: dict[str, Sandbox], home: Path) -> None:
    """The others are read; the one that failed goes on the next time."""
    path = home / "config" / "ppapi" / "accounts.toml"
    text = path.read_text("utf-8")
    path.write_text(text.replace(KEY, "wrong" * 7), encoding="utf-8")
    rows: Rows = {}
    state = load(tap(5), rows)
    check(rows, {"two": sites["two"]})
    path.write_text(text, encoding="utf-8")
    load(tap(state=state), rows)
    check(rows, sites)


def test_rows_that_cannot_be_read_are_named(sites: dict[str, Sandbox]) -> None:
    """All others come; the exit code says that some are missing."""
    site = sites["two"]
    last = site.books.payouts_in()[-1]
    site.books.payouts.put(evolve(last, pay_amount="oops"))
    ran = ppapi("tap")
    assert ran.code == 3
    assert f"two: 1 rows cannot be read and are missing: {last.id}" in ran.err


@pytest.mark.untraced
def test_another_zone_tells_everything_anew(sites: dict[str, Sandbox], home: Path) -> None:
    """All times are others then, so that rows that were told are told again."""
    rows: Rows = {}
    state = load(tap(config={"names": ["two"]}), rows)
    path = home / "config" / "ppapi" / "accounts.toml"
    path.write_text(path.read_text("utf-8").replace('"UTC"', '"Asia/Tokyo"'), encoding="utf-8")
    again = tap(config={"names": ["two"]}, state=state)
    anew: Rows = {}
    load(again, anew)
    assert anew.keys() == rows.keys()
    key = next(iter(key for key in rows if key[0] == "links"))
    assert anew[key]["time"] != rows[key]["time"]


def test_values_that_are_odd() -> None:
    """No exponent, no sign of a zero, no text that a database refuses, any date."""
    record = STREAMS["exchanges"].record(
        Exchange(
            id=1, time=datetime(1, 1, 1, tzinfo=UTC), amount_give=Decimal("1E-7"),
            amount_get=Decimal("-0"), exchange_success=True, accrued=False,
            partner_reward=Decimal(1), user_hash="a\0\ud800", extra={"fee": [Decimal("0.10")]},
        ),
        "one",
        ("time", "amount_give", "amount_get", "user_hash", "extra"),
    )  # fmt: skip
    assert record == {
        "time": "0001-01-01T00:00:00+00:00", "amount_give": "0.0000001", "amount_get": "0",
        "user_hash": "a␛0000␛d800", "extra": '{"fee": ["0.10"]}',
    }  # fmt: skip


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"api_key": KEY}, "keys belong into the accounts file"),
        ({"names": "one"}, "names: pass a list of names of accounts"),
        ({"names": [1]}, "names: pass a list of names of accounts"),
        ({"names": ["none"]}, "there is no account 'none'"),
        ({"start_date": "yesterday"}, "start_date: pass an instant, as in 2026-01-01T00:00:00Z"),
        ({"lookback_days": 0}, "lookback_days: pass 1 to 36500 days"),
        ({"state_every": 0}, "state_every: pass a number of records, 1 or more"),
        ({"amounts": "float"}, "amounts: pass decimal or text"),
        ([], "--config: config.json: is no JSON object"),
    ],
)
def test_a_wrong_configuration_is_told(config: object, message: str) -> None:
    """With what to write, and without a key."""
    Path("config.json").write_text(json.dumps(config), encoding="utf-8")
    ran = ppapi("tap", "--config", "config.json")
    assert ran.code == 2
    assert message in ran.err
    assert ran.out == ""
    assert_absent(KEY, ran.err)


def test_wrong_files_are_told() -> None:
    """A state or a catalog that is none, a file that is not there; unknown words are noted."""
    Path("x.json").write_text('{"bookmarks": {"links": 5}, "more": 1}', encoding="utf-8")
    Path("y.json").write_text("{", encoding="utf-8")
    assert "is no state of this tap" in ppapi("tap", "--state", "x.json").err
    assert "--catalog: is no catalog" in ppapi("tap", "--catalog", "x.json").err
    assert "y.json: is no JSON" in ppapi("tap", "--state", "y.json").err
    assert "none.json: No such file" in ppapi("tap", "--state", "none.json").err
    damaged = {"version": 1, "of": {"since": None, "timezone": "UTC", "status_history": False}}
    state = {"bookmarks": {"payouts": {"accounts": {"two": damaged | {"newest": "x"}}}}}
    Path("z.json").write_text(json.dumps(state), encoding="utf-8")
    ran = ppapi("tap", "--state", "z.json")
    assert (ran.code, "--state: bookmark: is damaged" in ran.err) == (2, True)
    ran = ppapi("tap", "--config", "x.json", "--discover")
    assert (ran.code, "more: is not known" in ran.err) == (0, True)


def test_an_amount_of_too_many_digits_needs_texts(sites: dict[str, Sandbox]) -> None:
    """The schema promises 38 digits; it is told, and nothing is rounded."""
    stream = STREAMS["payouts"]
    paid = Payout(
        id=7, time=datetime(2026, 1, 1, tzinfo=UTC), method_id=1, account="TX",
        pay_amount=Decimal("1" * 21), original_amount=Decimal(1), status=PayoutStatus.DONE,
    )  # fmt: skip
    assert stream.too_long(paid) == f"pay_amount is {'1' * 21}"
    plain = stream.schema(plain_amounts=True)["properties"]
    assert cast("Message", plain)["pay_amount"] == {"type": ["null", "string"]}
    site = sites["two"]
    last = site.books.payouts_in()[-1]
    site.books.payouts.put(evolve(last, pay_amount="1" * 21))
    ran = ppapi("tap")
    assert ran.code == 1
    assert f"two: payouts {last.id}: pay_amount is {'1' * 21}, which has more digits" in ran.err
    assert tap(config={"amounts": "text"})
    schema = tap(config={"amounts": "text", "start_date": "2026-01-01"})[0]["schema"]
    properties = cast("Message", cast("Message", schema)["properties"])
    assert properties["balance"] == {"type": ["null", "string"]}

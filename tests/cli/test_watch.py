"""`ppapi watch`: each change at least once, in order, to people, programs and servers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import click
import pytest
from aiohttp import web
from attrs import define, evolve, field

from ppapi_async import Dialect, Hooks, MemoryState, SQLiteState, StateError
from ppapi_async.cli.exits import CommandFailed
from ppapi_async.cli.watching import delivery, watching
from ppapi_async.cli.watching.delivery import Deliveries, FreshState, Parcel, Problem
from ppapi_async.cli.watching.program import Program
from ppapi_async.cli.watching.texts import AnyChange, change_document, change_line, document_text
from ppapi_async.cli.watching.webhook import secret_of, webhook_url
from ppapi_async.models import Exchange, Info, Link, Payout, PayoutStatus
from ppapi_async.sandbox import Books, Fault, Order, Partner, Sandbox
from ppapi_async.watching.changes import Change, ChangeKind
from tests.cli.sites import running, write_accounts
from tests.cli.terminal import Ran, Terminal, ppapi, started
from tests.leaks import assert_absent

KEY = "k3y" * 11 + "xy"
SECRET = "s3cr3t-of-the-webhook"
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
ORDERS = ("--resources", "exchanges", "--interval", "0.1s", "--since", "1h")
LATE = 20.0


def order(number: int, created: int | None = None) -> Order:
    """Return an order that has just been created, or at another moment."""
    return Order(
        id=number,
        created=int(time.time()) - 2 if created is None else created,
        currency_give="BTC",
        currency_get="USDT",
        amount_give="0.5",
        amount_get="30000",
        reward="1.5",
    )


def site_of(count: int = 3, key: str = KEY) -> Sandbox:
    """Return a site with some orders."""
    books = Books(partner=Partner(api_key=key), orders=[order(one + 1) for one in range(count)])
    return Sandbox(Dialect.CLASSIC, books=books)


@define
class Receiver:
    """A server for changes, beside the command."""

    answers: list[int | str] = field(factory=list)
    """Of the first requests: a status, or "hang"; 204 from then on."""
    seen: list[tuple[dict[str, str], bytes, int]] = field(factory=list)
    """Headers, body, and what was answered."""
    url: str = ""
    enough: int = 3
    """Rows of which a change was taken, after which the command is ended."""

    @property
    def taken(self) -> list[dict[str, object]]:
        """The changes that were taken, in order."""
        return [json.loads(body) for _, body, status in self.seen if status < 300]

    async def handle(self, request: web.Request) -> web.Response:
        """Answer."""
        body = await request.read()
        answer = self.answers.pop(0) if self.answers else 204
        headers = {name.lower(): one for name, one in request.headers.items()}
        self.seen.append((headers, body, 599 if isinstance(answer, str) else answer))
        if answer == "hang":
            await asyncio.sleep(LATE)
        if answer == 204 and len({one["id"] for one in self.taken}) == self.enough:
            end_soon()
        location = {"Location": "/elsewhere", "Retry-After": "7"}
        return web.Response(status=int(answer) if answer != "hang" else 204, headers=location)

    async def start(self) -> web.AppRunner:
        """Listen."""
        app = web.Application()
        app.router.add_post("/{any:.*}", self.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}/token-in-path"
        return runner

    async def stop(self, runner: web.AppRunner) -> None:
        """End all that is under way, too."""
        await runner.cleanup()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def end_now() -> None:
    """End the command by SIGTERM, if it runs still."""
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        os.kill(os.getpid(), signal.SIGTERM)


def end_soon() -> None:
    """End the command when it has counted what it has just delivered."""
    threading.Timer(0.15, end_now).start()


@pytest.fixture
def site(home: Path) -> Iterator[Sandbox]:
    """Serve a site, with an accounts file for it as account `one`."""
    with running(site := site_of()):
        write_accounts(home / "config" / "ppapi" / "accounts.toml", {"one": site})
        yield site


@pytest.fixture
def receiver(site: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Serve a receiver of changes."""
    monkeypatch.setenv("PPAPI_WEBHOOK_SECRET", SECRET)
    found = Receiver()
    with running() as loop:
        runner = asyncio.run_coroutine_threadsafe(found.start(), loop).result(LATE)
        yield found
        asyncio.run_coroutine_threadsafe(found.stop(runner), loop).result(LATE)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return how long deliveries would have waited; they do not."""
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(watching, "HOOKS", Hooks(sleep=sleep, chance=lambda: 1.0))
    return found


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Return what runs the command until it has printed so many lines."""

    def run(*arguments: str, lines: int, then: Callable[[], object] = end_soon) -> Ran:
        count = 0

        def say(text: str) -> None:
            nonlocal count
            count += 1
            click.echo(text)
            if count == lines:
                then()

        monkeypatch.setattr(watching, "say", say)
        patience = threading.Timer(LATE, end_now)
        patience.start()
        try:
            return ppapi("watch", *arguments)
        finally:
            patience.cancel()

    return run


def test_what_happens_is_printed_once(site: Sandbox, watch: Callable[..., Ran]) -> None:
    """For programs an object a line, as the books have it; a second run goes on."""
    ran = watch(*ORDERS, "--json", lines=3)
    assert (ran.code, ran.err.strip()) == (130, "interrupted")
    found = [json.loads(line) for line in ran.out.splitlines()]
    assert [one["id"] for one in found] == [1, 2, 3]
    assert {(one["kind"], one["account"], one["resource"]) for one in found} == {
        ("new", "one", "exchanges")
    }
    assert {(one["previous"], one["record"]["partner_reward"]) for one in found} == {(None, "1.5")}
    site.books.set_by_hand(2, accrued=True, reward="4.2")
    ran = watch(*ORDERS, lines=1)
    [line] = ran.out.splitlines()
    assert line.endswith("  one  order 2: accrued 0 → 1, reward 1.50 → 4.20")
    site.books.set_by_hand(2, accrued=False, reward="4.2")
    ran = watch(*ORDERS, "--json", lines=1)
    [one] = [json.loads(line) for line in ran.out.splitlines()]
    assert (one["kind"], one["fields"]) == ("changed", ["accrued"])
    assert (one["previous"]["accrued"], one["record"]["accrued"]) == (True, False)
    assert_absent(KEY, ran.out, ran.err)


@pytest.mark.untraced
def test_it_may_begin_anew(site: Sandbox, watch: Callable[..., Ran], home: Path) -> None:
    """Where what was delivered is forgotten, or kept elsewhere."""
    watch(*ORDERS, lines=3)
    state = home / "data" / "ppapi" / "watch.db"
    assert state.exists()
    assert state.parent.stat().st_mode & 0o777 == 0o700
    assert len(watch(*ORDERS, "--state", "other.db", lines=3).out.splitlines()) == 3
    anew = ("--from-now", *ORDERS[:4])

    asked = len(site.requests)

    def put() -> None:
        while len(site.requests) < asked + 4:  # its first look is over
            time.sleep(0.01)
        site.books.orders.put(order(9, created=int(time.time()) + 1))

    threading.Thread(target=put, daemon=True).start()
    ran = watch(*anew, lines=1)
    assert "new order 9: 0.50 BTC → 30,000.00 USDT, reward 1.50" in ran.out
    site.books.orders.put(order(10, created=int(time.time())))
    assert "new order 10" in watch(*ORDERS, lines=1).out


def test_a_server_gets_a_change_until_it_takes_it(
    receiver: Receiver, watch: Callable[..., Ran], waits: list[float]
) -> None:
    """Under one id, signed anew each time; nothing overtakes it; it was printed once."""
    receiver.answers = [500, 503, 429, "hang"]
    ran = watch(*ORDERS, "--webhook", receiver.url, "--timeout", "0.8s", lines=99)
    assert ran.code == 130
    ids = [headers["webhook-id"] for headers, _, _ in receiver.seen]
    assert len(set(ids[:5])) == 1
    assert len(set(ids)) == 3
    assert [one["id"] for one in receiver.taken] == [1, 2, 3]
    assert waits == [7.0, 7.0, 7.0, 8.0]
    host = "webhook 127.0.0.1: "
    assert [one for one in ran.err.splitlines() if one] == [
        f"{host}answered 500; again in 7 s",
        f"{host}answered 503; again in 7 s",
        f"{host}answered 429; again in 7 s",
        f"{host}no answer within 0.8 s; again in 8 s",
        "interrupted",
    ]
    assert len(ran.out.splitlines()) == 3
    for headers, body, _ in receiver.seen:
        assert headers["content-type"] == "application/json"
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        made = hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()
        assert headers["webhook-signature"] == f"v1,{base64.b64encode(made).decode()}"
        assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert_absent(SECRET, ran.out, ran.err)
    assert_absent("token-in-path", ran.out, ran.err)
    assert_absent(KEY, ran.out, ran.err, *[body for _, body, _ in receiver.seen])


def test_a_server_that_is_not_there_is_tried_again(
    receiver: Receiver, watch: Callable[..., Ran], waits: list[float]
) -> None:
    """For ever, ever more seldom."""

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 12:
            end_now()
        await asyncio.sleep(0)

    watching.HOOKS = Hooks(sleep=sleep, chance=lambda: 1.0)  # the fixture puts it back
    ran = watch(*ORDERS, "--webhook", "http://127.0.0.1:1/token-in-path", lines=99)
    assert ran.code == 130
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert "could not be reached (ClientConnectorError); again in 4 min 16 s" in ran.err
    assert ran.out == ""
    assert_absent("token-in-path", ran.err)
    again = watch(*ORDERS, "--webhook", receiver.url, lines=99)
    assert [one["id"] for one in receiver.taken] == [1, 2, 3]
    assert again.code == 130


@pytest.mark.parametrize("status", [400, 410, 307])
def test_what_a_server_refuses_for_good(
    receiver: Receiver, watch: Callable[..., Ran], waits: list[float], status: int
) -> None:
    """Ends the watch, and the next one begins with it, under the same id; or it is left out."""
    receiver.answers = [204, status]
    ran = watch(*ORDERS, "--webhook", receiver.url, lines=99)
    assert ran.code == 1
    assert f"ppapi watch: webhook 127.0.0.1: answered {status}" in ran.err
    assert "--skip-refused goes on without such" in ran.err
    assert waits == []
    receiver.answers = [status]
    receiver.enough = 2
    ran = watch(*ORDERS, "--webhook", receiver.url, "--skip-refused", lines=99)
    ids = [headers["webhook-id"] for headers, _, _ in receiver.seen]
    assert ids[1] == ids[2]
    assert f"change {ids[1]} is left out" in ran.err
    assert [one["id"] for one in receiver.taken] == [1, 3]


@pytest.mark.untraced
def test_killed_it_delivers_each_change(
    receiver: Receiver, site: Sandbox, watch: Callable[..., Ran]
) -> None:
    """With -9, amid deliveries: all come, at least once, and repeats have the ids they had."""
    began = int(time.time()) - 60
    for number in range(1, 41):
        site.books.orders.put(order(number, created=began + number))
    receiver.enough = -1
    with started("watch", *ORDERS, "--webhook", receiver.url) as process:
        until = time.monotonic() + LATE
        while len(receiver.seen) < 12:
            assert time.monotonic() < until
            time.sleep(0.002)
        process.kill()
    receiver.enough = 40
    watch(*ORDERS, "--webhook", receiver.url, lines=99)
    assert {one["id"] for one in receiver.taken} == set(range(1, 41))
    by_id: dict[str, set[bytes]] = {}
    for headers, body, _ in receiver.seen:
        by_id.setdefault(headers["webhook-id"], set()).add(body)
    assert len(by_id) == 40
    assert {len(bodies) for bodies in by_id.values()} == {1}


def test_a_program_gets_each_change_on_its_stdin(
    site: Sandbox, watch: Callable[..., Ran], waits: list[float]
) -> None:
    """Again until it ends with 0; no secret is in its environment."""
    code = (
        "import json, os, sys\n"
        "one = json.load(sys.stdin)\n"
        "with open('got', 'a') as file: print(one['id'], os.environ['PPAPI_DELIVERY'], file=file)\n"
        "assert 'PPAPI_WEBHOOK_SECRET' not in os.environ\n"
        "sys.exit(len(open('got').readlines()) == 2)\n"
    )
    Path("take.py").write_text(code, "utf-8")
    os.environ["PPAPI_WEBHOOK_SECRET"] = SECRET  # the fixture of a home takes it away again
    try:
        program = f"{sys.executable} -S -E take.py"
        ran = watch(*ORDERS, "--exec", program, lines=3)
    finally:
        del os.environ["PPAPI_WEBHOOK_SECRET"]
    assert ran.code == 130, ran.err
    got = [line.split() for line in Path("got").read_text("utf-8").splitlines()]
    assert [number for number, _ in got] == ["1", "2", "2", "3"]
    assert got[1] == got[2]
    assert len({given for _, given in got}) == 3
    assert waits == [1.0]
    assert "ended with 1; again in 1 s" in ran.err


async def test_a_program_that_takes_too_long_is_ended() -> None:
    """With those that it has started; one that cannot be started is told."""
    parcel = Parcel("msg_1", b"{}")
    slow = Program(["/bin/sh", "-c", "sleep 60 & echo $! > child; wait"], seconds=0.3)
    problem = await slow.take(parcel)
    assert problem == Problem("took more than 0.3 s, and was ended")
    child = _number_in(Path("child"))
    for _ in range(200):
        if not _is_alive(child):
            break
        await asyncio.sleep(0.01)
    assert not _is_alive(child)
    assert await Program(["/bin/true"], seconds=5).take(Parcel("msg_1", b"x" * 10**6)) is None
    problem = await Program(["/no/such"], seconds=5).take(parcel)
    assert problem == Problem("could not be started (No such file or directory)")


def _number_in(path: Path) -> int:
    return int(path.read_text("utf-8"))


def _is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text("utf-8").split(") ")[1][0] not in "ZX"
    except FileNotFoundError:
        return False


def test_a_shell_runs_what_it_is_told_to(site: Sandbox, watch: Callable[..., Ran]) -> None:
    """Only where that was said."""
    assert watch(*ORDERS, "--shell", "--exec", "cat >> a; true", lines=3).code == 130
    assert [json.loads(line)["id"] for line in Path("a").read_text("utf-8").splitlines()] == [
        1,
        2,
        3,
    ]


def test_outages_are_survived(
    site: Sandbox, watch: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account that fails is told, polled on, and told when it works again."""
    watch(*ORDERS, lines=3)
    site.books.orders.put(order(4))
    site.faults.add(Fault.API_DISABLED, method="get_exchanges", times=1)

    def note(text: str) -> None:
        click.echo(text, err=True)
        end_soon()

    monkeypatch.setattr(watching, "note", note)
    ran = watch(*ORDERS, lines=99)
    assert "one  new order 4" in ran.out
    assert ran.err.index("; polling on") < ran.err.index("one: works again")
    assert_absent(KEY, ran.err)


def test_where_all_keys_are_refused_it_ends(site: Sandbox, home: Path) -> None:
    """Nothing could ever come."""
    file = home / "config" / "ppapi" / "accounts.toml"
    file.write_text(file.read_text("utf-8").replace(KEY, "z" * 35), "utf-8")
    ran = ppapi("watch", *ORDERS)
    assert ran.code == 5
    assert "ppapi watch: no account can be watched; see above" in ran.err
    assert_absent("z" * 35, ran.err)


def test_one_process_at_a_time_has_the_state(site: Sandbox) -> None:
    """A second one would take changes from the first."""
    import sqlite3

    from ppapi_async.mirror import writer_lock

    connection = writer_lock._try(Path("held.db-lock"))
    assert isinstance(connection, sqlite3.Connection)
    try:
        ran = ppapi("watch", *ORDERS, "--state", "held.db")
    finally:
        connection.close()
    assert ran.code == 1
    assert "held.db is written by process" in ran.err


@pytest.mark.parametrize("name", ["a directory", ":memory:", "a text", "of a later version"])
def test_a_state_that_cannot_be_used_ends_it_at_once(site: Sandbox, name: str) -> None:
    """No later poll could do better, and SQLite would keep `:memory:` in no file at all."""
    import sqlite3

    path = Path(name)
    if name == "a text":
        path.write_text("This is no database. " * 50)
    elif name == "of a later version":
        asyncio.run(_opened(path))
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA user_version = 99")
    else:
        path.mkdir()
    ran = ppapi("watch", *ORDERS, "--state", name)
    assert ran.code == 1
    assert f"{path.absolute()} " in ran.err or f"{path.absolute()}:" in ran.err
    assert "another path" in ran.err or "upgrade ppapi_async" in ran.err
    assert "polling on" not in ran.err


async def _opened(path: Path) -> None:
    async with SQLiteState(path) as state:
        await state.load("any")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--webhook ftp://x", "--webhook: pass a url such as https://bot.example/ppapi"),
        ("--webhook http://bot.example/t0ken", "--webhook: use https, or allow others"),
        ("--webhook https://bot.example", "set PPAPI_WEBHOOK_SECRET, or pass"),
        ("--webhook https://x --webhook-secret-file no", "no: No such file or directory"),
        ("--exec no-such-program", "--exec: there is no program 'no-such-program'"),
        ('--exec "\'"', "--exec: No closing quotation"),
        ("--shell", "--shell: goes with --exec"),
        ("--resources orders", "'orders' is none; choose from links, exchanges, payouts, info"),
        ("nobody", "there is no account 'nobody'"),
        ("--json kind,id", "--json takes no fields here: it prints each change whole"),
        ("--json record", "pick from them with jq: ppapi watch --json | jq .record"),
        ("--json nobody", "there is no account 'nobody'"),
    ],
)
def test_misuse_is_told(site: Sandbox, arguments: str, said: str) -> None:
    """Before anything is asked or sent, and without what may be a token."""
    import shlex

    ran = ppapi("watch", *shlex.split(arguments))
    assert ran.code == 2
    assert said in ran.err
    assert "t0ken" not in ran.err


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("short", "has fewer than 16 bytes"),
        ("whsec_%%%", "is no base64 behind whsec_"),
        ("whsec_c2hvcnQ=", "has fewer than 16 bytes"),
        ("", "has fewer than 16 bytes"),
    ],
)
def test_a_secret_that_is_none(
    site: Sandbox, monkeypatch: pytest.MonkeyPatch, text: str, problem: str
) -> None:
    """Is told without it."""
    Path("secret").write_text(text, "utf-8")
    Path("secret").chmod(0o600)
    ran = ppapi("watch", "--webhook", "https://x", "--webhook-secret-file", "secret")
    assert ran.code == 2
    assert f"the webhook's secret {problem}" in ran.err
    assert not text or text not in ran.err


def test_a_secret_is_text_or_base64() -> None:
    """As Standard Webhooks has it."""
    key = b"0123456789abcdef-\xff"
    assert base64.b64decode(secret_of("  0123456789abcdef\n").reveal()) == b"0123456789abcdef"
    text = f"whsec_{base64.b64encode(key).decode()}"
    assert base64.b64decode(secret_of(text).reveal()) == key


def test_a_secret_that_others_can_read_is_warned_of(
    receiver: Receiver, watch: Callable[..., Ran]
) -> None:
    """And used all the same."""
    Path("secret").write_text(f"{SECRET}\n", "utf-8")
    Path("secret").chmod(0o644)
    ran = watch(*ORDERS, "--webhook", receiver.url, "--webhook-secret-file", "secret", lines=99)
    assert "secret: others can read it" in ran.err
    assert len(receiver.taken) == 3


def test_urls_of_this_machine_may_be_http() -> None:
    """Others only where that was said."""
    for text in ("http://localhost:1/x", "http://127.0.0.9", "http://[::1]:8", "https://a.example"):
        assert webhook_url(text, allow_http=False).host
    assert webhook_url("http://a.example", allow_http=True).scheme == "http"
    for text in ("http://a.example", "http://127.0.0.1.example", "http://[bad", "x"):
        with pytest.raises(CommandFailed):
            webhook_url(text, allow_http=False)


async def taken(state: MemoryState, *changes: Change[Info]) -> list[str]:
    """Return the ids under which a new process delivers changes."""
    found: list[str] = []

    class Taker:
        name = "taker"

        async def take(self, parcel: Parcel) -> Problem | None:
            found.append(parcel.id)
            return None

    deliveries = Deliveries(state, [Taker()], False, Hooks())
    for change in changes:
        await deliveries.deliver(change)
    return found


async def test_what_happens_twice_has_two_ids() -> None:
    """Only a repeat has the same: who left the second out would lose it."""
    infos = [Info(Decimal(one), Decimal(10)) for one in (1, 2)]
    up = Change(ChangeKind.CHANGED, infos[1], infos[0], ("balance",), "one")
    down = Change(ChangeKind.CHANGED, infos[0], infos[1], ("balance",), "one")
    state = MemoryState()
    ids = await taken(state, up, down, up, down, up)
    assert len(set(ids)) == 5
    assert await taken(state, up) == ids[-1:]  # it was killed before that counted as delivered
    assert len(set(await taken(state, down, up)) - set(ids)) == 2
    entries = await state.load(delivery._WATCH)
    assert len(entries) == 1
    await Deliveries(state, [], False, Hooks()).deliver(up)  # only printed
    assert await state.load(delivery._WATCH) == {}
    assert len(await taken(MemoryState(), up, up)) == 2


async def test_a_state_that_cannot_save_keeps_no_change_back() -> None:
    """At worst a repeat after a crash has another id."""

    class Broken(MemoryState):
        async def save(self, *_: object, **__: object) -> None:
            raise StateError("full")

    change = Change(ChangeKind.NEW, Info(Decimal(1), Decimal(10)), account="one")
    assert len(await taken(Broken(), change, change)) == 2


async def test_a_fresh_state_forgets_once() -> None:
    """What was saved before it was made."""
    state = MemoryState()
    await state.save("w", {"a": "1"})
    fresh = FreshState(state)
    assert await fresh.load("w") == {}
    await fresh.save("w", {"b": "2"})
    assert await fresh.load("w") == {"b": "2"}
    assert await fresh.read("w", "b") == "2"


EXCHANGE = Exchange(
    id=7,
    time=NOON,
    amount_give=Decimal("0.5"),
    amount_get=Decimal(30000),
    exchange_success=True,
    accrued=True,
    partner_reward=Decimal("4.2"),
    currency_code_give="BTC",
    currency_code_get="USDT",
)
PAYOUT = Payout(9, NOON, 11, "TX1", Decimal(100), Decimal(100), PayoutStatus.DONE)
NEW, CHANGED = ChangeKind.NEW, ChangeKind.CHANGED


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            Change(NEW, evolve(EXCHANGE, status="new")),
            "new order 7: 0.50 BTC → 30,000.00 USDT, reward 4.20, new",
        ),
        (
            Change(CHANGED, EXCHANGE, evolve(EXCHANGE, accrued=False), ("accrued",)),
            "order 7: accrued 0 → 1, reward 4.20",
        ),
        (
            Change(CHANGED, EXCHANGE, None, ("time", "accrued")),
            "order 7: accrued 1, reward 4.20",
        ),
        (
            Change(CHANGED, EXCHANGE, evolve(EXCHANGE, time=NOON - timedelta(1)), ("time",)),
            "order 7: time 2026-11-27 12:00 → 2026-11-28 12:00, reward 4.20",
        ),
        (Change(CHANGED, EXCHANGE), "order 7: changed, reward 4.20"),
        (
            Change(CHANGED, EXCHANGE, evolve(EXCHANGE, status="new"), ("status",)),
            "order 7: status new → nothing, reward 4.20",
        ),
        (Change(NEW, Link(5, NOON)), "new click 5: nothing is known of it"),
        (
            Change(NEW, Link(5, NOON, ip="192.0.2.1", referrer="x" * 99, query_string="a\x1b[2J")),
            f"new click 5: from 192.0.2.1, {'x' * 59}…, a\\x1b[2J",
        ),
        (
            Change(CHANGED, Link(5, NOON, ip="a"), Link(5, NOON, ip="b"), ("ip",)),
            "click 5: ip b → a",
        ),
        (Change(NEW, PAYOUT), "new payout 9: done, 100.00 to TX1"),
        (
            Change(CHANGED, PAYOUT, evolve(PAYOUT, status=PayoutStatus.WAITING), ("status",)),
            "payout 9: status waiting → done, 100.00 to TX1",
        ),
        (Change(NEW, Info(Decimal(5), Decimal(10))), "balance 5.00"),
        (
            Change(
                CHANGED,
                Info(Decimal(5), Decimal(10)),
                Info(Decimal(6), Decimal(20)),
                ("balance", "min_payout", "items"),
            ),
            "balance 6.00 → 5.00, least payout 20.00 → 10.00, items 0 → 0",
        ),
    ],
)
def test_lines_for_people(change: AnyChange, line: str) -> None:
    """Say what happened; hostile texts do nothing to a terminal, with colours or without."""
    plain = change_line(change, NOON, UTC, colour=False)
    assert plain == f"2026-11-28 12:00:00    {line}"
    coloured = change_line(change, NOON, UTC, colour=True)
    assert click.unstyle(coloured) == plain
    assert json.loads(document_text(change_document(change)))["kind"] == change.kind


def test_documents_do_nothing_to_a_terminal() -> None:
    """Whatever is in them."""
    link = Link(5, NOON, referrer="\u202e\x1b", extra={"fee": Decimal("0.10")})
    text = document_text(change_document(Change(NEW, link, account="one")))
    assert text.isprintable()
    assert json.loads(text)["record"]["extra"] == {"fee": "0.10"}


def test_on_a_terminal(site: Sandbox) -> None:
    """It says what it does, in colours, and Ctrl-C ends it."""
    with Terminal("watch", *ORDERS, columns=200) as terminal:
        terminal.wait_for("new order 3")
        terminal.type("\x03")
        assert terminal.end() == 130
    assert "watching exchanges of one; Ctrl-C ends it" in terminal.text
    assert "\x1b[36mone" in terminal.raw


def test_what_sites_say_does_nothing_to_a_terminal(
    site: Sandbox, watch: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor to a log: neither a site's own words, nor its answers."""
    said = "\x1b[2J\u202e" + KEY

    def note(text: str) -> None:
        click.echo(text, err=True)
        end_soon()

    monkeypatch.setattr(watching, "note", note)
    watch(*ORDERS, lines=3)
    site.faults.add(Fault.API_ERROR, method="get_exchanges", times=1, code=2, text=said)
    ran = watch(*ORDERS, lines=99)
    assert "polling on" in ran.err
    assert "\x1b" not in ran.err
    assert "\u202e" not in ran.err
    assert_absent(KEY, ran.err)


PAGE = Path(__file__).parents[2] / "docs" / "command-line" / "watch.md"


def test_the_page_shows_how_to_check_a_signature() -> None:
    """By the words of the page; and each test that it names is there."""
    from ppapi_async.cli.watching.webhook import signature

    page = PAGE.read_text("utf-8")
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    known: dict[str, Callable[..., bool]] = {}
    exec(code, known)  # as who reads the page would
    now, parcel = int(time.time()), Parcel("msg_1", b'{"id": 1}')
    for secret in (SECRET, f"whsec_{base64.b64encode(SECRET.encode()).decode()}"):
        headers = {
            "webhook-id": parcel.id,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(secret_of(secret), parcel, now),
        }
        assert known["is_genuine"](secret, headers, parcel.body)
        assert not known["is_genuine"](secret, headers, b"{}")
        assert not known["is_genuine"](secret, {**headers, "webhook-id": "msg_2"}, parcel.body)
    named = re.findall(r"`tests/cli/test_watch\.py::(\w+)`", page)
    assert named
    assert set(named) <= set(globals())

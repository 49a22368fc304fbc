"""Attempts that are stored, and what is refused before anything is sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ppapi_async import (
    Account,
    Dialect,
    PayoutAttempt,
    PayoutNotSent,
    PayoutOutcomeUnknown,
    PayoutReceipt,
    PPAPIError,
    SearchOutcome,
    Session,
)
from ppapi_async.payouts import Unsettled, judge, search_begin
from ppapi_async.transport.connector import CleanRequest
from tests.laboratory.catalogue import AFTER_SENDING
from tests.leaks import assert_absent
from tests.payouts.test_payouts import (
    ATTEMPT,
    ONCE,
    WALLET,
    Held,
    http_of,
    session_at,
    site,
    unsettled,
)
from tests.sites.raw import (
    HOOKS,
    INFO,
    KEY,
    NOW,
    http,
    outcome_of,
)

ATTEMPTS = st.builds(
    PayoutAttempt,
    st.integers(1, 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=1000),
    st.datetimes(
        datetime(1970, 1, 2),  # noqa: DTZ001 - hypothesis takes bounds without a zone
        datetime(9999, 1, 1),  # noqa: DTZ001
        timezones=st.just(UTC),
    ),
    st.none() | st.floats(-1e9, 1e9),
)


@given(ATTEMPTS)
def test_an_attempt_goes_to_json_and_back(attempt: PayoutAttempt) -> None:
    """What comes back is the same, to the microsecond."""
    text = attempt.to_json()
    assert PayoutAttempt.from_json(text) == attempt
    assert isinstance(json.loads(text), dict)


GOOD = json.loads(evolve(ATTEMPT, clock_ahead=1.5).to_json())


DAMAGED: dict[str, str] = {
    "empty": "",
    "cut": ATTEMPT.to_json()[:-1],
    "a list": "[]",
    "null": "null",
    "deep": "[" * 16_000,
    "oversized": " " * 1_000_000 + ATTEMPT.to_json(),
    "a huge number": '{"version": 1, "method_id": ' + "9" * 5000 + "}",
    **{
        f"{name} {what}": json.dumps({**GOOD, name: value})
        for name, what, value in [
            ("version", "missing", None),
            ("version", "later", 2),
            ("version", "true", True),
            ("method_id", "zero", 0),
            ("method_id", "true", True),
            ("method_id", "text", "11"),
            ("method_id", "huge", 2**63),
            ("account", "empty", ""),
            ("account", "number", 5),
            ("account", "long", "T" * 1001),
            ("sent_at", "naive", "2026-01-01T00:00:00"),
            ("sent_at", "no date", "yesterday"),
            ("sent_at", "number", 5),
            ("sent_at", "before time", "0001-01-01T00:00:00+14:00"),
            ("clock_ahead", "text", "0"),
            ("clock_ahead", "true", True),
            ("clock_ahead", "nan", float("nan")),
            ("clock_ahead", "infinite", float("inf")),
        ]
    },
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_attempt_is_refused(damage: str) -> None:
    """Each is one ValueError that says what is wrong."""
    with pytest.raises(ValueError, match=r"^attempt: "):
        PayoutAttempt.from_json(DAMAGED[damage])


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_promise_3_an_attempt_is_told_before_it_is_sent(is_async: bool) -> None:
    """Nothing has reached the site then; what is stored holds no key, and settles."""
    stored: list[str] = []

    def store(attempt: PayoutAttempt) -> None:
        assert server.count("add_payout") == 0
        stored.append(attempt.to_json())

    async def store_later(attempt: PayoutAttempt) -> None:
        await asyncio.sleep(0)
        store(attempt)

    on_attempt: Callable[[PayoutAttempt], object] = store_later if is_async else store
    async with site(add_payout=AFTER_SENDING["502"]) as server, session_at(server) as session:
        error = await outcome_of(session.add_payout(11, WALLET, on_attempt=on_attempt))
        assert isinstance(error, PayoutOutcomeUnknown)
        [text] = stored
        assert_absent(KEY, text)
        assert PayoutAttempt.from_json(text) == error.attempt
        assert session.settle_payout(PayoutAttempt.from_json(text))


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_promise_3_an_attempt_that_cannot_be_stored_is_not_sent(is_async: bool) -> None:
    """What `on_attempt` raises is raised; nothing was sent, nothing is unsettled."""

    def fail(_: PayoutAttempt) -> None:
        raise OSError("the disk is full")

    async def fail_later(attempt: PayoutAttempt) -> None:
        await asyncio.sleep(0)
        fail(attempt)

    async with site() as server, session_at(server) as session:
        with pytest.raises(OSError, match="the disk is full"):
            await session.add_payout(11, WALLET, on_attempt=fail_later if is_async else fail)
        assert server.count("add_payout") == 0
        assert session.unsettled_payouts == ()
        assert isinstance(await session.add_payout(11, WALLET), PayoutReceipt)


CONTROLS = [*range(0x20), 0x7F, 0x85, 0x9B]


@pytest.mark.parametrize("code", CONTROLS, ids=[f"{code:02x}" for code in CONTROLS])
async def test_promise_3_control_characters_are_refused(code: int) -> None:
    """In wallets, parameters, methods and addresses; nothing reaches the site."""
    bad = f"TX{chr(code)}a"
    async with site() as server, session_at(server) as session:
        with pytest.raises(ValueError, match="account: "):
            await session.add_payout(11, bad)
        with pytest.raises(ValueError, match=r"^x: holds control"):
            await session.call("get_info", x=bad)
        with pytest.raises(ValueError, match=r"^method: "):
            await session.call(bad)
        with pytest.raises(ValueError, match=r"^params: "):
            await session.call("get_info", **{bad: 1})
        for address in (f"203.0.113.7{chr(code)}", f"fe80::1%{chr(code)}"):
            with pytest.raises(ValueError, match=r"^ip: "):
                session.iter_links(ip=address)
    assert server.seen == []


SPELLINGS = [
    *("add_payout", "add_partner_payout", "ADD_PAYOUT", "Add_Payout", " add_payout", "add_payout "),
    *(
        "x/../add_partner_payout",
        "../v1/add_partner_payout",
        "add_partner_payout?x=1",
        "add.payout",
    ),
    *("add_partner_payout#", "add%5fpayout", "add_partner_payout/", "\nadd_payout", "add_payout\0"),
    *(
        "add_payout&x=1",
        "get_info&method=add_payout",
        "add+payout",
        "add payout",
        "",
        "\u0430dd_payout",
    ),
]


@pytest.mark.parametrize("dialect", [None, *Dialect])
async def test_promise_3_a_call_moves_no_money(dialect: Dialect | None) -> None:
    """However a payout is spelled, for servers of each kind; nothing reaches the site."""
    login = "me" if dialect is Dialect.USER_API else None
    async with site() as server:
        account = Account(server.url, KEY, dialect=dialect, api_login=login)
        async with Session(account, retry=ONCE, hooks=HOOKS) as session:
            for spelling in SPELLINGS:
                with pytest.raises(ValueError, match=r"^method: "):
                    await session.call(spelling, method_id=11, account=WALLET)
            for name in ("method[]", "method[x]", " method", "method.", "api_action", "api_key"):
                with pytest.raises(ValueError, match=r"^params: "):
                    await session.call("get_info", **{name: "add_payout"})
    assert server.seen == []


def fail_to_send(monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]) -> None:
    """Have requests fail with an exception that holds the url, as aiohttp's own do."""

    async def send(self: CleanRequest, _: object) -> None:
        raise kind(f"while asking {self.url}")

    monkeypatch.setattr(CleanRequest, "send", send)


@pytest.mark.parametrize("kind", [MemoryError, RecursionError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("method", ["get_info", "add_payout"])
async def test_promise_4_what_ends_the_program_comes_without_the_key(
    kind: type[BaseException], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is raised as it is, no frame that it came through holds the key; a payout is unsettled."""
    async with site() as server, session_at(server) as session:
        await session.get_info()
        fail_to_send(monkeypatch, kind)
        with pytest.raises(kind) as caught:
            await (session.get_info() if method == "get_info" else session.add_payout(11, WALLET))
        assert type(caught.value) is kind
        assert_absent(KEY, caught.value)
        assert len(session.unsettled_payouts) == (method == "add_payout")


class OddError(Exception):
    """An error of a kind that nobody has heard of, as connectors of others have."""


@pytest.mark.parametrize(
    "kind", [ValueError, RuntimeError, AssertionError, KeyError, TypeError, OSError, OddError]
)
async def test_promise_4_what_aiohttp_raises_is_ours(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read ends in a TransportError, a payout in an unknown outcome; the key is in neither."""
    async with site() as server, session_at(server) as session:
        await session.get_info()
        fail_to_send(monkeypatch, kind)
        read = await outcome_of(session.get_info())
        paid = await outcome_of(session.add_payout(11, WALLET))
    assert isinstance(read, PPAPIError)
    assert isinstance(paid, PayoutOutcomeUnknown)
    assert_absent(KEY, read, paid)


async def test_a_header_line_of_60_kb_is_read() -> None:
    """Security policies of some sites are that long."""
    long = http(200, INFO, Content_Security_Policy="x" * 60_000)
    async with site(get_info=lambda _: long) as server, session_at(server) as session:
        assert (await session.get_info()).balance == Decimal("122.01")


def test_promise_3_a_stored_attempt_is_dated_in_utc() -> None:
    """Whatever zone it was made in."""
    zone = datetime.fromtimestamp(NOW, UTC).astimezone()
    made = evolve(ATTEMPT, sent_at=zone + timedelta(microseconds=1))
    again = PayoutAttempt.from_json(made.to_json())
    assert again == made
    assert again.sent_at.tzinfo is UTC


async def test_promise_3_a_site_that_does_not_tell_the_balance_pays_all_the_same() -> None:
    """A key may be without get_info: that it is refused shows where the API is."""
    refusal = '{"error":"3","error_text":"Method not supported","data":[]}'
    async with site(get_info=http_of(refusal)) as server, session_at(server) as session:
        assert isinstance(await session.add_payout(11, WALLET), PayoutReceipt)
        assert server.count("add_payout") == 1


async def test_promise_3_an_odd_balance_is_no_matter_where_nobody_asked_for_it() -> None:
    """But a guard that cannot be looked at lets nothing go out."""
    odd = INFO.replace("balance", "saldo")
    async with site(get_info=http_of(odd)) as server, session_at(server) as session:
        error = await outcome_of(session.add_payout(11, WALLET, at_least=1))
        assert isinstance(error, PayoutNotSent)
        assert error.reason == "guard"
        assert server.count("add_payout") == 0
        assert isinstance(await session.add_payout(11, WALLET), PayoutReceipt)


async def test_promise_3_while_the_balance_is_looked_at_another_one_waits_for_nothing() -> None:
    """It is refused, although nothing was sent yet of which there could be an attempt."""
    held = Held(http(200, INFO))
    async with site(get_info=held) as server, session_at(server) as session:
        first = asyncio.ensure_future(outcome_of(session.add_payout(11, WALLET)))
        await held.begun.wait()
        refused = unsettled(await outcome_of(session.add_payout(11, WALLET)))
        assert refused.attempt is None
        assert "under way" in str(refused)
        held.go.set()
        assert isinstance(await first, PayoutReceipt)


def test_another_attempt_settles_nothing() -> None:
    """Of the same moment, to another wallet."""
    registry, account = Unsettled(), Account("https://site.example", KEY)
    entry = registry.begin(account, even_if_unsettled=False)
    assert not isinstance(entry, PayoutAttempt)
    assert entry is not None
    entry.attempt = ATTEMPT
    registry.end(entry, known=False)
    later = ATTEMPT.sent_at + timedelta(days=1)
    for other in (evolve(ATTEMPT, account="TXother"), evolve(ATTEMPT, sent_at=later)):
        assert not registry.settle(account, other)
    assert registry.of(account) == (ATTEMPT,)
    assert registry.settle(account, ATTEMPT)


@pytest.mark.parametrize("year", [1, 9999])
@pytest.mark.parametrize("ahead", [-9e8, 0.0, 9e8])
def test_attempts_at_the_ends_of_time_are_searched_for_from_the_beginning(
    year: int, ahead: float
) -> None:
    """No clock is so wrong by mistake; nothing overflows, and nothing is absent for that."""
    attempt = PayoutAttempt(11, WALLET, datetime(year, 1, 1, tzinfo=UTC), ahead)
    begin = search_begin(attempt)
    assert begin is None or begin < attempt.sent_at
    assert judge(attempt, []).outcome in (SearchOutcome.ABSENT, SearchOutcome.AMBIGUOUS)

"""Promise 3, never two payouts: where the API is, who else is paying, and whose clock is right."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import parse_qs

import pytest
from attrs import evolve

from ppapi_async import (
    Account,
    Hooks,
    Info,
    PayoutAttempt,
    PayoutNotSent,
    PayoutOutcomeUnknown,
    PayoutReceipt,
    PayoutRejected,
    ResponseError,
    Retry,
    SearchOutcome,
    Session,
)
from tests.laboratory.catalogue import AFTER_SENDING
from tests.leaks import assert_absent, assert_survives_pickling
from tests.sites.raw import (
    HOOKS,
    INFO,
    KEY,
    NOW,
    RECEIPT,
    RawServer,
    Reply,
    Script,
    Seen,
    Send,
    http,
    instantly,
    outcome_of,
)

WALLET = "TXabcdefgh"
ONCE = Retry(attempts=1)
PLACES = ("/api.html", "/api.php", "/service/partner/api.php")
DAY = 86_400
ATTEMPT = PayoutAttempt(11, WALLET, datetime.fromtimestamp(NOW, UTC))


@contextlib.asynccontextmanager
async def site(place: str | None = "", /, **scripts: Script) -> AsyncIterator[RawServer]:
    """Run a site that has its API at one place only; "" is everywhere, None nowhere."""

    def at_place(script: Script) -> Script:
        def answer(seen: Seen) -> Reply:
            is_there = place is not None and seen.target.startswith(place)
            return script(seen) if is_there else http(404, "<html>nothing here</html>")

        return answer

    async with RawServer() as server:
        merged = server.script | scripts
        server.script = {method: at_place(script) for method, script in merged.items()}
        yield server


def session_at(server: RawServer, key: str = KEY, hooks: Hooks = HOOKS) -> Session:
    """Return a session that asks once."""
    return Session(server.url, key, retry=ONCE, hooks=hooks)


class Held:
    """Answers a payout when it is let go."""

    def __init__(self, reply: Reply | None = None) -> None:
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self._reply = reply or http(200, RECEIPT)

    def __call__(self, _: Seen) -> Reply:
        """Return an answer that comes later."""
        self.begun.set()
        return Reply(flow=self._flow)

    async def _flow(self, send: Send) -> None:
        await self.go.wait()
        await send(self._reply.data)


def unsettled(outcome: object) -> PayoutNotSent:
    """Assert that a payout was refused because of another one."""
    assert isinstance(outcome, PayoutNotSent)
    assert outcome.reason == "unsettled"
    assert_survives_pickling(outcome)
    assert_absent(KEY, outcome)
    return outcome


# --- the place of the API


@pytest.mark.parametrize("place", PLACES)
async def test_twenty_first_calls_find_the_place(place: str) -> None:
    """Nobody skips a place because somebody else was told 404, and later calls work."""
    async with site(place) as server, session_at(server) as session:
        outcomes = await asyncio.gather(*(outcome_of(session.get_info()) for _ in range(20)))
        assert all(isinstance(one, Info) for one in outcomes), outcomes
        assert isinstance(await session.get_info(), Info)
    wrong = [seen for seen in server.seen if not seen.target.startswith(place)]
    assert len(wrong) == PLACES.index(place)  # one of them looked, the others waited


@pytest.mark.parametrize("place", PLACES)
async def test_a_first_call_that_is_cancelled_leaves_the_place_to_the_others(place: str) -> None:
    """Whoever waited for it looks on, from the first place."""
    held = Held()
    hangs = [True]

    async with site(place) as server, session_at(server) as session:
        settled = server.script["get_info"]
        server.script["get_info"] = lambda seen: (
            held(seen) if hangs and hangs.pop() else settled(seen)
        )
        calls = [asyncio.create_task(outcome_of(session.get_info())) for _ in range(20)]
        await held.begun.wait()
        calls[0].cancel()
        first, *others = await asyncio.gather(*calls)
        assert isinstance(first, asyncio.CancelledError)
        assert all(isinstance(one, Info) for one in others), others
        assert isinstance(await session.get_info(), Info)


async def test_a_place_once_found_stays() -> None:
    """A 404 of a page, long after, moves nothing: the next call asks at the same place."""
    async with site("/api.php") as server, session_at(server) as session:
        await session.get_info()
        found, server.script["get_info"] = server.script["get_info"], lambda _: http(404, "gone")
        failed = await asyncio.gather(*(outcome_of(session.get_info()) for _ in range(5)))
        assert all(isinstance(one, ResponseError) and one.status == 404 for one in failed)
        server.script["get_info"] = found
        await session.get_info()
    assert all(seen.target.startswith("/api.php") for seen in server.seen[1:])


async def test_an_api_that_is_nowhere_names_all_places() -> None:
    """Each caller is told where it was looked for."""
    async with site(None) as server, session_at(server) as session:
        outcomes = await asyncio.gather(*(outcome_of(session.get_info()) for _ in range(20)))
    for one in outcomes:
        assert isinstance(one, ResponseError)
        assert one.status == 404
        assert all(place in one.message for place in PLACES), one.message
        assert_absent(KEY, one)


@pytest.mark.parametrize("place", PLACES)
async def test_promise_3_a_payout_as_first_call_finds_the_place_by_a_read(place: str) -> None:
    """One payout is sent, and to the right place."""
    async with site(place) as server, session_at(server) as session:
        assert isinstance(await session.add_payout(11, WALLET), PayoutReceipt)
    [paid] = [seen for seen in server.seen if seen.method == "add_payout"]
    assert paid.target.startswith(place)


# --- why nothing was sent


async def test_promise_3_what_was_not_sent_says_why() -> None:
    """Each reason, in an error that can be pickled."""
    outcomes: dict[str, object] = {}
    held = Held()
    async with site(add_payout=held) as server, session_at(server) as session:
        outcomes["guard"] = await outcome_of(session.add_payout(11, WALLET, at_least=1000))
        task = asyncio.create_task(session.add_payout(11, WALLET))
        await held.begun.wait()
        outcomes["unsettled"] = await outcome_of(session.add_payout(11, WALLET))
        held.go.set()
        await task
        assert session._connection._transport is not None
        await session._connection._transport.close()
        outcomes["closed"] = await outcome_of(session.add_payout(11, WALLET))
        server.refuse()
        async with session_at(server) as another:
            outcomes["connection"] = await outcome_of(another.add_payout(11, WALLET))
    async with site(None) as server, session_at(server) as session:
        outcomes["place"] = await outcome_of(session.add_payout(11, WALLET))
    for reason, error in outcomes.items():
        assert isinstance(error, PayoutNotSent), (reason, error)
        assert error.reason == reason
        assert_survives_pickling(error)
        assert_absent(KEY, error)


# --- one at a time


async def test_promise_3_of_two_tasks_one_pays() -> None:
    """While a payout is under way the next one is refused; afterwards it is not."""
    held = Held()
    async with site(add_payout=held) as server, session_at(server) as session:
        await session.get_info()
        calls = [asyncio.create_task(outcome_of(session.add_payout(11, WALLET))) for _ in range(5)]
        await held.begun.wait()
        held.go.set()
        outcomes = await asyncio.gather(*calls)
        assert [isinstance(one, PayoutReceipt) for one in outcomes].count(True) == 1
        for one in outcomes:
            if not isinstance(one, PayoutReceipt):
                unsettled(one)
        assert server.count("add_payout") == 1
        assert isinstance(await session.add_payout(11, WALLET), PayoutReceipt)
    assert server.count("add_payout") == 2


async def test_promise_3_of_two_sessions_one_pays() -> None:
    """An account is its host and key, whatever the session, the name and the spelling."""
    held = Held()
    async with (
        site(add_payout=held) as server,
        session_at(server) as one,
        Session(Account(f"{server.url}/", KEY.lower(), name="other"), hooks=HOOKS) as other,
        session_at(server, KEY[::-1]) as stranger,
    ):
        task = asyncio.create_task(one.add_payout(11, WALLET))
        await held.begun.wait()
        error = unsettled(await outcome_of(other.add_payout(12, "TXother")))
        assert error.attempt == ATTEMPT
        assert server.count("add_payout") == 1
        held.go.set()
        assert isinstance(await stranger.add_payout(11, WALLET), PayoutReceipt)
        assert isinstance(await task, PayoutReceipt)


async def test_promise_3_of_two_threads_one_pays() -> None:
    """Loops in threads of their own know of each other's payouts."""
    held = Held()

    async def pay(url: str) -> object:
        async with Session(url, KEY, retry=ONCE, hooks=HOOKS) as session:
            return await outcome_of(session.add_payout(11, WALLET))

    async with site(add_payout=held) as server:

        def in_thread() -> object:
            return asyncio.run(pay(server.url))

        first = asyncio.create_task(asyncio.to_thread(in_thread))
        await held.begun.wait()
        unsettled(await asyncio.to_thread(in_thread))
        held.go.set()
        assert isinstance(await first, PayoutReceipt)
    assert server.count("add_payout") == 1


async def cancelled(session: Session, held: Held) -> None:
    """Cancel a payout that is under way."""
    task = asyncio.create_task(session.add_payout(11, WALLET))
    await held.begun.wait()
    task.cancel()
    assert isinstance(await outcome_of(task), asyncio.CancelledError)


def payouts_of(*times: int) -> Script:
    """Return a site's list of payouts to the wallet; it honours the bounds."""

    def script(seen: Seen) -> Reply:
        form = {name: int(values[-1]) for name, values in parse_qs(seen.body.decode()).items()}
        first, last = form.get("start_time", 0), form.get("end_time", 0)
        rows = [
            {
                "id": str(row_id),
                "time": time,
                "date": "x",
                "method_id": "11",
                "account": WALLET,
                "pay_amount": "1",
                "pay_currency_code": "U",
                "original_amount": "1",
                "original_currency_code": "U",
                "status": "0",
            }
            for row_id, time in enumerate(times, 1)
            if time >= first and (last <= 0 or time <= last)
        ]
        skipped = form.get("offset", 0)
        page = rows[::-1][skipped : skipped + form.get("limit", 100)]
        return http(200, json.dumps({"error": "0", "error_text": "", "data": {"items": page}}))

    return script


def dated(script: Script, ahead: float = 0.0) -> Script:
    """Return a script whose answers tell the site's clock."""
    date = format_datetime(datetime.fromtimestamp(NOW + ahead, UTC), usegmt=True)

    def answer(seen: Seen) -> Reply:
        reply = script(seen)
        head, mark, rest = reply.data.partition(b"\r\n")
        return evolve(reply, data=head + mark + f"Date: {date}\r\n".encode() + rest)

    return answer


def site_with_clock(*times: int, ahead: float = 0.0, paying: Script) -> dict[str, Script]:
    """Return the scripts of a site that has such payouts and such a clock."""
    return {
        "get_info": dated(lambda _: http(200, INFO), ahead),
        "get_payouts": dated(payouts_of(*times), ahead),
        "add_payout": dated(paying, ahead),
    }


@pytest.mark.parametrize(
    ("times", "outcome"), [((NOW,), SearchOutcome.FOUND), ((), SearchOutcome.ABSENT)]
)
async def test_promise_3_a_cancelled_payout_is_unsettled_until_it_is_known(
    times: tuple[int, ...], outcome: SearchOutcome
) -> None:
    """`find_payout` that finds it, or finds that it is absent, settles it."""
    held = Held()
    scripts = site_with_clock(*times, paying=http_of(RECEIPT))
    async with site(**scripts | {"add_payout": held}) as server, session_at(server) as session:
        await cancelled(session, held)
        [attempt] = session.unsettled_payouts
        assert unsettled(await outcome_of(session.add_payout(11, WALLET))).attempt == attempt
        assert server.count("add_payout") == 1
        assert (await session.find_payout(attempt)).outcome is outcome
        assert session.unsettled_payouts == ()
        server.script["add_payout"] = http_of(RECEIPT)
        assert isinstance(await session.add_payout(11, WALLET), PayoutReceipt)


def http_of(body: str, status: int = 200) -> Script:
    """Return a script that always says the same."""
    return lambda _: http(status, body)


async def test_promise_3_a_payout_is_settled_by_hand() -> None:
    """Who knows what became of it says so; of another attempt it means nothing."""
    async with site(add_payout=AFTER_SENDING["502"]) as server, session_at(server) as session:
        error = await outcome_of(session.add_payout(11, WALLET))
        assert isinstance(error, PayoutOutcomeUnknown)
        assert error.attempt is not None
        assert not session.settle_payout(evolve(error.attempt, method_id=12))
        unsettled(await outcome_of(session.add_payout(11, WALLET)))
        assert session.settle_payout(PayoutAttempt.from_json(error.attempt.to_json()))
        assert not session.settle_payout(error.attempt)
        server.script["add_payout"] = http_of(RECEIPT)
        assert isinstance(await session.add_payout(11, WALLET), PayoutReceipt)


async def test_promise_3_an_ambiguous_search_settles_nothing() -> None:
    """Two payouts that fit: the next one is refused as before."""
    scripts = site_with_clock(NOW, NOW + 60, paying=AFTER_SENDING["502"])
    async with site(**scripts) as server, session_at(server) as session:
        error = await outcome_of(session.add_payout(11, WALLET))
        assert isinstance(error, PayoutOutcomeUnknown)
        assert (await session.find_payout(error)).outcome is SearchOutcome.AMBIGUOUS
        assert session.unsettled_payouts == (error.attempt,)
        unsettled(await outcome_of(session.add_payout(11, WALLET)))
    assert server.count("add_payout") == 1


async def test_promise_3_a_payout_may_be_sent_although_one_is_unsettled() -> None:
    """`even_if_unsettled` sends, and the earlier one stays unsettled."""
    async with site(add_payout=AFTER_SENDING["502"]) as server, session_at(server) as session:
        error = await outcome_of(session.add_payout(11, WALLET))
        assert isinstance(error, PayoutOutcomeUnknown)
        server.script["add_payout"] = http_of(RECEIPT)
        receipt = await session.add_payout(11, WALLET, even_if_unsettled=True)
        assert receipt.payout_id == 7
        assert session.unsettled_payouts == (error.attempt,)
        unsettled(await outcome_of(session.add_payout(11, WALLET)))


# --- whose clock is right

WRONG = [-400 * DAY, -5 * DAY, -3601, 3601, 5 * DAY, 400 * DAY]


@pytest.mark.parametrize("wrong", WRONG, ids=[f"{hours // 3600} h" for hours in WRONG])
async def test_promise_3_a_booked_payout_is_found_though_the_clock_is_wrong(wrong: int) -> None:
    """The machine's clock is ahead or behind; the `Date` of answers tells by how much."""
    hooks = Hooks(clock=lambda: float(NOW + wrong), sleep=instantly)
    scripts = site_with_clock(NOW, paying=AFTER_SENDING["502"])
    async with site(**scripts) as server, session_at(server, hooks=hooks) as session:
        error = await outcome_of(session.add_payout(11, WALLET))
        assert isinstance(error, PayoutOutcomeUnknown)
        assert (await session.find_payout(error)).outcome is SearchOutcome.FOUND


@pytest.mark.parametrize("wrong", WRONG, ids=[f"{hours // 3600} h" for hours in WRONG])
@pytest.mark.parametrize("times", [(), (NOW,)], ids=["nothing", "booked"])
async def test_promise_3_without_a_date_nothing_is_absent(
    times: tuple[int, ...], wrong: int
) -> None:
    """No answer tells the site's clock, and this machine's may say anything."""
    hooks = Hooks(clock=lambda: float(NOW + wrong), sleep=instantly)
    scripts = {"get_payouts": payouts_of(*times), "add_payout": AFTER_SENDING["502"]}
    async with site(**scripts) as server, session_at(server, hooks=hooks) as session:
        error = await outcome_of(session.add_payout(11, WALLET))
        assert isinstance(error, PayoutOutcomeUnknown)
        assert (await session.find_payout(error)).outcome is SearchOutcome.AMBIGUOUS


@pytest.mark.parametrize("hours", [-14, -12, -5, 3, 12, 14])
async def test_promise_3_a_wrong_zone_makes_nothing_absent(hours: int) -> None:
    """The rows of a site are dated by a zone that the account does not know."""
    scripts = site_with_clock(NOW + hours * 3600, paying=AFTER_SENDING["502"])
    async with site(**scripts) as server, session_at(server) as session:
        error = await outcome_of(session.add_payout(11, WALLET))
        assert isinstance(error, PayoutOutcomeUnknown)
        assert (await session.find_payout(error)).outcome is SearchOutcome.AMBIGUOUS


@pytest.mark.parametrize("wrong", [0, *WRONG], ids=["right", *(f"{s // 3600} h" for s in WRONG)])
async def test_promise_3_absent_is_said_where_clocks_were_compared(wrong: int) -> None:
    """Nothing is there, and it is known when the payout would be dated."""
    hooks = Hooks(clock=lambda: float(NOW + wrong), sleep=instantly)
    scripts = site_with_clock(paying=AFTER_SENDING["502"])
    async with site(**scripts) as server, session_at(server, hooks=hooks) as session:
        error = await outcome_of(session.add_payout(11, WALLET))
        assert isinstance(error, PayoutOutcomeUnknown)
        assert (await session.find_payout(error)).outcome is SearchOutcome.ABSENT


# --- a payout's answer is its own


@pytest.mark.parametrize("least", [None, 1])
async def test_promise_3_a_late_answer_to_a_read_is_no_receipt(least: int | None) -> None:
    """A second answer to get_info comes when the payout is out; the site refuses the payout."""
    out = asyncio.Event()
    stale = http(200, RECEIPT.replace('"7"', '"666"')).data
    refused = http(200, '{"error":1,"error_text":"There is not enough money on your balance"}')

    async def twice(send: Send) -> None:
        await out.wait()
        await send(stale)
        answered.set()

    async def after(send: Send) -> None:
        await answered.wait()
        await send(refused.data)

    def paying(_: Seen) -> Reply:
        out.set()
        return Reply(flow=after)

    answered = asyncio.Event()
    scripts: dict[str, Script] = {
        "get_info": lambda _: evolve(http(200, INFO), flow=twice),
        "add_payout": paying,
    }
    async with site(**scripts) as server, session_at(server) as session:
        outcome = await outcome_of(session.add_payout(11, WALLET, at_least=least))
    assert isinstance(outcome, PayoutRejected)
    assert server.connections == 2


@pytest.mark.parametrize("payout_id", ["0", "-1", "-5"])
async def test_promise_3_a_payout_without_a_number_is_no_receipt(payout_id: str) -> None:
    """Ids begin at 1: what else is said does not tell whether anything was ordered."""
    body = RECEIPT.replace('"7"', f'"{payout_id}"')
    async with site(add_payout=http_of(body)) as server, session_at(server) as session:
        error = await outcome_of(session.add_payout(11, WALLET))
        assert isinstance(error, PayoutOutcomeUnknown)
        assert session.unsettled_payouts == (error.attempt,)


@pytest.mark.parametrize("status", [400, 404, 410, 429, 500, 501, 502, 503, 504, 520, 524])
async def test_promise_3_what_a_gateway_says_is_no_refusal(status: int) -> None:
    """Any HTTP status but 200 may come from what stands before the API: unknown, sent once."""
    async with site(add_payout=http_of("", status)) as server, session_at(server) as session:
        error = await outcome_of(session.add_payout(11, WALLET))
    assert isinstance(error, PayoutOutcomeUnknown)
    assert server.count("add_payout") == 1

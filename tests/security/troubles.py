"""A program in all kinds of trouble: each error is caught where the program's objects are at hand.

No frame of this module binds the key: it is read where it is used, as SECURITY.md advises.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qs

from attrs import frozen

from ppapi_async import (
    AccountFailed,
    AccountSuspended,
    Fleet,
    PPAPIError,
    RequestFacts,
    Session,
    SQLiteState,
    errors,
)
from tests.laboratory.catalogue import AFTER_SENDING
from tests.sites.raw import NOW, Reply, Script, Seen, http, served
from tests.virtual_time import hooks

__all__ = ["END", "KEY_VARIABLE", "START", "TROUBLES", "WALLET", "error_classes", "meet"]

KEY_VARIABLE = "PPAPI_TESTS_KEY"
START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
WALLET = "TXabcdefgh"
Use: TypeAlias = Callable[[Session], Awaitable[object]]
Tell: TypeAlias = Callable[[BaseException], object]


@frozen
class Trouble:
    """What a site answers to a method, and what the program asks."""

    method: str
    script: Script
    use: Use
    more: Mapping[str, Script] = {}


# --- what the program does


async def _read(session: Session) -> None:
    await session.get_info()


async def _pay(session: Session) -> None:
    await session.add_payout(11, WALLET)


async def _pay_enough(session: Session) -> None:
    await session.add_payout(11, WALLET, at_least=10**6)


async def _list(session: Session) -> None:
    await session.get_payouts(START, END)


async def _stream(session: Session) -> None:
    stream = session.iter_payouts(START, END, concurrency=3)
    async with stream:
        async for _ in stream.windows():
            pass


async def _watch(session: Session) -> None:
    async for _ in session.watch_payouts(interval=60, since=NOW - 3_600):
        break


async def _watch_into_nothing(session: Session) -> None:
    async with SQLiteState(Path(os.devnull) / "state.db") as state:
        async for _ in session.watch_payouts(state=state):
            break


async def _poll(session: Session) -> None:
    async with Fleet([session.account], hooks=hooks()) as fleet:
        async for event in fleet.events("payouts"):
            if isinstance(event, AccountFailed | AccountSuspended):
                raise event.error


async def _merge(session: Session) -> None:
    async with Fleet([session.account], hooks=hooks()) as fleet:
        async for _, row in fleet.iter_payouts(START, END):
            if isinstance(row, PPAPIError):
                raise row


# --- what the site answers


def _says(**members: object) -> Script:
    return lambda _: http(200, json.dumps({"error": 0, "error_text": ""} | members))


def _refuses(text: str) -> Script:
    """Refuse; the text repeats what was asked for, as some sites do."""
    return lambda seen: http(200, json.dumps({"error": 1, "error_text": f"{text} {seen.target}"}))


def _blocks(seen: Seen) -> Reply:
    page = f"<title>Just a moment...</title>{seen.target}"
    return http(403, page, Content_Type="text/html", Server="cloudflare", CF_RAY="1")


def _echoes(status: int) -> Script:
    return lambda seen: http(status, f"<p>{seen.target}", Content_Type="text/html")


_ROW = {
    "time": "1767230000",
    "method_id": "11",
    "account": WALLET,
    "pay_amount": "1",
    "pay_currency_code": "USDT",
    "original_amount": "1",
    "original_currency_code": "USD",
    "status": "1",
}
_CROWDED = [{"id": str(n), **_ROW} for n in range(900)]


def _crowds(seen: Seen) -> Reply:
    """Answer with the newest rows of one second, and the same ones for every offset."""
    limit = int(parse_qs(seen.body.decode()).get("limit", ["100"])[0])
    data = {"items": _CROWDED[: min(limit, 500)]}
    return http(200, json.dumps({"error": "0", "error_text": "", "data": data}))


_is_delegating = _says(error="0", data={"partner_id": "1", "balance": "1", "min_payout": "10"})
_FLOOD = http(200, gzip.compress(b" " * 2**25 + b"{}"), Content_Encoding="gzip")
_REFUSALS: Mapping[str, str] = {
    "wrong key": "REST API key error",
    "disabled": "Api disabled",
    "unsupported": "Method not supported",
    "blocked address": "IP blocked",
}
TROUBLES: Mapping[str, Trouble] = {
    **{
        f"read: {name}": Trouble("get_info", script, _read)
        for name, script in AFTER_SENDING.items()
    },
    **{
        f"payout: {name}": Trouble("add_payout", script, _pay)
        for name, script in AFTER_SENDING.items()
    },
    **{f"read: {n}": Trouble("get_info", _refuses(text), _read) for n, text in _REFUSALS.items()},
    "read: challenge": Trouble("get_info", _blocks, _read),
    "read: page 200": Trouble("get_info", _echoes(200), _read),
    "read: page 404": Trouble("get_info", _echoes(404), _read),
    "read: page 500": Trouble("get_info", _echoes(500), _read),
    "read: flood": Trouble("get_info", lambda _: _FLOOD, _read),
    "list: no rows": Trouble("get_payouts", _says(data={"items": [{"id": "x"}]}), _list),
    "payout: refused": Trouble("add_payout", _refuses("Error! Invalid wallet account"), _pay),
    "payout: too little": Trouble("get_payouts", _says(), _pay_enough),
    "stream: page": Trouble("get_payouts", _echoes(200), _stream),
    "stream: reset": Trouble("get_payouts", AFTER_SENDING["reset"], _stream),
    "stream: crowded second": Trouble(
        "get_payouts", _crowds, _stream, {"get_info": _is_delegating}
    ),
    "watch: wrong key": Trouble("get_payouts", _refuses("REST API key error"), _watch),
    "watch: no store": Trouble("get_payouts", _says(), _watch_into_nothing),
    "fleet: wrong key": Trouble("get_payouts", _refuses("REST API key error"), _poll),
    "fleet: reset": Trouble("get_payouts", AFTER_SENDING["reset"], _poll),
    "fleet: rows": Trouble("get_payouts", AFTER_SENDING["502"], _merge),
}


async def meet(
    name: str, tell: Tell, on_request: Callable[[RequestFacts], object] | None = None
) -> None:
    """Get into one kind of trouble, and tell of the error in the program's own frame."""
    trouble = TROUBLES[name]
    scripts = {trouble.method: trouble.script, **trouble.more}
    async with served(key=os.environ[KEY_VARIABLE], on_request=on_request) as (server, session, _):
        server.script |= scripts
        await _work(session, trouble.use, tell)


async def _work(session: Session, use: Use, tell: Tell) -> None:
    account, line, stream = (
        session.account,
        session._connection.transport,
        session.iter_payouts(START, END),
    )
    fleet = Fleet([account], hooks=hooks())
    mine = {"account": account, "line": line, "stream": [stream], "all": [vars(fleet)]}
    try:
        await use(session)
    except PPAPIError as error:
        tell(error)
    else:
        raise AssertionError(f"no error, with {sorted(mine)} at hand")


def error_classes() -> set[type[PPAPIError]]:
    """Return every class of the error tree that has none below it."""
    classes = {
        c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, PPAPIError)
    }
    return {c for c in classes if not (set(c.__subclasses__()) & classes)}

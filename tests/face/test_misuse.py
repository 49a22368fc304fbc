"""Misuse is named at once: what is wrong, and what to pass."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias
from zoneinfo import ZoneInfo

import pytest

from ppapi_async import (
    Account,
    Dialect,
    FileCheckpoint,
    Fleet,
    Hooks,
    MemoryState,
    PPAPIError,
    Retry,
    Session,
    SQLiteState,
)
from ppapi_async.mirror import Mirror
from tests.leaks import assert_absent

KEY = "Zx9Wv8Ut7Sr6Qp5On4Ml3Kj2Ih1Gf0Ed"
Call: TypeAlias = Callable[..., object]


def account() -> Account:
    """Return an account of a site that is not there."""
    return Account("http://127.0.0.1:1", KEY, allow_http=True)


def session(**options: object) -> Session:
    """Return a session that is not open."""
    return Session(account(), **options)  # type: ignore[arg-type]


def fleet(accounts: object = (), **options: object) -> Fleet:
    """Return a fleet that is not open."""
    return Fleet(accounts, **options)  # type: ignore[arg-type]


def retry(**options: object) -> Retry:
    """Return a policy of retries."""
    return Retry(**options)  # type: ignore[arg-type]


MADE: Mapping[str, tuple[Call, type[Exception], str]] = {
    "a number for a policy": (lambda: session(retry=3), TypeError, r"retry: pass a Retry"),
    "a text for rows": (lambda: session(page_size="5"), TypeError, "page_size: pass 1 to 500 rows"),
    "a flag for rows": (lambda: session(page_size=True), TypeError, "page_size"),
    "no limit": (lambda: session(largest_answer=None), TypeError, "largest_answer: pass at least"),
    "a connector for a session": (lambda: session(http=3), TypeError, "http: pass an aiohttp"),
    "no lock": (lambda: session(limiter=3), TypeError, "limiter: pass what `async with` takes"),
    "no function": (lambda: session(on_request=3), TypeError, "on_request: pass a function"),
    "no hooks": (lambda: session(hooks=print), TypeError, "hooks: pass Hooks"),
    "no duration": (lambda: session(timeout=None), TypeError, "timeout: pass seconds or a"),
    "a link by itself": (lambda: Session(f"https://a/?api_key={KEY}"), ValueError, "api_key: pass"),
    "a pair": (lambda: Session(("https://a.example", KEY)), TypeError, "account: pass an Account"),  # type: ignore[arg-type]
    "a url for accounts": (lambda: fleet(f"https://a/?k={KEY}"), TypeError, "accounts: pass"),
    "urls": (lambda: fleet([f"https://a.example/?api_key={KEY}"]), TypeError, "accounts: pass"),
    "pairs": (lambda: fleet([("https://a.example", KEY)]), TypeError, "accounts: pass Account"),
    "no accounts": (lambda: fleet(None), TypeError, "accounts: pass Account"),
    "a url to add": (lambda: fleet().add(KEY), TypeError, "account: pass an Account"),  # type: ignore[arg-type]
    "a list of resources": (lambda: fleet().events(["info"]), TypeError, "one by one"),  # type: ignore[call-overload]
    "accounts at once": (lambda: fleet(concurrency="9"), TypeError, "concurrency: pass 1 or more"),
    "none at once": (lambda: fleet(per_host=0), ValueError, "per_host: pass 1 or more"),
    "a text for a rate": (lambda: fleet(rate="1"), TypeError, "rate: pass requests a second"),
    "a number for a state": (lambda: fleet(state=3), TypeError, "state: pass a State"),
    "no lookback": (lambda: fleet(lookback=timedelta()), ValueError, "lookback: pass more than 0"),
    "a fleet's policy": (lambda: fleet(retry=3), TypeError, "retry: pass a Retry"),
    "no attempt": (lambda: retry(attempts=0), ValueError, "retry: attempts: pass 1 or more"),
    "attempts in words": (lambda: retry(attempts="3"), TypeError, "retry: attempts: pass 1"),
    "a wait in words": (lambda: retry(delay="1 s"), TypeError, "retry: delay"),
    "for ever": (lambda: retry(delay=1e300), ValueError, "retry: delay, longest: pass less"),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_what_cannot_be_made_is_named(name: str) -> None:
    """At once, by the argument's name, and without what it was: it may hold the key."""
    make, kind, words = MADE[name]
    with pytest.raises(kind, match=words) as caught:
        make()
    assert_absent(KEY, str(caught.value), repr(caught.value.args))


CALLED: Mapping[str, tuple[Callable[[Session], object], type[Exception], str]] = {
    "a width in words": (lambda s: s.iter_exchanges(window="1d"), TypeError, "window: pass"),  # type: ignore[arg-type]
    "no width": (lambda s: s.iter_exchanges(window=0.5), ValueError, "window: pass a second or"),
    "windows in words": (lambda s: s.iter_links(concurrency="4"), TypeError, "concurrency: pass 1"),  # type: ignore[arg-type]
    "no progress": (lambda s: s.iter_payouts(progress=3), TypeError, "progress: pass a function"),  # type: ignore[arg-type]
    "no taker": (lambda s: s.iter_links(on_unreadable=3), TypeError, "on_unreadable: pass a"),  # type: ignore[arg-type]
    "no checkpoint": (lambda s: s.iter_links(checkpoint=3), TypeError, "checkpoint: pass a Ch"),  # type: ignore[arg-type]
    "nowhere": (lambda s: s.iter_links(checkpoint="/no/x"), ValueError, "checkpoint: there is no"),
    "no state": (lambda s: s.watch_info(state=3), TypeError, "state: pass a State"),  # type: ignore[arg-type]
    "no listener": (lambda s: s.watch_info(on_error=3), TypeError, "on_error: pass a function"),  # type: ignore[arg-type]
    "no lookback": (lambda s: s.watch_links(lookback=-1), ValueError, "lookback: pass more than"),
    "no wallet": (lambda s: s.add_payout(1, None), TypeError, "account: pass the wallet"),  # type: ignore[arg-type]
    "no storing": (lambda s: s.add_payout(1, "TX", on_attempt=3), TypeError, "on_attempt: pass"),  # type: ignore[arg-type]
    "nothing to find": (lambda s: s.find_payout(None), TypeError, "attempt: pass the PayoutOutc"),  # type: ignore[arg-type]
    "nothing to settle": (lambda s: s.settle_payout(None), TypeError, "attempt: pass a Payout"),  # type: ignore[arg-type]
}  # fmt: skip


@pytest.mark.parametrize("name", CALLED)
async def test_what_cannot_be_called_is_named(name: str) -> None:
    """Before anything is asked: the site is not even there."""
    call, kind, words = CALLED[name]
    async with session() as open_session:
        with pytest.raises(kind, match=f"^{words}"):
            await _outcome(call(open_session))


async def _outcome(result: object) -> object:
    return await result if inspect.isawaitable(result) else result


async def test_what_is_nearly_right_is_taken(tmp_path: Path) -> None:
    """One account for many, seconds for a duration, a path for what is kept in a file."""
    one = Account("https://a.example", KEY, timezone=ZoneInfo("Europe/Moscow"), dialect="classic")
    assert (one.timezone, one.dialect) == ("Europe/Moscow", Dialect.CLASSIC)
    assert list(Fleet(one).status()) == []
    assert repr(Fleet(one)) == "<Fleet of 1 accounts, closed>"
    async with session(retry=Retry(delay=1, longest=timedelta(minutes=1))) as open_session:
        made: list[object] = [
            open_session.iter_exchanges(window=3600, checkpoint=tmp_path / "exchanges.json"),
            open_session.iter_links(window=timedelta(hours=1), checkpoint=str(tmp_path / "links")),
            open_session.iter_payouts(checkpoint=FileCheckpoint(tmp_path / "payouts.json")),
            open_session.watch_exchanges(interval=timedelta(minutes=1), lookback=86_400),
            open_session.watch_links(state=tmp_path / "state.db"),
            open_session.watch_payouts(state=SQLiteState(tmp_path / "state.db")),
            open_session.watch_info(state=MemoryState()),
        ]
        assert all(made)


async def test_a_repr_says_what_it_is_in_one_line() -> None:
    """The method, the account and the range; neither the key nor how it is made."""
    first, last = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, 10, 30, 5, tzinfo=UTC)
    async with session() as one, Fleet([Account("https://a.example", KEY)]) as fleet:
        shown = {
            "<Stream get_payouts of '127.0.0.1:1'>": one.iter_payouts(),
            "<Stream get_exchanges of '127.0.0.1:1' from 2026-01-01T00:00Z>": one.iter_exchanges(
                first
            ),
            "<Stream get_links of '127.0.0.1:1' from 2026-01-01T00:00Z to 2026-02-01T10:30:05Z>": (
                one.iter_links(first, last)
            ),
            "<Stream get_links of '127.0.0.1:1' to 2026-02-01T10:30:05Z>": one.iter_links(end=last),
            "<Watch get_exchanges of '127.0.0.1:1' every 60 s>": one.watch_exchanges(interval=60),
            "<Events of a fleet>": (events := fleet.events("info")),
            "<Merged 1 streams>": fleet.iter_links(),
        }
        assert [repr(thing) for thing in shown.values()] == list(shown)
        await events.aclose()
        assert repr(events) == "<Events of a fleet, left>"


ODD = {
    "none": None, "number": 3, "negative": -1, "fraction": 0.5, "not a number": float("nan"),
    "endless": float("inf"), "flag": True, "text": "x", "bytes": b"x", "list": [], "dict": {},
    "object": object(), "class": int, "duration": timedelta(days=-1), "large": 10**400,
}  # fmt: skip
NEEDED: Mapping[str, object] = {
    "account": "TX1", "method_id": 11, "method": "get_info", "attempt": None, "value": 1,
    "url": "https://a.example", "api_key": KEY, "link": "x", "accounts": [], "name": "x",
}  # fmt: skip


CONSTRUCTORS: Mapping[str, Call] = {
    "Account": Account, "Account.from_link": Account.from_link, "Retry": Retry, "Session": Session,
    "Fleet": Fleet, "Hooks": Hooks, "Mirror": functools.partial(Mirror, "sqlite:///x.db"),
}  # fmt: skip
METHODS = [
    f"{owner.__name__}.{name}"
    for owner in (Session, Fleet, Mirror)
    for name, _ in inspect.getmembers(owner, inspect.isfunction)
    if not name.startswith("_") and name != "aclose"
]


@pytest.mark.parametrize("name", [*CONSTRUCTORS, *METHODS])
async def test_no_public_call_raises_an_error_of_its_inside(name: str, tmp_path: Path) -> None:
    """Whatever one argument is: taken, or refused as misuse; never an `AttributeError`."""
    once = Retry(attempts=1)
    owner, _, method = name.partition(".")
    async with contextlib.AsyncExitStack() as stack:
        owners: dict[str, Callable[[], Session | Fleet | Mirror]] = {
            "Session": lambda: session(retry=once),
            "Fleet": lambda: Fleet([], retry=once),
            "Mirror": lambda: Mirror(f"sqlite:///{tmp_path / 'mirror.db'}", [], retry=once),
        }
        call = CONSTRUCTORS.get(name)
        if call is None:
            call = getattr(await stack.enter_async_context(owners[owner]()), method)
        for parameter in inspect.signature(call).parameters.values():
            for odd in ODD.values():
                await _try(call, parameter, odd)


async def _try(call: Call, parameter: inspect.Parameter, odd: object) -> None:
    variable = {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
    given: dict[str, object] = {
        one.name: NEEDED[one.name]
        for one in inspect.signature(call).parameters.values()
        if one.default is one.empty and one.kind not in variable
    }
    several = [odd] if parameter.kind is parameter.VAR_POSITIONAL else []
    if not several:
        given[parameter.name] = odd
    said = ""
    try:
        result = call(*several, **given)
        if inspect.isawaitable(result):
            await asyncio.wait_for(_awaited(result), 5)
    except (TypeError, ValueError, KeyError, PPAPIError, RuntimeError) as error:
        said = str(error)
    for inside in ("not supported between", "has no attribute", "not subscriptable", "unhashable"):
        assert inside not in said, (parameter.name, odd, said)


async def _awaited(result: Awaitable[object]) -> object:
    return await result


def test_hooks_are_functions() -> None:
    """Each of them is called much later, where nobody would know why it fails."""
    for name in ("clock", "sleep", "chance"):
        with pytest.raises(TypeError, match=f"^{name}: pass a function"):
            Hooks(**{name: 3})  # type: ignore[arg-type]

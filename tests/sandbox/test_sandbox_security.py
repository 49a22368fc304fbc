"""The sandbox is no way into its machine, and nothing that is sent brings it down."""

from __future__ import annotations

import logging
from typing import Any

import aiohttp
import pytest

from ppapi_async.account import Dialect
from ppapi_async.sandbox import Books, Partner, Sandbox
from ppapi_async.sandbox.manners import intval
from tests.leaks import assert_absent, assert_unlogged
from tests.sandbox.test_sandbox import END, START, Caller, recorded_books, serving

# --- names of other machines


async def status_for(caller: Caller, host: str) -> tuple[int, str]:
    """Ask for the balance under a name; return the status and what was said."""
    query = {"api_action": "pp", "method": "get_info", "api_key": caller.sandbox.api_key}
    url = caller.sandbox.url + caller.sandbox.endpoint
    async with caller.http.get(url, params=query, headers={"Host": host}) as response:
        return response.status, await response.text()


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example",
     "evil.localhost", "10.0.0.1", "[2001:db8::1]", "", "[", "a b", "localhost@evil.example"],
)  # fmt: skip
async def test_a_name_of_another_machine_is_refused(host: str) -> None:
    """A page in a browser that has its own name resolve to loopback gets nothing to read."""
    async with serving(books=recorded_books()) as caller:
        status, page = await status_for(caller, host)
        assert status == 403
        assert "localhost" in page
        assert "122.01" not in page
        assert caller.sandbox.requests[-1].status == 403


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.2:99", "localhost", "LOCALHOST:8080", "[::1]", "[::1]:8080"]
)
async def test_names_of_loopback_are_answered(host: str) -> None:
    """Whatever the port, since one may forward it."""
    async with serving(books=recorded_books()) as caller:
        assert (await status_for(caller, host))[0] == 200


async def test_other_names_can_be_allowed() -> None:
    """Who has the sandbox stand for a named site says the name."""
    async with serving(books=recorded_books(), hosts=["Site.test"]) as caller:
        assert (await status_for(caller, "site.test:80"))[0] == 200
        assert (await status_for(caller, "other.test"))[0] == 403


async def test_a_sandbox_for_the_network_answers_to_addresses() -> None:
    """Listening everywhere was asked for; a name is still no address."""
    async with serving(books=recorded_books(), host="0.0.0.0") as caller:
        assert (await status_for(caller, "192.0.2.7"))[0] == 200
        assert (await status_for(caller, "evil.example"))[0] == 403


# --- the key


@pytest.mark.parametrize("dialect", [*Dialect])
def test_keys_are_random_unless_given(dialect: Dialect) -> None:
    """The seed says what is in the books, not how to sign in."""
    one, other = (Sandbox(dialect, rows=3, seed=1) for _ in range(2))
    assert one.api_key != other.api_key
    assert len(one.api_key) == (35 if dialect in (Dialect.CLASSIC, Dialect.CLONE) else 32)
    assert one.api_key.isalnum()
    assert list(one.books.orders) == list(other.books.orders)
    assert Sandbox(dialect, rows=3, api_key="mine").api_key == "mine"


def test_keys_of_ones_own_books_are_random_too() -> None:
    """A partner without a key gets one that nobody can guess."""
    made = [
        Books().partner,
        Partner(),
        Books.uniform(1, START, END).partner,
        Books.generate(1, 1, START, END).partner,
        Books.generate(1, 1, START, END).partner,
    ]
    assert len({partner.api_key for partner in made}) == len(made)


async def test_no_log_has_the_key(caplog: pytest.LogCaptureFixture) -> None:
    """Aiohttp logs the line of each request, with the key in it, where a program logs at INFO."""
    caplog.set_level(logging.DEBUG)
    async with serving(rows=1) as caller:
        await caller.items("get_links", {"api_key": caller.sandbox.api_key})
    assert caller.sandbox.requests_count == 1
    assert_absent(caller.sandbox.api_key, *caller.sandbox.requests)
    assert_unlogged(caller.sandbox.api_key, caplog.records)


# --- odd parameters


LONG = "9" * 5_000


@pytest.mark.untraced
@pytest.mark.parametrize("dialect", [*Dialect])
@pytest.mark.parametrize(
    "value",
    [
        *(LONG, f"-{LONG}", f"1e{LONG}", f"{LONG}.5", f"1,{LONG}"),
        *("٣", "1e999", "-1e999", "\x00", "é\ud800"),
    ],
    ids=["long", "negative", "exponent", "fraction", "list", "arabic", "inf", "-inf", "nul", "odd"],
)
async def test_odd_numbers_are_read_as_php_reads_them(dialect: Dialect, value: str) -> None:
    """No number is a fault of the server's."""
    methods = ["get_links", "get_exchanges", "get_payouts", "add_payout"]
    if dialect is Dialect.USER_API:
        methods = ["get_partner_links", "get_partner_exchanges", "get_partner_payouts"]
    async with serving(dialect, books=recorded_books()) as caller:
        for name in ("start_time", "end_time", "limit", "offset", "id", "method_id"):
            body = f"ip=203.0.113.9&{name}=".encode() + value.encode("utf-8", "surrogatepass")
            for method in methods:
                async with caller.post(method, raw=body) as response:
                    assert response.status == 200, name
                    assert (await response.read()).startswith(b"{")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LONG, 2**63 - 1),
        (f"-{LONG}", -(2**63)),
        ("1e3 rows", 1_000),
        ("1.9e2", 190),
        ("-.9e1", -9),
        ("1e999", 2**63 - 1),
        ("1e", 1),
        (f"1e-{LONG}", 0),
        ("٣", 0),
        ("\n\t 7", 7),
        ("0x1A", 0),
    ],
    ids=lambda value: str(value)[:9],
)
def test_integers_are_those_of_php(text: str, expected: int) -> None:
    """They end at 64 bits, know exponents, and only Latin digits."""
    assert intval(text) == expected


@pytest.mark.parametrize("body", [b"ip=\xff\xfe", b"\xff", b"=&&=%zz", b"ip=%00", b"a" * 70_000])
@pytest.mark.parametrize(
    "kind",
    ["application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=klingon",
     "multipart/form-data", "multipart/form-data; boundary=x", "text/plain"],
)  # fmt: skip
async def test_odd_bodies_are_no_fault_of_the_server(body: bytes, kind: str) -> None:
    """What is no form has no parameters."""
    async with serving(books=recorded_books()) as caller:
        async with caller.post("get_links", raw=body, kind=kind) as response:
            assert response.status == 200
        parts = aiohttp.FormData({"start_time": "1759900001"})
        parts._is_multipart = True
        async with caller.post("get_links", raw=parts()) as response:
            rows: dict[str, Any] = (await response.json())["data"]["items"]
    assert sorted(rows) == ["2", "3"]

"""Requests as data: what each dialect is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from ppapi_async import Account, Dialect
from ppapi_async.protocol.dialects import TRAITS, endpoints, request_for, traits_of

SAMPLES = Path(__file__).parents[1] / "samples"
ACCOUNT = Account("https://a.example", "K+/=&1")


def recorded_requests() -> list[tuple[str, str, Any]]:
    """Return the recorded requests that a client of ours would send."""
    found = []
    for file in sorted(SAMPLES.glob("*.json")):
        for name, sample in json.loads(file.read_text("utf-8")).items():
            request = sample["request"]
            if request["query"]["api_key"].startswith("KEY") and "in-query" not in name:
                found.append((file.stem, name, request))
    return found


@pytest.mark.parametrize(("file", "name", "request_"), recorded_requests())
def test_requests_are_those_recorded(file: str, name: str, request_: Any) -> None:
    """Method, path, routing and form are what the real servers were asked."""
    query, form = request_["query"], request_["form"]
    assert isinstance(query, dict)
    account = Account("https://a.example", query["api_key"])
    made = request_for(
        account,
        None,
        endpoints(account, None)[0],
        query["method"],
        form if isinstance(form, dict) else {},
    )
    url = urlsplit(made.url())
    assert url.path == request_["path"]
    sent = dict(parse_qsl(url.query))
    assert sent.items() >= query.items()
    assert dict(parse_qsl(made.body().decode())) == {k: str(v) for k, v in (form or {}).items()}
    assert made.verb == ("GET" if query["method"] == "get_info" else "POST")


def test_reads_carry_their_parameters_twice() -> None:
    """In the form for 2.7 and classic, in the query for clones."""
    made = request_for(ACCOUNT, None, "https://a.example/api.html", "get_links", {"start_time": 5})
    assert ("start_time", "5") in parse_qsl(urlsplit(made.url()).query)
    assert made.body() == b"start_time=5"


HOST = "https://a.example"
ROUTING = "?api_action=pp&api_key=K%2B%2F%3D%261&method="
WALLET: dict[str, str | int] = {"method_id": 11, "account": "T X/1"}
FORM = b"method_id=11&account=T+X%2F1"
SENT: list[tuple[Dialect | None, str, dict[str, str | int], str, str, bytes | None]] = [
    (None, "get_info", {}, "GET", f"/api.html{ROUTING}get_info", None),
    (None, "x", {"a": "1/ü"}, "POST", f"/api.html{ROUTING}x&a=1%2F%C3%BC", b"a=1%2F%C3%BC"),
    (None, "add_payout", WALLET, "POST", f"/api.html{ROUTING}add_payout", FORM),
    (
        Dialect.CLONE,
        "add_payout",
        WALLET,
        "POST",
        f"/service/partner/api.php{ROUTING}add_payout&method_id=11&account=T%20X%2F1",
        FORM,
    ),
    (Dialect.USER_API, "get_info", {}, "POST", "/api/userapi/v1/get_partner_info", b""),
    (Dialect.USER_API, "test", {}, "POST", "/api/userapi/v1/test", b""),
    (Dialect.USER_API, "x", {"a": 1}, "POST", "/api/userapi/v1/x", b"a=1"),
    (Dialect.USER_API, "add_payout", WALLET, "POST", "/api/userapi/v1/add_partner_payout", FORM),
]


@pytest.mark.parametrize(("dialect", "method", "params", "verb", "target", "form"), SENT)
def test_what_is_sent_to_the_letter(
    dialect: Dialect | None,
    method: str,
    params: dict[str, str | int],
    verb: str,
    target: str,
    form: bytes | None,
) -> None:
    """Verb, url, form and headers of each dialect, with and without parameters."""
    made = request_for(ACCOUNT, dialect, endpoints(ACCOUNT, dialect)[0], method, params)
    assert (made.verb, made.url(), made.body()) == (verb, HOST + target, form or b"")
    assert (made.form is None) == (form is None)
    signed = {"API-Key": "K+/=&1"} if dialect is Dialect.USER_API else {}
    assert made.headers() == signed


def test_where_the_api_may_be() -> None:
    """The account's own endpoint, or the places of its dialect; the User API has one place."""
    given = Account(f"{HOST}/own.php", "k3y")
    assert endpoints(given, None) == (f"{HOST}/own.php",)
    assert endpoints(given, Dialect.CLONE) == (f"{HOST}/own.php",)
    assert endpoints(given, Dialect.USER_API) == (f"{HOST}/api/userapi/v1",)
    assert endpoints(ACCOUNT, Dialect.CLASSIC) == (f"{HOST}/api.html", f"{HOST}/api.php")


def test_payout_parameters_only_in_the_form() -> None:
    """A wallet does not belong into the logs of web servers; clones need it in the query."""
    params: dict[str, str | int] = {"method_id": 11, "account": "TX1"}
    for dialect in (None, Dialect.CLASSIC, Dialect.DELEGATING):
        made = request_for(ACCOUNT, dialect, "https://a.example/api.html", "add_payout", params)
        assert "TX1" not in made.url()
        assert b"TX1" in made.body()
    clone = request_for(ACCOUNT, Dialect.CLONE, "https://a.example/x.php", "add_payout", params)
    assert "TX1" in clone.url()
    assert b"TX1" in clone.body()


def test_user_api_signs_in_headers() -> None:
    """Login and key go into headers, the method into the path, nothing into the query."""
    account = Account("https://a.example", "k3y", api_login="me")
    url = endpoints(account, account.dialect)[0]
    made = request_for(account, account.dialect, url, "get_links", {"start_time": 5})
    assert made.url() == "https://a.example/api/userapi/v1/get_partner_links"
    assert made.headers() == {"API-Login": "me", "API-Key": "k3y"}
    assert made.body() == b"start_time=5"


def test_promise_4_request_does_not_print_its_key() -> None:
    """The repr of a request holds no secret; its url holds the key, percent-encoded."""
    made = request_for(ACCOUNT, None, "https://a.example/api.html", "get_info", {})
    assert "K+" not in repr(made)
    assert "api_key=K%2B%2F%3D%261" in made.url()


def test_traits_of_unknown_servers_are_cautious() -> None:
    """What is not known is not relied upon."""
    unknown = traits_of(None)
    assert unknown.capped is None
    assert unknown.rows_move
    assert not unknown.filters_ip
    assert set(TRAITS) == set(Dialect)

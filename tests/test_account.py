"""Accounts: what they accept, what they refuse, and that their key never prints."""

from __future__ import annotations

import copy
import html
import json
import pickle
import re
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ppapi_async import Account, Dialect, Secret
from ppapi_async.clock import SiteClock
from ppapi_async.wire import endpoints
from tests.leaks import assert_absent


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://site.example", "https://site.example/api.html"),
        ("https://Site.Example/", "https://site.example/api.html"),
        ("https://site.example/api.html", "https://site.example/api.html"),
        ("https://site.example/api.php", "https://site.example/api.php"),
        ("https://site.example/wp/", "https://site.example/wp/api.html"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/api.html"),
    ],
)
def test_urls(url: str, endpoint: str) -> None:
    """A site, a site with a slash, a folder, and an endpoint are all understood."""
    assert endpoints(Account(url, "k"), None)[0] == endpoint


@pytest.mark.parametrize("host", ["localhost:8080", "shop.localhost", "127.0.0.2", "[::1]:8080"])
def test_http_is_for_loopback(host: str) -> None:
    """Without `allow_http`, a key goes over http only to this machine."""
    assert Account(f"http://{host}/api.html", "k").host == host
    with pytest.raises(ValueError, match="allow_http"):
        Account("http://localhost.site.example", "k")


def test_user_api_endpoint() -> None:
    """The User API has a path of its own, whatever path was pasted."""
    for url in (
        "https://a.example",
        "https://a.example/api.html",
        "https://a.example/api/userapi/v1",
    ):
        account = Account(url, "k", api_login="me")
        assert account.dialect is Dialect.USER_API
        assert endpoints(account, account.dialect) == ("https://a.example/api/userapi/v1",)


def test_from_link() -> None:
    """The link of the partner's page is an account."""
    account = Account.from_link(
        "https://a.example/api.html?api_action=pp&api_key=K%2B1+&method=get_info"
    )
    assert account.url == "https://a.example/api.html"
    assert account.api_key.reveal() == "K+1+"


@pytest.mark.parametrize(
    "link", ["https://a.example/api.html", "https://a.example/?api_key={api_key}", "?api_key=k"]
)
def test_links_without_a_key(link: str) -> None:
    """A link that has no key, or no site, is refused with what to do."""
    with pytest.raises(ValueError, match=r"link:|url:"):
        Account.from_link(link)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("site.example", "k"), "url"),
        (("ftp://site.example", "k"), "url"),
        (("https://", "k"), "url"),
        (("https://u:p@site.example", "k"), "url"),
        (("https://site.example/?api_key=SECRETKEY", "k"), "url"),
        (("https://[::1", "k"), "url"),
        (("http://site.example", "k"), "url.*allow_http"),
        (("https://site.example", ""), "api_key"),
        (("https://site.example", "a b"), "api_key"),
        (("https://site.example", "a\n"), "api_key"),
    ],
)
def test_bad_arguments_are_named(arguments: tuple[str, str], named: str) -> None:
    """The message names the argument and repeats no secret."""
    with pytest.raises(ValueError, match=named) as caught:
        Account(*arguments)
    assert "SECRETKEY" not in str(caught.value)


def test_bad_options_are_named() -> None:
    """Zone, dialect, login and name are checked where they are given."""
    with pytest.raises(ValueError, match="timezone: 'Mars/Base'"):
        Account("https://a.example", "k", timezone="Mars/Base")
    with pytest.raises(ValueError, match="dialect"):
        Account("https://a.example", "k", dialect="cobol")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="api_login"):
        Account("https://a.example", "k", dialect=Dialect.USER_API)
    with pytest.raises(ValueError, match="api_login"):
        Account("https://a.example", "k", dialect=Dialect.CLASSIC, api_login="me")
    with pytest.raises(ValueError, match="name"):
        Account("https://a.example", "k3y-k3y", name="my k3y-k3y")
    with pytest.raises(TypeError, match="url"):
        Account(5, "k")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="api_key"):
        Account("https://a.example", 5)  # type: ignore[arg-type]


@pytest.mark.parametrize("spell", [quote, html.escape, lambda key: json.dumps(key)[1:-1]])
def test_a_name_that_holds_the_key_in_other_writing_is_refused(spell: Callable[[str], str]) -> None:
    """A name may have been copied out of a link."""
    key = 'k3y&"é+k3y'
    with pytest.raises(ValueError, match=r"^name: holds the key") as caught:
        Account("https://a.example", key, name=f"my {spell(key)} 100%")
    assert_absent(key, caught.value)
    assert Account("https://a.example", key, name="100% & more").name == "100% & more"


def test_promise_4_secret_does_not_print() -> None:
    """Not in repr, str, format, pickle; equal secrets are equal."""
    secret = Secret("hunter22")
    account = Account("https://a.example", secret)
    for text in (repr(secret), str(secret), f"{secret}", repr(account), str(account)):
        assert "hunter22" not in text
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(account)
    assert copy.deepcopy(secret) is secret is copy.copy(secret)
    assert secret == Secret("hunter22") != Secret("x")
    assert secret != "hunter22"
    assert len({secret, Secret("hunter22")}) == 1
    assert "hunter22" not in account.fingerprint


def test_fingerprint() -> None:
    """Differs by site and by key; a name of one's own outlives a new key."""
    prints = [
        Account("https://a.example", "k1").fingerprint,
        Account("https://a.example", "k2").fingerprint,
        Account("https://b.example", "k1").fingerprint,
    ]
    assert len(set(prints)) == 3
    named = {Account("https://a.example", key, name="mine").fingerprint for key in ("k1", "k2")}
    assert len(named) == 1


@given(
    key=st.text(st.characters(min_codepoint=33, exclude_categories=["Cs", "Z"]), min_size=8),
    how=st.integers(0, 5),
)
@example(key="0000000%", how=1)
def test_promise_4_redaction_knows_every_spelling(key: str, how: int) -> None:
    """Raw, percent-encoded once and twice, as entities and in JSON."""
    key = "".join(key.split()) or "k" * 8
    try:
        account = Account("https://a.example", key, name="n")
    except ValueError:
        return
    spelled = [
        key,
        quote(key, safe=""),
        re.sub("%..", lambda code: code[0].lower(), quote(key, safe="")),
        quote(quote(key, safe=""), safe=""),
        html.escape(key),
        json.dumps(key)[1:-1],
    ][how]
    assert account.redact(f"<{spelled}>") == "<***>"


def test_promise_4_redaction_of_a_short_key() -> None:
    """A key of a few characters is replaced where it is whole; a piece of it could be any word."""
    account = Account("https://a.example", "k3y!")
    assert account.redact("key=k3y! and k3y%21, cut: k3y") == "key=*** and ***, cut: k3y"


def test_promise_4_redaction_of_a_cut_key() -> None:
    """A text that breaks off inside the key does not show its beginning."""
    account = Account("https://a.example", "abcdefghijklmnop", name="n")
    assert account.redact("see api_key=abcdefghij") == "see api_key=***"
    login = Account("https://a.example", "k" * 9, api_login="partner77", name="n")
    assert login.redact("partner77 has kkkkkkkkk") == "*** has ***"


INSTANTS = st.datetimes(datetime(1980, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(
    instant=INSTANTS.map(lambda moment: moment.replace(microsecond=0)),
    zone=st.sampled_from(
        ["UTC", "Europe/Moscow", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]
    ),
)
def test_site_clock_bounds_hold_every_row(instant: datetime, zone: str) -> None:
    """A row lies within the wire seconds that are asked for, also when clocks jump."""
    clock = SiteClock(ZoneInfo(zone))
    wall = instant.astimezone(clock.zone).replace(tzinfo=UTC)
    shown = clock.to_instant(wall)
    second = int(wall.timestamp())
    assert clock.first_second(shown) <= second
    assert clock.last_second(shown) >= second - 1 or clock.first_second(shown) < second
    if zone in ("UTC", "Asia/Kolkata"):
        assert shown == instant


def test_site_clock_ends_where_dates_end() -> None:
    """A time next to the first or last that there is stays what the site says."""
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert SiteClock(ZoneInfo("Europe/Moscow")).to_instant(first) == first
    assert SiteClock(ZoneInfo("America/New_York")).to_instant(last) == last


def test_site_clock_of_moscow() -> None:
    """A site three hours ahead writes three hours more."""
    clock = SiteClock(ZoneInfo("Europe/Moscow"))
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert clock.first_second(noon) == int(noon.timestamp()) + 3 * 3600
    assert clock.last_second(noon) == int(noon.timestamp()) + 3 * 3600 - 1
    assert clock.second_to_instant(int(noon.timestamp()) + 3 * 3600) == noon

"""Accounts: what they accept, what they refuse, and that their key never prints."""

from __future__ import annotations

import base64
import copy
import html
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ppapi_async import Account, Dialect, Secret
from ppapi_async.account import _former_hosts
from ppapi_async.protocol.dialects import endpoints
from ppapi_async.protocol.site_clock import SiteClock
from tests.leaks import SPELLINGS, assert_absent


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


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.2", "[::1]:8080"])
def test_http_is_for_loopback(host: str) -> None:
    """Without `allow_http`, a key goes over http only to this machine."""
    account = Account(f"http://{host}/api.html", "k")
    assert (account.host, account.port) == (host, 8080 if host.endswith(":8080") else 80)
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


ONE_SITE = (
    "https://обмен.рф",
    "https://обмен.рф/",
    "https://ОБМЕН.РФ",
    "https://обмен.рф:443",
    "https://обмен.рф.",
    "https://обмен。рф",  # the full stop of Chinese
    "https://обмен．рф:443/api.html",  # the one of full width
    "https://xn--90aiufb.xn--p1ai",
    "https://XN--90AIUFB.xn--p1ai.:443/api.php",
    " HTTPS://обмен.рф ",
)


@pytest.mark.parametrize("number", range(len(ONE_SITE)))
def test_one_host_in_all_its_spellings(number: int) -> None:
    """What is sent is punycode without the scheme's port, and all spellings are one account."""
    account = Account(ONE_SITE[number], "k" * 32)
    assert account.base_url == "https://xn--90aiufb.xn--p1ai"
    assert account.host == "xn--90aiufb.xn--p1ai"
    assert account.name == "обмен.рф"
    assert account.fingerprint == Account(ONE_SITE[0], "k" * 32).fingerprint


@pytest.mark.parametrize(
    ("url", "sent", "name"),
    [
        ("http://a.example:80", "http://a.example", "a.example"),
        ("http://a.example:443", "http://a.example:443", "a.example:443"),
        ("https://обмен.рф:8443", "https://xn--90aiufb.xn--p1ai:8443", "обмен.рф:8443"),
        ("https://a.example/путь/", "https://a.example/%D0%BF%D1%83%D1%82%D1%8C", "a.example"),
        ("https://a.example/%61pi.html", "https://a.example/api.html", "a.example"),
        ("https://[0:0::1]:443", "https://[::1]", "[::1]"),
        ("https://[::ffff:192.0.2.1]", "https://192.0.2.1", "192.0.2.1"),
        ("https://ＡＢＣ.example", "https://abc.example", "abc.example"),
        ("https://xn--zz--.example", "https://xn--zz--.example", "xn--zz--.example"),
    ],
)
def test_urls_have_one_spelling(url: str, sent: str, name: str) -> None:
    """Host and path are kept as they are sent, the name as people read it."""
    account = Account(url, "k" * 32, allow_http=True)
    assert (account.url, account.name) == (sent, name)
    assert Account(account.url, "k" * 32, allow_http=True) == account


ODD_HOSTS = {
    "user": "https://user:word@a.example",
    "user, empty": "https://@a.example",
    "backslash": "https://a.example\\.evil.example",
    "backslash in the path": "https://a.example/\\evil",
    "zero width": "https://a\u200b.example",
    "joiner": "https://a\u200d.example",
    "soft hyphen": "https://a\u00ad.example",
    "right to left": "https://a\u202e.example",
    "no-break space": "https://a\u00a0.example",
    "slash of full width": "https://a.example／evil",
    "account of": "https://a℀.example",
    "percent": "https://%61.example",
    "two dots": "https://a..example",
    "dots": "https://..",
    "brackets": "https://[a.example]",
    "behind brackets": "https://[::1]a:80",
    "short address": "https://127.1",
    "address as a number": "https://2130706433",
    "address in hex": "https://0x7f.0.0.1",
    "address with zeros": "https://0177.0.0.1",
    "port 0": "https://a.example:0",
    "port of six": "https://a.example:123456",
    "port of letters": "https://a.example:https",
    "port of other digits": "https://a.example:４４３",
    "long label": f"https://{'a' * 64}.example",
    "half a character": "https://a\ud800.example",
}


@pytest.mark.parametrize("name", ODD_HOSTS)
def test_odd_hosts_are_refused(name: str) -> None:
    """What shows as one host and is sent to another, or to none, is no url of a site."""
    with pytest.raises(ValueError, match=r"^url: "):
        Account(ODD_HOSTS[name], "k" * 32)


CONTROL = [*map(chr, range(0x20)), "\x7f", "\x85", "\x9b", "\u2028"]


@pytest.mark.parametrize("code", [ord(character) for character in CONTROL])
def test_control_characters_are_refused(code: int) -> None:
    """In no place of any argument: they are neither dropped nor left to aiohttp."""
    odd, key = chr(code), "Ab3dEf6hIj9kLmN0"
    places: dict[str, list[Callable[[], Account]]] = {
        "url": [
            lambda: Account(f"https://ok.test{odd}.evil", key),
            lambda: Account(f"https://ok.test/api{odd}.html", key),
            lambda: Account(f"https://ok.test/{odd}", key),
            lambda: Account(f"{odd}https://ok.test", key),
            lambda: Account(f"ht{odd}tps://ok.test", key),
            lambda: Account.from_link(f"https://ok.test{odd}.evil/api.html?api_key={key}"),
        ],
        "api_key": [
            lambda: Account("https://ok.test", f"{key}{odd}"),
            lambda: Account.from_link(f"https://ok.test/?api_key={key}{quote(odd)}"),
        ],
        "api_login": [lambda: Account("https://ok.test", key, api_login=f"lo{odd}gin")],
        "name": [lambda: Account("https://ok.test", key, name=f"na{odd}me")],
        "proxy": [
            lambda: Account("https://ok.test", key, proxy=f"http://{odd}127.0.0.1:1"),
            lambda: Account("https://ok.test", key, proxy=f"http://u:{quote(odd)}@127.0.0.1:1"),
        ],
    }
    for argument, makers in places.items():
        for make in makers:
            with pytest.raises(ValueError, match=rf"^{argument}: ") as caught:
                make()
            assert_absent(key, caught.value)


@pytest.mark.parametrize("spell", [str, quote, str.upper, lambda key: key.replace("o", "%6F")])
def test_a_url_that_holds_the_key_is_refused(spell: Callable[[str], str]) -> None:
    """In the path or in the host, however it is written: errors, logs and state show urls."""
    key = "k3y-of-the-partner"
    for url in (f"https://a.example/{spell(key)}/api.html", f"https://{spell(key)}.example"):
        with pytest.raises(ValueError, match=r"^url: ") as caught:
            Account(url, key)
        assert_absent(key, caught.value)
    with pytest.raises(ValueError, match=r"^url: holds the key"):
        Account(f"https://a.example/{spell('k3y_')}", "k3y_")


@pytest.mark.parametrize(
    "host", ["evil.localhost", "evil.com.localhost", "localhost.evil.com", "localhost.localdomain"]
)
def test_names_around_localhost_are_no_loopback(host: str) -> None:
    """Some resolvers ask the network for names below localhost."""
    with pytest.raises(ValueError, match="allow_http"):
        Account(f"http://{host}", "k" * 32)
    assert Account("http://LOCALHOST.:8080", "k" * 32).host == "localhost:8080"
    assert Account("http://[::ffff:127.0.0.1]", "k" * 32).host == "127.0.0.1"


def test_fingerprint() -> None:
    """Differs by scheme, host, path and key; a name of one's own is the account."""
    accounts = [
        Account("https://a.example", "k1"),
        Account("https://a.example", "k2"),
        Account("https://b.example", "k1"),
        Account("https://a.example:8443", "k1"),
        Account("http://a.example", "k1", allow_http=True),
        Account("https://a.example/shop", "k1"),
        Account("https://a.example/Shop", "k1"),
        Account("https://a.example", "k" * 32),
        Account("https://a.example", "k" * 33),
        Account("https://a.example", "k1", name="mine"),
        Account("https://a.example", "k1", name="yours"),
    ]
    assert len({account.fingerprint for account in accounts}) == len(accounts)
    named = {
        Account(url, key, name="mine", allow_http=True, timezone=zone).fingerprint
        for url in ("https://a.example", "http://b.example/shop")
        for key in ("k1", "k" * 32)
        for zone in ("UTC", "Europe/Moscow")
    }
    assert len(named) == 1


def test_fingerprint_does_not_tell_where_the_endpoint_is() -> None:
    """A url with the endpoint and one without are one account, also where it is named like it."""
    paths = ("", "/api.html", "/api.php", "/service/partner/api.php", "/api/userapi/v1")
    accounts = [Account(f"https://a.example{path}", "k" * 32) for path in paths]
    assert len({account.fingerprint for account in accounts}) == 1
    names = ("", "обмен.рф", "xn--90aiufb.xn--p1ai")
    same = {Account("https://обмен.рф", "k" * 32, name=name).fingerprint for name in names}
    assert len(same) == 1


def test_former_fingerprints_lead_to_what_is_stored() -> None:
    """Of version 0.1, of the time before the account had a name, and of the host before."""
    key = "Ab3dEf6hIj9kLmN0pQrStUv2xYz45678"
    plain = Account("https://обмен.рф/api.html", key)
    # What version 0.1 made of accounts: the host as it was written, and name or key.
    by_key = ("e95a357972c221b3", "62378e2dc644db3e", "0689b275839892eb")
    assert set(by_key) <= set(plain.former_fingerprints)
    assert plain.fingerprint not in plain.former_fingerprints
    named = Account("https://обмен.рф", key, name="mine")
    assert {"2dca566bf5684545", "72c70681efae3b6e"} <= set(named.former_fingerprints)
    assert {plain.fingerprint, *by_key} <= set(named.former_fingerprints)
    moved = Account("https://new.example/api.html", key, name="обмен.рф")
    assert {plain.fingerprint, *by_key} <= set(moved.former_fingerprints)
    other = Account("https://new.example", key[:-1], name="обмен.рф")
    assert not {plain.fingerprint, *by_key} & {other.fingerprint, *other.former_fingerprints}


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


PROXIES = {
    "http": "http://127.0.0.1:3128",
    "https": "https://proxy.example:443/",
    "socks5": "socks5://proxy.example:1080",
    "with a login": "socks5://user:p%40ss%2Fw0rd@proxy.example:1080",
    "with a token": "http://t0ken-of-eleven@proxy.example",
    "by address": "http://[::1]:3128",
    "by punycode": "http://user:word@прокси.рф:3128",
}
NO_PROXIES = {
    "no scheme": "127.0.0.1:3128",
    "socks4": "socks4://127.0.0.1:1080",
    "no host": "http://:3128",
    "path": "http://127.0.0.1:3128/path",
    "query": "http://127.0.0.1:3128?x=1",
    "slash in the password": "http://user:pass/w0rd@127.0.0.1:3128",
    "port": "http://127.0.0.1:99999",
    "white space": "http://127.0.0.1 :3128",
    "odd host": "http://proxy\u200b.example",
    "empty": "",
}


@pytest.mark.parametrize("name", PROXIES)
def test_proxies(name: str) -> None:
    """http, https and socks5, with or without a login; never in any repr."""
    account = Account("https://a.example", "k" * 32, proxy=PROXIES[name])
    assert account.proxy is not None
    assert account.proxy.reveal() == PROXIES[name]
    assert_absent("p%40ss%2Fw0rd", account)
    assert "proxy" not in repr(account)
    assert account.fingerprint == Account("https://a.example", "k" * 32).fingerprint
    linked = Account.from_link(f"https://a.example/?api_key={'k' * 32}", proxy=account.proxy)
    assert linked == account != Account("https://a.example", "k" * 32)


@pytest.mark.parametrize("name", NO_PROXIES)
def test_no_proxies(name: str) -> None:
    """What is wrong is told, with an example, and without the password."""
    with pytest.raises(ValueError, match=r"^proxy: .*; pass one such as 'socks5://") as caught:
        Account("https://a.example", "k" * 32, proxy=NO_PROXIES[name])
    assert_absent("pass/w0rd", caught.value)
    with pytest.raises(TypeError, match=r"^proxy: "):
        Account("https://a.example", "k" * 32, proxy=5)  # type: ignore[arg-type]


def test_http_through_a_proxy_elsewhere_leaves_the_machine() -> None:
    """A proxy's localhost is another one."""
    with pytest.raises(ValueError, match="allow_http"):
        Account("http://127.0.0.1", "k" * 32, proxy="socks5://proxy.example:1080")
    assert Account("http://127.0.0.1", "k" * 32, proxy="socks5://localhost:1080").proxy


@pytest.mark.parametrize("spell", SPELLINGS)
def test_promise_4_the_password_of_a_proxy_is_redacted(spell: str) -> None:
    """As it is written in the url, as it means, and as it is sent; alone or with the user."""
    proxy = "http://user-1:p%40ss%2Fw0rd-of-mine@127.0.0.1:3128"
    account = Account("https://a.example", "k" * 32, proxy=proxy)
    sent = base64.b64encode(b"user-1:p@ss/w0rd-of-mine").decode()
    for secret in ("p@ss/w0rd-of-mine", "user-1:p@ss/w0rd-of-mine", proxy, f"Basic {sent}"):
        shown = account.redact(f"cannot use <{SPELLINGS[spell](secret)}>")
        assert_absent("p@ss/w0rd-of-mine", shown)
        assert_absent(sent, shown)
        assert "***" in shown
    token = Account("https://a.example", "k" * 32, proxy="http://t0ken-of-mine@127.0.0.1")
    assert_absent("t0ken-of-mine", token.redact(SPELLINGS[spell]("http://t0ken-of-mine@127.0.0.1")))


def test_a_name_that_holds_another_secret_is_refused() -> None:
    """Errors and logs show the name."""
    secret = "partner77-of-mine"
    makers: list[Callable[[], Account]] = [
        lambda: Account("https://a.example", "k" * 32, name=f"my {secret}", api_login=secret),
        lambda: Account(
            "https://a.example", "k" * 32, name=f"my {secret}", proxy=f"http://u:{secret}@127.0.0.1"
        ),
    ]
    for make in makers:
        with pytest.raises(ValueError, match=r"^name: holds the login or") as caught:
            make()
        assert_absent(secret, caught.value)


def test_a_zone_object_is_as_good_as_its_name() -> None:
    """Also UTC as an object; a zone without a name is refused."""
    account = Account("https://a.example", "k" * 32, timezone=ZoneInfo("Europe/Moscow"))
    assert (account.timezone, account.zone) == ("Europe/Moscow", ZoneInfo("Europe/Moscow"))
    for nameless in (None, UTC):
        with pytest.raises(TypeError, match=r"^timezone: "):
            Account("https://a.example", "k" * 32, timezone=nameless)  # type: ignore[arg-type]
    key = "Ab3dEf6hIj9kLmN0"
    with pytest.raises(ValueError, match=r"^timezone: this zone is unknown") as caught:
        Account("https://a.example", key, timezone=key)
    assert_absent(key, caught.value)


def test_utc_needs_no_database_of_zones() -> None:
    """Slim containers have none; what cannot be looked up there says what to install."""
    code = """
import sys
sys.modules["tzdata"] = None
from datetime import UTC
from ppapi_async import Account
from ppapi_async.account import _former_hosts
from ppapi_async.protocol.site_clock import SiteClock
account = Account("https://a.example", "k" * 32)
assert account.zone is UTC and SiteClock(account.zone).is_utc
assert Account("https://a.example", "k" * 32, timezone="Etc/UTC").zone is UTC
try:
    Account("https://a.example", "k" * 32, timezone="Europe/Moscow")
except ValueError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONTZPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "install tzdata" in done.stdout


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


@pytest.mark.parametrize(
    ("zone", "set_on"),
    [
        ("Europe/Berlin", "2025-03-30"),
        ("America/New_York", "2025-11-02"),
        ("Australia/Lord_Howe", "2025-04-06"),
        ("America/Sao_Paulo", "2018-11-04"),  # at midnight
        ("America/Recife", "2000-10-08"),  # and back after a week
        ("Pacific/Apia", "2011-12-30"),  # a day that never was
        ("Asia/Kolkata", "2025-01-01"),
        ("UTC", "2025-01-01"),
    ],
)
def test_many_times_at_once_are_the_same_instants(zone: str, set_on: str) -> None:
    """Before and after a clock is set, and while it is, in whatever order."""
    clock = SiteClock(ZoneInfo(zone))
    middle = datetime.fromisoformat(set_on).replace(tzinfo=UTC)
    walls = [middle + timedelta(minutes=10 * step) for step in range(-600, 1_600)][::-1]
    assert clock.to_instants(walls) == [clock.to_instant(wall) for wall in walls]
    ends = [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC, microsecond=0)]
    for step in range(50):
        walls = [ends[0] + timedelta(hours=step), ends[1] - timedelta(hours=step)]
        assert clock.to_instants(walls) == [clock.to_instant(wall) for wall in walls]


def test_site_clock_ends_where_dates_end() -> None:
    """A time beyond what a datetime can hold becomes the earliest or the latest one."""
    first = datetime.min.replace(tzinfo=UTC)
    last = datetime.max.replace(tzinfo=UTC, microsecond=0)
    moscow, new_york = (SiteClock(ZoneInfo(z)) for z in ("Europe/Moscow", "America/New_York"))
    assert moscow.to_instant(first) == first
    assert moscow.to_instant(first + timedelta(hours=1)) == first
    assert new_york.to_instant(last) == last
    assert new_york.to_instant(last - timedelta(hours=1)) == last
    for clock in (moscow, new_york, SiteClock(ZoneInfo("UTC"))):
        assert clock.second_to_instant(10**40) == last
        assert clock.second_to_instant(-(10**40)) <= first + timedelta(hours=5)


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/New_York", "Europe/Berlin"])
def test_a_row_of_the_year_9999_overflows_nothing(zone: str) -> None:
    """What is asked of the site for it is before it and after it, and no OverflowError."""
    clock = SiteClock(ZoneInfo(zone))
    for wall in (datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)):
        instant = clock.to_instant(wall)
        assert clock.jump(instant) >= timedelta()
        assert clock.first_second(instant) - 1 <= clock.last_second(instant)
    assert clock.first_second(clock.second_to_instant(253_402_300_799)) <= 253_402_300_799


def test_utc_needs_no_time_zone_database() -> None:
    """The site's clock takes `UTC` of the standard library for UTC."""
    clock = SiteClock(UTC)
    assert clock.is_utc
    assert clock.first_second(datetime(2026, 1, 1, tzinfo=UTC)) == 1_767_225_600


def test_site_clock_of_moscow() -> None:
    """A site three hours ahead writes three hours more."""
    clock = SiteClock(ZoneInfo("Europe/Moscow"))
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert clock.first_second(noon) == int(noon.timestamp()) + 3 * 3600
    assert clock.last_second(noon) == int(noon.timestamp()) + 3 * 3600 - 1
    assert clock.second_to_instant(int(noon.timestamp()) + 3 * 3600) == noon


def test_a_key_of_pages_is_refused() -> None:
    """It is a file that was pasted; and looking for it in texts would take long."""
    with pytest.raises(ValueError, match=r"^api_key: is longer than"):
        Account("https://site.example", "k" * 100_000)


def test_a_name_is_a_text() -> None:
    """Errors and logs show it."""
    odd: Any = 5
    with pytest.raises(TypeError, match=r"^name: is not a str"):
        Account("https://site.example", "k3yk3yk3yk3yk3yk3y", name=odd)


@pytest.mark.parametrize("letter", ["a", "ж", "😀", "'", "%"])
def test_a_name_has_200_characters_at_most(letter: str) -> None:
    """Databases have it in an index, and one that is too long would be an error far from here."""
    assert Account("https://site.example", "k3y", name=letter * 200).name == letter * 200
    with pytest.raises(ValueError, match=r"^name: has 201 characters; pass 200 at most$"):
        Account("https://site.example", "k3y", name=letter * 201)


def test_a_system_without_zones_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows, and small containers: the zone's name may be right all the same."""
    monkeypatch.setattr("ppapi_async.account.available_timezones", set)
    with pytest.raises(ValueError, match="install tzdata"):
        Account("https://site.example", "k3yk3yk3yk3yk3yk3y", timezone="Nowhere/Land")


@pytest.mark.parametrize("url", ["https://[1::2::3]", "https://[12345::]/api.html"])
def test_addresses_that_are_none_are_refused(url: str) -> None:
    """In brackets there is an address, or nothing that can be asked."""
    with pytest.raises(ValueError, match=r"^url: "):
        Account(url, "k3yk3yk3yk3yk3yk3y")


def test_a_url_that_cannot_be_read_has_no_former_spellings() -> None:
    """No account has one; what asks for it all the same is wrong."""
    with pytest.raises(TypeError, match="no scheme"):
        _former_hosts("nowhere")

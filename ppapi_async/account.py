"""Where a site is and how to sign in."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, tzinfo
from enum import StrEnum
from typing import Literal, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from attrs import field, frozen
from attrs.validators import optional

from ppapi_async.secret import Redactor, Secret, as_secret
from ppapi_async.site_url import UNSENDABLE, SiteUrl, is_loopback, read_url

__all__ = ["Account", "Dialect", "Secret", "as_secret"]

_ENDPOINT_FILE = re.compile(r"\.(?:html|php)$", re.IGNORECASE)
_USER_API_PATH = re.compile(r"/api/userapi/v1(?:/[a-z_]*)?$")
_CLONES_FOLDER = re.compile(r"/service/partner$")
_IS_UTC = frozenset({"UTC", "Etc/UTC", "GMT", "Etc/GMT"})  # known without a database of time zones
_NAME_OF_A_HOST = re.compile(r"[^\s/@?#\\]+\.[^\s/@?#\\]+")
_PROXIES = ("http", "https", "socks5")
_EXAMPLE = "pass 'https://site.example'"
_PROXY_EXAMPLE = "pass one such as 'socks5://user:password@127.0.0.1:1080'"
_SHORT_KEY = 16
_ROUNDS = 10_000
_LONGEST_SECRET = 1_000
_LONGEST_NAME = 200  # an index of PostgreSQL takes less than 2,700 bytes
_SHORTEST_TOLD = 4  # a secret of one to three characters may be part of any word


DialectName: TypeAlias = Literal["classic", "delegating", "clone", "user-api"]


class Dialect(StrEnum):
    """Which server speaks; see `ppapi_async.protocol.dialects` for how they differ."""

    CLASSIC = "classic"
    DELEGATING = "delegating"
    CLONE = "clone"
    USER_API = "user-api"


def _check_secret(_: Account, attribute: object, value: Secret) -> None:
    argument = getattr(attribute, "name", "api_key")
    if not isinstance(value.reveal(), str):
        raise TypeError(f"{argument}: pass a str")
    if not value.reveal():
        raise ValueError(f"{argument}: is empty; the site shows it in the partner's account")
    if len(value.reveal()) > _LONGEST_SECRET:
        raise ValueError(f"{argument}: is longer than {_LONGEST_SECRET} characters; copy it again")
    if UNSENDABLE.search(value.reveal()) or re.search(r"\s", value.reveal()):
        raise ValueError(
            f"{argument}: holds white space or characters that cannot be sent; copy it again"
        )


def _check_proxy(_: Account, __: object, value: Secret) -> None:
    if not isinstance(value.reveal(), str):
        raise TypeError("proxy: pass a str")
    problem = _proxy_problem(value)
    if problem is not None:
        raise ValueError(f"proxy: {problem}; {_PROXY_EXAMPLE}")


def _proxy_problem(proxy: Secret) -> str | None:
    """Return what is wrong with the url of a proxy; raised elsewhere, for this frame holds it."""
    read = read_url(proxy.reveal())
    if isinstance(read, str):
        return read
    if read.scheme not in _PROXIES:
        return f"has a scheme that is not one of {', '.join(_PROXIES)}"
    if read.path or read.rest.strip("?#"):
        return "has more than host and port; percent-encode what stands in its password"
    if read.login is not None and UNSENDABLE.search(unquote(read.login)):
        return "holds control characters; copy it again"
    return None


def _site(url: str, key: Secret) -> SiteUrl | str:
    """Return a site's url in its one spelling, or what is wrong: people paste links with keys."""
    if not isinstance(url, str):
        return f"is not a str; {_EXAMPLE}"
    read = read_url(url)
    if isinstance(read, str):
        return f"{read}; {_EXAMPLE}"
    if read.rest.strip("?#"):
        return "has a query; for the link that a site shows use Account.from_link"
    if read.scheme not in ("http", "https"):
        return f"is not http or https; {_EXAMPLE}"
    if read.login is not None:
        return f"holds a user name; {_EXAMPLE}"
    if any(_is_told(key, text) for text in (url, read.path, read.readable_host)):
        return f"holds the key; {_EXAMPLE}"
    return read


def _is_told(secret: Secret, text: str) -> bool:
    """Tell whether a text holds the secret, however it is written there."""
    if not isinstance(secret.reveal(), str) or len(secret.reveal()) < _SHORTEST_TOLD:
        return False
    return Redactor([secret]).finds(text)


def _name_problem(name: str, key: Secret, others: Iterable[Secret]) -> str | None:
    """Return what is wrong with a name, without repeating it."""
    if not isinstance(name, str):
        return "is not a str; pass what errors and logs shall call the account"
    if UNSENDABLE.search(name):
        return "holds control characters or halves of characters; pass other text"
    if len(name) > _LONGEST_NAME:
        return f"has {len(name)} characters; pass {_LONGEST_NAME} at most"
    if _is_told(key, name):
        return "holds the key; errors and logs show the name"
    if any(_is_told(secret, name) for secret in others):
        return "holds the login or the proxy's password; errors and logs show the name"
    return None


def _zone_problem(timezone: str | ZoneInfo, key: Secret) -> str | None:
    """Return what is wrong with a zone, without repeating a key that stands in its place."""
    name = timezone.key if isinstance(timezone, ZoneInfo) else timezone
    if not isinstance(name, str):
        return "pass a name such as 'Europe/Moscow', or a ZoneInfo that has one"
    try:
        if name not in _IS_UTC:
            ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        shown = "this zone" if _is_told(key, name) else repr(name)
        if not available_timezones():
            return f"{shown} cannot be looked up, for this system has no zones; install tzdata"
        return f"{shown} is unknown; pass a name such as 'Europe/Moscow'"
    return None


def _base_url(url: str) -> str:
    """Return the url without the file or path of an endpoint."""
    url = _USER_API_PATH.sub("", url)
    return url.rpartition("/")[0] if _ENDPOINT_FILE.search(urlsplit(url).path) else url


def _fingerprint(url: str, key: Secret) -> str:
    """Return the fingerprint of an account without a name of its own.

    Where exactly the endpoint is does not count: it may be given or found.
    """
    base, own = _CLONES_FOLDER.sub("", _base_url(url)), key.reveal()
    if len(own) < _SHORT_KEY:  # it could be found by trying, were that not slow
        own = hashlib.pbkdf2_hmac("sha256", own.encode(), b"ppapi_async", _ROUNDS).hex()
    return _hash(b"ppapi_async key", base, own)


def _former(host: str, own: str) -> str:
    """Return the fingerprint of version 0.1: of the host as it was written, and name or key."""
    return _hash(b"ppapi_async", host, own)


def _former_hosts(url: str) -> list[str]:
    """Return how the host of a url may have been written."""
    read = read_url(url)
    if isinstance(read, str):  # an account has no such url
        raise TypeError(read)
    ends = ("", ".") if ":" in read.host else ("", f":{443 if read.scheme == 'https' else 80}", ".")
    names = dict.fromkeys((read.host, read.readable_host))
    return [name + end for end in ends for name in names]


def _hash(purpose: bytes, *parts: str) -> str:
    text = "\n".join(parts)
    return hashlib.blake2b(text.encode(), digest_size=8, person=purpose).hexdigest()


@frozen(init=False)
class Account:
    """One partner account at one site. `Account(url, api_key)` is all that most need.

    Args:
        url: `https://site`, with or without a path; a path to the endpoint itself
            (`…/api.html`, `…/api.php`) is kept. It is kept as it is sent: names of other scripts in
            punycode, without the scheme's own port.
        api_key: the partner's key, a str or a `Secret`.
        api_login: the login of the 2.7 User API; selects that dialect.
        name: what errors and events call the account. Unless given, it is the host as people
            know it (`обмен.рф`), with the port if that is not the scheme's own. An account with a
            name of its own keeps its state when the site moves to another host, or the key changes.
            It has 200 characters at most.
        timezone: the site's own zone, a zoneinfo name or a `ZoneInfo`. Sites report local
            wall-clock as if it were UTC and never name their zone.
        dialect: which server this is; None is recognised from its answers.
        allow_http: permit an unencrypted url. Loopback addresses are always permitted, but not
            through a proxy elsewhere.
        proxy: the url of a proxy that all requests of the account go through: `http`, `https` or
            `socks5`, with user and password where it wants them. The password is as secret as the
            key.

    Raises:
        ValueError: an argument is not usable; the message names it and says what to pass.
        TypeError: an argument is of the wrong type.

    >>> Account("https://site.example", "k3y")
    Account(url='https://site.example', name='site.example')
    """

    url: str
    api_key: Secret = field(validator=_check_secret)
    api_login: Secret | None = field(validator=optional(_check_secret))
    name: str
    timezone: str
    dialect: Dialect | None
    allow_http: bool
    proxy: Secret | None = field(validator=optional(_check_proxy))
    _redactor: Redactor = field(init=False, eq=False)

    def __init__(
        self,
        url: str,
        api_key: str | Secret,
        *,
        api_login: str | Secret | None = None,
        name: str = "",
        timezone: str | ZoneInfo = "UTC",
        dialect: Dialect | DialectName | None = None,
        allow_http: bool = False,
        proxy: str | Secret | None = None,
    ) -> None:
        # Written by hand, so that the frame of a constructor that raises holds no bare key.
        api_key, proxy = as_secret(api_key), None if proxy is None else as_secret(proxy)
        api_login = None if api_login is None else as_secret(api_login)
        site = _site(url, api_key)
        if isinstance(site, str):
            is_text, url = isinstance(url, str), ""
            raise (ValueError if is_text else TypeError)(f"url: {site}")
        if name and (problem := _name_problem(name, api_key, _others(api_login, proxy))):
            is_text, name = isinstance(name, str), ""
            raise (ValueError if is_text else TypeError)(f"name: {problem}")
        if dialect not in (None, *Dialect):
            raise ValueError(f"dialect: pass None or one of {', '.join(Dialect)}")
        if problem := _zone_problem(timezone, api_key):
            is_text, timezone = isinstance(timezone, str), ""
            raise (ValueError if is_text else TypeError)(f"timezone: {problem}")
        self.__attrs_init__(
            url=str(site),
            api_key=api_key,
            api_login=api_login,
            name=name or site.readable_host,
            timezone=timezone.key if isinstance(timezone, ZoneInfo) else timezone,
            dialect=None if dialect is None else Dialect(dialect),
            allow_http=allow_http,
            proxy=proxy,
        )

    def __attrs_post_init__(self) -> None:
        if self.dialect is None and self.api_login is not None:
            object.__setattr__(self, "dialect", Dialect.USER_API)
        if (self.dialect is Dialect.USER_API) != (self.api_login is not None):
            raise ValueError("api_login: goes with dialect 'user-api' and only with it")
        redactor = Redactor((self.api_key, *_others(self.api_login, self.proxy)))
        object.__setattr__(self, "_redactor", redactor)
        if self.url.startswith("http:") and not (self.allow_http or self._stays_here()):
            raise ValueError(
                "url: http would send the key readable for all; pass https, or allow_http=True"
            )

    def _stays_here(self) -> bool:
        """Tell whether requests leave this machine neither by themselves nor through the proxy."""
        if self.proxy is not None:
            proxy = read_url(self.proxy.reveal())
            if isinstance(proxy, str) or not is_loopback(proxy.host):
                return False
        return is_loopback(self.host)

    def __repr__(self) -> str:
        return f"Account(url={self.url!r}, name={self.name!r})"

    @classmethod
    def from_link(
        cls,
        link: str,
        *,
        name: str = "",
        timezone: str | ZoneInfo = "UTC",
        dialect: Dialect | DialectName | None = None,
        allow_http: bool = False,
        proxy: str | Secret | None = None,
    ) -> Account:
        """Make an account of the link that sites show their partners.

        `https://site/api.html?api_action=pp&api_key=K&method=get_info`; the method is ignored.

        Raises:
            ValueError: the link has no key, or is not a usable url.
        """
        proxy = None if proxy is None else as_secret(proxy)
        if not isinstance(link, str):
            raise TypeError("link: is not a str; pass the link from the partner's page")
        link, _, query = link.strip(" ").partition("?")
        # From here on no variable may hold the bare key, which a traceback would show.
        query = query.partition("#")[0].replace("+", "%2B")
        keys = [Secret(key) for key in parse_qs(query).get("api_key", [])]
        query = ""
        if len(keys) != 1 or keys[0].reveal() == "{api_key}":
            link = ""  # the key may stand somewhere else in it
            raise ValueError("link: has no api_key; copy it from the partner's page once more")
        return cls(
            link,
            keys[0],
            name=name,
            timezone=timezone,
            dialect=dialect,
            allow_http=allow_http,
            proxy=proxy,
        )

    @property
    def zone(self) -> tzinfo:
        """The site's time zone."""
        return UTC if self.timezone in _IS_UTC else ZoneInfo(self.timezone)

    @property
    def host(self) -> str:
        """The site's host as it is sent, with the port if it is not the scheme's own."""
        return urlsplit(self.url).netloc

    @property
    def port(self) -> int:
        """The site's port, be it the scheme's own."""
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def base_url(self) -> str:
        """The url without the file or path of an endpoint."""
        return _base_url(self.url)

    @property
    def endpoint(self) -> str | None:
        """The endpoint's full url where the user gave one."""
        return self.url if _ENDPOINT_FILE.search(urlsplit(self.url).path) else None

    @property
    def fingerprint(self) -> str:
        """A stable identity for state and checkpoints that does not tell the key.

        With a name of its own, the account is the name: whatever host it moves to and whatever key
        it gets. Without one, it is scheme, host, path and key. A key of less than sixteen
        characters could be found by trying all of them; each try takes milliseconds.
        """
        if self._has_own_name:
            return _hash(b"ppapi_async name", self.name)
        return _fingerprint(self.url, self.api_key)

    @property
    def former_fingerprints(self) -> tuple[str, ...]:
        """The fingerprints under which state of this account may be stored, likeliest first.

        Those of earlier versions; of the account before it got a name of its own; and, where this
        name is the host that the site had before, of the account at that host. Where nothing is
        stored under `fingerprint`, copy what is found under the first of these; leave it there.
        """
        urls, key, is_own = [self.url], self.api_key.reveal(), self._has_own_name
        if is_own and _NAME_OF_A_HOST.fullmatch(self.name):
            parts = urlsplit(self.url)
            before = read_url(f"{parts.scheme}://{self.name}{parts.path}")
            urls += [] if isinstance(before, str) else [str(before)]
        found = [
            *([_former(host, self.name) for host in _former_hosts(self.url)] if is_own else []),
            *(_fingerprint(url, self.api_key) for url in urls),
            *(_former(host, key) for url in urls for host in _former_hosts(url)),
        ]
        present = self.fingerprint
        return tuple(dict.fromkeys(one for one in found if one != present))

    @property
    def _has_own_name(self) -> bool:
        site = read_url(self.url)
        readable = "" if isinstance(site, str) else site.readable_host
        return self.name not in (self.host, readable)

    def redact(self, text: str) -> str:
        """Return `text` with the key, the login and the proxy's password replaced by `***`.

        In whatever encoding they stand: raw, percent-encoded, as HTML entities, JSON or form
        escapes, with NULs between as in UTF-16; in either case, for sites compare keys without; and
        pieces of them of eight characters and more, or of four where the text breaks off inside.
        Secrets of less than eight characters are replaced as a whole only.
        """
        return self._redactor.redact(text)


def _others(login: Secret | None, proxy: Secret | None) -> Iterator[Secret]:
    """Return what is secret beside the key."""
    if login is not None:
        yield login
    if proxy is not None:
        yield from _secrets_of_proxy(proxy)


def _secrets_of_proxy(proxy: Secret) -> Iterator[Secret]:
    """Return what of a proxy's url is secret: the password, and the login as it is sent."""
    read = read_url(proxy.reveal()) if isinstance(proxy.reveal(), str) else ""
    if isinstance(read, str) or not read.login:
        return
    user, _, password = (unquote(part) for part in read.login.partition(":"))
    written = read.login.partition(":")[2] or read.login
    yield Secret(base64.b64encode(f"{user}:{password}".encode()).decode().rstrip("="))
    for secret in (password or user, written):  # some proxies take a token in place of a name
        yield Secret(secret)

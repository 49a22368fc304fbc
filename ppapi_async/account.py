"""Where a site is and how to sign in; the secret that never prints."""

from __future__ import annotations

import functools
import hashlib
import hmac
import html.entities
import ipaddress
import re
from collections.abc import Callable
from enum import StrEnum
from typing import NoReturn
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from attrs import field, frozen
from attrs.validators import optional
from yarl import URL

__all__ = ["Account", "Dialect", "Secret", "as_secret"]

_ENDPOINT_FILE = re.compile(r"\.(?:html|php)$", re.IGNORECASE)
_USER_API_PATH = re.compile(r"/api/userapi/v1(?:/[a-z_]*)?$")
_SHORTEST_FRAGMENT = 4  # of a key, at the end of a text that was cut off
_MARKS_OF_ESCAPES = "%&\\"  # without one of them, a text holds the key as it is or not at all
_UNFINISHED = (
    r"(?:[%&\\]*[#\w]{0,5}|(?:%[0-9A-Fa-f]*){1,4}|\\{1,8}[ux][0-9A-Fa-f]*"
    r"|&(?:amp;)*(?:#[xX]?[0-9A-Fa-f]*|\w*))"
)
"""The beginning of a spelling of one character, also where escapes are piled up.

No part of it, or of `_spellings`, may match a text in two ways, or go far over the same text twice:
what a page says must not be able to hold the process up.
"""


class Dialect(StrEnum):
    """Which server speaks; see `ppapi_async.wire` for how they differ."""

    CLASSIC = "classic"
    DELEGATING = "delegating"
    CLONE = "clone"
    USER_API = "user-api"


class Secret:
    """A string that shows itself only to `reveal()`: not in repr, str, format or pickles."""

    __slots__ = ("_reveal",)
    _reveal: Callable[[], str]

    def __init__(self, value: str) -> None:
        # In a closure: what goes through attributes and slots, as debugging aids do, finds it not.
        self._reveal = lambda: value

    def reveal(self) -> str:
        """Return the secret itself. Do not bind the result to a name in a frame that may raise."""
        return self._reveal()

    def __repr__(self) -> str:
        return "Secret('***')"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.reveal().encode(), other.reveal().encode())

    def __hash__(self) -> int:
        return hash((Secret, self.reveal()))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("an API key is not pickled; load it where it is needed")


def as_secret(value: str | Secret) -> Secret:
    """Return the key as a secret."""
    return value if isinstance(value, Secret) else Secret(value)


def _check_secret(_: Account, attribute: object, value: Secret) -> None:
    argument = getattr(attribute, "name", "api_key")
    if not isinstance(value.reveal(), str):
        raise TypeError(f"{argument}: pass a str")
    if not value.reveal():
        raise ValueError(f"{argument}: is empty; the site shows it in the partner's account")
    if re.search(r"[\s\x00-\x1f\x7f\ud800-\udfff]", value.reveal()):
        raise ValueError(
            f"{argument}: holds white space or characters that cannot be sent; copy it again"
        )


def _url_problem(url: str) -> str | None:
    """Return what is wrong with a url, without repeating it: people paste links with their key."""
    if not isinstance(url, str):
        return "is not a str; pass 'https://site.example'"
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
        URL(url)
    except ValueError:
        return "is not a URL; pass 'https://site.example'"
    if parts.query or parts.fragment:
        return "has a query; for the link that a site shows use Account.from_link"
    if parts.scheme not in ("http", "https") or not host:
        return "pass the scheme and the host, such as 'https://site.example'"
    if parts.username is not None or re.search(r"[\s\\\ud800-\udfff]", parts.netloc + parts.path):
        return "holds a user name, white space or backslashes; pass 'https://site.example'"
    return None


def _normal_url(url: str) -> str:
    """Return scheme, host and path of a good url, without a trailing slash."""
    parts = urlsplit(url.strip())
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def _is_told(secret: Secret, name: str) -> bool:
    """Tell whether a name holds the secret, however it is written there."""
    if not isinstance(secret.reveal(), str) or not secret.reveal():
        return False  # it is refused later
    if secret.reveal() in name:
        return True
    is_escaped = any(mark in name for mark in _MARKS_OF_ESCAPES)
    return is_escaped and re.search("".join(_units(secret)), name) is not None


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(account: Account) -> str:
    return urlsplit(account.url).netloc


def _split_link(link: str) -> tuple[str, Secret | None]:
    """Return a link's url without its query, and the one key that the query holds."""
    url, _, query = link.strip().partition("?")
    keys = parse_qs(query.partition("#")[0].replace("+", "%2B")).get("api_key", [])
    return url, None if len(keys) != 1 or keys == ["{api_key}"] else Secret(keys[0])


@frozen(init=False)
class Account:
    """One partner account at one site. `Account(url, api_key)` is all that most need.

    Args:
        url: `https://site`, with or without a path; a path to the endpoint itself
            (`…/api.html`, `…/api.php`) is kept.
        api_key: the partner's key, a str or a `Secret`.
        api_login: the login of the 2.7 User API; selects that dialect.
        name: what errors and events call the account; the host unless given.
        timezone: the site's own zone, a zoneinfo name. Sites report local wall-clock as if it
            were UTC and never name their zone.
        dialect: which server this is; None is recognised from its answers.
        allow_http: permit an unencrypted url. Loopback addresses are always permitted.

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

    def __init__(
        self,
        url: str,
        api_key: str | Secret,
        *,
        api_login: str | Secret | None = None,
        name: str = "",
        timezone: str = "UTC",
        dialect: Dialect | None = None,
        allow_http: bool = False,
    ) -> None:
        # Written by hand, so that the frame of a constructor that raises holds no bare key.
        api_key = as_secret(api_key)
        api_login = None if api_login is None else as_secret(api_login)
        if (problem := _url_problem(url)) is not None:
            is_text, url = isinstance(url, str), ""
            raise (ValueError if is_text else TypeError)(f"url: {problem}")
        url = _normal_url(url)
        if re.search("[\ud800-\udfff]", name):
            name = ""
            raise ValueError("name: holds characters that cannot be written; pass other text")
        if name and _is_told(api_key, name):
            name = ""
            raise ValueError("name: holds the key; errors and logs show the name")
        self.__attrs_init__(
            url=url,
            api_key=api_key,
            api_login=api_login,
            name=name,
            timezone=timezone,
            dialect=dialect,
            allow_http=allow_http,
        )

    def __attrs_post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", _host_name(self))
        self._settle_dialect()
        self._check_zone()
        parts = urlsplit(self.url)
        if parts.scheme == "http" and not (self.allow_http or _is_loopback(parts.hostname or "")):
            raise ValueError(
                "url: http would send the key readable for all; pass https, or allow_http=True"
            )

    def _settle_dialect(self) -> None:
        if self.dialect is not None:
            try:
                object.__setattr__(self, "dialect", Dialect(self.dialect))
            except ValueError:
                known = ", ".join(Dialect)
                raise ValueError(f"dialect: pass None or one of {known}") from None
        elif self.api_login is not None:
            object.__setattr__(self, "dialect", Dialect.USER_API)
        if (self.dialect is Dialect.USER_API) != (self.api_login is not None):
            raise ValueError("api_login: goes with dialect 'user-api' and only with it")

    def _check_zone(self) -> None:
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(
                f"timezone: {self.timezone!r} is unknown; pass a name such as 'Europe/Moscow'"
            ) from None

    def __repr__(self) -> str:
        return f"Account(url={self.url!r}, name={self.name!r})"

    @classmethod
    def from_link(
        cls,
        link: str,
        *,
        name: str = "",
        timezone: str = "UTC",
        dialect: Dialect | None = None,
        allow_http: bool = False,
    ) -> Account:
        """Make an account of the link that sites show their partners.

        `https://site/api.html?api_action=pp&api_key=K&method=get_info`; the method is ignored.

        Raises:
            ValueError: the link has no key, or is not a usable url.
        """
        link, key = _split_link(link)  # from here on the frame holds no key
        if key is None:
            link = ""  # the key may stand somewhere else in it
            raise ValueError("link: has no api_key; copy it from the partner's page once more")
        return cls(
            link,
            key,
            name=name,
            timezone=timezone,
            dialect=dialect,
            allow_http=allow_http,
        )

    @property
    def zone(self) -> ZoneInfo:
        """The site's time zone."""
        return ZoneInfo(self.timezone)

    @property
    def host(self) -> str:
        """The site's host, with the port if the url has one."""
        return _host_name(self)

    @property
    def base_url(self) -> str:
        """The url without the file or path of an endpoint."""
        url = _USER_API_PATH.sub("", self.url)
        return url.rpartition("/")[0] if _ENDPOINT_FILE.search(urlsplit(url).path) else url

    @property
    def endpoint(self) -> str | None:
        """The endpoint's full url where the user gave one."""
        return self.url if _ENDPOINT_FILE.search(urlsplit(self.url).path) else None

    @property
    def fingerprint(self) -> str:
        """A stable identity for state and checkpoints that does not tell the key.

        A name of the user's own outlives a new key; the default name does not.
        """
        own_name = self.name if self.name != _host_name(self) else self.api_key.reveal()
        text = f"{_host_name(self)}\n{own_name}"
        return hashlib.blake2b(text.encode(), digest_size=8, person=b"ppapi_async").hexdigest()

    def redact(self, text: str) -> str:
        """Return `text` with the key and the login replaced, in whatever encoding they stand.

        Raw, percent-encoded (once or more, either case), as HTML entities, JSON or form escapes;
        also where the text breaks off inside the key.
        """
        text = _redact(text, self.api_key)
        return text if self.api_login is None else _redact(text, self.api_login)


def _redact(text: str, secret: Secret) -> str:
    """Replace `secret` in `text`, however each of its characters is written."""
    beginning = secret.reveal()[:_SHORTEST_FRAGMENT]
    if beginning not in text and not any(mark in text for mark in _MARKS_OF_ESCAPES):
        return text  # nearly always; the patterns take milliseconds to make
    units = _units(secret)
    text = re.sub("".join(units), "***", text)
    if len(units) <= _SHORTEST_FRAGMENT:
        return text
    # A text that was cut off may end within the key, or within the spelling of a character.
    rest = ""
    for unit in reversed(units[_SHORTEST_FRAGMENT:-1]):
        rest = f"(?:{unit}{rest})?"
    first = "".join(units[:_SHORTEST_FRAGMENT])
    return re.sub(f"{first}{rest}{_UNFINISHED}$", "***", text)


def _units(secret: Secret) -> list[str]:
    return [_spellings(character) for character in secret.reveal()]


@functools.cache  # it holds single characters, never a key
def _spellings(character: str) -> str:
    """Return a pattern for all the ways in which a page, or Python's repr of it, may write it.

    Escapes may be piled up: JSON within a repr, percent-encoding or entities applied twice.
    """
    code = ord(character)
    encoded = character.encode()
    percent = "".join(f"%(?:25)*{_any_case(f'{byte:02x}')}" for byte in encoded)
    byte_repr = "".join(rf"\\{{1,8}}x{_any_case(f'{byte:02x}')}" for byte in encoded)
    names = [] if character.isalnum() else _entity_names(character)
    entities = [f"#0*{code};", f"#[xX]0*{_any_case(f'{code:x}')};", *names]
    units = character.encode("utf-16-be").hex()
    escaped = "".join(rf"\\{{1,8}}u{_any_case(units[i : i + 4])}" for i in range(0, len(units), 4))
    spellings = [percent, escaped, byte_repr]
    if 128 <= code < 256:  # latin-1; ASCII would be matched in two ways, which is slow
        spellings += [rf"\\{{1,8}}x{_any_case(f'{code:02x}')}"]
        spellings += [f"%(?:25)*{_any_case(f'{code:02x}')}"]
    # The bare character last: a percent sign may be the beginning of its own encoding.
    spellings += [rf"\\{{0,8}}{re.escape(character)}"]
    return f"(?:&(?:amp;)*(?:{'|'.join(entities)})|{'|'.join(spellings)})"


@functools.cache
def _entity_names(character: str) -> list[str]:
    return [n for n, c in html.entities.html5.items() if c == character and n.endswith(";")]


def _any_case(digits: str) -> str:
    return "".join(f"[{d}{d.upper()}]" if d.isalpha() else d for d in digits)

"""Where a site is and how to sign in; the secret that never prints."""

from __future__ import annotations

import hashlib
import hmac
import html.entities
import ipaddress
import re
from enum import StrEnum
from typing import NoReturn
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from attrs import field, frozen
from attrs.validators import optional

__all__ = ["Account", "Dialect", "Secret"]

_ENDPOINT_FILE = re.compile(r"\.(?:html|php)$", re.IGNORECASE)
_USER_API_PATH = re.compile(r"/api/userapi/v1(?:/[a-z_]*)?$")
_SHORTEST_FRAGMENT = 4  # of a key, at the end of a text that was cut off


class Dialect(StrEnum):
    """Which server speaks; see `ppapi_async.wire` for how they differ."""

    CLASSIC = "classic"
    DELEGATING = "delegating"
    CLONE = "clone"
    USER_API = "user-api"


class Secret:
    """A string that shows itself only to `reveal()`: not in repr, str, format or pickles."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself. Do not bind the result to a name in a frame that may raise."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("an API key is not pickled; load it where it is needed")


def _secret(value: str | Secret) -> Secret:
    return value if isinstance(value, Secret) else Secret(value)


def _optional_secret(value: str | Secret | None) -> Secret | None:
    return None if value is None else _secret(value)


def _check_secret(_: Account, attribute: object, value: Secret) -> None:
    argument = getattr(attribute, "name", "api_key")
    if not isinstance(value.reveal(), str):
        raise TypeError(f"{argument}: pass a str")
    if not value.reveal():
        raise ValueError(f"{argument}: is empty; the site shows it in the partner's account")
    if re.search(r"[\s\x00-\x1f\x7f]", value.reveal()):
        raise ValueError(f"{argument}: holds white space or control characters; copy it again")


def _normal_url(url: str) -> str:
    """Return scheme, host and path of `url`, without a trailing slash.

    The messages never repeat the url: people paste links that hold their key.
    """
    if not isinstance(url, str):
        raise TypeError("url: pass a str such as 'https://site.example'")
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("url: is not a URL; pass 'https://site.example'") from None
    if parts.query or parts.fragment:
        raise ValueError("url: has a query; for the link that a site shows use Account.from_link")
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("url: pass the scheme and the host, such as 'https://site.example'")
    if parts.username is not None or re.search(r"\s", parts.netloc + parts.path):
        raise ValueError("url: holds a user name or white space; pass 'https://site.example'")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(account: Account) -> str:
    return urlsplit(account.url).netloc


@frozen(kw_only=True)
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

    url: str = field(converter=_normal_url, kw_only=False)
    api_key: Secret = field(converter=_secret, validator=_check_secret, kw_only=False)
    api_login: Secret | None = field(
        default=None, converter=_optional_secret, validator=optional(_check_secret)
    )
    name: str = field(default="")
    timezone: str = "UTC"
    dialect: Dialect | None = None
    allow_http: bool = False

    def __attrs_post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", _host_name(self))
        elif self.redact(self.name) != self.name:
            raise ValueError("name: holds the key; errors and logs show the name")
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
        url, _, query = link.strip().partition("?")
        keys = parse_qs(query.partition("#")[0].replace("+", "%2B")).get("api_key", [])
        if len(keys) != 1 or keys == ["{api_key}"]:
            raise ValueError("link: has no api_key; copy it from the partner's page once more")
        return cls(
            url,
            Secret(keys[0]),
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
    units = [_spellings(character) for character in secret.reveal()]
    text = re.sub("".join(units), "***", text)
    tail = text[-8 * len(units) :]
    for length in range(len(units) - 1, min(_SHORTEST_FRAGMENT, len(units)) - 1, -1):
        if found := re.search("".join(units[:length]) + r"[%&\\]?[#\w]{0,5}$", tail):
            return text[: len(text) - len(tail) + found.start()] + "***"
    return text


def _spellings(character: str) -> str:
    """Return a pattern for all the ways in which a page may write `character`."""
    code = ord(character)
    encoded = "".join(f"%(?:25)*{_any_case(f'{byte:02x}')}" for byte in character.encode())
    names = [] if character.isalnum() else _entity_names(character)
    entities = [f"&#0*{code};", f"&#[xX]0*{_any_case(f'{code:x}')};", *(f"&{n}" for n in names)]
    units = character.encode("utf-16-be").hex()
    escaped = "".join(rf"\\u{_any_case(units[i : i + 4])}" for i in range(0, len(units), 4))
    spellings = [rf"\\?{re.escape(character)}", encoded, escaped, *entities]
    return f"(?:{'|'.join(spellings)})"


def _entity_names(character: str) -> list[str]:
    return [n for n, c in html.entities.html5.items() if c == character and n.endswith(";")]


def _any_case(digits: str) -> str:
    return "".join(f"[{d}{d.upper()}]" if d.isalpha() else d for d in digits)

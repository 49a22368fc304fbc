"""The urls of sites and proxies: what is wrong with one, and one spelling for each.

A url that a user passes may be a link with a key in it. So nothing here raises, and what is wrong
is told without repeating the url.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Mapping

from attrs import frozen
from yarl import URL

__all__ = ["UNSENDABLE", "SiteUrl", "is_loopback", "read_url"]

UNSENDABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, line ends and halves of surrogate pairs: no url, key or name has them."""
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
    r"(?:(?P<login>[^/?#]*)@)?(?P<net>[^/?#@]*)(?P<path>[^?#]*)(?P<rest>.*)",
    re.DOTALL,
)
_NET = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:]+))(?::(?P<port>[0-9]{0,5}))?")
_HOST = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)")
_PORTS: Mapping[str, int] = {"http": 80, "https": 443}


@frozen
class SiteUrl:
    """A good url in its one spelling."""

    scheme: str
    login: str | None
    """User name and password as they are written, before the `@`."""
    host: str
    """As it is sent: in lower case, names of other scripts in punycode; with the port, unless it is
    the scheme's own."""
    path: str
    """Percent-encoded, without a slash at the end."""
    rest: str
    """Query and fragment."""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}{self.path}"

    @property
    def readable_host(self) -> str:
        """The host as its users know it: names of other scripts in their script."""
        host, colon, port = self.host.rpartition(":")
        if not colon or port.endswith("]"):
            host, colon, port = self.host, "", ""
        try:
            readable = URL(f"//{host}").host or host
        except ValueError:  # UnicodeError among them
            return self.host
        is_same = not _has_odd(readable) and _sent_name(readable) == host
        return f"{readable}{colon}{port}" if is_same else self.host


def read_url(url: str) -> SiteUrl | str:
    """Return the url in its one spelling, or what is wrong with it."""
    url = url.strip(" ")
    if UNSENDABLE.search(url):
        return "holds control characters; copy it again"
    parts = _URL.fullmatch(url)
    if parts is None or not parts["net"]:
        return "has no scheme or no host"
    if re.search(r"[\s\\]", parts["net"] + parts["path"]):
        return "holds white space or backslashes"
    net = _NET.fullmatch(parts["net"])
    host = None if net is None else _sent_host(net)
    if net is None or host is None:
        return "has a host that cannot be one; type it anew"
    scheme = parts["scheme"].lower()
    port = int(net["port"]) if net["port"] else _PORTS.get(scheme)
    if port is not None and not 1 <= port <= 65535:
        return "has a port that is none; pass 1 to 65535"
    shown = "" if port is None or port == _PORTS.get(scheme) else f":{port}"
    path = URL(f"https://host{parts['path']}").raw_path.rstrip("/")
    return SiteUrl(scheme, parts["login"], host + shown, path, parts["rest"])


def is_loopback(host: str) -> bool:
    """Tell whether what is sent to this host, with or without a port, stays on this machine.

    A name below `localhost` may be anything's: some resolvers ask the network for it.
    """
    net = _NET.fullmatch(host)
    if net is None or net["host"] == "localhost":
        return net is not None
    try:
        return ipaddress.ip_address(net["six"] or net["host"]).is_loopback
    except ValueError:
        return False


def _sent_host(net: re.Match[str]) -> str | None:
    """Return the host as it is sent, None if it cannot be one."""
    if net["six"] is None:
        return _sent_name(net["host"])
    try:
        address = ipaddress.IPv6Address(net["six"])
    except ValueError:
        return None
    return f"[{address.compressed}]" if address.ipv4_mapped is None else str(address.ipv4_mapped)


def _sent_name(host: str) -> str | None:
    """Return a name, or a dotted address, in ASCII; None if it cannot be one."""
    if _has_odd(host):
        return None
    try:
        name = (URL(f"//{host}").raw_host or "").lower().removesuffix(".")
    except ValueError:  # UnicodeError among them
        return None
    if not _HOST.fullmatch(name) or len(name) > 253:
        return None
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        # Resolvers take 127.1, 0x7f.1 and 2130706433 for addresses: one spelling is enough.
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            return None
    return name


def _has_odd(host: str) -> bool:
    """Tell whether a host holds what nobody sees, or what belongs to other parts of a url."""
    return any(c in "%@/?#\\" or unicodedata.category(c)[0] in "CZ" for c in host)

"""The addresses to which notifications may go: an allow-list of the unit's, and which networks may be met there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import SplitResult, urlsplit

Address = IPv4Address | IPv6Address

_NAT64: Final = IPv6Network("64:ff9b::/96")
_PLAIN: Final = re.compile(r"[!-~]+")
_ASTRAY: Final = re.compile(r"(^|/)(\.|%2e){1,2}(/|;|$)|%(2f|5c|25)", re.IGNORECASE)
"""What a server, or one in front of it, may take for a step to another folder."""

_PORTS: Final = {"https": 443, "http": 80}
NOT_LISTED: Final = "the address is not one of [fhir] subscription_endpoints"


@dataclass(frozen=True, slots=True)
class Place:
    """An address as it is compared: scheme, host, port and path."""

    scheme: str
    host: str
    port: int
    path: str

    def holds(self, other: Place) -> bool:
        """Whether another is this very place, or below it."""
        if (self.scheme, self.host, self.port) != (other.scheme, other.host, other.port):
            return False
        return other.path == self.path or other.path.startswith(self.path.rstrip("/") + "/")


class Endpoints:
    """The allow-list. ``entries``: URLs; what is below one is allowed too. ``private``: networks that may be met.

    An entry whose host is an address (``https://10.1.2.3/``) allows that address.
    """

    def __init__(self, entries: Iterable[str], private: Iterable[str] = ()) -> None:
        self._places = [place for entry in entries if (place := place_of(entry)) is not None]
        self._private = [ip_network(one) for one in private]
        self._named = {address for place in self._places if (address := address_of(place.host)) is not None}

    def refusal(self, url: str) -> str:
        """Return why nothing may be sent to an address, ``""`` when something may. No name is looked up."""
        place = place_of(url)
        if place is None:
            return "the address is no plain https URL"
        return "" if any(one.holds(place) for one in self._places) else NOT_LISTED

    def admits(self, address: str) -> bool:
        """Whether a connection to an IP address may be made: it is public, or the unit's configuration names it."""
        found = address_of(address)
        if found is None:
            return False
        return is_public(found) or found in self._named or any(found in network for network in self._private)


def place_of(url: str) -> Place | None:
    """Return where a URL leads; None where it is not one that is sent to: a name, a fragment, dots for a folder.

    >>> place_of("https://CTMS.example/a/b?x=1")
    Place(scheme='https', host='ctms.example', port=443, path='/a/b')
    >>> [place_of(url) for url in ("https://a@b/", "https://b/#c", "https://b/a/../c", "ftp://b/", "https://b:0/")]
    [None, None, None, None, None]
    """
    parts = _split(url)
    if parts is None or not parts.hostname or parts.scheme not in _PORTS:
        return None
    path = parts.path or "/"
    if parts.username is not None or "#" in url or "\\" in url or _ASTRAY.search(path):
        return None
    return Place(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme], path)


def _split(url: str) -> SplitResult | None:
    if not _PLAIN.fullmatch(url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    return None if port == 0 else parts


def address_of(text: str) -> Address | None:
    """Return the IP address that a text is, the one inside where another kind wraps it; None: it is none.

    >>> [str(address_of(text)) for text in ("::ffff:10.0.0.1", "64:ff9b::a00:1", "fe80::1%eth0", "edc.example")]
    ['10.0.0.1', '10.0.0.1', 'fe80::1', 'None']
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_public(address: Address) -> bool:
    """Say whether an address is one of the public Internet. What is tunnelled to somewhere else is none.

    >>> [is_public(ip_address(one)) for one in ("8.8.8.8", "10.0.0.1", "127.0.0.1", "169.254.169.254", "::1")]
    [True, False, False, False, False]
    """
    if isinstance(address, IPv6Address) and (address.sixtofour is not None or address.teredo is not None):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved

"""The one guard for outgoing HTTP to addresses that somebody else gave.

The URL is checked before the request; the address is checked where it cannot be argued with: on
the socket, after resolution, for each address the connection is about to go to. Whatever way an
address was spelled, and whatever DNS says the second time, nothing else is ever connected to.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from yarl import URL

from dripdrop.outgoing.reach import Reach, Unsendable

_GLOBAL_UNICAST = ip_network("2000::/3")  # RFC 4291 section 2.4
_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052 section 2.1
_NOT_PUBLIC = (
    ip_network("192.0.0.0/24"),  # RFC 6890 section 2.2.2, and Oracle's metadata at 192.0.0.192
    ip_network("192.88.99.0/24"),  # RFC 7526: once the way into 6to4
    ip_network("168.63.129.16/32"),  # Azure's own services, as seen by its machines
    ip_network("3fff::/20"),  # RFC 9637: documentation
)


_LONGEST_URL = 65536
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")  # of which a parser would silently drop some
_PLAIN = re.compile(
    r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]{2,45}\]|(?:[a-z0-9._-]|[^\x00-\x7f]){1,253})"
    r"(:[0-9]{1,5})?([/?#]|\Z)",
    re.IGNORECASE | re.ASCII,
)


class PrivateAddress(OSError):
    """A connection to an address that is not on the public internet was refused."""


def check_url(url: str, reach: Reach) -> URL:
    """Return the parsed URL, or raise `Unsendable` ("url_refused") without repeating it.

    It must be https (http where the reach allows it), name a host, and hold no user or password.
    What is checked here is what is connected to: nobody parses it again. The database reads the
    host as well, to know whose fault it is (`dripdrop._url_host`): what two parsers could read in
    two ways is refused.
    """
    try:
        if len(url) > _LONGEST_URL or _UNPRINTABLE.search(url):
            raise ValueError
        parsed = URL(url.replace(" ", "%20"))  # nowhere a plus, and nowhere stripped
    except (ValueError, LookupError, TypeError):
        raise Unsendable("url_refused", "the URL cannot be read") from None
    if parsed.scheme != "https" and not (reach.allow_http and parsed.scheme == "http"):
        raise Unsendable("url_refused", "the URL must be https")
    if not parsed.raw_host:
        raise Unsendable("url_refused", "the URL has no host")
    if "@" in parsed.raw_authority:
        raise Unsendable("url_refused", "the URL must not hold a user or password")
    if not _PLAIN.match(url):
        raise Unsendable("url_refused", "the URL's host cannot plainly be read")
    return parsed


def public_socket(address_info: tuple[Any, ...]) -> socket.socket:
    """Return a socket for one `getaddrinfo` entry, or raise `PrivateAddress`."""
    family, kind, protocol, _, address = address_info
    if not is_public(address[0]):
        raise PrivateAddress("the address is not public")
    return socket.socket(family, kind, protocol)


def is_public(text: str) -> bool:
    """Whether an IP address is on the public internet, also when IPv6 wraps an IPv4 address."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        wrapped = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            wrapped = IPv4Address(int(address) & 0xFFFFFFFF)
        if wrapped is None:
            return address in _GLOBAL_UNICAST and _is_global(address)
        address = wrapped
    return _is_global(address)


def _is_global(address: IPv4Address | IPv6Address) -> bool:
    special = address.is_multicast or any(address in network for network in _NOT_PUBLIC)
    return address.is_global and not special

"""What reverse proxies say about the client: believed only from addresses that are named as
proxies.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from msgspec import Struct

from tusserver.protocol.urls import is_host

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starlette.types import Scope

    from tusserver.protocol.errors import Header

EVERYBODY = "*"
UNIX_SOCKET = "unix"
LOOPBACK = ("127.0.0.0/8", "::1/128", UNIX_SOCKET)


class Client(Struct, frozen=True):
    """The client side of one request as far as it can be believed.

    `prefix` is a path that the proxy has taken off; `is_proxied` if there is a trusted one at all.
    """

    address: str
    scheme: str
    host: str
    prefix: str = ""
    is_proxied: bool = False


class TrustedProxies:
    """The addresses whose forwarding headers count: networks (`10.0.0.0/8`), single addresses,
    `unix` or `*`.
    """

    def __init__(self, addresses: Sequence[str] = ()) -> None:
        """Raises ValueError for something that is neither."""
        self._everybody = EVERYBODY in addresses
        self._unix = UNIX_SOCKET in addresses
        self._networks: list[IPv4Network | IPv6Network] = [
            ip_network(address, strict=False)
            for address in addresses
            if address not in (EVERYBODY, UNIX_SOCKET)
        ]

        self._trusts_somebody = bool(self._everybody or self._unix or self._networks)

    def __contains__(self, address: str) -> bool:
        """`address` of a peer; empty for one on a unix socket."""
        if self._everybody:
            return True
        if not address:
            return self._unix
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None)
        return any((mapped or parsed) in network for network in self._networks)

    def client(self, scope: Scope) -> Client:
        """The client of this request: as the connection shows it, or as trusted proxies tell it."""
        peer = scope.get("client")
        address: str = peer[0] if peer else ""
        if not self._trusts_somebody:
            hosts = [value for name, value in scope["headers"] if name == b"host"]
            host = hosts[0].decode("latin-1").strip(" \t") if len(hosts) == 1 else ""
            return Client(address, scope.get("scheme", "http"), host)
        values = _values(scope["headers"])
        direct = Client(address, scope.get("scheme", "http"), values.get(b"host", ""))
        return self._forwarded(direct, values) if address in self else direct

    def _forwarded(self, direct: Client, values: dict[bytes, str]) -> Client:
        # `Forwarded` is the standard (RFC 7239); the others are what most proxies send. Where
        # proxies stand in a row, the first element is what the outermost one saw, except for the
        # address, of which clients can send a faked start.
        elements = _parse_forwarded(values.get(b"forwarded", ""))
        first = elements[0] if elements else {}
        scheme = (first.get("proto") or _first(values.get(b"x-forwarded-proto", ""))).lower()
        host = first.get("host") or _first(values.get(b"x-forwarded-host", ""))
        prefix = _first(values.get(b"x-forwarded-prefix", "")).rstrip("/")
        # Most proxies add to `X-Forwarded-For` and let a `Forwarded` of the client pass.
        hops = values.get(b"x-forwarded-for", "").split(",")
        if hops == [""]:
            hops = [element.get("for", "") for element in elements]
        return Client(
            address=self._client_address(hops, direct.address),
            scheme=scheme if scheme in ("http", "https") else direct.scheme,
            host=host if is_host(host) else direct.host,
            prefix=prefix if _is_path(prefix) else "",
            is_proxied=True,
        )

    def _client_address(self, hops: list[str], peer: str) -> str:
        """The nearest hop that is not itself a trusted proxy; of one that is hidden, or no address,
        the proxy that tells of it.
        """
        nearest = peer
        for hop in reversed(hops):
            address = _address(hop)
            if not address:
                return nearest
            nearest = address
            if self._everybody or address not in self:
                return address
        return nearest


_NAMES = frozenset(
    {
        b"host",
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-forwarded-prefix",
    }
)
# Between commas, and between semicolons, but for those in quoted strings; an open quote goes on to
# the end.
_ELEMENT = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*"?)+')
_PAIR = re.compile(r'(?:[^";]|"(?:[^"\\]|\\.)*"?)+')
_NODE = re.compile(
    r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+)(?::[0-9]{1,5})?|([0-9A-Fa-f:.]+)", re.ASCII
)


def _values(headers: Iterable[Header]) -> dict[bytes, str]:
    """The fields that tell of proxies; several lines are one list (RFC 9110, section 5.3)."""
    values: dict[bytes, str] = {}
    for name, raw in headers:
        if name in _NAMES:
            value = raw.decode("latin-1").strip(" \t")
            values[name] = f"{values[name]},{value}" if name in values else value
    return values


def _address(hop: str) -> str:
    """The address of `for=` or of a hop of `X-Forwarded-For`, without port; empty if it has
    none.
    """
    match = _NODE.fullmatch(hop.strip(" \t").strip('"'))
    address = "" if match is None else next(filter(None, match.groups()))
    try:
        return str(ip_address(address))
    except ValueError:
        return ""


def _first(value: str) -> str:
    return value.partition(",")[0].strip().strip('"')


def _is_path(prefix: str) -> bool:
    return (
        prefix.startswith("/")
        and not prefix.startswith("//")
        and prefix.isascii()
        and prefix.isprintable()
    )


def _parse_forwarded(value: str) -> list[dict[str, str]]:
    """The elements of `Forwarded` with their parameters (RFC 7239, section 4)."""
    elements = []
    for element in _ELEMENT.findall(value):
        pairs = (pair.partition("=") for pair in _PAIR.findall(element))
        elements.append({name.strip().lower(): _unquoted(text) for name, _, text in pairs})
    return elements


def _unquoted(text: str) -> str:
    text = text.strip()
    if text[:1] != '"':
        return text
    return re.sub(r"\\(.)", r"\1", text.removeprefix('"').removesuffix('"'))

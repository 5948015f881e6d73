"""What reverse proxies say about the client: believed only from addresses that are named as
proxies.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from tusserver.protocol.urls import is_host

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starlette.types import Scope

    from tusserver.protocol.errors import Header

EVERYBODY = "*"
UNIX_SOCKET = "unix"
LOOPBACK = ("127.0.0.0/8", "::1/128", UNIX_SOCKET)


@dataclass(frozen=True, slots=True)
class Client:
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
        values = {
            name: value.decode("latin-1") for name, value in scope["headers"] if name in _NAMES
        }
        direct = Client(address, scope.get("scheme", "http"), values.get(b"host", ""))
        if address not in self:
            return direct
        return self._forwarded(direct, values, scope["headers"])

    def _forwarded(
        self, direct: Client, values: dict[bytes, str], headers: Iterable[Header]
    ) -> Client:
        # `Forwarded` is the standard (RFC 7239); the others are what most proxies send. Where
        # proxies stand in a row, the first element is what the outermost one saw, except for the
        # address, of which clients can send a faked start.
        forwarded = _parse_forwarded(values.get(b"forwarded", ""))
        scheme = _first(forwarded.get("proto", "") or values.get(b"x-forwarded-proto", "")).lower()
        host = _first(forwarded.get("host", "") or values.get(b"x-forwarded-host", ""))
        prefix = _first(values.get(b"x-forwarded-prefix", "")).rstrip("/")
        hops = [
            hop.strip()
            for name, value in headers
            if name == b"x-forwarded-for"
            for hop in value.decode("latin-1").split(",")
        ]
        return Client(
            address=self._client_address(hops, direct.address),
            scheme=scheme if scheme in ("http", "https") else direct.scheme,
            host=host if is_host(host) else direct.host,
            prefix=prefix if _is_path(prefix) else "",
            is_proxied=True,
        )

    def _client_address(self, hops: list[str], peer: str) -> str:
        """The nearest hop that is not itself a trusted proxy."""
        for hop in reversed(hops):
            if hop not in self or self._everybody:
                return hop or peer
        return hops[0] if hops and hops[0] else peer


_NAMES = frozenset(
    {b"host", b"forwarded", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-prefix"}
)


def _first(value: str) -> str:
    return value.partition(",")[0].strip().strip('"')


def _is_path(prefix: str) -> bool:
    return (
        prefix.startswith("/")
        and not prefix.startswith("//")
        and prefix.isascii()
        and prefix.isprintable()
    )


def _parse_forwarded(value: str) -> dict[str, str]:
    """The parameters of the first element of `Forwarded`."""
    pairs = (pair.partition("=") for pair in value.partition(",")[0].split(";"))
    return {
        name.strip().lower(): text.strip().strip('"')
        for name, separator, text in pairs
        if separator
    }

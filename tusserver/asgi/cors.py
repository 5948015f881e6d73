"""Cross-origin headers for browsers (Fetch standard, 'CORS protocol'), on every answer, refusals
included.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tusserver.protocol.errors import Header

ANY_ORIGIN = "*"

_METHODS = b"POST, HEAD, PATCH, DELETE, GET, OPTIONS"
_REQUEST_HEADERS = (
    "Authorization, Content-Type, Repr-Digest, Tus-Resumable, Upload-Checksum, Upload-Concat, "
    "Upload-Defer-Length, Upload-Length, Upload-Metadata, Upload-Offset, X-HTTP-Method-Override, "
    "X-Request-ID, X-Requested-With"
)
_EXPOSED_HEADERS = (
    b"Location, Tus-Checksum-Algorithm, Tus-Extension, Tus-Max-Size, Tus-Resumable, Tus-Version, "
    b"Upload-Concat, Upload-Defer-Length, Upload-Expires, Upload-Length, Upload-Metadata, "
    b"Upload-Offset, Upload-Place, Upload-Refused, Content-Disposition, ETag, Last-Modified, "
    b"Repr-Digest, Retry-After, WWW-Authenticate"
)
_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://(?:[a-z0-9._~-]+|\[[0-9a-f:.]+\])(?::[0-9]+)?")
_DEFAULT_PORT = re.compile(r"^(http://.*):80$|^(https://.*):443$")


@dataclass(frozen=True, slots=True)
class Cors:
    """Which origins may use this server from a browser.

    `origins` are exact origins (`https://app.example`), or patterns after a `~`, which must match
    the whole origin (`~https://[a-z]+\\.example`), or `*`. With `credentials` the browser may send
    cookies; then `*` is not allowed. `max_age` is how many seconds a browser may keep the answer to
    a preflight. Raises ValueError for what cannot be meant.
    """

    origins: Sequence[str] = (ANY_ORIGIN,)
    credentials: bool = False
    extra_headers: Sequence[str] = ()
    max_age: int = 86400
    _exact: frozenset[bytes] = field(init=False)
    _patterns: tuple[re.Pattern[str], ...] = field(init=False)
    _common: tuple[Header, ...] = field(init=False)
    _preflight: tuple[Header, ...] = field(init=False)

    def __post_init__(self) -> None:
        if self.credentials and ANY_ORIGIN in self.origins:
            raise ValueError("credentials are not allowed for every origin; name the origins")
        exact, patterns = [], []
        for origin in self.origins:
            if origin.startswith("~"):
                patterns.append(_pattern(origin[1:]))
            else:
                exact.append(_exact(origin))
        common = [(b"access-control-expose-headers", _EXPOSED_HEADERS)]
        if self.credentials:
            common.append((b"access-control-allow-credentials", b"true"))
        headers = ", ".join((_REQUEST_HEADERS, *self.extra_headers)).encode()
        preflight = (
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", headers),
            (b"access-control-max-age", b"%d" % self.max_age),
        )
        object.__setattr__(self, "_exact", frozenset(exact))
        object.__setattr__(self, "_patterns", tuple(patterns))
        object.__setattr__(self, "_common", tuple(common))
        object.__setattr__(self, "_preflight", preflight)

    def headers(self, method: str, request_headers: Iterable[Header]) -> tuple[Header, ...]:
        """What to add to the answer of this request; for an origin that is not allowed only that
        the answer varies.
        """
        origin, is_preflight = None, False
        for name, value in request_headers:
            if name == b"origin":
                origin = value
            elif name == b"access-control-request-method":
                is_preflight = method == "OPTIONS"
        vary = () if ANY_ORIGIN in self.origins else ((b"vary", b"Origin"),)
        if origin is None or not self._allows(origin):
            return vary
        allowed = b"*" if not vary else origin
        extra = self._preflight if is_preflight else ()
        return ((b"access-control-allow-origin", allowed), *vary, *self._common, *extra)

    def _allows(self, origin: bytes) -> bool:
        if b"*" in self._exact or origin.lower() in self._exact:
            return True
        text = origin.decode("latin-1")
        return any(pattern.fullmatch(text) for pattern in self._patterns)


def _exact(origin: str) -> bytes:
    """As browsers send it."""
    found = origin.lower().removesuffix("/")
    if origin != ANY_ORIGIN and not _ORIGIN.fullmatch(found):
        raise ValueError(
            f"{origin!r} is no origin; write scheme://host or scheme://host:port without a path, or"
            " a pattern after ~"
        )
    return _DEFAULT_PORT.sub(r"\1\2", found).encode()


def _pattern(expression: str) -> re.Pattern[str]:
    try:
        return re.compile(expression)
    except re.error as error:
        raise ValueError(f"{expression!r} is not a regular expression: {error}") from None

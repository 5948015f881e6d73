"""What this server offers, and the headers that announce it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tusserver.protocol.checksum import ALGORITHMS

if TYPE_CHECKING:
    from datetime import timedelta

    from tusserver.protocol.errors import Header

VERSION = "1.0.0"
TUS_RESUMABLE: Header = (b"tus-resumable", VERSION.encode())

CREATION = "creation"
CREATION_WITH_UPLOAD = "creation-with-upload"
CREATION_DEFER_LENGTH = "creation-defer-length"
EXPIRATION = "expiration"
CHECKSUM = "checksum"
CHECKSUM_TRAILER = "checksum-trailer"
TERMINATION = "termination"
CONCATENATION = "concatenation"
CONCATENATION_UNFINISHED = "concatenation-unfinished"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The extensions on offer with their limits; derived from what the store can do, never from a
    hand-written list.

    `max_size` bounds the length of an upload in bytes; `expires_after` is how long an unfinished
    upload is kept after its last byte. None means no bound. `download` says whether finished
    uploads may be fetched with GET, `verifies_digests` whether the digest of a whole file is
    compared with the one that its client gave.
    """

    extensions: frozenset[str]
    max_size: int | None = None
    expires_after: timedelta | None = None
    download: bool = True
    verifies_digests: bool = False

    def offers(self, extension: str) -> bool:
        """Whether this extension is advertised."""
        return extension in self.extensions

    def with_trailers(self) -> Capabilities:
        """The same on a connection whose server hands the trailers of a request to us."""
        if CHECKSUM not in self.extensions:
            return self
        return replace(self, extensions=self.extensions | {CHECKSUM_TRAILER})

    def headers(self) -> tuple[Header, ...]:
        """The `Tus-*` headers of an answer to OPTIONS (core protocol, 'OPTIONS')."""
        headers: list[Header] = [(b"tus-version", VERSION.encode())]
        if self.extensions:
            headers.append((b"tus-extension", ",".join(sorted(self.extensions)).encode()))
        if self.max_size is not None:
            headers.append((b"tus-max-size", b"%d" % self.max_size))
        if CHECKSUM in self.extensions:
            headers.append((b"tus-checksum-algorithm", ",".join(ALGORITHMS).encode()))
        return tuple(headers)

"""Upload-Checksum: which algorithms there are, a running digest of each, and the verdict (checksum
extension).
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import google_crc32c

from tusserver.protocol import grammar
from tusserver.protocol.errors import (
    Header,
    InvalidChecksum,
    MissingTrailer,
    RepeatedHeader,
    UnsupportedChecksumAlgorithm,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Buffer = bytes | bytearray | memoryview


class Digest(Protocol):
    """A digest that is fed buffer by buffer."""

    def update(self, data: Buffer, /) -> None: ...

    def digest(self) -> bytes: ...


class Crc32:
    """CRC-32 of ISO-HDLC, as zlib has it; its digest is the four bytes in big-endian order."""

    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: Buffer, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


class Crc32c:
    """CRC-32C (Castagnoli); its digest is the four bytes in big-endian order."""

    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: Buffer, /) -> None:
        # The library takes nothing but bytes.
        self._value = google_crc32c.extend(
            self._value, data if isinstance(data, bytes) else bytes(data)
        )

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


def _hashlib(name: str) -> Callable[[], Digest]:
    return lambda: hashlib.new(name, usedforsecurity=False)


_NEW: dict[str, Callable[[], Digest]] = {
    "sha1": _hashlib("sha1"),
    "md5": _hashlib("md5"),
    "sha256": _hashlib("sha256"),
    "sha384": _hashlib("sha384"),
    "sha512": _hashlib("sha512"),
    "crc32": Crc32,
    "crc32c": Crc32c,
}
ALGORITHMS = tuple(_NEW)
"""Names as announced in Tus-Checksum-Algorithm; `sha1` is the one that the protocol demands."""

_DIGEST_SIZE = {name: len(new().digest()) for name, new in _NEW.items()}


@dataclass(frozen=True, slots=True)
class Checksum:
    """What the bytes of one request must come to: an algorithm that is offered and a digest of its
    size.
    """

    algorithm: str
    expected: bytes

    def start(self) -> Digest:
        """A fresh running digest."""
        return _NEW[self.algorithm]()

    def matches(self, digest: Digest) -> bool:
        """The verdict over a digest that was fed all bytes of the request."""
        return digest.digest() == self.expected


def parse(value: str) -> Checksum:
    """The checksum of an `Upload-Checksum` header or trailer.

    Raises InvalidChecksum or UnsupportedChecksumAlgorithm, both 400 as the extension says.
    """
    try:
        algorithm, expected = grammar.parse_checksum(value)
    except ValueError as error:
        raise InvalidChecksum(str(error)) from None
    size = _DIGEST_SIZE.get(algorithm)
    if size is None:
        raise UnsupportedChecksumAlgorithm(f"this server knows {', '.join(ALGORITHMS)}")
    if len(expected) != size:
        raise InvalidChecksum(
            f"a digest of {algorithm} has {size} bytes, this one has {len(expected)}"
        )
    return Checksum(algorithm, expected)


def parse_trailer(trailers: Iterable[Header], *, is_announced: bool) -> Checksum | None:
    """The checksum among the trailer fields of a body; None if there is none (checksum-trailer
    extension).

    Raises MissingTrailer when one was announced and did not come, RepeatedHeader for two, and what
    `parse` raises.
    """
    values = [value for name, value in trailers if name.lower() == b"upload-checksum"]
    if not values:
        if is_announced:
            raise MissingTrailer
        return None
    if len(values) > 1:
        raise RepeatedHeader("the trailer Upload-Checksum stands there more than once")
    return parse(values[0].decode("latin-1").strip(" \t"))

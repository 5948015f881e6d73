"""The digest of a whole file that a client gives along: in the metadata, or as `Repr-Digest`
(RFC 9530, section 3).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tusserver.protocol import grammar

if TYPE_CHECKING:
    from tusserver.protocol.grammar import MetadataPairs

SIZES = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64}
"""The algorithms that are known here, by their names in hashlib, and the bytes of a digest."""
REGISTERED = {"sha-256": "sha256", "sha-512": "sha512", "sha": "sha1", "md5": "md5"}
"""Names of the IANA registry of RFC 9530 and those of hashlib."""
_MEMBER = re.compile(r"([a-z0-9-]+)=:([A-Za-z0-9+/=]*):", re.ASCII)

Digests = tuple[tuple[str, str], ...]
"""Algorithm, as hashlib names it, and digest in hexadecimal digits."""


def parse_header(value: str) -> Digests:
    """The digests in `Repr-Digest`; algorithms that are not known here are left out, as the RFC
    says. Raises ValueError.
    """
    found = []
    for item in filter(None, value.split(",")):
        match = _MEMBER.fullmatch(item.strip(" \t"))
        if match is None:
            raise ValueError("it is written as sha-256=:<Base64 of the digest>:")
        algorithm = REGISTERED.get(match[1])
        if algorithm is not None:
            found.append((algorithm, _sized(algorithm, grammar.decode_base64(match[2]))))
    return tuple(found)


def parse_metadata(pairs: MetadataPairs) -> Digests:
    """The digests among the metadata: keys that are names of algorithms (`sha256`, `sha-256`), with
    hexadecimal digits or Base64. Raises ValueError.
    """
    found = []
    for key, value in pairs:
        algorithm = REGISTERED.get(key.lower(), key.lower())
        if algorithm in SIZES:
            found.append((algorithm, _sized(algorithm, _decoded(algorithm, value))))
    return tuple(found)


def _decoded(algorithm: str, value: bytes) -> bytes:
    text = value.decode("ascii", "replace").strip()
    if len(text) == 2 * SIZES[algorithm]:
        return bytes.fromhex(text)
    return grammar.decode_base64(text)


def _sized(algorithm: str, digest: bytes) -> str:
    if len(digest) != SIZES[algorithm]:
        raise ValueError(f"a digest of {algorithm} has {SIZES[algorithm]} bytes")
    return digest.hex()

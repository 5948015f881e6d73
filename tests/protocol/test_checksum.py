"""Checksums: published vectors for every algorithm, any split of the bytes, what is refused."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusserver.protocol import checksum
from tusserver.protocol.checksum import ALGORITHMS, Checksum
from tusserver.protocol.errors import (
    InvalidChecksum,
    MissingTrailer,
    RepeatedHeader,
    UnsupportedChecksumAlgorithm,
)

# Of the nine bytes 123456789, from the publications of the algorithms.
VECTORS = {
    "md5": "25f9e794323b453885f5181f1b624d0b",
    "sha1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    "sha256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
    "sha384": "eb455d56d2c1a69de64e832011f3393d45f3fa31d6842f21af92d2fe469c499da5e3179847334a18"
    "479c8d1dedea1be3",
    "sha512": "d9e6762dd1c8eaf6d61b3c6192fc408d4d6d5f1176d0c29169bc24e71c3f274ad27fcd5811b313d6"
    "81f7e55ec02d73d499c95455b6b5bb503acf574fba8ffe85",
    "crc32": "cbf43926",
    "crc32c": "e3069283",
}


def test_every_announced_algorithm_has_a_vector() -> None:
    assert set(ALGORITHMS) == set(VECTORS)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_digests_are_the_published_ones(algorithm: str, kind: type) -> None:
    digest = Checksum(algorithm, b"").start()
    for piece in (b"1", b"", b"2345", b"6789"):
        digest.update(kind(piece))
    assert digest.digest().hex() == VECTORS[algorithm]


@given(st.sampled_from(ALGORITHMS), st.lists(st.binary(max_size=50), max_size=6))
def test_the_split_of_the_bytes_does_not_matter(algorithm: str, pieces: list[bytes]) -> None:
    whole, split = Checksum(algorithm, b"").start(), Checksum(algorithm, b"").start()
    whole.update(b"".join(pieces))
    for piece in pieces:
        split.update(piece)
    assert whole.digest() == split.digest()
    assert Checksum(algorithm, whole.digest()).matches(split)
    assert not Checksum(algorithm, b"\0" + whole.digest()[1:] + b"x").matches(split)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_header_with_a_digest_of_its_size_is_read(algorithm: str) -> None:
    digest = bytes.fromhex(VECTORS[algorithm])
    header = f"{algorithm} {base64.b64encode(digest).decode()}"
    assert checksum.parse(header) == Checksum(algorithm, digest)


@pytest.mark.parametrize("name", ["foo123", "SHA1", "Sha1", "sha-1", "crc64"])
def test_unknown_algorithms_are_named_with_the_known_ones(name: str) -> None:
    with pytest.raises(UnsupportedChecksumAlgorithm, match="sha1, md5"):
        checksum.parse(f"{name} AAAA")


@pytest.mark.parametrize("header", ["sha1", "sha1 AAAA", "sha1 ???", "crc32 AAAAAAA=", ""])
def test_malformed_headers_and_wrong_sizes_are_refused(header: str) -> None:
    with pytest.raises(InvalidChecksum):
        checksum.parse(header)


RIGHT = "crc32 y/Q5Jg=="


def test_the_trailer_is_found_whatever_its_case() -> None:
    trailers = [(b"x-foo", b"1"), (b"Upload-Checksum", RIGHT.encode())]
    assert checksum.parse_trailer(trailers, is_announced=False) == checksum.parse(RIGHT)


def test_without_a_trailer_it_depends_on_the_announcement() -> None:
    assert checksum.parse_trailer([], is_announced=False) is None
    with pytest.raises(MissingTrailer):
        checksum.parse_trailer([(b"x-foo", b"1")], is_announced=True)


def test_two_trailers_are_refused() -> None:
    with pytest.raises(RepeatedHeader):
        checksum.parse_trailer([(b"upload-checksum", RIGHT.encode())] * 2, is_announced=True)

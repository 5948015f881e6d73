"""CHK: bytes that are kept only if they match their digest (checksum)."""

from __future__ import annotations

import os
import re
import socket
from base64 import b64encode
from functools import partial
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.spec_ids import spec
from tests.tus import Tus, chunked_headers, eventually, patch_headers
from tests.wire import chunked, head
from tusserver.events.base import Event, UploadFinished

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Serve
    from tests.wire import Wire

HELLO = "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="
"""Of 'hello world', as the specification has it."""
DIGITS = b"123456789"
"""What the check values of digests are told of; those below are not computed by what is tested."""
DIGESTS = {
    "sha1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    "md5": "25f9e794323b453885f5181f1b624d0b",
    "sha256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
    "sha384": "eb455d56d2c1a69de64e832011f3393d45f3fa31d6842f21af92d2fe469c499d"
    "a5e3179847334a18479c8d1dedea1be3",
    "sha512": "d9e6762dd1c8eaf6d61b3c6192fc408d4d6d5f1176d0c29169bc24e71c3f274a"
    "d27fcd5811b313d681f7e55ec02d73d499c95455b6b5bb503acf574fba8ffe85",
    "crc32": "cbf43926",
    "crc32c": "e3069283",
}
UNKNOWN_ALGORITHM = "foo123 AAAA"


def value_of(algorithm: str, digest: bytes) -> str:
    return f"{algorithm} {b64encode(digest).decode()}"


def sha1_of(data: bytes) -> str:
    return value_of("sha1", sha1(data).digest())


def pattern(size: int) -> bytes:
    """Bytes that no shift by a buffer maps onto themselves."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def patch(tus: Tus, url: str, offset: int, data: bytes, checksum: str) -> int:
    return tus.pa(url, offset, data, {"Upload-Checksum": checksum}).status


def size_of(upload_dir: Path, url: str) -> int:
    """How many bytes of an upload are on the disk, verified or not."""
    return (upload_dir / url.rpartition("/")[2]).stat().st_size


def is_tidy(upload_dir: Path, url: str) -> bool:
    """Data and record are there, and nothing else of this upload anywhere."""
    upload_id = url.rpartition("/")[2]
    names = [name for _, _, files in os.walk(upload_dir) for name in files if upload_id in name]
    return sorted(names) == [upload_id, f"{upload_id}.info"]


def has_bytes(upload_dir: Path, url: str, size: int) -> bool:
    return size_of(upload_dir, url) >= size


def assert_stored(upload_dir: Path, url: str, size: int) -> None:
    """There are just these bytes, and nothing besides that would stay."""
    assert size_of(upload_dir, url) == size
    # A record may be replaced, with a temporary file, at any moment by a background sync.
    eventually(partial(is_tidy, upload_dir, url))
    assert size_of(upload_dir, url) == size


@spec("CHK-01", "CHK-02", "CHK-03", "CHK-04")
def test_checksums_are_announced_with_their_algorithms(tus: Tus) -> None:
    answer = tus.options()
    assert "checksum" in answer["Tus-Extension"].split(",")
    names = answer["Tus-Checksum-Algorithm"].split(",")
    # So that no algorithm is offered that the table of digests does not test.
    assert sorted(names) == sorted(DIGESTS)
    for name in names:
        assert re.fullmatch(r"[!-+\--@\[-~]+", name)


@spec("CHK-05", "CHK-07", "CHK-08")
@pytest.mark.parametrize("length", [11, 20])
def test_bytes_that_match_their_sha1_are_taken(tus: Tus, length: int) -> None:
    url = tus.mk(length)
    answer = tus.pa(url, 0, b"hello world", {"Upload-Checksum": HELLO})
    assert (answer.status, answer["Upload-Offset"]) == (204, "11")
    tail = b"x" * (length - 11)
    tus.assert_intact(url, 11, tail)
    assert tus.content(url) == b"hello world" + tail


@spec("CHK-02", "CHK-08", "CHK-09")
@pytest.mark.parametrize("position", [0, 5, 10])
@pytest.mark.parametrize("bit", [0, 7])
def test_one_flipped_bit_is_noticed(tus: Tus, position: int, bit: int) -> None:
    url = tus.mk(11)
    damaged = bytearray(b"hello world")
    damaged[position] ^= 1 << bit
    answer = tus.pa(url, 0, bytes(damaged), {"Upload-Checksum": HELLO})
    assert answer.status == 460
    assert answer["Tus-Resumable"] == "1.0.0"
    tus.assert_intact(url, 0, b"hello world")
    assert tus.content(url) == b"hello world"


@spec("CHK-08")
def test_a_digest_is_over_the_bytes_of_its_request_alone(tus: Tus) -> None:
    url = tus.mk(11)
    assert patch(tus, url, 0, b"hello", sha1_of(b"hello")) == 204
    assert patch(tus, url, 5, b" world", HELLO) == 460
    assert patch(tus, url, 5, b" world", sha1_of(b" world")) == 204
    assert tus.content(url) == b"hello world"


@spec("CHK-10", "CHK-14")
@pytest.mark.parametrize(
    "checksum",
    [
        pytest.param(UNKNOWN_ALGORITHM, id="unknown"),
        pytest.param(HELLO.replace("sha1", "SHA1"), id="upper-case"),
        pytest.param(HELLO.replace("sha1", "Sha1"), id="mixed-case"),
        pytest.param(HELLO.replace("sha1", "sha-1"), id="hyphen"),
        pytest.param("SHA1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=", id="upper-case-and-wrong"),
        pytest.param("sha224 L3dNj5Mx+6YLfIPM0GoJpQBWHBOYFRXkMF3QGw==", id="not-offered"),
    ],
)
def test_an_algorithm_that_is_not_offered_is_refused(tus: Tus, checksum: str) -> None:
    url = tus.mk(11)
    assert patch(tus, url, 0, b"hello world", checksum) == 400
    tus.assert_intact(url, 0, b"hello world")


@pytest.mark.directory
@spec("CHK-11")
@pytest.mark.parametrize("size", [1, 64 * 1024, 8 * 1024 * 1024], ids=["1B", "64KiB", "8MiB"])
@pytest.mark.parametrize("offset", [0, 5])
@pytest.mark.parametrize("framing", ["announced", "chunked"])
def test_refused_bytes_are_thrown_away(
    shared_server: tuple[Tus, Path], size: int, offset: int, framing: str
) -> None:
    tus, upload_dir = shared_server
    data = pattern(offset + size)
    url = tus.mk(len(data))
    assert tus.pa(url, 0, data[:offset]).status == 204
    body = data[offset:]
    wrong = body[:-1] + bytes([body[-1] ^ 1])
    for checksum, status in ((sha1_of(body), 460), (UNKNOWN_ALGORITHM, 400)):
        headers = {"Upload-Checksum": checksum}
        if framing == "announced":
            answer = tus.pa(url, offset, wrong, headers)
        else:
            answer = tus.request("PATCH", url, chunked_headers(offset, headers), chunked(wrong))
        assert answer.status == status
        assert tus.off(url) == offset
        assert_stored(upload_dir, url, offset)
    assert patch(tus, url, offset, body, sha1_of(body)) == 204
    assert_stored(upload_dir, url, len(data))
    assert tus.content(url) == data


@pytest.mark.directory
@spec("CHK-11")
def test_many_refusals_in_a_row_leave_no_trace(shared_server: tuple[Tus, Path]) -> None:
    tus, upload_dir = shared_server
    url = tus.mk(11)
    with tus.wire() as wire:
        for data in (b"hello worl", b"hello worlD", b"", b"x", b"Hello world") * 4:
            headers = patch_headers(0, len(data), {"Upload-Checksum": HELLO})
            assert wire.request("PATCH", url, headers, data).status == 460
            assert_stored(upload_dir, url, 0)
        headers = patch_headers(0, 11, {"Upload-Checksum": HELLO})
        assert wire.request("PATCH", url, headers, b"hello world").status == 204
    assert tus.content(url) == b"hello world"


@spec("CHK-07", "CHK-12")
@pytest.mark.parametrize(
    "checksum",
    [
        pytest.param("sha1", id="no-digest"),
        pytest.param("sha1 ", id="empty-digest"),
        pytest.param(" Kq5sNclPz7QV2+lfQIuc6R7oRu0=", id="no-algorithm"),
        pytest.param("sha1 ???", id="no-base64"),
        pytest.param("sha1 AAAA", id="too-short"),
        pytest.param("sha1 " + "A" * 28, id="21-bytes"),
        pytest.param("sha1 =", id="padding-alone"),
        pytest.param("sha1  Kq5sNclPz7QV2+lfQIuc6R7oRu0=", id="two-blanks"),
        pytest.param("sha1\tKq5sNclPz7QV2+lfQIuc6R7oRu0=", id="tab"),
        pytest.param("sha1=Kq5sNclPz7QV2+lfQIuc6R7oRu0=", id="equals-sign"),
        pytest.param("sha1:Kq5sNclPz7QV2+lfQIuc6R7oRu0=", id="colon"),
        pytest.param("", id="empty"),
        pytest.param(f"{HELLO} x", id="something-behind"),
        pytest.param(f"{HELLO},md5 XrY7u+Ae7tCTyyK7j1rNww==", id="list"),
        pytest.param("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0", id="no-padding"),
        pytest.param("sha1 Kq5sNclPz7QV2-lfQIuc6R7oRu0=", id="url-alphabet"),
        pytest.param("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=====", id="more-padding"),
        pytest.param("sha1 2aae6c35c94fcfb415dbe95f408b9ce91ee846ed", id="hexadecimal"),
        pytest.param("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0\xff=", id="latin-1"),
    ],
)
def test_a_malformed_checksum_is_refused(tus: Tus, checksum: str) -> None:
    url = tus.mk(11)
    assert patch(tus, url, 0, b"hello world", checksum) == 400
    tus.assert_intact(url, 0, b"hello world")


@spec("CHK-12")
@pytest.mark.parametrize("second", [HELLO, "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=", ""])
def test_two_checksums_are_refused(tus: Tus, second: str) -> None:
    url = tus.mk(11)
    lines = [*patch_headers(0, 11).items(), ("Upload-Checksum", HELLO), ("Upload-Checksum", second)]
    assert tus.request("PATCH", url, lines, b"hello world").status == 400
    tus.assert_intact(url, 0, b"hello world")


@spec("CHK-13")
@pytest.mark.parametrize("algorithm", DIGESTS)
def test_every_algorithm_works(tus: Tus, algorithm: str) -> None:
    digest = bytes.fromhex(DIGESTS[algorithm])
    url = tus.mk(18)
    for offset in (0, 9):
        wrong = digest[:-1] + bytes([digest[-1] ^ 0x80])
        # The digest is in the order of bytes in which it is written, most significant first.
        for other in (wrong, digest[::-1], bytes(len(digest))):
            assert patch(tus, url, offset, DIGITS, value_of(algorithm, other)) == 460
        for other in (digest[:-1], digest + b"\0"):
            assert patch(tus, url, offset, DIGITS, value_of(algorithm, other)) == 400
        assert patch(tus, url, offset, DIGITS, value_of(algorithm, digest)) == 204
    assert tus.content(url) == DIGITS * 2


def closed(tus: Tus, url: str, wire: Wire) -> None:
    wire.close()


def reset(tus: Tus, url: str, wire: Wire) -> None:
    wire.reset()


def half_closed(tus: Tus, url: str, wire: Wire) -> None:
    wire.socket.shutdown(socket.SHUT_WR)


def taken_over(tus: Tus, url: str, wire: Wire) -> None:
    assert tus.pa(url, 0, b"").status == 204
    assert wire.answer("PATCH").status == 423


@pytest.mark.directory
@spec("CHK-11", "CHK-15")
@pytest.mark.parametrize(
    "cut", [closed, reset, half_closed, taken_over], ids=lambda cut: cut.__name__
)
@pytest.mark.parametrize("size", [10, 3 * 1024 * 1024])
def test_bytes_of_a_request_that_was_cut_short_are_thrown_away(
    shared_server: tuple[Tus, Path], size: int, cut: Callable[[Tus, str, Wire], None]
) -> None:
    tus, upload_dir = shared_server
    data = pattern(size)
    url = tus.mk(size)
    with tus.begin_patch(url, 0, size, {"Upload-Checksum": sha1_of(data)}) as wire:
        wire.send(data[: size // 2])
        eventually(lambda: size_of(upload_dir, url) > 0)
        cut(tus, url, wire)
        eventually(lambda: size_of(upload_dir, url) == 0)
        assert_stored(upload_dir, url, 0)
        assert tus.off(url) == 0
    assert patch(tus, url, 0, data, sha1_of(data)) == 204
    assert tus.content(url) == data


@pytest.mark.directory
@spec("CHK-15")
def test_of_a_chunked_body_without_its_end_nothing_is_kept(
    shared_server: tuple[Tus, Path],
) -> None:
    tus, upload_dir = shared_server
    url = tus.mk(11)
    with tus.wire() as wire:
        # All the bytes that the digest is of; only that they are all has not been said.
        headers = chunked_headers(0, {"Upload-Checksum": HELLO})
        wire.send(head("PATCH", url, headers) + chunked(b"hello world", end=False))
        eventually(lambda: size_of(upload_dir, url) == 11)
    eventually(lambda: size_of(upload_dir, url) == 0)
    assert_stored(upload_dir, url, 0)
    tus.assert_intact(url, 0, b"hello world")


@spec("CHK-16")
@pytest.mark.parametrize("offset", [0, 5, 11])
def test_no_bytes_have_a_digest_too(tus: Tus, offset: int) -> None:
    url = tus.mk(11)
    assert tus.pa(url, 0, b"hello world"[:offset]).status == 204
    nothing = "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk="
    assert patch(tus, url, offset, b"", HELLO) == 460
    assert patch(tus, url, offset, b"", nothing) == 204
    headers = chunked_headers(offset, {"Upload-Checksum": nothing})
    assert tus.request("PATCH", url, headers, chunked()).status == 204
    tus.assert_intact(url, offset, b"hello world"[offset:])
    assert tus.content(url) == b"hello world"


@spec("CHK-17")
@pytest.mark.parametrize("pieces", [(b"hello world",), (b"hello", b" ", b"world")])
def test_a_chunked_body_may_have_its_digest_in_the_header(
    tus: Tus, pieces: tuple[bytes, ...]
) -> None:
    url = tus.mk(11)
    wrong = chunked_headers(0, {"Upload-Checksum": sha1_of(b"hello worlD")})
    assert tus.request("PATCH", url, wrong, chunked(*pieces)).status == 460
    assert tus.off(url) == 0
    right = chunked_headers(0, {"Upload-Checksum": HELLO})
    assert tus.request("PATCH", url, right, chunked(*pieces)).status == 204
    assert tus.content(url) == b"hello world"


@spec("CHK-08", "CHK-11")
def test_a_digest_of_the_bytes_that_fit_does_not_save_a_body_that_is_too_long(tus: Tus) -> None:
    url = tus.mk(11)
    headers = chunked_headers(0, {"Upload-Checksum": HELLO})
    answer = tus.request("PATCH", url, headers, chunked(b"hello world", b"!"))
    assert answer.status == 413
    tus.assert_intact(url, 0, b"other bytes")
    assert tus.content(url) == b"other bytes"


@spec("CHK-18")
def test_a_wrong_last_chunk_completes_nothing(serve: Serve) -> None:
    events: list[Event] = []
    tus = serve(events=events)
    url = tus.mk(11)
    assert tus.pa(url, 0, b"hello").status == 204
    assert patch(tus, url, 5, b" worlD", sha1_of(b" world")) == 460
    assert tus.off(url) == 5
    assert tus.get(url).status == 404
    assert not [event for event in events if isinstance(event, UploadFinished)]
    assert patch(tus, url, 5, b" world", sha1_of(b" world")) == 204
    assert tus.content(url) == b"hello world"
    assert len([event for event in events if isinstance(event, UploadFinished)]) == 1


@spec("CHK-19")
@pytest.mark.parametrize(
    ("checksum", "status"),
    [(sha1_of(b"Hello"), 460), (UNKNOWN_ALGORITHM, 400), ("sha1 ???", 400)],
    ids=["mismatch", "unknown-algorithm", "malformed"],
)
def test_refused_bytes_declare_no_length(tus: Tus, checksum: str, status: int) -> None:
    url = tus.mk(None)
    for framing in ("announced", "chunked"):
        headers = {"Upload-Length": "5", "Upload-Checksum": checksum}
        if framing == "announced":
            answer = tus.pa(url, 0, b"hello", headers)
        else:
            answer = tus.request("PATCH", url, chunked_headers(0, headers), chunked(b"hello"))
        assert answer.status == status
        seen = tus.hd(url)
        assert (seen.get("Upload-Length"), seen["Upload-Defer-Length"]) == (None, "1")
        assert seen["Upload-Offset"] == "0"
    headers = {"Upload-Length": "6", "Upload-Checksum": sha1_of(b"hello!")}
    assert tus.pa(url, 0, b"hello!", headers).status == 204
    assert tus.hd(url)["Upload-Length"] == "6"


@spec("CHK-20")
@pytest.mark.parametrize("offset", [0, 4, 6, 11])
@pytest.mark.parametrize("checksum", [HELLO, sha1_of(b" world")], ids=["wrong", "right"])
def test_the_offset_is_judged_before_the_digest(tus: Tus, offset: int, checksum: str) -> None:
    url = tus.mk(11)
    assert tus.pa(url, 0, b"hello").status == 204
    answer = tus.pa(url, offset, b" world"[: 11 - offset], {"Upload-Checksum": checksum})
    assert (answer.status, answer["Upload-Offset"]) == (409, "5")
    tus.assert_intact(url, 5, b" world")


@pytest.mark.directory
@spec("CHK-21")
@pytest.mark.parametrize("ends_well", [True, False], ids=["match", "mismatch"])
def test_head_shows_no_unverified_bytes(
    shared_server: tuple[Tus, Path], *, ends_well: bool
) -> None:
    tus, upload_dir = shared_server
    data = pattern(2 * 1024 * 1024)
    url = tus.mk(len(data) + 5)
    assert tus.pa(url, 0, b"first").status == 204
    checksum = sha1_of(data if ends_well else data + b"!")
    with tus.begin_patch(url, 5, len(data), {"Upload-Checksum": checksum}) as wire:
        for start in range(0, len(data), 512 * 1024):
            eventually(partial(has_bytes, upload_dir, url, 5 + start))
            assert tus.off(url) == 5
            assert tus.get(url).status == 404
            wire.send(data[start : start + 512 * 1024])
        assert wire.answer("PATCH").status == (204 if ends_well else 460)
    assert tus.off(url) == (len(data) + 5 if ends_well else 5)


@spec("CHK-21")
def test_head_never_shows_bytes_that_are_refused_a_moment_later(tus: Tus) -> None:
    url = tus.mk(1024)
    wrong = patch_headers(0, 1024, {"Upload-Checksum": HELLO})
    with tus.wire() as writer, tus.wire() as reader:
        for _ in range(100):
            writer.send(head("PATCH", url, wrong) + b"x" * 1024)
            for _ in range(3):
                answer = reader.request("HEAD", url, {"Tus-Resumable": "1.0.0"})
                assert (answer.status, answer["Upload-Offset"]) == (200, "0")
            assert writer.answer("PATCH").status == 460

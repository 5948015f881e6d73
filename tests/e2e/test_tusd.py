"""One directory for tusd and for us: what either began, the other serves and finishes, and back."""

from __future__ import annotations

import base64
import hashlib
import os
import random
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.tusd import tusd, tusd_binary
from tests.servers import serving
from tests.tus import Tus

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.wire import Answer

# The first test may have to build tusd.
pytestmark = pytest.mark.timeout(900)

SIZE = 3 * 1024 * 1024 + 17
BINARY = b"\xff\x00\xfe\x80"
METADATA = {"filename": "Übergröße ☃ \u202e.tar.gz".encode(), "empty": b"", "blob": BINARY}
# tusd keeps metadata as text: what is no UTF-8 is lost in its own record already.
AS_TEXT = {key: value.decode("utf-8", "replace").encode() for key, value in METADATA.items()}
PARTIAL = {"Upload-Concat": "partial"}


@dataclass(frozen=True)
class Place:
    """One directory, served by either in turn."""

    upload_dir: Path
    binary: Path

    def tusd(self) -> AbstractContextManager[Tus]:
        return tusd(self.binary, self.upload_dir)

    def ours(self, sync: str = "finish", fan_out: int = 0) -> AbstractContextManager[Tus]:
        return serving(self.upload_dir, sync=sync, fan_out=fan_out)

    def names(self) -> set[str]:
        return set(os.listdir(self.upload_dir)) - {".tusserver"}


@pytest.fixture(scope="module")
def binary() -> Path:
    return tusd_binary()


@pytest.fixture
def place(tmp_path: Path, binary: Path) -> Place:
    upload_dir = tmp_path / "uploads"
    upload_dir.mkdir()
    return Place(upload_dir, binary)


def noise(seed: str, size: int = SIZE) -> bytes:
    return random.Random(seed).randbytes(size)


def formatted(metadata: dict[str, bytes]) -> str:
    return ",".join(f"{key} {base64.b64encode(value).decode()}" for key, value in metadata.items())


def metadata_of(answer: Answer) -> dict[str, bytes]:
    pairs = [pair.strip().partition(" ") for pair in answer["Upload-Metadata"].split(",")]
    return {key: base64.b64decode(value) for key, _, value in pairs}


def id_of(url: str) -> str:
    return url.rpartition("/")[2]


def with_checksum(data: bytes) -> dict[str, str]:
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    return {"Upload-Checksum": f"sha256 {digest}"}


@dataclass(frozen=True)
class Kind:
    """A way in which an upload comes into being."""

    length: int | None = SIZE
    headers: dict[str, str] = field(default_factory=dict)

    def create(self, tus: Tus) -> str:
        return tus.mk(self.length, {"Upload-Metadata": formatted(METADATA), **self.headers})

    def declaration(self) -> dict[str, str]:
        """What the last PATCH has to say about the length."""
        return {"Upload-Length": str(SIZE)} if self.length is None else {}

    def assert_stands(self, answer: Answer, offset: int) -> None:
        assert answer.status == 200, answer
        assert answer["Upload-Offset"] == str(offset)
        if self.length is None:
            assert answer["Upload-Defer-Length"] == "1"
            assert answer.get("Upload-Length") is None
        else:
            assert answer["Upload-Length"] == str(SIZE)
        assert answer.get("Upload-Concat") == self.headers.get("Upload-Concat")


KINDS = {
    "regular": Kind(),
    "deferred": Kind(length=None),
    "partial": Kind(headers=PARTIAL),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


def append(tus: Tus, url: str, data: bytes, offset: int, headers: dict[str, str]) -> None:
    answer = tus.pa(url, offset, data, headers)
    assert answer.status == 204, answer
    assert answer["Upload-Offset"] == str(offset + len(data))


@every_kind
def test_an_upload_that_tusd_began_is_finished_by_us(place: Place, kind: Kind) -> None:
    data = noise("begun by tusd")
    with place.tusd() as tus:
        url = kind.create(tus)
        append(tus, url, data[:1_000_003], 0, {})
    with place.ours() as tus:
        answer = tus.hd(url)
        kind.assert_stands(answer, 1_000_003)
        assert metadata_of(answer) == AS_TEXT
        rest = data[1_000_003:]
        append(tus, url, rest, 1_000_003, {**kind.declaration(), **with_checksum(rest)})
        assert tus.content(url) == data
        assert metadata_of(tus.hd(url)) == AS_TEXT


@every_kind
def test_an_upload_that_tusd_created_without_a_byte_is_finished_by_us(
    place: Place, kind: Kind
) -> None:
    data = noise("created by tusd")
    with place.tusd() as tus:
        url = kind.create(tus)
    with place.ours() as tus:
        kind.assert_stands(tus.hd(url), 0)
        append(tus, url, data, 0, kind.declaration())
        assert tus.content(url) == data


@every_kind
@pytest.mark.parametrize("sync", ["none", "finish", "patch"])
def test_an_upload_that_we_began_is_finished_by_tusd_and_served_by_us(
    place: Place, kind: Kind, sync: str
) -> None:
    data = noise("begun by us")
    with place.ours(sync=sync) as tus:
        url = kind.create(tus)
        append(tus, url, data[:500], 0, {})
        append(tus, url, data[500:1_000_003], 500, with_checksum(data[500:1_000_003]))
        assert tus.pa(url, 1_000_003, b"wrong", with_checksum(b"right")).status == 460
    with place.tusd() as tus:
        answer = tus.hd(url)
        kind.assert_stands(answer, 1_000_003)
        assert metadata_of(answer) == AS_TEXT
        append(tus, url, data[1_000_003:], 1_000_003, kind.declaration())
        assert tus.content(url) == data
    with place.ours(sync=sync) as tus:
        answer = tus.hd(url)
        assert answer["Upload-Offset"] == answer["Upload-Length"] == str(SIZE)
        # Declaring the length made tusd write the record anew, without what it does not know.
        assert metadata_of(answer) == (AS_TEXT if kind.length is None else METADATA)
        assert tus.content(url) == data


@every_kind
def test_an_upload_that_changes_hands_with_each_patch(place: Place, kind: Kind) -> None:
    data = noise("to and fro")
    cuts = [0, 700_001, 1_400_002, 2_100_003, 2_800_004]
    pieces = [data[start:end] for start, end in zip(cuts, [*cuts[1:], SIZE], strict=True)]
    with place.ours() as tus:
        url = kind.create(tus)
    servers: list[Callable[[], AbstractContextManager[Tus]]] = [place.tusd, place.ours]
    for number, (offset, piece) in enumerate(zip(cuts, pieces, strict=True)):
        with servers[number % 2]() as tus:
            kind.assert_stands(tus.hd(url), offset)
            is_last = number == len(cuts) - 1
            append(tus, url, piece, offset, kind.declaration() if is_last else {})
    with place.ours() as tus:
        assert tus.content(url) == data


def test_what_tusd_finished_is_served_by_us(place: Place) -> None:
    first, second = noise("first"), noise("second", 5)
    with place.tusd() as tus:
        url = tus.made(first, {"Upload-Metadata": formatted(METADATA)})
        empty = tus.mk(0)
        partials = [tus.made(data, PARTIAL) for data in (first, second)]
        answer = tus.post({"Upload-Concat": f"final;{' '.join(partials)}"})
        final = tus.location(answer)
    with place.ours() as tus:
        assert tus.content(url) == first
        assert metadata_of(tus.hd(url)) == AS_TEXT
        assert tus.content(empty) == b""
        assert tus.content(final) == first + second
        answer = tus.hd(final)
        assert answer["Upload-Concat"] == f"final;{' '.join(partials)}"
        assert answer["Upload-Offset"] == str(SIZE + 5)
        assert tus.pa(final, SIZE + 5, b"").status == 403


def test_what_we_finished_is_served_by_tusd_and_again_by_us(place: Place) -> None:
    first, second = noise("first"), noise("second", 5)
    with place.ours() as tus:
        url = tus.made(first, {"Upload-Metadata": formatted(METADATA), **with_checksum(b"")})
        empty = tus.mk(0)
        partials = [tus.made(data, PARTIAL) for data in (first, second)]
        concat = f"final;{' '.join(partials)}"
        final = tus.location(tus.post({"Upload-Concat": concat}))
    with place.tusd() as tus:
        assert tus.content(url) == first
        assert metadata_of(tus.hd(url)) == AS_TEXT
        assert tus.content(empty) == b""
        assert tus.content(final) == first + second
        answer = tus.hd(final)
        assert [id_of(part) for part in answer["Upload-Concat"].split(" ")] == [
            id_of(part) for part in partials
        ]
    with place.ours() as tus:
        assert tus.content(url) == first
        assert metadata_of(tus.hd(url)) == METADATA
        assert tus.content(final) == first + second
        assert tus.hd(final)["Upload-Concat"] == concat


@pytest.mark.parametrize("joined_by_us", [True, False], ids=["joined by us", "joined by tusd"])
def test_partials_of_both_are_joined(place: Place, joined_by_us: bool) -> None:
    first, second = noise("first"), noise("second", 70_000)
    with place.tusd() as tus:
        one = tus.made(first, PARTIAL)
    with place.ours() as tus:
        other = tus.mk(len(second), PARTIAL)
        append(tus, other, second, 0, with_checksum(second))
    with place.ours() if joined_by_us else place.tusd() as tus:
        # tusd takes only what contains its own base path.
        answer = tus.post({"Upload-Concat": f"final;{one} {other}"})
        assert answer.status == 201, answer
        final = tus.location(answer)
    for server in (place.tusd, place.ours):
        with server() as tus:
            assert tus.content(final) == first + second


@pytest.mark.parametrize("made_by_us", [True, False], ids=["made by us", "made by tusd"])
def test_either_removes_what_the_other_made(place: Place, made_by_us: bool) -> None:
    servers = [place.ours, place.tusd] if made_by_us else [place.tusd, place.ours]
    with servers[0]() as tus:
        finished, unfinished = tus.made(b"abc"), tus.mk(10)
        append(tus, unfinished, b"abc", 0, {})
    with servers[1]() as tus:
        for url in (finished, unfinished):
            assert tus.delete(url).status == 204
            assert tus.hd(url).status == 404
    assert place.names() == set()


@pytest.mark.parametrize("fan_out", [1, 2])
def test_what_we_fanned_out_goes_on_with_tusd_and_comes_back(place: Place, fan_out: int) -> None:
    data, parts = noise("fanned out"), [noise("first", 5), noise("second", 7)]
    with place.ours(fan_out=fan_out) as tus:
        url, gone = tus.mk(SIZE), tus.made(b"abc")
        append(tus, url, data[:1_000_003], 0, {})
        partials = [tus.made(part, PARTIAL) for part in parts]
        assert url.count("/") == 2 + fan_out
    with place.tusd() as tus:
        append(tus, url, data[1_000_003:], 1_000_003, {})
        assert tus.delete(gone).status == 204
        final = tus.location(tus.post({"Upload-Concat": f"final;{' '.join(partials)}"}))
        assert tus.content(final) == b"".join(parts)
    with place.ours() as tus:
        assert tus.content(url) == data
        assert tus.content(final) == b"".join(parts)
        assert tus.hd(gone).status == 404
        for other in (url, final, *partials):
            assert tus.delete(other).status == 204
    assert not any(path.is_file() for path in place.upload_dir.glob("??/**/*"))


def test_a_length_that_tusd_records_counts_here(place: Place) -> None:
    with place.ours() as tus:
        url = tus.mk(None, {"Upload-Metadata": formatted(METADATA)})
    with place.tusd() as tus:
        kind = KINDS["deferred"]
        kind.assert_stands(tus.hd(url), 0)
        append(tus, url, b"abc", 0, {"Upload-Length": "4"})
    with place.ours() as tus:
        answer = tus.hd(url)
        assert answer["Upload-Length"] == "4"
        assert answer["Upload-Offset"] == "3"
        append(tus, url, b"d", 3, with_checksum(b"d"))
        assert tus.content(url) == b"abcd"

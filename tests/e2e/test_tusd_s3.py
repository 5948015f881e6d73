"""One bucket for tusd and, after it, for us: what it has left unfinished we finish, what it has
finished we serve.
"""

from __future__ import annotations

import json
import secrets
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.test_tusd import AS_TEXT, METADATA, formatted, metadata_of, noise, with_checksum
from tests.e2e.tusd import tusd_binary, tusd_on_s3
from tests.servers import serving
from tests.store.s3_server import BUCKET
from tests.tus import eventually
from tusserver.store.object_parts import MIB

if TYPE_CHECKING:
    from tests.store.s3_server import S3Server
    from tests.tus import Tus

# The first test may have to build tusd.
pytestmark = pytest.mark.timeout(900)

PART = 5 * MIB
SIZE = 17 * MIB + 17
OFFSETS = [0, 1000, PART, 2 * PART + 3, 3 * PART, SIZE - 1]
PARTIAL = {"Upload-Concat": "partial"}


@dataclass(frozen=True)
class Place:
    """One prefix of a bucket, served by tusd first and then by us."""

    directory: Path
    binary: Path
    s3: S3Server
    prefix: str

    def tusd(self) -> AbstractContextManager[Tus]:
        return tusd_on_s3(
            self.binary, self.directory / "tusd.log", self.s3, self.prefix.rstrip("/"), PART
        )

    def ours(self) -> AbstractContextManager[Tus]:
        self.s3.publish_keys()
        return serving(self.directory / "uploads", **self.s3.settings(self.prefix))

    def names(self) -> list[str]:
        return sorted(key.removeprefix(self.prefix) for key in self.s3.keys(self.prefix))

    def parts(self, key: str, multipart: str) -> int:
        """How many there are of a multipart upload."""
        found = self.s3.client().list_parts(Bucket=BUCKET, Key=key, UploadId=multipart)
        return len(found.get("Parts", ()))

    def assert_only_whole(self, *urls: str) -> None:
        """Object and record of each of these, and nothing else, once what runs in the background
        is over.
        """
        names = [name for url in urls for name in (object_of(url), f"{object_of(url)}.info")]
        eventually(lambda: self.names() == sorted(names))
        eventually(lambda: not self.s3.multiparts(self.prefix))


@pytest.fixture(scope="module")
def binary() -> Path:
    return tusd_binary()


@pytest.fixture
def place(tmp_path: Path, binary: Path, s3: S3Server) -> Place:
    return Place(tmp_path, binary, s3, f"{secrets.token_hex(4)}/")


def object_of(url: str) -> str:
    return url.rpartition("/")[2].rpartition("+")[0]


def append(tus: Tus, url: str, offset: int, data: bytes, **headers: str) -> None:
    answer = tus.pa(url, offset, data, headers)
    assert answer.status == 204, answer
    assert answer["Upload-Offset"] == str(offset + len(data))


def left(tus: Tus, data: bytes, offset: int, length: int | None = SIZE, concat: str = "") -> str:
    """An upload whose first bytes are there."""
    headers = {"Upload-Concat": concat} if concat else {}
    url = tus.mk(length, {"Upload-Metadata": formatted(METADATA), **headers})
    if offset:
        append(tus, url, 0, data[:offset])
    assert tus.off(url) == offset
    return url


@pytest.mark.parametrize("offset", OFFSETS)
def test_what_tusd_has_left_is_finished_by_us(place: Place, offset: int) -> None:
    data = noise("left by tusd", SIZE)
    with place.tusd() as tus:
        url = left(tus, data, offset)
    with place.ours() as tus:
        answer = tus.hd(url)
        assert (answer["Upload-Offset"], answer["Upload-Length"]) == (str(offset), str(SIZE))
        assert metadata_of(answer) == AS_TEXT
        middle = (offset + SIZE) // 2
        append(tus, url, offset, data[offset:middle])
    with place.ours() as tus:
        assert tus.off(url) == middle
        append(tus, url, middle, data[middle:], **with_checksum(data[middle:]))
        assert tus.content(url) == data
        place.assert_only_whole(url)
        key = place.prefix + object_of(url)
        assert place.s3.client().get_object(Bucket=BUCKET, Key=key)["Body"].read() == data
        assert tus.delete(url).status == 204
        place.assert_only_whole()


@pytest.mark.parametrize("is_killed", [False, True], ids=["client gone", "tusd killed"])
def test_a_body_that_broke_off_at_tusd_goes_on_with_us(place: Place, is_killed: bool) -> None:
    data = noise("broken off", SIZE)
    with place.tusd() as tus:
        url = tus.mk(SIZE)
        wire = tus.begin_patch(url, 0, SIZE)
        wire.send(data[: 2 * PART + 1000])
        key, multipart = place.prefix + object_of(url), url.rpartition("+")[2]
        eventually(lambda: place.parts(key, multipart) == 2)
        if not is_killed:
            wire.close()
            eventually(lambda: f"{object_of(url)}.part" in place.names())
    wire.close()
    with place.ours() as tus:
        offset = 2 * PART if is_killed else 2 * PART + 1000
        assert tus.off(url) == offset
        append(tus, url, offset, data[offset:])
        assert tus.content(url) == data
        place.assert_only_whole(url)


def test_what_we_have_finished_is_served_by_tusd(place: Place) -> None:
    data = noise("to and fro", SIZE)
    offsets = [0, 1000, 6 * MIB]
    with place.tusd() as tus:
        urls = [left(tus, data, offset) for offset in offsets]
        small = left(tus, data[:10], 5, length=10)
    with place.ours() as tus:
        for url, offset in zip(urls, offsets, strict=True):
            append(tus, url, offset, data[offset:])
        append(tus, small, 5, data[5:10])
        place.assert_only_whole(*urls, small)
    with place.tusd() as tus:
        assert [tus.content(url) for url in urls] == [data] * 3
        assert tus.hd(small)["Upload-Offset"] == "10"
        assert metadata_of(tus.hd(urls[0])) == AS_TEXT


def test_the_plus_sign_may_be_encoded_and_the_object_id_alone_is_none(place: Place) -> None:
    data = noise("a plus", SIZE)
    with place.tusd() as tus:
        url = left(tus, data, 6 * MIB)
    with place.ours() as tus:
        for other in (url.rpartition("+")[0], url + "0", url.rpartition("+")[0] + "+0"):
            assert tus.hd(other).status == 404
            assert tus.pa(other, 6 * MIB, b"x").status == 404
            assert tus.delete(other).status == 404
        encoded = url.replace("+", "%2B")
        append(tus, encoded, 6 * MIB, data[6 * MIB :])
        assert tus.content(encoded) == tus.content(url) == data
        assert tus.hd(url.rpartition("+")[0]).status == 404


@pytest.mark.parametrize("offset", [0, 1000, 2 * PART + 3])
def test_a_length_may_still_be_declared(place: Place, offset: int) -> None:
    data = noise("no length yet", SIZE)
    with place.tusd() as tus:
        url = left(tus, data, offset, length=None)
    with place.ours() as tus:
        answer = tus.hd(url)
        assert (answer["Upload-Offset"], answer["Upload-Defer-Length"]) == (str(offset), "1")
        append(tus, url, offset, data[offset:], **{"Upload-Length": str(SIZE)})
        assert tus.content(url) == data
        place.assert_only_whole(url)


@pytest.mark.parametrize("offset", OFFSETS[1:-1])
def test_what_tusd_has_left_can_be_removed(place: Place, offset: int) -> None:
    with place.tusd() as tus:
        seen, unseen = (left(tus, noise("removed", SIZE), offset) for _ in range(2))
    with place.ours() as tus:
        assert tus.off(seen) == offset
        for url in (seen, unseen):
            assert tus.delete(url).status == 204
            assert tus.hd(url).status == 404
        place.assert_only_whole()


def test_what_tusd_has_finished_is_served_by_us(place: Place) -> None:
    data = noise("finished by tusd", SIZE)
    with place.tusd() as tus:
        url = tus.made(data, {"Upload-Metadata": formatted(METADATA)})
        small, empty = tus.made(b"abc"), tus.mk(0)
    with place.ours() as tus:
        assert tus.content(url) == data
        answer = tus.hd(url)
        assert answer["Upload-Offset"] == answer["Upload-Length"] == str(SIZE)
        assert metadata_of(answer) == AS_TEXT
        assert (tus.content(small), tus.content(empty)) == (b"abc", b"")
        place.assert_only_whole(url, small, empty)
        for each in (url, small, empty):
            assert tus.delete(each).status == 204
        place.assert_only_whole()


@pytest.mark.parametrize("is_replaced", [False, True], ids=["gone", "of another size"])
def test_a_finished_upload_without_its_object_is_damaged(place: Place, is_replaced: bool) -> None:
    with place.tusd() as tus:
        url = tus.made(b"abc")
    if is_replaced:
        place.s3.put(place.prefix + object_of(url), b"ab")
    else:
        place.s3.delete(place.prefix + object_of(url))
    with place.ours() as tus:
        for answer in (tus.hd(url), tus.get(url), tus.pa(url, 3, b"")):
            assert answer.status >= 400
            assert answer.get("Upload-Offset") is None


def test_partials_of_tusd_and_of_ours_are_joined(place: Place) -> None:
    first, second, third = noise("1", SIZE), noise("2", 70_000), noise("3", 6 * MIB)
    with place.tusd() as tus:
        one = left(tus, first, 2 * PART + 3, concat="partial")
        two = tus.made(second, PARTIAL)
    with place.ours() as tus:
        assert tus.hd(one)["Upload-Concat"] == "partial"
        three = tus.made(third, PARTIAL)
        answer = tus.post({"Upload-Concat": f"final;{one} {two} {three}"})
        assert answer.status == 201, answer
        append(tus, one, 2 * PART + 3, first[2 * PART + 3 :])
        final = tus.location(answer)
        eventually(lambda: tus.hd(final).get("Upload-Offset") == str(SIZE + 70_000 + 6 * MIB))
        assert tus.content(final) == first + second + third


def test_what_tusd_was_joining_is_joined_by_us(place: Place) -> None:
    data = noise("half joined", 6 * MIB)
    with place.tusd() as tus:
        partial, client = tus.made(data, PARTIAL), place.s3.client()
        final = left(tus, data, 0, 12 * MIB)
    # As tusd leaves it when it is killed between two copies.
    where = {"Bucket": BUCKET, "Key": place.prefix + object_of(final)}
    info = {**where, "Key": f"{where['Key']}.info"}
    record = json.loads(client.get_object(**info)["Body"].read())
    partials = [partial.rpartition("/")[2]] * 2
    record |= {"IsFinal": True, "PartialUploads": partials}
    client.put_object(**info, Body=json.dumps(record).encode())
    client.upload_part(**where, UploadId=final.rpartition("+")[2], PartNumber=1, Body=data)
    with place.ours() as tus:
        eventually(lambda: tus.hd(final).get("Upload-Offset") == str(12 * MIB))
        assert tus.content(final) == data + data
        place.assert_only_whole(partial, final)


def test_what_tusd_has_joined_is_served_by_us(place: Place) -> None:
    large, small = noise("large", 6 * MIB), noise("small", 70_000)
    with place.tusd() as tus:
        partials = [tus.made(data, PARTIAL) for data in (large, large, small)]
        finals = [
            tus.location(tus.post({"Upload-Concat": f"final;{' '.join(chosen)}"}))
            for chosen in (partials[:2], partials[1:])
        ]
    with place.ours() as tus:
        assert tus.content(finals[0]) == large + large
        assert tus.content(finals[1]) == large + small
        assert tus.hd(finals[1])["Upload-Concat"] == f"final;{' '.join(partials[1:])}"

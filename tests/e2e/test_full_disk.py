"""The upload directory on a file system that is full, a small one in memory, and one on a disk that
is written past the page cache: the client gets 507, HEAD tells the true offset, and when there is
room again the same upload completes with the right bytes.

Mounting needs root, which containers and CI have.
"""

from __future__ import annotations

import base64
import hashlib
import os
import random
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.servers import serving
from tests.tus import OCTETS, VERSION, Tus, chunked_headers, eventually, patch_headers
from tests.wire import Answer, Wire, chunked, head
from tusserver.store import filesystem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1024 * 1024
DISK = 8 * MIB


@dataclass(frozen=True)
class Disk:
    """A server whose upload directory is alone on a file system of eight MiB."""

    tus: Tus
    mount: Path
    uploads: Path
    writes_in_part: bool
    """A call that writes more than fits writes what fits; ext4 may refuse it as a whole."""

    def free(self) -> int:
        state = os.statvfs(self.mount)
        return state.f_bavail * state.f_frsize

    def fill(self, leaving: int = 0) -> None:
        """Somebody else's data take all the room but so much."""
        with open(self.mount / "ballast", "ab", buffering=0) as ballast, suppress(OSError):
            while self.free() > leaving:
                ballast.write(bytes(min(64 * 1024, self.free() - leaving)))
        assert self.free() <= leaving

    def make_room(self) -> None:
        (self.mount / "ballast").unlink()

    def stored(self, url: str) -> bytes:
        return (self.uploads / url.rpartition("/")[2]).read_bytes()

    def names(self) -> set[str]:
        """What lies in the upload directory, our private directory apart."""
        return set(os.listdir(self.uploads)) - {".tusserver"}

    def temporaries(self) -> list[str]:
        return os.listdir(self.uploads / ".tusserver" / "tmp")


def _mount_memory(mount: Path) -> None:
    options = f"size={DISK},mode=0777"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(mount)], check=True)


def _mount_disk(mount: Path) -> None:
    image = mount.with_name("image")
    with image.open("wb") as file:
        file.truncate(DISK)
    # Nothing is reserved, and as little as possible is the file system's own.
    options = ["-q", "-m", "0", "-N", "64", "-O", "^has_journal,^resize_inode", "-b", "4096"]
    subprocess.run(["mkfs.ext4", *options, str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=True)


@pytest.fixture(params=["memory", "disk"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    mount = tmp_path / "disk"
    mount.mkdir()
    is_memory = request.param == "memory"
    (_mount_memory if is_memory else _mount_disk)(mount)
    try:
        with serving(mount / "uploads", direct_io="off" if is_memory else "on") as tus:
            yield Disk(tus, mount, mount / "uploads", writes_in_part=is_memory)
    finally:
        # Lazily, so that it goes away even if something still holds a file on it.
        subprocess.run(["umount", "--lazy", str(mount)], check=True)


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def checksum_of(data: bytes) -> str:
    return f"sha1 {base64.b64encode(hashlib.sha1(data).digest()).decode()}"


def assert_full(answer: Answer) -> None:
    assert answer.status == 507, answer
    assert answer.body.startswith(b"ERR_STORAGE_FULL")
    assert answer["Tus-Resumable"] == "1.0.0"


def assert_completes(disk: Disk, url: str, data: bytes, offset: int) -> None:
    """From `offset`, which HEAD tells, the upload goes on to its end."""
    disk.tus.assert_intact(url, offset, data[offset:])
    assert disk.tus.content(url) == data


@dataclass(frozen=True)
class Way:
    """A way to send the bytes of a PATCH; `checksum` says where one stands, if anywhere."""

    is_chunked: bool
    checksum: str = ""

    @property
    def keeps_what_fits(self) -> bool:
        """No digest was promised for the whole, so that a part of it is worth keeping."""
        return not self.checksum

    def begin(self, tus: Tus, url: str, offset: int, data: bytes) -> Wire:
        """A connection on which the head for these bytes has been sent."""
        headers = chunked_headers(offset) if self.is_chunked else patch_headers(offset, len(data))
        if self.checksum == "header":
            headers["Upload-Checksum"] = checksum_of(data)
        elif self.checksum == "trailer":
            headers["Trailer"] = "Upload-Checksum"
        wire = tus.wire()
        wire.send(head("PATCH", url, headers))
        return wire

    def piece(self, data: bytes) -> bytes:
        return chunked(data, end=False) if self.is_chunked else data

    def end(self, data: bytes) -> bytes:
        """What follows the last piece of a body with these bytes."""
        has_trailer = self.checksum == "trailer"
        trailers = {"Upload-Checksum": checksum_of(data)} if has_trailer else None
        return chunked(trailers=trailers) if self.is_chunked else b""


WAYS = {
    "plain": Way(is_chunked=False),
    "checksum": Way(is_chunked=False, checksum="header"),
    "chunked": Way(is_chunked=True),
    "chunked with checksum": Way(is_chunked=True, checksum="header"),
    "chunked with trailer": Way(is_chunked=True, checksum="trailer"),
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


def send_all(wire: Wire, data: bytes) -> None:
    """The server may have answered and closed before it was sent everything."""
    with suppress(ConnectionError):
        wire.send(data)


def sent_and_stored(disk: Disk, wire: Wire, url: str, encoded: bytes, size: int) -> None:
    """Sends these bytes and waits until so many are in the file."""
    wire.send(encoded)
    eventually(lambda: len(disk.stored(url)) >= size)


@every_way
def test_room_that_runs_out_in_the_middle_of_a_body(disk: Disk, way: Way) -> None:
    data = noise(4 * MIB)
    url = disk.tus.mk(len(data))
    assert disk.tus.pa(url, 0, data[:MIB]).status == 204
    rest = data[MIB:]
    with way.begin(disk.tus, url, MIB, rest) as wire:
        sent_and_stored(disk, wire, url, way.piece(rest[:MIB]), 2 * MIB)
        disk.fill(leaving=MIB // 2)
        send_all(wire, way.piece(rest[MIB:]) + way.end(rest))
        assert_full(wire.answer("PATCH"))
    offset = disk.tus.off(url)
    if way.keeps_what_fits:
        assert 2 * MIB + disk.writes_in_part <= offset < 3 * MIB
    else:
        assert offset == MIB
    assert disk.stored(url) == data[:offset]
    disk.make_room()
    assert_completes(disk, url, data, offset)


@every_way
def test_a_body_for_which_there_is_no_room_at_all(disk: Disk, way: Way) -> None:
    data = noise(2 * MIB)
    url = disk.tus.mk(len(data))
    assert disk.tus.pa(url, 0, data[:100]).status == 204
    disk.fill()
    with way.begin(disk.tus, url, 100, data[100:]) as wire:
        send_all(wire, way.piece(data[100:]) + way.end(data[100:]))
        assert_full(wire.answer("PATCH"))
    offset = disk.tus.off(url)
    # The page of the first bytes may have had room for some more.
    assert 100 <= offset <= 8192
    assert disk.stored(url) == data[:offset]
    disk.make_room()
    assert_completes(disk, url, data, offset)


@every_way
def test_the_same_request_succeeds_when_there_is_room_again(disk: Disk, way: Way) -> None:
    data = noise(2 * MIB)
    url = disk.tus.mk(len(data))
    disk.fill()
    with way.begin(disk.tus, url, 0, data) as wire:
        send_all(wire, way.piece(data) + way.end(data))
        assert_full(wire.answer("PATCH"))
    disk.make_room()
    rest = data[disk.tus.off(url) :]
    with way.begin(disk.tus, url, len(data) - len(rest), rest) as wire:
        wire.send(way.piece(rest) + way.end(rest))
        assert wire.answer("PATCH").status == 204
    assert disk.tus.content(url) == data


def test_an_announced_body_that_cannot_fit_is_refused_before_it_is_sent(disk: Disk) -> None:
    data = noise(2 * MIB)
    url = disk.tus.mk(len(data))
    disk.fill(leaving=MIB)
    with disk.tus.begin_patch(url, 0, len(data)) as wire:
        assert_full(wire.answer("PATCH"))
    assert disk.stored(url) == b""
    disk.make_room()
    assert_completes(disk, url, data, 0)


def test_head_stays_calm_when_the_last_byte_fits_and_the_note_of_it_does_not(disk: Disk) -> None:
    data = noise(64 * 1024)
    url = disk.tus.mk(len(data))
    disk.fill(leaving=len(data))
    assert_full(disk.tus.pa(url, 0, data))
    answer = disk.tus.hd(url)
    # Not 5xx, for which clients start again from the first byte, and no success either.
    assert answer.status in (200, 423), answer
    assert answer.get("Upload-Offset") != str(len(data))
    disk.make_room()
    offset = disk.tus.off(url)
    assert disk.tus.pa(url, offset, data[offset:]).status == 204
    assert disk.tus.content(url) == data


def test_each_patch_is_noted_with_sync_patch_once_there_is_room(disk: Disk) -> None:
    data = noise(192 * 1024)
    with serving(disk.mount / "uploads", sync="patch") as tus:
        url = tus.mk(len(data))
        disk.fill(leaving=64 * 1024)
        assert_full(tus.pa(url, 0, data[: 64 * 1024]))
        offset = tus.off(url)
        assert disk.stored(url) == data[:offset]
        disk.make_room()
        tus.assert_intact(url, offset, data[offset:])
        assert tus.content(url) == data


def test_a_length_that_cannot_be_recorded_is_declared_later(disk: Disk) -> None:
    data = noise(MIB)
    url = disk.tus.mk(None)
    declared = {"Upload-Length": str(len(data))}
    disk.fill()
    assert_full(disk.tus.pa(url, 0, b"", declared))
    answer = disk.tus.hd(url)
    assert answer["Upload-Defer-Length"] == "1"
    assert answer["Upload-Offset"] == "0"
    disk.make_room()
    assert disk.tus.pa(url, 0, data, declared).status == 204
    assert disk.tus.content(url) == data


def test_an_upload_that_cannot_fit_is_not_created(disk: Disk) -> None:
    assert_full(disk.tus.post({"Upload-Length": str(DISK + 1)}))
    assert disk.names() == set()


@pytest.mark.parametrize(
    "headers", [{"Upload-Length": "0"}, {"Upload-Defer-Length": "1"}], ids=["empty", "deferred"]
)
def test_a_record_that_cannot_be_written_leaves_nothing(
    disk: Disk, headers: dict[str, str]
) -> None:
    disk.fill()
    assert_full(disk.tus.post(headers))
    assert disk.names() == set()
    assert disk.temporaries() == []
    disk.make_room()
    assert disk.tus.post(headers).status == 201


def test_room_that_runs_out_during_creation_with_upload_leaves_nothing(disk: Disk) -> None:
    data = noise(3 * MIB)
    size = str(len(data))
    headers = {**VERSION, **OCTETS, "Upload-Length": size, "Content-Length": size}
    with disk.tus.wire() as wire:
        wire.send(head("POST", disk.tus.creation, headers) + data[:MIB])
        eventually(lambda: disk.free() <= DISK - MIB)
        disk.fill(leaving=MIB // 2)
        send_all(wire, data[MIB:])
        assert_full(wire.answer("POST"))
    assert disk.names() == set()
    disk.make_room()
    assert disk.tus.content(disk.tus.made(data)) == data


PARTIAL = {"Upload-Concat": "partial"}


def final_of(*urls: str) -> dict[str, str]:
    return {"Upload-Concat": f"final;{' '.join(urls)}"}


def test_partials_that_cannot_be_joined_are_joined_later(disk: Disk) -> None:
    first, second = noise(MIB), noise(MIB + 1)
    urls = [disk.tus.made(data, PARTIAL) for data in (first, second)]
    before = disk.names()
    disk.fill(leaving=MIB)
    assert_full(disk.tus.post(final_of(*urls)))
    assert disk.names() == before
    assert disk.temporaries() == []
    disk.make_room()
    answer = disk.tus.post(final_of(*urls))
    assert answer.status == 201
    assert disk.tus.content(disk.tus.location(answer)) == first + second


def test_room_that_does_not_suffice_is_not_set_aside_in_part(disk: Disk) -> None:
    free = disk.free()
    descriptor = filesystem.open_file(str(disk.mount / "file"), create=True)
    try:
        with pytest.raises(OSError, match="No space"):
            filesystem.reserve(descriptor, free + MIB)
        assert disk.free() > free - MIB
    finally:
        os.close(descriptor)


def test_a_final_upload_waits_for_room_after_its_last_partial(disk: Disk) -> None:
    first, second = noise(MIB), noise(MIB + 1)
    urls = [disk.tus.made(first, PARTIAL), disk.tus.mk(len(second), PARTIAL)]
    answer = disk.tus.post(final_of(*urls))
    assert answer.status == 201
    final = disk.tus.location(answer)
    disk.fill(leaving=len(second) + MIB // 2)
    assert disk.tus.pa(urls[1], 0, second).status == 204
    pending = disk.tus.hd(final)
    assert pending.status == 200
    assert pending.get("Upload-Offset") is None
    assert disk.tus.content(urls[1]) == second
    disk.make_room()
    eventually(lambda: disk.tus.hd(final).get("Upload-Offset") == str(len(first + second)))
    assert disk.tus.content(final) == first + second
    assert disk.temporaries() == []


def test_uploads_that_run_out_of_room_together_all_complete_later(disk: Disk) -> None:
    contents = [noise(2 * MIB + number) for number in range(3)]
    urls = [disk.tus.mk(len(data)) for data in contents]
    wires = [
        disk.tus.begin_patch(url, 0, len(data)) for url, data in zip(urls, contents, strict=True)
    ]
    for wire, url, data in zip(wires, urls, contents, strict=True):
        sent_and_stored(disk, wire, url, data[:MIB], MIB)
    disk.fill(leaving=MIB // 2)
    for wire, data in zip(wires, contents, strict=True):
        send_all(wire, data[MIB:])
    for wire in wires:
        assert_full(wire.answer("PATCH"))
        wire.close()
    offsets = [disk.tus.off(url) for url in urls]
    assert sum(offsets) >= 3 * MIB + disk.writes_in_part
    disk.make_room()
    for url, data, offset in zip(urls, contents, offsets, strict=True):
        assert MIB <= offset < len(data)
        assert disk.stored(url) == data[:offset]
        assert_completes(disk, url, data, offset)


def test_all_else_goes_on_while_one_upload_has_no_room(disk: Disk) -> None:
    data, other = noise(3 * MIB), noise(MIB)
    full, small = disk.tus.mk(len(data)), disk.tus.mk(len(other))
    done = disk.tus.made(noise(MIB + 2))
    disk.fill(leaving=2 * MIB)
    assert_full(disk.tus.pa(full, 0, data))
    assert disk.tus.pa(small, 0, other).status == 204
    assert disk.tus.content(small) == other
    disk.fill()
    assert disk.tus.content(done) == noise(MIB + 2)
    for url in (done, small):
        assert disk.tus.delete(url, VERSION).status == 204
    disk.make_room()
    assert_completes(disk, full, data, 0)
    assert disk.names() == {full.rpartition("/")[2], f"{full.rpartition('/')[2]}.info"}


def test_an_upload_that_is_removed_makes_room_for_another(disk: Disk) -> None:
    data = noise(3 * MIB)
    old, new = disk.tus.made(noise(3 * MIB + 1)), disk.tus.mk(len(data))
    disk.fill(leaving=MIB)
    assert_full(disk.tus.pa(new, 0, data))
    assert disk.tus.delete(old).status == 204
    assert_completes(disk, new, data, disk.tus.off(new))

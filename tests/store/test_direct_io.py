"""Writing past the page cache: the same file as by way of it, at every moment, whatever the disk
says.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.servers import serving
from tusserver.store import direct_io, filesystem
from tusserver.store.base import StoreUnusable
from tusserver.store.direct_io import BLOCK, BlockWriter, DirectIO
from tusserver.store.file import FileStore, FileStoreOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tusserver.protocol.checksum import Buffer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="O_DIRECT is Linux's")

MIB = 1024 * 1024
DATA = bytes(byte or 1 for byte in os.urandom(MIB))
"""None is zero, as padding would be."""


@dataclass
class Disk:
    """Sees what is written past the page cache, and may answer in the disk's place."""

    pwrite: Callable[[int, memoryview, int], int] = os.pwrite
    blocks: list[tuple[int, int]] = field(default_factory=list)
    """Offset and size."""
    answer: Callable[[int, memoryview, int], int] | None = None

    def write(self, descriptor: int, view: memoryview, offset: int) -> int:
        assert fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT
        assert offset % BLOCK == len(view) % BLOCK == 0
        written = (self.answer or self.pwrite)(descriptor, view, offset)
        self.blocks.append((offset, written))
        return written

    @property
    def size(self) -> int:
        return sum(size for _, size in self.blocks)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The disk, and even single blocks go past the page cache."""
    made = Disk()
    monkeypatch.setattr(os, "pwrite", made.write)
    monkeypatch.setattr(direct_io, "WORTHWHILE", 1)
    return made


@dataclass
class Appending:
    """Brings the bytes of DATA into a file, as FileSink and AppendSession do."""

    path: Path
    offset: int = 0
    writer: BlockWriter = field(default_factory=BlockWriter)

    def __post_init__(self) -> None:
        self.memory = memoryview(mmap.mmap(-1, MIB))
        self.path.write_bytes(DATA[: self.offset])
        self.descriptor = filesystem.open_file(str(self.path))

    def write(self, size: int, *, shift: int = 0) -> None:
        """The next bytes; they lie in memory as in the file unless they are shifted."""
        start = (self.offset + shift) % BLOCK
        view = self.memory[start : start + size]
        view[:] = DATA[self.offset : self.offset + size]
        self.offset = self.writer.write_at(self.descriptor, (view,), self.offset)
        view[:] = bytes(size)
        assert self.path.read_bytes() == DATA[: self.offset]

    def close(self) -> None:
        assert not fcntl.fcntl(self.descriptor, fcntl.F_GETFL) & os.O_DIRECT
        os.close(self.descriptor)


@pytest.fixture
def appending(tmp_path: Path) -> Iterator[Appending]:
    made = Appending(tmp_path / "file", 100)
    yield made
    made.close()


sizes = st.integers(1, 3) | st.integers(4090, 4100) | st.integers(1, 60_000)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    start=st.integers(0, 9000),
    pieces=st.lists(sizes, min_size=1, max_size=8),
    syncs=st.sets(st.integers(0, 7)),
)
def test_any_pieces_from_any_offset_make_the_same_file(
    disk: Disk, tmp_path: Path, start: int, pieces: list[int], syncs: set[int]
) -> None:
    appending = Appending(tmp_path / "file", start)
    for number, size in enumerate(pieces):
        before = len(disk.blocks)
        whole = (appending.offset + size) // BLOCK - -(-appending.offset // BLOCK)
        appending.write(size)
        assert sum(size for _, size in disk.blocks[before:]) == max(0, whole) * BLOCK
        if number in syncs:
            os.fdatasync(appending.descriptor)
    appending.close()


def test_the_file_never_has_a_byte_that_was_not_given(disk: Disk, appending: Appending) -> None:
    at_call: list[int] = []

    def look(descriptor: int, view: memoryview, offset: int) -> int:
        at_call.append(appending.path.stat().st_size - offset)
        written = disk.pwrite(descriptor, view, offset)
        at_call.append(appending.path.stat().st_size - offset - written)
        return written

    disk.answer = look
    appending.write(3 * BLOCK + 7)
    appending.write(2 * BLOCK)
    assert at_call == [0, 0, 0, 0]
    assert len(disk.blocks) == 2


def test_what_lies_otherwise_in_memory_goes_through_the_page_cache(
    disk: Disk, appending: Appending
) -> None:
    appending.write(5 * BLOCK, shift=1)
    assert disk.size == 0
    appending.write(5 * BLOCK)
    assert disk.size == 0


@pytest.mark.usefixtures("disk")
def test_a_file_system_without_such_a_way_is_served_all_the_same(
    appending: Appending, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(descriptor: int, command: int, *flags: int) -> int:
        if command == fcntl.F_SETFL:
            asked.append(descriptor)
            raise OSError(errno.EINVAL, "Invalid argument")
        return os.O_RDWR

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "fcntl", refuse)
        appending.write(3 * BLOCK)
        appending.write(3 * BLOCK)
    assert len(asked) == 1


def _failing(number: int, disk: Disk, writes: int) -> Callable[[int, memoryview, int], int]:
    """A disk that writes so many bytes, then fails, and has grown the file all the same."""

    def fail(descriptor: int, view: memoryview, offset: int) -> int:
        if len(disk.blocks) == 0 and writes:
            return _through_cache(descriptor, view[:writes], offset)
        os.ftruncate(descriptor, offset + len(view) + BLOCK)
        raise OSError(number, os.strerror(number))

    return fail


def _through_cache(descriptor: int, view: memoryview, offset: int) -> int:
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~os.O_DIRECT)
    try:
        return os.pwritev(descriptor, (view,), offset)
    finally:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)


@pytest.mark.parametrize("writes", [0, BLOCK, 512], ids=["nothing", "a block", "half a block"])
@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSPC, errno.EDQUOT])
def test_what_the_disk_does_not_take_goes_through_the_page_cache(
    disk: Disk, appending: Appending, number: int, writes: int
) -> None:
    disk.answer = _failing(number, disk, writes)
    appending.write(4 * BLOCK)
    appending.write(4 * BLOCK)
    assert disk.size == writes


def test_a_disk_without_room_keeps_what_fits(
    disk: Disk, appending: Appending, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_at = filesystem.write_at

    def little(descriptor: int, buffers: Sequence[Buffer], offset: int) -> int:
        if offset < BLOCK:
            return write_at(descriptor, buffers, offset)
        write_at(descriptor, (buffers[0][:5],), offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    disk.answer = _failing(errno.ENOSPC, disk, BLOCK)
    monkeypatch.setattr(filesystem, "write_at", little)
    with pytest.raises(OSError, match="No space"):
        appending.write(4 * BLOCK)
    assert appending.path.read_bytes() == DATA[: 2 * BLOCK + 5]


def test_a_broken_disk_is_no_reason_to_try_otherwise(disk: Disk, appending: Appending) -> None:
    disk.answer = _failing(errno.EIO, disk, 0)
    with pytest.raises(OSError, match="Input/output"):
        appending.write(4 * BLOCK)


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory on a file system in memory."""
    path = Path("/dev/shm")
    if os.major(path.stat().st_dev) != 0:
        pytest.skip("there is none")
    directory = path / f"tusserver-{os.getpid()}"
    yield directory
    for found in sorted(directory.rglob("*"), reverse=True):
        found.rmdir() if found.is_dir() else found.unlink()
    directory.rmdir()


async def _started(directory: Path, wish: DirectIO) -> FileStore:
    store = FileStore(directory, FileStoreOptions(direct_io=wish))
    await store.start()
    await store.close()
    return store


@pytest.mark.anyio
async def test_auto_leaves_memory_alone(memory: Path, tmp_path: Path) -> None:
    assert (await _started(memory, DirectIO.AUTO))._direct_io is DirectIO.OFF
    assert (await _started(tmp_path / "up", DirectIO.AUTO))._direct_io is DirectIO.AUTO


@pytest.mark.anyio
async def test_a_wish_that_the_file_system_refuses_is_one_clear_sentence(
    disk: Disk, tmp_path: Path
) -> None:
    await _started(tmp_path / "up", DirectIO.ON)
    disk.answer = _failing(errno.EINVAL, disk, 0)
    disk.blocks.clear()
    with pytest.raises(StoreUnusable, match="has no direct I/O; leave it to --direct-io auto"):
        await _started(tmp_path / "up", DirectIO.ON)
    assert list((tmp_path / "up" / ".tusserver" / "tmp").iterdir()) == []
    disk.answer = _failing(errno.EIO, disk, 0)
    with pytest.raises(StoreUnusable, match="Input/output error"):
        await _started(tmp_path / "up", DirectIO.ON)


@pytest.mark.parametrize(
    ("wish", "headers", "size", "is_past_cache"),
    [
        ("auto", {}, MIB, True),
        ("auto", {}, MIB - 1, False),
        ("auto", {"Upload-Concat": "partial"}, MIB, False),
        ("off", {}, MIB, False),
        ("on", {"Upload-Concat": "partial"}, MIB - 1, True),
    ],
    ids=["large", "not so large", "partial", "off", "on"],
)
def test_which_bodies_go_past_the_page_cache(
    disk: Disk,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wish: str,
    headers: dict[str, str],
    size: int,
    is_past_cache: bool,
) -> None:
    monkeypatch.setattr("tusserver.store.file.LARGE", MIB)
    with serving(tmp_path / "up", direct_io=wish) as tus:
        disk.blocks.clear()
        url = tus.made(DATA[:size], headers)
        assert tus.content(url) == DATA[:size]
    assert (disk.size > 0) == is_past_cache


def test_a_body_that_goes_on_at_any_byte_goes_past_the_page_cache(
    disk: Disk, tmp_path: Path
) -> None:
    with serving(tmp_path / "up", direct_io="on") as tus:
        url = tus.mk(len(DATA))
        tus.pa(url, 0, DATA[:1001])
        disk.blocks.clear()
        tus.pa(url, 1001, DATA[1001:])
        assert tus.content(url) == DATA
    assert disk.size == len(DATA) - BLOCK

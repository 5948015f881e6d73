"""Writing past the page cache (O_DIRECT): the disk takes the bytes straight from our buffer,
nothing is copied, and nothing else is driven out of memory.

The kernel wants whole blocks for that, in the file and in memory. What comes before the first whole
block and behind the last one goes through the page cache as ever, so that a file never has a byte
more than was given; the kernel keeps both ways coherent. Where a file system refuses, everything
goes through the page cache.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
from enum import Enum
from typing import TYPE_CHECKING

from tusserver.store import filesystem
from tusserver.store.base import StoreUnusable

if sys.platform == "linux":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tusserver.protocol.checksum import Buffer
    from tusserver.store.file_layout import Layout

BLOCK = 4096
"""What file systems and disks take as a whole block; those that want more refuse."""
WORTHWHILE = 512 * 1024
"""Bytes in whole blocks below which a wait for the disk costs more than a copy."""
LARGE = 64 * 1024 * 1024
"""Bytes of a body from which on `auto` writes past the page cache."""
_REFUSED = frozenset({errno.EINVAL, errno.EOPNOTSUPP})


class DirectIO(Enum):
    """Which bodies are written past the page cache."""

    OFF = "off"
    AUTO = "auto"
    """Large ones, on a file system that lies on a disk."""
    ON = "on"
    """All that come in large buffers."""


if sys.platform == "linux":

    def _write_past_cache(descriptor: int, blocks: memoryview, offset: int) -> int:
        """How many bytes were written, perhaps not all.

        Raises OSError, one of `_REFUSED` where the file system has no such way.
        """
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_DIRECT)
        try:
            return os.pwrite(descriptor, blocks, offset)
        finally:
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)
else:

    def _write_past_cache(descriptor: int, blocks: memoryview, offset: int) -> int:
        raise OSError(errno.EOPNOTSUPP, "there is no way past the page cache")


class BlockWriter:
    """Writes to the end of one file, whole blocks past the page cache as long as that works."""

    def __init__(self) -> None:
        self._is_refused = False

    def write_at(self, descriptor: int, buffers: Sequence[Buffer], offset: int) -> int:
        """As `filesystem.write_at`. A buffer goes past the page cache if it lies in memory as its
        bytes will lie in the file: at the same distance from a block boundary.
        """
        for buffer in buffers:
            offset = self._write(descriptor, memoryview(buffer), offset)
        return offset

    def _write(self, descriptor: int, view: memoryview, offset: int) -> int:
        head = -offset % BLOCK
        blocks = max(0, len(view) - head) // BLOCK * BLOCK
        if blocks >= WORTHWHILE and not self._is_refused:
            if head:
                offset = filesystem.write_at(descriptor, (view[:head],), offset)
            written = self._write_blocks(descriptor, view[head : head + blocks], offset)
            offset += written
            view = view[head + written :]
        return filesystem.write_at(descriptor, (view,), offset) if view else offset

    def _write_blocks(self, descriptor: int, view: memoryview, offset: int) -> int:
        """How many bytes of these blocks are written now; the rest is for the page cache."""
        written = 0
        try:
            # What is written in part, as on a full disk, need not end at a block.
            while written < len(view) and written % BLOCK == 0:
                written += _write_past_cache(descriptor, view[written:], offset + written)
        except OSError as error:
            if error.errno not in _REFUSED and not filesystem.is_out_of_room(error):
                raise
            self._is_refused = True
            # Nothing may stand behind what is counted, whatever the failed call did.
            os.ftruncate(descriptor, offset + written)
        return written


def settle(wish: DirectIO, layout: Layout) -> DirectIO:
    """What becomes of this wish in a prepared upload directory. Raises StoreUnusable if it is ON
    and the file system refuses.
    """
    if wish is DirectIO.AUTO and not _lies_on_disk(layout.root):
        return DirectIO.OFF
    if wish is DirectIO.ON:
        try:
            takes_blocks = _takes_blocks(layout.new_temporary("probe"))
        except OSError as error:
            raise StoreUnusable(f"cannot write in {layout.root}: {error.strerror}") from error
        if not takes_blocks:
            raise StoreUnusable(
                f"the file system of {layout.root} has no direct I/O; leave it to --direct-io auto"
            )
    return wish


def _lies_on_disk(directory: Path) -> bool:
    """Whether this is a file system on a block device: no network, no memory, no other file system
    below, and nothing that copies blocks to checksum or compress them.
    """
    return sys.platform == "linux" and os.major(directory.stat().st_dev) != 0


def _takes_blocks(temporary: str) -> bool:
    """Whether a file can be written past the page cache at this path, where there is none yet."""
    descriptor = filesystem.open_file(temporary, create=True)
    try:
        return _write_past_cache(descriptor, memoryview(mmap.mmap(-1, BLOCK)), 0) == BLOCK
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        return False
    finally:
        os.close(descriptor)
        filesystem.remove(temporary)

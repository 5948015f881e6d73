"""Copies a file whose name it must not have yet, and carries on with a copy that a crash has cut
short: bytes that are there already are compared, not believed.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import TYPE_CHECKING

from tusserver.store import filesystem
from tusserver.store.folders import FILE_FLAGS, look, remove

if TYPE_CHECKING:
    from collections.abc import Callable

PART_OPEN = "part open"
PART_WRITTEN = "part written"
COPIED = "copied"
COMPARED = "compared"

COPY_SIZE = 4 * 1024 * 1024
"""Bytes that are copied at a time."""


def open_part(name: str, folder: int) -> int:
    """A descriptor of the copy as far as an earlier attempt got; of a new one instead of what is no
    plain file, is somebody else's, or has another name as well. Raises OSError.
    """
    earlier = _open_earlier(name, folder)
    if earlier is not None:
        return earlier
    remove(name, folder)
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | FILE_FLAGS, 0o600, dir_fd=folder)


def _open_earlier(name: str, folder: int) -> int | None:
    found = look(name, folder)
    if found is None or not stat.S_ISREG(found.st_mode):
        return None
    try:
        descriptor = os.open(name, os.O_RDWR | FILE_FLAGS, dir_fd=folder)
    except PermissionError:
        return None  # It has its final mode already, and that lets nobody write.
    opened = os.fstat(descriptor)
    if opened.st_nlink == 1 and filesystem.is_ours(opened):
        return descriptor
    os.close(descriptor)
    return None


def copy(
    source: int,
    part: int,
    prepare: Callable[[], None],
    step: Callable[[str], None],
    progress: Callable[[int], None],
    *,
    durable: bool,
) -> None:
    """Makes `part` the same as `source`, and compares the whole once more when it is complete.

    `prepare` gives the copy its mode and, with `durable`, brings it to the disk. `progress` is told
    how many bytes are there. Raises OSError, EIO if one of the files does not stay as it is.
    """
    step(PART_OPEN)
    length = os.fstat(source).st_size
    position = _common(source, part, length)
    os.ftruncate(part, position)
    filesystem.reserve(part, length)
    progress(position)
    while position < length:
        buffer = filesystem.read_at(source, min(COPY_SIZE, length - position), position)
        if not buffer:
            raise OSError(errno.EIO, "the upload is shorter than it was")
        position = filesystem.write_at(part, [buffer], position)
        step(PART_WRITTEN)
        progress(position)
    filesystem.set_modified(part, os.fstat(source).st_mtime_ns)
    prepare()
    step(COPIED)
    if sys.platform == "linux" and durable:
        # What is compared comes from the disk.
        os.posix_fadvise(part, 0, 0, os.POSIX_FADV_DONTNEED)
    if _common(source, part, length) < length:
        os.ftruncate(part, 0)
        raise OSError(errno.EIO, "the copy differs from the upload")
    step(COMPARED)


def has_bytes_of(source: int, name: str, folder: int) -> bool:
    """Whether the plain file of this name has the same content. Raises OSError."""
    descriptor = os.open(name, os.O_RDONLY | FILE_FLAGS, dir_fd=folder)
    try:
        length = os.fstat(source).st_size
        is_long = os.fstat(descriptor).st_size == length
        return is_long and _common(source, descriptor, length) == length
    finally:
        os.close(descriptor)


def _common(source: int, other: int, length: int) -> int:
    """How many of the first `length` bytes both have, rounded down to what is compared at once."""
    position = 0
    while position < length:
        buffer = filesystem.read_at(source, min(COPY_SIZE, length - position), position)
        if not buffer or buffer != filesystem.read_at(other, len(buffer), position):
            break
        position += len(buffer)
    return position

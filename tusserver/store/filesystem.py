"""What the file store asks of the operating system, and the one place that knows how systems
differ.

Blocking calls, made for worker threads. Linux is first; elsewhere the slower portable way is taken.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import struct
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tusserver.protocol.errors import StorageFailed, StorageFull

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from tusserver.protocol.checksum import Buffer

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CANNOT_CLONE = frozenset(
    {
        errno.EOPNOTSUPP,
        errno.ENOTTY,
        errno.EXDEV,
        errno.EINVAL,
        errno.ENOSYS,
        errno.EPERM,
        errno.EBADF,
        errno.ETXTBSY,
    }
)
_FICLONERANGE = 0x4020940D
_KEEP_SIZE = 1
_MAX_BUFFERS = 512
_SMALL_FILE = 64 * 1024
_COPY_SIZE = 64 * 1024 * 1024
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
UNKNOWN_BOOT = "unknown"


class _StorageErrors:
    # A class, because a generator takes six times as long, several times for each request.

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError):
            raise (StorageFull if is_out_of_room(error) else StorageFailed)() from error


_STORAGE_ERRORS = _StorageErrors()


def storage_errors() -> AbstractContextManager[None]:
    """Turns an OSError into StorageFull or StorageFailed; its text stays in the log and does not
    reach the client.
    """
    return _STORAGE_ERRORS


def is_out_of_room(error: OSError) -> bool:
    """The disk or a quota is full, or a limit on the size of a file is reached."""
    return error.errno in _NO_ROOM


def boot_id() -> str:
    """What distinguishes this run of the kernel from the one before a loss of power; UNKNOWN_BOOT
    if nothing does.
    """
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return UNKNOWN_BOOT


def open_file(
    path: str, mode: int = 0o664, *, create: bool = False, read_only: bool = False
) -> int:
    """A descriptor of a plain file, never through a symbolic link. `create`: it must not exist yet.
    Raises OSError.
    """
    flags = os.O_RDONLY if read_only else os.O_RDWR
    if create:
        flags |= os.O_CREAT | os.O_EXCL
    if sys.platform == "win32":
        return os.open(path, flags | os.O_BINARY | os.O_NOINHERIT, mode)
    # Something else than a plain file must not make us wait for its other side.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, mode)


def set_modified(descriptor: int, moment: int) -> None:
    """Sets when this file was last modified, in nanoseconds since the epoch, where that is
    possible.
    """
    if os.utime in os.supports_fd:
        os.utime(descriptor, ns=(moment, moment))


def file_time(temporary: str) -> float:
    """The present moment by the clock that stamps files, in seconds since the epoch; that of
    another machine, perhaps. There is no file at `temporary` yet. Raises OSError.
    """
    descriptor = open_file(temporary, create=True)
    try:
        return os.fstat(descriptor).st_ctime
    finally:
        os.close(descriptor)
        remove(temporary)


def read_file(path: str) -> bytes:
    """All that is in a small file; nothing of what is no plain file. Raises OSError."""
    descriptor = open_file(path, read_only=True)
    try:
        content = os.read(descriptor, _SMALL_FILE)
        if len(content) == _SMALL_FILE:
            while more := os.read(descriptor, _SMALL_FILE):
                content += more
        return content
    finally:
        os.close(descriptor)


def is_missing(path: str) -> bool:
    """Whether there is nothing at `path`, not even a dangling link. Raises OSError."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    return False


def remove(path: str) -> None:
    """Removes this file if it is there. Raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def set_group_and_mode(descriptor: int, group: int | None, mode: int) -> None:
    """Gives an open file or folder these permissions, whatever the umask, and this group unless it
    is None. Raises OSError.
    """
    if sys.platform == "win32":
        return
    if group is not None:
        os.fchown(descriptor, -1, group)
    # After the group, whose change takes bits away.
    os.fchmod(descriptor, mode)


def is_ours(file: os.stat_result) -> bool:
    """The user of this process owns this file."""
    return sys.platform == "win32" or file.st_uid == os.geteuid()


def sync_data(descriptor: int) -> None:
    """Returns when the bytes and the size of this file are on the disk."""
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    elif sys.platform == "win32":
        os.fsync(descriptor)
    else:
        os.fdatasync(descriptor)


def sync_directory(directory: str | Path) -> None:
    """Returns when the entries of this directory are on the disk."""
    if sys.platform == "win32":
        return  # Directories cannot be opened there; NTFS journals them.
    descriptor = open_directory(directory)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_directory(directory: str | Path) -> int:
    """A descriptor for syncing the entries of this directory. Raises OSError."""
    if sys.platform == "win32":
        raise NotImplementedError
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def write_at(descriptor: int, buffers: Sequence[Buffer], offset: int) -> int:
    """Writes all buffers one behind the other from `offset` on, and returns the offset behind them.

    Raises OSError; whatever was written by then is right, but the last call's bytes are not counted
    anywhere.
    """
    if len(buffers) == 1:
        # Most often; the rest, if it was too much for one call, goes the long way.
        written = _write_some(descriptor, buffers, offset)
        offset += written
        if written == len(buffers[0]):
            return offset
        buffers = [memoryview(buffers[0])[written:]]
    for start in range(0, len(buffers), _MAX_BUFFERS):
        views = [memoryview(buffer) for buffer in buffers[start : start + _MAX_BUFFERS]]
        while views:
            written = _write_some(descriptor, views, offset)
            offset += written
            views = _behind(views, written)
    return offset


def _write_some(descriptor: int, views: Sequence[Buffer], offset: int) -> int:
    if sys.platform != "win32":
        return os.pwritev(descriptor, views, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.write(descriptor, views[0])


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """At most `size` bytes from `offset` on; empty at the end of the file. Raises OSError."""
    if sys.platform != "win32":
        return os.pread(descriptor, size, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, size)


def _behind(views: list[memoryview], written: int) -> list[memoryview]:
    """What is left of `views` after their first `written` bytes."""
    for index, view in enumerate(views):
        if written < len(view):
            return [view[written:], *views[index + 1 :]]
        written -= len(view)
    return []


class Staged:
    """The new content of a file, written beside it, which has yet to take its place."""

    __slots__ = ("_temporary", "content", "descriptor", "path")

    def __init__(self, path: str, content: bytes, temporary: str, mode: int) -> None:
        """`temporary` is on the same file system, and is gone in the end; or it is `path` itself,
        where there must be nothing yet and nobody must look. Raises OSError.
        """
        self.path = path
        self.content = content
        self._temporary = temporary
        self.descriptor = open_file(temporary, mode, create=True)
        try:
            write_at(self.descriptor, [content], 0)
        except OSError:
            self.discard()
            raise

    def put(self) -> None:
        """A reader, and a crash, see the old or the new content whole. Raises OSError."""
        try:
            os.close(self.descriptor)
            if self._temporary != self.path:
                os.replace(self._temporary, self.path)
        except OSError:
            remove(self._temporary)
            raise

    def discard(self) -> None:
        """The old content stays. Raises OSError."""
        os.close(self.descriptor)
        remove(self._temporary)


def replace_file(path: str, content: bytes, temporary: str, mode: int, *, durable: bool) -> None:
    """Puts `content` at `path` so that a reader, and a crash, see the old or the new one whole.

    With `durable` it is on the disk on return. `temporary` is on the same file system and is gone
    afterwards.
    """
    staged = Staged(path, content, temporary, mode)
    if durable:
        try:
            os.fsync(staged.descriptor)
        except OSError:
            staged.discard()
            raise
    staged.put()
    if durable:
        sync_directory(os.path.dirname(path))


def reserve(descriptor: int, length: int) -> None:
    """Has room set aside for the first `length` bytes, without making the file any longer, where
    that is possible; they are written faster then. Raises OSError when there is not enough, and
    holds none of it.
    """
    library = _c_library()
    fallocate = getattr(library, "fallocate64", None) or getattr(library, "fallocate", None)
    if fallocate is None or length == 0:
        return
    if fallocate(descriptor, _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(length)):
        number = ctypes.get_errno()
        if number in _NO_ROOM:
            # What there was of it is still set aside.
            os.ftruncate(descriptor, os.fstat(descriptor).st_size)
            raise OSError(number, os.strerror(number))


@cache
def _c_library() -> object:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def append_copy(source: int, target: int, length: int, offset: int) -> None:
    """Copies the first `length` bytes of `source` into `target` at `offset`, inside the kernel
    where it can.

    On file systems with shared extents nothing is copied at all. Raises OSError, also when `source`
    is shorter.
    """
    if length == 0 or _clone(source, target, length, offset):
        return
    position = 0
    while position < length:
        step = min(_COPY_SIZE, length - position)
        copied = _copy_step(source, target, step, position, offset + position)
        if copied == 0:
            raise OSError(errno.EIO, "a partial upload is shorter than its length")
        position += copied


def _clone(source: int, target: int, length: int, offset: int) -> bool:
    if sys.platform == "linux":
        # A range that does not end at a block boundary is allowed at the end of the source only,
        # and an unaligned target is refused: both simply fall back to copying.
        file_clone_range = struct.pack("=qQQQ", source, 0, length, offset)
        try:
            fcntl.ioctl(target, _FICLONERANGE, file_clone_range)
            return True
        except OSError as error:
            if error.errno not in _CANNOT_CLONE:
                raise
    return False


def can_clone(temporary: str) -> bool:
    """Whether files can share bytes on the file system of this path, where there is no file yet."""
    source = open_file(temporary, create=True)
    try:
        write_at(source, [bytes(4096)], 0)
        # Onto itself at another block: file systems that know how to share do that, too.
        return _clone(source, source, 4096, 4096)
    finally:
        os.close(source)
        remove(temporary)


def _copy_step(source: int, target: int, step: int, position: int, offset: int) -> int:
    if sys.platform == "linux":
        try:
            return os.copy_file_range(source, target, step, position, offset)
        except OSError as error:
            if error.errno not in _CANNOT_CLONE:
                raise
    buffer = read_at(source, min(step, 1024 * 1024), position)
    write_at(target, [buffer], offset)
    return len(buffer)


def free_bytes(directory: Path) -> int:
    """The room that is left for this process on the file system of `directory`, in bytes."""
    return shutil.disk_usage(directory).free

"""Opens folders below a root one by one and never through a symbolic link, so that nobody who may
write there can lead us out of it; and what can be done to a name in a folder that is open.

A root that does not exist is not made: it may be a disk that is not mounted.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from tusserver.store import filesystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

if sys.platform == "win32":
    # There is nothing like it there: `compose_policy` refuses to place files.
    FILE_FLAGS = _ROOT_FLAGS = _FOLDER_FLAGS = 0
else:
    FILE_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    """For a plain file: no link is followed, and something else does not make us wait."""
    _ROOT_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    _FOLDER_FLAGS = _ROOT_FLAGS | os.O_NOFOLLOW
_RENAME_NOREPLACE = 1
_HERE = -100


class UnsafeFolder(OSError):
    """A symbolic link or a file is where a folder should be."""


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders below `root`, which may itself be a link. New ones get `mode` whatever the umask,
    and `group` unless it is None. `durable`: their entries are on the disk when one is opened.
    """

    root: Path
    mode: int
    group: int | None
    durable: bool

    @contextmanager
    def opened(self, names: tuple[str, ...], *, make: bool) -> Iterator[int]:
        """A descriptor of the last of these folders, of the root if there are none. `make`: those
        that are missing are made. Raises UnsafeFolder and OSError.
        """
        with ExitStack() as stack:
            folder = os.open(self.root, _ROOT_FLAGS)
            stack.callback(os.close, folder)
            for name in names:
                check_component(name)
                child = _enter(folder, name) if not make else self._enter_or_make(folder, name)
                stack.callback(os.close, child)
                if self.durable:
                    # Also one that was there: whoever made it may have died before this.
                    os.fsync(folder)
                folder = child
            yield folder

    def _enter_or_make(self, parent: int, name: str) -> int:
        with suppress(FileNotFoundError):
            return _enter(parent, name)
        try:
            os.mkdir(name, self.mode, dir_fd=parent)
        except FileExistsError:
            return _enter(parent, name)
        folder = _enter(parent, name)
        try:
            # What the parent hands down stays: files made here have the group of the folder.
            inherited = os.fstat(folder).st_mode & stat.S_ISGID
            filesystem.set_group_and_mode(folder, self.group, self.mode | inherited)
        except OSError:
            os.close(folder)
            raise
        return folder


def _enter(parent: int, name: str) -> int:
    try:
        return os.open(name, _FOLDER_FLAGS, dir_fd=parent)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        found = look(name, parent)
        kind = "symbolic link" if found and stat.S_ISLNK(found.st_mode) else "file"
        reason = f"there is a {kind} where a folder should be"
        raise UnsafeFolder(errno.ENOTDIR, reason, name) from None


def check_component(name: str) -> None:
    """Raises ValueError for what is not the name of something in a folder."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError(f"{name!r} is not the name of a file or folder")


def look(name: str, folder: int) -> os.stat_result | None:
    """What has this name in a folder, be it a dangling link. Raises OSError."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def content(name: str, folder: int, size: int) -> bytes | None:
    """What is in a plain file, if it has this small size. Raises OSError."""
    found = look(name, folder)
    if found is None or not stat.S_ISREG(found.st_mode) or found.st_size != size:
        return None
    descriptor = os.open(name, os.O_RDONLY | FILE_FLAGS, dir_fd=folder)
    try:
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)


def remove(name: str, folder: int) -> None:
    """Removes this name from a folder if it is there. Raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def rename_exclusively(origin: str, origin_folder: int | None, name: str, folder: int) -> None:
    """Gives a file a name in `folder` that nobody has yet, at one stroke. Raises OSError:
    FileExistsError if somebody has it, EINVAL or ENOSYS where this cannot be done.
    """
    function = _renameat2()
    if function is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    at = _HERE if origin_folder is None else origin_folder
    if function(at, os.fsencode(origin), folder, os.fsencode(name), _RENAME_NOREPLACE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)


@cache
def _renameat2() -> Callable[[int, bytes, int, bytes, int], int] | None:
    if sys.platform != "linux":
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return None
    function.argtypes = (
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_uint,
    )

    def call(at: int, origin: bytes, folder: int, name: bytes, flags: int) -> int:
        result: int = function(at, origin, folder, name, flags)
        return result

    return call

"""Moves a finished upload to its place below a root, where other programs look for it. Blocking;
knows nothing of requests, nor of how names are chosen.

On one file system the upload's file gets its new name as a hard link, which fails if the name is
taken, and then loses its old one. Where there are no hard links it is renamed with
RENAME_NOREPLACE; where there is not even that, a file of our own is created under the name, with
the upload's id in it, and replaced. From another file system it is copied first:

    <root>/<folders>/.<id>.part    the copy, until it has been compared with the upload

What is about to appear is noted before it does, as path and inode. After a crash at any moment the
same call carries on: a file with the noted inode at the noted path is ours, whatever else is there
is not. The upload's own file goes last, when its bytes are in place (with `durable`: on the disk).

Folders are opened one by one and never through a symbolic link, so that nobody who may write below
the root can lead an upload out of it. A root that does not exist is not made: it may be a disk that
is not mounted.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING

from tusserver.protocol.finish import Intent
from tusserver.store import filesystem
from tusserver.store.file_layout import escape

assert sys.platform != "win32", "this module needs descriptors of directories"

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FOLDER_READY = "folder ready"
PREPARED = "prepared"
PART_OPEN = "part open"
PART_WRITTEN = "part written"
COPIED = "copied"
COMPARED = "compared"
NOTED = "noted"
CLAIMED = "claimed"
NAMED = "named"
PLACE_SYNCED = "place synced"
PART_REMOVED = "part removed"
SOURCE_REMOVED = "source removed"
STEPS: tuple[str, ...] = (
    FOLDER_READY,
    PREPARED,
    PART_OPEN,
    PART_WRITTEN,
    COPIED,
    COMPARED,
    NOTED,
    CLAIMED,
    NAMED,
    PLACE_SYNCED,
    PART_REMOVED,
    SOURCE_REMOVED,
)
"""What `on_step` is told of, in this order; which of them there are depends on the way, and
PART_WRITTEN and NOTED may come several times.
"""

_COPY_SIZE = 4 * 1024 * 1024
_MAX_NAME = 255
_RENAME_NOREPLACE = 1
_PERMISSIONS = 0o777
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})
_NO_EXCLUSIVE_RENAME = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class OnCollision(Enum):
    """What happens if somebody else's file has the name already."""

    NUMBER = "number"
    REFUSE = "refuse"
    REPLACE = "replace"


class NameTaken(Exception):
    """Somebody else's file, or a folder, has the name and is to stay."""


class UnsafeFolder(OSError):
    """A symbolic link or a file is where a folder should be."""


class NothingToPlace(FileNotFoundError):
    """The upload's file is gone, and what was noted is not at its place either: whoever waits for
    such files may have taken it away already.
    """


@dataclass(frozen=True, slots=True)
class Placed:
    """Where the file is: as an absolute path, and relative to the root with slashes."""

    path: Path
    relative: str


@dataclass(frozen=True, slots=True)
class Placer:
    """Places files below `root`.

    `numbered` makes another name of a name and a number from 1 on. `file_mode` None keeps that of
    the upload, `group` None that of the process. `durable`: the file and the entries of folders are
    on the disk before the upload's own file goes.
    """

    root: Path
    on_collision: OnCollision
    file_mode: int | None
    directory_mode: int
    group: int | None
    durable: bool
    numbered: Callable[[str, int], str]

    def place(
        self,
        source: Path,
        folders: tuple[str, ...],
        name: str,
        upload_id: str,
        intent: Intent | None,
        note: Callable[[Intent], None],
        *,
        on_step: Callable[[str], None] = lambda step: None,
        on_progress: Callable[[int], None] = lambda copied: None,
    ) -> Placed:
        """Moves `source` to `name` in `folders`, or carries on where a crash has ended that.

        `intent` is the last one that `note` was given, which has to keep it durably; the other
        arguments are the same each time, and nobody else places this upload meanwhile. While bytes
        are copied `on_progress` is told how many are. Raises NameTaken, UnsafeFolder,
        NothingToPlace and OSError; the source is still there then, and the call may be repeated.
        """
        for component in (*folders, name):
            _check_component(component)
        job = _Job(self, source, name, upload_id, note, on_step, on_progress)
        with ExitStack() as stack:
            found = job.open_source(stack)
            relative = None if intent is None else job.carry_on(intent, found)
            if relative is None:
                if found is None:
                    raise NothingToPlace(errno.ENOENT, "there is nothing to place", str(source))
                relative = job.begin(folders, found)
        return Placed(self.root / relative, relative)

    def link(self, origin: str, origin_folder: int | None, name: str, folder: int) -> None:
        """Gives a file one more name in the folder of this descriptor. Raises OSError."""
        os.link(
            origin, name, src_dir_fd=origin_folder, dst_dir_fd=folder, follow_symlinks=False
        )

    def rename_exclusively(
        self, origin: str, origin_folder: int | None, name: str, folder: int
    ) -> None:
        """Gives a file another name that nobody has. Raises OSError; EEXIST if somebody has."""
        function = _renameat2()
        if function is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        at = -100 if origin_folder is None else origin_folder
        if function(at, os.fsencode(origin), folder, os.fsencode(name), _RENAME_NOREPLACE):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), name)


@dataclass(frozen=True, slots=True)
class _Source:
    """The upload's own file, or its copy: what is to get the name."""

    descriptor: int
    name: str
    folder: int | None
    device: int
    inode: int

    @classmethod
    def of(cls, descriptor: int, name: str, folder: int | None = None) -> _Source:
        found = os.fstat(descriptor)
        return cls(descriptor, name, folder, found.st_dev, found.st_ino)

    def is_same(self, found: os.stat_result | None) -> bool:
        return found is not None and (found.st_dev, found.st_ino) == (self.device, self.inode)


@dataclass(frozen=True, slots=True)
class _Job:
    """One call of `place`."""

    placer: Placer
    source: Path
    name: str
    upload_id: str
    note: Callable[[Intent], None]
    step: Callable[[str], None]
    progress: Callable[[int], None]

    @property
    def part(self) -> str:
        """The name of the copy. Others may know the id and put something there."""
        name = f".{escape(self.upload_id)}.part"
        is_short = len(os.fsencode(name)) <= _MAX_NAME
        return name if is_short else f".{sha256(os.fsencode(name)).hexdigest()}.part"

    def open_source(self, stack: ExitStack) -> _Source | None:
        try:
            descriptor = os.open(self.source, os.O_RDONLY | _FILE_FLAGS)
        except FileNotFoundError:
            return None
        stack.callback(os.close, descriptor)
        return _Source.of(descriptor, str(self.source))

    def carry_on(self, intent: Intent, source: _Source | None) -> str | None:
        """Ends what was begun if the noted file is at its place. Where it is not, nobody can see
        anything of this upload, and it begins anew.
        """
        *folders, name = intent.path.split("/")
        for component in (*folders, name):
            _check_component(component)
        try:
            with self._folder(tuple(folders), make=False) as folder:
                if not self._is_placed(intent, source, folder, name):
                    return None
                self._finish(folder)
        except FileNotFoundError:
            return None
        return intent.path

    def _is_placed(self, intent: Intent, source: _Source | None, folder: int, name: str) -> bool:
        found = _look(name, folder)
        if source is not None and source.is_same(found):
            return True
        # Devices may have other numbers after a boot, so that these are not compared.
        if found is None or not stat.S_ISREG(found.st_mode) or found.st_ino != intent.inode:
            return False
        if source is None:
            return True
        # The name may have outlived a loss of power that the bytes of the copy have not.
        return _has_bytes_of(source.descriptor, name, folder)

    def begin(self, folders: tuple[str, ...], source: _Source) -> str:
        with self._folder(folders, make=True) as folder:
            self.step(FOLDER_READY)
            name = self._link_or_copy(folders, folder, source)
            self.step(NAMED)
            self._finish(folder)
        return "/".join((*folders, name))

    def _link_or_copy(self, folders: tuple[str, ...], folder: int, source: _Source) -> str:
        # Folders are compared, for on overlays the files have other devices than these.
        if os.stat(self.source.parent).st_dev == os.fstat(folder).st_dev:
            self._prepare(source.descriptor, source.descriptor)
            self.step(PREPARED)
            try:
                return self._appear(source, folders, folder)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
        if self.placer.on_collision is OnCollision.REFUSE and _look(self.name, folder):
            raise NameTaken(_taken(folders, self.name))
        descriptor = self._open_part(folder)
        try:
            self._copy(source.descriptor, descriptor)
            return self._appear(_Source.of(descriptor, self.part, folder), folders, folder)
        except (OSError, NameTaken) as error:
            # The rest of a copy is worth keeping, but not for its room.
            if isinstance(error, NameTaken) or filesystem.is_out_of_room(error):
                _remove(self.part, folder)
            raise
        finally:
            os.close(descriptor)

    def _prepare(self, descriptor: int, model: int) -> None:
        """Whoever sees the name is to see group, mode and bytes as they stay."""
        if self.placer.group is not None:
            os.fchown(descriptor, -1, self.placer.group)
        mode = self.placer.file_mode
        # After the group, whose change takes bits away.
        os.fchmod(descriptor, os.fstat(model).st_mode & _PERMISSIONS if mode is None else mode)
        if self.placer.durable:
            os.fsync(descriptor)

    def _appear(self, origin: _Source, folders: tuple[str, ...], folder: int) -> str:
        for name in self._candidates():
            if self.placer.on_collision is not OnCollision.REPLACE and not self._is_free(
                name, folder
            ):
                continue
            self.note(Intent("/".join((*folders, name)), origin.device, origin.inode))
            self.step(NOTED)
            if self._put(origin, name, folder):
                return name
        raise NameTaken(_taken(folders, self.name))

    def _candidates(self) -> Iterator[str]:
        yield self.name
        if self.placer.on_collision is OnCollision.NUMBER:
            yield from (self.placer.numbered(self.name, number) for number in count(1))

    def _is_free(self, name: str, folder: int) -> bool:
        found = _look(name, folder)
        return found is None or self._is_claim(found, name, folder)

    def _put(self, origin: _Source, name: str, folder: int) -> bool:
        """Whether the name could be given, at one stroke; False if somebody else has it."""
        if self.placer.on_collision is OnCollision.REPLACE:
            try:
                os.rename(origin.name, name, src_dir_fd=origin.folder, dst_dir_fd=folder)
            except IsADirectoryError:
                return False
            return True
        try:
            self.placer.link(origin.name, origin.folder, name, folder)
        except FileExistsError:
            # A file server may have done it and have been asked once more.
            return origin.is_same(_look(name, folder)) or (
                self._is_free(name, folder) and self._rename(origin, name, folder)
            )
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            return self._rename(origin, name, folder)
        return True

    def _rename(self, origin: _Source, name: str, folder: int) -> bool:
        try:
            self.placer.rename_exclusively(origin.name, origin.folder, name, folder)
        except FileExistsError:
            return self._is_free(name, folder) and self._replace_claim(origin, name, folder)
        except OSError as error:
            if error.errno not in _NO_EXCLUSIVE_RENAME:
                raise
            return self._replace_claim(origin, name, folder)
        return True

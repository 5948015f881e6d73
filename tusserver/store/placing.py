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

One moment is not covered, and only where a file is claimed: between its creation and the id in it
a crash leaves an empty file, which nobody can tell from somebody else's.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from tusserver.protocol.finish import Intent
from tusserver.store import filesystem
from tusserver.store.collisions import OnCollision, candidates
from tusserver.store.copying import (
    COMPARED,
    COPIED,
    PART_OPEN,
    PART_WRITTEN,
    copy,
    has_bytes_of,
    open_part,
)
from tusserver.store.file_layout import escape
from tusserver.store.folders import (
    FILE_FLAGS,
    Folders,
    UnsafeFolder,
    check_component,
    content,
    look,
    remove,
    rename_exclusively,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = [
    "STEPS",
    "Intent",
    "NameTaken",
    "NothingToPlace",
    "OnCollision",
    "Placed",
    "Placer",
    "UnsafeFolder",
]

FOLDER_READY = "folder ready"
PREPARED = "prepared"
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
"""What `on_step` is told of, right after it. Which of them there are depends on the way that is
taken; PART_WRITTEN and NOTED may come several times.
"""

_MAX_NAME = 255
_PERMISSIONS = 0o777
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})
_NO_EXCLUSIVE_RENAME = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


class NameTaken(Exception):
    """Somebody else's file, or a folder, has the name and is to stay."""


class NothingToPlace(FileNotFoundError):
    """The upload's file is gone, and what was noted is not at its place: whoever waits for such
    files may have taken it away already.
    """


@dataclass(frozen=True, slots=True)
class Placed:
    """Where the file is: as a path, and relative to the root with slashes."""

    path: Path
    relative: str


@dataclass(frozen=True, slots=True)
class Placer:
    """Places files below `root`, an absolute path of a folder that exists.

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
        are copied, `on_progress` is told how many are. Raises NameTaken, UnsafeFolder,
        NothingToPlace, ValueError for what is no name, and OSError; the source is still there then
        if it was before, and the call may be repeated.
        """
        for component in (*folders, name):
            check_component(component)
        os.stat(self.root)  # A disk that is not mounted must not look like a file taken away.
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
        """Gives a file one more name, in the folder of this descriptor. Raises OSError."""
        os.link(origin, name, src_dir_fd=origin_folder, dst_dir_fd=folder, follow_symlinks=False)

    def rename_exclusively(
        self, origin: str, origin_folder: int | None, name: str, folder: int
    ) -> None:
        """See folders. What a file system cannot do may be overridden here, as may `link`."""
        rename_exclusively(origin, origin_folder, name, folder)


@dataclass(frozen=True, slots=True)
class _Origin:
    """What is to get the name: the upload's own file, or the copy in the folder."""

    descriptor: int
    name: str
    folder: int | None
    device: int
    inode: int

    @classmethod
    def of(cls, descriptor: int, name: str, folder: int | None = None) -> _Origin:
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
    def _part(self) -> str:
        name = f".{escape(self.upload_id)}.part"
        is_short = len(os.fsencode(name)) <= _MAX_NAME
        return name if is_short else f".{sha256(os.fsencode(name)).hexdigest()}.part"

    @property
    def _claim(self) -> bytes:
        return os.fsencode(f"tusserver is about to place {self.upload_id} here\n")

    @property
    def _folders(self) -> Folders:
        placer = self.placer
        return Folders(placer.root, placer.directory_mode, placer.group, placer.durable)

    def open_source(self, stack: ExitStack) -> _Origin | None:
        try:
            descriptor = os.open(self.source, os.O_RDONLY | FILE_FLAGS)
        except FileNotFoundError:
            return None
        stack.callback(os.close, descriptor)
        return _Origin.of(descriptor, str(self.source))

    def carry_on(self, intent: Intent, source: _Origin | None) -> str | None:
        """Ends what was begun if the noted file is at its place. If it is not, nobody has seen
        anything of this upload, and it begins anew.
        """
        *folders, name = intent.path.split("/")
        for component in (*folders, name):
            check_component(component)
        opened = self._folders.opened(tuple(folders), make=False)
        with suppress(FileNotFoundError), opened as folder:
            if self._is_placed(intent, source, name, folder):
                self._finish(folder)
                return intent.path
            if content(name, folder, len(self._claim)) == self._claim:
                remove(name, folder)
        return None

    def _is_placed(self, intent: Intent, source: _Origin | None, name: str, folder: int) -> bool:
        found = look(name, folder)
        if source is not None and source.is_same(found):
            return True
        # A device may have another number after a boot, so that it is not compared.
        if found is None or not stat.S_ISREG(found.st_mode) or found.st_ino != intent.inode:
            return False
        # Without `durable` the name may have outlived a loss of power that the bytes have not.
        return source is None or has_bytes_of(source.descriptor, name, folder)

    def begin(self, folders: tuple[str, ...], source: _Origin) -> str:
        """All of it; returns the relative path."""
        with self._folders.opened(folders, make=True) as folder:
            self.step(FOLDER_READY)
            name = self._link_or_copy(folders, folder, source)
            self.step(NAMED)
            self._finish(folder)
        return "/".join((*folders, name))

    def _link_or_copy(self, folders: tuple[str, ...], folder: int, source: _Origin) -> str:
        # Folders are compared, for on overlays their files have other devices than they.
        if os.stat(self.source.parent).st_dev == os.fstat(folder).st_dev:
            self._prepare(source.descriptor, source.descriptor)
            self.step(PREPARED)
            try:
                return self._appear(source, folders, folder)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
        if self.placer.on_collision is OnCollision.REFUSE and look(self.name, folder):
            raise NameTaken(_taken(folders, self.name))
        descriptor = open_part(self._part, folder)
        try:
            copy(
                source.descriptor,
                descriptor,
                lambda: self._prepare(descriptor, source.descriptor),
                self.step,
                self.progress,
                durable=self.placer.durable,
            )
            return self._appear(_Origin.of(descriptor, self._part, folder), folders, folder)
        except (OSError, NameTaken) as error:
            # The rest of a copy is worth keeping for the next attempt, but not its room.
            if isinstance(error, NameTaken) or filesystem.is_out_of_room(error):
                remove(self._part, folder)
            raise
        finally:
            os.close(descriptor)

    def _prepare(self, descriptor: int, model: int) -> None:
        """Whoever sees the name is to see group, mode and bytes as they will stay."""
        mode = self.placer.file_mode
        if mode is None:
            mode = os.fstat(model).st_mode & _PERMISSIONS
        filesystem.set_group_and_mode(descriptor, self.placer.group, mode)
        if self.placer.durable:
            os.fsync(descriptor)

    def _appear(self, origin: _Origin, folders: tuple[str, ...], folder: int) -> str:
        replaces = self.placer.on_collision is OnCollision.REPLACE
        placer = self.placer
        for name in candidates(self.name, placer.on_collision, placer.numbered):
            if not replaces and look(name, folder):
                continue
            self.note(Intent("/".join((*folders, name)), origin.device, origin.inode))
            self.step(NOTED)
            if (self._replace if replaces else self._link)(origin, name, folder):
                return name
        raise NameTaken(_taken(folders, self.name))

    # Each of these gives the name at one stroke, or returns False if it must stay somebody else's.

    def _replace(self, origin: _Origin, name: str, folder: int) -> bool:
        try:
            os.rename(origin.name, name, src_dir_fd=origin.folder, dst_dir_fd=folder)
        except IsADirectoryError:
            return False
        return True

    def _link(self, origin: _Origin, name: str, folder: int) -> bool:
        try:
            self.placer.link(origin.name, origin.folder, name, folder)
        except FileExistsError:
            # A file server may have done it and then been asked once more.
            return origin.is_same(look(name, folder))
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            return self._rename(origin, name, folder)
        return True

    def _rename(self, origin: _Origin, name: str, folder: int) -> bool:
        try:
            self.placer.rename_exclusively(origin.name, origin.folder, name, folder)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_EXCLUSIVE_RENAME:
                raise
            return self._claim_and_replace(origin, name, folder)
        return True

    def _claim_and_replace(self, origin: _Origin, name: str, folder: int) -> bool:
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | FILE_FLAGS
            descriptor = os.open(name, flags, 0o600, dir_fd=folder)
        except FileExistsError:
            return False
        try:
            filesystem.write_at(descriptor, [self._claim], 0)
            self.step(CLAIMED)
            return self._replace(origin, name, folder)
        except OSError:
            remove(name, folder)
            raise
        finally:
            os.close(descriptor)

    def _finish(self, folder: int) -> None:
        """The place is kept, then everything else goes."""
        if self.placer.durable:
            os.fsync(folder)
            self.step(PLACE_SYNCED)
        remove(self._part, folder)
        self.step(PART_REMOVED)
        with suppress(FileNotFoundError):
            os.unlink(self.source)
        self.step(SOURCE_REMOVED)


def _taken(folders: tuple[str, ...], name: str) -> str:
    return f"{'/'.join((*folders, name))!r} is taken"

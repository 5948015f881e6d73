"""Where the file store keeps what, and how its files are read and replaced. Blocking; knows nothing
of requests.

    <root>/<id>                         the bytes; their number is the offset
    <root>/<id>.info                    the record (see file_record)
    <root>/<id>.marker                  a request with a checksum is running, or was when the
    process died: the bytes behind the
                                        offset that stands in it are not verified
    <root>/.tusserver/tmp/<id>.<token>  something that is about to be renamed to its place
    <root>/.tusserver/waiting/<partial>/<final>   a final upload waits for this partial one

A record is there before its data file and goes after it, so that whatever a crash leaves can be
told from files that somebody else put here: a data file without a record is never touched. Inside
`.tusserver` the slashes of an id are written `%2F`.

Ids may have slashes: where uploads are fanned out over folders, each one's path is its id all the
same, so that nobody who looks for it, tusd included, need know how, or whether, that is done.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from tusserver.protocol.errors import UploadNotFound
from tusserver.protocol.urls import is_upload_id
from tusserver.store import filesystem
from tusserver.store.file_record import Origin, Record, Storage, decode, encode

INFO, MARKER, DAMAGED = ".info", ".marker", ".damaged"
# tusd's lock and stop files are not uploads either.
_RESERVED = (INFO, MARKER, DAMAGED, ".lock", ".stop")
_PRIVATE = ".tusserver"
_TEMPORARY = f"{_PRIVATE}/tmp"
_MAX_NAME = 230
"""Bytes that an id may take as a file name, so that the longest suffix still fits into 255."""


@dataclass(frozen=True, slots=True)
class Marker:
    """The bytes from `start` on are staged. `keeps_prefix`: they may stay if nothing more comes (no
    digest was promised).
    """

    start: int
    keeps_prefix: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below one root. `durable` says whether replaced records are synced; modes are those
    of new files.
    """

    root: Path
    durable: bool
    file_mode: int
    directory_mode: int
    _prefix: str = field(init=False, repr=False)
    _folders: set[str] = field(init=False, repr=False, compare=False, default_factory=set)
    """Those below the root that this process has seen to be there for good."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_prefix", f"{self.root}/")

    @property
    def private(self) -> Path:
        """Our own directory; upload ids cannot name it, for they do not begin with a dot."""
        return self.root / _PRIVATE

    @property
    def temporary(self) -> Path:
        return self.root / _TEMPORARY

    @property
    def waiting(self) -> Path:
        return self.private / "waiting"

    def make_directories(self) -> None:
        """Creates what is missing, for good where records are. Raises OSError."""
        private = (self.private, self.temporary, self.waiting)
        missing = [path for path in (self.root, *self.root.parents, *private) if not path.exists()]
        self.root.mkdir(mode=self.directory_mode, parents=True, exist_ok=True)
        for directory in private:
            directory.mkdir(mode=self.directory_mode, exist_ok=True)
        if self.durable:
            for path in missing:
                filesystem.sync_directory(path.parent)

    def has_folder(self, upload_id: str) -> bool:
        """Whether the folders that this id names need not be made."""
        folder = os.path.dirname(upload_id)
        return not folder or (folder in self._folders and os.path.isdir(f"{self._prefix}{folder}"))

    def make_folder(self, upload_id: str) -> None:
        """Creates what is missing of the folders that this id names, for good where records are.
        Raises OSError.
        """
        if self.has_folder(upload_id):
            return
        folder = os.path.dirname(upload_id)
        path = f"{self._prefix}{folder}"
        self.make_folder(folder)
        with suppress(FileExistsError):
            os.mkdir(path, self.directory_mode)
        if self.durable:
            # Also one that is there: whoever made it may have died, or not have got so far yet.
            filesystem.sync_directory(os.path.dirname(path))
        self._folders.add(folder)

    def info(self, upload_id: str) -> str:
        """The path of the record. Raises UploadNotFound for an id that cannot be one of this
        store's.
        """
        return self._path(upload_id, INFO)

    def marker(self, upload_id: str) -> str:
        return self._path(upload_id, MARKER)

    def data(self, upload_id: str, record: Record | None = None) -> str:
        """The path of the bytes: where the record says, if that lies in the root and exists, else
        beside the record.
        """
        beside = self._path(upload_id, "")
        if record is None or record.storage is None or record.storage.path in ("", beside):
            return beside
        path = self._recorded(record.storage)
        return str(path) if path.is_relative_to(self.root) and path.exists() else beside

    def lies_elsewhere(self, record: Record) -> bool:
        """Whether the record says that the bytes are outside of the root, as tusd's hooks may put
        them. If they are not found beside it, it is not ours to remove.
        """
        return record.storage is not None and not self._recorded(record.storage).is_relative_to(
            self.root
        )

    def _recorded(self, storage: Storage) -> Path:
        return Path(os.path.normpath(self.root / storage.path))

    def is_possible(self, upload_id: str) -> bool:
        """Whether an upload of this store may have this id: it names no side file, and all its side
        files have names.
        """
        return _is_possible(upload_id)

    def _path(self, upload_id: str, suffix: str) -> str:
        # Texts, because this is done several times for each request; a Path takes much longer.
        if not _is_possible(upload_id):
            raise UploadNotFound
        return f"{self._prefix}{upload_id}{suffix}"

    def new_temporary(self, upload_id: str) -> str:
        """A path that nobody else uses, from which one can tell the upload it is for."""
        return f"{self.root}/{_TEMPORARY}/{escape(upload_id)}.{secrets.token_hex(8)}"

    def read_record(self, upload_id: str) -> Origin:
        """The record and the content of its file. Raises UploadNotFound, UploadDamaged, OSError."""
        path = self.info(upload_id)
        try:
            content = filesystem.read_file(path)
            if _is_unwritten(content):
                if self.is_torn(upload_id):
                    raise UploadNotFound
                content = filesystem.read_file(path)  # Perhaps it has just been written.
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise UploadNotFound from None
        return Origin(decode(content), content)

    def is_torn(self, upload_id: str) -> bool:
        """A record that nobody has written to its end and no data beside it: a creation that has
        just begun, or never ended. Raises OSError.
        """
        if not filesystem.is_missing(self.data(upload_id)):
            return False
        try:
            return _is_unwritten(filesystem.read_file(self.info(upload_id)))
        except FileNotFoundError:
            return False

    def stage_first_record(self, upload_id: str, record: Record) -> filesystem.Staged:
        """Writes the record of an upload that is being created; it may have its data file when this
        is put, and is on the disk if that is to be. Raises OSError.
        """
        path = self.info(upload_id)
        # Nobody knows this id yet, so that nobody can see half of it; see `is_torn`.
        return filesystem.Staged(path, encode(record), path, self.file_mode)

    def write_record(self, upload_id: str, record: Record, former: bytes | None = None) -> bytes:
        """Replaces the record as a whole; unknown keys of `former` are kept. Returns the content of
        the file. Raises OSError.
        """
        content = encode(record, former)
        filesystem.replace_file(
            self.info(upload_id),
            content,
            self.new_temporary(upload_id),
            self.file_mode,
            durable=self.durable,
        )
        return content

    def stage_record(
        self, upload_id: str, record: Record, former: bytes | None = None
    ) -> filesystem.Staged:
        """As `write_record`, for one who brings it to the disk before it takes its place."""
        return filesystem.Staged(
            self.info(upload_id),
            encode(record, former),
            self.new_temporary(upload_id),
            self.file_mode,
        )

    def read_marker(self, upload_id: str) -> Marker | None:
        """The marker if one stands."""
        path = self.marker(upload_id)
        # Looked for first because an error takes longer, and there mostly is none. What hides it
        # hides the data file, too.
        if not os.access(path, os.F_OK):
            return None
        try:
            content = filesystem.read_file(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        start, _, kind = content.decode("ascii", "replace").strip().partition(" ")
        return (
            Marker(int(start), kind == "keep")
            if start.isdecimal() and kind in ("keep", "verify")
            else None
        )

    def write_marker(self, upload_id: str, marker: Marker) -> None:
        """Must come before the first staged byte. Raises OSError."""
        kind = "keep" if marker.keeps_prefix else "verify"
        # Whole or not at all, so that no marker without content can stay behind.
        filesystem.replace_file(
            self.marker(upload_id),
            f"{marker.start} {kind}\n".encode(),
            self.new_temporary(upload_id),
            self.file_mode,
            durable=False,
        )

    def remove_marker(self, upload_id: str) -> None:
        filesystem.remove(self.marker(upload_id))


def _is_unwritten(content: bytes) -> bool:
    """What a killed process, or the power that was lost, may leave of a new file."""
    return not content or b"\0" in content


@lru_cache(maxsize=4096)
def _is_possible(upload_id: str) -> bool:
    return (
        is_upload_id(upload_id)
        and not upload_id.endswith(_RESERVED)
        and len(escape(upload_id)) <= _MAX_NAME
    )


def escape(upload_id: str) -> str:
    """The id as one file name."""
    return upload_id.replace("/", "%2F")


def unescape(name: str) -> str:
    """The id that `escape` made this of; an id never has a percent sign of its own."""
    return name.replace("%2F", "/")

"""The operations of the file store on one directory, as blocking calls for worker threads; each is
one whole step.

What a crash can leave, and what makes it whole again (`open`, by the holder of the lock):
- A marker: the bytes behind its offset were never verified, and are cut off.
- A note (`Synced`) from before the last boot: bytes behind it may be missing or zero, and are cut
  off.
- Full size, but the note has not reached it: the process died between the last byte and its sync;
  it is synced now.
- More bytes than the length: another program's doing; they are cut off.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tusserver.protocol.errors import StorageFull, UploadDamaged, UploadNotFound
from tusserver.store import file_record, filesystem
from tusserver.store.base import StoreUnusable
from tusserver.store.file_creation import Creation
from tusserver.store.file_layout import escape, unescape
from tusserver.store.file_record import Origin, Record, Synced
from tusserver.store.file_session import AppendSession
from tusserver.store.filesystem import storage_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tusserver.protocol.decision import Append
    from tusserver.protocol.finish import Finish
    from tusserver.protocol.upload import Upload
    from tusserver.store.file_layout import Layout, Marker


_ROOM_IS_KNOWN = 1.0
"""Seconds for which the free space need not be asked for again by what takes little of it."""


class UploadFolder:
    """One directory of uploads.

    `keeps_notes` is off when nothing is ever synced (`--sync none`).
    """

    def __init__(
        self, layout: Layout, *, keeps_notes: bool, syncs_each_append: bool, boot_id: str
    ) -> None:
        self.layout = layout
        self.keeps_notes = keeps_notes
        self.syncs_each_append = syncs_each_append
        self.boot_id = boot_id
        self.shares_bytes = False
        self._plenty, self._plenty_until = 0, 0.0

    def prepare(self) -> None:
        """Creates the directories and proves that they can be written. Raises StoreUnusable."""
        try:
            self.layout.make_directories()
            self.shares_bytes = filesystem.can_clone(self.layout.new_temporary("probe"))
        except OSError as error:
            raise StoreUnusable(
                f"cannot store uploads in {self.layout.root}: {error.strerror}"
            ) from error

    def create(self, upload: Upload) -> Upload:
        """One whole creation, of which nothing is synced."""
        return self.begin_creation(upload).complete()

    def begin_creation(self, upload: Upload) -> Creation:
        """Writes the record of a new upload. Raises StorageFull, StorageFailed."""
        return Creation(self, upload)

    def load(self, upload_id: str, *, is_held: bool = False) -> Upload:
        """The upload as it can be vouched for, while others may be at work on it unless the lock
        `is_held`. Raises UploadNotFound, UploadDamaged.
        """
        with storage_errors():
            origin = self.layout.read_record(upload_id)
            while True:
                try:
                    return self._loaded(upload_id, origin, is_held=is_held)
                except UploadNotFound:
                    # A finish may have taken the bytes away since the record was read.
                    former, origin = origin, self.layout.read_record(upload_id)
                    has_left = self.has_left(upload_id, origin.record)
                    if origin.content == former.content and not has_left:
                        raise

    def _loaded(self, upload_id: str, origin: Origin, *, is_held: bool) -> Upload:
        record = origin.record
        if self.has_left(upload_id, record):
            return file_record.as_left(upload_id, origin)
        size, modified_at, marker = self._state(upload_id, record, is_held=is_held)
        offset = self._vouched(record, size)
        is_settled = offset == size
        if marker is not None:
            offset, is_settled = min(marker.start, offset), False
        elif self._awaits_finish(record, offset):
            offset, is_settled = offset - 1, False
        return file_record.as_upload(upload_id, origin, offset, modified_at, is_settled=is_settled)

    def has_left(self, upload_id: str, record: Record) -> bool:
        """Whether the bytes are not here any more, and the upload is complete all the same: a
        finish has placed or refused it, or was about to when the process died.
        """
        finish = record.tusserver.finish
        if finish is None:
            return False
        return finish.has_left or (
            finish.intent is not None and filesystem.is_missing(self.layout.data(upload_id, record))
        )

    def record_finish(self, upload: Upload, finish: Finish) -> Upload:
        """Notes how far the finish of an upload has got, and removes bytes that have left."""
        upload_id, layout = upload.upload_id, self.layout
        with storage_errors():
            record, former = layout.read_record(upload_id)
            record.tusserver.finish = finish
            layout.write_record(upload_id, record, former)
            if finish.has_left:
                filesystem.remove(layout.data(upload_id, record))
        return self.load(upload_id, is_held=True)

    def data_path(self, upload_id: str) -> str:
        """Where the bytes of this upload lie. Raises UploadNotFound, UploadDamaged."""
        with storage_errors():
            record, _ = self.layout.read_record(upload_id)
            return self.layout.data(upload_id, record)

    def _state(
        self, upload_id: str, record: Record, *, is_held: bool
    ) -> tuple[int, datetime, Marker | None]:
        """Size, time of the last byte, and marker, so read that no unverified byte is in the size
        without its marker.

        A request with a checksum puts its marker before its first byte, and cuts its bytes off
        before it takes the marker away. So the size is good if the same marker (or none) stood
        before and after it, and it has not shrunk since.
        """
        path = self.layout.data(upload_id, record)
        while True:
            before = self.layout.read_marker(upload_id)
            try:
                state = os.stat(path, follow_symlinks=False)
                settled = is_held or self._is_still(upload_id, path, before, state.st_size)
            except (FileNotFoundError, NotADirectoryError):
                raise UploadNotFound from None
            if not stat.S_ISREG(state.st_mode):
                raise OSError(errno.EINVAL, "this is no plain file", path)
            if settled:
                return state.st_size, datetime.fromtimestamp(state.st_mtime, UTC), before

    def _is_still(self, upload_id: str, path: str, before: Marker | None, size: int) -> bool:
        after = self.layout.read_marker(upload_id)
        return before == after and (
            after is not None or os.stat(path, follow_symlinks=False).st_size >= size
        )

    def _vouched(self, record: Record, size: int) -> int:
        """How many of `size` bytes belong to the upload and are certain to be the ones that were
        stored.
        """
        limit = size if record.length is None else min(size, record.length)
        if record.synced is not None and record.synced.boot_id != self.boot_id:
            return min(limit, record.synced.offset)
        return limit

    def _awaits_finish(self, record: Record, offset: int) -> bool:
        """All bytes are there, but nobody has noted that they are on the disk; until then nobody
        may believe it.
        """
        return record.synced is not None and record.synced.offset < offset == record.length

    def open(self, upload_id: str) -> Upload:
        """Settles what a crash left open. Only for the holder of the lock; see the top of this
        module.
        """
        upload = self.load(upload_id, is_held=True)
        if upload.is_settled:
            return upload
        with storage_errors():
            record, former = self.layout.read_record(upload_id)
            marker = self.layout.read_marker(upload_id)
            descriptor = filesystem.open_file(self.layout.data(upload_id, record))
            try:
                size = os.fstat(descriptor).st_size
                good = self._vouched(record, size)
                if marker is not None and not marker.keeps_prefix:
                    good = min(good, marker.start)
                if good < size:
                    os.ftruncate(descriptor, good)
                self.layout.remove_marker(upload_id)
                self._note_opened(upload_id, record, former, descriptor, good)
            finally:
                os.close(descriptor)
        return self.load(upload_id)

    def _note_opened(
        self, upload_id: str, record: Record, former: bytes, descriptor: int, good: int
    ) -> None:
        if record.synced is not None and (
            record.synced.boot_id != self.boot_id or good == record.length
        ):
            self.note_synced(upload_id, record, former, descriptor, good)

    def note_synced(
        self, upload_id: str, record: Record, former: bytes, descriptor: int, offset: int
    ) -> None:
        """Brings the bytes up to `offset` to the disk and then notes it in the record; the order is
        the promise. For one who is alone with the file: bytes that did not get there are cut off.
        """
        try:
            self.sync_data(descriptor)
        except OSError:
            file_record.cut_unsynced(record, descriptor)
            raise
        self.write_note(upload_id, record, former, offset)

    def sync_data(self, descriptor: int) -> None:
        """Brings the bytes to the disk if syncing is on.

        Raises OSError: then the kernel has dropped what it could not write and calls it clean, so
        that no later sync can be believed.
        """
        if self.keeps_notes:
            filesystem.sync_data(descriptor)

    def write_note(self, upload_id: str, record: Record, former: bytes, offset: int) -> None:
        """Notes that the bytes up to `offset` are on the disk."""
        record.tusserver.synced = Synced(self.boot_id, offset) if self.keeps_notes else None
        self.layout.write_record(upload_id, record, former)

    def refuse_too_long(self, length: int) -> None:
        """Raises StorageFull for what does not fit, as far as that is known."""
        # Small ones need not ask each time: if they do not fit after all, the write says so.
        now = time.monotonic()
        if length < self._plenty and now < self._plenty_until:
            return
        with storage_errors():
            free = filesystem.free_bytes(self.layout.root)
        self._plenty, self._plenty_until = free // 100, now + _ROOM_IS_KNOWN
        if length > free:
            raise StorageFull(f"there is no room for {length} bytes; try again later")

    def begins_at_once(self, upload: Upload) -> bool:
        """Whether `begin_append` has nothing to bring to the disk first."""
        if not isinstance(upload.origin, Origin):
            return False
        note = upload.origin.record.synced
        if self.keeps_notes:
            return note is not None and note.boot_id == self.boot_id
        return note is None

    def begin_append(self, upload: Upload, plan: Append) -> AppendSession:
        """Opens the data file for the bytes of one body. Raises StorageFull when they are known not
        to fit.
        """
        if plan.expected is not None:
            self.refuse_too_long(plan.expected)
        with storage_errors():
            return AppendSession(self, upload, plan)

    def sync(self, upload_id: str) -> None:
        """Brings the bytes stored so far to the disk and notes it. Raises UploadNotFound."""
        upload = self.open(upload_id)
        with storage_errors():
            record, former = self.layout.read_record(upload_id)
            if record.synced is None or record.synced.offset >= upload.offset:
                return
            descriptor = filesystem.open_file(self.layout.data(upload_id, record))
            try:
                self.note_synced(upload_id, record, former, descriptor, upload.offset)
            finally:
                os.close(descriptor)

    def terminate(self, upload_id: str) -> None:
        """Data before record: what is left by a crash in between can then be told to be ours."""
        layout, record = self.layout, None
        with storage_errors():
            # What cannot be read can still be removed.
            with suppress(UploadDamaged):
                record, _ = layout.read_record(upload_id)
            data = layout.data(upload_id, record)
            has_left = record is not None and self.has_left(upload_id, record)
            existed = has_left or os.path.lexists(data)
            if not existed and record is not None and layout.lies_elsewhere(record):
                raise UploadNotFound
            filesystem.remove(data)
            layout.remove_marker(upload_id)
            if layout.durable:
                # A record without data can be told to be ours; data without a record cannot.
                filesystem.sync_directory(os.path.dirname(data))
            self._forget_notes(upload_id, record)
            filesystem.remove(layout.info(upload_id))
            if layout.durable:
                filesystem.sync_directory(os.path.dirname(data))
        if not existed:
            raise UploadNotFound

    def concatenate(self, upload: Upload, partials: Sequence[Upload]) -> Upload:
        """Joins into a temporary file, which then takes the place of the empty data file of the
        final upload.
        """
        layout, upload_id = self.layout, upload.upload_id
        if not self.shares_bytes:
            self.refuse_too_long(sum(partial.offset for partial in partials))
        temporary = layout.new_temporary(upload_id)
        with storage_errors():
            try:
                length = self._join(temporary, partials)
                record, former = layout.read_record(upload_id)
                os.replace(temporary, layout.data(upload_id, record))
            finally:
                filesystem.remove(temporary)
            record.size, record.size_is_deferred = length, False
            self.write_note(upload_id, record, former, length)
            for partial in partials:
                self.forget_waiting_final(partial.upload_id, upload_id)
        return self.load(upload_id)

    def _join(self, path: str, partials: Sequence[Upload]) -> int:
        """Writes the bytes of the partials to `path`, synced if syncing is on, and returns their
        number.
        """
        target = filesystem.open_file(path, self.layout.file_mode, create=True)
        try:
            if not self.shares_bytes:
                filesystem.reserve(target, sum(partial.offset for partial in partials))
            offset = 0
            for partial in partials:
                self._copy(partial, target, offset)
                offset += partial.offset
            if self.keeps_notes:
                filesystem.sync_data(target)
        finally:
            os.close(target)
        return offset

    def _copy(self, partial: Upload, target: int, offset: int) -> None:
        record, _ = self.layout.read_record(partial.upload_id)
        source = filesystem.open_file(self.layout.data(partial.upload_id, record), read_only=True)
        try:
            filesystem.append_copy(source, target, partial.offset, offset)
        finally:
            os.close(source)

    def await_partials(self, upload: Upload, partials: Sequence[Upload]) -> None:
        """Notes of this kind are hints that speed up the joining; losing one with the power does no
        harm.
        """
        with storage_errors():
            for partial in partials:
                self._write_waiting_note(partial.upload_id, upload.upload_id)

    def _write_waiting_note(self, partial_id: str, final_id: str) -> None:
        directory = self.layout.waiting / escape(partial_id)
        while True:
            directory.mkdir(mode=self.layout.directory_mode, exist_ok=True)
            # Whoever forgets another final at this moment drops the directory while it is empty.
            with suppress(FileNotFoundError):
                (directory / escape(final_id)).touch(self.layout.file_mode)
                return

    def waiting_for(self, partial_id: str) -> list[str]:
        """The ids of the finals that wait for this partial."""
        try:
            return [unescape(name) for name in os.listdir(self.layout.waiting / escape(partial_id))]
        except FileNotFoundError:
            return []

    def forget_waiting_final(self, partial_id: str, final_id: str) -> None:
        """This final waits no longer."""
        (self.layout.waiting / escape(partial_id) / escape(final_id)).unlink(missing_ok=True)
        self.drop_waiting_directory(partial_id)

    def drop_waiting_directory(self, partial_id: str) -> None:
        """Removes what held the notes of this partial, unless another final still waits for it."""
        with suppress(OSError):
            (self.layout.waiting / escape(partial_id)).rmdir()

    def _forget_notes(self, upload_id: str, record: Record | None) -> None:
        """Of an upload that goes away: those of its finals, and its own at its partials."""
        for final_id in self.waiting_for(upload_id):
            self.forget_waiting_final(upload_id, final_id)
        for partial_id in (record and record.partial_uploads) or ():
            if self.layout.is_possible(partial_id):
                self.forget_waiting_final(partial_id, upload_id)

"""One body on its way into a data file: the blocking half, for worker threads."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tusserver.protocol.decision import Outcome
from tusserver.store import file_record, filesystem
from tusserver.store.base import Appended
from tusserver.store.direct_io import BlockWriter
from tusserver.store.file_layout import Marker
from tusserver.store.file_record import Origin, Synced
from tusserver.store.filesystem import storage_errors
from tusserver.store.group_commit import DataNotSynced, EntriesNotSynced

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tusserver.protocol.checksum import Buffer, Checksum
    from tusserver.protocol.decision import Append
    from tusserver.protocol.upload import Upload
    from tusserver.store.file_folder import UploadFolder
    from tusserver.store.filesystem import Staged

_SYNC_BYTES = 64 * 1024 * 1024
_SYNC_SECONDS = 5.0
_READ_SIZE = 1024 * 1024


class AppendSession:
    """Holds the open data file of one upload from the first to the last byte of one body.

    `write` and `sync` may run at the same time, in two threads; `complete` (and the commit) or
    `abandon` comes last and alone.
    """

    def __init__(self, folder: UploadFolder, upload: Upload, plan: Append) -> None:
        """Makes record and marker ready for the bytes. Raises OSError, UploadNotFound,
        UploadDamaged.
        """
        self._folder = folder
        self._plan = plan
        self._upload_id = upload.upload_id
        self._start = upload.offset
        self.offset = upload.offset
        self._digest = None if plan.checksum is None else plan.checksum.start()
        origin = upload.origin
        if not isinstance(origin, Origin):
            origin = folder.layout.read_record(upload.upload_id)
        self._record, self._former = origin
        self._last_sync = time.monotonic()
        self._is_doubtful = False
        self._has_failed = False
        self._noted = self._record.synced
        self._outcome = Outcome.COMPLETE
        self._block_writer: BlockWriter | None = None
        self._on_stored: Callable[[str, int], None] | None = None
        path = folder.layout.data(upload.upload_id, self._record)
        self.descriptor = filesystem.open_file(path)
        self._last_byte = os.fstat(self.descriptor).st_mtime_ns
        try:
            self._prepare()
        except BaseException:
            os.close(self.descriptor)
            raise

    def _prepare(self) -> None:
        folder, note = self._folder, self._record.synced
        if folder.keeps_notes and (note is None or note.boot_id != folder.boot_id):
            # From here on bytes may be lost with the power: until where they cannot is noted before
            # the first one.
            folder.note_synced(
                self._upload_id, self._record, self._former, self.descriptor, self._start
            )
        elif note is not None and not folder.keeps_notes:
            folder.note_synced(
                self._upload_id, self._record, self._former, self.descriptor, self._start
            )
        if self._plan.is_staged:
            folder.layout.write_marker(
                self._upload_id, Marker(self._start, self._plan.keeps_prefix)
            )
        else:
            self._declare()

    def _declare(self) -> None:
        if self._plan.declare is not None:
            self._record.size, self._record.size_is_deferred = self._plan.declare, False
            self._folder.layout.write_record(self._upload_id, self._record, self._former)

    def on_stored(self, listener: Callable[[str, int], None]) -> None:
        """From now on `listener` is told of the bytes that are written, unless they do not count
        yet; see `ProgressingStore`.
        """
        if not self._plan.is_staged:
            self._on_stored = listener

    def write_past_cache(self) -> None:
        """From now on large buffers are written past the page cache, where that is possible."""
        self._block_writer = BlockWriter()

    @property
    def writes_past_cache(self) -> bool:
        """Whether large buffers are."""
        return self._block_writer is not None

    def write(self, buffers: Sequence[Buffer]) -> None:
        """Stores these bytes behind those before. Raises StorageFull, StorageFailed.

        After that the file ends with good bytes, and nothing more can be written.
        """
        assert not self._has_failed
        writer = self._block_writer or filesystem
        with storage_errors():
            try:
                end = writer.write_at(self.descriptor, buffers, self.offset)
            except OSError as error:
                self._has_failed = True
                if not filesystem.is_out_of_room(error):
                    # Nobody knows what the failed call has written; without room it is exactly
                    # what fitted.
                    os.ftruncate(self.descriptor, self.offset)
                raise
        if self._digest is not None:
            for buffer in buffers:
                self._digest.update(buffer)
        self.offset = end
        if self._on_stored is not None and end != self._record.length:
            self._on_stored(self._upload_id, end)

    def is_sync_due(self) -> bool:
        """Whether too much, or for too long, has been left to a loss of power."""
        note = self._record.synced
        if note is None or self._plan.is_staged or self.offset == note.offset:
            return False
        return (
            self.offset - note.offset >= _SYNC_BYTES
            or time.monotonic() - self._last_sync >= _SYNC_SECONDS
        )

    def sync(self) -> None:
        """Brings what is stored by now to the disk and notes it.

        Raises StorageFull, StorageFailed.
        """
        with storage_errors():
            self._note(self.offset)
        self._last_sync = time.monotonic()

    def _note(self, offset: int) -> None:
        try:
            self._folder.sync_data(self.descriptor)
        except OSError:
            # Cut off at the end: a write may be running.
            self._is_doubtful = True
            raise
        self._folder.write_note(self._upload_id, self._record, self._former, offset)

    @property
    def completes_at_once(self) -> bool:
        """Whether `complete` has nothing to read again."""
        return not self._plan.is_staged

    def _has_promised_more(self) -> bool:
        note = self._record.synced
        if note is None or note.offset >= self.offset:
            return False
        return self._folder.syncs_each_append or self.offset == self._record.length

    def complete(self, outcome: Outcome, late: Checksum | None) -> Appended | Staged:
        """Decides which of the bytes stay, after the body has ended, with the checksum of its
        trailer if there was one.

        That ends the session, unless more has been promised than is on the disk. Then the record
        that says so is returned, to be committed together with `descriptor`; `committed` or
        `failed` comes last. Raises StorageFull, StorageFailed.
        """
        try:
            with storage_errors():
                if self._plan.is_staged:
                    outcome = self._judge(outcome, late)
                self._outcome = outcome
                if self._has_promised_more():
                    return self._stage_note()
        except BaseException:
            self._close()
            raise
        return self.committed()

    def _stage_note(self) -> Staged:
        self._noted = self._record.synced
        self._record.tusserver.synced = Synced(self._folder.boot_id, self.offset)
        return self._folder.layout.stage_record(self._upload_id, self._record, self._former)

    def committed(self) -> Appended:
        """Ends the session; what has been promised is on the disk. Raises StorageFailed."""
        try:
            with storage_errors():
                modified_at = datetime.fromtimestamp(os.fstat(self.descriptor).st_mtime, UTC)
        finally:
            self._close()
        origin = Origin(self._record, self._former)
        upload = file_record.as_upload(
            self._upload_id, origin, self.offset, modified_at, is_settled=True
        )
        return Appended(upload, self._outcome)

    def failed(self, error: OSError) -> None:
        """Ends the session after its commit has failed; what stays is certain.

        Raises StorageFull, StorageFailed.
        """
        self._record.tusserver.synced = self._noted
        self._is_doubtful = self._is_doubtful or isinstance(error, DataNotSynced)
        try:
            with storage_errors():
                if isinstance(error, EntriesNotSynced):
                    # The new record stands there already, and would be believed.
                    record = self._record
                    self._folder.layout.stage_record(self._upload_id, record, self._former).put()
        finally:
            self._close()

    def _judge(self, outcome: Outcome, late: Checksum | None) -> Outcome:
        if outcome is Outcome.COMPLETE and not self._matches(late):
            outcome = Outcome.MISMATCH
        if outcome is not Outcome.COMPLETE and (
            outcome is Outcome.MISMATCH or not self._plan.keeps_prefix
        ):
            self._cut()
            return outcome
        self._declare()
        self._folder.layout.remove_marker(self._upload_id)
        return outcome

    def _matches(self, late: Checksum | None) -> bool:
        checksum, digest = self._plan.checksum, self._digest
        if checksum is not None and digest is not None and not checksum.matches(digest):
            return False
        if late is None:
            return True
        # Which algorithm a trailer uses is known only now: the bytes are read once more, from the
        # page cache.
        late_digest = late.start()
        for position in range(self._start, self.offset, _READ_SIZE):
            size = min(_READ_SIZE, self.offset - position)
            late_digest.update(filesystem.read_at(self.descriptor, size, position))
        return late.matches(late_digest)

    def _cut(self) -> None:
        """Takes the staged bytes back: first the bytes, then the marker that says so."""
        os.ftruncate(self.descriptor, self._start)
        # Bytes that were refused do not move the deadline.
        filesystem.set_modified(self.descriptor, self._last_byte)
        self._folder.layout.remove_marker(self._upload_id)
        self.offset = self._start

    def abandon(self, *, keeps_prefix: bool) -> None:
        """Ends the session after a failure; what stays is certain. Raises StorageFailed.

        Staged bytes stay only if they are worth keeping.
        """
        try:
            with storage_errors():
                if self._plan.is_staged and not keeps_prefix:
                    self._cut()
                elif self._plan.is_staged:
                    self._folder.layout.remove_marker(self._upload_id)
        finally:
            self._close()

    def _close(self) -> None:
        try:
            if self._is_doubtful:
                with storage_errors():
                    file_record.cut_unsynced(self._record, self.descriptor)
        finally:
            os.close(self.descriptor)

"""One upload on its way into the folder: the blocking half, for worker threads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tusserver.protocol.upload import Final
from tusserver.store import file_record, filesystem
from tusserver.store.file_record import Origin, Synced
from tusserver.store.filesystem import storage_errors

if TYPE_CHECKING:
    from tusserver.protocol.upload import Upload
    from tusserver.store.file_folder import UploadFolder


class Creation:
    """Record first, then the empty data file: see file_layout for the order. Where it is to be
    durable, `record` is brought to the disk in between.
    """

    def __init__(self, folder: UploadFolder, upload: Upload) -> None:
        """Writes the record. Raises StorageFull, StorageFailed."""
        # A final upload that shares the bytes of its partials needs no room of its own.
        if upload.length is not None and not (
            isinstance(upload.concat, Final) and folder.shares_bytes
        ):
            folder.refuse_too_long(upload.length)
        layout, upload_id = folder.layout, upload.upload_id
        synced = Synced(folder.boot_id, 0) if folder.keeps_notes else None
        self._data = layout.data(upload_id)
        self._mode = layout.file_mode
        made = file_record.new_record(upload, self._data, layout.info(upload_id), synced)
        with storage_errors():
            self.record = layout.stage_first_record(upload_id, made)
        self.upload = replace(upload, origin=Origin(made, self.record.content))
        """As it stands when all is done."""

    def complete(self) -> Upload:
        """All the rest. Raises StorageFull, StorageFailed."""
        with storage_errors():
            try:
                self.record.put()
                self.create_data()
            except OSError as error:
                self.undo(error)
                raise
        return self.upload

    def create_data(self) -> None:
        """Comes when the record has taken its place. Raises OSError."""
        os.close(filesystem.open_file(self._data, self._mode, create=True))

    def undo(self, error: OSError) -> None:
        """Leaves nothing of a creation that has failed with this error. Raises OSError."""
        if not isinstance(error, FileExistsError):
            filesystem.remove(self._data)
        filesystem.remove(self.record.path)

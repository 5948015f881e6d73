"""Hands complete uploads over to the folders of other programs: the blocking half of `PlacingStore`
for the file store.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tusserver.protocol.errors import UploadNotFound
from tusserver.store import filesystem
from tusserver.store.base import PlaceRefused
from tusserver.store.filesystem import storage_errors
from tusserver.store.placing import NameTaken, NothingToPlace, Placer, UnsafeFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tusserver.protocol.finish import Finish, Intent
    from tusserver.protocol.upload import Upload
    from tusserver.store.file_folder import UploadFolder


class Places:
    """Where the uploads of one folder go."""

    def __init__(self, folder: UploadFolder, placer: Placer) -> None:
        self._folder = folder
        self._placer = placer

    def place(
        self, upload: Upload, folders: Sequence[str], name: str, on_step: Callable[[str], None]
    ) -> Upload:
        """See `PlacingStore.place`."""
        finish = upload.finish
        assert finish is not None
        noted = finish.intent

        def note(intent: Intent) -> None:
            nonlocal noted
            noted = intent
            self._folder.record_finish(upload, replace(finish, intent=intent))

        source = Path(self._folder.data_path(upload.upload_id))
        with storage_errors():
            try:
                placed = self._placer.place(
                    source, tuple(folders), name, upload.upload_id, noted, note, on_step=on_step
                ).relative
            except NothingToPlace:
                if noted is None:
                    raise
                # It was there, and whoever waits for such files has taken it already.
                placed = noted.path
            except (NameTaken, UnsafeFolder) as error:
                raise PlaceRefused(str(error)) from error
        return self._folder.record_finish(upload, replace(finish, intent=None, place=placed))

    def open(self, finish: Finish, size: int) -> int:
        """A descriptor of a file that has been placed, of so many bytes. Raises UploadNotFound if
        it is not there any more, or has become another one.
        """
        try:
            descriptor = filesystem.open_file(str(self._placer.root / finish.place), read_only=True)
        except (FileNotFoundError, NotADirectoryError):
            raise UploadNotFound from None
        if os.fstat(descriptor).st_size != size:
            os.close(descriptor)
            raise UploadNotFound
        return descriptor

"""Where infected files are kept for whoever wants to look at them. Blocking."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from tusserver.store import filesystem
from tusserver.store.file_layout import escape
from tusserver.store.filesystem import storage_errors

if TYPE_CHECKING:
    from tusserver.store.file_folder import UploadFolder


def set_aside(folder: UploadFolder, upload_id: str, directory: str) -> None:
    """See `QuarantiningStore.set_aside`. Raises StorageFull, StorageFailed."""
    source = folder.data_path(upload_id)
    target = os.path.join(directory, escape(upload_id))
    with storage_errors():
        os.makedirs(directory, 0o700, exist_ok=True)
        if os.path.lexists(target):
            return
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError:
            # Another file system, or one without hard links.
            shutil.copyfile(source, f"{target}.part", follow_symlinks=False)
            os.replace(f"{target}.part", target)
        if folder.layout.durable:
            filesystem.sync_directory(directory)

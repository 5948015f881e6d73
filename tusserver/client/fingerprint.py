"""By what a file is known again."""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING

from tusclient.fingerprint.fingerprint import Fingerprint

if TYPE_CHECKING:
    from typing import Any


class FileFingerprint(Fingerprint):
    """tuspy's fingerprint (size, and digest of the first 64 KiB) with the time of the last change:
    files of simulations often begin alike, and are written to at the end.
    """

    def get_fingerprint(self, fs: IO[Any]) -> str:
        modified = os.fstat(fs.fileno()).st_mtime_ns
        return f"{super().get_fingerprint(fs)}--mtime:{modified}"

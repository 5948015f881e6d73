"""What happens to uploads, as values for those who listen; delivery to the outside world is built
upon this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tusserver.protocol.upload import Upload


@dataclass(frozen=True, slots=True)
class UploadCreated:
    """A new upload exists."""

    upload: Upload


@dataclass(frozen=True, slots=True)
class UploadFinished:
    """The last byte is stored, or the final upload is joined, and all that was to be done with it
    is done.

    Comes once for each upload while the server runs, and not for partial ones. Where uploads are
    finished in steps it comes again after a crash that may have lost it, with the same
    `upload.finish.event_id`.
    """

    upload: Upload


@dataclass(frozen=True, slots=True)
class FinishRefused:
    """A check has refused the upload for good; `upload.finish` says which, and why."""

    upload: Upload


@dataclass(frozen=True, slots=True)
class UploadTerminated:
    """A client ended the upload."""

    upload_id: str


@dataclass(frozen=True, slots=True)
class UploadExpired:
    """The upload was removed because its time was over."""

    upload_id: str


Event = UploadCreated | UploadFinished | FinishRefused | UploadTerminated | UploadExpired
Listener = Callable[[Event], None]
"""Called on the event loop after the fact; must return quickly and not raise."""

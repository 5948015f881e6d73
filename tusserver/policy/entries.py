"""What the ledger is to say of an upload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tusserver.policy.ledger import Entry
from tusserver.policy.placement import text_metadata

if TYPE_CHECKING:
    from tusserver.protocol.upload import Upload

NOBODY = ""
"""The owner in the ledger of uploads that have none."""


def entry_of(upload: Upload) -> Entry:
    """What the ledger is to say of this upload."""
    metadata = text_metadata(upload)
    size, is_active = counted(upload)
    return Entry(
        upload.upload_id,
        upload.owner or NOBODY,
        size,
        upload.created_at.timestamp(),
        is_active,
        metadata.get("filename") or metadata.get("name") or "",
    )


def counted(upload: Upload) -> tuple[int, bool]:
    """Bytes, and whether it is active. Of one that was refused nothing is kept."""
    size = 0 if upload.is_refused else max(upload.length or 0, upload.offset)
    return size, not (upload.is_finished or upload.is_refused)


def agree(entry: Entry | None, upload: Upload) -> bool:
    """Whether the entry counts this upload as it stands."""
    return entry is not None and (entry.size, entry.is_active) == counted(upload)

"""When an upload expires (expiration extension).

The deadline slides: it counts from the last byte that was stored. Finished uploads do not expire
here; a partial one does even when it is finished, since it is of no use before it is joined, and so
does one that was refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tusserver.protocol.errors import UploadGone
from tusserver.protocol.grammar import format_http_date
from tusserver.protocol.upload import Partial

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from tusserver.protocol.errors import Header
    from tusserver.protocol.upload import Upload


def expires_at(upload: Upload, expires_after: timedelta | None) -> datetime | None:
    """The moment from which this upload may be removed; None if it stays."""
    if expires_after is None:
        return None
    if upload.is_complete and not (isinstance(upload.concat, Partial) or upload.is_refused):
        return None
    return upload.modified_at + expires_after


def is_expired(upload: Upload, expires_after: timedelta | None, now: datetime) -> bool:
    """Whether the deadline has passed."""
    deadline = expires_at(upload, expires_after)
    return deadline is not None and deadline <= now


def refuse_expired(upload: Upload, expires_after: timedelta | None, now: datetime) -> None:
    """Raises UploadGone for an upload that has expired and has not been removed yet ('410 if the
    server still knows it').
    """
    if is_expired(upload, expires_after, now):
        raise UploadGone


def headers(upload: Upload, expires_after: timedelta | None) -> tuple[Header, ...]:
    """`Upload-Expires` for an upload that is going to expire, else nothing."""
    deadline = expires_at(upload, expires_after)
    return () if deadline is None else ((b"upload-expires", format_http_date(deadline)),)

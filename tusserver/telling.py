"""Who hears of what happens to uploads: the site's limits, final uploads that wait, the listener,
and those who watch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tusserver.events.base import (
    Event,
    FinishRefused,
    Listener,
    UploadCreated,
    UploadExpired,
    UploadFinished,
    UploadTerminated,
)
from tusserver.protocol.upload import Partial, Upload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tusserver.admission import Admission
    from tusserver.announcing import Announcer


class Teller:
    """Tells everybody. `on_partial` is called with the id of a partial upload that is finished."""

    def __init__(
        self,
        admission: Admission | None,
        listener: Listener | None,
        on_partial: Callable[[str], Awaitable[None]],
        announcer: Announcer | None = None,
    ) -> None:
        self._admission = admission
        self._listener = listener
        self._on_partial = on_partial
        self._announcer = announcer

    async def tell(self, event: Event) -> None:
        """Tells this event."""
        if self._admission is not None:
            await self._count(self._admission, event)
        if self._listener is not None:
            self._listener(event)
        self.announce(_subject(event))

    def announce(self, upload_id: str, offset: int | None = None) -> None:
        """Something about this upload has changed; only its offset, if that is given. For those who
        watch.
        """
        if self._announcer is not None:
            self._announcer.announce(upload_id, offset)

    def announce_appended(self, before: Upload, after: Upload) -> None:
        """A request has brought bytes, or the length."""
        if after.length != before.length:
            self.announce(after.upload_id)
        elif after.offset != before.offset:
            self.announce(after.upload_id, None if after.is_complete else after.offset)

    async def _count(self, admission: Admission, event: Event) -> None:
        match event:
            case UploadFinished(upload) | FinishRefused(upload):
                await admission.ended(upload)
            case UploadTerminated(upload_id) | UploadExpired(upload_id):
                await admission.removed(upload_id)

    async def tell_finished(self, upload: Upload) -> None:
        """All that was to be done with this upload is done."""
        # 'Partial uploads … SHOULD NOT be processed until they are concatenated.'
        if isinstance(upload.concat, Partial):
            if self._admission is not None:
                await self._admission.ended(upload)
            self.announce(upload.upload_id)
            await self._on_partial(upload.upload_id)
        else:
            await self.tell(UploadFinished(upload))

    async def tell_ended(self, upload: Upload) -> None:
        """The finish of this upload has an outcome."""
        await self.tell(FinishRefused(upload) if upload.is_refused else UploadFinished(upload))


def _subject(event: Event) -> str:
    match event:
        case UploadTerminated(upload_id) | UploadExpired(upload_id):
            return upload_id
        case UploadCreated(upload) | UploadFinished(upload) | FinishRefused(upload):
            return upload.upload_id

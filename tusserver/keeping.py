"""What is done with uploads though nobody asks for it: idle ones are synced, those whose time is
over are removed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tusserver.events.base import Event, UploadExpired
from tusserver.protocol import expiration
from tusserver.protocol.errors import StorageFull, StorageUnavailable, TusError, UploadNotFound
from tusserver.protocol.upload import Partial, Upload
from tusserver.store.base import Store, SyncingStore, TerminatingStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime, timedelta

    from tusserver.joining import Joiner
    from tusserver.lock.base import Locker
    from tusserver.rules import UploadsOptions
    from tusserver.settling import Settler

_logger = logging.getLogger("tusserver")


class Keeper:
    """Keeps the uploads of one store. `expires_after` is None where nothing can be removed; `tell`
    is called with every event.
    """

    def __init__(
        self,
        store: Store,
        locker: Locker,
        settler: Settler,
        joiner: Joiner | None,
        options: UploadsOptions,
        expires_after: timedelta | None,
        clock: Callable[[], datetime],
        tell: Callable[[Event], Awaitable[None]],
    ) -> None:
        self._store = store
        self._locker = locker
        self._settler = settler
        self._joiner = joiner
        self._retain_finished = options.retain_finished
        self._expires_after = expires_after
        self._clock = clock
        self._tell = tell
        self._unsynced: set[str] = set()

    def is_over(self, upload: Upload) -> bool:
        """Whether the time of this upload, finished or not, is over; for any thread."""
        moment = self.over_at(upload)
        return moment is not None and moment <= self._clock()

    def over_at(self, upload: Upload) -> datetime | None:
        """When this upload, finished or not, is removed if nothing more comes; None: never."""
        retain = self._retain_finished
        if upload.is_finished and not isinstance(upload.concat, Partial):
            return None if retain is None else upload.modified_at + retain
        return expiration.expires_at(upload, self._expires_after)

    async def is_due(self, upload: Upload) -> bool:
        """Whether it is to go now: a finished partial stays as long as a final upload waits for the
        others.
        """
        return self.is_over(upload) and not (
            upload.is_finished
            and self._joiner is not None
            and await self._joiner.is_awaited(upload.upload_id)
        )

    async def expire(self, upload_id: str) -> bool:
        """Removes the upload if it is due and nobody uses it; says whether it did."""
        lock = await self._locker.try_acquire(upload_id)
        if lock is None:
            return False
        try:
            upload = await self._settler.open(upload_id)
            if self._joiner is not None and upload.is_pending:
                upload = await self._joiner.follow(upload)
            if not await self.is_due(upload):
                return False
            await self.remove(upload_id, UploadExpired(upload_id))
            return True
        except UploadNotFound:
            return False
        finally:
            await lock.release()

    async def remove(self, upload_id: str, event: Event) -> None:
        """Removes the upload and tells it. For the holder of its lock. Raises UploadNotFound."""
        assert isinstance(self._store, TerminatingStore)
        await self._store.terminate(upload_id)
        self._unsynced.discard(upload_id)
        await self._tell(event)

    def note_unsynced(self, upload_id: str) -> None:
        """It has bytes that a loss of power may take."""
        self._unsynced.add(upload_id)

    async def sync_idle(self) -> None:
        """Brings to the disk what was stored since the last call and is not being written to right
        now.
        """
        if not isinstance(self._store, SyncingStore):
            return
        waiting, self._unsynced = self._unsynced, set()
        for upload_id in waiting:
            try:
                await self._sync(self._store, upload_id)
            except UploadNotFound:
                continue
            except TusError as error:
                if isinstance(error, StorageFull | StorageUnavailable):
                    self._unsynced.add(upload_id)  # These pass.
                _logger.exception("the upload %s could not be synced", upload_id)

    async def _sync(self, store: SyncingStore, upload_id: str) -> None:
        lock = await self._locker.try_acquire(upload_id)
        if lock is None:
            # Perhaps somebody who writes, and syncs; perhaps one who only looks.
            self._unsynced.add(upload_id)
            return
        try:
            await store.sync(upload_id)
        finally:
            await lock.release()

"""Looking at uploads and settling what a crash left open; the ground that all use cases share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tusserver.protocol.errors import StorageFailed, StorageFull, StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tusserver.lock.base import Locker
    from tusserver.protocol.upload import Upload
    from tusserver.store.base import Store


class Settler:
    """Loads uploads. `on_finished` is told of one that turns out to be finished while it is being
    settled.
    """

    def __init__(
        self, store: Store, locker: Locker, on_finished: Callable[[Upload], Awaitable[None]]
    ) -> None:
        self._store = store
        self._locker = locker
        self._on_finished = on_finished

    async def look(self, upload_id: str) -> Upload:
        """The upload, settled if nobody is at work on it; never waits for a lock and never disturbs
        its holder.
        """
        upload = await self._store.get(upload_id)
        if upload.is_settled:
            return upload
        try:
            lock = await self._locker.try_acquire(upload_id)
        except StorageUnavailable:
            # What is certain can be told without a lock.
            return upload
        if lock is None:
            return upload
        try:
            return await self.open(upload_id)
        except (StorageFull, StorageFailed):
            # What is certain can be told even if the rest cannot be settled now; a sync that failed
            # has changed it.
            return await self._store.get(upload_id)
        finally:
            await lock.release()

    async def open(self, upload_id: str) -> Upload:
        """For the holder of the lock: the upload, settled."""
        upload = await self._store.get(upload_id, is_held=True)
        if upload.is_settled:
            return upload
        opened = await self._store.open(upload_id)
        if opened.is_finished and not upload.is_finished:
            await self._on_finished(opened)
        return opened

"""Final uploads: joined at once when all partials are finished, else when the last one is
(concatenation-unfinished).

A pending final upload is joined as soon as its last partial finishes; and should the server die in
between, by the next HEAD on it or by the sweeper. Finished partials never change, so joining takes
the lock of the final upload only.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tusserver.lock.base import require_held
from tusserver.protocol.concatenation import sum_lengths
from tusserver.protocol.errors import TusError, UploadDamaged, UploadLocked, UploadNotFound
from tusserver.protocol.upload import Final, Upload
from tusserver.together import together

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tusserver.lock.base import Lock, Locker
    from tusserver.settling import Settler
    from tusserver.store.base import ConcatenatingStore

_logger = logging.getLogger("tusserver")

_TURN = 5.0
"""Seconds to wait for one who may have looked at the partials before the last one was finished."""


class Joiner:
    """Joins the final uploads of one store. `max_size` in bytes bounds what is joined;
    `on_finished` is told of each, with its
    lock.
    """

    def __init__(
        self,
        store: ConcatenatingStore,
        locker: Locker,
        settler: Settler,
        max_size: int | None,
        on_finished: Callable[[Upload, Lock], Awaitable[None]],
    ) -> None:
        self._store = store
        self._locker = locker
        self._settler = settler
        self._max_size = max_size
        self._on_finished = on_finished
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Waits for the joining that is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def begin(self, upload: Upload, partials: Sequence[Upload]) -> Upload:
        """For the holder of the new upload's lock: joins if all partials are finished, else notes
        what is waited for.
        """
        if not _all_finished(partials):
            await self._store.await_partials(upload, partials)
            # The last one may have finished before the note was there.
            partials = await together(self._settler.look(each.upload_id) for each in partials)
        return (
            await self._store.concatenate(upload, partials) if _all_finished(partials) else upload
        )

    async def follow(self, upload: Upload) -> Upload:
        """A pending upload with the length and age that its partials give it; starts the joining
        once it is due.
        """
        partials = await self._partials_of(upload)
        if partials is None:
            return upload
        if _all_finished(partials):
            self._start(upload.upload_id)
        youngest = max((partial.modified_at for partial in partials), default=upload.modified_at)
        length = upload.length if upload.length is not None else sum_lengths(partials)
        return replace(upload, length=length, modified_at=max(upload.modified_at, youngest))

    async def partial_finished(self, partial_id: str) -> None:
        """Starts the joining of whatever has waited for this partial."""
        for upload_id in await self._store.waiting_for(partial_id):
            self._start(upload_id, wait=_TURN)

    async def is_awaited(self, partial_id: str) -> bool:
        """Whether a final upload still waits for this partial."""
        return bool(await self._store.waiting_for(partial_id))

    async def _partials_of(self, upload: Upload) -> list[Upload] | None:
        """The partials of a final upload; None if one of them is gone for good."""
        assert isinstance(upload.concat, Final)
        try:
            return await together(map(self._settler.look, upload.concat.partials))
        except (UploadNotFound, UploadDamaged):
            return None

    def _start(self, upload_id: str, wait: float = 0) -> None:
        task = asyncio.create_task(self._join(upload_id, wait))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, upload_id: str, wait: float) -> None:
        try:
            lock = await self._locker.acquire(upload_id, wait)
        except UploadLocked:
            return  # Whoever holds it for so long is joining, or ending it.
        try:
            await self._join_locked(upload_id, lock)
        except TusError as error:
            # It stays pending, and the next occasion tries again.
            _logger.error("the final upload %s could not be joined: %s", upload_id, error.reason)
        finally:
            await lock.release()

    async def _join_locked(self, upload_id: str, lock: Lock) -> None:
        upload = await self._settler.open(upload_id)
        partials = await self._partials_of(upload) if upload.is_pending else None
        if partials is None or not _all_finished(partials):
            return
        length = sum_lengths(partials)
        if self._max_size is None or (length is not None and length <= self._max_size):
            require_held(lock)
            joined = await self._store.concatenate(upload, partials)
            require_held(lock)
            await self._on_finished(joined, lock)


def _all_finished(partials: Sequence[Upload]) -> bool:
    return all(partial.is_finished for partial in partials)

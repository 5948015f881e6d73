"""Counts all uploads of a store into a ledger that has lost its memory, or never had any.

One server does it at a time, and nothing is reserved meanwhile. An upload that changes while it is
counted is put into the ledger by whoever changes it, and what has been read of it counts less.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from tusserver.policy.entries import entry_of
from tusserver.protocol.errors import StorageFailed, StorageFull, StorageUnavailable, TusError
from tusserver.together import together

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from tusserver.lock.base import Locker
    from tusserver.policy.ledger_thread import LedgerThread
    from tusserver.protocol.upload import Upload

_TURN = "the ledger"
"""The name of the lock; no upload has it."""
_PATIENCE = 5.0
"""Seconds that a request waits for it."""
_LOOK_AGAIN = 0.25
_BATCH = 64
_LASTING = (StorageFailed, StorageFull)
_logger = logging.getLogger("tusserver")


class Counting:
    """Counts into this ledger what `ids` lists and `get` loads, once somebody needs to know."""

    def __init__(
        self,
        ledger: LedgerThread,
        ids: Callable[[], AsyncIterator[str]],
        get: Callable[[str], Awaitable[Upload]],
    ) -> None:
        self._thread, self._ledger = ledger, ledger.ledger
        self._ids, self._get = ids, get
        self._locker: Locker | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, locker: Locker) -> None:
        """Begins to count if that is needed; nobody has to wait for it yet."""
        self._locker = locker
        if not await self._thread.call(self._ledger.is_whole):
            self.begin()

    async def close(self) -> None:
        """Another server, or the next start, carries on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def begin(self) -> asyncio.Task[None]:
        """Counts, unless that is being done; nobody has to wait for it."""
        if self._task is None:
            self._task = asyncio.create_task(self._count())
            self._task.add_done_callback(self._ended)
        return self._task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # Whoever waits is told; the next one to need it tries again.
            _logger.warning(
                "the uploads could not be counted: %s; it is tried again when the next one is "
                "created", _reason(error), exc_info=None if isinstance(error, TusError) else error,
            )  # fmt: skip

    async def wait(self) -> None:
        """Returns once the ledger is whole. Raises StorageUnavailable if that takes too long, or
        fails in a way that passes; StorageFailed or StorageFull if it fails in another.
        """
        task = self.begin()
        await asyncio.wait({task}, timeout=_PATIENCE)
        if not task.done() or task.cancelled():
            raise StorageUnavailable(
                "what everybody has is being counted anew; try again in a moment"
            )
        error = task.exception()
        if error is not None:
            kind = type(error) if isinstance(error, _LASTING) else StorageUnavailable
            raise kind("what everybody has could not be counted; try again later") from error

    async def _count(self) -> None:
        assert self._locker is not None
        while not await self._thread.call(self._ledger.is_whole):
            turn = await self._locker.try_acquire(_TURN)
            if turn is None:
                await asyncio.sleep(_LOOK_AGAIN)
                continue
            try:
                await self._count_all()
            finally:
                await turn.release()

    async def _count_all(self) -> None:
        token = await self._thread.call(self._ledger.begin_count)
        batch: list[str] = []
        async for upload_id in self._ids():
            batch.append(upload_id)
            if len(batch) == _BATCH:
                await self._add(batch)
                batch = []
        await self._add(batch)
        # False if the ledger has lost its memory again meanwhile.
        await self._thread.call(self._ledger.end_count, token)

    async def _add(self, upload_ids: Sequence[str]) -> None:
        uploads = await together(map(self._read, upload_ids))
        entries = [entry_of(upload) for upload in uploads if upload is not None]
        await self._thread.call(self._ledger.add, entries)

    async def _read(self, upload_id: str) -> Upload | None:
        """None where there is nothing to count. Raises StorageUnavailable."""
        try:
            return await self._get(upload_id)
        except StorageUnavailable:
            raise
        except TusError:
            return None  # It is gone, or cannot be read by anybody.


def _reason(error: BaseException) -> str:
    """What failed first, for the log."""
    if isinstance(error, TusError):
        return error.reason or error.message
    return str(error) or type(error).__name__

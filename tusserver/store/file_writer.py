"""Feeds an AppendSession from the event loop: gathers while a thread writes, syncs in the
background.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tusserver.protocol.decision import Outcome
from tusserver.store.base import BodyInterrupted

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from tusserver.protocol.checksum import Buffer
    from tusserver.store.base import Body
    from tusserver.store.file_session import AppendSession

_QUEUE_LIMIT = 1024 * 1024
"""Bytes that may wait while as many are being written; the client is not read from meanwhile."""


class Writer:
    """Brings one body into one session: at most one write and one sync of it run at a time.

    The first error of either ends it, and the body with it: after a write that failed nobody knows
    where the file ends, so nothing more may be written.
    """

    def __init__(self, session: AppendSession, threads: ThreadPoolExecutor, body: Body) -> None:
        self._session = session
        self._threads = threads
        self._body = body
        self._loop = asyncio.get_running_loop()
        self._queue: list[Buffer] = []
        self._queued = 0
        self._writing: asyncio.Future[None] | None = None
        self._syncing: asyncio.Future[None] | None = None
        self._error: BaseException | None = None

    async def write_all(self) -> Outcome:
        """Returns how the body ended, once all that came of it is stored.

        Raises StorageFull, StorageFailed, at once also if the client is silent.
        """
        outcome = Outcome.COMPLETE
        try:
            while buffer := await self._body.read():
                await self._take(buffer)
        except BodyInterrupted as interruption:
            outcome = interruption.outcome
        await self.settle()
        if self._error is not None:
            raise self._error
        return outcome

    async def settle(self) -> None:
        """Returns when no thread is at work on the session any more."""
        while pending := [job for job in (self._writing, self._syncing) if job is not None]:
            await asyncio.wait(pending)

    async def _take(self, buffer: Buffer) -> None:
        """Takes the next bytes, and waits while too many are under way."""
        if self._error is not None:
            raise self._error
        self._queue.append(buffer)
        self._queued += len(buffer)
        if self._writing is None:
            self._start_writing()
        while self._writing is not None and self._queued > _QUEUE_LIMIT:
            await asyncio.wait((self._writing,))

    def _start_writing(self) -> None:
        batch, self._queue, self._queued = self._queue, [], 0
        self._writing = self._loop.run_in_executor(self._threads, self._session.write, batch)
        self._writing.add_done_callback(self._wrote)

    def _wrote(self, future: asyncio.Future[None]) -> None:
        self._writing = None
        self._note_error(future)
        if self._error is not None:
            return
        if self._queue:
            self._start_writing()
        if self._syncing is None and self._session.is_sync_due():
            self._syncing = self._loop.run_in_executor(self._threads, self._session.sync)
            self._syncing.add_done_callback(self._synced)

    def _synced(self, future: asyncio.Future[None]) -> None:
        self._syncing = None
        self._note_error(future)

    def _note_error(self, future: asyncio.Future[None]) -> None:
        error = future.exception()
        if error is not None and self._error is None:
            self._error = error
            self._body.interrupt(Outcome.CANCELLED)

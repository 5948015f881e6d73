"""Feeds an AppendSession from the event loop, and syncs in the background meanwhile."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from tusserver.protocol.decision import Outcome
from tusserver.store.base import BodyInterrupted
from tusserver.store.direct_io import BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable

    from tusserver.protocol.checksum import Buffer
    from tusserver.store.base import Body, DirectBody
    from tusserver.store.buffers import BufferPool
    from tusserver.store.calls import Calls
    from tusserver.store.file_session import AppendSession

_QUEUE_LIMIT = 1024 * 1024
"""Bytes that may wait while as many are being written; the client is not read from meanwhile."""


_SMALL = 64 * 1024
"""Bytes that are written at once, if writing is fast, instead of being passed to a thread."""


_BUFFER, LARGE_BUFFER = 1024 * 1024, 4 * 1024 * 1024
"""Bytes that a thread takes at once: large enough to make system calls rare, small enough for the
caches of the processor; and what makes waiting for a disk worth while.
"""
_SLOW_BUFFER = 256 * 1024
"""Bytes that are taken of a slow client at once, on the event loop: no more than can be copied
there without making others wait.
"""


class Writer:
    """Brings one body into one session: at most one write and one sync of it run at a time.

    The first error of either ends it, and the body with it: after a write that failed nobody knows
    where the file ends, so nothing more may be written.
    """

    def __init__(self, session: AppendSession, calls: Calls, body: Body) -> None:
        self._session = session
        self._calls = calls
        self._body = body
        self._loop = asyncio.get_running_loop()
        self._syncing: asyncio.Future[None] | None = None
        self._error: BaseException | None = None

    async def write_all(self) -> Outcome:
        """Returns how the body ended, once all that came of it is stored.

        Raises StorageFull, StorageFailed, at once also if the client is silent.
        """
        outcome = Outcome.COMPLETE
        try:
            await self._write_body()
        except BodyInterrupted as interruption:
            outcome = interruption.outcome
        await self.settle()
        if self._error is not None:
            raise self._error
        return outcome

    @abstractmethod
    async def _write_body(self) -> None:
        """Returns at the end of the body; raises BodyInterrupted, or the first error."""

    async def settle(self) -> None:
        """Returns when no thread is at work on the session any more."""
        # Until each has taken itself off the list: the end of one may begin the next.
        while pending := self._jobs():
            await asyncio.wait(pending)

    def _jobs(self) -> list[asyncio.Future[Any]]:
        return [] if self._syncing is None else [self._syncing]

    def _sync_if_due(self) -> None:
        if self._syncing is None and self._error is None and self._session.is_sync_due():
            self._syncing = self._loop.run_in_executor(self._calls.threads, self._session.sync)
            self._syncing.add_done_callback(self._synced)

    def _synced(self, future: asyncio.Future[None]) -> None:
        self._syncing = None
        self._note_error(future)

    def _note_error(self, future: asyncio.Future[None]) -> None:
        error = future.exception()
        if error is not None and self._error is None:
            self._error = error
            self._body.interrupt(Outcome.CANCELLED)


class StreamWriter(Writer):
    """Gathers on the event loop while a thread writes: batches grow with the client's speed."""

    def __init__(self, session: AppendSession, calls: Calls, body: Body) -> None:
        super().__init__(session, calls, body)
        self._queue: list[Buffer] = []
        self._queued = 0
        self._writing: asyncio.Future[None] | None = None

    async def _write_body(self) -> None:
        while buffer := await self._body.read():
            await self._take(buffer)

    def _jobs(self) -> list[asyncio.Future[Any]]:
        return [*super()._jobs(), *([] if self._writing is None else [self._writing])]

    async def _take(self, buffer: Buffer) -> None:
        """Takes the next bytes, and waits while too many are under way."""
        if self._error is not None:
            raise self._error
        if self._writing is None and len(buffer) <= _SMALL and self._calls.is_inline("write"):
            # A small body, or a slow client.
            await self._calls.make(self._session.write, (buffer,))
            self._sync_if_due()
            return
        self._queue.append(buffer)
        self._queued += len(buffer)
        if self._writing is None:
            self._start_writing()
        while self._writing is not None and self._queued > _QUEUE_LIMIT:
            await asyncio.wait((self._writing,))

    def _start_writing(self) -> None:
        batch, self._queue, self._queued = self._queue, [], 0
        self._writing = self._loop.run_in_executor(self._calls.threads, self._session.write, batch)
        self._writing.add_done_callback(self._wrote)

    def _wrote(self, future: asyncio.Future[None]) -> None:
        self._writing = None
        self._note_error(future)
        if self._error is not None:
            return
        if self._queue:
            self._start_writing()
        self._sync_if_due()


class DirectWriter(Writer):
    """Lets a thread bring the bytes from the connection into the file, one buffer after another."""

    def __init__(
        self, session: AppendSession, calls: Calls, body: DirectBody, buffers: BufferPool
    ) -> None:
        super().__init__(session, calls, body)
        self._size = LARGE_BUFFER if session.writes_past_cache else _BUFFER
        self._direct = body
        self._buffers = buffers
        self._draining: asyncio.Future[bool] | None = None

    async def _write_body(self) -> None:
        is_ended = False
        while not is_ended:
            await self._direct.ready()
            if self._direct.is_slow:
                is_ended = await self._calls.make(self._drain)
            else:
                is_ended = await self._drain_in_thread()

    async def _drain_in_thread(self) -> bool:
        draining = self._draining = self._loop.run_in_executor(self._calls.drainers, self._drain)
        draining.add_done_callback(self._drained)
        # Not cancelled with us: as long as the thread runs, its descriptors must stay open.
        await asyncio.wait((draining,))
        try:
            return draining.result()
        finally:
            # What it raises leads to this frame: no work for the garbage collector.
            del draining

    def _drained(self, future: asyncio.Future[bool]) -> None:
        self._draining = None

    def _jobs(self) -> list[asyncio.Future[Any]]:
        return [*super()._jobs(), *([] if self._draining is None else [self._draining])]

    def _drain(self) -> bool:
        with self._buffers.lease() as memory:
            size = _SLOW_BUFFER if self._direct.is_slow else self._size
            return self._direct.drain(FileSink(self._session, memory[:size], self._note_stored))

    def _note_stored(self) -> None:
        """In the thread that drains."""
        if self._syncing is None and self._session.is_sync_due():
            self._loop.call_soon_threadsafe(self._sync_if_due)


class FileSink:
    """Brings fillings of one buffer into one session. `stored` is called after each."""

    def __init__(
        self, session: AppendSession, memory: memoryview, stored: Callable[[], None]
    ) -> None:
        self._session = session
        self._memory = memory
        self._stored = stored
        self._view = memory[:0]

    @property
    def gathers(self) -> bool:
        return self._session.writes_past_cache

    def buffer(self) -> memoryview:
        # Its bytes lie in memory as they will in the file, see BlockWriter; after the first filling
        # they begin at a block.
        self._view = self._memory[self._session.offset % BLOCK :]
        return self._view

    def store(self, size: int) -> None:
        self._session.write((self._view[:size],))
        self._stored()

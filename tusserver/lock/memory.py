"""Locks of one process: a table on the event loop, no system call."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from tusserver.protocol.errors import UploadLocked

if TYPE_CHECKING:
    from collections.abc import Callable


class MemoryLock:
    """A held entry of the table; also the base of locks that are held elsewhere as well."""

    __slots__ = ("_callback", "_requested", "_table", "upload_id", "waiters")

    def __init__(self, table: MemoryLocker, upload_id: str) -> None:
        self._table = table
        self._requested = False
        self._callback: Callable[[], None] | None = None
        self.upload_id = upload_id
        self.waiters: deque[asyncio.Future[None]] = deque()

    @property
    def release_requested(self) -> bool:
        """Somebody else waits for this upload."""
        return self._requested

    @property
    def is_held(self) -> bool:
        """Always: nobody else gives out locks of this table."""
        return True

    @property
    def fence(self) -> int:
        """0: such a lock cannot be lost."""
        return 0

    def on_release_request(self, callback: Callable[[], None]) -> None:
        """Calls this once somebody asks for the upload; at once if that has happened already."""
        self._callback = callback
        if self._requested:
            callback()

    def request_release(self) -> None:
        """The plea of somebody who wants this upload; idempotent."""
        if self._requested:
            return
        self._requested = True
        if self._callback is not None:
            self._callback()

    async def release(self) -> None:
        """Hands the lock to the first waiter, if there is one."""
        self._table.free(self)


class MemoryLocker:
    """Exclusive locks by upload id, given to waiters in the order of their arrival.

    Whoever waits has asked the holder to let go; a waiter that gets the lock while others wait
    behind it is asked in turn.
    """

    def __init__(self) -> None:
        self._held: dict[str, MemoryLock] = {}

    async def start(self) -> None:
        """Nothing to prepare."""

    async def close(self) -> None:
        """Nothing to free."""

    def held(self, upload_id: str) -> MemoryLock | None:
        """The lock on this upload if somebody of this process holds it."""
        return self._held.get(upload_id)

    def take(self, upload_id: str) -> MemoryLock | None:
        """The lock if nobody holds it."""
        if upload_id in self._held:
            return None
        lock = self._held[upload_id] = MemoryLock(self, upload_id)
        return lock

    async def try_acquire(self, upload_id: str) -> MemoryLock | None:
        """As `take`; it needs no waiting."""
        return self.take(upload_id)

    async def acquire(self, upload_id: str, wait: float) -> MemoryLock:
        """The lock, after a plea to its holder; raises UploadLocked after `wait` seconds."""
        taken = self.take(upload_id)
        if taken is not None:
            return taken
        lock = self._held[upload_id]
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lock.waiters.append(turn)
        lock.request_release()
        try:
            async with asyncio.timeout(wait):
                await turn
        except BaseException as error:
            self._give_up(upload_id, turn)
            if isinstance(error, TimeoutError):
                raise UploadLocked from None
            raise
        return self._held[upload_id]

    def _give_up(self, upload_id: str, turn: asyncio.Future[None]) -> None:
        """A waiter leaves; a lock that was handed to it in the same moment is handed on."""
        if not turn.cancelled():
            self.free(self._held[upload_id])
            return
        lock = self._held.get(upload_id)
        if lock is not None and turn in lock.waiters:
            lock.waiters.remove(turn)

    def free(self, lock: MemoryLock) -> None:
        """Passes the entry on to the next waiter or drops it. Only for the lock's own `release`."""
        while lock.waiters:
            turn = lock.waiters.popleft()
            if turn.done():
                continue
            heir = self._held[lock.upload_id] = MemoryLock(self, lock.upload_id)
            heir.waiters = lock.waiters
            turn.set_result(None)
            if heir.waiters:
                heir.request_release()
            return
        del self._held[lock.upload_id]

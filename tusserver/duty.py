"""Which of the processes that share uploads sweeps them: the one that has the duty keeps it while
it lives, so that with any number of processes there is one pass in each interval.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from tusserver.protocol.errors import UploadLocked

if TYPE_CHECKING:
    from tusserver.lock.base import Lock, Locker

# No upload id has a blank.
_DUTY = "the duty to sweep"
_PLEA = 0.2
"""Seconds to wait for one who is asked. He keeps the duty; it is only to be sure that he hears."""
_GATHER = 1.0
"""Seconds in which several may ask for the same pass."""


class Duty:
    """The duty as one process sees it."""

    def __init__(self, locker: Locker) -> None:
        self._locker = locker
        self._lock: Lock | None = None
        self._asked = asyncio.Event()

    async def take(self, *, ask: bool) -> bool:
        """Whether it is ours. If another process has it and we `ask`, that one sweeps soon."""
        if self._lock is not None and self._lock.is_held and not self._asked.is_set():
            return True
        # Anew, for a lock that has been asked for once hears no other plea.
        await self.give_back()
        lock = await self._acquire(_PLEA if ask else 0)
        if lock is None:
            return False
        self._lock = lock
        lock.on_release_request(self._asked.set)
        return True

    async def _acquire(self, wait: float) -> Lock | None:
        if not wait:
            return await self._locker.try_acquire(_DUTY)
        with suppress(UploadLocked):
            return await self._locker.acquire(_DUTY, wait)
        return None

    async def rest(self, seconds: float) -> None:
        """Rests for so long, or until somebody asks who has the duty."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._asked.wait()
                await asyncio.sleep(_GATHER)

    async def give_back(self) -> None:
        """For another process."""
        lock, self._lock = self._lock, None
        self._asked.clear()
        if lock is not None:
            await lock.release()

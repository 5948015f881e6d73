"""Tells other processes what this one does to uploads, for those who watch; hints, no more.

What there is to tell waits as the latest of each upload, so that a bus that hangs costs neither
memory nor anybody's time. It goes out in batches.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tusserver.events.base import Hint

if TYPE_CHECKING:
    from tusserver.events.base import Bus

EVERY = 0.5
"""Seconds between two batches with the progress of running requests."""
SOON = 0.05
"""Seconds after any batch before the next one, which news of another kind go out with."""
_MOST = 500
"""Hints in one batch."""


class Gathering:
    """What waits to be told. Moments in seconds of a clock that never goes back; for one thread at
    a time.
    """

    def __init__(self) -> None:
        self._progress: dict[str, Hint] = {}
        self._pressing: dict[str, Hint] = {}
        self._last = self._last_with_progress = float("-inf")

    def note(self, hint: Hint, *, is_pressing: bool) -> None:
        """Something new about an upload, which takes the place of what was noted before."""
        upload_id = hint.upload_id
        former = self._pressing.get(upload_id)
        self._progress.pop(upload_id, None)
        if former is not None and former.offset is None:
            return  # Whoever hears that one looks, and sees this as well.
        if is_pressing or former is not None:
            self._pressing[upload_id] = hint
        else:
            self._progress[upload_id] = hint

    def due(self) -> float | None:
        """When the next batch may go out; None while there is none."""
        if self._pressing:
            return self._last + SOON
        if self._progress:
            return max(self._last + SOON, self._last_with_progress + EVERY)
        return None

    def take(self, now: float) -> list[Hint]:
        """The next batch: what presses, and the rest if that may go out again."""
        batch = _taken(self._pressing, _MOST)
        if self._progress and now >= self._last_with_progress + EVERY:
            batch += _taken(self._progress, _MOST - len(batch))
            self._last_with_progress = now
        if batch:
            self._last = now
        return batch


def _taken(hints: dict[str, Hint], most: int) -> list[Hint]:
    return [hints.pop(upload_id) for upload_id in list(hints)[:most]]


class Announcer:
    """Publishes hints over this bus while somebody watches. Between `start` and `close`, of one
    event loop.
    """

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self._gathering = Gathering()
        self._guard = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pressed = asyncio.Event()
        self._speaking: asyncio.Task[None] | None = None
        self._is_awake = False

    def start(self) -> None:
        """For the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._pressed = asyncio.Event()

    async def close(self) -> None:
        """Tells what waits, if that is possible within a second or two. Nothing runs any more that
        could have more to tell.
        """
        self._loop = None
        if self._speaking is not None:
            await asyncio.wait((self._speaking,))

    def note_stored(self, upload_id: str, offset: int) -> None:
        """So many bytes are stored of an upload that a running request appends to; in any
        thread.
        """
        loop = self._loop
        if loop is None or not self.bus.is_watched:
            return
        hint = Hint(upload_id, offset, datetime.now(UTC))
        with self._guard:
            self._gathering.note(hint, is_pressing=False)
            if self._is_awake:
                return
            self._is_awake = True
        loop.call_soon_threadsafe(self._wake)

    def announce(self, upload_id: str, offset: int | None) -> None:
        """A request has ended, or something else has happened that is told at once; see `Hint`."""
        if self._loop is None or not self.bus.is_watched:
            return
        with self._guard:
            hint = Hint(upload_id, offset, datetime.now(UTC))
            self._gathering.note(hint, is_pressing=True)
            self._is_awake = True
        self._pressed.set()
        self._wake()

    def _wake(self) -> None:
        if self._speaking is None:
            self._speaking = asyncio.create_task(self._speak())

    async def _speak(self) -> None:
        """Until there is nothing to tell."""
        try:
            while (due := self._due()) is not None:
                pause = due - time.monotonic()
                if pause > 0:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await self._pressed.wait()
                    self._pressed.clear()
                    continue
                with self._guard:
                    batch = self._gathering.take(time.monotonic())
                if self.bus.is_watched:
                    await self.bus.publish(batch)
        finally:
            self._speaking = None

    def _due(self) -> float | None:
        with self._guard:
            due = self._gathering.due()
            self._is_awake = due is not None
            return due

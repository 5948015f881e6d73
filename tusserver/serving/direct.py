"""The direct body: from the socket straight to whoever stores the bytes, past the event loop.

A worker thread reads into a large buffer, which is used again and again, and has each filling
stored; reading and writing leave the interpreter free for others. A client that falls silent costs
no thread: the event loop waits for it, and lets a slow one gather some bytes before the next turn.

The transport of the connection is paused meanwhile, and a duplicate of its descriptor is read,
which the event loop can watch. The flag that says 'do not block' belongs to both.
"""

from __future__ import annotations

import asyncio
import os
import select
import sys
import time
from typing import TYPE_CHECKING

from tusserver.asgi.body import StreamBody
from tusserver.protocol.decision import Outcome
from tusserver.store.base import BodyInterrupted

if TYPE_CHECKING:
    from starlette.types import Receive, Scope

    from tusserver.serving.cycle import Cycle
    from tusserver.store.base import Sink

PATIENCE = 0.02
"""Seconds for which a thread waits for a client that was fast so far."""
TURN = 0.25
"""Seconds after which a thread lets other bodies have their turn."""
HASTE, PAUSE = 0.01, 0.0005
"""Seconds of a turn after which a client that is slower than we are is left so long a pause, for
its bytes to gather in the socket, rather than being read in little pieces.
"""
SLOW, SLOW_RATE = 64 * 1024, 1024 * 1024
"""Bytes of a turn, and bytes per second, below both of which a client counts as slow."""
HELPING = 16 * 1024
"""Bytes of a slow client that are left to gather in the socket, for a turn to be worth its cost."""
LONGEST_GATHERING = 0.5
"""Seconds after which even fewer are fetched: so long, HEAD may lag behind."""

if sys.platform == "win32":
    HAS_DIRECT = False  # Sockets are no descriptors there.

    def _read_into(descriptor: int, view: memoryview) -> int:
        raise NotImplementedError

    def _becomes_readable(descriptor: int, seconds: float) -> bool:
        raise NotImplementedError
else:
    HAS_DIRECT = True

    def _read_into(descriptor: int, view: memoryview) -> int:
        return os.readv(descriptor, (view,))

    def _becomes_readable(descriptor: int, seconds: float) -> bool:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))


class DirectBody(StreamBody):
    """The body of one request of known length on a plain socket, see `store.base.DirectBody`.

    A store that knows nothing of this reads it like any other.
    """

    def __init__(self, scope: Scope, receive: Receive, idle_timeout: float, cycle: Cycle) -> None:
        super().__init__(scope, receive, idle_timeout)
        self._cycle = cycle
        self._descriptor = -1
        self._head = b""
        self._owed = 0
        self._rate = 0.0
        """Bytes per second up to the end of the last turn."""
        self._ended = time.monotonic()
        """When the last turn did."""
        self._waiter: asyncio.Future[None] | None = None
        self.is_slow = False

    @property
    def direct(self) -> DirectBody | None:
        return self

    def interrupt(self, outcome: Outcome) -> None:
        """Ends the body from outside; a thread that is at work on it notices within `PATIENCE`."""
        super().interrupt(outcome)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def ready(self) -> None:
        """Returns when there may be bytes to `drain`. Raises BodyInterrupted."""
        if self._interruption is None and not self._cycle.is_taken_over:
            self._take_over()
            return
        if self._interruption is None:
            await self._wait()
        if self._interruption is not None:
            raise BodyInterrupted(self._interruption)

    def _take_over(self) -> None:
        self._descriptor, self._head, self._owed = self._cycle.take_over()
        self._ended = time.monotonic()
        outcome = self._cycle.early_end
        if outcome is not None:
            # While the request waited for its turn. What is here already is stored nevertheless.
            self.interrupt(outcome)

    async def _wait(self) -> None:
        """Until the socket can be read; for a slow client that has just sent something only until
        more of it may have gathered (or its last bytes), which spares watching the socket.
        """
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        gathers = self.is_slow and self._rate > 0
        if gathers:
            gathering = min(HELPING, self._owed) / self._rate
            timer = loop.call_later(min(gathering, LONGEST_GATHERING), self._wake)
        else:
            timer = loop.call_later(self._idle_timeout, self.interrupt, Outcome.IDLE)
            loop.add_reader(self._descriptor, self._wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None
            if not gathers:
                loop.remove_reader(self._descriptor)

    def drain(self, sink: Sink) -> bool:
        """In a thread, or at once for a slow client: has stored what comes, until the end (True) or
        until it is somebody else's turn. Raises BodyInterrupted, and what `sink` raises.
        """
        owed = self._owed
        # A slow one gets one buffer only: it is drained on the event loop.
        deadline = time.monotonic() + (0.0 if self.is_slow else TURN)
        while (self._head or self._owed) and self._fill(sink, owed, deadline):
            pass
        self._note_speed(owed - self._owed)
        self._cycle.more_body = self._owed > 0
        return self._owed == 0

    def _fill(self, sink: Sink, owed: int, deadline: float) -> bool:
        """Has one filling of a buffer stored; False if the turn, which began with so many bytes
        owed, is to end with it.
        """
        view = sink.buffer()
        size = self._take_head(view)
        try:
            while self._owed and size < len(view):
                if self._interruption is not None:
                    raise BodyInterrupted(self._interruption)
                received = self._take(view[size:])
                size += received
                if time.monotonic() >= deadline:
                    return False
                if not received and not self._comes_soon(owed - self._owed, deadline):
                    return False
                if received and not sink.gathers:
                    break
        finally:
            if size:
                sink.store(size)
        return True

    def _take_head(self, view: memoryview) -> int:
        size = min(len(self._head), len(view))
        view[:size], self._head = self._head[:size], self._head[size:]
        return size

    def _note_speed(self, received: int) -> None:
        """What the next turn is to be like, after one in which so many bytes came."""
        before, self._ended = self._ended, time.monotonic()
        self._rate = received / max(self._ended - before, 1e-6)
        if received:
            self.is_slow = received < SLOW and self._rate < SLOW_RATE

    def _take(self, view: memoryview) -> int:
        """How many bytes were put there; 0 if there are none right now. Raises BodyInterrupted."""
        try:
            received = _read_into(self._descriptor, view[: self._owed])
        except BlockingIOError:
            return 0
        except OSError:
            raise BodyInterrupted(Outcome.DISCONNECTED) from None
        if not received:
            raise BodyInterrupted(Outcome.DISCONNECTED)
        self._owed -= received
        return received

    def _comes_soon(self, received: int, deadline: float) -> bool:
        """Whether more has come from a client that was fast in this turn, after a short wait."""
        if received < SLOW or not _becomes_readable(self._descriptor, PATIENCE):
            return False
        if time.monotonic() > deadline - TURN + HASTE:
            time.sleep(PAUSE)
        return True

    def close(self) -> None:
        """Frees the descriptor; nobody drains any more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

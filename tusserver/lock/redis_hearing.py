"""A channel of Redis that is listened to for as long as anybody wants to, whatever becomes of the
connection.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from tusserver.lock.redis_line import FAILURES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from redis.asyncio import Redis

_QUIET = 3.0
"""Seconds of silence after which it is asked whether Redis is still there."""
_BREATH = 0.05


class Ear:
    """Listens to one channel, over a connection of its own. `take` is called with each message,
    `opened` whenever messages are heard from now on; neither may raise.
    """

    def __init__(
        self,
        client: Redis,
        channel: str,
        take: Callable[[bytes], None],
        opened: Callable[[], None],
        *,
        answer_within: float,
        pause: float,
    ) -> None:
        """A new connection may take `answer_within` seconds; after one that was lost it waits
        `pause` seconds.
        """
        self._bus = client.pubsub()
        self._channel = channel
        self._take = take
        self._opened = opened
        self._answer_within = answer_within
        self._pause = pause
        self.since: float | None = None
        """Since when (`time.monotonic`) messages are heard; None while they are not."""

    async def subscribe(self) -> None:
        """Asks for the messages. Raises what is in FAILURES."""
        # A host that has vanished since it took the connection would be waited for for hours.
        async with asyncio.timeout(self._answer_within):
            await self._bus.subscribe(self._channel)

    async def keep(self) -> None:
        """Hears what is told, until it is cancelled."""
        while True:
            with suppress(*FAILURES):
                await self.subscribe()
                await self._hear()
            await self.close()
            await asyncio.sleep(self._pause)

    async def _hear(self) -> None:
        is_asked = False
        while True:
            heard = await self._bus.get_message(timeout=_QUIET)
            if heard is None and is_asked:
                return  # Nobody is there any more: a new connection is needed.
            is_asked = heard is None
            if heard is None:
                await self._bus.ping()
            elif heard["type"] == "message":
                self._take(heard["data"])
            elif self.since is None and heard["type"] == "subscribe":
                self.since = time.monotonic()
                self._opened()

    async def close(self) -> None:
        """Hangs up. Nobody may be in `keep` but the one who calls."""
        self.since = None
        with suppress(*FAILURES):
            await self._bus.aclose()  # type: ignore[no-untyped-call]


async def ended(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancels these until none of them runs any more."""
    while tasks:
        for task in tasks:
            task.cancel()
        # Again and again: `asyncio.wait_for`, which the library uses, loses a cancellation that
        # comes together with what it waits for (Python before 3.12).
        _, tasks = await asyncio.wait(tasks, timeout=_BREATH)

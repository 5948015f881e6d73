"""Hints about uploads, over the Redis that has the locks.

Whoever watches listens on the channel `hints:<database>`, and calls out that it does on the channel
of the locks, which every process hears anyway: when it begins and every few seconds. Whoever has
not heard that lately, or has reached nobody, publishes nothing; so a site that nobody watches pays
nothing at all, and no key is left behind. One who starts asks who watches.

Channels are shared by all databases of a Redis, of which each may be another site's.

What is published and what is heard have connections of their own, so that neither is in the way of
a lock or of a plea for one.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import DecodeError, msgpack

from tusserver.events.base import Hint
from tusserver.lock.redis_hearing import Ear, ended
from tusserver.lock.redis_line import FAILURES
from tusserver.lock.redis_scripts import ASKED, BUS, HINTS, WATCHED, message

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from redis.asyncio import Redis

    from tusserver.lock.redis_line import Line

CALLED_EVERY = 3.0
"""Seconds after which one who watches calls out again."""
_BELIEVED_FOR = 10.0
"""Seconds for which such a call is believed: one or two may get lost."""
_DECODER = msgpack.Decoder(list[Hint])


class RedisHints:
    """The bus of one locker; see `Bus`. It carries something from `open` to `close`."""

    def __init__(self, *, answer_within: float, pause: float) -> None:
        self._answer_within = answer_within
        self._pause = pause
        self._line: Line | None = None
        """Where calls are made: that of the locks."""
        self._own_line: Line | None = None
        self._client: Redis | None = None
        self._database = "0"
        self._watched_until = 0.0
        self._ears: set[_Listener] = set()
        self._calls: set[asyncio.Task[None]] = set()

    def open(self, line: Line, own_line: Line, client: Redis) -> None:
        """Calls over this line, publishes over a line of its own, which it closes, and listens with
        this client.
        """
        self._line, self._own_line, self._client = line, own_line, client
        self._database = str(client.connection_pool.connection_kwargs.get("db") or 0)

    async def close(self) -> None:
        """It may be opened again."""
        own_line = self._own_line
        self._line = self._own_line = self._client = None
        self._watched_until = 0.0
        for ear in list(self._ears):
            await ear.close()
        if self._calls:
            await asyncio.wait(self._calls)
        if own_line is not None:
            await own_line.close()

    @property
    def is_watched(self) -> bool:
        return time.monotonic() < self._watched_until

    async def publish(self, hints: Sequence[Hint]) -> None:
        until = self._watched_until
        channel = HINTS + self._database
        reached = await _say(self._own_line, channel, msgpack.encode(hints))
        if reached == 0 and until == self._watched_until:
            self._watched_until = 0.0  # Nobody, and nobody has called meanwhile.

    def listen(self, hear: Callable[[Hint], None]) -> _Listener:
        return _Listener(self, hear)

    def ear(self, take: Callable[[bytes], None], opened: Callable[[], None]) -> Ear | None:
        """One that hears hints; None while this is closed."""
        if self._client is None:
            return None
        return Ear(
            self._client,
            HINTS + self._database,
            take,
            opened,
            answer_within=self._answer_within,
            pause=self._pause,
        )

    def add(self, ear: _Listener) -> None:
        """It listens from now on."""
        self._ears.add(ear)

    def drop(self, ear: _Listener) -> None:
        """It does not listen any more."""
        self._ears.discard(ear)

    # What is said on the channel of the locks.

    def call(self) -> None:
        """Tells all that somebody watches."""
        self._in_background(self._call(WATCHED))

    def ask_who_watches(self) -> None:
        """To be called once calls are heard."""
        self._in_background(self._call(ASKED))

    async def _call(self, kind: bytes) -> None:
        await _say(self._line, BUS, message(kind, self._database))

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    def take(self, kind: bytes, database: str) -> None:
        """A call that was heard."""
        if database != self._database:
            return
        if kind == WATCHED:
            self._watched_until = time.monotonic() + _BELIEVED_FOR
        elif kind == ASKED and any(ear.since is not None for ear in self._ears):
            self.call()


async def _say(line: Line | None, channel: str, words: bytes) -> object:
    """How many have heard it; None if nobody knows."""
    if line is None:
        return None
    with suppress(*FAILURES):
        return await line.ask("PUBLISH", channel, words)
    return None


class _Listener:
    """See `Listening`."""

    def __init__(self, hints: RedisHints, hear: Callable[[Hint], None]) -> None:
        self._hints = hints
        self._hear = hear
        self._tasks: list[asyncio.Task[None]] = []
        self._ear = hints.ear(self._take, hints.call)
        if self._ear is not None:
            hints.add(self)
            self._tasks = [
                asyncio.create_task(self._ear.keep()),
                asyncio.create_task(self._keep_calling()),
            ]

    @property
    def since(self) -> float | None:
        return None if self._ear is None else self._ear.since

    async def close(self) -> None:
        self._hints.drop(self)
        tasks, self._tasks = self._tasks, []
        await ended(tasks)
        if self._ear is not None:
            await self._ear.close()

    async def _keep_calling(self) -> None:
        while True:
            await asyncio.sleep(CALLED_EVERY)
            if self.since is not None:
                self._hints.call()

    def _take(self, data: bytes) -> None:
        try:
            hints = _DECODER.decode(data)
        except DecodeError:
            return  # Of a later version, or of somebody else.
        for hint in hints:
            self._hear(hint)

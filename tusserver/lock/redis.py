"""Locks between hosts: leases in Redis, which their holders renew and may lose.

Within the process the table of `lock/memory.py` comes first; whoever has its entry asks Redis (see
`redis_scripts.py` for the keys). One task renews all locks of the process. Its three time spans
are counted from the moment at which the last renewal that succeeded was sent, so that they never
end later than the lease does in Redis:

    0                1               2.4              3.6     4 s
    renewal sent     the next one    release request  lost    the key runs out

Between 2.4 s and 3.6 s the holder has time to keep what it has and to let go. After that `is_held`
is False for ever, whatever Redis says later: somebody else may have had the lock in between.

A lock that Redis lost, by a restart or because it was emptied, is put back by the next renewal,
while Redis gives out no lock yet (`ground`). So a Redis that comes back within a lease and more
does not disturb an upload.

Who wants a held lock asks for it on a channel, and hears of the release there; messages may get
lost, so a waiter looks and asks again four times a second.

What this relies on: that the clocks of this host and of Redis run at the same speed within a tenth,
and that the clock of Redis is not set forward while locks are held. A process that is stopped for
longer than a lease finds out when it goes on, before it acknowledges anything.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tusserver.lock.base import LockLost
from tusserver.lock.memory import MemoryLock, MemoryLocker
from tusserver.lock.redis_client import bus_client, open_line, refuse_unsuitable, unusable
from tusserver.lock.redis_hearing import Ear, ended
from tusserver.lock.redis_hints import RedisHints
from tusserver.lock.redis_line import FAILURES
from tusserver.lock.redis_scripts import BATCH, BUS, FREED, PLEA, Asked, Kept, Scripts, read_message
from tusserver.protocol.errors import StorageUnavailable, UploadLocked

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from redis.asyncio import Redis

    from tusserver.lock.redis_line import Line

_BREATH = 0.05
"""Seconds between two renewals even if the first one took too long."""


@dataclass(frozen=True, slots=True)
class Lease:
    """How long a lock lasts without being renewed, and what follows from that, in seconds."""

    seconds: float = 4.0
    look_again: float = 0.25
    """After this a waiter looks and asks again, in case a message was lost."""

    @property
    def renewed_every(self) -> float:
        """Seconds between two renewals, and that an answer of Redis may take."""
        return self.seconds * 0.25

    @property
    def doubtful_after(self) -> float:
        """Seconds without a renewal after which the holder is asked to let go."""
        return self.seconds * 0.6

    @property
    def held_for(self) -> float:
        """Seconds without a renewal after which the lock does not count any more."""
        return self.seconds * 0.9


def boot_time() -> float:
    """Seconds that also go on while the host is suspended."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class RedisLock:
    """A lock that this process holds in its own table and, as long as it is renewed, in Redis."""

    __slots__ = ("_fence", "_is_lost", "_lease", "_locker", "_renewed_at", "local", "token")

    def __init__(
        self, locker: RedisLocker, local: MemoryLock, token: str, fence: int, asked_at: float
    ) -> None:
        self._locker = locker
        self._lease = locker.lease
        self._fence = fence
        self._renewed_at = asked_at
        self._is_lost = False
        self.local = local
        self.token = token

    @property
    def release_requested(self) -> bool:
        """Somebody of this or another process waits for this upload, or the lock is running out."""
        return self.local.release_requested

    def on_release_request(self, callback: Callable[[], None]) -> None:
        """Calls this once somebody asks for the upload, or the lock is running out; at once if that
        has happened already.
        """
        self.local.on_release_request(callback)

    @property
    def is_held(self) -> bool:
        """Whether nobody else can have got the lock yet."""
        return not self._is_lost and boot_time() < self._renewed_at + self._lease.held_for

    @property
    def fence(self) -> int:
        """Larger than that of every lock given before by the same Redis, and by one that has lost
        its memory.
        """
        return self._fence

    def renew(self, asked_at: float) -> None:
        """Redis had the lock in some moment after `asked_at`. That may be too late to help."""
        if self.is_held:
            self._renewed_at = max(self._renewed_at, asked_at)

    def lose(self) -> None:
        """Somebody else may have the lock."""
        self._is_lost = True
        self.local.request_release()

    def look(self) -> None:
        """Asks the holder to let go if the lock may run out."""
        if boot_time() >= self._renewed_at + self._lease.doubtful_after:
            self.local.request_release()

    def request_release(self) -> None:
        """The plea of another process."""
        self.local.request_release()

    async def release(self) -> None:
        """Lets go in Redis, then hands on inside the process; both also if it is cancelled. Waits
        for Redis for a short time only.
        """
        await asyncio.shield(self._locker.let_go(self))


class RedisLocker:
    """Exclusive locks among all processes, of any host, that use the same database of Redis."""

    def __init__(self, address: str, lease: Lease | None = None) -> None:
        """`address` as redis-py takes it; it may have a password, which is never shown."""
        self._address = address
        self.lease = lease or Lease()
        self.hints = RedisHints(answer_within=self.lease.renewed_every, pause=self.lease.look_again)
        self._local = MemoryLocker()
        self._held: dict[str, RedisLock] = {}
        self._freed: dict[str, asyncio.Event] = {}
        self._line: Line | None = None
        self._bus: Redis | None = None
        self._scripts: Scripts | None = None
        self._keepers: list[asyncio.Task[None]] = []
        self._errands: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Makes sure that Redis can be used, and waits for it to give out locks: a lease, if it was
        started or emptied just now.
        """
        # Not before: a process may have been forked since this object was made.
        self._line = open_line(self._address, self.lease.renewed_every)
        self._bus = bus_client(self._address, self.lease.renewed_every)
        own_line = open_line(self._address, self.lease.renewed_every)
        self.hints.open(self._line, own_line, self._bus)
        ear = Ear(
            self._bus,
            BUS,
            self._take_message,
            self.hints.ask_who_watches,
            answer_within=self.lease.renewed_every,
            pause=self.lease.look_again,
        )
        try:
            await refuse_unsuitable(self._line, self._address)
            self._scripts = Scripts(self._line, self.lease.seconds, self.lease.look_again)
            fresh_for, _ = await self._scripts.renew(())
            await ear.subscribe()
            await asyncio.sleep(fresh_for)
        except BaseException as error:
            await ear.close()
            await self.close()
            if isinstance(error, (StorageUnavailable, *FAILURES)):
                raise unusable(self._address, error.__cause__ or error) from error
            raise
        # Without the bus waiters find out by themselves, and holders at the next renewal.
        keepers = (self._keep_renewing(), self._keep_looking(), ear.keep())
        self._keepers = [asyncio.create_task(keeper) for keeper in keepers]

    async def close(self) -> None:
        """Frees all locks of this process and closes the connections. Never waits for long."""
        await ended(self._keepers)
        self._keepers = []
        await self.hints.close()
        for lock in list(self._held.values()):
            lock.lose()
            self._send_back(lock.local.upload_id, lock.token)
        self._scripts = None
        while self._errands:
            await asyncio.wait(self._errands)
        if self._line is not None:
            await self._line.close()
        if self._bus is not None:
            await self._bus.aclose()
        self._line = self._bus = None

    # Taking.

    async def try_acquire(self, upload_id: str) -> RedisLock | None:
        """The lock if nobody of any process holds it. Raises StorageUnavailable."""
        local = self._local.take(upload_id)
        if local is None:
            return None
        lock = None
        try:
            lock = await self._ask(local, pleads=False)
        finally:
            if not isinstance(lock, RedisLock):
                self._local.free(local)
        return lock if isinstance(lock, RedisLock) else None

    async def acquire(self, upload_id: str, wait: float) -> RedisLock:
        """The lock, after a plea to its holder. Raises UploadLocked after `wait` seconds, and
        StorageUnavailable if Redis does not answer, or gives out no locks for that long.
        """
        deadline = asyncio.get_running_loop().time() + wait
        local = self._local.take(upload_id) or await self._local.acquire(upload_id, wait)
        try:
            return await self._wait_for_redis(local, deadline)
        except BaseException:
            self._local.free(local)
            raise

    async def _wait_for_redis(self, local: MemoryLock, deadline: float) -> RedisLock:
        loop = asyncio.get_running_loop()
        freed = self._freed[local.upload_id] = asyncio.Event()
        try:
            while True:
                freed.clear()
                asked = await self._ask(local, pleads=True)
                if isinstance(asked, RedisLock):
                    return asked
                left = deadline - loop.time()
                if left <= 0:
                    raise _refusal(asked)
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, self.lease.look_again)):
                        await freed.wait()
        finally:
            del self._freed[local.upload_id]

    async def _ask(self, local: MemoryLock, *, pleads: bool) -> RedisLock | Asked:
        scripts = self._usable()
        token, asked_at = secrets.token_hex(16), boot_time()
        try:
            asked = await scripts.acquire(local.upload_id, token, pleads=pleads)
        except BaseException:
            # It may have been given without our hearing of it. The line keeps the order.
            self._send_back(local.upload_id, token)
            raise
        if not asked.fence:
            return asked
        lock = RedisLock(self, local, token, asked.fence, asked_at)
        if not lock.is_held:
            self._send_back(local.upload_id, token)
            raise LockLost
        self._held[local.upload_id] = lock
        return lock

    def _usable(self) -> Scripts:
        if self._scripts is None:
            raise StorageUnavailable("the locks are closed; the server is stopping")
        return self._scripts

    # Letting go.

    def let_go(self, lock: RedisLock) -> asyncio.Task[None]:
        """Frees the lock in Redis, which tells those who wait, and then hands it on inside the
        process. Only for the lock's own `release`.
        """
        del self._held[lock.local.upload_id]
        return self._errand(self._let_go(lock, self._scripts))

    async def _let_go(self, lock: RedisLock, scripts: Scripts | None) -> None:
        try:
            if scripts is not None:
                await _give_back(scripts, lock.local.upload_id, lock.token)
        finally:
            self._local.free(lock.local)

    def _send_back(self, upload_id: str, token: str) -> None:
        """Frees what nobody wants any more, in the background."""
        if self._scripts is not None:
            self._errand(_give_back(self._scripts, upload_id, token))

    def _errand(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        errand = asyncio.create_task(work)
        self._errands.add(errand)
        errand.add_done_callback(self._errands.discard)
        return errand

    # Keeping.

    async def _keep_renewing(self) -> None:
        while True:
            started = boot_time()
            locks = list(self._held.values())
            pause = self.lease.renewed_every
            # Also without a lock: so a Redis that was emptied is noticed, and soon usable again.
            for first in range(0, max(1, len(locks)), BATCH):
                try:
                    await self._renew(locks[first : first + BATCH])
                except StorageUnavailable:
                    # `look` sees to it that nobody relies on it for too long.
                    pause = self.lease.seconds / 20
            await asyncio.sleep(max(started + pause - boot_time(), _BREATH))

    async def _renew(self, locks: list[RedisLock]) -> None:
        # One that has run out is not put back: somebody else may have had it since.
        locks = [lock for lock in locks if lock.is_held]
        asked_at = boot_time()
        _, kept = await self._usable().renew([(lock.local.upload_id, lock.token) for lock in locks])
        for lock, one in zip(locks, kept, strict=True):
            if one is Kept.LOST:
                lock.lose()
                continue
            lock.renew(asked_at)
            if one is Kept.WANTED:
                lock.request_release()

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self.lease.seconds / 20)
            for lock in list(self._held.values()):
                lock.look()

    def _take_message(self, data: bytes) -> None:
        kind, upload_id = read_message(data)
        if kind == PLEA and upload_id in self._held:
            self._held[upload_id].request_release()
        elif kind == FREED and upload_id in self._freed:
            self._freed[upload_id].set()
        else:
            self.hints.take(kind, upload_id)


async def _give_back(scripts: Scripts, upload_id: str, token: str) -> None:
    # If that fails, it runs out by itself.
    with suppress(StorageUnavailable):
        await scripts.release(upload_id, token)


def _refusal(asked: Asked) -> UploadLocked:
    if not asked.fresh_for:
        return UploadLocked()
    return StorageUnavailable("the locks were lost and are being set up anew; try again soon")

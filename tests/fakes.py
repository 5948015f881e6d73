"""Hand-written stand-ins for what surrounds us: a body that ends as told, a clock that is set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from tusserver.lock.memory import MemoryLock, MemoryLocker
from tusserver.protocol.decision import Outcome
from tusserver.protocol.errors import Header, StorageUnavailable
from tusserver.store.base import BodyInterrupted, DirectBody


class ScriptedBody:
    """Gives these buffers one by one, then ends with `outcome`; bounded like a real body."""

    def __init__(
        self,
        *buffers: bytes,
        outcome: Outcome = Outcome.COMPLETE,
        trailers: Sequence[Header] = (),
    ) -> None:
        self._buffers = [buffer for buffer in buffers if buffer]
        self._outcome = outcome
        self._room: int | None = None
        self.trailers = trailers
        self.interrupted_by: Outcome | None = None

    @property
    def direct(self) -> DirectBody | None:
        return None

    def on_stop(self, callback: Callable[[], None]) -> None:
        """This server never stops."""

    def hold_cancellation(self) -> bool:
        return False

    def release_cancellation(self) -> None:
        raise AssertionError("nothing is held")

    def bound(self, limit: int | None) -> None:
        self._room = limit

    def interrupt(self, outcome: Outcome) -> None:
        self.interrupted_by = self.interrupted_by or outcome

    async def read(self) -> bytes:
        if self.interrupted_by is not None:
            raise BodyInterrupted(self.interrupted_by)
        if not self._buffers:
            if self._outcome is not Outcome.COMPLETE:
                raise BodyInterrupted(self._outcome)
            return b""
        buffer = self._buffers.pop(0)
        if self._room is None:
            return buffer
        if self._room == 0:
            raise BodyInterrupted(Outcome.TOO_LONG)
        if len(buffer) > self._room:
            self._buffers.insert(0, buffer[self._room :])
            buffer = buffer[: self._room]
        self._room -= len(buffer)
        return buffer


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **span: float) -> None:
        self.now += timedelta(**span)


class LosableLock:
    """A lock of the memory locker that counts only as long as its locker says so."""

    def __init__(self, locker: LosableLocker, lock: MemoryLock) -> None:
        self._locker = locker
        self._lock = lock

    @property
    def release_requested(self) -> bool:
        return self._lock.release_requested

    def on_release_request(self, callback: Callable[[], None]) -> None:
        self._lock.on_release_request(callback)

    @property
    def is_held(self) -> bool:
        return not self._locker.has_lost

    @property
    def fence(self) -> int:
        return 0

    async def release(self) -> None:
        await self._lock.release()


class LosableLocker(MemoryLocker):
    """Locks that are all lost while `has_lost` is set; none is to be had while it `is_down`."""

    has_lost = False
    is_down = False

    async def try_acquire(self, upload_id: str) -> LosableLock | None:  # type: ignore[override]
        if self.is_down:
            raise StorageUnavailable
        lock = self.take(upload_id)
        return None if lock is None else LosableLock(self, lock)

    async def acquire(self, upload_id: str, wait: float) -> LosableLock:  # type: ignore[override]
        return LosableLock(self, await super().acquire(upload_id, wait))

"""Hand-written stand-ins for what surrounds us: a body that ends as told, a clock that is set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from tusserver.protocol.decision import Outcome
from tusserver.protocol.errors import Header
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

"""Bytes for an upload that exists: takes the lock, lets the protocol decide, stores them, and
begins the finish with the last one.
"""

from __future__ import annotations

from functools import partial as bind
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tusserver.ground import Ground, Stored
from tusserver.lock.base import require_held
from tusserver.protocol import checksum
from tusserver.protocol.decision import Append, Outcome, Repeat, Trailer
from tusserver.protocol.errors import TusError
from tusserver.protocol.refusals import QuotaExceeded
from tusserver.store.base import BodyInterrupted

if TYPE_CHECKING:
    from tusserver.lock.base import Lock
    from tusserver.protocol.capabilities import Capabilities
    from tusserver.protocol.decision import AppendRequest
    from tusserver.protocol.upload import Upload
    from tusserver.sections import RequestBody


class Appender:
    """Appends to the uploads of one store."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def append(
        self, request: AppendRequest, body: RequestBody, capabilities: Capabilities
    ) -> Stored:
        """The whole section under the lock. Raises the TusError that refuses it."""
        finishing = self._ground.finisher.running(request.upload_id)
        if finishing is not None:
            upload = await self._ground.store.get(request.upload_id)
            plan = request.decide(upload, capabilities, self._ground.clock())
            assert isinstance(plan, Repeat)
            return Stored(upload, await _read_past(body, plan), finishing)
        lock = await self._lock_for(request, capabilities)
        try:
            before = await self._ground.settler.open(request.upload_id)
            plan = request.decide(before, capabilities, self._ground.clock())
            if isinstance(plan, Repeat):
                stored = Stored(before, await _read_past(body, plan))
            else:
                stored = await self.store_body(before, plan, body, lock)
                if stored.upload.is_finished and not before.is_finished:
                    await self._ground.teller.tell_finished(stored.upload)
        except BaseException:
            await lock.release()
            raise
        return await self.conclude(stored, lock)

    async def _grown(self, upload_id: str) -> None:
        if self._ground.admission is not None:
            await self._ground.admission.grown(await self._ground.store.get(upload_id))

    async def conclude(self, stored: Stored, lock: Lock) -> Stored:
        """Ends a section: the lock goes to the finish that begins with it, or is released."""
        if stored.upload.is_due and stored.outcome is Outcome.COMPLETE:
            return replace(stored, finishing=self._ground.finisher.start(stored.upload, lock))
        await lock.release()
        return stored

    async def _lock_for(self, request: AppendRequest, capabilities: Capabilities) -> Lock:
        """The lock; a running request is asked to let go only for one that may succeed then."""
        lock = await self._ground.locker.try_acquire(request.upload_id)
        if lock is not None:
            return lock
        upload = await self._ground.store.get(request.upload_id)
        if request.is_hopeless(upload):
            request.decide(upload, capabilities, self._ground.clock())
        # The finish under way in another process lets nobody in before its end.
        wait = self._ground.options.finish_wait if upload.is_due else self._ground.options.lock_wait
        return await self._ground.locker.acquire(request.upload_id, wait)

    async def store_body(
        self, upload: Upload, plan: Append, body: RequestBody, lock: Lock
    ) -> Stored:
        """Stores a body behind `upload`. For the holder of the lock."""
        if self._ground.finisher.has_steps:
            upload = await self._ground.finisher.adopt(upload)
        room = plan.limit
        if self._ground.admission is not None:
            plan = await self._ground.admission.grow(upload, plan)
        body.bound(plan.limit)
        lock.on_release_request(bind(body.interrupt, Outcome.RELEASED))
        late_checksum = bind(_trailer_checksum, body, plan.trailer)
        appending = self._ground.store.append(upload, plan, body, late_checksum)
        try:
            appended = await self._ground.sniffer.watched(upload, body, appending)
        except TusError:
            self._ground.teller.announce(upload.upload_id)
            await self._grown(upload.upload_id)
            raise
        # Somebody else may have stored something else there meanwhile: nothing is acknowledged.
        require_held(lock)
        self._ground.teller.announce_appended(upload, appended.upload)
        if self._ground.admission is not None:
            await self._ground.admission.grown(appended.upload)
        if not appended.upload.is_complete:
            self._ground.keeper.note_unsynced(upload.upload_id)
        if appended.outcome is Outcome.TOO_LONG and plan.limit != room:
            raise QuotaExceeded(
                "what fits into your quota is stored, and there is no room for the rest",
                headers=[(b"upload-offset", b"%d" % appended.upload.shown_offset)],
            )
        return Stored(appended.upload, appended.outcome)


def _trailer_checksum(body: RequestBody, trailer: Trailer) -> checksum.Checksum | None:
    return checksum.parse_trailer(body.trailers, is_announced=trailer is Trailer.ANNOUNCED)


async def _read_past(body: RequestBody, plan: Repeat) -> Outcome:
    """Reads a body whose bytes are stored already; says how it ended."""
    body.bound(plan.limit)
    try:
        while await body.read():
            pass
    except BodyInterrupted as interruption:
        return interruption.outcome
    return Outcome.COMPLETE

"""The use cases: take the lock, load, let the protocol decide, apply one effect to the store, let
the protocol settle, tell.

Knows neither HTTP nor any concrete store, locker or protocol dialect. What happens under a lock is
never torn by the cancellation of a request: the body is cut instead, what had arrived is stored,
and only then the cancellation goes on.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from functools import partial as bind
from typing import TYPE_CHECKING, TypeVar

from tusserver.events.base import (
    Event,
    Listener,
    UploadCreated,
    UploadExpired,
    UploadFinished,
    UploadTerminated,
)
from tusserver.joining import Joiner
from tusserver.protocol import checksum, expiration
from tusserver.protocol.decision import Outcome, Trailer
from tusserver.protocol.errors import (
    InvalidConcat,
    ModifyFinal,
    StorageFailed,
    StorageFull,
    StorageUnavailable,
    TusError,
    UnsupportedContentType,
    UploadGone,
    UploadNotFound,
    UploadUnfinished,
)
from tusserver.protocol.upload import Final, Partial, Upload
from tusserver.rules import UploadsOptions, derive_capabilities, new_upload_id
from tusserver.sections import RequestBody, uncancelled
from tusserver.settling import Settler
from tusserver.store.base import ConcatenatingStore, Store, SyncingStore, TerminatingStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tusserver.lock.base import Lock, Locker
    from tusserver.protocol.capabilities import Capabilities
    from tusserver.protocol.decision import (
        Append,
        AppendRequest,
        CreateRequest,
        LookRequest,
        Reply,
        TerminateRequest,
    )

_T = TypeVar("_T")
_logger = logging.getLogger("tusserver")


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Uploads:
    """All uploads of one store. `clock` gives the current moment, aware and in UTC; `listener`
    hears of every event.
    """

    def __init__(
        self,
        store: Store,
        locker: Locker,
        options: UploadsOptions | None = None,
        *,
        clock: Callable[[], datetime] = _utc_now,
        listener: Listener | None = None,
    ) -> None:
        self.options = options or UploadsOptions()
        self.capabilities = derive_capabilities(store, self.options)
        self.store = store
        self.locker = locker
        self._clock = clock
        self._listener = listener
        self._settler = Settler(store, locker, self._tell_finished)
        self._joiner: Joiner | None = None
        if isinstance(store, ConcatenatingStore):
            self._joiner = Joiner(
                store, locker, self._settler, self.options.max_size, self._tell_finished
            )
        self._unsynced: set[str] = set()

    async def start(self) -> None:
        """Raises StoreUnusable or LockerUnusable."""
        await self.store.start()
        await self.locker.start()

    async def close(self) -> None:
        """Waits for what runs in the background, syncs what is unsynced, and lets go of store and
        locker.
        """
        if self._joiner is not None:
            await self._joiner.close()
        await self.sync_idle()
        await self.locker.close()
        await self.store.close()

    # Looking: never a lock that somebody else holds or wants, never a disturbance.

    async def look(self, request: LookRequest, capabilities: Capabilities) -> Reply:
        """Answers how the upload stands. Raises UploadNotFound, UploadGone; passing trouble as 423,
        never as 5xx.
        """
        return request.reply(await self.view(request.upload_id), capabilities, self._clock())

    async def view(self, upload_id: str) -> Upload:
        """The upload as it stands. A pending final upload is as young as the youngest of its
        partials.
        """
        try:
            return await self._follow(await self._settler.look(upload_id))
        except StorageFailed as error:
            raise StorageUnavailable from error

    async def _follow(self, upload: Upload) -> Upload:
        return (
            await self._joiner.follow(upload)
            if self._joiner is not None and upload.is_pending
            else upload
        )

    async def finished(self, upload_id: str) -> Upload:
        """The upload if all its bytes are there. Raises UploadNotFound, UploadUnfinished,
        UploadGone.
        """
        upload = await self.view(upload_id)
        expiration.refuse_expired(upload, self.options.expires_after, self._clock())
        if not upload.is_finished:
            raise UploadUnfinished
        return upload

    # Appending.

    async def append(
        self, request: AppendRequest, body: RequestBody, capabilities: Capabilities
    ) -> Reply:
        """Stores the bytes of one request. Raises the TusError that refuses it or that the end of
        the body stands for.
        """
        return await uncancelled(self._append(request, body, capabilities), body)

    async def _append(
        self, request: AppendRequest, body: RequestBody, capabilities: Capabilities
    ) -> Reply:
        lock = await self._lock_for(request, capabilities)
        try:
            before = await self._settler.open(request.upload_id)
            plan = request.decide(before, capabilities, self._clock())
            upload, outcome = await self._store_body(before, plan, body, lock)
            if upload.is_finished and not before.is_finished:
                await self._tell_finished(upload)
            return request.settle(upload, outcome, capabilities, self._clock())
        finally:
            await lock.release()

    async def _lock_for(self, request: AppendRequest, capabilities: Capabilities) -> Lock:
        """The lock; a running request is asked to let go only for one that may succeed then."""
        lock = await self.locker.try_acquire(request.upload_id)
        if lock is not None:
            return lock
        upload = await self.store.get(request.upload_id)
        if request.is_hopeless(upload):
            request.decide(upload, capabilities, self._clock())
        return await self.locker.acquire(request.upload_id, self.options.lock_wait)

    async def _store_body(
        self, upload: Upload, plan: Append, body: RequestBody, lock: Lock
    ) -> tuple[Upload, Outcome]:
        body.bound(plan.limit)
        lock.on_release_request(bind(body.interrupt, Outcome.RELEASED))
        late_checksum = bind(_trailer_checksum, body, plan.trailer)
        appended = await self.store.append(upload, plan, body, late_checksum)
        if not appended.upload.is_finished:
            self._unsynced.add(upload.upload_id)
        return appended.upload, appended.outcome

    # Creating.

    async def create(
        self, request: CreateRequest, body: RequestBody, capabilities: Capabilities
    ) -> Reply:
        """Makes a new upload, with the bytes that come along. After a refusal nothing is left of
        it.
        """
        return await uncancelled(self._create(request, body, capabilities), body)

    async def _create(
        self, request: CreateRequest, body: RequestBody, capabilities: Capabilities
    ) -> Reply:
        if request.refuses_body:
            await _refuse_bytes(body, ModifyFinal if request.partials else UnsupportedContentType)
        partials = [await self._partial(upload_id) for upload_id in request.partials or ()]
        upload_id = new_upload_id(self.options.fan_out)
        upload, plan = request.decide(upload_id, partials, capabilities, self._clock())
        lock = await self.locker.acquire(upload.upload_id, 0)
        try:
            upload = await self.store.create(upload)
            self._tell(UploadCreated(upload))
            try:
                upload, outcome = await self._fill(upload, plan, partials, body, lock)
                reply = request.settle(upload, outcome, capabilities, self._clock())
            except TusError:
                # The client never learns where this upload is.
                await self._remove(upload.upload_id, UploadTerminated(upload.upload_id))
                raise
            if upload.is_finished:
                await self._tell_finished(upload)
            return reply
        finally:
            await lock.release()

    async def _fill(
        self,
        upload: Upload,
        plan: Append | None,
        partials: Sequence[Upload],
        body: RequestBody,
        lock: Lock,
    ) -> tuple[Upload, Outcome]:
        if isinstance(upload.concat, Final):
            assert self._joiner is not None
            try:
                return await self._joiner.begin(upload, partials), Outcome.COMPLETE
            except UploadNotFound as error:
                raise InvalidConcat("a partial upload has just been removed") from error
        if plan is None:
            return upload, Outcome.COMPLETE
        return await self._store_body(upload, plan, body, lock)

    async def _partial(self, upload_id: str) -> Upload:
        try:
            upload = await self._settler.look(upload_id)
            expiration.refuse_expired(upload, self.options.expires_after, self._clock())
        except (UploadNotFound, UploadGone) as error:
            # The creation URL itself is neither missing nor gone.
            raise InvalidConcat("a partial upload does not exist, or has expired") from error
        return upload

    # Ending.

    async def terminate(self, request: TerminateRequest) -> Reply:
        """Removes the upload. Raises UploadNotFound; UploadLocked if a running request does not let
        go in time.
        """
        return await uncancelled(self._terminate(request), None)

    async def _terminate(self, request: TerminateRequest) -> Reply:
        lock = await self.locker.acquire(request.upload_id, self.options.lock_wait)
        try:
            await self._remove(request.upload_id, UploadTerminated(request.upload_id))
        finally:
            await lock.release()
        return request.reply()

    async def _remove(self, upload_id: str, event: Event) -> None:
        assert isinstance(self.store, TerminatingStore)
        await self.store.terminate(upload_id)
        self._unsynced.discard(upload_id)
        self._tell(event)

    def now(self) -> datetime:
        """The present moment, as it counts here."""
        return self._clock()

    def is_over(self, upload: Upload) -> bool:
        """Whether the time of this upload, finished or not, is over; for any thread."""
        now, retain = self._clock(), self.options.retain_finished
        if upload.is_finished and not isinstance(upload.concat, Partial):
            return retain is not None and upload.modified_at + retain <= now
        return expiration.is_expired(upload, self.capabilities.expires_after, now)

    async def is_due(self, upload: Upload) -> bool:
        """Whether it is to go now: a finished partial stays as long as a final upload waits for the
        others.
        """
        return self.is_over(upload) and not (
            upload.is_finished
            and self._joiner is not None
            and await self._joiner.is_awaited(upload.upload_id)
        )

    async def expire(self, upload_id: str) -> bool:
        """Removes the upload if it is due and nobody uses it; says whether it did."""
        lock = await self.locker.try_acquire(upload_id)
        if lock is None:
            return False
        try:
            upload = await self._follow(await self._settler.open(upload_id))
            if not await self.is_due(upload):
                return False
            await self._remove(upload_id, UploadExpired(upload_id))
            return True
        except UploadNotFound:
            return False
        finally:
            await lock.release()

    async def sync_idle(self) -> None:
        """Brings to the disk what was stored since the last call and is not being written to right
        now.
        """
        if not isinstance(self.store, SyncingStore):
            return
        waiting, self._unsynced = self._unsynced, set()
        for upload_id in waiting:
            try:
                await self._sync(self.store, upload_id)
            except UploadNotFound:
                continue
            except TusError as error:
                if isinstance(error, StorageFull | StorageUnavailable):
                    self._unsynced.add(upload_id)  # These pass.
                _logger.exception("the upload %s could not be synced", upload_id)

    async def _sync(self, store: SyncingStore, upload_id: str) -> None:
        lock = await self.locker.try_acquire(upload_id)
        if lock is None:
            # Perhaps somebody who writes, and syncs; perhaps one who only looks.
            self._unsynced.add(upload_id)
            return
        try:
            await store.sync(upload_id)
        finally:
            await lock.release()

    # Telling.

    def _tell(self, event: Event) -> None:
        if self._listener is not None:
            self._listener(event)

    async def _tell_finished(self, upload: Upload) -> None:
        # 'Partial uploads … SHOULD NOT be processed until they are concatenated.'
        if not isinstance(upload.concat, Partial):
            self._tell(UploadFinished(upload))
        elif self._joiner is not None:
            await self._joiner.partial_finished(upload.upload_id)


def _trailer_checksum(body: RequestBody, trailer: Trailer) -> checksum.Checksum | None:
    return checksum.parse_trailer(body.trailers, is_announced=trailer is Trailer.ANNOUNCED)


async def _refuse_bytes(body: RequestBody, refusal: type[TusError]) -> None:
    """Raises this if a body that should have none brings bytes."""
    if await body.read():
        raise refusal

"""The use cases: take the lock, load, let the protocol decide, apply one effect to the store, let
the protocol settle, tell.

Knows neither HTTP nor any concrete store, locker or protocol dialect. What happens under a lock is
never torn by the cancellation of a request: the body is cut instead, what had arrived is stored,
and only then the cancellation goes on.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tusserver.announcing import Announcer
from tusserver.appending import Appender
from tusserver.creating import Creator
from tusserver.events.base import (
    Listener,
    UploadTerminated,
)
from tusserver.finishing import Finisher
from tusserver.ground import Ground, Stored
from tusserver.joining import Joiner
from tusserver.keeping import Keeper
from tusserver.lock.base import require_held
from tusserver.protocol import expiration
from tusserver.protocol.access import Caller, Verb
from tusserver.protocol.errors import (
    InvalidConcat,
    StorageFailed,
    StorageUnavailable,
    TusError,
    UploadNotFound,
    UploadUnfinished,
)
from tusserver.protocol.refusals import Forbidden
from tusserver.rules import Policy, UploadsOptions, derive_capabilities
from tusserver.sections import RequestBody, uncancelled
from tusserver.settling import Settler
from tusserver.sniffing import Sniffer
from tusserver.store.base import ConcatenatingStore, ProgressingStore, Store
from tusserver.telling import Teller

if TYPE_CHECKING:
    from collections.abc import Callable

    from tusserver.events.base import Bus
    from tusserver.lock.base import Lock, Locker
    from tusserver.protocol.capabilities import Capabilities
    from tusserver.protocol.decision import (
        AppendRequest,
        CreateRequest,
        LookRequest,
        Reply,
        TerminateRequest,
    )
    from tusserver.protocol.upload import Upload


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _announcer(store: Store, bus: Bus | None) -> Announcer | None:
    """Who tells those who watch what happens to uploads; None where nobody could tell all of it."""
    if bus is None or not isinstance(store, ProgressingStore):
        return None
    announcer = Announcer(bus)
    store.on_stored(announcer.note_stored)
    return announcer


class Uploads:
    """All uploads of one store. `clock` gives the current moment, aware and in UTC; `listener`
    hears of every event. `bus` carries hints to those who watch; it works between the start and the
    end of `locker`.
    """

    def __init__(
        self,
        store: Store,
        locker: Locker,
        options: UploadsOptions | None = None,
        *,
        policy: Policy | None = None,
        clock: Callable[[], datetime] = _utc_now,
        listener: Listener | None = None,
        bus: Bus | None = None,
    ) -> None:
        self.options = options or UploadsOptions()
        self.capabilities = derive_capabilities(store, self.options)
        self.store = store
        self.locker = locker
        self._clock = clock
        self.admission = None if policy is None else policy.admission
        self._announcer = _announcer(store, bus)
        self._teller = Teller(self.admission, listener, self._partial_finished, self._announcer)
        self._settler = Settler(store, locker, self._teller.tell_finished)
        tell_ended = self._teller.tell_ended
        self.finisher = Finisher(store, locker, policy or Policy(), clock, tell_ended)
        self._joiner: Joiner | None = None
        if isinstance(store, ConcatenatingStore):
            max_size = self.options.max_size
            self._joiner = Joiner(store, locker, self._settler, max_size, self._conclude)
        self.keeper = Keeper(
            store,
            locker,
            self._settler,
            self._joiner,
            self.options,
            self.capabilities.expires_after,
            clock,
            self._teller.tell,
        )
        self._sniffer = Sniffer(store, self.admission)
        ground = self._ground()
        self._appender = Appender(ground)
        self._creator = Creator(ground, self._appender)

    def _ground(self) -> Ground:
        return Ground(
            store=self.store,
            locker=self.locker,
            options=self.options,
            clock=self._clock,
            settler=self._settler,
            finisher=self.finisher,
            keeper=self.keeper,
            teller=self._teller,
            sniffer=self._sniffer,
            joiner=self._joiner,
            admission=self.admission,
        )

    async def _partial_finished(self, upload_id: str) -> None:
        if self._joiner is not None:
            await self._joiner.partial_finished(upload_id)

    async def _conclude(self, upload: Upload, lock: Lock) -> None:
        """A final upload has been joined, under this lock."""
        try:
            await self._sniffer.joined(upload)
        except TusError:
            assert self.admission is not None
            self._teller.announce(upload.upload_id)
            return await self.admission.grown(await self.store.get(upload.upload_id))
        if upload.is_due:
            self._teller.announce(upload.upload_id)
            await self.finisher.finish_held(upload, lock)
        else:
            await self._teller.tell_finished(upload)

    async def start(self) -> None:
        """Raises StoreUnusable or LockerUnusable."""
        await self.store.start()
        await self.locker.start()
        if self._announcer is not None:
            self._announcer.start()
        if self.admission is not None:
            await self.admission.start(self.locker)

    async def close(self) -> None:
        """Waits for what runs in the background, syncs what is unsynced, and lets go of store and
        locker.
        """
        if self._joiner is not None:
            await self._joiner.close()
        await self.finisher.close()
        await self.keeper.sync_idle()
        if self.admission is not None:
            await self.admission.close()
        if self._announcer is not None:
            await self._announcer.close()
        await self.locker.close()
        await self.store.close()

    async def authorize(self, caller: Caller, verb: Verb, upload_id: str) -> None:
        """Raises Forbidden; UploadNotFound if there is no such upload. An owner never changes, so
        that what is found out here holds for the whole request.
        """
        try:
            upload = await self.store.get(upload_id)
        except StorageFailed as error:
            raise StorageUnavailable from error
        except UploadNotFound:
            if verb is Verb.JOIN:
                raise InvalidConcat("a partial upload does not exist, or has expired") from None
            raise
        if not caller.may(verb, upload):
            raise Forbidden

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
        """Stores the bytes of one request, and finishes the upload with its last one. Raises the
        TusError that refuses it, or that the end of the body or of the finish stands for.
        """
        stored = await uncancelled(self._appender.append(request, body, capabilities), body)
        upload = await self._with_outcome(stored, body)
        return request.settle(upload, stored.outcome, capabilities, self._clock())

    async def _with_outcome(self, stored: Stored, body: RequestBody) -> Upload:
        """The upload once its finish, if there is one to wait for, has an outcome."""
        finish = stored.upload.finish
        if stored.finishing is None or (finish is not None and finish.in_background):
            return stored.upload
        return await self.finisher.wait(stored.finishing, body.on_stop)

    # Creating.

    async def create(
        self,
        request: CreateRequest,
        body: RequestBody,
        capabilities: Capabilities,
        caller: Caller | None = None,
    ) -> Reply:
        """Makes a new upload that belongs to `caller`, with the bytes that come along. After a
        refusal nothing is left of it.
        """
        stored = await uncancelled(self._creator.create(request, body, capabilities, caller), body)
        assert stored.reply is not None
        if stored.finishing is None:
            return stored.reply
        try:
            upload = await self._with_outcome(stored, body)
        except TusError:
            # No refusal, for those are outcomes: whatever it was, it is tried again later. The
            # client is told where the upload is, and that its last byte is missing: that one it
            # sends until there is an outcome.
            return stored.reply
        return request.settle(upload, stored.outcome, capabilities, self._clock())

    # Ending.

    async def terminate(self, request: TerminateRequest) -> Reply:
        """Removes the upload. Raises UploadNotFound; UploadLocked if a running request does not let
        go in time.
        """
        return await uncancelled(self._terminate(request), None)

    async def _terminate(self, request: TerminateRequest) -> Reply:
        lock = await self.locker.acquire(request.upload_id, self.options.lock_wait)
        try:
            if self.admission is not None:
                await self.admission.terminate(await self.store.get(request.upload_id))
                require_held(lock)  # An application may have been asked, and have taken its time.
            await self.keeper.remove(request.upload_id, UploadTerminated(request.upload_id))
        finally:
            await lock.release()
        return request.reply()

    @property
    def bus(self) -> Bus | None:
        """Where these processes tell of all that they do to uploads; None if they do not."""
        return None if self._announcer is None else self._announcer.bus

    def now(self) -> datetime:
        """The present moment, as it counts here."""
        return self._clock()

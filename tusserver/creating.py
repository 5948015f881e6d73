"""New uploads, with their first bytes or joined from partial ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from tusserver.events.base import UploadCreated, UploadTerminated
from tusserver.ground import Ground, Stored
from tusserver.protocol import expiration
from tusserver.protocol.decision import Append, Outcome
from tusserver.protocol.errors import (
    InvalidConcat,
    ModifyFinal,
    TusError,
    UnsupportedContentType,
    UploadGone,
    UploadNotFound,
)
from tusserver.protocol.upload import Final, Upload
from tusserver.rules import new_upload_id
from tusserver.together import together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tusserver.appending import Appender
    from tusserver.lock.base import Lock
    from tusserver.protocol.access import Caller
    from tusserver.protocol.capabilities import Capabilities
    from tusserver.protocol.decision import CreateRequest
    from tusserver.sections import RequestBody


class Creator:
    """Creates uploads in one store."""

    def __init__(self, ground: Ground, appender: Appender) -> None:
        self._ground = ground
        self._appender = appender

    async def create(
        self,
        request: CreateRequest,
        body: RequestBody,
        capabilities: Capabilities,
        caller: Caller | None,
    ) -> Stored:
        """The whole section, under the lock of the new upload. Raises the TusError that refuses
        it, and then nothing is left.
        """
        if request.refuses_body:
            await _refuse_bytes(body, ModifyFinal if request.partials else UnsupportedContentType)
        ground = self._ground
        partials = await together(map(self._partial, request.partials or ()))
        upload_id = new_upload_id(ground.options.fan_out)
        upload, plan = request.decide(upload_id, partials, capabilities, ground.clock())
        upload = ground.finisher.begin(upload, request.expected)
        if caller is not None:
            upload = replace(upload, owner=caller.user)
        lock = await ground.locker.acquire(upload_id, 0)
        try:
            upload = await self._add(upload, caller)
            try:
                stored = await self._fill(upload, plan, partials, body, lock)
                reply = request.settle(stored.upload, stored.outcome, capabilities, ground.clock())
            except TusError:
                # The client never learns where this upload is.
                await ground.keeper.remove(upload_id, UploadTerminated(upload_id))
                raise
            if stored.upload.is_finished:
                await ground.teller.tell_finished(stored.upload)
        except BaseException:
            await lock.release()
            raise
        return await self._appender.conclude(replace(stored, reply=reply), lock)

    async def _add(self, upload: Upload, caller: Caller | None) -> Upload:
        admission = self._ground.admission
        if admission is not None:
            upload = await admission.admit(upload, caller)
        try:
            upload = await self._ground.store.create(upload)
        except BaseException:
            if admission is not None:
                await admission.removed(upload.upload_id)
            raise
        await self._ground.teller.tell(UploadCreated(upload))
        return upload

    async def _fill(
        self,
        upload: Upload,
        plan: Append | None,
        partials: Sequence[Upload],
        body: RequestBody,
        lock: Lock,
    ) -> Stored:
        if isinstance(upload.concat, Final):
            assert self._ground.joiner is not None
            try:
                upload = await self._ground.joiner.begin(upload, partials)
            except UploadNotFound as error:
                raise InvalidConcat("a partial upload has just been removed") from error
            self._ground.teller.announce(upload.upload_id)
            await self._ground.sniffer.joined(upload)
            return Stored(upload, Outcome.COMPLETE)
        if plan is None:
            return Stored(upload, Outcome.COMPLETE)
        return await self._appender.store_body(upload, plan, body, lock)

    async def _partial(self, upload_id: str) -> Upload:
        try:
            upload = await self._ground.settler.look(upload_id)
            expiration.refuse_expired(
                upload, self._ground.options.expires_after, self._ground.clock()
            )
        except (UploadNotFound, UploadGone) as error:
            # The creation URL itself is neither missing nor gone.
            raise InvalidConcat("a partial upload does not exist, or has expired") from error
        return upload


async def _refuse_bytes(body: RequestBody, refusal: type[TusError]) -> None:
    """Raises this if a body that should have none brings bytes."""
    if await body.read():
        raise refusal

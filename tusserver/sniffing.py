"""Looks at the first bytes of an upload as soon as they are stored, so that a wrong kind of file is
refused while it is young, and not after its last byte.

It looks at what is stored rather than at what passes by: bytes may come past the event loop, in
several requests, or out of order of any buffer. Those that wait for their checksum are looked at
once they count.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tusserver.protocol.decision import Outcome
from tusserver.protocol.errors import TusError, UploadNotFound
from tusserver.protocol.finish import Finish, FinishState, Refusal
from tusserver.protocol.upload import Partial, Upload
from tusserver.store.base import Appended, FinishingStore, Store

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tusserver.admission import Admission
    from tusserver.sections import RequestBody

_EVERY = 0.1
"""Seconds between two looks at how far a running request has got."""


class Sniffer:
    """Judges the uploads of one store by how they begin."""

    def __init__(self, store: Store, admission: Admission | None) -> None:
        self._store = store
        self._admission = admission

    async def watched(
        self, upload: Upload, body: RequestBody, appending: Awaitable[Appended]
    ) -> Appended:
        """What comes of `appending`, which stores `body`. Raises the TusError that refuses the
        upload; it is then refused for good, and its bytes are gone.
        """
        size = 0 if self._admission is None else self._admission.sniff_size
        if upload.offset >= size or isinstance(upload.concat, Partial):
            return await appending
        watching = asyncio.create_task(self._watch(upload, body, size))
        try:
            appended = await appending
        finally:
            watching.cancel()
            await asyncio.wait((watching,))
        refusal = None if watching.cancelled() else watching.result()
        if refusal is None and (appended.upload.offset >= size or appended.upload.is_complete):
            refusal = await self._judge(appended.upload, size)
        if refusal is not None:
            await self._refuse(appended.upload, refusal)
            raise refusal
        return appended

    async def joined(self, upload: Upload) -> None:
        """Judges a final upload, whose parts nobody has judged, once it has been joined. Raises the
        TusError that refuses it for good.
        """
        size = 0 if self._admission is None else self._admission.sniff_size
        if not size or not upload.is_complete:
            return
        refusal = await self._judge(upload, size)
        if refusal is not None:
            await self._refuse(upload, refusal)
            raise refusal

    async def _watch(self, upload: Upload, body: RequestBody, size: int) -> TusError | None:
        """The refusal, after the body has been interrupted."""
        try:
            # The store tells nobody how far it has got.
            while (await self._store.get(upload.upload_id)).offset < size:  # noqa: ASYNC110
                await asyncio.sleep(_EVERY)
        except TusError:
            return None  # The request itself will hear of it.
        refusal = await self._judge(upload, size)
        if refusal is not None:
            body.interrupt(Outcome.REFUSED)
        return refusal

    async def _judge(self, upload: Upload, size: int) -> TusError | None:
        assert self._admission is not None
        end = size if not upload.is_complete else min(size, upload.offset)
        first = bytearray()
        try:
            async for buffer in self._store.read(upload, 0, end):
                first += buffer
        except UploadNotFound:
            return None  # It has been removed meanwhile.
        try:
            self._admission.check_content(upload, bytes(first))
        except TusError as refusal:
            return refusal
        return None

    async def _refuse(self, upload: Upload, error: TusError) -> None:
        if not isinstance(self._store, FinishingStore):
            return
        refusal = Refusal(error.code, error.message, error.status)
        finish = replace(
            upload.finish or Finish(), state=FinishState.REFUSED, refusal=refusal, is_told=True
        )
        await self._store.record_finish(upload, finish)

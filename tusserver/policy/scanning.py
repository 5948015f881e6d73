"""The virus scan of a complete upload."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import aclosing
from enum import Enum
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tusserver.policy.clamd import Clamd, ClamdUnavailable, Infected, NotScanned
from tusserver.protocol.refusals import FinishUnavailable, UploadRefused
from tusserver.store.base import DescriptorStore, QuarantiningStore, Store

if TYPE_CHECKING:
    from tusserver.policy.clamd import Verdict
    from tusserver.protocol.upload import Upload

_AT_ONCE = 4
_logger = logging.getLogger("tusserver")


class OnUnscanned(Enum):
    """What becomes of a file that was not scanned because it is too large."""

    REFUSE = "refuse"
    ACCEPT = "accept"


class OnDown(Enum):
    """What becomes of uploads while the daemon does not answer."""

    HOLD = "hold"
    """They wait, and the scan is tried again."""
    REFUSE = "refuse"


class ScanStep:
    """Has each upload scanned. `quarantine` is a directory for infected files; None: they are
    deleted.
    """

    name = "scan"

    def __init__(
        self,
        store: Store,
        clamd: Clamd,
        *,
        on_unscanned: OnUnscanned = OnUnscanned.REFUSE,
        on_down: OnDown = OnDown.HOLD,
        quarantine: str | None = None,
    ) -> None:
        self._store = store
        self._clamd = clamd
        self._on_unscanned = on_unscanned
        self._on_down = on_down
        self._quarantine = quarantine
        self._turn = asyncio.Semaphore(_AT_ONCE)

    def is_needed(self, upload: Upload) -> bool:
        assert upload.finish is not None
        return not upload.finish.scan

    async def run(self, upload: Upload) -> Upload:
        assert upload.finish is not None
        try:
            async with self._turn:
                verdict = await self._scan(upload)
        except ClamdUnavailable as error:
            if self._on_down is OnDown.HOLD:
                raise FinishUnavailable("the virus scanner does not answer; try later") from error
            _logger.warning("%s was refused unscanned: %s", upload.upload_id, error)
            raise UploadRefused(
                "ERR_NOT_SCANNED", "the virus scanner does not answer; send the file again later"
            ) from error
        scan = await self._judged(upload, verdict)
        return replace(upload, finish=replace(upload.finish, scan=scan))

    async def _judged(self, upload: Upload, verdict: Verdict) -> str:
        """What the record says of this verdict. Raises UploadRefused."""
        if isinstance(verdict, Infected):
            _logger.warning("%s of %s is infected: %s", upload.upload_id, upload.owner,
                            verdict.signature)  # fmt: skip
            if self._quarantine is not None and isinstance(self._store, QuarantiningStore):
                await self._store.set_aside(upload, self._quarantine)
            raise UploadRefused("ERR_INFECTED", f"the file is infected: {verdict.signature}")
        if isinstance(verdict, NotScanned):
            if self._on_unscanned is OnUnscanned.REFUSE:
                message = f"the file was not scanned: {verdict.reason}"
                raise UploadRefused("ERR_NOT_SCANNED", message)
            return f"not scanned: {verdict.reason}"
        return "clean"

    async def _scan(self, upload: Upload) -> Verdict:
        if not (self._clamd.takes_descriptors and isinstance(self._store, DescriptorStore)):
            async with aclosing(self._store.read(upload, 0, upload.offset)) as buffers:
                return await self._clamd.scan_stream(buffers, upload.offset)
        descriptor = await self._store.descriptor(upload)
        try:
            return await self._clamd.scan_descriptor(descriptor, upload.offset)
        finally:
            os.close(descriptor)

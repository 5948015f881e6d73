"""Housekeeping: removes uploads whose time is over and leftovers of crashes, and syncs what lies
idle.

Everything is done under the lock of the upload concerned, and never asks anybody to let go: an
upload in use stays.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tusserver.protocol.errors import TusError, UploadDamaged, UploadNotFound
from tusserver.store.base import Finding, InspectingStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tusserver.uploads import Uploads

_logger = logging.getLogger("tusserver")

SYNC_INTERVAL = 5.0
_FIRST_SWEEP = 10.0
# No upload id has a blank: this lock is for the sweeper alone, so that several workers do not do
# the same work.
_SWEEPER = "the sweeper"


@dataclass(slots=True)
class SweepReport:
    """What a sweep did, or with `dry_run` would do."""

    uploads: int = 0
    expired: list[str] = field(default_factory=list)
    leftovers: list[Finding] = field(default_factory=list)
    in_use: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    is_skipped: bool = False


@asynccontextmanager
async def _survived(upload_id: str, report: SweepReport) -> AsyncIterator[None]:
    """One upload that the system does not let us read or remove must not keep all others alive."""
    try:
        yield
    except TusError as error:
        _logger.warning("%s could not be swept: %s", upload_id, error.reason)
        report.failed.append(upload_id)


class Sweeper:
    """Sweeps the uploads of one server."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads

    async def sweep(
        self, *, dry_run: bool = False, on_upload: Callable[[], None] | None = None
    ) -> SweepReport:
        """One pass over all uploads. `on_upload` is called for each, for a progress bar.

        Another process's sweep that is under way makes this one a no-op (`is_skipped`).
        """
        report = SweepReport()
        turn = await self._uploads.locker.try_acquire(_SWEEPER)
        if turn is None:
            report.is_skipped = True
            return report
        try:
            async for upload_id in self._uploads.store.ids():
                report.uploads += 1
                async with _survived(upload_id, report):
                    await self._sweep_upload(upload_id, report, dry_run=dry_run)
                if on_upload is not None:
                    on_upload()
            await self._sweep_leftovers(report, dry_run=dry_run)
        finally:
            await turn.release()
        return report

    async def _sweep_upload(self, upload_id: str, report: SweepReport, *, dry_run: bool) -> None:
        try:
            # Looking also settles what a crash left, and starts the joining of a final upload that
            # is due.
            upload = await self._uploads.view(upload_id)
            if not await self._uploads.is_due(upload):
                return
            if dry_run or await self._uploads.expire(upload_id):
                report.expired.append(upload_id)
            else:
                report.in_use.append(upload_id)
        except (UploadNotFound, UploadDamaged):
            return  # Gone meanwhile; or a matter for `verify`, which asks a person.

    async def _sweep_leftovers(self, report: SweepReport, *, dry_run: bool) -> None:
        store = self._uploads.store
        if not isinstance(store, InspectingStore):
            return
        async for finding in store.findings():
            if not finding.is_leftover:
                continue
            async with _survived(finding.upload_id, report):
                lock = await self._uploads.locker.try_acquire(finding.upload_id)
                if lock is None:
                    continue
                try:
                    if dry_run or await store.mend(finding):
                        report.leftovers.append(finding)
                finally:
                    await lock.release()

    async def run(self, interval: float | None) -> None:
        """Syncs idle uploads every few seconds and sweeps every `interval` seconds (None: never),
        until it is cancelled.
        """
        loop = asyncio.get_running_loop()
        due = loop.time() + min(_FIRST_SWEEP, interval or 0)
        while True:
            await asyncio.sleep(min(SYNC_INTERVAL, interval or SYNC_INTERVAL))
            try:
                await self._uploads.sync_idle()
                if interval is not None and loop.time() >= due:
                    due = loop.time() + interval
                    await self._sweep_and_log()
            except Exception:
                # Whatever it was, the next round comes: nothing else would start this task again.
                _logger.exception("housekeeping failed; it is tried again")

    async def _sweep_and_log(self) -> None:
        report = await self.sweep()
        if report.expired or report.leftovers:
            _logger.info(
                "swept: %d expired, %d leftovers", len(report.expired), len(report.leftovers)
            )

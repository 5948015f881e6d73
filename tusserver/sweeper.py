"""Housekeeping: removes uploads whose time is over and leftovers of crashes, and syncs what lies
idle.

Everything is done under the lock of the upload concerned, and never asks anybody to let go: an
upload in use stays. Inside a server it rests most of the time, so that requests do not feel it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tusserver.duty import Duty
from tusserver.protocol.errors import StorageFailed, TusError, UploadDamaged, UploadNotFound
from tusserver.rounds import Pace, Rounds
from tusserver.store.base import Finding, InspectingStore, Known, Surveyed, SurveyingStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tusserver.protocol.upload import Upload
    from tusserver.uploads import Uploads

_logger = logging.getLogger("tusserver")

SYNC_INTERVAL = 5.0
_FIRST_SWEEP = 10.0
_CLOCKS = 300.0
"""Seconds by which the clock of this host may be ahead of that of the storage."""
_REST = 4.0
"""How many times as long as it works the sweeper of a server rests."""
# No upload id has a blank: this lock is for the sweeper alone, so that a process and one who sweeps
# by hand do not do the same work at once.
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


class SweepTotals:
    """Counts what reports name."""

    def __init__(self) -> None:
        self.uploads = self.expired = self.leftovers = self.in_use = self.failed = 0

    def take(self, report: SweepReport) -> None:
        """Adds what the report names, and empties it: however many there are, they need no
        memory.
        """
        self.uploads = report.uploads
        self.expired += len(report.expired)
        self.leftovers += len(report.leftovers)
        self.in_use += len(report.in_use)
        self.failed += len(report.failed)
        for names in (report.expired, report.leftovers, report.in_use, report.failed):
            names.clear()


def _ignore(report: SweepReport) -> None:
    """For those who want nothing but the report at the end."""


class _Pass:
    """One pass over all uploads. `again` names those that the next one has to look at, too."""

    def __init__(
        self, uploads: Uploads, pace: Pace, on_step: Callable[[SweepReport], None], *, dry_run: bool
    ) -> None:
        self._uploads = uploads
        self._pace = pace
        self._on_step = on_step
        self._dry_run = dry_run
        self.report = SweepReport()
        self.again: set[str] = set()
        self._admission = None if dry_run else uploads.admission
        self._seen: list[Upload] = []

    async def run(self, known: Known | None) -> None:
        async for step in self._steps(known):
            await self._count_seen()
            self.report.uploads += step.passed
            for upload_id in step.wanted:
                await self._survived(upload_id, self._sweep_upload(upload_id))
            for finding in step.leftovers:
                await self._survived(finding.upload_id, self._sweep_leftover(finding))
            self._on_step(self.report)
            await self._pace.rest()
        if known is None:
            await self._survived("what is counted", self._review_all())

    async def _count_seen(self) -> None:
        seen, self._seen = self._seen, []
        if self._admission is not None and seen:
            await self._survived("what is counted", self._admission.review(seen))

    async def _review_all(self) -> None:
        if self._admission is not None:
            async for _ in self._admission.review_all():
                await self._pace.rest()

    async def _steps(self, known: Known | None) -> AsyncIterator[Surveyed]:
        store = self._uploads.store
        if isinstance(store, SurveyingStore):
            async for step in store.survey(self._wants, known):
                yield step
        else:
            async for upload_id in store.ids():
                yield Surveyed(1, (upload_id,))

    def _wants(self, upload: Upload) -> bool:
        if self._admission is not None:
            self._seen.append(upload)
        return (
            not upload.is_settled
            or upload.is_pending
            or self._uploads.keeper.is_over(upload)
            or self._uploads.finisher.is_unfinished(upload)
        )

    async def _survived(self, upload_id: str, work: Awaitable[None]) -> None:
        """One upload that the system does not let us read or remove must not keep all others
        alive.
        """
        try:
            await work
        except TusError as error:
            _logger.warning("%s could not be swept: %s", upload_id, error.reason)
            self.report.failed.append(upload_id)
        await self._pace.rest()

    async def _sweep_upload(self, upload_id: str) -> None:
        self.again.add(upload_id)
        try:
            # Looking also settles what a crash left, and starts the joining of a final upload that
            # is due.
            upload = await self._uploads.view(upload_id)
            if self._uploads.finisher.is_unfinished(upload) and not self._dry_run:
                await self._uploads.finisher.carry_on(upload_id)
            if not await self._uploads.keeper.is_due(upload):
                return
            if self._dry_run or await self._uploads.keeper.expire(upload_id):
                self.report.expired.append(upload_id)
                self.again.discard(upload_id)
            else:
                self.report.in_use.append(upload_id)
        except (UploadNotFound, UploadDamaged):
            # Gone meanwhile; or a matter for `verify`, which asks a person.
            self.again.discard(upload_id)

    async def _sweep_leftover(self, finding: Finding) -> None:
        store = self._uploads.store
        assert isinstance(store, InspectingStore)
        lock = await self._uploads.locker.try_acquire(finding.upload_id)
        if lock is None:
            return
        try:
            if self._dry_run or await store.mend(finding):
                self.report.leftovers.append(finding)
        finally:
            await lock.release()


class Sweeper:
    """Sweeps the uploads of one server."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._rounds = Rounds(uploads)
        self._duty = Duty(uploads.locker)
        self._is_stopped = False

    def stop(self) -> None:
        """Before `run` is cancelled: it ends then even where a library takes the cancellation for a
        broken connection, so that it seems to be one more sweep that has failed.
        """
        self._is_stopped = True

    async def sweep(
        self, *, dry_run: bool = False, on_step: Callable[[SweepReport], None] = _ignore
    ) -> SweepReport:
        """One pass over all uploads, as fast as it goes. `on_step` is called again and again with
        the report so far, and may empty its lists.

        Another process's sweep that is under way makes this one a no-op (`is_skipped`).
        """
        work = _Pass(self._uploads, Pace(), on_step, dry_run=dry_run)
        async with self._turn() as is_ours:
            if is_ours:
                await self._refuse_wrong_clock()
                await work.run(None)
        work.report.is_skipped = not is_ours
        return work.report

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[bool]:
        turn = await self._uploads.locker.try_acquire(_SWEEPER)
        try:
            yield turn is not None
        finally:
            if turn is not None:
                await turn.release()

    async def _refuse_wrong_clock(self) -> None:
        """Raises StorageFailed on a host whose clock is ahead: uploads would seem to be old that
        others have just written to.
        """
        store = self._uploads.store
        mark = await store.mark() if isinstance(store, SurveyingStore) else None
        ahead = 0.0 if mark is None else time.time() - mark.moment
        if ahead > _CLOCKS:
            raise StorageFailed(
                f"the clock of this host is {ahead:.0f} s ahead of that of the storage; nothing is "
                "removed until they agree"
            )

    async def run(self, interval: float | None) -> None:
        """Syncs idle uploads every few seconds and sweeps every `interval` seconds (None: never),
        unless another process does, until it is cancelled.
        """
        async with asyncio.TaskGroup() as tasks:
            # Side by side: a sweep may take long, and bytes must not wait for it.
            tasks.create_task(self._keep_syncing(min(SYNC_INTERVAL, interval or SYNC_INTERVAL)))
            if interval is not None:
                tasks.create_task(self._keep_sweeping(interval))

    async def _keep_syncing(self, interval: float) -> None:
        while not self._is_stopped:
            await asyncio.sleep(interval)
            try:
                await self._uploads.keeper.sync_idle()
            except Exception:
                # Whatever it was, the next round comes: nothing else would start this task again.
                _logger.exception("idle uploads could not be synced; it is tried again")

    async def _keep_sweeping(self, interval: float) -> None:
        loop = asyncio.get_running_loop()
        # What a crash has left of the finish of uploads is carried on at once, whoever does it.
        ask = self._uploads.finisher.has_steps
        due = loop.time() + min(0.0 if ask else _FIRST_SWEEP, interval)
        try:
            while not self._is_stopped:
                await self._duty.rest(due - loop.time())
                due = loop.time() + interval
                await self._sweep_on_duty(ask=ask)
                ask = False
        finally:
            await self._duty.give_back()

    async def _sweep_on_duty(self, *, ask: bool) -> None:
        try:
            if await self._duty.take(ask=ask):
                await self._sweep_gently()
        except TusError as error:
            _logger.error("the sweep failed (%s); it is tried again", error.reason)
        except Exception:
            _logger.exception("the sweep failed; it is tried again")

    async def _sweep_gently(self) -> None:
        totals, started = SweepTotals(), time.monotonic()
        work = _Pass(self._uploads, Pace(_REST), totals.take, dry_run=False)
        async with self._turn() as is_ours:
            if not is_ours:
                return
            await self._refuse_wrong_clock()
            known = await self._rounds.begin()
            await work.run(known)
        self._rounds.complete(work.again)
        _logger.log(
            logging.INFO if totals.expired or totals.leftovers else logging.DEBUG,
            "swept: %d expired, %d leftovers, of %d uploads in %.1f s (%s)",
            totals.expired,
            totals.leftovers,
            totals.uploads,
            time.monotonic() - started,
            "all were read" if known is None else "what may have changed was read",
        )

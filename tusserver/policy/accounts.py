"""What each owner has of the quotas: the ledger, kept in step with the uploads that there are.

The ledger is written before the store, so that it says too much rather than too little whenever
somebody is killed. What it says is compared with the uploads before anybody is refused because of
it, and now and then by the sweeper; an entry that differs is put right under the lock of its
upload, which nobody holds who is still at work on it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from tusserver.policy.counting import Counting
from tusserver.policy.entries import NOBODY, agree, entry_of
from tusserver.policy.ledger import Exceeded, LedgerLost, Quota
from tusserver.policy.ledger_thread import LedgerThread
from tusserver.protocol.errors import StorageUnavailable, TusError, UploadNotFound
from tusserver.protocol.refusals import QuotaExceeded, TooManyUploads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from tusserver.lock.base import Locker
    from tusserver.policy.ledger import Entry, Ledger
    from tusserver.protocol.decision import Append
    from tusserver.protocol.upload import Upload

_T = TypeVar("_T")

_BATCH = 64
_RECOUNT_EVERY = 10.0
"""Seconds for which the entries of an owner who is refused again and again are not read anew."""


class Accounts:
    """Keeps this ledger to these quotas, in a thread of its own. `ids` lists the uploads of the
    store, `get` loads one. All but `start` may raise StorageFull, StorageFailed and
    StorageUnavailable.
    """

    def __init__(
        self,
        ledger: Ledger,
        quota: Quota,
        ids: Callable[[], AsyncIterator[str]],
        get: Callable[[str], Awaitable[Upload]],
    ) -> None:
        self._ledger = ledger
        self._thread = LedgerThread(ledger, "ledger")
        self._counting = Counting(self._thread, ids, get)
        self._quota = quota
        self._get = get
        self._locker: Locker | None = None
        self._recounts: dict[str, asyncio.Task[bool]] = {}

    async def start(self, locker: Locker) -> None:
        """`locker` has the locks of the uploads. Raises StoreUnusable."""
        self._locker = locker
        await self._thread.start()
        await self._counting.start(locker)

    async def close(self) -> None:
        """It may be started again."""
        await self._counting.close()
        recounts = list(self._recounts.values())
        for recount in recounts:
            recount.cancel()
        await asyncio.gather(*recounts, return_exceptions=True)
        self._recounts.clear()
        await self._thread.close()

    async def _call(self, work: Callable[..., _T], *args: object) -> _T:
        return await self._thread.call(work, *args)

    async def reserve(self, upload: Upload) -> None:
        """Counts a new upload. Raises QuotaExceeded, TooManyUploads."""
        entry = entry_of(upload)
        if self._quota == Quota():
            return await self._note(entry)
        await self._within(entry.owner, self._ledger.reserve, entry, self._quota)

    async def _note(self, entry: Entry) -> None:
        """Counts it where nothing is bounded, so that nobody has to wait for the sums."""
        try:
            await self._call(self._ledger.reserve, entry, self._quota)
        except LedgerLost:
            self._counting.begin()
            await self._call(self._ledger.put, entry)

    async def grow(self, upload: Upload, plan: Append) -> Append:
        """The plan for an upload whose length has not been known, perhaps with a lower limit: what
        it brings is reserved. A body of unknown length takes all that is left, until it ends.
        Raises QuotaExceeded.
        """
        if self._quota.size is None:
            return plan
        owner = upload.owner or NOBODY
        length = plan.declare
        if length is None and plan.expected is not None:
            length = upload.offset + plan.expected
        if length is not None:
            await self._within(owner, self._ledger.resize, upload.upload_id, length, self._quota)
            return plan
        stretch = (upload.upload_id, upload.offset, plan.limit, self._quota)
        limit = await self._within(owner, self._ledger.stretch, *stretch)
        return replace(plan, limit=limit)

    async def settle(self, upload: Upload) -> None:
        """The upload stands as it stands."""
        await self._call(self._ledger.put, entry_of(upload))

    async def release(self, upload_id: str) -> None:
        """The upload is gone."""
        await self._call(self._ledger.release, upload_id)

    async def review(self, uploads: Sequence[Upload]) -> None:
        """Counts those of these uploads, which were found in the store, that are not counted or
        counted wrongly.
        """
        entries = await self._call(self._ledger.find, [each.upload_id for each in uploads])
        for upload in uploads:
            if not agree(entries.get(upload.upload_id), upload):
                await self._put_right(upload.upload_id)

    async def review_entries(self, owner: str | None = None) -> AsyncIterator[bool]:
        """Compares the entries (of an owner; None: all) with the uploads that there are. Says for
        every few of them whether anything has been put right.
        """
        last: Entry | None = None
        while entries := await self._call(self._ledger.batch, last, owner, _BATCH):
            last = entries[-1]
            changes = [await self._review(entry) for entry in entries]
            yield any(changes)

    async def _review(self, entry: Entry) -> bool:
        try:
            is_right = agree(entry, await self._get(entry.upload_id))
        except UploadNotFound:
            is_right = False
        except TusError:
            return False  # It is there, or nobody can say.
        return not is_right and await self._put_right(entry.upload_id)

    async def _put_right(self, upload_id: str) -> bool:
        """False if somebody is at work on this upload, who knows better."""
        assert self._locker is not None
        lock = await self._locker.try_acquire(upload_id)
        if lock is None:
            return False
        try:
            await self._call(self._ledger.put, entry_of(await self._get(upload_id)))
        except UploadNotFound:
            await self._call(self._ledger.release, upload_id)
        finally:
            await lock.release()
        return True

    async def _within(self, owner: str, work: Callable[..., _T], *args: object) -> _T:
        """Raises QuotaExceeded, TooManyUploads."""
        try:
            return await self._call(work, *args)
        except LedgerLost:
            await self._counting.wait()
        except Exceeded as error:
            # Perhaps by what a crash has left in the ledger and not in the store.
            if not await self._recount(owner):
                raise self._refusal(error) from None
        try:
            return await self._call(work, *args)
        except LedgerLost:
            raise StorageUnavailable from None
        except Exceeded as error:
            raise self._refusal(error) from None

    async def _recount(self, owner: str) -> bool:
        """Whether anything that this owner has was counted wrongly lately."""
        recount = self._recounts.get(owner)
        if recount is None:
            recount = self._recounts[owner] = asyncio.create_task(self._recount_all(owner))
        await asyncio.wait((recount,))
        return recount.result()

    async def _recount_all(self, owner: str) -> bool:
        lifespan = 0.0
        try:
            found = [each async for each in self.review_entries(owner)]
            lifespan = _RECOUNT_EVERY
            return any(found)
        finally:
            loop = asyncio.get_running_loop()
            loop.call_later(lifespan, self._recounts.pop, owner, None)

    def _refusal(self, error: Exceeded) -> QuotaExceeded | TooManyUploads:
        usage, quota = error.usage, self._quota
        if error.which == "active":
            return TooManyUploads(
                f"you have {usage.active} unfinished uploads, of {quota.active} that you may have; "
                "finish or delete one first"
            )
        if error.which == "uploads":
            return QuotaExceeded(
                f"you have {usage.uploads} uploads, of {quota.uploads} that you may have; delete "
                "one first"
            )
        return QuotaExceeded(
            f"this needs more than the {max((quota.size or 0) - usage.size, 0)} bytes that are "
            f"left of your {quota.size}"
        )

"""All uploads of a site as they stand, for whoever may see them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec import Struct

from tusserver.protocol.errors import TusError, UploadNotFound
from tusserver.status.live import Live
from tusserver.status.rates import Rates
from tusserver.status.values import Status, Work, advanced, describe
from tusserver.together import together

if TYPE_CHECKING:
    from datetime import datetime

    from tusserver.policy.ledger import Filter, Order, Quota, Usage
    from tusserver.status.catalog import Catalog
    from tusserver.status.watching import DiskUsage
    from tusserver.uploads import Uploads


class Page(Struct, frozen=True):
    """Some of the uploads that were asked for; `total` counts them all."""

    uploads: tuple[Status, ...]
    total: int
    skip: int
    limit: int


class Amount(Struct, frozen=True):
    """Bytes, uploads, and unfinished uploads."""

    size: int | None
    uploads: int | None
    active: int | None

    @classmethod
    def of(cls, counted: Usage | Quota) -> Amount:
        """The same as JSON says it."""
        return cls(counted.size, counted.uploads, counted.active)


class Storage(Struct, frozen=True):
    """Bytes of the file system (None: there is none), what the caller has of them, and what one
    user may have.
    """

    free: int | None
    total: int | None
    used_by: Amount
    quota: Amount


class Board:
    """Tells how the uploads stand. `disk` says how many bytes their file system has, and has left;
    None where they are in none.
    """

    def __init__(self, uploads: Uploads, catalog: Catalog, disk: DiskUsage | None) -> None:
        self._uploads = uploads
        self._catalog = catalog
        self._disk = disk
        self._rates = Rates()
        self.live = Live(catalog, self.find, self._disk, self.advance, uploads.bus)

    async def start(self) -> None:
        """Raises StoreUnusable."""
        await self._catalog.start()

    async def close(self) -> None:
        """Ends what is live."""
        await self.live.close()
        await self._catalog.close()

    async def get(self, upload_id: str) -> Status:
        """How an upload stands. Raises UploadNotFound and what looking at it raises."""
        upload = await self._uploads.view(upload_id)
        rate = self._rates.note(upload_id, upload.offset, time.monotonic())
        if upload.is_complete:
            self._rates.forget(upload_id)
        work = self._uploads.finisher.work(upload)
        return describe(
            upload,
            over_at=self._uploads.keeper.over_at(upload),
            now=self._uploads.now(),
            work=None if work is None else Work(*work),
            rate=rate,
        )

    async def find(self, upload_id: str) -> Status | None:
        """The same, None if there is no such upload."""
        try:
            return await self.get(upload_id)
        except UploadNotFound:
            return None

    def advance(self, status: Status, offset: int, moment: datetime) -> Status:
        """How an upload stands that stood like this, and of which so many bytes were stored at this
        moment; it is not complete.
        """
        rate = self._rates.note(status.id, offset, time.monotonic())
        return advanced(status, offset, moment, rate)

    async def page(
        self, wanted: Filter, order: Order, *, descending: bool, limit: int, skip: int
    ) -> Page:
        """Some of the uploads that are wanted. One that cannot be read is left out: it must not
        hide all others.
        """
        entries, total = await self._catalog.page(
            wanted, order, descending=descending, limit=limit, skip=skip
        )
        found = await together(self._find_readable(entry.upload_id) for entry in entries)
        shown = tuple(status for status in found if status is not None)
        return Page(shown, total, skip, limit)

    async def _find_readable(self, upload_id: str) -> Status | None:
        try:
            return await self.find(upload_id)
        except TusError:
            return None

    async def storage(self, owner: str | None) -> Storage:
        """The room there is, and what this owner has of it; None: what all have."""
        total, free = (None, None) if self._disk is None else self._disk()
        used = Amount.of(await self._catalog.usage(owner))
        return Storage(free, total, used, Amount.of(self._catalog.quota))

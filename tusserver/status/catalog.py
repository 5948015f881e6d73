"""The ledger of a site as the list of its uploads, read in a thread of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tusserver.policy.ledger_thread import LedgerThread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tusserver.policy.ledger import Entry, Filter, Ledger, Order, Quota, Usage


class Catalog:
    """Reads one ledger, whoever writes it. `quota` is what one owner may have. All but `close` may
    raise StorageUnavailable, StorageFull and StorageFailed.
    """

    def __init__(self, ledger: Ledger, quota: Quota) -> None:
        self.quota = quota
        self._ledger = ledger
        self._thread = LedgerThread(ledger, "catalog")

    async def start(self) -> None:
        """Raises StoreUnusable."""
        await self._thread.start()

    async def close(self) -> None:
        """It may be started again."""
        await self._thread.close()

    async def page(
        self, wanted: Filter, order: Order, *, descending: bool, limit: int, skip: int
    ) -> tuple[list[Entry], int]:
        """A page of the entries that are wanted, and how many there are on all pages."""

        def read() -> tuple[list[Entry], int]:
            entries = self._ledger.entries(
                wanted, order=order, descending=descending, limit=limit, skip=skip
            )
            return entries, self._ledger.count(wanted)

        return await self._thread.call(read)

    async def latest(self, wanted: Filter, limit: int) -> list[Entry]:
        """The entries that were made last."""
        return await self._thread.call(lambda: self._ledger.entries(wanted, limit=limit))

    async def known(self, upload_ids: Sequence[str]) -> set[str]:
        """Those of these uploads that there still are."""
        return await self._thread.call(lambda: self._ledger.known(upload_ids))

    async def usage(self, owner: str | None) -> Usage:
        """What this owner has; None: all together."""
        if owner is None:
            return await self._thread.call(self._ledger.total)
        return await self._thread.call(lambda: self._ledger.usage(owner))

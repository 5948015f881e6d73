"""A ledger in a thread of its own, for the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from tusserver.policy.ledger import LedgerFailed, LedgerUnusable
from tusserver.protocol.errors import StorageFailed, StorageFull, StorageUnavailable
from tusserver.store.base import StoreUnusable

if TYPE_CHECKING:
    from collections.abc import Callable

    from tusserver.policy.ledger import Ledger

_T = TypeVar("_T")


class LedgerThread:
    """Asks this ledger, from `start` to `close`; it may be started again."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        self.ledger = ledger
        self._name = name
        self._thread: ThreadPoolExecutor | None = None

    async def start(self) -> None:
        """Raises StoreUnusable."""
        self._thread = ThreadPoolExecutor(1, self._name)
        try:
            await self.call(self.ledger.open)
        except LedgerUnusable as error:
            raise StoreUnusable(str(error)) from error

    async def close(self) -> None:
        await self.call(self.ledger.close)
        assert self._thread is not None
        self._thread.shutdown()

    async def call(self, work: Callable[..., _T], *args: object) -> _T:
        """What this comes to in the thread. Raises StorageUnavailable, StorageFull, StorageFailed
        where the ledger failed.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)
        except LedgerFailed as error:
            if error.is_passing:
                raise StorageUnavailable(f"{error}; try again in a moment") from error
            raise (StorageFull if error.is_full else StorageFailed) from error

"""The stores that the contract is held against."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

import pytest

from tests.store.fanned import FannedOutStore
from tusserver.store.base import (
    ConcatenatingStore,
    InspectingStore,
    Store,
    SyncingStore,
    TerminatingStore,
)
from tusserver.store.calls import Placement
from tusserver.store.file import FileStore, FileStoreOptions, Sync
from tusserver.store.memory import MemoryStore


class FullStore(Store, TerminatingStore, ConcatenatingStore, Protocol):
    """A store that supports every extension."""


class FullFileStore(FullStore, SyncingStore, InspectingStore, Protocol):
    """What the file store is, besides."""


def _file_store(sync: Sync, calls: Placement = Placement.AUTO) -> Callable[[Path], FullStore]:
    options = FileStoreOptions(sync, calls=calls)
    return lambda directory: FileStore(directory / "uploads", options)


STORES: dict[str, Callable[[Path], FullStore]] = {
    "memory": lambda directory: MemoryStore(),
    "file-none": _file_store(Sync.NONE),
    "file-finish": _file_store(Sync.FINISH),
    "file-patch": _file_store(Sync.PATCH),
    "file-inline": _file_store(Sync.FINISH, Placement.INLINE),
    "file-fanned-out": lambda directory: FannedOutStore(directory / "uploads"),
    "file-threads": _file_store(Sync.FINISH, Placement.THREADS),
}


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FullStore]:
    """Each store in turn, started."""
    made = STORES[request.param](tmp_path)
    await made.start()
    yield made
    await made.close()

"""The stores that the contract is held against."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.store.bucket import Dying, ObjectServer, Prefix, store_of
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
from tusserver.store.object_parts import MIN_PART, PartRules
from tusserver.store.s3_options import PartChecksum


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


SPOOLED = {"memory": 0, "sending": 1, "rules": PartRules(usual=MIN_PART, are_equal=True)}
OBJECT_STORES: dict[str, dict[str, Any]] = {
    "s3": {},
    "s3-spooled": {**SPOOLED, "client": {"checksum": PartChecksum.MD5}},
    "azure": {},
    "azure-spooled": SPOOLED,
}
"""The fixture of the service, and how it is used."""


@pytest.fixture
def prefix(objects: ObjectServer, own_prefix: str) -> Prefix:
    return Prefix(objects, own_prefix)


@pytest.fixture
def dying(objects: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Dying:
    return Dying(monkeypatch, objects.bucket_class)


@pytest.fixture(params=[*STORES, *OBJECT_STORES])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FullStore]:
    """Each store in turn, started."""
    made: FullStore
    if request.param in OBJECT_STORES:
        server = request.getfixturevalue(request.param.partition("-")[0])
        prefix = request.getfixturevalue("own_prefix")
        made = store_of(server, prefix, flush=0.05, **OBJECT_STORES[request.param])
    else:
        made = STORES[request.param](tmp_path)
    await made.start()
    yield made
    await made.close()

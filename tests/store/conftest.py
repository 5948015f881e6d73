"""The stores that the contract is held against."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.store.bucket import Dying, Prefix
from tests.store.fanned import FannedOutStore
from tests.store.s3_server import S3Server
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
from tusserver.store.s3 import S3Store
from tusserver.store.s3_options import PartChecksum
from tusserver.store.s3_parts import MIN_PART, PartRules


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


S3_STORES: dict[str, dict[str, Any]] = {
    "s3": {},
    "s3-spooled": {
        "memory": 0,
        "sending": 1,
        "rules": PartRules(usual=MIN_PART, are_equal=True),
        "checksum": PartChecksum.MD5,
    },
}


@pytest.fixture
def s3_prefix() -> str:
    """Below it nobody else has anything."""
    return f"{secrets.token_hex(4)}/"


@pytest.fixture
def prefix(s3: S3Server, s3_prefix: str) -> Prefix:
    return Prefix(s3, s3_prefix)


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> Dying:
    return Dying(monkeypatch)


@pytest.fixture(params=[*STORES, *S3_STORES])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FullStore]:
    """Each store in turn, started."""
    made: FullStore
    if request.param in S3_STORES:
        server, prefix = request.getfixturevalue("s3"), request.getfixturevalue("s3_prefix")
        made = S3Store(server.options(prefix, flush=0.05, **S3_STORES[request.param]))
    else:
        made = STORES[request.param](tmp_path)
    await made.start()
    yield made
    await made.close()

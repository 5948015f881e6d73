"""The file store against the memory store, which is the meaning of the contract: same calls, same
answers.

Between any two calls the file store may be closed and opened again by another process.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)
from msgspec.structs import replace

from tests.fakes import ScriptedBody
from tests.store.conftest import FullStore
from tests.store.test_contract import an_upload, content, sha1
from tusserver.protocol.checksum import Checksum
from tusserver.protocol.decision import Append, Outcome, Trailer
from tusserver.protocol.errors import MissingTrailer, TusError
from tusserver.protocol.upload import Final, Partial, Upload
from tusserver.store.file import FileStore, FileStoreOptions, Sync
from tusserver.store.memory import MemoryStore

_T = TypeVar("_T")

pieces = st.lists(st.binary(min_size=1, max_size=20), max_size=4)
breaks = st.sampled_from([outcome for outcome in Outcome if outcome is not Outcome.MISMATCH])
lengths = st.none() | st.integers(0, 60)
metadata = st.sampled_from(["", "k", "filename YS5oNQ==", "a /w==,b"])


def comparable(upload: Upload) -> Upload:
    """Without the moments, which come from two clocks."""
    return replace(upload, modified_at=upload.created_at)


class Stores(RuleBasedStateMachine):
    """Every rule does the same to both stores."""

    uploads: Bundle[str] = Bundle("uploads")
    partials: Bundle[str] = Bundle("partials")
    sync = Sync.NONE

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.root = Path(tempfile.mkdtemp())
        self.memory = MemoryStore()
        self.file = self._opened()
        self.count = 0

    def _opened(self) -> FileStore:
        store = FileStore(self.root / "uploads", FileStoreOptions(self.sync))
        self.run(store.start())
        return store

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self.loop.run_until_complete(work)

    def both(self, work: Any) -> Any:  # noqa: ANN401
        """The outcome of the same work on both stores, which must agree."""
        results: list[Any] = []
        for store in (self.memory, self.file):
            try:
                results.append(self.run(work(store)))
            except TusError as error:
                results.append(type(error))
        assert results[0] == results[1]
        return results[1]

    def _create(self, upload: Upload) -> str:
        self.count += 1
        new = replace(upload, upload_id=f"{self.count:032x}")
        self.both(lambda store: store.create(new))
        return new.upload_id

    @initialize(target=uploads)
    def first(self) -> str:
        return self._create(an_upload())

    @rule(target=uploads, length=lengths, header=metadata)
    def create(self, length: int | None, header: str) -> str:
        return self._create(an_upload(length=length, metadata=header))

    @rule(target=partials, data=st.binary(max_size=20))
    def create_partial(self, data: bytes) -> str:
        upload_id = self._create(an_upload(length=len(data), concat=Partial()))
        self._append(upload_id, Append(limit=len(data)), ScriptedBody(data), None)
        return upload_id

    @rule(
        upload_id=uploads,
        buffers=pieces,
        outcome=breaks,
        header=st.sampled_from(["none", "right", "wrong"]),
        trailer=st.sampled_from(Trailer),
        late=st.sampled_from(["none", "right", "wrong", "missing"]),
        declare=st.none() | st.integers(0, 20),
    )
    def append(
        self,
        upload_id: str,
        buffers: list[bytes],
        outcome: Outcome,
        header: str,
        trailer: Trailer,
        late: str,
        declare: int | None,
    ) -> None:
        upload = self.run(self.memory.open(upload_id))
        if upload.length is not None:
            declare = None
        elif declare is not None:
            declare += upload.offset
        length = upload.length if declare is None else declare
        limit = None if length is None else length - upload.offset
        data = b"".join(buffers)[:limit]
        plan = Append(limit, None, declare, _checksum(header, data), trailer)
        make = partial(ScriptedBody, *buffers, outcome=outcome)
        self._append(upload_id, plan, make(), _late(late, data), make())

    def _append(
        self,
        upload_id: str,
        plan: Append,
        body: ScriptedBody,
        late: Any,  # noqa: ANN401
        again: ScriptedBody | None = None,
    ) -> None:
        bodies = [body, again or ScriptedBody(*body._buffers)]

        async def work(store: FullStore) -> tuple[Upload, Outcome]:
            scripted = bodies.pop()
            scripted.bound(plan.limit)
            appended = await store.append(
                await store.open(upload_id), plan, scripted, late or (lambda: None)
            )
            return comparable(appended.upload), appended.outcome

        self.both(work)

    @rule(target=uploads, chosen=st.lists(partials, min_size=1, max_size=4))
    def concatenate(self, chosen: list[str]) -> str:
        upload_id = self._create(an_upload(length=None, concat=Final(tuple(chosen))))

        async def work(store: FullStore) -> Upload:
            parts = [await store.get(part) for part in chosen]
            return comparable(await store.concatenate(await store.open(upload_id), parts))

        self.both(work)
        return upload_id

    @rule(upload_id=consumes(uploads))
    def terminate(self, upload_id: str) -> None:
        self.both(lambda store: store.terminate(upload_id))
        self.both(lambda store: store.get(upload_id))

    @rule()
    def another_process(self) -> None:
        self.run(self.file.close())
        self.file = self._opened()

    @invariant()
    def stores_agree(self) -> None:
        async def everything(store: FullStore) -> dict[str, tuple[Upload, bytes]]:
            found = {}
            async for upload_id in store.ids():
                upload = await store.get(upload_id)
                found[upload_id] = comparable(upload), await content(store, upload)
            return found

        self.both(everything)

    def teardown(self) -> None:
        self.run(self.file.close())
        self.loop.close()
        shutil.rmtree(self.root)


class SyncedStores(Stores):
    """The same with notes on what is synced."""

    sync = Sync.FINISH


def _checksum(kind: str, data: bytes) -> Checksum | None:
    return {"none": None, "right": sha1(data), "wrong": sha1(data + b"x")}[kind]


def _late(kind: str, data: bytes) -> Any:  # noqa: ANN401
    def missing() -> Checksum | None:
        raise MissingTrailer

    return missing if kind == "missing" else lambda: _checksum(kind, data)


TestStores = Stores.TestCase
TestStores.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestSyncedStores = SyncedStores.TestCase
TestSyncedStores.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)

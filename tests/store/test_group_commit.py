"""What uploads bring to the disk together: in which order, at what cost, and whom an error hits."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes import ScriptedBody
from tests.store.syncs import WatchedSyncs, is_data, is_record, kind_of, watch
from tests.store.test_contract import an_upload, append
from tests.store.test_file import ID, names, record
from tusserver.protocol.errors import StorageFailed, StorageFull
from tusserver.store.calls import Placement
from tusserver.store.disk_syncs import ThreadSyncs
from tusserver.store.file import FileStore, FileStoreOptions, Sync
from tusserver.store.group_commit import EntriesNotSynced
from tusserver.store.kernel_syncs import KernelSyncs

pytestmark = pytest.mark.anyio

IDS = [letter * 32 for letter in "abcdefgh"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "uploads"


@pytest.fixture(params=[Placement.AUTO, Placement.THREADS])
async def store(request: pytest.FixtureRequest, root: Path) -> AsyncIterator[FileStore]:
    """One that is synced by the kernel where it does that, and one that is synced by threads."""
    made = FileStore(root, FileStoreOptions(Sync.FINISH, calls=request.param), boot_id="boot-1")
    await made.start()
    yield made
    await made.close()


async def finish(store: FileStore, upload_id: str = ID) -> bool:
    appended = await append(store, an_upload(upload_id), ScriptedBody(b"helloworld"))
    return appended.upload.is_finished


async def held_up(syncs: WatchedSyncs, batches: int) -> None:
    """Returns when so many batches have come to the gate."""
    while len(syncs.batches) < batches:
        await asyncio.sleep(0.001)


def noted(root: Path, upload_id: str = ID) -> int:
    offset: int = record(root, upload_id)["tusserver"]["synced"]["offset"]
    return offset


async def test_uploads_that_finish_together_share_the_sync_of_the_directory(
    store: FileStore,
) -> None:
    for upload_id in IDS:
        await store.create(an_upload(upload_id))
    syncs = watch(store)
    syncs.gate.clear()
    first = asyncio.create_task(finish(store, IDS[0]))
    await held_up(syncs, 1)
    others = [asyncio.create_task(finish(store, upload_id)) for upload_id in IDS[1:]]
    while len(store._commits._gathered) < len(others):
        await asyncio.sleep(0.001)
    syncs.gate.set()
    assert all(await asyncio.gather(first, *others))
    count = len(others)
    assert syncs.batches == [
        ["data", "record"], ["directory"], ["data"] * count + ["record"] * count, ["directory"],
    ]  # fmt: skip


async def test_first_the_files_then_the_new_record_then_the_directory_then_the_reply(
    store: FileStore, root: Path
) -> None:
    await store.create(an_upload())
    syncs = watch(store)
    seen: list[tuple[str, int, bool]] = []

    def look(path: Path) -> bool:
        seen.append((kind_of(path), noted(root), finishing.done()))
        return False

    syncs.fails = look
    finishing = asyncio.create_task(finish(store))
    assert await finishing
    assert sorted(seen) == [("data", 0, False), ("directory", 10, False), ("record", 0, False)]
    assert seen[2][0] == "directory"


@pytest.mark.parametrize("is_failing", [is_data, is_record])
async def test_an_error_hits_only_its_own_upload(
    store: FileStore, root: Path, is_failing: WatchedSyncs.Fails
) -> None:
    for upload_id in IDS:
        await store.create(an_upload(upload_id))
    syncs = watch(store)
    syncs.fails = lambda path: path.name.startswith(IDS[3]) and is_failing(path)
    done = await asyncio.gather(*(finish(store, each) for each in IDS), return_exceptions=True)
    assert isinstance(done.pop(3), StorageFailed)
    assert done == [True] * (len(IDS) - 1)
    assert not (await store.get(IDS[3])).is_finished
    assert noted(root, IDS[3]) == 0
    assert len(names(root)) == 2 * len(IDS)


async def test_no_room_for_a_record_is_no_loss_of_bytes(store: FileStore) -> None:
    await store.create(an_upload())
    syncs = watch(store)
    syncs.fails, syncs.error = is_record, errno.ENOSPC
    with pytest.raises(StorageFull):
        await finish(store)
    assert (await store.open(ID)).is_finished


async def test_an_upload_whose_entries_get_lost_is_not_believed_to_be_finished(
    store: FileStore, root: Path
) -> None:
    await store.create(an_upload())
    syncs = watch(store)
    syncs.fails = Path.is_dir
    with pytest.raises(StorageFailed):
        await finish(store)
    assert not (await store.get(ID)).is_finished
    assert names(root) == {ID, f"{ID}.info"}
    assert (await store.open(ID)).is_finished


async def test_a_directory_that_is_gone_is_an_error_of_its_uploads_only(
    store: FileStore, root: Path
) -> None:
    await store.create(an_upload())
    commits = store._commits
    lost = asyncio.create_task(commits.commit(directory=str(root / "gone")))
    assert await finish(store)
    with pytest.raises(EntriesNotSynced):
        await lost


async def test_a_commit_goes_on_when_its_upload_is_cancelled(store: FileStore, root: Path) -> None:
    await store.create(an_upload())
    syncs = watch(store)
    syncs.gate.clear()
    before = os.listdir("/proc/self/fd")
    task = asyncio.create_task(finish(store))
    await held_up(syncs, 1)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    syncs.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert noted(root) == 10
    assert (await store.get(ID)).is_finished
    assert os.listdir("/proc/self/fd") == before


async def test_closing_waits_for_the_commits(store: FileStore, root: Path) -> None:
    await store.create(an_upload())
    syncs = watch(store)
    syncs.gate.clear()
    finishing = asyncio.create_task(finish(store))
    await held_up(syncs, 1)
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0.01)
    assert not closing.done()
    syncs.gate.set()
    await closing
    assert await finishing
    await store.start()  # It may be used again.
    await store.create(an_upload(IDS[1]))
    assert await finish(store, IDS[1])


async def test_nobody_waits_for_ever_when_a_commit_breaks_down(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("as it should")

    await store.create(an_upload())
    monkeypatch.setattr(store._commits, "_commit_all", broken)
    with pytest.raises(RuntimeError, match="as it should"):
        await finish(store)


@pytest.mark.parametrize(
    ("sync", "length", "expected"),
    [
        pytest.param(Sync.FINISH, 10, ["record"], id="it may get lost"),
        pytest.param(Sync.FINISH, 0, ["record", "directory", "directory"], id="it is finished"),
        pytest.param(Sync.PATCH, 10, ["record", "directory", "directory"], id="it is promised"),
        pytest.param(Sync.NONE, 10, [], id="nothing is promised"),
    ],
)
async def test_a_creation_syncs_what_it_promises(
    root: Path, sync: Sync, length: int, expected: list[str]
) -> None:
    store = FileStore(root, FileStoreOptions(sync))
    await store.start()
    syncs = watch(store)
    await store.create(an_upload(length=length))
    assert [kind for batch in syncs.batches for kind in batch] == expected
    await store.close()


@pytest.mark.parametrize("content", [b"", bytes(300)])
async def test_a_creation_that_power_was_taken_from_never_was(
    store: FileStore, root: Path, content: bytes
) -> None:
    (root / f"{ID}.info").write_bytes(content)
    assert [finding.kind async for finding in store.findings()] == ["record-without-data"]
    (root / ID).write_bytes(b"data")
    assert [finding.kind async for finding in store.findings()] == ["damaged-record"]


async def test_the_kernel_is_left_out_where_threads_are_asked_for(store: FileStore) -> None:
    threads = store._calls.placement is Placement.THREADS
    assert isinstance(store._commits._syncs, ThreadSyncs if threads else KernelSyncs)

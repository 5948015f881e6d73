"""Finished uploads in a bucket get to their places whole, once, and over nothing of others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from tests.fakes import ScriptedBody
from tests.store.bucket import ID, Broken, Dying, ObjectServer, Prefix, pieces, some
from tests.store.test_contract import an_upload, append, content
from tusserver.policy.naming import numbered
from tusserver.protocol.errors import StorageFailed, StorageUnavailable, UploadNotFound
from tusserver.protocol.finish import Finish, FinishState
from tusserver.store.base import PlaceRefused
from tusserver.store.bucket import ObjectMissing
from tusserver.store.collisions import OnCollision
from tusserver.store.object_parts import MIB
from tusserver.store.object_places import COPIED, RECORDED, Destination

if TYPE_CHECKING:
    from tusserver.protocol.upload import Upload
    from tusserver.store.objects import ObjectStore

pytestmark = pytest.mark.anyio

OTHER = "b" * 32
DATA = some(6 * MIB + 7)
TAKEN = b"of somebody else"


class Places:
    """The destination of a test: what lies there, and a store whose uploads go there."""

    def __init__(self, prefix: Prefix) -> None:
        self.uploads = prefix
        self.server = prefix.server
        self.prefix = f"jobs-{prefix.prefix}"

    def store(self, on_collision: OnCollision = OnCollision.NUMBER) -> Any:  # noqa: ANN401
        return self.uploads.store(destination=Destination(self.prefix, on_collision, numbered))

    async def objects(self) -> dict[str, bytes]:
        bucket = self.server.bucket()
        await bucket.start()
        try:
            keys = self.server.keys(self.prefix)
            found = [await bucket.get(key) for key in keys]
        finally:
            await bucket.close()
        names = [key.removeprefix(self.prefix) for key in keys]
        return {name: content.data for name, content in zip(names, found, strict=True)}

    def put(self, name: str, data: bytes = TAKEN) -> None:
        self.server.put(self.prefix + name, data)

    def multiparts(self) -> int:
        return len(self.server.multiparts(self.prefix))


@pytest.fixture
def places(prefix: Prefix) -> Places:
    return Places(prefix)


async def a_finished(store: ObjectStore, data: bytes = DATA, upload_id: str = ID) -> Upload:
    """All bytes are there, and what is to be done with them is due."""
    due = Finish(state=FinishState.DUE)
    upload = await store.create(an_upload(upload_id, length=len(data), finish=due))
    if data:
        upload = (await append(store, upload, ScriptedBody(*pieces(data)))).upload
    return upload


async def placed(store: ObjectStore, upload: Upload, name: str = "a.h5") -> str:
    upload = await store.place(upload, ("kim", "run 7"), name)
    assert upload.finish is not None
    return upload.finish.place


@pytest.mark.parametrize("data", [b"", b"hello", DATA], ids=["empty", "small", "large"])
async def test_a_finished_upload_is_at_its_place_and_nowhere_else(
    places: Places, data: bytes
) -> None:
    async with places.store() as store:
        upload = await a_finished(store, data)
        steps: list[str] = []
        upload = await store.place(upload, ("kim", "run 7"), "시료 3.h5", steps.append)
        assert steps == [RECORDED, COPIED]
        assert upload.finish is not None
        assert upload.finish.place == "kim/run 7/시료 3.h5"
        found = await store.get(ID)
        assert (found.offset, found.is_finished) == (len(data), upload.is_finished)
        assert await content(store, found) == data
        assert await content(store, found, 1, 3) == data[1:3] if data else True
    assert await places.objects() == {"kim/run 7/시료 3.h5": data}
    places.uploads.assert_records_only(ID)
    assert places.multiparts() == 0


async def test_the_object_keeps_the_type_of_its_bytes(places: Places, prefix: Prefix) -> None:
    async with places.store() as store:
        metadata = "filetype aW1hZ2UvcG5n"
        due = Finish(state=FinishState.DUE)
        upload = await store.create(an_upload(length=5, metadata=metadata, finish=due))
        upload = (await append(store, upload, ScriptedBody(b"hello"))).upload
        place = await placed(store, upload)
    assert prefix.server.media_type(places.prefix + place) == "image/png"


async def test_names_that_are_taken_get_a_number(places: Places) -> None:
    for name in ("a.h5", "a (1).h5"):
        places.put(f"kim/run 7/{name}")
    async with places.store() as store:
        assert await placed(store, await a_finished(store)) == "kim/run 7/a (2).h5"
        other = await a_finished(store, b"hello", OTHER)
        assert await placed(store, other) == "kim/run 7/a (3).h5"
    names = ["a (1).h5", "a (2).h5", "a (3).h5", "a.h5"]
    assert await places.objects() == {
        f"kim/run 7/{name}": data
        for name, data in zip(names, [TAKEN, DATA, b"hello", TAKEN], strict=True)
    }


async def test_a_name_that_is_taken_may_be_refused(places: Places) -> None:
    places.put("kim/run 7/a.h5")
    async with places.store(OnCollision.REFUSE) as store:
        with pytest.raises(PlaceRefused, match="is taken"):
            await placed(store, await a_finished(store))
        assert await content(store, await store.get(ID)) == DATA
    assert await places.objects() == {"kim/run 7/a.h5": TAKEN}
    assert places.multiparts() == 0


async def test_what_has_the_name_may_be_replaced(places: Places) -> None:
    places.put("kim/run 7/a.h5")
    async with places.store(OnCollision.REPLACE) as store:
        assert await placed(store, await a_finished(store)) == "kim/run 7/a.h5"
    assert await places.objects() == {"kim/run 7/a.h5": DATA}


@pytest.mark.parametrize("rule", [OnCollision.NUMBER, OnCollision.REFUSE])
async def test_a_name_that_is_taken_at_the_last_moment_is_left_alone(
    places: Places, rule: OnCollision, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with places.store(rule) as store:
        upload = await a_finished(store)
        copy = store.bucket.copy

        async def late(*args: Any, **options: Any) -> None:
            if args[2].endswith("/a.h5"):
                places.put("kim/run 7/a.h5")
            await copy(*args, **options)

        monkeypatch.setattr(store.bucket, "copy", late)
        if rule is OnCollision.NUMBER:
            assert await placed(store, upload) == "kim/run 7/a (1).h5"
        else:
            with pytest.raises(PlaceRefused):
                await placed(store, upload)
            upload = await store.get(ID)
            assert upload.finish is not None
            refused = replace(upload.finish, state=FinishState.REFUSED)
            await store.record_finish(upload, refused)
    assert (await places.objects())["kim/run 7/a.h5"] == TAKEN
    assert places.multiparts() == 0


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", ["size", "begin_copy", "put", "copy", "clear"])
@pytest.mark.parametrize("rule", [OnCollision.NUMBER, OnCollision.REPLACE])
async def test_after_a_death_it_gets_there_all_the_same(
    places: Places, dying: Dying, call: str, done: bool, rule: OnCollision
) -> None:
    async with places.store(rule) as store:
        upload = await a_finished(store)
        dying.at(call, done=done)
        try:
            await placed(store, upload)
        except Broken:
            pass
        else:
            assert call == "size", "nobody looks before something is replaced"
        dying.no_more()
    async with places.store(rule) as store:
        upload = await store.open(ID)
        assert upload.finish is not None
        # Whoever carries on asks whether it is still to be done.
        if not upload.finish.place:
            await placed(store, upload)
        else:
            await store.record_finish(upload, upload.finish)
        assert await content(store, await store.get(ID)) == DATA
    assert await places.objects() == {"kim/run 7/a.h5": DATA}
    places.uploads.assert_records_only(ID)
    # An empty one stays whose name could not be recorded: it might be of somebody else.
    assert places.multiparts() == (call == "begin_copy" and done and places.server.are_copied) + (
        call == "put" and not done and places.server.are_copied
    )


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", ["copy_part", "_complete"])
async def test_after_a_death_within_a_copy_it_gets_there_all_the_same(
    places: Places, dying: Dying, call: str, done: bool
) -> None:
    if not places.server.are_copied:
        return  # It is one call then.
    async with places.store() as store:
        upload = await a_finished(store)
        dying.at(call, done=done)
        with pytest.raises(Broken):
            await placed(store, upload)
        dying.no_more()
        await placed(store, await store.get(ID))
    assert await places.objects() == {"kim/run 7/a.h5": DATA}
    assert places.multiparts() == 0


async def test_whoever_comes_late_cannot_bring_it_there_again(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that has lost its lock goes on while the copy of another has been taken away."""
    if not places.server.are_copied:
        return  # There is a moment between two calls to the service that nothing closes.
    async with places.store() as slow, places.store() as quick:
        upload = await a_finished(slow)
        began, may_go_on = asyncio.Event(), asyncio.Event()
        complete = slow.bucket._complete

        async def late(*args: Any, **options: Any) -> None:
            began.set()
            await may_go_on.wait()
            await complete(*args, **options)

        monkeypatch.setattr(slow.bucket, "_complete", late)
        first = asyncio.create_task(placed(slow, upload))
        await began.wait()
        await placed(quick, await quick.get(ID))
        places.server.delete(f"{places.prefix}kim/run 7/a.h5")
        may_go_on.set()
        with pytest.raises((StorageFailed, StorageUnavailable)):
            await first
    assert await places.objects() == {}
    assert places.multiparts() == 0


async def test_an_answer_that_was_lost_is_no_name_taken(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with places.store() as store:
        upload = await a_finished(store)
        copy = store.bucket.copy

        async def twice(*args: Any, **options: Any) -> None:
            await copy(*args, **options)
            await copy(*args, **options)

        monkeypatch.setattr(store.bucket, "copy", twice)
        assert await placed(store, upload) == "kim/run 7/a.h5"
    assert await places.objects() == {"kim/run 7/a.h5": DATA}


async def test_an_upload_that_is_removed_leaves_no_copy_half_made(
    places: Places, dying: Dying
) -> None:
    async with places.store() as store:
        upload = await a_finished(store)
        dying.at("copy", done=False)
        with pytest.raises(Broken):
            await placed(store, upload)
        dying.no_more()
        await store.terminate(ID)
    assert await places.objects() == {}
    places.uploads.assert_only()
    assert places.multiparts() == 0


async def test_what_was_taken_away_or_replaced_is_not_shown(places: Places) -> None:
    async with places.store() as store:
        place = await placed(store, await a_finished(store))
        places.server.delete(places.prefix + place)
        for _ in range(2):
            found = await store.get(ID)
            assert found.offset == len(DATA)
            with pytest.raises(UploadNotFound):
                await content(store, found)
            places.put(place, DATA[::-1])


async def test_a_removal_leaves_what_is_at_its_place(places: Places) -> None:
    async with places.store() as store:
        await placed(store, await a_finished(store))
        await store.terminate(ID)
        with pytest.raises(UploadNotFound):
            await store.get(ID)
    assert await places.objects() == {"kim/run 7/a.h5": DATA}
    places.uploads.assert_only()


async def test_a_multipart_upload_that_lies_about_is_told_of_and_left_alone(
    places: Places,
) -> None:
    if not places.server.are_copied:
        return  # Copies need none.
    places.server.begin(f"{places.prefix}kim/a.h5")
    destination = Destination(places.prefix, OnCollision.NUMBER, numbered)
    async with places.uploads.store(destination=destination, grace=-60.0) as store:
        (finding,) = [each async for each in store.findings()]
        assert (finding.kind, finding.is_leftover) == ("multipart-at-place", False)
        assert finding.upload_id == f"{places.prefix}kim/a.h5"
        with pytest.raises(StorageFailed, match="by hand"):
            await store.mend(finding)
        assert places.multiparts() == 1
        places.server.end_multiparts(places.prefix)
        assert not await store.mend(finding)
    async with places.store() as store:
        places.server.begin(f"{places.prefix}kim/a.h5")
        assert [each async for each in store.findings()] == [], (
            "it may be just about to be recorded"
        )


async def test_a_name_that_no_key_can_have_is_refused(places: Places) -> None:
    async with places.store() as store:
        upload = await a_finished(store, b"hello")
        with pytest.raises(PlaceRefused, match="too long"):
            await store.place(upload, tuple(200 * "x" for _ in range(6)), "a")
        assert await content(store, await store.get(ID)) == b"hello"


async def test_an_object_that_has_gone_is_not_placed(places: Places, prefix: Prefix) -> None:
    async with places.store() as store:
        upload = await a_finished(store)
        prefix.server.delete(prefix.prefix + ID)
        with pytest.raises(StorageFailed):
            await placed(store, upload)
    assert await places.objects() == {}


async def test_a_mark_is_read_as_it_was_written(objects: ObjectServer, own_prefix: str) -> None:
    bucket = objects.bucket()
    await bucket.start()
    try:
        upload_id = "2026/시료+1 %41"
        await bucket.put(f"{own_prefix}a", b"hello")
        multipart = await bucket.begin_copy(f"{own_prefix}b", upload_id, "text/plain")
        await bucket.copy(f"{own_prefix}a", 5, f"{own_prefix}b", multipart, upload_id, is_new=True)
        assert await bucket.marked(f"{own_prefix}b") == upload_id
        assert await bucket.marked(f"{own_prefix}a") is None
        with pytest.raises(ObjectMissing):
            await bucket.marked(f"{own_prefix}c")
    finally:
        await bucket.close()

"""Uploads in a bucket: parts, what several servers do to each other, and what faults leave behind.

Every test ends with a look at the whole prefix: nothing is there that no upload needs.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fakes import ScriptedBody
from tests.store.bucket import BIG, ID, Broken, Dying, Prefix, pieces, some, store_of
from tests.store.s3_server import S3Server
from tests.store.test_contract import (
    GatedBody,
    a_partial,
    an_upload,
    append,
    content,
    no_trailer,
    sha1,
)
from tusserver.protocol.decision import Append, Outcome, Trailer
from tusserver.protocol.errors import (
    StorageFailed,
    StorageUnavailable,
    TusError,
    UploadDamaged,
    UploadNotFound,
)
from tusserver.protocol.upload import Final
from tusserver.store.base import StoreUnusable
from tusserver.store.object_parts import MIB, PartRules
from tusserver.store.object_record import Kept

pytestmark = pytest.mark.anyio

# Parts.


@pytest.mark.parametrize(
    "options",
    [{}, {"memory": 0}, {"memory": 6 * MIB, "sending": 1}, {"rules": PartRules()}],
    ids=["in memory", "spooled", "both", "larger parts"],
)
async def test_bodies_of_any_size_become_one_object(
    prefix: Prefix, options: dict[str, Any]
) -> None:
    data, at = some(BIG), 0
    async with prefix.store(**options) as store:
        await store.create(an_upload(length=BIG))
        for size in (1, 100, 6 * MIB, 0, 5 * MIB - 101, 3, BIG):
            body = ScriptedBody(*pieces(data[at : at + size]))
            at = min(at + size, BIG)
            assert (await append(store, an_upload(), body)).upload.offset == at
            assert (await store.get(ID)).offset == at
        assert await content(store, await store.get(ID)) == data
        assert (
            await content(store, await store.get(ID), 5 * MIB - 5, 5 * MIB + 5)
            == (data[5 * MIB - 5 : 5 * MIB + 5])
        )
    prefix.assert_only(ID)


async def test_equal_parts_all_have_one_size(prefix: Prefix) -> None:
    data = some(BIG)
    async with prefix.store(rules=PartRules(usual=5 * MIB, are_equal=True)) as store:
        await store.create(an_upload(length=None))
        await append(store, an_upload(), ScriptedBody(*pieces(data[: 7 * MIB])))
        body = ScriptedBody(*pieces(data[7 * MIB : -1]))
        kept = (await append(store, an_upload(), body)).upload.origin
        assert isinstance(kept, Kept)
        assert [part.size for part in kept.state.parts] == [5 * MIB] * 2
        await append(store, an_upload(), ScriptedBody(data[-1:]), Append(declare=BIG))
        assert await content(store, await store.get(ID)) == data
    prefix.assert_only(ID)


async def test_a_slow_body_is_stored_bit_by_bit_and_ends_up_whole(prefix: Prefix) -> None:
    data = some(5 * MIB + 50)

    class Slow(ScriptedBody):
        async def read(self) -> bytes:
            await asyncio.sleep(0.015)
            return await super().read()

    async with prefix.store(flush=0.001) as store:
        await store.create(an_upload(length=len(data)))
        slow = Slow(*pieces(data[: 400 * 1024], 8 * 1024))
        await append(store, an_upload(), slow)
        await append(store, an_upload(), ScriptedBody(*pieces(data[400 * 1024 :])))
        assert await content(store, await store.get(ID)) == data
    prefix.assert_only(ID)


async def test_parts_are_seen_while_the_body_goes_on(prefix: Prefix) -> None:
    data = some(6 * MIB)
    async with prefix.store(flush=0.02) as store:
        await store.create(an_upload(length=None))
        body = GatedBody(*pieces(data), b"end")
        task = asyncio.create_task(append(store, an_upload(), body))
        await body.reached.wait()
        while (await store.get(ID)).offset != 6 * MIB:
            await asyncio.sleep(0.01)
        body.gate.set()
        assert (await task).upload.offset == 6 * MIB + 3


async def test_a_staged_body_of_many_parts_counts_only_if_it_matches(prefix: Prefix) -> None:
    data = some(BIG)
    async with prefix.store() as store:
        await store.create(an_upload(length=BIG))
        wrong = Append(checksum=sha1(b"other"))
        appended = await append(store, an_upload(), ScriptedBody(*pieces(data)), wrong)
        assert (appended.outcome, appended.upload.offset) == (Outcome.MISMATCH, 0)
        assert (await store.get(ID)).offset == 0
        late = Append(trailer=Trailer.ANNOUNCED)
        body = ScriptedBody(*pieces(data))
        appended = await append(store, an_upload(), body, late, lambda: sha1(data))
        assert (appended.outcome, appended.upload.offset) == (Outcome.COMPLETE, BIG)
        assert await content(store, await store.get(ID)) == data
    prefix.assert_only(ID)


async def test_small_bodies_do_not_use_up_the_numbers_of_parts(prefix: Prefix) -> None:
    data, step = some(30 * MIB), 5 * MIB
    async with prefix.store(rules=PartRules(usual=5 * MIB, count=4)) as store:
        await store.create(an_upload(length=len(data)))
        for at in range(0, len(data), step):
            await append(store, an_upload(), ScriptedBody(*pieces(data[at : at + step])))
        assert await content(store, await store.get(ID)) == data
    prefix.assert_only(ID)


@pytest.mark.parametrize(
    "sizes",
    [[6 * MIB, 1000, 9 * MIB + 1, 3], [5] * 18 + [70_000, 7, 9, 70_001, 3]],
    ids=["large and small", "small"],
)
async def test_partials_of_any_size_are_joined(prefix: Prefix, sizes: list[int]) -> None:
    async with prefix.store() as store:
        partials, wanted = [], b""
        for index, size in enumerate(sizes):
            data = some(size, index)
            wanted += data
            partials.append(await a_partial(store, f"{index:032x}", data))
        final = an_upload(length=None, concat=Final(tuple(each.upload_id for each in partials)))
        await store.create(final)
        joined = await store.concatenate(final, partials)
        assert (joined.offset, joined.is_finished) == (len(wanted), True)
        assert await content(store, await store.get(ID)) == wanted
    prefix.assert_only(ID, *(each.upload_id for each in partials))


async def test_the_first_bytes_of_an_unfinished_upload_can_be_read(prefix: Prefix) -> None:
    async with prefix.store(keep_first=4) as store:
        await store.create(an_upload())
        unfinished = (await append(store, an_upload(), ScriptedBody(b"hel", b"lo"))).upload
        assert await content(store, unfinished, 0, 4) == b"hell"
        with pytest.raises(UploadNotFound):
            await content(store, unfinished, 0, 5)


# Removal.


async def test_nothing_is_left_of_an_upload_that_is_removed_in_the_middle(prefix: Prefix) -> None:
    async with prefix.store() as store:
        await store.create(an_upload(length=None))
        await append(store, an_upload(), ScriptedBody(*pieces(some(BIG))))
        assert prefix.multiparts() == 1
        await store.terminate(ID)
    prefix.assert_only()


async def test_an_upload_whose_name_goes_on_in_another_is_not_touched(prefix: Prefix) -> None:
    longer = "b" * 28 + "00"
    async with prefix.store() as store:
        for upload_id in ("b" * 28, longer):
            await store.create(an_upload(upload_id, None))
            await append(store, an_upload(upload_id), ScriptedBody(*pieces(some(6 * MIB))))
        await store.terminate("b" * 28)
        assert prefix.multiparts() == 1
        assert (await store.get(longer)).offset == 6 * MIB
        await store.terminate(longer)
    prefix.assert_only()


# Several servers.


async def test_one_who_has_lost_the_upload_acknowledges_nothing(prefix: Prefix) -> None:
    data = some(BIG)
    async with prefix.store() as former, prefix.store() as store:
        await former.create(an_upload(length=BIG))
        body = GatedBody(*pieces(data[: 6 * MIB]), data[6 * MIB :])
        lost = asyncio.create_task(append(former, an_upload(), body))
        await body.reached.wait()
        # Its lease has ended; another server goes on from what is recorded.
        at = (await store.get(ID)).offset
        await append(store, an_upload(), ScriptedBody(*pieces(data[at:-1])))
        body.gate.set()
        with pytest.raises(StorageUnavailable):
            await lost
        assert (await store.get(ID)).offset == BIG - 1
        await append(store, an_upload(), ScriptedBody(data[-1:]))
        assert await content(store, await store.get(ID)) == data
    prefix.assert_only(ID)


@pytest.mark.parametrize("size", [10, 6 * MIB])
async def test_of_two_that_append_at_once_one_wins(prefix: Prefix, size: int) -> None:
    async with prefix.store() as one, prefix.store() as two:
        await one.create(an_upload(length=size))
        bodies = [some(size, seed) for seed in (1, 2)]
        opened = [await store.open(ID) for store in (one, two)]
        results = await asyncio.gather(
            *(
                store.append(upload, Append(), ScriptedBody(*pieces(data)), no_trailer)
                for store, upload, data in zip((one, two), opened, bodies, strict=True)
            ),
            return_exceptions=True,
        )
        won = [index for index, each in enumerate(results) if not isinstance(each, BaseException)]
        assert len(won) <= 1, results
        assert all(
            isinstance(each, TusError) for index, each in enumerate(results) if index not in won
        )
        if won:
            assert await content(one, await one.get(ID)) == bodies[won[0]]
        else:
            await one.open(ID)
        await two.terminate(ID)
    prefix.assert_only()


async def test_an_append_to_an_upload_that_was_removed_fails(prefix: Prefix) -> None:
    async with prefix.store() as one, prefix.store() as two:
        await one.create(an_upload(length=6 * MIB))
        opened = await one.open(ID)
        await two.terminate(ID)
        with pytest.raises(StorageUnavailable):
            await one.append(opened, Append(), ScriptedBody(*pieces(some(6 * MIB))), no_trailer)
        with pytest.raises(UploadNotFound):
            await one.get(ID)


# Deaths.

POINTS = [
    ("put_part", 0), ("put_part", 1), ("put", 0), ("put", 1), ("begin_multipart", 0),
    ("complete", 0), ("size", 0),
]  # fmt: skip


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("call", "after"), POINTS)
async def test_whenever_a_server_dies_another_goes_on(
    prefix: Prefix, dying: Dying, call: str, after: int, done: bool
) -> None:
    data = some(BIG)
    async with prefix.store() as former:
        await former.create(an_upload(length=BIG))
        await append(former, an_upload(), ScriptedBody(data[:1000]))
        dying.at(call, done=done, after=after)
        with pytest.raises(Broken):
            await append(former, an_upload(), ScriptedBody(*pieces(data[1000:])))
        dying.no_more()
    async with prefix.store() as store:
        at = (await store.open(ID)).offset
        assert at >= 1000
        if at < BIG:
            await append(store, an_upload(), ScriptedBody(*pieces(data[at:])))
        assert await content(store, await store.get(ID)) == data
        await store.terminate(ID)
        assert prefix.multiparts() == 0


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", ["delete", "clear", "ending"])
async def test_a_removal_that_was_begun_has_removed_the_upload(
    prefix: Prefix, dying: Dying, call: str, done: bool
) -> None:
    async with prefix.store() as store:
        await store.create(an_upload(length=None))
        await append(store, an_upload(), ScriptedBody(*pieces(some(6 * MIB))))
        dying.at(prefix.server.ending if call == "ending" else call, done=done)
        with pytest.raises(Broken):
            await store.terminate(ID)
        dying.no_more()
        with pytest.raises(UploadNotFound):
            await store.get(ID)


async def test_a_small_upload_that_was_stored_but_not_recorded_is_stored_again(
    prefix: Prefix, dying: Dying
) -> None:
    async with prefix.store() as store:
        await store.create(an_upload())
        dying.at("put", done=True)
        with pytest.raises(Broken):
            await append(store, an_upload(), ScriptedBody(b"helloworld"))
        dying.no_more()
        assert (await store.open(ID)).offset == 0
        await append(store, an_upload(), ScriptedBody(b"HELLO", b"WORLD"))
        assert await content(store, await store.get(ID)) == b"HELLOWORLD"
    prefix.assert_only(ID)


# What others do to the bucket.


async def test_a_multipart_upload_that_was_ended_from_outside_is_told(prefix: Prefix) -> None:
    async with prefix.store() as store:
        await store.create(an_upload(length=BIG))
        await append(store, an_upload(), ScriptedBody(*pieces(some(6 * MIB))))
        prefix.server.end_multiparts(prefix.prefix)
        with pytest.raises((UploadDamaged, StorageFailed)):
            await append(store, an_upload(), ScriptedBody(*pieces(some(BIG - 6 * MIB))))
        await store.terminate(ID)
    prefix.assert_only()


async def test_a_record_that_is_none_is_damaged(prefix: Prefix) -> None:
    prefix.server.put(f"{prefix.prefix}{ID}.info", b"{not json")
    async with prefix.store() as store:
        with pytest.raises(UploadDamaged):
            await store.get(ID)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"secret_key": "wrong"}, "refuses"), ({"bucket": "no-such-bucket"}, "make it first")],
)
async def test_a_store_that_cannot_use_its_bucket_does_not_start(
    s3: S3Server, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(StoreUnusable, match=reason):
        await store_of(s3, "", client=changes).start()

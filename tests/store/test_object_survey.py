"""What crashes leave in a bucket is found and removed, and nothing else is touched."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.fakes import ScriptedBody
from tests.store.bucket import BIG, ID, Broken, Dying, Prefix, pieces, some
from tests.store.test_contract import GatedBody, a_partial, an_upload, append, content, no_trailer
from tusserver.lock.memory import MemoryLocker
from tusserver.protocol.decision import Append
from tusserver.protocol.errors import StorageUnavailable, UploadDamaged, UploadNotFound
from tusserver.protocol.upload import Final, Upload
from tusserver.rules import UploadsOptions
from tusserver.store.base import Finding, Known, Mark
from tusserver.store.object_parts import MIB
from tusserver.sweeper import Sweeper, SweepReport
from tusserver.uploads import Uploads

if TYPE_CHECKING:
    from typing import Any

    from tusserver.store.objects import ObjectStore

pytestmark = pytest.mark.anyio

CALLS = [
    ("put_part", 0), ("put_part", 1), ("put", 0), ("put", 1), ("put", 2), ("begin_multipart", 0),
    ("complete", 0), ("size", 0),
]  # fmt: skip
TAIL = ".part-" + "0" * 16


async def swept(store: ObjectStore, **options: Any) -> SweepReport:
    """What a sweep has done whose server is the only one."""
    options = {"expires_after": None, **options}
    uploads = Uploads(store, MemoryLocker(), UploadsOptions(**options))
    report = await Sweeper(uploads).sweep()
    assert not report.failed
    return report


async def findings(store: ObjectStore) -> list[Finding]:
    return [finding async for finding in store.findings()]


async def kinds(store: ObjectStore) -> list[str]:
    return [finding.kind for finding in await findings(store)]


async def mended(store: ObjectStore) -> list[bool]:
    return [await store.mend(finding) for finding in await findings(store)]


def put(prefix: Prefix, key: str, data: bytes = b"x") -> None:
    prefix.server.put(prefix.prefix + key, data)


def begin(prefix: Prefix, key: str) -> None:
    prefix.server.begin(prefix.prefix + key)


# Whatever a server dies of.


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("call", "after"), CALLS)
async def test_after_a_death_a_sweep_leaves_what_counts_and_nothing_else(
    prefix: Prefix, dying: Dying, call: str, after: int, done: bool
) -> None:
    data = some(BIG)
    async with prefix.store() as store:
        await store.create(an_upload(length=BIG))
        await append(store, an_upload(), ScriptedBody(data[:1000]))
        dying.at(call, done=done, after=after)
        try:
            await append(store, an_upload(), ScriptedBody(*pieces(data[1000:])))
            await store.terminate(ID)
        except Broken:
            pass
        dying.no_more()
    async with prefix.store() as store:
        await swept(store)
        assert await findings(store) == []
        try:
            upload = await store.open(ID)
        except UploadNotFound:
            return prefix.assert_only()
        if upload.offset < BIG:
            await append(store, an_upload(), ScriptedBody(*pieces(data[upload.offset :])))
        assert await content(store, await store.get(ID)) == data
    prefix.assert_only(ID)


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("call", "after"), [("clear", 0), ("ending", 0), ("delete", 0), ("delete", 1)]
)
async def test_a_removal_is_carried_on(
    prefix: Prefix, dying: Dying, call: str, after: int, done: bool
) -> None:
    async with prefix.store() as store:
        await store.create(an_upload(length=None))
        await append(store, an_upload(), ScriptedBody(*pieces(some(6 * MIB))))
        await append(store, an_upload(), ScriptedBody(b"tail"))
        put(prefix, ID + TAIL)
        dying.at(prefix.server.ending if call == "ending" else call, done=done, after=after)
        with pytest.raises(Broken):
            await store.terminate(ID)
        dying.no_more()
        assert await kinds(store) == ["half-removed"]
        assert [each.upload_id for each in (await swept(store)).leftovers] == [ID]
    prefix.assert_only()


async def test_what_counts_stays_beside_what_is_swept(prefix: Prefix) -> None:
    data = some(BIG)
    async with prefix.store() as store:
        await store.create(an_upload(length=BIG))
        await append(store, an_upload(), ScriptedBody(*pieces(data[: 6 * MIB])))
        before = prefix.objects()
        foreign = f"{ID}.part-1"
        for key in (ID + TAIL, foreign):
            put(prefix, key)
        begin(prefix, ID)
        assert {each.kind for each in (await swept(store)).leftovers} == {"stray-bytes"}
        assert sorted(prefix.objects()) == sorted([*before, foreign])
        assert prefix.multiparts() == 1
        assert await findings(store) == []
        await append(store, an_upload(), ScriptedBody(*pieces(data[6 * MIB :])))
        assert await content(store, await store.get(ID)) == data


async def test_all_bytes_that_were_not_put_together_are(prefix: Prefix, dying: Dying) -> None:
    data = some(BIG)
    async with prefix.store() as store:
        await store.create(an_upload(length=BIG))
        dying.at("complete", done=False)
        with pytest.raises(Broken):
            await append(store, an_upload(), ScriptedBody(*pieces(data)))
        dying.no_more()
        assert await kinds(store) == ["unsettled"]
        assert await mended(store) == [True]
        assert await content(store, await store.get(ID)) == data
    prefix.assert_only(ID)


async def test_who_comes_back_late_cannot_name_what_was_swept(
    prefix: Prefix,
) -> None:
    async with prefix.store() as store, prefix.store() as late:
        await store.create(an_upload(length=None))
        put(prefix, ID + TAIL)
        seen = await late.open(ID)  # It believes to hold the lock.
        await swept(store)
        with pytest.raises(StorageUnavailable):
            await late.append(seen, Append(), ScriptedBody(b"late"), no_trailer)
        assert (await store.get(ID)).offset == 0


# What is not ours.


async def test_what_is_of_others_is_never_touched(prefix: Prefix) -> None:
    foreign = ["readme.txt", "notes.part-1", f"{ID}.txt", f"{ID}x{TAIL}", f"{ID}.part-1", "x/y"]
    for key in foreign:
        put(prefix, key)
    begin(prefix, "other")
    begin(prefix, f"{ID}x")
    async with prefix.store(grace=0.0) as store:
        await asyncio.sleep(1.1)  # The service tells the time to the second.
        assert await findings(store) == []
        assert (await swept(store)).leftovers == []
        assert [upload_id async for upload_id in store.ids()] == []
    assert sorted(prefix.objects()) == sorted(foreign)
    assert prefix.multiparts() == 2


async def test_nothing_is_touched_beside_the_prefix(prefix: Prefix) -> None:
    inner = Prefix(prefix.server, f"{prefix.prefix}ab/")
    for key in (ID + TAIL, f"{ID}.final-{'b' * 32}"):
        put(inner, key)
    begin(inner, ID)
    async with prefix.store(grace=0.0) as store:
        await asyncio.sleep(1.1)
        await swept(store)
    assert len(inner.objects()) == 2
    assert inner.multiparts() == 1


async def test_without_a_record_there_is_a_time_of_grace(prefix: Prefix) -> None:
    put(prefix, ID + TAIL)
    put(prefix, f"{ID}.final-{'b' * 32}")
    begin(prefix, ID)
    async with prefix.store() as store:
        assert (await swept(store)).leftovers == []
        assert await findings(store) == []
    async with prefix.store(grace=0.0) as store:
        await asyncio.sleep(1.1)
        assert set(await kinds(store)) == {"stray-bytes", "stale-note"}
        await swept(store)
    prefix.assert_only()


async def test_an_object_without_a_record_is_only_told(prefix: Prefix) -> None:
    put(prefix, ID)
    async with prefix.store(grace=0.0) as store:
        await asyncio.sleep(1.1)
        (finding,) = await findings(store)
        assert (finding.kind, finding.is_leftover) == ("object-without-record", False)
        with pytest.raises(Exception, match="another program"):
            await store.mend(finding)
        assert (await swept(store)).leftovers == []
        assert prefix.objects() == [ID]
        await store.create(an_upload())
        assert not await store.mend(finding)


# Beside running servers.


async def test_what_a_running_request_needs_stays(prefix: Prefix) -> None:
    data, locker = some(BIG), MemoryLocker()
    async with prefix.store(flush=0.01) as store, prefix.store(grace=0.0) as other:
        sweeper = Sweeper(Uploads(other, locker))
        await store.create(an_upload(length=BIG))
        lock = await locker.acquire(ID, 5)
        body = GatedBody(*pieces(data))
        appending = asyncio.create_task(append(store, an_upload(), body))
        await body.reached.wait()
        for _ in range(3):
            await sweeper.sweep()
        body.gate.set()
        assert (await appending).upload.is_finished
        await lock.release()
        await sweeper.sweep()
        assert await content(store, await store.get(ID)) == data
    prefix.assert_only(ID)


async def test_findings_that_are_over_are_not_mended(prefix: Prefix) -> None:
    async with prefix.store() as store:
        await store.create(an_upload())
        for kind in ("half-removed", "stray-bytes", "stale-note", "unsettled", "damaged-record",
                     "record-without-data", "object-without-record", "unreadable"):  # fmt: skip
            assert not await store.mend(Finding(ID, kind, "", "", is_leftover=True)), kind
        assert (await store.get(ID)).offset == 0


# Notes of final uploads.


async def test_a_note_goes_once_nobody_waits(prefix: Prefix) -> None:
    async with prefix.store() as store:
        partial = await a_partial(store, "b" * 32, b"hello")
        final = an_upload("c" * 32, None, concat=Final((partial.upload_id,)))
        await store.create(final)
        await store.await_partials(final, [partial])
        assert await findings(store) == []
        (note,) = await store.waiting_for(partial.upload_id)
        assert note == "c" * 32
        await store.concatenate(final, [partial])
        put(prefix, f"{'b' * 32}.final-{'c' * 32}")
        assert await kinds(store) == ["stale-note"]
        await swept(store)
        assert await store.waiting_for(partial.upload_id) == []
    prefix.assert_only("b" * 32, "c" * 32)


# Damage.


@pytest.mark.parametrize("record", [b"{", b'{"ID": "' + b"b" * 32 + b'"}'])
async def test_a_damaged_record_is_set_aside_and_never_removed(
    prefix: Prefix, record: bytes
) -> None:
    async with prefix.store() as store:
        await store.create(an_upload())
        put(prefix, f"{ID}.info", record)
        with pytest.raises(UploadDamaged):
            await store.get(ID)
        assert (await swept(store)).leftovers == []
        assert await kinds(store) == ["damaged-record"]
        assert await mended(store) == [True]
        assert prefix.objects() == [f"{ID}.info.damaged"]
        with pytest.raises(UploadNotFound):
            await store.get(ID)


@pytest.mark.parametrize("other", [None, b"hell", b"hello, world"])
async def test_an_object_that_is_not_what_the_record_says_is_told(
    prefix: Prefix, other: bytes | None
) -> None:
    async with prefix.store() as store:
        await store.create(an_upload(length=5))
        await append(store, an_upload(), ScriptedBody(b"hello"))
        assert await findings(store) == []
        if other is None:
            prefix.server.delete(prefix.prefix + ID)
        else:
            put(prefix, ID, other)
        (finding,) = await findings(store)
        assert (finding.kind, finding.is_leftover) == ("record-without-data", False)
        with pytest.raises(UploadDamaged, match="the object"):
            await store.mend(finding)


# What a survey reads.


async def test_a_second_survey_reads_only_what_may_have_changed(
    prefix: Prefix,
) -> None:
    async with prefix.store() as store:
        for letter in "abc":
            await store.create(an_upload(letter * 32))
        asked = list[str]()

        def wants(upload: Upload) -> bool:
            asked.append(upload.upload_id[0])
            return upload.upload_id[0] == "b"

        async def survey(known: Known | None) -> tuple[str, list[str]]:
            asked.clear()
            steps = [step async for step in store.survey(wants, known)]
            assert sum(step.passed for step in steps) == 3
            return "".join(sorted(asked)), [name for step in steps for name in step.wanted]

        assert await survey(None) == ("abc", ["b" * 32])
        mark = await store.mark()
        assert mark is not None
        later = Mark(mark.moment + 3600, mark.steady)
        assert await survey(Known(mark, [], set())) == ("abc", ["b" * 32])
        assert await survey(Known(later, [], set())) == ("", [])
        assert await survey(Known(later, [], {"a" * 32})) == ("a", [])
        ripe = (mark.moment - 7200, mark.moment - 3600)
        assert (await survey(Known(later, [ripe], set())))[0] == "abc"
        unripe = (mark.moment + 600, mark.moment + 1200)
        assert (await survey(Known(later, [unripe], set())))[0] == ""


async def test_what_has_expired_is_swept_with_all_that_belongs_to_it(prefix: Prefix) -> None:
    async with prefix.store() as store:
        await store.create(an_upload(length=None))
        await append(store, an_upload(), ScriptedBody(*pieces(some(6 * MIB))))
        await append(store, an_upload(), ScriptedBody(b"tail"))
        put(prefix, ID + TAIL)
        report = await swept(store, expires_after=timedelta(microseconds=1))
        assert report.expired == [ID]
    prefix.assert_only()


async def test_a_listing_of_several_pages_is_gone_through(
    prefix: Prefix, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with prefix.store() as store:
        letters = "0123456789"
        for letter in letters:
            await store.create(an_upload(letter * 32))
        for letter in letters:
            put(prefix, letter * 32 + TAIL)
            begin(prefix, letter * 32)
        monkeypatch.setattr(f"{prefix.server.bucket_class.__module__}._LISTED", 3)
        report = await swept(store)
        assert report.uploads == 10
        assert {leftover.upload_id[0] for leftover in report.leftovers} == set(letters)
    prefix.assert_records_only(*(letter * 32 for letter in letters))

"""Uploads that tusd has left in a bucket: looked at without a trace, adopted whole, and found by
whoever sweeps.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace as replaced
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from tests.e2e.tusd import tusd_binary, tusd_on_s3
from tests.fakes import ScriptedBody
from tests.store.bucket import Broken, Dying, Prefix, pieces, some
from tests.store.s3_server import BUCKET, SERVICE, S3Server
from tests.store.test_contract import append, content
from tests.store.test_object_survey import findings, kinds, mended, swept
from tusserver.protocol.errors import (
    StorageFailed,
    StorageUnavailable,
    TusError,
    UploadDamaged,
    UploadNotFound,
)
from tusserver.protocol.upload import Upload
from tusserver.store import s3_bucket
from tusserver.store.base import Known, Mark
from tusserver.store.bucket import MultipartMissing, ObjectMissing
from tusserver.store.object_adoption import Adopted, Left, judge
from tusserver.store.object_keys import multipart_of, object_id
from tusserver.store.object_parts import MAX_PARTS, MIB
from tusserver.store.object_record import Kept, ObjectRecord, ObjectState, Part
from tusserver.store.object_records import Overtaken
from tusserver.store.s3_bucket import S3Bucket
from tusserver.store.s3_options import PartChecksum

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.tus import Tus
    from tusserver.store.objects import ObjectStore

# The first test may have to build tusd.
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900)]

PART = 5 * MIB
SIZE = 3 * PART + 7
AT = 2 * PART + 1000
"""Two parts, and 1000 bytes behind them."""
BEGAN: list[dict[str, str]] = [{}, {"ChecksumAlgorithm": "CRC32"}]
if SERVICE == "weed":
    BEGAN.pop()  # It does not tell such checksums, but wants them; tusd begins nothing so.
DATA = some(SIZE)


@dataclass
class Place:
    """A prefix that tusd has had."""

    prefix: Prefix
    s3: S3Server
    directory: Path

    @contextmanager
    def tusd(self) -> Iterator[Tus]:
        prefix = self.prefix.prefix.rstrip("/")
        log = self.directory / "tusd.log"
        with tusd_on_s3(tusd_binary(), log, self.s3, prefix, PART) as tus:
            yield tus

    def left(self, *offsets: int, length: int | None = SIZE) -> list[str]:
        """The ids of uploads that have got so far when tusd is killed."""
        with self.tusd() as tus:
            urls = [tus.mk(length, {"Upload-Metadata": "filetype dGV4dC9odG1s"}) for _ in offsets]
            for url, offset in zip(urls, offsets, strict=True):
                assert not offset or tus.pa(url, 0, DATA[:offset]).status == 204
        return [url.rpartition("/")[2] for url in urls]

    def key(self, upload_id: str, ending: str = "") -> str:
        return f"{self.prefix.prefix}{object_id(upload_id)}{ending}"

    def send(self, upload_id: str, number: int, data: bytes) -> None:
        """A part, past every server."""
        self.s3.client().upload_part(
            Bucket=BUCKET,
            Key=self.key(upload_id),
            UploadId=multipart_of(upload_id),
            PartNumber=number,
            Body=data,
        )

    def began(self, name: str = "by/hand.bin", **options: str) -> str:
        """An upload as tusd creates it, with these options of its multipart upload."""
        key = self.prefix.prefix + name
        answer = self.s3.client().create_multipart_upload(Bucket=BUCKET, Key=key, **options)
        upload_id = f"{name}+{answer['UploadId']}"
        storage = {"Bucket": BUCKET, "Key": key, "Type": "s3store"}
        record = {"ID": upload_id, "Size": SIZE, "Storage": storage, "Unknown": ["kept"]}
        self.s3.put(f"{key}.info", json.dumps(record).encode())
        return upload_id

    def everything(self) -> dict[str, Any]:
        """The objects and what they hold, and the multipart uploads."""
        client = self.s3.client()
        held: dict[str, Any] = {
            key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            for key in self.s3.keys(self.prefix.prefix)
        }
        return held | {"multiparts": sorted(self.s3.multiparts(self.prefix.prefix))}


@pytest.fixture
def place(s3: S3Server, own_prefix: str, tmp_path: Path) -> Place:
    return Place(Prefix(s3, own_prefix), s3, tmp_path)


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> Dying:
    return Dying(monkeypatch, S3Bucket)


def state_of(upload: Upload) -> ObjectState:
    assert isinstance(upload.origin, Kept)
    return upload.origin.state


async def finish(store: ObjectStore, upload_id: str, data: bytes = DATA) -> Upload:
    """Sends what is missing, and looks at the bytes."""
    upload = await store.open(upload_id)
    if upload.offset < len(data):
        body = ScriptedBody(*pieces(data[upload.offset :]))
        upload = (await append(store, upload, body)).upload
    assert await content(store, await store.get(upload_id)) == data
    return upload


# What counts of what is listed.

THEN, NOW = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)


def judged(
    sizes: dict[int, int], tail: int | None = None, length: int | None = 100, **changes: Any
) -> Adopted:
    record = ObjectRecord("o+m", length or 0, length is None)
    parts = [Part(number, size, f"e{number}", "crc") for number, size in sizes.items()]
    values = {"size": None, "tail": tail, "parts": parts, **changes}
    return judge(record, Left(**values, created_at=THEN, modified_at=NOW), 10_000)


@pytest.mark.parametrize(
    ("sizes", "tail", "length", "offset", "counted"),
    [
        pytest.param({}, None, 100, 0, 0, id="nothing"),
        pytest.param({}, 9, 100, 0, 9, id="a tail alone"),
        pytest.param({1: 30, 2: 30}, 9, 100, 60, 9, id="parts and a tail"),
        pytest.param({1: 30, 3: 30}, 9, 100, 30, 0, id="a hole"),
        pytest.param({2: 30}, 9, 100, 0, 0, id="the first one missing"),
        pytest.param({1: 30}, 70, 100, 30, 69, id="a tail up to the end"),
        pytest.param({1: 99}, 1, 100, 99, 0, id="a tail of the last byte"),
        pytest.param({1: 30}, 71, 100, 30, 0, id="a tail beyond the end"),
        pytest.param({1: 30, 2: 5}, 9, None, 35, 9, id="no length"),
    ],
)
def test_only_what_has_all_before_it_counts(
    sizes: dict[int, int], tail: int | None, length: int | None, offset: int, counted: int
) -> None:
    state, size = judged(sizes, tail, length)
    assert (state.offset, size, state.is_whole) == (offset, counted, False)
    assert sum(part.size for part in state.parts) == offset
    assert state.multipart == ("m" if state.parts else "")
    assert state.modified_at == NOW


def test_all_bytes_in_parts_are_whole_and_not_complete() -> None:
    state, size = judged({1: 60, 2: 40}, 3)
    assert (state.offset, state.is_whole, size, len(state.parts)) == (99, True, 0, 2)


def test_numbers_that_may_be_in_use_are_not_used_again() -> None:
    assert judged({1: 30, 7: 30})[0].reserved > 7
    assert judged({1: 30, 9_999: 30})[0].reserved == 10_000


def test_a_checksum_is_demanded_where_all_parts_have_one() -> None:
    state, _ = judged({1: 30, 2: 30})
    assert (state.has_crc32, [part.crc32 for part in state.parts]) == (True, ["crc", "crc"])
    parts = [Part(1, 30, "e1", "crc"), Part(2, 30, "e2")]
    state, _ = judged({}, parts=parts)
    assert (state.has_crc32, [part.crc32 for part in state.parts]) == (False, ["", ""])
    assert judged({})[0].has_crc32 is None


def test_an_object_of_the_right_size_is_complete_whatever_else_is_there() -> None:
    for parts in (None, [Part(1, 30, "e1")]):
        state, size = judged({}, 3, parts=parts, size=100)
        assert (state.offset, state.is_assembled, size) == (100, True, 0)


@pytest.mark.parametrize("size", [None, 0, 99, 101])
def test_neither_parts_nor_the_right_object_is_damaged(size: int | None) -> None:
    with pytest.raises(UploadDamaged):
        judged({}, 9, parts=None, size=size)
    with pytest.raises(UploadDamaged):
        judged({}, None, None, parts=None, size=0)


@pytest.mark.parametrize("sizes", [{1: 60}, {1: 60, 2: 40}], ids=["some", "all"])
def test_what_is_copied_of_a_final_upload_does_not_count(sizes: dict[int, int]) -> None:
    parts = [Part(number, size, "e") for number, size in sizes.items()]
    record = ObjectRecord("o+m", 100, is_final=True)
    state, _ = judge(record, Left(None, None, parts, THEN, NOW), MAX_PARTS)
    assert (state.offset, state.parts, state.multipart, state.is_whole) == (0, (), "", False)


def test_parts_beyond_the_length_are_damaged() -> None:
    with pytest.raises(UploadDamaged):
        judged({1: 60, 2: 41})


# Looking, and adopting.


async def test_looking_tells_the_same_as_opening_and_changes_nothing(place: Place) -> None:
    offsets = [0, 1000, PART, AT]
    upload_ids = place.left(*offsets)
    before = place.everything()
    async with place.prefix.store() as store:
        looked = [await store.get(upload_id) for upload_id in upload_ids]
        assert place.everything() == before
        assert not any(upload.is_settled for upload in looked)
        for upload in looked:
            opened = await store.open(upload.upload_id)
            assert opened == replace(upload, is_settled=True)
            assert await store.get(upload.upload_id) == opened
    assert [upload.offset for upload in looked] == offsets


@pytest.mark.parametrize("younger", ["the parts", "the tail"])
async def test_an_upload_is_as_young_as_its_youngest_bytes(
    place: Place, monkeypatch: pytest.MonkeyPatch, younger: str
) -> None:
    (upload_id,) = place.left(AT)
    parts, pages = S3Bucket.parts, S3Bucket.pages
    later = datetime(2100, 1, 1, tzinfo=UTC)

    async def later_parts(bucket: S3Bucket, key: str, multipart: str) -> Any:  # noqa: ANN401
        found = await parts(bucket, key, multipart)
        return [found[0]._replace(modified_at=later), *found[1:]]

    async def later_tail(bucket: S3Bucket, prefix: str) -> Any:  # noqa: ANN401
        async for page in pages(bucket, prefix):
            tails = {listed: listed.key.endswith(".part") for listed in page}
            yield [each._replace(modified_at=later) if is_tail else each
                   for each, is_tail in tails.items()]  # fmt: skip

    if younger == "the parts":
        monkeypatch.setattr(S3Bucket, "parts", later_parts)
    else:
        monkeypatch.setattr(S3Bucket, "pages", later_tail)
    async with place.prefix.store() as store:
        for upload in (await store.get(upload_id), await store.open(upload_id)):
            assert upload.modified_at == later
            assert upload.created_at < later


async def test_once_adopted_the_record_alone_counts(place: Place) -> None:
    (upload_id,) = place.left(AT)
    async with place.prefix.store() as store:
        assert (await store.open(upload_id)).offset == AT
        place.send(upload_id, 3, b"x" * PART)
        place.s3.put(place.key(upload_id, ".part"), b"x" * 2000)
        assert (await store.get(upload_id)).offset == AT
        await finish(store, upload_id)
        await swept(store)
        assert await findings(store) == []
    place.prefix.assert_only(object_id(upload_id))


async def test_a_record_that_is_adopted_is_still_one_of_tusd(place: Place) -> None:
    upload_id = place.began()
    before = json.loads(place.everything()[place.key(upload_id, ".info")])
    async with place.prefix.store() as store:
        await finish(store, upload_id)
    after = json.loads(place.everything()[place.key(upload_id, ".info")])
    assert {name: after[name] for name in before} == before


async def test_what_lies_behind_a_hole_is_sent_again(place: Place) -> None:
    (upload_id,) = place.left(PART + 1000)
    place.send(upload_id, 3, some(PART, 2))
    async with place.prefix.store() as store:
        assert (await store.get(upload_id)).offset == PART
        opened = await store.open(upload_id)
        assert (opened.offset, state_of(opened).reserved > 3) == (PART, True)
        await finish(store, upload_id)
    place.prefix.assert_only(object_id(upload_id))


async def test_parts_that_nobody_has_put_together_are(place: Place) -> None:
    seen, unseen = place.left(3 * PART, 3 * PART)
    for upload_id in (seen, unseen):
        place.send(upload_id, 4, DATA[3 * PART :])
    async with place.prefix.store() as store:
        looked = await store.get(seen)
        assert (looked.offset, looked.is_complete) == (SIZE - 1, False)
        assert (await store.open(seen)).is_finished
        assert await content(store, await store.get(seen)) == DATA
        assert [(each.upload_id, each.kind) for each in await findings(store)] == [
            (unseen, "unsettled")
        ]
        assert await mended(store) == [True]
        assert await content(store, await store.get(unseen)) == DATA
    place.prefix.assert_only(object_id(seen), object_id(unseen))


async def test_all_bytes_with_some_in_the_tail_want_the_last_one_again(place: Place) -> None:
    (upload_id,) = place.left(AT, length=None)
    key = place.key(upload_id, ".info")
    record = json.loads(place.everything()[key])
    place.s3.put(key, json.dumps({**record, "Size": AT, "SizeIsDeferred": False}).encode())
    async with place.prefix.store() as store:
        assert (await store.get(upload_id)).offset == AT - 1
        await finish(store, upload_id, DATA[:AT])
    place.prefix.assert_only(object_id(upload_id))


async def test_an_empty_upload_that_was_not_finished_gets_its_object(place: Place) -> None:
    upload_id = place.began()
    key = place.key(upload_id, ".info")
    record = json.loads(place.everything()[key])
    place.s3.put(key, json.dumps({**record, "Size": 0}).encode())
    async with place.prefix.store() as store:
        assert (await store.open(upload_id)).is_finished
    place.prefix.assert_only(object_id(upload_id))


@pytest.mark.parametrize("kind", list(PartChecksum))
@pytest.mark.parametrize("began", BEGAN, ids=["without", "crc32"][: len(BEGAN)])
async def test_a_multipart_upload_goes_on_as_it_was_begun(
    place: Place, began: dict[str, str], kind: PartChecksum
) -> None:
    upload_id = place.began(**began)
    client = place.s3.client()
    for number in (1, 2):
        client.upload_part(
            Bucket=BUCKET, Key=place.key(upload_id), UploadId=multipart_of(upload_id),
            PartNumber=number, Body=DATA[(number - 1) * PART : number * PART], **began,
        )  # fmt: skip
    is_told = bool(began)
    async with place.prefix.store(client={"checksum": kind}) as store:
        await append(store, await store.open(upload_id), ScriptedBody(DATA[2 * PART : -1]))
        state = state_of(await store.open(upload_id))
        assert (state.has_crc32, len(state.parts)) == (is_told, 3)
        assert [bool(part.crc32) for part in state.parts] == [is_told] * 3
        await finish(store, upload_id)
    place.prefix.assert_only(object_id(upload_id))


@pytest.mark.parametrize("at", [PART, PART + 10])
async def test_later_bytes_are_never_taken_for_the_first_ones(place: Place, at: int) -> None:
    large, small = place.left(at, 10)
    async with place.prefix.store(keep_first=100) as store:
        for upload_id, start in ((large, at), (small, 10)):
            await append(store, await store.open(upload_id), ScriptedBody(DATA[start : start + 90]))
        with pytest.raises(UploadNotFound):
            await content(store, await store.get(large), 0, 1)
        assert await content(store, await store.get(small), 0, 100) == DATA[:100]


async def test_the_media_type_is_kept_whichever_way_the_bytes_take(place: Place) -> None:
    upload_ids = place.left(0, 1000, PART)
    async with place.prefix.store() as store:
        for upload_id in upload_ids:
            await finish(store, upload_id)
            answer = place.s3.client().head_object(Bucket=BUCKET, Key=place.key(upload_id))
            # SeaweedFS loses that of a multipart upload that tusd began.
            if SERVICE != "weed" or upload_id != upload_ids[-1]:
                assert answer["ContentType"] == "text/html"


# Others at the same time.


async def test_who_looks_while_another_adopts_sees_all_bytes(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (upload_id,) = place.left(AT)
    original = S3Bucket.pages
    async with place.prefix.store() as other, place.prefix.store() as store:

        async def adopted_first(bucket: S3Bucket, prefix: str) -> Any:  # noqa: ANN401
            if bucket is store.bucket:
                await other.open(upload_id)
                await other._ground.settle()
            async for page in original(bucket, prefix):
                yield page

        monkeypatch.setattr(S3Bucket, "pages", adopted_first)
        looked = await store.get(upload_id)
        assert (looked.offset, looked.is_settled) == (AT, True)


async def test_of_two_that_adopt_at_once_one_wins(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (upload_id,) = place.left(AT)
    original = S3Bucket.parts
    async with place.prefix.store() as other, place.prefix.store() as store:

        async def overtaken(bucket: S3Bucket, key: str, multipart: str) -> Any:  # noqa: ANN401
            found = await original(bucket, key, multipart)
            if bucket is store.bucket:
                await other.open(upload_id)
            return found

        monkeypatch.setattr(S3Bucket, "parts", overtaken)
        with pytest.raises((Overtaken, TusError)):
            await store.open(upload_id)
        await finish(other, upload_id)
        await swept(other)
    place.prefix.assert_only(object_id(upload_id))


@pytest.mark.parametrize("rest", [None, b"", b"x" * 999], ids=["gone", "empty", "shorter"])
async def test_a_tail_that_is_not_what_was_seen_is_not_taken(
    place: Place, monkeypatch: pytest.MonkeyPatch, rest: bytes | None
) -> None:
    (upload_id,) = place.left(AT)
    original = S3Bucket.parts

    async def changed(bucket: S3Bucket, key: str, multipart: str) -> Any:  # noqa: ANN401
        if rest is None:
            place.s3.delete(place.key(upload_id, ".part"))
        else:
            place.s3.put(place.key(upload_id, ".part"), rest)
        return await original(bucket, key, multipart)

    async with place.prefix.store() as store:
        with monkeypatch.context() as patch:
            patch.setattr(S3Bucket, "parts", changed)
            with pytest.raises(StorageFailed):
                await store.open(upload_id)
        assert (await store.open(upload_id)).offset == 2 * PART + len(rest or b"")


async def test_an_upload_that_goes_while_it_is_looked_at_is_not_found(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (upload_id,) = place.left(AT)
    original = S3Bucket.pages

    async def removed_first(bucket: S3Bucket, prefix: str) -> Any:  # noqa: ANN401
        if prefix == place.key(upload_id):
            place.s3.delete(place.key(upload_id, ".info"))
        async for page in original(bucket, prefix):
            yield page

    async with place.prefix.store() as store:
        monkeypatch.setattr(S3Bucket, "pages", removed_first)
        assert await findings(store) == []
        with pytest.raises(UploadNotFound):
            await store.get(upload_id)


async def test_what_the_service_does_not_tell_is_not_guessed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (upload_id,) = place.left(AT)

    async def refuse(*_: object) -> None:
        raise StorageUnavailable

    async with place.prefix.store() as store:
        monkeypatch.setattr(S3Bucket, "parts", refuse)
        with pytest.raises(StorageUnavailable):
            await store.get(upload_id)
        assert [(each.upload_id, each.kind) for each in await findings(store)] == [
            (upload_id, "unreadable")
        ]
        assert await mended(store) == [False]


async def test_neighbours_with_longer_names_are_none_of_its_objects(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (upload_id,) = place.left(AT)
    for ending in ("-1", ".infos", ".partial", ".zip", "x"):
        place.s3.put(place.key(upload_id, ending), b"x" * SIZE)
    monkeypatch.setattr(s3_bucket, "_LISTED", 1)
    async with place.prefix.store() as store:
        assert (await store.get(upload_id)).offset == AT
        await finish(store, upload_id)


# Crashes.


@pytest.mark.parametrize("offset", [1000, AT])
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("call", "after"), [("parts", 0), ("get", 1), ("put", 0), ("put", 1)])
@pytest.mark.parametrize("is_swept", [False, True], ids=["at once", "after a sweep"])
async def test_whenever_a_server_dies_the_upload_is_adopted_whole(
    place: Place, dying: Dying, call: str, after: int, done: bool, offset: int, is_swept: bool
) -> None:
    (upload_id,) = place.left(offset)
    async with place.prefix.store() as store:
        dying.at(call, done=done, after=after)
        with pytest.raises(Broken):
            await store.open(upload_id)
        dying.no_more()
    async with place.prefix.store() as store:
        assert (await store.get(upload_id)).offset == offset
        if is_swept:
            await swept(store)
            assert await findings(store) == []
        assert (await store.open(upload_id)).offset == offset
        await finish(store, upload_id)
        await swept(store)
        assert await findings(store) == []
    place.prefix.assert_only(object_id(upload_id))


async def test_what_could_not_be_removed_is_found(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_ids = place.left(1000, AT)

    async def fail(*_: object) -> None:
        raise StorageUnavailable

    async with place.prefix.store() as store:
        with monkeypatch.context() as patch:
            patch.setattr(S3Bucket, "delete", fail)
            patch.setattr(S3Bucket, "abort", fail)
            for upload_id in upload_ids:
                await store.open(upload_id)
            await store._ground.settle()
        assert place.prefix.multiparts() == 2
        assert {(each.upload_id, each.kind) for each in await findings(store)} == {
            (upload_id, "stray-bytes") for upload_id in upload_ids
        }
        await swept(store)
        assert await findings(store) == []
        assert place.prefix.multiparts() == 1
        assert not [name for name in place.prefix.objects() if name.endswith(".part")]
        for upload_id in upload_ids:
            await finish(store, upload_id)
    place.prefix.assert_only(*map(object_id, upload_ids))


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("call", "after"), [("clear", 0), ("abort", 0), ("delete", 0), ("delete", 2)]
)
async def test_a_removal_of_what_tusd_has_left_is_carried_on(
    place: Place, dying: Dying, call: str, after: int, done: bool
) -> None:
    (upload_id,) = place.left(AT)
    async with place.prefix.store() as store:
        dying.at(call, done=done, after=after)
        with pytest.raises(Broken):
            await store.terminate(upload_id)
        dying.no_more()
        with pytest.raises(UploadNotFound):
            await store.get(upload_id)
        assert [(each.upload_id, each.kind) for each in await findings(store)] == [
            (upload_id, "half-removed")
        ]
        await swept(store)
    place.prefix.assert_only()


async def test_strays_are_not_mended_under_the_lock_of_the_object_id(place: Place) -> None:
    (upload_id,) = place.left(AT)
    place.s3.put(place.key(upload_id, ".part-" + "0" * 16), b"x")
    before = place.everything()
    async with place.prefix.store() as store:
        (finding,) = await findings(store)
        assert finding.upload_id == upload_id
        assert not await store.mend(replaced(finding, upload_id=object_id(upload_id)))
        assert place.everything() == before
        assert await store.mend(finding)
        assert (await store.open(upload_id)).offset == AT
        assert await findings(store) == []


# A bucket full of them.


async def test_a_sweep_touches_nothing_of_tusd(place: Place) -> None:
    upload_ids = place.left(0, 1000, AT, SIZE, PART)
    hooked = place.began("jobs/input.h5")
    before = place.everything()
    async with place.prefix.store() as store:
        assert await findings(store) == []
        report = await swept(store, expires_after=timedelta(hours=1))
        assert (report.uploads, report.leftovers, report.expired) == (6, [], [])
        assert await mended(store) == []
        assert {each async for each in store.ids()} == {*upload_ids, hooked}
        assert place.everything() == before
        for upload_id in (*upload_ids, hooked):
            await finish(store, upload_id)
    place.prefix.assert_only(*map(object_id, (*upload_ids, hooked)))


async def test_what_has_expired_goes_with_all_that_tusd_has_left_of_it(place: Place) -> None:
    upload_ids = place.left(0, 1000, AT)
    (finished,) = place.left(SIZE)
    async with place.prefix.store() as store:
        report = await swept(store, expires_after=timedelta(microseconds=1))
        assert sorted(report.expired) == sorted(upload_ids)
    place.prefix.assert_only(object_id(finished))


async def test_a_later_survey_looks_again_at_what_it_is_told_to(place: Place) -> None:
    one, other = place.left(0, 0)
    async with place.prefix.store() as store:
        mark = await store.mark()
        assert mark is not None
        known = Known(Mark(mark.moment + 3600, mark.steady), [], {one})
        steps = [step async for step in store.survey(lambda _: True, known)]
        assert [name for step in steps for name in step.wanted] == [one]
        assert other not in known.again


@pytest.mark.parametrize("operation", ["get", "open", "terminate"])
async def test_the_object_id_alone_is_no_upload(place: Place, operation: str) -> None:
    (upload_id,) = place.left(AT)
    before = place.everything()
    async with place.prefix.store() as store:
        for other in (object_id(upload_id), f"{object_id(upload_id)}+other"):
            with pytest.raises(UploadNotFound):
                await getattr(store, operation)(other)
    assert place.everything() == before


async def test_an_upload_of_ours_has_no_second_id(place: Place) -> None:
    async with place.prefix.store() as store:
        moment = datetime.now(UTC)
        await store.create(Upload("a" * 32, 0, 3, moment, moment))
        with pytest.raises(UploadNotFound):
            await store.get("a" * 32 + "+b")
        assert [each async for each in store.ids()] == ["a" * 32]


@pytest.mark.parametrize("offset", [SIZE, AT], ids=["finished", "unfinished"])
async def test_bytes_that_are_gone_are_told_and_nothing_is_removed(
    place: Place, offset: int
) -> None:
    (upload_id,) = place.left(offset)
    place.s3.delete(place.key(upload_id))
    place.s3.end_multiparts(place.prefix.prefix)
    before = place.everything()
    async with place.prefix.store() as store:
        for operation in (store.get, store.open):
            with pytest.raises(UploadDamaged):
                await operation(upload_id)
        assert await kinds(store) == ["record-without-data"]
        with pytest.raises(UploadDamaged):
            await mended(store)
        assert (await swept(store)).leftovers == []
        assert place.everything() == before
        assert [each async for each in store.ids()] == [upload_id]
        await store.terminate(upload_id)
    place.prefix.assert_only()


async def test_a_record_of_tusd_that_is_none_is_set_aside(place: Place) -> None:
    (upload_id,) = place.left(0)
    place.s3.put(place.key(upload_id, ".info"), b"{")
    async with place.prefix.store() as store:
        assert [each async for each in store.ids()] == [object_id(upload_id)]
        assert await kinds(store) == ["damaged-record"]
        assert await mended(store) == [True]
    assert place.prefix.objects() == [f"{object_id(upload_id)}.info.damaged"]


async def test_a_listing_of_several_pages_of_parts_is_gone_through(place: Place) -> None:
    (upload_id,) = place.left(PART)
    bucket = place.s3.bucket()
    await bucket.start()
    original = bucket._call

    async def few(name: str, deadline: float | None = None, **given: Any) -> Any:  # noqa: ANN401
        limit = {"MaxParts": 2} if name == "list_parts" else {}
        return await original(name, deadline, **given, **limit)

    bucket._call = few  # type: ignore[method-assign]  # A service of short pages.
    for number in range(2, 6):
        place.send(upload_id, number, b"x")
    found = await bucket.parts(place.key(upload_id), multipart_of(upload_id))
    await bucket.close()
    assert [each.part.number for each in found] == [1, 2, 3, 4, 5]
    assert [each.part.size for each in found] == [PART, 1, 1, 1, 1]


@pytest.mark.parametrize("kind", list(PartChecksum))
@pytest.mark.parametrize(
    ("has_crc32", "kinds"),
    [(True, list(PartChecksum)), (False, []), (None, [PartChecksum.CRC32])],
)
async def test_a_part_is_sent_with_the_checksum_that_is_asked_for(
    place: Place, kind: PartChecksum, has_crc32: bool | None, kinds: list[PartChecksum]
) -> None:
    async with place.prefix.store(client={"checksum": kind}) as store:
        key = place.key("a" * 32)
        multipart = await store.bucket.begin_multipart(key, "text/plain", is_joined=True)
        buffer = store._ground.part_buffer(10)
        buffer.write(memoryview(b"0123456789"))
        part = await store.bucket.put_part(key, multipart, 1, buffer.span(), has_crc32=has_crc32)
        buffer.close()
    assert bool(part.crc32) == (kind in kinds)


@pytest.mark.parametrize(("algorithm", "crc32"), [("CRC32", "told"), ("CRC64NVME", "")])
async def test_checksums_count_that_the_multipart_upload_was_begun_with(
    place: Place, algorithm: str, crc32: str
) -> None:
    (upload_id,) = place.left(PART)
    bucket = place.s3.bucket()
    await bucket.start()
    original = bucket._call

    async def telling(name: str, deadline: float | None = None, **given: Any) -> Any:  # noqa: ANN401
        page = await original(name, deadline, **given)
        parts = [{**item, "ChecksumCRC32": "told"} for item in page["Parts"]]
        return {**page, "ChecksumAlgorithm": algorithm, "Parts": parts}

    bucket._call = telling  # type: ignore[method-assign]  # A service that tells checksums.
    found = await bucket.parts(place.key(upload_id), multipart_of(upload_id))
    await bucket.close()
    assert [each.part.crc32 for each in found] == [crc32]


async def test_a_service_that_misses_the_key_misses_the_multipart_upload(place: Place) -> None:
    bucket = place.s3.bucket()

    async def missing(*_: object, **__: object) -> None:
        raise ObjectMissing

    bucket._call = missing  # type: ignore[method-assign]  # As some services do.
    with pytest.raises(MultipartMissing):
        await bucket.parts(place.key("a"), "b")


def test_the_numbers_of_parts_end_where_those_of_the_service_do() -> None:
    assert judged(dict.fromkeys(range(1, MAX_PARTS + 1), 1), None, None)[0].reserved == (MAX_PARTS)

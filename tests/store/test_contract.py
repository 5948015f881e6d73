"""What every store must do: one test for each promise of `tusserver.store.base`."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import pytest
from msgspec.structs import replace

from tests.fakes import ScriptedBody
from tests.store.conftest import OBJECT_STORES, STORES, FullStore
from tusserver.protocol.checksum import Checksum
from tusserver.protocol.decision import Append, Outcome, Trailer
from tusserver.protocol.errors import InvalidChecksum, MissingTrailer, UploadNotFound
from tusserver.protocol.upload import Final, Partial, Upload
from tusserver.store.base import Appended, Body, ProgressingStore

pytestmark = pytest.mark.anyio

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
INTERRUPTIONS = [
    outcome for outcome in Outcome if outcome not in (Outcome.COMPLETE, Outcome.MISMATCH)
]


def an_upload(upload_id: str = "a" * 32, length: int | None = 10, **changes: object) -> Upload:
    return replace(Upload(upload_id, 0, length, CREATED, CREATED), **changes)


def sha1(data: bytes) -> Checksum:
    return Checksum("sha1", hashlib.sha1(data).digest())


def no_trailer() -> Checksum | None:
    return None


async def append(
    store: FullStore,
    upload: Upload,
    body: Body,
    plan: Append | None = None,
    late: Callable[[], Checksum | None] = no_trailer,
) -> Appended:
    current = await store.open(upload.upload_id)
    return await store.append(current, plan or Append(), body, late)


async def content(
    store: FullStore, upload: Upload, start: int = 0, end: int | None = None
) -> bytes:
    stop = upload.offset if end is None else end
    return b"".join([bytes(buffer) async for buffer in store.read(upload, start, stop)])


async def test_a_created_upload_is_found_as_it_was_given(store: FullStore) -> None:
    upload = an_upload(metadata="filename d29ybGQ=,empty", concat=Partial())
    await store.create(upload)
    found = await store.get(upload.upload_id)
    assert (found.upload_id, found.offset, found.length) == (upload.upload_id, 0, 10)
    assert (found.metadata, found.concat) == (upload.metadata, upload.concat)
    assert found.created_at == CREATED
    assert found.is_settled


@pytest.mark.parametrize("metadata", ["", "binary AAH//g==", "k ,b YQ=="])
async def test_metadata_comes_back_verbatim(store: FullStore, metadata: str) -> None:
    await store.create(an_upload(metadata=metadata))
    assert (await store.get("a" * 32)).metadata == metadata


async def test_a_final_upload_keeps_its_partials_and_header(store: FullStore) -> None:
    final = Final(("p" * 32, "q" * 32, "p" * 32), "final;/files/p x")
    await store.create(an_upload(concat=final))
    assert (await store.get("a" * 32)).concat == final


@pytest.mark.parametrize("operation", ["get", "open", "terminate"])
async def test_an_unknown_upload_is_not_found(store: FullStore, operation: str) -> None:
    with pytest.raises(UploadNotFound):
        await getattr(store, operation)("0" * 32)


async def test_appended_bytes_are_counted_and_read_back_in_order(store: FullStore) -> None:
    await store.create(an_upload())
    first = await append(store, an_upload(), ScriptedBody(b"hel", b"lo"))
    assert (first.upload.offset, first.outcome) == (5, Outcome.COMPLETE)
    second = await append(store, an_upload(), ScriptedBody(b"world"))
    assert second.upload.is_finished
    assert await store.get("a" * 32) == second.upload
    assert await content(store, second.upload) == b"helloworld"


async def test_any_range_of_a_finished_upload_can_be_read(store: FullStore) -> None:
    data = bytes(range(256)) * 5000
    await store.create(an_upload(length=len(data)))
    upload = (await append(store, an_upload(), ScriptedBody(data))).upload
    for start, end in ((0, 0), (0, 1), (255, 257), (600_000, len(data)), (len(data), len(data))):
        assert await content(store, upload, start, end) == data[start:end]


async def test_an_empty_body_changes_nothing(store: FullStore) -> None:
    await store.create(an_upload())
    await append(store, an_upload(), ScriptedBody(b"hello"))
    before = await store.get("a" * 32)
    appended = await append(store, an_upload(), ScriptedBody())
    assert appended == Appended(before, Outcome.COMPLETE)


@pytest.mark.parametrize("data", [b"", b"hello", bytes(range(256)) * 24_000], ids=len)
@pytest.mark.parametrize("checksum", [None, Checksum("sha1", hashlib.sha1(b"").digest())])
async def test_an_empty_body_does_not_change_what_is_finished(
    store: FullStore, data: bytes, checksum: Checksum | None
) -> None:
    await store.create(an_upload(length=len(data)))
    if data:
        await append(store, an_upload(), ScriptedBody(data))
    before = await store.get("a" * 32)
    appended = await append(store, an_upload(), ScriptedBody(), Append(limit=0, checksum=checksum))
    assert appended == Appended(before, Outcome.COMPLETE)
    assert await content(store, await store.open("a" * 32)) == data


telling = pytest.mark.parametrize(
    "store", [name for name in (*STORES, *OBJECT_STORES) if name != "memory"], indirect=True
)
"""The stores that tell what they have stored; whoever looks at that in memory is in the process."""


def progress_of(store: FullStore) -> list[tuple[str, int]]:
    """What the store tells from now on of appends that run."""
    assert isinstance(store, ProgressingStore)
    told: list[tuple[str, int]] = []
    store.on_stored(lambda upload_id, offset: told.append((upload_id, offset)))
    return told


@telling
async def test_an_append_tells_what_it_has_stored(store: FullStore) -> None:
    told = progress_of(store)
    await store.create(an_upload(length=10))
    await append(store, an_upload(), ScriptedBody(b"hel", b"lo", outcome=INTERRUPTIONS[0]))
    assert told == sorted(set(told))
    assert told[-1][1] == 5
    assert {upload_id.replace("/", "") for upload_id, _ in told} == {"a" * 32}
    told.clear()
    # Whoever has asked for it hears of the end.
    await append(store, an_upload(), ScriptedBody(b"wor", b"ld"))
    assert {offset for _, offset in told} <= {8}


@telling
async def test_bytes_that_do_not_count_yet_are_not_told(store: FullStore) -> None:
    told = progress_of(store)
    await store.create(an_upload(length=10))
    plan = Append(checksum=sha1(b"world"))
    await append(store, an_upload(), ScriptedBody(b"wor", b"lb"), plan)
    assert told == []


@pytest.mark.parametrize("outcome", INTERRUPTIONS, ids=lambda outcome: outcome.name)
async def test_what_arrived_before_a_break_stays(store: FullStore, outcome: Outcome) -> None:
    await store.create(an_upload())
    appended = await append(store, an_upload(), ScriptedBody(b"he", b"l", outcome=outcome))
    assert (appended.upload.offset, appended.outcome) == (3, outcome)
    await append(store, an_upload(), ScriptedBody(b"loworld"))
    assert await content(store, await store.get("a" * 32)) == b"helloworld"


async def test_bytes_behind_the_limit_are_not_stored(store: FullStore) -> None:
    await store.create(an_upload(length=4))
    body = ScriptedBody(b"abc", b"defg")
    body.bound(4)
    appended = await append(store, an_upload(), body, Append(limit=4))
    assert (appended.upload.offset, appended.outcome) == (4, Outcome.TOO_LONG)
    assert await content(store, appended.upload) == b"abcd"


async def test_a_deferred_length_is_declared_with_the_bytes(store: FullStore) -> None:
    await store.create(an_upload(length=None))
    await append(store, an_upload(), ScriptedBody(b"abc"))
    assert (await store.get("a" * 32)).length is None
    appended = await append(store, an_upload(), ScriptedBody(b"d"), Append(declare=4))
    assert (appended.upload.length, appended.upload.is_finished) == (4, True)
    assert (await store.get("a" * 32)).length == 4


async def test_a_length_is_declared_even_if_the_body_breaks_off(store: FullStore) -> None:
    await store.create(an_upload(length=None))
    body = ScriptedBody(b"ab", outcome=Outcome.DISCONNECTED)
    await append(store, an_upload(), body, Append(declare=4))
    assert (await store.get("a" * 32)).length == 4


async def test_a_matching_checksum_lets_the_bytes_in(store: FullStore) -> None:
    await store.create(an_upload())
    await append(store, an_upload(), ScriptedBody(b"hello"))
    plan = Append(checksum=sha1(b"world"))
    appended = await append(store, an_upload(), ScriptedBody(b"wor", b"ld"), plan)
    assert appended.outcome is Outcome.COMPLETE
    assert await content(store, appended.upload) == b"helloworld"


async def test_a_mismatch_leaves_no_trace(store: FullStore) -> None:
    await store.create(an_upload(length=None))
    await append(store, an_upload(), ScriptedBody(b"hello"))
    before = await store.get("a" * 32)
    plan = Append(checksum=sha1(b"world"), declare=10)
    appended = await append(store, an_upload(), ScriptedBody(b"wOrld"), plan)
    assert appended.outcome is Outcome.MISMATCH
    found = await store.get("a" * 32)
    assert (found.offset, found.length, found.is_settled) == (5, before.length, True)
    await append(store, an_upload(), ScriptedBody(b"world"), Append(declare=10))
    assert await content(store, await store.get("a" * 32)) == b"helloworld"


@pytest.mark.parametrize("outcome", INTERRUPTIONS, ids=lambda outcome: outcome.name)
async def test_a_broken_body_with_a_checksum_is_discarded(
    store: FullStore, outcome: Outcome
) -> None:
    await store.create(an_upload(length=None))
    plan = Append(checksum=sha1(b"world"), declare=5)
    appended = await append(store, an_upload(), ScriptedBody(b"wor", outcome=outcome), plan)
    assert (appended.upload.offset, appended.outcome) == (0, outcome)
    found = await store.get("a" * 32)
    assert (found.offset, found.length) == (0, None)


class GatedBody(ScriptedBody):
    """Waits before its last buffer until the test has looked."""

    def __init__(self, *buffers: bytes) -> None:
        super().__init__(*buffers)
        self.reached, self.gate = asyncio.Event(), asyncio.Event()
        self._left = len(buffers)

    async def read(self) -> bytes:
        self._left -= 1
        if self._left == 0:
            self.reached.set()
            await self.gate.wait()
        return await super().read()


STAGED = {
    "checksum": Append(checksum=sha1(b"helloworld")),
    "announced trailer": Append(trailer=Trailer.ANNOUNCED),
    "possible trailer": Append(trailer=Trailer.POSSIBLE),
}


@pytest.mark.parametrize("plan", STAGED.values(), ids=STAGED)
async def test_staged_bytes_are_not_seen_before_the_end(store: FullStore, plan: Append) -> None:
    await store.create(an_upload())
    body = GatedBody(b"hello", b"world")
    late = sha1(b"helloworld")
    task = asyncio.create_task(append(store, an_upload(), body, plan, lambda: late))
    await body.reached.wait()
    assert (await store.get("a" * 32)).offset == 0
    body.gate.set()
    assert (await task).upload.offset == 10


async def test_plain_bytes_are_seen_as_they_come(store: FullStore) -> None:
    await store.create(an_upload())
    body = GatedBody(b"hello", b"world")
    task = asyncio.create_task(append(store, an_upload(), body))
    await body.reached.wait()
    while (await store.get("a" * 32)).offset != 5:
        await asyncio.sleep(0.001)
    body.gate.set()
    assert (await task).upload.offset == 10


async def test_a_trailer_is_judged_after_the_last_byte(store: FullStore) -> None:
    await store.create(an_upload())
    plan = Append(trailer=Trailer.ANNOUNCED)
    wrong = await append(store, an_upload(), ScriptedBody(b"hello"), plan, lambda: sha1(b"x"))
    assert (wrong.outcome, wrong.upload.offset) == (Outcome.MISMATCH, 0)
    right = await append(store, an_upload(), ScriptedBody(b"hello"), plan, lambda: sha1(b"hello"))
    assert (right.outcome, right.upload.offset) == (Outcome.COMPLETE, 5)


async def test_header_and_trailer_must_both_match(store: FullStore) -> None:
    await store.create(an_upload())
    for header, trailer in ((b"x", b"hello"), (b"hello", b"x")):
        plan = Append(checksum=sha1(header), trailer=Trailer.POSSIBLE)
        late = partial(sha1, trailer)
        appended = await append(store, an_upload(), ScriptedBody(b"hello"), plan, late)
        assert (appended.outcome, appended.upload.offset) == (Outcome.MISMATCH, 0)


@pytest.mark.parametrize(
    "error", [MissingTrailer(), InvalidChecksum("bad")], ids=["missing", "bad"]
)
async def test_a_refused_trailer_leaves_no_trace(store: FullStore, error: InvalidChecksum) -> None:
    def late() -> Checksum | None:
        raise error

    await store.create(an_upload(length=None))
    plan = Append(declare=5, trailer=Trailer.ANNOUNCED)
    with pytest.raises(InvalidChecksum):
        await append(store, an_upload(), ScriptedBody(b"hello"), plan, late)
    found = await store.get("a" * 32)
    assert (found.offset, found.length, found.is_settled) == (0, None, True)


async def test_a_possible_trailer_that_never_comes_costs_nothing(store: FullStore) -> None:
    await store.create(an_upload())
    plan = Append(trailer=Trailer.POSSIBLE)
    broken = ScriptedBody(b"hel", outcome=Outcome.DISCONNECTED)
    assert (await append(store, an_upload(), broken, plan)).upload.offset == 3
    assert (await append(store, an_upload(), ScriptedBody(b"lo"), plan)).upload.offset == 5


async def test_a_broken_body_with_an_announced_trailer_is_discarded(store: FullStore) -> None:
    await store.create(an_upload())
    plan = Append(trailer=Trailer.ANNOUNCED)
    broken = ScriptedBody(b"hel", outcome=Outcome.DISCONNECTED)
    assert (await append(store, an_upload(), broken, plan)).upload.offset == 0


async def test_a_terminated_upload_is_gone(store: FullStore) -> None:
    await store.create(an_upload())
    await append(store, an_upload(), ScriptedBody(b"hello"))
    await store.terminate("a" * 32)
    with pytest.raises(UploadNotFound):
        await store.get("a" * 32)
    assert [upload_id async for upload_id in store.ids()] == []


async def test_ids_names_every_upload_once(store: FullStore) -> None:
    wanted = {f"{number:032x}" for number in range(600)}
    for upload_id in wanted:
        await store.create(an_upload(upload_id))
    found = [upload_id async for upload_id in store.ids()]
    assert sorted(found) == sorted(wanted)


async def a_partial(store: FullStore, upload_id: str, data: bytes) -> Upload:
    upload = an_upload(upload_id, len(data), concat=Partial())
    await store.create(upload)
    return (await append(store, upload, ScriptedBody(data))).upload


async def test_partials_are_joined_in_the_given_order(store: FullStore) -> None:
    first, second = await a_partial(store, "p" * 32, b"one"), await a_partial(store, "q" * 32, b"2")
    empty = await a_partial(store, "e" * 32, b"")
    final = an_upload(length=None, concat=Final(("q" * 32, "p" * 32, "e" * 32, "q" * 32)))
    await store.create(final)
    joined = await store.concatenate(final, [second, first, empty, second])
    assert (joined.offset, joined.length, joined.is_finished) == (5, 5, True)
    assert await content(store, await store.get("a" * 32)) == b"2one2"
    assert (await store.get("p" * 32)).is_finished


async def test_a_final_upload_outlives_its_partials(store: FullStore) -> None:
    partial = await a_partial(store, "p" * 32, b"one")
    final = an_upload(length=3, concat=Final(("p" * 32,)))
    await store.create(final)
    await store.concatenate(final, [partial])
    await store.terminate("p" * 32)
    assert await content(store, await store.get("a" * 32)) == b"one"


async def test_joining_with_a_partial_that_is_gone_changes_nothing(store: FullStore) -> None:
    partial = await a_partial(store, "p" * 32, b"one")
    await store.terminate("p" * 32)
    final = an_upload(length=3, concat=Final(("p" * 32,)))
    await store.create(final)
    with pytest.raises(UploadNotFound):
        await store.concatenate(final, [partial])
    assert (await store.get("a" * 32)).offset == 0


async def test_waiting_finals_are_remembered_until_they_are_joined(store: FullStore) -> None:
    partial = await a_partial(store, "p" * 32, b"one")
    finals = [an_upload(letter * 32, 3, concat=Final(("p" * 32,))) for letter in "ab"]
    for final in finals:
        await store.create(final)
        await store.await_partials(final, [partial])
    assert sorted(await store.waiting_for("p" * 32)) == ["a" * 32, "b" * 32]
    await store.concatenate(finals[0], [partial])
    assert list(await store.waiting_for("p" * 32)) == ["b" * 32]
    await store.terminate("b" * 32)
    assert list(await store.waiting_for("p" * 32)) == []
    assert list(await store.waiting_for("q" * 32)) == []

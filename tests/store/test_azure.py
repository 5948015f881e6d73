"""Uploads in Azure Blob Storage: what is peculiar to blocks that wait in the place of an object.

What holds for every service that keeps objects is in test_objects and test_object_survey.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from tests.fakes import ScriptedBody
from tests.store.azure_server import ACCOUNT, CONTAINER, KEY, AzureServer
from tests.store.bucket import BIG, ID, Broken, Dying, Prefix, pieces, some, store_of
from tests.store.conftest import SPOOLED
from tests.store.test_contract import an_upload, append, content, no_trailer
from tusserver.protocol.decision import Append
from tusserver.protocol.errors import (
    StorageFailed,
    StorageFull,
    StorageUnavailable,
    UploadDamaged,
)
from tusserver.store.base import StoreUnusable
from tusserver.store.bucket import ObjectMissing, PartsRefused, Superseded
from tusserver.store.object_buffers import PartBuffer, PartMemory, Span
from tusserver.store.object_parts import MIB
from tusserver.store.object_record import Kept
from tusserver.store.objects import ObjectStore

pytestmark = pytest.mark.anyio


@pytest.fixture
def objects(azure: AzureServer) -> AzureServer:
    """The tests of this module are about one service."""
    return azure


# Who may take the place of an object.


@pytest.mark.parametrize("late", [b"late", b"", bytes(MIB)], ids=len)
async def test_a_late_small_body_takes_no_blocks_away(
    azure: AzureServer, prefix: Prefix, late: bytes
) -> None:
    data = some(BIG)
    async with prefix.store() as former, prefix.store() as store:
        await former.create(an_upload(length=None))
        seen = await former.open(ID)
        await append(store, an_upload(), ScriptedBody(*pieces(data[: 6 * MIB])))
        waiting = azure.waiting(prefix.prefix + ID)
        assert waiting
        # Azurite refuses a new blob wherever blocks wait, the service itself only where a blob is.
        with azure.client() as client:
            mark = client.get_blob_client(prefix.prefix + ID).get_blob_properties()
        assert (mark.size, mark.metadata) == (0, {"tusserver": "unfinished"})
        # It believes to hold the upload still, and that it can write it as a whole.
        with pytest.raises(StorageUnavailable):
            await former.append(seen, Append(declare=len(late)), ScriptedBody(late), no_trailer)
        assert ID not in prefix.objects()
        assert set(waiting) <= set(azure.waiting(prefix.prefix + ID))
        await append(
            store, an_upload(), ScriptedBody(*pieces(data[6 * MIB :])), Append(declare=BIG)
        )
        assert await content(store, await store.get(ID)) == data
    prefix.assert_only(ID)


async def test_a_late_block_takes_no_object_away(azure: AzureServer, prefix: Prefix) -> None:
    key = prefix.prefix + ID
    async with prefix.store() as store, prefix.store() as late:
        await store.create(an_upload())
        await append(store, an_upload(), ScriptedBody(b"helloworld"))
        buffer = PartBuffer(PartMemory(MIB), None, 10, 0)
        buffer.write(memoryview(b"HELLOWORLD"))
        await late.bucket.put_part(key, "0" * 16, 1, buffer.span())
        assert await content(store, await store.get(ID)) == b"helloworld"
        assert len(azure.waiting(key)) == 1
        await late.bucket.abort(key, None)
        assert await content(store, await store.get(ID)) == b"helloworld"
        await store.terminate(ID)
        assert azure.waiting(key) == []
    prefix.assert_only()


async def test_what_could_not_be_recorded_is_replaced_by_the_blocks(prefix: Prefix) -> None:
    data = some(BIG)
    async with prefix.store() as store:
        await store.create(an_upload(length=BIG))
        prefix.server.put(prefix.prefix + ID, b"of a request that died")
        await append(store, an_upload(), ScriptedBody(*pieces(data)))
        assert await content(store, await store.get(ID)) == data
    prefix.assert_only(ID)


async def test_an_upload_without_bytes_replaces_the_mark(prefix: Prefix, dying: Dying) -> None:
    async with prefix.store() as store:
        await store.create(an_upload(length=None))
        dying.at("_take_place", done=True)
        with pytest.raises(Broken):
            await append(store, an_upload(), ScriptedBody(*pieces(some(6 * MIB))))
        dying.no_more()
        assert (await store.open(ID)).offset == 0
        # The service takes no empty block; Azurite would.
        dying.at("_send", done=False)
        appended = await append(store, an_upload(), ScriptedBody(), Append(declare=0))
        dying.no_more()
        assert appended.upload.is_finished
        assert sorted(prefix.objects()) == [ID, f"{ID}.info"]
        assert [finding async for finding in store.findings()] == []


# Deaths.

POINTS = [("_take_place", 0), ("_send", 0), ("_send", 1), ("_commit", 0)]


@pytest.mark.parametrize("options", [{}, SPOOLED], ids=["in memory", "spooled"])
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("call", "after"), POINTS)
async def test_whenever_a_server_dies_another_goes_on_from_the_blocks(
    prefix: Prefix, dying: Dying, call: str, after: int, done: bool, options: dict[str, Any]
) -> None:
    data = some(BIG)
    async with prefix.store(**options) as former:
        await former.create(an_upload(length=BIG))
        dying.at(call, done=done, after=after)
        with pytest.raises(Broken):
            await append(former, an_upload(), ScriptedBody(*pieces(data)))
        dying.no_more()
    async with prefix.store(**options) as store:
        at = (await store.open(ID)).offset
        if at < BIG:
            await append(store, an_upload(), ScriptedBody(*pieces(data[at:])))
        assert await content(store, await store.get(ID)) == data
    prefix.assert_only(ID)


async def test_putting_together_comes_too_late_after_a_removal(
    azure: AzureServer, prefix: Prefix, dying: Dying
) -> None:
    async with prefix.store() as store:
        await store.create(an_upload(length=BIG))
        dying.at("complete", done=False)
        with pytest.raises(Broken):
            await append(store, an_upload(), ScriptedBody(*pieces(some(BIG))))
        dying.no_more()
        kept = (await store.get(ID)).origin
        assert isinstance(kept, Kept)
        assert kept.state.is_whole
        await store.terminate(ID)
        assert azure.waiting(prefix.prefix + ID) == []
        with pytest.raises(PartsRefused):
            await store.bucket.complete(
                prefix.prefix + ID, kept.state.multipart, kept.state.parts, "text/plain"
            )
    prefix.assert_only()


async def test_putting_together_twice_changes_nothing(prefix: Prefix, dying: Dying) -> None:
    data = some(BIG)
    async with prefix.store() as store:
        await store.create(an_upload(length=BIG, metadata="filetype dGV4dC9wbGFpbg=="))
        dying.at("complete", done=True)
        with pytest.raises(Broken):
            await append(store, an_upload(), ScriptedBody(*pieces(data)))
        dying.no_more()
        kept = (await store.get(ID)).origin
        assert isinstance(kept, Kept)
        opened = await store.open(ID)
        arguments = (prefix.prefix + ID, kept.state.multipart, kept.state.parts, "text/plain")
        await store.bucket.complete(*arguments)
        assert await content(store, opened) == data
    prefix.assert_only(ID)


async def test_a_mark_that_no_record_needs_is_removed(prefix: Prefix) -> None:
    async with prefix.store() as store:
        await store.create(an_upload())
        prefix.server.begin(prefix.prefix + ID)
        (finding,) = [finding async for finding in store.findings()]
        assert finding.kind == "stray-bytes"
        assert await store.mend(finding)
        assert [finding async for finding in store.findings()] == []
    prefix.assert_records_only(ID)


async def test_of_two_multipart_uploads_in_one_place_each_has_its_own_blocks(
    azure: AzureServer, own_prefix: str
) -> None:
    key, bucket = f"{own_prefix}two", azure.bucket()
    await bucket.start()
    made = []
    for data in (b"one", b"two"):
        multipart = await bucket.begin_multipart(key, "text/plain")
        buffer = PartBuffer(PartMemory(MIB), None, 3, 0)
        buffer.write(memoryview(data))
        made.append((multipart, await bucket.put_part(key, multipart, 1, buffer.span())))
    (first, part), (second, other) = made
    await bucket.complete(key, first, [part], "text/plain")
    assert (await bucket.get(key)).data == b"one"
    with pytest.raises(PartsRefused):
        await bucket.complete(key, second, [other], "text/plain")
    await bucket.close()


@pytest.mark.parametrize("ending", ["abort", "clear"])
async def test_a_mark_that_was_removed_is_put_there_again(
    azure: AzureServer, own_prefix: str, ending: str
) -> None:
    key, bucket = f"{own_prefix}again", azure.bucket()
    await bucket.start()
    buffer = PartBuffer(PartMemory(MIB), None, 3, 0)
    buffer.write(memoryview(b"one"))
    await bucket.put_part(key, "0" * 16, 1, buffer.span())
    await (bucket.abort(key, None) if ending == "abort" else bucket.clear(key))
    assert azure.multiparts(own_prefix) == []
    await bucket.put_part(key, "1" * 16, 1, buffer.span())
    assert [found.key async for found in bucket.multiparts(key)] == [key]
    await bucket.close()


@pytest.mark.parametrize("size", [10, MIB, BIG])
async def test_an_object_has_the_media_type_of_its_upload(
    azure: AzureServer, prefix: Prefix, size: int
) -> None:
    async with prefix.store() as store:
        await store.create(an_upload(length=size, metadata="filetype dGV4dC9wbGFpbg=="))
        await append(store, an_upload(), ScriptedBody(*pieces(some(size))))
    with azure.client() as client:
        found = client.get_blob_client(prefix.prefix + ID).get_blob_properties()
    assert (found.content_settings.content_type, found.size) == ("text/plain", size)
    assert found.metadata == {}


# A week.


async def made_old(prefix: Prefix, store: ObjectStore, age: timedelta) -> None:
    """As if the last byte had come so long ago."""
    kept = (await store.get(ID)).origin
    assert isinstance(kept, Kept)
    record = json.loads(kept.content)
    record["tusserver"]["object"]["modified_at"] = (datetime.now(UTC) - age).isoformat()
    prefix.server.put(f"{prefix.prefix}{ID}.info", json.dumps(record).encode())


async def test_blocks_that_the_service_has_forgotten_are_told_before_more_is_sent(
    azure: AzureServer, prefix: Prefix, dying: Dying
) -> None:
    data = some(BIG)
    async with prefix.store() as store:
        await store.create(an_upload(length=BIG))
        await append(store, an_upload(), ScriptedBody(*pieces(data[: 6 * MIB])))
        dying.at("check_parts", done=False)
        await store.open(ID)  # It is too young to be asked about.
        await made_old(prefix, store, timedelta(days=8))
        with pytest.raises(Broken):
            await store.open(ID)
        dying.no_more()
        assert (await store.open(ID)).offset == 6 * MIB  # They are there for all that.
        azure.end_multiparts(prefix.prefix)
        with pytest.raises(UploadDamaged, match="for so long"):
            await store.open(ID)
        azure.delete(prefix.prefix + ID)
        with pytest.raises(UploadDamaged, match="for so long"):
            await store.open(ID)
        await made_old(prefix, store, timedelta(days=2))
        body = ScriptedBody(*pieces(data[6 * MIB :]))
        with pytest.raises(UploadDamaged):
            await append(store, an_upload(), body)
        await store.terminate(ID)
    prefix.assert_only()


# What is sent.


class Torn(Span):
    """Other bytes arrive than were meant to be sent."""

    def feed(self, update: Callable[[memoryview], None]) -> None:
        update(memoryview(bytes(len(self))))


@pytest.mark.parametrize("size", [1000, MIB])
async def test_a_part_that_arrives_as_another_is_refused(azure: AzureServer, size: int) -> None:
    bucket = azure.bucket()
    await bucket.start()
    buffer = PartBuffer(PartMemory(MIB), None, size, 0)
    buffer.write(memoryview(some(size)))
    with pytest.raises((StorageFailed, StorageUnavailable)):
        await bucket.put_part("torn", "0" * 16, 1, Torn(buffer, 0, size))
    await bucket.put_part("torn", "0" * 16, 1, buffer.span())
    await bucket.clear("torn")
    await bucket.close()


@asynccontextmanager
async def cutting_proxy(port: int, cuts: int) -> AsyncIterator[int]:
    """A way to this port that breaks off in the middle of so many large bodies."""
    left = cuts

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        total = 0
        while data := await reader.read(65536):
            total += len(data)
            if total > MIB and left:
                left -= 1
                break
            writer.write(data)
            await writer.drain()
        writer.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        both = asyncio.gather(copy(reader, back), copy(there, writer), return_exceptions=True)
        await both
        writer.close()

    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("memory", [0, 64 * MIB], ids=["spooled", "in memory"])
async def test_a_part_whose_connection_breaks_is_sent_again(
    azure: AzureServer, own_prefix: str, memory: int
) -> None:
    data = some(BIG)
    async with cutting_proxy(azure.port, cuts=2) as port:
        url = azure.endpoint.replace(str(azure.port), str(port))
        store = store_of(azure, own_prefix, client={"url": url}, memory=memory)
        await store.start()
        await store.create(an_upload(length=BIG))
        await append(store, an_upload(), ScriptedBody(*pieces(data)))
        assert await content(store, await store.get(ID)) == data
        await store.close()


async def test_an_object_that_breaks_off_is_not_taken_for_a_whole_one(
    azure: AzureServer, prefix: Prefix
) -> None:
    data = some(BIG)
    async with prefix.store() as store, cutting_proxy(azure.port, cuts=100) as port:
        await store.create(an_upload(length=BIG))
        await append(store, an_upload(), ScriptedBody(*pieces(data)))
        bucket = azure.bucket(url=azure.endpoint.replace(str(azure.port), str(port)))
        await bucket.start()
        with pytest.raises(StorageUnavailable):
            _ = [buffer async for buffer in bucket.read(prefix.prefix + ID, 0, BIG)]
        await bucket.close()
        with pytest.raises(StorageUnavailable):
            _ = [buffer async for buffer in store.bucket.read(prefix.prefix + ID, 0, BIG + 1)]


@pytest.mark.parametrize("folder", ["Prüf +ling", "a%20b?c#d&e=f", "~/-_."])
async def test_keys_of_any_characters(azure: AzureServer, own_prefix: str, folder: str) -> None:
    prefix = Prefix(azure, f"{own_prefix}{folder}/")
    async with prefix.store() as store:
        for upload_id, size in ((ID, 10), ("b" * 32, 6 * MIB)):
            await store.create(an_upload(upload_id, size))
            data = some(size)
            await append(store, an_upload(upload_id), ScriptedBody(*pieces(data)))
            assert await content(store, await store.get(upload_id)) == data
        assert [upload_id async for upload_id in store.ids()] == [ID, "b" * 32]
        prefix.assert_only(ID, "b" * 32)
        for upload_id in (ID, "b" * 32):
            await store.terminate(upload_id)
    prefix.assert_only()


# What the service answers when something is wrong, as its manual has it.


@asynccontextmanager
async def answering(answers: list[tuple[int, str]]) -> AsyncIterator[str]:
    """The URL of a service that gives these answers, and else an empty list of blobs."""
    empty = b"<EnumerationResults><Blobs/><NextMarker/></EnumerationResults>"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            is_list = b"comp=list" in head
            status, code = (200, "") if is_list or not answers else answers.pop(0)
            body = empty if is_list else b""
            writer.write(
                f"HTTP/1.1 {status} -\r\nx-ms-error-code: {code}\r\n"
                "Content-Type: application/xml\r\n"
                f"Last-Modified: Sat, 28 Nov 2026 07:00:00 GMT\r\nContent-Length: {len(body)}\r\n"
                "\r\n".encode()
                + body
            )
            await writer.drain()

    writers = list[asyncio.StreamWriter]()

    async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(until_closed, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
        for writer in writers:
            writer.close()


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, "Md5Mismatch", StorageUnavailable),
        (400, "InvalidBlockList", PartsRefused),
        (400, "InvalidHeaderValue", StorageFailed),
        (403, "AuthorizationFailure", StorageFailed),
        (404, "BlobNotFound", ObjectMissing),
        (404, "ContainerNotFound", StorageFailed),
        (409, "BlobAlreadyExists", Superseded),
        (409, "BlockCountExceedsLimit", StorageFull),
        (409, "LeaseIdMissing", StorageFailed),
        (412, "ConditionNotMet", Superseded),
        (413, "RequestBodyTooLarge", StorageFull),
    ],
)
async def test_what_the_service_refuses_has_one_meaning(
    azure: AzureServer, status: int, code: str, error: type[Exception]
) -> None:
    async with answering([(status, code)]) as url:
        bucket = azure.bucket(url=url)
        await bucket.start()
        with pytest.raises(error):
            await bucket.delete_seen("x", '"tag"')
        await bucket.close()


async def test_a_service_that_is_busy_is_asked_again(azure: AzureServer) -> None:
    async with answering([(503, "ServerBusy"), (202, "")]) as url:
        bucket = azure.bucket(url=url)
        await bucket.start()
        await bucket.delete_seen("x", '"tag"')
        await bucket.close()


async def test_a_service_that_stays_busy_or_goes_away_is_told(azure: AzureServer) -> None:
    async with answering([(503, "ServerBusy")]) as url:
        bucket = azure.bucket(url=url, retries=0)
        await bucket.start()
        assert await bucket.now() is None  # It tells no time.
        with pytest.raises(StorageUnavailable):
            await bucket.delete_seen("x", '"tag"')
    with pytest.raises(StorageUnavailable):
        await bucket.size("x")
    await bucket.close()


# How to get in.


async def test_a_signature_for_the_container_is_enough(azure: AzureServer, own_prefix: str) -> None:
    sas = generate_container_sas(
        ACCOUNT,
        CONTAINER,
        account_key=KEY,
        permission=ContainerSasPermissions(True, True, True, list=True, add=True, create=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    store = store_of(azure, own_prefix, client={"account": "", "key": "", "sas": sas})
    await store.start()
    await store.create(an_upload(length=6 * MIB))
    await append(store, an_upload(), ScriptedBody(*pieces(some(6 * MIB))))
    assert await store.mark() is not None
    await store.terminate(ID)
    await store.close()


async def test_a_connection_string_is_enough(azure: AzureServer) -> None:
    text = f"AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={azure.endpoint};"
    changes = {"connection_string": text, "url": "", "account": "", "key": ""}
    bucket = azure.bucket(**changes)
    await bucket.start()
    assert await bucket.now() is not None
    await bucket.close()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"key": "d3Jvbmc="}, "refuses this key"),
        ({"key": "abc"}, "refuses this key"),
        ({"container": "no-such-container"}, "make it first"),
        ({"key": ""}, "AZURE_STORAGE_KEY"),
        ({"url": ""}, "AZURE_STORAGE_ACCOUNT"),
        ({"connection_string": "AccountKey=d3Jvbmc="}, "[Cc]onnection string"),
        ({"url": "http://127.0.0.1:9/x", "sas": "sig=d3Jvbmc", "key": ""}, "does not answer"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
async def test_a_store_that_cannot_use_its_container_does_not_start_and_tells_no_secret(
    azure: AzureServer, changes: dict[str, str], reason: str
) -> None:
    store = store_of(azure, "", client=changes)
    with pytest.raises(StoreUnusable, match=rf"container .*: .*{reason}") as caught:
        await store.start()
    for secret in ("d3Jvbmc", KEY):
        assert secret not in str(caught.value)
        assert secret not in repr(azure.bucket(**changes).options)

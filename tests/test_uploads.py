"""The use cases where something goes wrong around them: crashes, cancellations, failing disks,
races.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import ScriptedBody
from tests.servers import running, serving
from tests.store.test_contract import GatedBody, an_upload, append
from tests.store.test_file import FailingDisk, record
from tests.tus import Tus
from tusserver.asgi.app import whole_server
from tusserver.compose import TusApp
from tusserver.events.base import Event, UploadFinished
from tusserver.lock.memory import MemoryLocker
from tusserver.protocol.body_plan import BodyHead
from tusserver.protocol.capabilities import Capabilities
from tusserver.protocol.core import Head, Patch
from tusserver.protocol.creation import Create
from tusserver.protocol.decision import Outcome, Trailer
from tusserver.protocol.errors import (
    InvalidConcat,
    OffsetMismatch,
    StorageFull,
    StorageUnavailable,
    UploadInterrupted,
    UploadLocked,
    UploadNotFound,
)
from tusserver.protocol.termination import Terminate
from tusserver.protocol.upload import Final, Partial, Upload
from tusserver.protocol.urls import UploadUrls
from tusserver.rules import UploadsOptions, derive_capabilities
from tusserver.store.base import Store
from tusserver.store.file import FileStore
from tusserver.store.memory import MemoryStore
from tusserver.uploads import Uploads

pytestmark = pytest.mark.anyio

ID = "a" * 32
URLS = UploadUrls("/files/")


class InterruptibleBody(GatedBody):
    """A body whose reader can be woken by an interruption, as a real one can."""

    def interrupt(self, outcome: Outcome) -> None:
        super().interrupt(outcome)
        self.gate.set()


def a_patch(offset: int, size: int = 5) -> Patch:
    return Patch(ID, offset, None, BodyHead(size, True, None, Trailer.ABSENT))


class Setting:
    """Uploads over a file store, and the events that they told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = FileStore(root, boot_id="boot-1")
        self.events: list[Event] = []
        self.uploads = Uploads(
            self.store,
            MemoryLocker(),
            UploadsOptions(lock_wait=0.2),
            listener=self.events.append,
        )

    @property
    def capabilities(self) -> Capabilities:
        return self.uploads.capabilities

    def finished(self) -> int:
        return sum(isinstance(event, UploadFinished) for event in self.events)

    async def patch(self, offset: int, body: ScriptedBody) -> int:
        reply = await self.uploads.append(a_patch(offset), body, self.capabilities)
        return reply.status

    async def offset(self) -> bytes | None:
        reply = await self.uploads.look(Head(ID, URLS), self.capabilities)
        return dict(reply.headers).get(b"upload-offset")


@pytest.fixture
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    made = Setting(tmp_path / "uploads")
    await made.uploads.start()
    await made.store.create(an_upload())
    yield made
    await made.uploads.close()


def test_what_a_store_cannot_do_is_not_offered() -> None:
    needed = ("start", "close", "create", "get", "open", "append", "read", "ids")
    bare: Any = type("Bare", (), {name: getattr(MemoryStore, name) for name in needed})()
    assert isinstance(bare, Store)
    found = derive_capabilities(bare, UploadsOptions())
    assert found.extensions == {
        "creation", "creation-with-upload", "creation-defer-length", "checksum",
    }  # fmt: skip
    assert found.expires_after is None
    full = derive_capabilities(MemoryStore(), UploadsOptions())
    assert len(full.extensions) == 8


# Crashes.


async def full_size_without_its_note(setting: Setting) -> None:
    """As a process leaves it that dies between the last byte and the note on it."""
    before = record(setting.root)
    await append(setting.store, an_upload(), ScriptedBody(b"helloworld"))
    (setting.root / f"{ID}.info").write_text(json.dumps(before))


async def test_looking_settles_what_a_crash_left_and_tells_of_it_once(setting: Setting) -> None:
    await full_size_without_its_note(setting)
    assert await setting.offset() == b"10"
    assert await setting.offset() == b"10"
    assert setting.finished() == 1


async def test_looking_leaves_it_to_whoever_is_at_work(setting: Setting) -> None:
    await full_size_without_its_note(setting)
    lock = await setting.uploads.locker.acquire(ID, 0)
    assert await setting.offset() == b"9"
    assert (setting.finished(), lock.release_requested) == (0, False)
    await lock.release()


async def test_a_request_settles_it_too(setting: Setting) -> None:
    await full_size_without_its_note(setting)
    with pytest.raises(OffsetMismatch) as caught:
        await setting.patch(9, ScriptedBody(b"d"))
    assert caught.value.offset == 10
    assert setting.finished() == 1


# Cancellations.


async def test_a_cancelled_request_keeps_what_arrived_and_lets_go(setting: Setting) -> None:
    body = InterruptibleBody(b"hello", b"never")
    request = asyncio.create_task(setting.patch(0, body))
    await body.reached.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert body.interrupted_by is Outcome.CANCELLED
    assert await setting.offset() == b"5"
    assert await setting.patch(5, ScriptedBody(b"world")) == 204


async def test_a_request_that_is_cancelled_twice_has_ended_when_it_ends(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_terminating, go_on, terminate = asyncio.Event(), asyncio.Event(), setting.store.terminate

    async def slow_terminate(upload_id: str) -> None:
        is_terminating.set()
        await go_on.wait()
        await terminate(upload_id)

    monkeypatch.setattr(setting.store, "terminate", slow_terminate)
    task = asyncio.create_task(setting.uploads.terminate(Terminate(ID)))
    await is_terminating.wait()
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0.01)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [upload_id async for upload_id in setting.store.ids()] == []


async def test_a_cancelled_termination_is_carried_out(setting: Setting) -> None:
    request = asyncio.create_task(setting.uploads.terminate(Terminate(ID)))
    await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    with pytest.raises(UploadNotFound):
        await setting.store.get(ID)


# Several requests.


async def test_a_newer_request_takes_over(setting: Setting) -> None:
    body = InterruptibleBody(b"hello", b"never")
    older = asyncio.create_task(setting.patch(0, body))
    await body.reached.wait()
    while await setting.offset() != b"5":
        await asyncio.sleep(0.001)
    assert await setting.patch(5, ScriptedBody(b"world")) == 204
    with pytest.raises(UploadInterrupted):
        await older
    assert setting.finished() == 1


async def test_a_hopeless_request_does_not_disturb(setting: Setting) -> None:
    body = InterruptibleBody(b"hello", b"world")
    older = asyncio.create_task(setting.patch(0, body))
    await body.reached.wait()
    while await setting.offset() != b"5":
        await asyncio.sleep(0.001)
    with pytest.raises(OffsetMismatch):
        await setting.patch(3, ScriptedBody(b"loxxx"))
    assert body.interrupted_by is None
    body.gate.set()
    assert await older == 204


async def test_a_holder_that_does_not_let_go_is_waited_for_only_so_long(setting: Setting) -> None:
    lock = await setting.uploads.locker.acquire(ID, 0)
    for request in (setting.patch(0, ScriptedBody(b"hello")), terminated(setting)):
        with pytest.raises(UploadLocked):
            await request
    assert lock.release_requested
    await lock.release()


async def terminated(setting: Setting) -> int:
    return (await setting.uploads.terminate(Terminate(ID))).status


# Failing disks.


async def test_a_disk_that_does_not_answer_is_passing_trouble_for_one_who_looks(
    setting: Setting,
) -> None:
    info = setting.root / f"{ID}.info"
    info.rename(setting.root / "aside")
    # Opening it fails with ELOOP, whoever asks.
    info.symlink_to(info)
    with pytest.raises(StorageUnavailable):
        await setting.offset()
    (setting.root / "aside").rename(info)
    assert await setting.offset() == b"0"


async def test_a_creation_that_runs_out_of_room_leaves_nothing(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwritev", FailingDisk(os.pwritev, errno.ENOSPC, 1))
    request = Create(5, "", None, BodyHead(5, True, None, Trailer.ABSENT), URLS)
    with pytest.raises(StorageFull):
        await setting.uploads.create(request, ScriptedBody(b"hello"), setting.capabilities)
    assert [upload_id async for upload_id in setting.store.ids()] == [ID]


async def test_a_partial_that_goes_during_a_creation_is_a_wrong_header_and_no_missing_url(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = an_upload("p" * 32, 5, concat=Partial())
    await setting.store.create(part)

    async def too_late(upload: Upload, partials: Sequence[Upload]) -> None:
        await setting.store.terminate(part.upload_id)

    monkeypatch.setattr(setting.store, "await_partials", too_late)
    body = BodyHead(0, is_labelled=False, checksum=None, trailer=Trailer.ABSENT)
    request = Create(None, "", Final((part.upload_id,), "final;p"), body, URLS)
    with pytest.raises(InvalidConcat):
        await setting.uploads.create(request, ScriptedBody(), setting.capabilities)
    assert [upload_id async for upload_id in setting.store.ids()] == [ID]


async def test_joining_that_fails_is_tried_again(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    part = an_upload("p" * 32, 5, concat=Partial())
    await setting.store.create(part)
    await append(setting.store, part, ScriptedBody(b"hello"))
    final = an_upload("f" * 32, 5, concat=Final((part.upload_id,), "final;p"))
    await setting.store.create(final)
    with monkeypatch.context() as patch:
        patch.setattr(os, "copy_file_range", FailingDisk(os.copy_file_range, errno.ENOSPC))
        assert (await setting.uploads.view(final.upload_id)).is_pending
        await setting.uploads._joiner.close()  # type: ignore[union-attr]
    assert "could not be joined" in caplog.text
    await setting.uploads.view(final.upload_id)
    await setting.uploads._joiner.close()  # type: ignore[union-attr]
    assert (await setting.uploads.view(final.upload_id)).is_finished
    assert setting.finished() == 1


async def test_partials_that_finish_at_the_same_time_are_joined(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, joiner = setting.store, setting.uploads._joiner
    assert joiner is not None
    parts = [an_upload(letter * 32, 5, concat=Partial()) for letter in "pq"]
    for part in parts:
        await store.create(part)
    first, second = (part.upload_id for part in parts)
    final = an_upload("f" * 32, 10, concat=Final((first, second), "final;p q"))
    await store.create(final)
    await store.await_partials(final, parts)
    has_looked, go_on, look = asyncio.Event(), asyncio.Event(), setting.uploads._settler.look

    async def slow_look(upload_id: str) -> Upload:
        upload = await look(upload_id)
        if upload_id == second and not upload.is_finished:
            has_looked.set()
            await go_on.wait()
        return upload

    monkeypatch.setattr(setting.uploads._settler, "look", slow_look)
    await append(store, parts[0], ScriptedBody(b"hello"))
    await joiner.partial_finished(first)
    await has_looked.wait()
    await append(store, parts[1], ScriptedBody(b"world"))
    await joiner.partial_finished(second)
    await asyncio.sleep(0.02)
    go_on.set()
    await joiner.close()
    assert (await store.get(final.upload_id)).is_finished
    assert setting.finished() == 1


async def test_idle_syncs_skip_what_is_gone_and_report_what_fails(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await append(setting.store, an_upload(), ScriptedBody(b"hello"))
    setting.uploads.keeper._unsynced |= {ID, "b" * 32}
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", FailingDisk(os.fdatasync, errno.EIO))
        await setting.uploads.keeper.sync_idle()
    assert f"the upload {ID} could not be synced" in caplog.text
    lock = await setting.uploads.locker.acquire(ID, 0)
    setting.uploads.keeper._unsynced.add(ID)
    await setting.uploads.keeper.sync_idle()
    assert not lock.release_requested
    await lock.release()
    await append(setting.store, an_upload(), ScriptedBody(b"wor"))
    await setting.uploads.keeper.sync_idle()
    assert record(setting.root)["tusserver"]["synced"]["offset"] == 3
    assert setting.uploads.keeper._unsynced == set()


async def test_only_what_is_due_expires(setting: Setting) -> None:
    assert not await setting.uploads.keeper.expire(ID)
    assert not await setting.uploads.keeper.expire("b" * 32)
    assert (await setting.store.get(ID)).upload_id == ID


# The last resort.


class Broken(MemoryStore):
    """A store with a bug."""

    async def get(self, upload_id: str, *, is_held: bool = False) -> Any:  # noqa: ANN401
        raise ZeroDivisionError("secret detail")


def test_what_nobody_expected_is_logged_and_answered_without_detail(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = TusApp(upload_dir=tmp_path, access_log=False)
    app.uploads.store = app.uploads._settler._store = Broken()
    with running(whole_server(app, "/files/")) as server, caplog.at_level(logging.ERROR):
        tus = Tus(server.address)
        answer = tus.get(f"/files/{ID}")
        assert (answer.status, answer["Tus-Resumable"]) == (500, "1.0.0")
        assert answer.body == b"ERR_INTERNAL_SERVER_ERROR: the server failed; try again later\n"
        tus.assert_live()
    assert "secret detail" in caplog.text


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [("{", 410, "ERR_UPLOAD_DAMAGED"), (None, 423, "ERR_STORAGE_UNAVAILABLE")],
    ids=["damaged", "unreadable"],
)
def test_what_the_operator_must_know_is_logged_with_the_upload(
    content: str | None, status: int, words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(tmp_path) as tus:
        url = tus.mk(5)
        info = tmp_path / f"{url.rpartition('/')[2]}.info"
        info.unlink()
        info.write_text(content) if content else info.symlink_to(info)
        assert tus.hd(url).status == status
    assert f"HEAD {url}: {words}" in caplog.text


def test_a_storage_failure_is_logged_with_its_cause_and_told_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(tmp_path) as tus:
        url = tus.mk(5)
        monkeypatch.setattr(os, "pwritev", FailingDisk(os.pwritev, errno.EIO))
        answer = tus.pa(url, 0, b"hello")
    assert answer.status == 500
    assert answer.body.startswith(b"ERR_STORAGE_FAILED: ")
    assert b"told to fail" not in answer.body
    assert "told to fail" in caplog.text


def test_a_download_that_breaks_in_the_middle_is_not_mistaken_for_a_whole_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(tmp_path) as tus:
        url = tus.made(bytes(3_000_000))
        path = tmp_path / url.rpartition("/")[2]
        with tus.wire() as wire:
            wire.send(f"GET {url} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            status, headers = wire._head()
            os.truncate(path, 600_000)
            assert (status, dict(headers)["content-length"]) == (200, "3000000")
            got = 0
            while data := wire.socket.recv(65536):
                got += len(data)
        assert got < 3_000_000

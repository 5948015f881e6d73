"""The file store beyond the contract: its format on disk, what crashes leave, what power takes."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import ScriptedBody
from tests.store.syncs import is_data, is_record, watch
from tests.store.test_contract import GatedBody, an_upload, append, content, sha1
from tusserver.protocol.checksum import Buffer
from tusserver.protocol.decision import Append, Trailer
from tusserver.protocol.errors import (
    StorageFailed,
    StorageFull,
    UploadDamaged,
    UploadNotFound,
)
from tusserver.protocol.finish import Finish, Intent
from tusserver.protocol.upload import Final, Partial
from tusserver.store import file_session, filesystem
from tusserver.store.base import StoreUnusable
from tusserver.store.file import FileStore, FileStoreOptions, Sync
from tusserver.store.file_layout import Layout, Marker

pytestmark = pytest.mark.anyio

ID = "a" * 32


def a_store(root: Path, sync: Sync = Sync.FINISH, boot: str = "boot-1") -> FileStore:
    return FileStore(root, FileStoreOptions(sync), boot_id=boot)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "uploads"


@pytest.fixture
async def store(root: Path) -> AsyncIterator[FileStore]:
    made = a_store(root)
    await made.start()
    yield made
    await made.close()


def record(root: Path, upload_id: str = ID) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads((root / f"{upload_id}.info").read_text())
    return parsed


def names(root: Path) -> set[str]:
    """All files below the root, our own directory included."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


# The format.


async def test_the_record_is_tusds_with_one_key_more(store: FileStore, root: Path) -> None:
    metadata = "filename w6QuaDU=,flag"
    await store.create(an_upload(metadata=metadata, concat=Partial()))
    written = record(root)
    assert list(written) == [
        "ID", "Size", "SizeIsDeferred", "Offset", "MetaData", "IsPartial", "IsFinal",
        "PartialUploads", "Storage", "tusserver",
    ]  # fmt: skip
    assert written["ID"] == ID
    assert (written["Size"], written["SizeIsDeferred"]) == (10, False)
    assert written["MetaData"] == {"filename": "ä.h5", "flag": ""}
    assert (written["IsPartial"], written["IsFinal"]) == (True, False)
    assert written["PartialUploads"] is None
    assert written["Storage"] == {
        "Type": "filestore",
        "Path": str(root / ID),
        "InfoPath": str(root / f"{ID}.info"),
    }
    assert written["tusserver"]["metadata"] == metadata
    assert (root / ID).read_bytes() == b""


async def test_a_record_of_tusd_is_read(store: FileStore, root: Path) -> None:
    (root / f"{ID}.info").write_text(
        json.dumps(
            {
                "ID": ID,
                "Size": 5,
                "SizeIsDeferred": False,
                "Offset": 0,
                "MetaData": {"filename": "ä.h5", "k": ""},
                "IsPartial": False,
                "IsFinal": True,
                "PartialUploads": ["p", "q"],
                "Storage": {"Type": "filestore", "Path": "/old/a"},
            }
        )
    )
    (root / ID).write_bytes(b"abc")
    upload = await store.get(ID)
    assert (upload.offset, upload.length) == (3, 5)
    assert upload.metadata == "filename w6QuaDU=,k"
    assert upload.concat == Final(("p", "q"))
    assert upload.is_settled


async def test_unknown_keys_of_a_record_are_kept(store: FileStore, root: Path) -> None:
    await store.create(an_upload(length=None))
    written = record(root)
    (root / f"{ID}.info").write_text(json.dumps({**written, "Foreign": {"x": [1, None]}}))
    await append(store, an_upload(), ScriptedBody(b"abc"), Append(declare=3))
    assert record(root)["Foreign"] == {"x": [1, None]}
    assert record(root)["Size"] == 3


async def test_data_may_lie_where_the_record_says_within_the_root(
    store: FileStore, root: Path
) -> None:
    await store.create(an_upload())
    (root / "elsewhere").mkdir()
    (root / ID).rename(root / "elsewhere" / "data")
    written = record(root)
    written["Storage"]["Path"] = str(root / "elsewhere" / "data")
    (root / f"{ID}.info").write_text(json.dumps(written))
    appended = await append(store, an_upload(), ScriptedBody(b"hello"))
    assert appended.upload.offset == 5
    assert (root / "elsewhere" / "data").read_bytes() == b"hello"
    await store.terminate(ID)
    assert names(root) == set()


@pytest.mark.parametrize("path", ["/etc/hostname", "../outside", "/"])
async def test_data_outside_of_the_root_is_never_touched(
    store: FileStore, root: Path, path: str
) -> None:
    (root.parent / "outside").write_text("secret")
    await store.create(an_upload())
    written = record(root)
    written["Storage"]["Path"] = path
    (root / f"{ID}.info").write_text(json.dumps(written))
    assert (await store.get(ID)).offset == 0
    await append(store, an_upload(), ScriptedBody(b"hello"))
    assert (root / ID).read_bytes() == b"hello"
    assert (root.parent / "outside").read_text() == "secret"


@pytest.mark.parametrize("is_mounted", [True, False])
async def test_an_upload_whose_data_a_hook_of_tusd_put_elsewhere_is_left_to_tusd(
    store: FileStore, root: Path, *, is_mounted: bool
) -> None:
    await store.create(an_upload())
    elsewhere = root.parent / "elsewhere"
    if is_mounted:
        (root / ID).rename(elsewhere)
    else:
        (root / ID).unlink()
    written = record(root)
    written["Storage"]["Path"] = str(elsewhere)
    (root / f"{ID}.info").write_text(json.dumps(written))
    for operation in (store.get, store.terminate):
        with pytest.raises(UploadNotFound):
            await operation(ID)
    assert [finding async for finding in store.findings()] == []
    assert record(root) == written


@pytest.mark.parametrize("kind", ["link", "directory"])
async def test_what_is_no_plain_file_has_no_offset(store: FileStore, root: Path, kind: str) -> None:
    await store.create(an_upload())
    (root / ID).unlink()
    (root / ID).symlink_to(root.parent) if kind == "link" else (root / ID).mkdir()
    with pytest.raises(StorageFailed):
        await store.get(ID)
    assert [finding.kind async for finding in store.findings()] == ["unreadable"]


async def test_a_directory_that_is_named_like_a_record_is_none(
    store: FileStore, root: Path
) -> None:
    (root / "results.info").mkdir()
    assert [upload_id async for upload_id in store.ids()] == []
    assert [finding async for finding in store.findings()] == []


async def test_a_symbolic_link_is_not_followed(store: FileStore, root: Path) -> None:
    (root.parent / "outside").write_text("secret")
    await store.create(an_upload())
    (root / ID).unlink()
    (root / ID).symlink_to(root.parent / "outside")
    with pytest.raises(StorageFailed):
        await append(store, an_upload(length=100), ScriptedBody(b"hello"))
    assert (root.parent / "outside").read_text() == "secret"


@pytest.mark.parametrize(
    "upload_id",
    ["", ".", "..", "../x", "a/../b", ".tusserver/locks", "a.info", "a.marker", "a.lock", "x" * 300,
     "a\0b", "a b", "a%2fb", "ä"],
)  # fmt: skip
async def test_impossible_ids_name_no_upload(store: FileStore, upload_id: str) -> None:
    with pytest.raises(UploadNotFound):
        await store.get(upload_id)
    with pytest.raises(UploadNotFound):
        await store.terminate(upload_id)


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"null", b'{"Size": 5}', b'{"ID": "x", "Size": -1}', b"\xff\xfe",
     b'{"ID": "x", "Size": "5"}', b'{"ID": "x", "Size": 9223372036854775808}'],
)  # fmt: skip
async def test_a_damaged_record_is_told_and_left_alone(
    store: FileStore, root: Path, damage: bytes
) -> None:
    await store.create(an_upload())
    await store.create(an_upload("b" * 32))
    (root / f"{ID}.info").write_bytes(damage)
    for operation in (store.get, store.open):
        with pytest.raises(UploadDamaged):
            await operation(ID)
    assert (root / f"{ID}.info").read_bytes() == damage
    assert (await store.get("b" * 32)).offset == 0
    assert len([upload_id async for upload_id in store.ids()]) == 2


async def test_a_creation_that_was_killed_half_way_is_no_upload(
    store: FileStore, root: Path
) -> None:
    (root / f"{ID}.info").touch()
    with pytest.raises(UploadNotFound):
        await store.get(ID)
    # With data it is one whose record is gone.
    (root / ID).write_bytes(b"hello")
    with pytest.raises(UploadDamaged):
        await store.get(ID)


@pytest.mark.parametrize("sync", Sync)
async def test_no_creation_overwrites_a_record(root: Path, sync: Sync) -> None:
    store = a_store(root, sync)
    await store.start()
    (root / ID).touch()
    (root / f"{ID}.info").write_text("somebody's")
    with pytest.raises(StorageFailed):
        await store.create(an_upload(ID, 10))
    assert (root / f"{ID}.info").read_text() == "somebody's"
    await store.close()


async def test_an_id_with_slashes_as_tusds_hooks_make_them(store: FileStore, root: Path) -> None:
    (root / "2026" / "jobs").mkdir(parents=True)
    upload = an_upload("2026/jobs/input.h5")
    await store.create(upload)
    await append(store, upload, ScriptedBody(b"helloworld"))
    assert [upload_id async for upload_id in store.ids()] == ["2026/jobs/input.h5"]
    assert (root / "2026" / "jobs" / "input.h5").read_bytes() == b"helloworld"
    await store.terminate("2026/jobs/input.h5")
    assert names(root) == set()


def synced_directories(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The directories that are synced from now on, as seen from the root."""
    seen: list[str] = []
    sync = filesystem.sync_directory

    def note(directory: str | Path) -> None:
        seen.append(os.path.relpath(directory, root))
        sync(directory)

    monkeypatch.setattr(filesystem, "sync_directory", note)
    return seen


async def test_folders_of_an_id_are_made_for_good(
    store: FileStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = synced_directories(root, monkeypatch)
    await store.create(an_upload("ab/cd/ef"))
    assert seen[:2] == [".", "ab"]
    seen.clear()
    await store.create(an_upload("ab/cd/gh"))
    assert not {".", "ab"} & set(seen)


async def test_a_folder_that_somebody_else_made_may_not_be_there_for_good_yet(
    store: FileStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "ab").mkdir()
    seen = synced_directories(root, monkeypatch)
    await store.create(an_upload("ab/cd"))
    assert seen[0] == "."


async def test_a_folder_that_somebody_removed_is_made_again(store: FileStore, root: Path) -> None:
    await store.create(an_upload("ab/cd"))
    await store.terminate("ab/cd")
    (root / "ab").rmdir()
    await store.create(an_upload("ab/cd"))
    assert (await store.get("ab/cd")).offset == 0


async def test_a_file_where_a_folder_should_be_is_left_alone(store: FileStore, root: Path) -> None:
    (root / "ab").write_text("somebody's file")
    with pytest.raises(StorageFailed):
        await store.create(an_upload("ab/cd"))
    assert (root / "ab").read_text() == "somebody's file"


async def test_files_of_others_are_not_uploads_and_are_not_overwritten(
    store: FileStore, root: Path
) -> None:
    (root / "notes from bob.info").write_text("hello")
    (root / ID).write_text("somebody's file")
    assert [upload_id async for upload_id in store.ids()] == []
    with pytest.raises(StorageFailed):
        await store.create(an_upload())
    assert (root / ID).read_text() == "somebody's file"
    assert [finding async for finding in store.findings()] == []


async def test_modes_of_new_files_are_as_set(tmp_path: Path) -> None:
    former = os.umask(0)
    try:
        store = FileStore(tmp_path / "up", FileStoreOptions(file_mode=0o640, directory_mode=0o750))
        await store.start()
        await store.create(an_upload())
        await store.create(an_upload("ab/cd"))
    finally:
        os.umask(former)
    for name in ("up", "up/ab"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o750
    for name in (ID, f"{ID}.info"):
        assert (tmp_path / "up" / name).stat().st_mode & 0o777 == 0o640
    await store.close()


async def test_an_unusable_directory_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnusable, match=r"cannot store uploads in .*: "):
        await a_store(tmp_path / "file").start()


# What a killed process leaves.


async def crashed_append(root: Path, store: FileStore, plan: Append, *stored: bytes) -> None:
    """An append whose process dies before the end of the body: all that it left is on the disk."""
    body = GatedBody(*stored, b"never")
    task = asyncio.create_task(append(store, an_upload(), body, plan))
    await body.reached.wait()
    wanted = sum(map(len, stored))
    while (root / ID).stat().st_size < wanted:
        await asyncio.sleep(0.001)
    left = {root / name: (root / name).read_bytes() for name in names(root)}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for path, data in left.items():
        path.write_bytes(data)


async def test_unverified_bytes_are_hidden_and_cut_off(store: FileStore, root: Path) -> None:
    await store.create(an_upload())
    await append(store, an_upload(), ScriptedBody(b"he"))
    await crashed_append(root, store, Append(checksum=sha1(b"lloworld")), b"he", b"XXX")
    assert (root / ID).stat().st_size > 2
    seen = await store.get(ID)
    assert (seen.offset, seen.is_settled) == (2, False)
    opened = await store.open(ID)
    assert (opened.offset, opened.is_settled) == (2, True)
    assert (root / ID).read_bytes() == b"he"
    assert names(root) == {ID, f"{ID}.info"}


async def test_bytes_that_waited_for_a_mere_possible_trailer_are_kept(
    store: FileStore, root: Path
) -> None:
    await store.create(an_upload())
    await crashed_append(root, store, Append(trailer=Trailer.POSSIBLE), b"hello")
    assert ((await store.get(ID)).offset, (await store.get(ID)).is_settled) == (0, False)
    assert ((await store.open(ID)).offset, (await store.get(ID)).is_settled) == (5, True)


async def test_plain_bytes_of_a_killed_process_are_simply_there(
    store: FileStore, root: Path
) -> None:
    await store.create(an_upload())
    await crashed_append(root, store, Append(), b"hello")
    seen = await store.get(ID)
    assert (seen.offset, seen.is_settled) == (5, True)


async def test_a_marker_without_content_hides_nothing(store: FileStore, root: Path) -> None:
    await store.create(an_upload())
    await append(store, an_upload(), ScriptedBody(b"hello"))
    (root / f"{ID}.marker").touch()
    assert (await store.get(ID)).offset == 5
    plan = Append(checksum=sha1(b"world"))
    assert (await append(store, an_upload(), ScriptedBody(b"world"), plan)).upload.is_finished


async def test_full_size_without_its_note_is_not_finished_until_it_is_settled(
    store: FileStore, root: Path
) -> None:
    await store.create(an_upload())
    await crashed_append(root, store, Append(), b"helloworld")
    seen = await store.get(ID)
    assert (seen.offset, seen.is_finished, seen.is_settled) == (9, False, False)
    opened = await store.open(ID)
    assert (opened.is_finished, opened.is_settled) == (True, True)
    assert record(root)["tusserver"]["synced"] == {"boot_id": "boot-1", "offset": 10}


async def test_surplus_bytes_of_another_program_are_not_part_of_the_upload(
    store: FileStore, root: Path
) -> None:
    await store.create(an_upload())
    await append(store, an_upload(), ScriptedBody(b"helloworld"))
    with (root / ID).open("ab") as file:
        file.write(b"surplus")
    assert (await store.get(ID)).offset == 10
    await store.open(ID)
    assert (root / ID).read_bytes() == b"helloworld"


async def test_refused_bytes_do_not_move_the_deadline(store: FileStore, root: Path) -> None:
    await store.create(an_upload())
    os.utime(root / ID, (1e9, 1e9))
    before = (await store.get(ID)).modified_at
    await append(store, an_upload(), ScriptedBody(b"hello"), Append(checksum=sha1(b"x")))
    assert (await store.get(ID)).modified_at == before
    await append(store, an_upload(), ScriptedBody(b"hello"), Append(checksum=sha1(b"hello")))
    assert (await store.get(ID)).modified_at > before


# What a loss of power takes: see also tests/e2e/test_power_loss.py.


async def test_after_another_boot_only_synced_bytes_count(root: Path) -> None:
    before = a_store(root)
    await before.start()
    await before.create(an_upload())
    await append(before, an_upload(), ScriptedBody(b"hel"))
    await before.sync(ID)
    await append(before, an_upload(), ScriptedBody(b"lo"))
    after = a_store(root, boot="boot-2")
    seen = await after.get(ID)
    assert (seen.offset, seen.is_settled) == (3, False)
    assert (await after.open(ID)).offset == 3
    assert (root / ID).read_bytes() == b"hel"
    await append(after, an_upload(), ScriptedBody(b"LO"))
    assert (await a_store(root, boot="boot-2").get(ID)).offset == 5
    assert (await a_store(root, boot="boot-3").get(ID)).offset == 3


async def test_a_finished_upload_survives_any_number_of_boots(root: Path) -> None:
    store = a_store(root)
    await store.start()
    await store.create(an_upload())
    await append(store, an_upload(), ScriptedBody(b"helloworld"))
    for boot in ("boot-2", "boot-3"):
        found = await a_store(root, boot=boot).get(ID)
        assert (found.is_finished, found.is_settled) == (True, True)


async def test_with_sync_patch_every_acknowledged_byte_survives(root: Path) -> None:
    store = a_store(root, Sync.PATCH)
    await store.start()
    await store.create(an_upload())
    for offset, piece in enumerate((b"h", b"e", b"l"), 1):
        await append(store, an_upload(), ScriptedBody(piece))
        assert (await a_store(root, Sync.PATCH, f"boot-{offset + 1}").get(ID)).offset == offset


async def test_without_syncing_the_size_of_the_file_is_believed(root: Path) -> None:
    store = a_store(root, Sync.NONE)
    await store.start()
    await store.create(an_upload())
    await append(store, an_upload(), ScriptedBody(b"hello"))
    assert "synced" not in record(root)["tusserver"]
    assert (await a_store(root, Sync.NONE, "boot-2").get(ID)).offset == 5


async def test_switching_syncing_off_in_the_middle_takes_the_note_away(root: Path) -> None:
    store = a_store(root)
    await store.start()
    await store.create(an_upload())
    await append(store, an_upload(), ScriptedBody(b"hel"))
    await append(a_store(root, Sync.NONE), an_upload(), ScriptedBody(b"lo"))
    assert (await a_store(root, boot="boot-2").get(ID)).offset == 5


async def test_an_upload_of_tusd_gets_its_note_before_our_first_byte(root: Path) -> None:
    await (unsynced := a_store(root, Sync.NONE)).start()
    await unsynced.create(an_upload())
    await append(unsynced, an_upload(), ScriptedBody(b"hel"))
    await append(a_store(root), an_upload(), ScriptedBody(b"lo"))
    assert (await a_store(root, boot="boot-2").get(ID)).offset == 3


async def test_long_bodies_are_synced_in_the_background(
    store: FileStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_session, "_SYNC_BYTES", 4)
    await store.create(an_upload(length=100))
    body = GatedBody(*[b"12345"] * 5, b"x")
    task = asyncio.create_task(append(store, an_upload(), body))
    await body.reached.wait()
    while record(root)["tusserver"]["synced"]["offset"] < 4:
        await asyncio.sleep(0.001)
    body.gate.set()
    assert (await task).upload.offset == 26
    assert (await a_store(root, boot="boot-2").get(ID)).offset >= 4


async def test_old_bytes_are_synced_in_the_background(
    store: FileStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_session, "_SYNC_SECONDS", 0)
    await store.create(an_upload(length=100))
    await append(store, an_upload(), ScriptedBody(b"12345"))
    assert record(root)["tusserver"]["synced"]["offset"] == 5


# Errors of the disk.


class FailingDisk:
    """Lets some calls of one function through, and then raises this error."""

    def __init__(self, function: Any, error: int, after: int = 0) -> None:  # noqa: ANN401
        self._function, self._error, self._left = function, error, after

    def __call__(self, *args: Any) -> Any:  # noqa: ANN401
        if self._left == 0:
            raise OSError(self._error, "told to fail")
        self._left -= 1
        return self._function(*args)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
async def test_without_room_the_prefix_stays_and_the_upload_goes_on(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    await store.create(an_upload())
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", FailingDisk(os.pwritev, code, 1))
        with pytest.raises(StorageFull):
            await append(store, an_upload(), ScriptedBody(b"hello", b"wor"))
    assert (await store.get(ID)).offset == 5
    await append(store, an_upload(), ScriptedBody(b"world"))
    assert await content(store, await store.get(ID)) == b"helloworld"


async def test_short_writes_are_continued(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def three_bytes(descriptor: int, buffers: Sequence[Buffer], offset: int) -> int:
        return os.pwrite(descriptor, b"".join(buffers)[:3], offset)

    monkeypatch.setattr(os, "pwritev", three_bytes)
    await store.create(an_upload())
    await append(store, an_upload(), ScriptedBody(b"hell", b"o", b"wo", b"rld"))
    assert await content(store, await store.get(ID)) == b"helloworld"


async def test_after_an_input_output_error_only_known_bytes_stay(
    store: FileStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def garbage_and_error(descriptor: int, buffers: Sequence[Buffer], offset: int) -> int:
        os.pwrite(descriptor, b"garbage", offset)
        raise OSError(errno.EIO, "told to fail")

    await store.create(an_upload())
    await append(store, an_upload(), ScriptedBody(b"he"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", garbage_and_error)
        with pytest.raises(StorageFailed):
            await append(store, an_upload(), ScriptedBody(b"llo"))
    assert (root / ID).read_bytes() == b"he"


async def test_a_sync_that_fails_at_the_end_acknowledges_nothing(store: FileStore) -> None:
    await store.create(an_upload())
    syncs = watch(store)
    syncs.fails = is_data
    with pytest.raises(StorageFailed):
        await append(store, an_upload(), ScriptedBody(b"helloworld"))
    syncs.fails = lambda path: False
    assert not (await store.get(ID)).is_finished
    # Whoever syncs again is told that all is well, but the bytes are gone for all anybody knows.
    assert (await store.open(ID)).offset == 0
    await append(store, an_upload(), ScriptedBody(b"helloworld"))
    assert (await store.get(ID)).is_finished


@pytest.mark.parametrize("plan", [Append(), Append(checksum=sha1(b"lost"))])
async def test_with_sync_patch_bytes_whose_sync_failed_are_not_there(
    root: Path, plan: Append
) -> None:
    store = a_store(root, Sync.PATCH)
    await store.start()
    await store.create(an_upload())
    await append(store, an_upload(), ScriptedBody(b"safe"))
    watch(store).fails = is_data
    with pytest.raises(StorageFailed):
        await append(store, an_upload(), ScriptedBody(b"lost"), plan)
    assert (await store.open(ID)).offset == 4
    await store.close()


async def test_an_idle_sync_that_fails_goes_back_to_the_last_good_one(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.create(an_upload())
    await append(store, an_upload(), ScriptedBody(b"safe"))
    await store.sync(ID)
    await append(store, an_upload(), ScriptedBody(b"lost"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", FailingDisk(os.fdatasync, errno.EIO))
        with pytest.raises(StorageFailed):
            await store.sync(ID)
    assert (await store.open(ID)).offset == 4


async def test_a_sync_that_fails_while_settling_goes_back_to_the_last_good_one(
    store: FileStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.create(an_upload())
    await crashed_append(root, store, Append(), b"helloworld")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", FailingDisk(os.fdatasync, errno.EIO))
        with pytest.raises(StorageFailed):
            await store.open(ID)
    assert (await store.open(ID)).offset == 0


async def test_without_room_for_the_note_no_byte_is_lost(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.create(an_upload())
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", FailingDisk(os.replace, errno.ENOSPC))
        with pytest.raises(StorageFull):
            await append(store, an_upload(), ScriptedBody(b"helloworld"))
    assert (await store.open(ID)).is_finished


async def test_a_sync_that_fails_in_the_background_goes_back_to_the_last_good_one(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.create(an_upload(length=100))
    await append(store, an_upload(), ScriptedBody(b"safe"))
    await store.sync(ID)
    monkeypatch.setattr(file_session, "_SYNC_BYTES", 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", FailingDisk(os.fdatasync, errno.EIO))
        with pytest.raises(StorageFailed):
            await append(store, an_upload(), ScriptedBody(b"lost"))
    assert (await store.get(ID)).offset == 4


async def test_a_failed_write_with_a_checksum_leaves_no_marker(
    store: FileStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.create(an_upload())
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", FailingDisk(os.pwritev, errno.ENOSPC, 1))
        with pytest.raises(StorageFull):
            await append(store, an_upload(), ScriptedBody(b"hello"), Append(checksum=sha1(b"")))
    assert names(root) == {ID, f"{ID}.info"}
    assert (await store.get(ID)).offset == 0


async def test_a_creation_that_fails_leaves_nothing(store: FileStore, root: Path) -> None:
    syncs = watch(store)
    syncs.fails, syncs.error = is_record, errno.ENOSPC
    with pytest.raises(StorageFull):
        await store.create(an_upload())
    assert names(root) == set()


@pytest.mark.parametrize("after", [0, 1])
async def test_a_creation_whose_entries_get_lost_leaves_nothing(root: Path, after: int) -> None:
    store = a_store(root, Sync.PATCH)
    await store.start()
    syncs = watch(store)
    syncs.fails = lambda path: path.is_dir() and syncs.batches.count(["directory"]) > after
    with pytest.raises(StorageFailed):
        await store.create(an_upload())
    assert names(root) == set()
    await store.close()


async def test_a_note_is_written_while_another_one_is_forgotten(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, final = an_upload("p" * 32, concat=Partial()), an_upload(concat=Final(("p" * 32,)))
    moments, touch = iter([1]), Path.touch

    def late_touch(path: Path, mode: int) -> None:
        for _ in moments:
            path.parent.rmdir()
        touch(path, mode)

    monkeypatch.setattr(Path, "touch", late_touch)
    await store.await_partials(final, [part])
    assert await store.waiting_for(part.upload_id) == [ID]


async def test_a_cancelled_reader_leaves_no_descriptor(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.create(an_upload())
    upload = (await append(store, an_upload(), ScriptedBody(b"helloworld"))).upload
    opening, go_on, real = threading.Event(), threading.Event(), os.open

    def slow_open(path: Path, flags: int, mode: int) -> int:
        opening.set()
        go_on.wait(5)
        return real(path, flags, mode)

    before = os.listdir("/proc/self/fd")
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", slow_open)
        reader = asyncio.create_task(content(store, upload))
        await asyncio.to_thread(opening.wait, 5)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        go_on.set()
        await store.get(ID)
    while len(os.listdir("/proc/self/fd")) > len(before):
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("plan", [Append(expected=2**62), Append(expected=2**62, declare=2**62)])
async def test_what_cannot_fit_is_refused_before_it_is_read(store: FileStore, plan: Append) -> None:
    with pytest.raises(StorageFull):
        await store.create(an_upload(length=2**62))
    await store.create(an_upload(length=None))
    with pytest.raises(StorageFull):
        await append(store, an_upload(), ScriptedBody(b"x"), plan)
    assert (await store.get(ID)).length is None


async def test_joining_without_room_leaves_the_partials_and_no_temporary_file(
    store: FileStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = an_upload("p" * 32, 5, concat=Partial())
    await store.create(part)
    part = (await append(store, part, ScriptedBody(b"hello"))).upload
    final = an_upload(length=5, concat=Final(("p" * 32,)))
    await store.create(final)
    before = names(root)
    with monkeypatch.context() as patch:
        patch.setattr(os, "copy_file_range", FailingDisk(os.copy_file_range, errno.ENOSPC))
        with pytest.raises(StorageFull):
            await store.concatenate(final, [part])
    assert names(root) == before
    assert (await store.concatenate(final, [part])).is_finished


async def test_joining_works_where_the_kernel_cannot_copy(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(3_000_000)
    part = an_upload("p" * 32, len(data), concat=Partial())
    await store.create(part)
    part = (await append(store, part, ScriptedBody(data))).upload
    final = an_upload(length=None, concat=Final(("p" * 32,) * 2))
    await store.create(final)
    monkeypatch.setattr(os, "copy_file_range", FailingDisk(os.copy_file_range, errno.EXDEV))
    joined = await store.concatenate(final, [part, part])
    assert await content(store, joined) == data * 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux sets room aside")
def test_room_is_set_aside_without_a_byte_to_be_seen(tmp_path: Path) -> None:
    path = tmp_path / "file"
    descriptor = filesystem.open_file(str(path), create=True)
    try:
        filesystem.reserve(descriptor, 0)
        assert os.fstat(descriptor).st_blocks == 0
        filesystem.reserve(descriptor, 1_000_000)
        assert os.fstat(descriptor).st_blocks * 512 >= 1_000_000
        assert path.read_bytes() == b""
    finally:
        os.close(descriptor)
    closed = descriptor
    # Whatever else is wrong will show when it is written.
    filesystem.reserve(closed, 5)


async def test_joining_reserves_room_for_what_is_copied(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = an_upload("p" * 32, 5, concat=Partial())
    await store.create(part)
    part = (await append(store, part, ScriptedBody(b"hello"))).upload
    final = an_upload(length=None, concat=Final(("p" * 32,) * 2))
    await store.create(final)

    def refuse(descriptor: int, length: int) -> None:
        assert length == 10
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(filesystem, "reserve", refuse)
        with pytest.raises(StorageFull):
            await store.concatenate(final, [part, part])
    assert (await store.concatenate(final, [part, part])).offset == 10


# Looking while a finish is under way.


@pytest.mark.parametrize("is_noted", [False, True])
async def test_bytes_that_leave_during_a_look_are_not_taken_for_missing(
    store: FileStore, root: Path, monkeypatch: pytest.MonkeyPatch, is_noted: bool
) -> None:
    finish = Finish(intent=Intent("job/x.h5", 1, 1)) if is_noted else Finish()
    await store.create(an_upload(length=4, finish=finish))
    await append(store, an_upload(length=4), ScriptedBody(b"data"))
    look = Layout.read_marker

    def leave(layout: Layout, upload_id: str) -> Marker | None:
        # The record has been read, and not yet the state of the data.
        monkeypatch.setattr(Layout, "read_marker", look)
        if is_noted:
            os.unlink(root / ID)
        else:
            path = root / f"{ID}.info"
            changed = record(root)
            changed["tusserver"]["finish"] |= {"state": "done", "place": "job/x.h5"}
            path.write_text(json.dumps(changed))
            os.unlink(root / ID)
        return look(layout, upload_id)

    monkeypatch.setattr(Layout, "read_marker", leave)
    assert (await store.get(ID)).is_complete

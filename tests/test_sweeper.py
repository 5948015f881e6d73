"""Housekeeping: what is removed, what is left alone, and that it happens by itself."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.fakes import ScriptedBody
from tests.store.test_contract import an_upload
from tests.store.test_file import names
from tusserver import sweeper as sweeper_module
from tusserver.events.base import Event, UploadExpired
from tusserver.lock.memory import MemoryLocker
from tusserver.protocol.decision import Append
from tusserver.protocol.errors import StorageFailed, StorageUnavailable
from tusserver.protocol.upload import Final, Partial, Upload
from tusserver.rules import UploadsOptions
from tusserver.store.file import FileStore
from tusserver.sweeper import Sweeper, SweepReport, SweepTotals
from tusserver.uploads import Uploads

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)


class Server:
    """Uploads on files, whose ages a test sets."""

    def __init__(self, root: Path, options: UploadsOptions) -> None:
        self.root = root
        self.store = FileStore(root)
        self.events: list[Event] = []
        self.uploads = Uploads(self.store, MemoryLocker(), options, listener=self.events.append)
        self.sweeper = Sweeper(self.uploads)

    async def upload(
        self, letter: str, data: bytes, length: int | None, **changes: object
    ) -> Upload:
        upload = replace(an_upload(letter * 32, length), **changes)
        lock = await self.uploads.locker.acquire(upload.upload_id, 5)
        await self.store.create(upload)
        appended = await self.store.append(upload, Append(), ScriptedBody(data), lambda: None)
        await lock.release()
        return appended.upload

    def age(self, letter: str, span: timedelta) -> None:
        then = time.time() - span.total_seconds()
        os.utime(self.root / (letter * 32), (then, then))

    async def ids(self) -> str:
        """The letters of the uploads that are left."""
        return "".join(sorted([upload_id[0] async for upload_id in self.store.ids()]))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    made = Server(tmp_path / "uploads", UploadsOptions(expires_after=24 * HOUR))
    await made.uploads.start()
    yield made
    await made.uploads.close()


async def test_only_forgotten_uploads_are_removed(server: Server) -> None:
    await server.upload("a", b"hello", 10)
    await server.upload("b", b"hello", 10)
    await server.upload("c", b"helloworld", 10)
    await server.upload("d", b"helloworld", 10, concat=Partial())
    await server.upload("e", b"", None)
    for letter in "acde":
        server.age(letter, 25 * HOUR)
    report = await server.sweeper.sweep()
    assert sorted(upload_id[0] for upload_id in report.expired) == ["a", "d", "e"]
    assert (report.uploads, await server.ids()) == (5, "bc")
    assert {type(event) for event in server.events} == {UploadExpired}
    assert names(server.root) == {name * 32 + suffix for name in "bc" for suffix in ("", ".info")}


async def test_finished_uploads_have_a_time_of_their_own(tmp_path: Path) -> None:
    server = Server(tmp_path, UploadsOptions(expires_after=None, retain_finished=48 * HOUR))
    await server.uploads.start()
    for letter, data in (("a", b"helloworld"), ("b", b"hello"), ("c", b"helloworld")):
        await server.upload(letter, data, 10)
    server.age("a", 49 * HOUR)
    server.age("b", 49 * HOUR)
    server.age("c", 47 * HOUR)
    await server.sweeper.sweep()
    assert await server.ids() == "bc"
    await server.uploads.close()


async def test_an_upload_in_use_is_left_alone(server: Server) -> None:
    await server.upload("a", b"hello", 10)
    server.age("a", 25 * HOUR)
    lock = await server.uploads.locker.acquire("a" * 32, 0)
    report = await server.sweeper.sweep()
    assert (report.expired, report.in_use) == ([], ["a" * 32])
    assert not lock.release_requested
    await lock.release()
    assert (await server.sweeper.sweep()).expired == ["a" * 32]


async def test_a_dry_run_only_tells(server: Server) -> None:
    await server.upload("a", b"hello", 10)
    server.age("a", 25 * HOUR)
    (server.root / ".tusserver" / "tmp" / f"{'a' * 32}.0").touch()
    before = names(server.root)
    report = await server.sweeper.sweep(dry_run=True)
    assert report.expired == ["a" * 32]
    assert [finding.kind for finding in report.leftovers] == ["temporary-file"]
    assert names(server.root) == before


async def test_leftovers_of_the_dead_are_removed_and_others_are_not(server: Server) -> None:
    await server.upload("a", b"hello", 10)
    await server.upload("b", b"hello", 10)
    (server.root / ("b" * 32)).unlink()
    (server.root / f"{'c' * 32}.marker").write_text("0 verify\n")
    (server.root / ".tusserver" / "tmp" / f"{'d' * 32}.0").touch()
    (server.root / ".tusserver" / "waiting" / ("e" * 32)).mkdir()
    (server.root / ".tusserver" / "waiting" / ("e" * 32) / ("f" * 32)).touch()
    (server.root / "bobs file.txt").touch()
    (server.root / f"{'g' * 32}.info").write_text("damaged")
    (server.root / f"{'h' * 32}.info").touch()
    report = await server.sweeper.sweep()
    assert sorted(finding.kind for finding in report.leftovers) == [
        "marker-without-record", "record-without-data", "record-without-data", "stale-note",
        "temporary-file",
    ]  # fmt: skip
    assert names(server.root) == {
        "a" * 32, f"{'a' * 32}.info", "bobs file.txt", f"{'g' * 32}.info",
    }  # fmt: skip
    assert not any((server.root / ".tusserver" / "waiting").iterdir())


async def test_leftovers_of_a_running_request_are_left_alone(server: Server) -> None:
    (server.root / ".tusserver" / "tmp" / f"{'d' * 32}.0").touch()
    lock = await server.uploads.locker.acquire("d" * 32, 0)
    assert (await server.sweeper.sweep()).leftovers == []
    await lock.release()
    assert len((await server.sweeper.sweep()).leftovers) == 1


async def test_what_cannot_be_read_does_not_keep_the_others_alive(server: Server) -> None:
    for name in ("b", "c", "d"):  # Directories are read in any order.
        (server.root / f"{name * 32}.info").symlink_to(f"{name * 32}.info")
    for name in ("a", "e"):
        await server.upload(name, b"hello", 10)
        server.age(name, 25 * HOUR)
    (server.root / ".tusserver" / "tmp" / f"{'f' * 32}.0").mkdir()
    (server.root / ".tusserver" / "tmp" / f"{'g' * 32}.0").touch()
    report = await server.sweeper.sweep()
    assert sorted(report.expired) == ["a" * 32, "e" * 32]
    assert [finding.upload_id for finding in report.leftovers] == ["g" * 32]
    assert sorted(report.failed) == ["b" * 32, "c" * 32, "d" * 32, "f" * 32]


async def test_directories_of_others_are_passed_over(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As lost+found at the root of a file system, which only the superuser may read."""
    (server.root / "lost+found").mkdir()
    await server.upload("a", b"hello", 10)
    server.age("a", 25 * HOUR)
    scandir = os.scandir

    def refuse(path: Path) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "lost+found":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert (await server.sweeper.sweep()).expired == ["a" * 32]


async def test_only_one_sweeps_at_a_time(server: Server) -> None:
    turn = await server.uploads.locker.acquire(sweeper_module._SWEEPER, 0)
    assert (await server.sweeper.sweep()).is_skipped
    await turn.release()
    assert not (await server.sweeper.sweep()).is_skipped


class Processes:
    """Several of them on the same uploads. `passes` has who has swept, in this order."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.locker = MemoryLocker()
        self.passes: list[str] = []
        self.running: dict[str, asyncio.Task[None]] = {}
        self._root = root
        self._monkeypatch = monkeypatch

    async def start(self, name: str, interval: float, *, has_steps: bool = False) -> None:
        store = FileStore(self._root)
        uploads = Uploads(store, self.locker, UploadsOptions(expires_after=HOUR))
        await uploads.start()
        sweeper = Sweeper(uploads)
        gently = sweeper._sweep_gently

        async def sweep_gently() -> None:
            await gently()
            self.passes.append(name)

        self._monkeypatch.setattr(sweeper, "_sweep_gently", sweep_gently)
        self._monkeypatch.setattr(type(uploads.finisher), "has_steps", has_steps)
        self.running[name] = asyncio.create_task(sweeper.run(interval))

    async def end(self, name: str) -> None:
        self.running[name].cancel()
        await asyncio.wait({self.running.pop(name)})

    async def await_passes(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.passes) < count:
                await asyncio.sleep(0.001)


@pytest.fixture
async def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Processes]:
    monkeypatch.setattr("tusserver.duty._PLEA", 0.01)
    monkeypatch.setattr("tusserver.duty._GATHER", 0.01)
    made = Processes(tmp_path / "uploads", monkeypatch)
    yield made
    for name in list(made.running):
        await made.end(name)


async def test_of_several_processes_one_sweeps_until_it_ends(processes: Processes) -> None:
    await processes.start("first", 0.01)
    await processes.await_passes(1)
    await processes.start("second", 0.01)
    await processes.start("third", 0.01)
    await processes.await_passes(20)
    assert set(processes.passes) == {"first"}
    await processes.end("first")
    processes.passes.clear()
    await processes.await_passes(20)
    assert len(set(processes.passes)) == 1
    assert processes.passes[0] in ("second", "third")


async def test_one_that_is_new_asks_for_a_pass(processes: Processes) -> None:
    """It may be that something has crashed in its place."""
    await processes.start("first", 3600, has_steps=True)
    await processes.await_passes(1)
    for count, name in enumerate(("second", "third"), 2):
        await processes.start(name, 3600, has_steps=True)
        await processes.await_passes(count)
    assert len(processes.passes) == 3


async def test_one_that_has_the_duty_keeps_nobody_from_sweeping_by_hand(
    processes: Processes, server: Server
) -> None:
    await processes.start("first", 3600, has_steps=True)
    await processes.await_passes(1)
    uploads = Uploads(server.store, processes.locker, UploadsOptions())
    assert not (await Sweeper(uploads).sweep()).is_skipped


async def test_a_pending_final_is_as_young_as_its_youngest_partial(server: Server) -> None:
    final = Final(("p" * 32, "q" * 32), "final;p q")
    await server.upload("p", b"one", 3, concat=Partial())
    await server.upload("q", b"tw", 3, concat=Partial())
    await server.upload("f", b"", 6, concat=final)
    server.age("f", 30 * HOUR)
    server.age("p", 23 * HOUR)
    server.age("q", 1 * HOUR)
    await server.sweeper.sweep()
    assert await server.ids() == "fpq"
    for letter in "pq":
        server.age(letter, 25 * HOUR)
    await server.sweeper.sweep()
    assert await server.ids() == ""


async def test_a_finished_partial_stays_while_a_final_waits_for_the_others(server: Server) -> None:
    parts = [
        await server.upload("p", b"one", 3, concat=Partial()),
        await server.upload("q", b"tw", 3, concat=Partial()),
    ]
    ids = tuple(part.upload_id for part in parts)
    final = await server.upload("f", b"", 6, concat=Final(ids, "final;p q"))
    await server.store.await_partials(final, parts)
    server.age("p", 25 * HOUR)
    await server.sweeper.sweep()
    assert await server.ids() == "fpq"
    for letter in "fq":
        server.age(letter, 25 * HOUR)
    for _ in range(2):
        await server.sweeper.sweep()
    assert await server.ids() == ""


async def test_a_final_does_not_expire_while_its_partials_cannot_be_looked_at(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stat(path: str | Path, **how: bool) -> os.stat_result:
        if str(path).endswith("p" * 32):
            raise OSError(errno.EIO, "told to fail")
        return real(path, **how)

    real = os.stat
    await server.upload("p", b"on", 3, concat=Partial())
    await server.upload("f", b"", 3, concat=Final(("p" * 32,), "final;p"))
    server.age("f", 25 * HOUR)
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", stat)
        await server.sweeper.sweep()
    assert await server.ids() == "fp"


async def test_a_final_that_a_crash_left_pending_is_joined(server: Server) -> None:
    await server.upload("p", b"one", 3, concat=Partial())
    await server.upload("f", b"", 3, concat=Final(("p" * 32,), "final;p"))
    await server.sweeper.sweep()
    while not (await server.store.get("f" * 32)).is_finished:
        await asyncio.sleep(0.001)


async def test_it_runs_by_itself(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    await server.upload("a", b"hello", 10)
    server.age("a", 25 * HOUR)
    running = asyncio.create_task(server.sweeper.run(0.01))
    while await server.ids():
        await asyncio.sleep(0.01)
    await server.upload("b", b"hello", 10)
    server.age("b", 25 * HOUR)
    while await server.ids():
        await asyncio.sleep(0.01)
    running.cancel()


async def test_idle_uploads_are_synced_by_themselves(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper_module, "SYNC_INTERVAL", 0.01)
    await server.upload("a", b"hello", 10)
    server.uploads.keeper._unsynced.add("a" * 32)
    running = asyncio.create_task(server.sweeper.run(None))
    while (await FileStore(server.root, boot_id="another").get("a" * 32)).offset != 5:
        await asyncio.sleep(0.01)
    running.cancel()


async def test_what_cannot_be_looked_into_does_not_end_the_housekeeping(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scandir(path: Path) -> Iterator[os.DirEntry[str]]:
        if path.name == "lost+found":
            raise PermissionError(errno.EACCES, "told to fail")
        return real(path)

    real = os.scandir
    (server.root / "lost+found").mkdir()
    await server.upload("a", b"hello", 10)
    server.age("a", 25 * HOUR)
    monkeypatch.setattr(os, "scandir", scandir)
    await server.sweeper.sweep()
    assert await server.ids() == ""


async def test_an_upload_that_cannot_be_read_does_not_keep_others_from_being_swept(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    for letter in "abc":
        await server.upload(letter, b"hello", 10)
        server.age(letter, 25 * HOUR)
    unreadable = server.root / f"{'b' * 32}.info"
    unreadable.unlink()
    unreadable.symlink_to(unreadable)
    (server.root / ".tusserver" / "tmp" / f"{'d' * 32}.0").mkdir()
    (server.root / f"{'e' * 32}.marker").touch()
    report = await server.sweeper.sweep()
    assert await server.ids() == "b"
    assert [finding.kind for finding in report.leftovers] == ["marker-without-record"]
    # With the words of the system, which say what to do.
    assert f"{'b' * 32} could not be swept: [Errno 40]" in caplog.text


async def test_a_server_counts_what_it_sweeps_and_holds_no_names(
    server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = SweepTotals.take
    report = SweepReport()

    def note(totals: SweepTotals, given: SweepReport) -> None:
        nonlocal report
        report = given
        take(totals, given)

    monkeypatch.setattr(SweepTotals, "take", note)
    for letter in "abc":
        await server.upload(letter, b"hello", 10)
    for letter in "ab":
        server.age(letter, 25 * HOUR)
    with caplog.at_level("INFO", "tusserver"):
        await server.sweeper._sweep_gently()
    assert "swept: 2 expired, 0 leftovers, of 3 uploads in " in caplog.text
    assert report.uploads == 3
    assert report.expired == []


async def test_idle_uploads_are_synced_while_a_sweep_takes_long(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never() -> None:
        began.set()
        await asyncio.Event().wait()

    began = asyncio.Event()
    monkeypatch.setattr(sweeper_module, "SYNC_INTERVAL", 0.01)
    monkeypatch.setattr(server.sweeper, "_sweep_gently", never)
    await server.upload("a", b"hello", 10)
    running = asyncio.create_task(server.sweeper.run(0.01))
    await asyncio.wait_for(began.wait(), 5)
    server.uploads.keeper._unsynced.add("a" * 32)
    while (await FileStore(server.root, boot_id="another").get("a" * 32)).offset != 5:
        await asyncio.sleep(0.01)
    running.cancel()


async def test_a_host_whose_clock_is_ahead_removes_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.upload("a", b"hello", 10)
    server.age("a", 25 * HOUR)
    with monkeypatch.context() as wrong:
        wrong.setattr("tusserver.sweeper.time.time", lambda: time.time_ns() / 1e9 + 3600)
        with pytest.raises(StorageFailed, match=r"the clock of this host is 3\d{3} s ahead"):
            await server.sweeper.sweep()
    assert await server.ids() == "a"
    await server.sweeper.sweep()
    assert await server.ids() == ""


async def test_a_sweep_without_a_store_says_so_in_a_line_and_comes_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = iter([StorageUnavailable("told to fail")])
    rounds = asyncio.Event()

    async def try_acquire(name: str) -> None:
        for failure in failures:
            raise failure
        rounds.set()

    monkeypatch.setattr(server.uploads.locker, "try_acquire", try_acquire)
    running = asyncio.create_task(server.sweeper.run(0.01))
    await asyncio.wait_for(rounds.wait(), 5)
    running.cancel()
    assert [(record.message, record.exc_info) for record in caplog.records] == [
        ("the sweep failed (told to fail); it is tried again", None)
    ]


async def test_housekeeping_ends_although_its_end_is_taken_for_a_failure(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def try_acquire(name: str) -> None:
        begun.set()
        try:
            await goes_on.wait()
        except asyncio.CancelledError:
            raise StorageUnavailable("told to take it for a failure") from None

    monkeypatch.setattr(server.uploads.locker, "try_acquire", try_acquire)
    running = asyncio.create_task(server.sweeper.run(0.01))
    await asyncio.wait_for(begun.wait(), 5)
    server.sweeper.stop()
    running.cancel()
    await asyncio.wait({running}, timeout=5)
    assert running.done()


async def test_housekeeping_outlives_any_failure(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([OSError(errno.EMFILE, "told to fail"), StorageUnavailable()])
    rounds = asyncio.Event()

    async def sync_idle() -> None:
        for failure in failures:
            raise failure
        rounds.set()

    monkeypatch.setattr(server.uploads.keeper, "sync_idle", sync_idle)
    running = asyncio.create_task(server.sweeper.run(0.01))
    await asyncio.wait_for(rounds.wait(), 5)
    running.cancel()

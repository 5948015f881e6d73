"""What a sweep leaves for the next one: it reads little, and still finds all that there is."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.fakes import ScriptedBody
from tests.store.test_contract import an_upload, append
from tusserver import rounds as rounds_module
from tusserver.lock.base import Lock
from tusserver.lock.memory import MemoryLocker
from tusserver.protocol.decision import Append
from tusserver.protocol.errors import UploadNotFound
from tusserver.protocol.upload import Final, Partial, Upload
from tusserver.rounds import Pace
from tusserver.rules import UploadsOptions
from tusserver.store import file_survey, filesystem
from tusserver.store.base import Mark
from tusserver.store.file import FileStore, FileStoreOptions, Sync
from tusserver.store.memory import MemoryStore
from tusserver.sweeper import Sweeper
from tusserver.uploads import Uploads

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
OPTIONS = UploadsOptions(expires_after=24 * HOUR, retain_finished=72 * HOUR)


class House:
    """A store, its sweeper, and a clock that a test puts forward."""

    def __init__(self, root: Path, options: UploadsOptions = OPTIONS) -> None:
        self.root = root
        self.store = FileStore(root, FileStoreOptions(Sync.NONE))
        self.ahead = timedelta(0)
        self.uploads = Uploads(
            self.store, MemoryLocker(), options, clock=lambda: datetime.now(UTC) + self.ahead
        )
        self.sweeper = Sweeper(self.uploads)
        self.read: list[str] = []
        load = self.store._folder.load

        def note(upload_id: str, *, is_held: bool = False) -> Upload:
            self.read.append(upload_id)
            return load(upload_id, is_held=is_held)

        self.store._folder.load = note  # type: ignore[method-assign]

    async def upload(
        self, upload_id: str, data: bytes, length: int | None = 10, **changes: object
    ) -> Upload:
        await self.store.create(replace(an_upload(upload_id, length), **changes))
        return (await append(self.store, an_upload(upload_id), ScriptedBody(data))).upload

    def wait(self) -> None:
        """Until the clock of the files has moved on."""
        probe = str(self.root / ".tusserver" / "probe")
        before = filesystem.file_time(probe)
        while filesystem.file_time(probe) <= before:
            time.sleep(0.0005)

    async def sweep(self) -> set[str]:
        """A pass as the server makes it; which uploads it has read."""
        self.wait()
        self.read.clear()
        await self.sweeper._sweep_gently()
        read = set(self.read)
        self.wait()
        return read

    async def ids(self) -> set[str]:
        return {upload_id async for upload_id in self.store.ids()}

    def rely(self) -> rounds_module._Round:
        """What the next pass relies on."""
        last = self.sweeper._rounds._last
        assert last is not None
        return last


@pytest.fixture(autouse=True)
def _exact_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_survey, "_DOUBT", 0.0)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    await made.uploads.start()
    yield made
    await made.uploads.close()


async def test_what_has_not_changed_is_not_read_again(house: House) -> None:
    await house.upload("a", b"hello")
    await house.upload("f/b", b"helloworld")
    await house.upload("c", b"helloworld", concat=Partial())
    assert await house.sweep() == {"a", "f/b", "c"}
    assert await house.sweep() == set()


async def test_what_has_changed_is_read_again(house: House) -> None:
    for upload_id in ("bytes", "record", "same"):
        await house.upload(upload_id, b"hello")
    await house.sweep()
    await append(house.store, an_upload("bytes"), ScriptedBody(b"!"))
    record = house.root / "record.info"
    record.with_suffix(".new").write_bytes(record.read_bytes())
    record.with_suffix(".new").rename(record)
    assert await house.sweep() == {"bytes", "record"}
    os.utime(house.root / "same", (1, 1))
    assert await house.sweep() == {"same"}
    assert await house.ids() == {"bytes", "record"}


@pytest.mark.parametrize(("data", "hours"), [(b"hello", 24), (b"helloworld", 72)])
async def test_time_alone_makes_uploads_due(house: House, data: bytes, hours: int) -> None:
    await house.upload("a", data)
    for before in (hours, 0.02):
        house.ahead = (hours - before) * HOUR
        await house.sweep()
    house.ahead = (hours - 0.01) * HOUR
    assert await house.sweep() == set()
    house.ahead = (hours + 0.01) * HOUR
    assert await house.sweep() == {"a"}
    assert await house.ids() == set()


async def test_finished_uploads_that_stay_are_read_once_when_unfinished_ones_would_go(
    tmp_path: Path,
) -> None:
    house = House(tmp_path, UploadsOptions(expires_after=24 * HOUR))
    await house.uploads.start()
    await house.upload("a", b"helloworld")
    read = []
    for hours in (0, 23, 25, 50, 75):
        house.ahead = hours * HOUR
        read.append(await house.sweep())
    assert read == [{"a"}, set(), {"a"}, set(), set()]
    await house.uploads.close()


async def test_what_was_in_use_is_looked_at_again(house: House) -> None:
    await house.upload("a", b"hello")
    house.ahead = 25 * HOUR
    lock = await house.uploads.locker.acquire("a", 0)
    await house.sweep()
    assert await house.ids() == {"a"}
    await lock.release()
    await house.sweep()
    assert await house.ids() == set()


async def test_a_partial_goes_after_the_final_that_waited_for_it(house: House) -> None:
    parts = [
        await house.upload("p", b"one", 3, concat=Partial()),
        await house.upload("q", b"tw", 3, concat=Partial()),
    ]
    final = await house.upload("f", b"", None, concat=Final(("p", "q"), "final;p q"))
    await house.store.await_partials(final, parts)
    house.ahead = 23 * HOUR
    await house.sweep()
    then = time.time() + 3600
    os.utime(house.root / "q", (then, then))  # Its client is still there.
    house.ahead = 24.5 * HOUR
    await house.sweep()
    assert await house.ids() == {"f", "p", "q"}
    await house.store.terminate("f")
    await house.sweep()
    assert await house.ids() == {"q"}


async def test_a_final_is_joined_though_nothing_of_its_own_has_changed(house: House) -> None:
    await house.upload("p", b"on", 3, concat=Partial())
    await house.upload("f", b"", None, concat=Final(("p",), "final;p"))
    await house.sweep()
    await append(house.store, an_upload("p", 3), ScriptedBody(b"e"))
    await house.sweep()
    while not (await house.store.get("f")).is_finished:
        await asyncio.sleep(0.001)


async def test_what_a_crash_leaves_of_an_old_upload_is_settled(house: House) -> None:
    await house.upload("a", b"hello")
    await house.sweep()
    (house.root / "a.marker").write_text("2 verify\n")
    assert "a" in await house.sweep()
    upload = await house.store.get("a")
    assert (upload.offset, upload.is_settled) == (2, True)


async def test_data_that_is_gone_is_noticed(house: House) -> None:
    await house.upload("a", b"hello")
    await house.sweep()
    (house.root / "a").unlink()
    await house.sweep()
    assert await house.ids() == set()


async def test_what_cannot_be_read_is_tried_again(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    (house.root / "a.info").symlink_to("a.info")
    (house.root / "a").write_bytes(b"hello")
    for _ in range(3):
        caplog.clear()
        await house.sweep()
        assert "a could not be swept" in caplog.text


def clock_of_files_was_set(house: House) -> None:
    last = house.rely()
    mark = Mark(last.mark.moment + 31, last.mark.steady)
    house.sweeper._rounds._last = rounds_module._Round(mark, last.moment)


def our_clock_was_set_back(house: House) -> None:
    house.ahead = -HOUR


def a_day_has_gone(house: House) -> None:
    house.sweeper._rounds._read_all_at -= 86400


@pytest.mark.parametrize("spoil", [clock_of_files_was_set, our_clock_was_set_back, a_day_has_gone])
async def test_what_cannot_be_relied_on_is_not(
    house: House, spoil: Callable[[House], None]
) -> None:
    await house.upload("a", b"hello")
    await house.sweep()
    assert await house.sweep() == set()
    spoil(house)
    assert await house.sweep() == {"a"}
    assert await house.sweep() == set()


async def test_a_pass_that_failed_tells_the_next_one_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scandir(path: Path) -> None:
        raise OSError(errno.EIO, "told to fail")

    await house.upload("a", b"hello")
    await house.sweep()
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        with suppress(Exception):
            await house.sweep()
    assert await house.sweep() == {"a"}


async def test_where_nothing_can_be_written_all_is_read(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def file_time(temporary: str) -> float:
        raise OSError(errno.ENOSPC, "told to fail")

    await house.upload("a", b"hello")
    await house.sweep()
    house.wait = lambda: None  # type: ignore[method-assign]
    monkeypatch.setattr(filesystem, "file_time", file_time)
    assert await house.sweep() == await house.sweep() == {"a"}


async def test_what_would_be_too_much_to_remember_is_not(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds_module, "_MOST_REMEMBERED", 1)
    await house.upload("a", b"hello")
    house.ahead = 25 * HOUR
    lock = await house.uploads.locker.acquire("a", 0)
    await house.sweep()
    assert house.sweeper._rounds._last is None
    await lock.release()
    await house.sweep()
    assert await house.ids() == set()


async def test_a_store_without_surveys_is_swept_as_well() -> None:
    uploads = Uploads(MemoryStore(), MemoryLocker(), clock=lambda: datetime(2027, 1, 1, tzinfo=UTC))
    await uploads.store.create(an_upload("a"))
    await Sweeper(uploads)._sweep_gently()
    with pytest.raises(UploadNotFound):
        await uploads.store.get("a")


# Whatever happens between passes, one that reads little leaves nothing to one that reads all.

IDS = [f"u{number}" for number in range(3)]
moves = st.one_of(
    st.tuples(st.sampled_from(["begin", "part", "add", "fill", "remove", "lose", "crash", "use"]),
              st.sampled_from(IDS)),
    st.tuples(st.sampled_from(["hours", "sweep"]), st.sampled_from([1, 11, 23, 30])),
)  # fmt: skip


async def _move(house: House, held: list[Lock], what: str, which: str | int) -> None:
    if isinstance(which, int):
        if what == "hours":
            house.ahead += which * HOUR
        await house.sweep()
        return
    if what == "use" and (lock := await house.uploads.locker.try_acquire(which)) is not None:
        held.append(lock)
    elif what == "crash":
        (house.root / f"{which}.marker").write_text("1 verify\n")
    elif what == "lose":
        (house.root / which).unlink(missing_ok=True)
    elif what in ("begin", "part") and not (house.root / f"{which}.info").exists():
        await house.upload(which, b"", concat=Partial() if what == "part" else None)
    with suppress(UploadNotFound):
        if what == "remove":
            await house.store.terminate(which)
        elif what in ("add", "fill"):
            upload = await house.store.open(which)
            size = min(1 if what == "add" else 10, 10 - upload.offset)
            body = ScriptedBody(b"x" * size)
            await house.store.append(upload, Append(), body, lambda: None)


async def _story(moves: list[tuple[str, str | int]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        house, held = House(Path(directory)), list[Lock]()
        await house.uploads.start()
        for what, which in moves:
            await _move(house, held, what, which)
        for lock in held:
            await lock.release()
        await house.sweep()
        house.read.clear()
        report = await house.sweeper.sweep(dry_run=True)
        assert (report.expired, report.leftovers, report.failed) == ([], [], [])
        assert all(
            [(await house.store.get(upload_id)).is_settled for upload_id in list(house.read)]
        )
        await house.uploads.close()


@settings(max_examples=100, deadline=None)
@given(st.lists(moves, max_size=25))
def test_a_pass_that_reads_little_misses_nothing(moves: list[tuple[str, str | int]]) -> None:
    asyncio.run(_story(moves))


# Resting.


async def test_work_is_followed_by_rest() -> None:
    pace = Pace(3.0)
    started = time.monotonic()
    while time.monotonic() < started + 0.01:
        pass
    await pace.rest()
    assert time.monotonic() - started >= 0.04


async def test_short_work_only_lets_others_run() -> None:
    pace, turns = Pace(1_000_000.0), list[int]()
    other = asyncio.create_task(asyncio.sleep(0))
    other.add_done_callback(lambda task: turns.append(1))
    started = time.monotonic()
    for _ in range(3):
        await pace.rest()
        pace._resumed = time.monotonic()
    assert turns == [1]
    assert time.monotonic() - started < 1


async def test_without_a_ratio_nobody_rests() -> None:
    pace = Pace()
    pace._resumed -= 10
    started = time.monotonic()
    await asyncio.wait_for(pace.rest(), 1)
    assert time.monotonic() - started < 1

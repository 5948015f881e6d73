"""Power is lost at any moment, and the disk holds whatever it may hold then: what was promised is
there, and no offset covers a byte that is missing, zero or wrong.

A run of the file store (`power_scenario`) is recorded with strace and replayed on a model of a disk
(`disk_model`) up to a moment; a store under another boot id is started on what may be left then
(`crash`). TUSSERVER_TEST_STATES sets how many such states are looked at, TUSSERVER_TEST_SEED which.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import sys
import tempfile
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e import power_scenario as scenario
from tests.e2e.crash import Crash, Fate, Tree
from tests.e2e.disk_model import Change, Disk, Entry, Mark, Write
from tests.e2e.power_scenario import LENGTHS, PARTIALS, Life, content_of
from tests.e2e.syscalls import read_trace, record
from tusserver.protocol.errors import UploadNotFound
from tusserver.protocol.upload import Final, Upload
from tusserver.store.calls import Placement
from tusserver.store.file import FileStore, FileStoreOptions, Sync

if TYPE_CHECKING:
    from collections.abc import Iterator

STATES = int(os.environ.get("TUSSERVER_TEST_STATES", "1500"))
SEED = int(os.environ.get("TUSSERVER_TEST_SEED", random.randrange(2**32)))
_PROJECT = Path(__file__).parents[2]


@dataclass
class Fates:
    """What becomes of each change that was not synced. `others` is for those not in `chosen`."""

    name: str
    entries: Fate
    data: Fate
    chosen: dict[Change, Fate] = field(default_factory=dict)
    chance: random.Random | None = None

    def of(self, change: Change) -> Fate:
        if change not in self.chosen:
            if self.chance is None:
                return self.entries if isinstance(change, Entry) else self.data
            data: list[Fate] = ["old", "zero", "new", "mixed"]
            entry: list[Fate] = ["old", "new"]
            self.chosen[change] = self.chance.choice(entry if isinstance(change, Entry) else data)
        return self.chosen[change]

    def size(self, sizes: list[int]) -> int | None:
        """One of the sizes that a file has had, or None for what follows from its writes."""
        if self.chance is None or self.chance.random() < 0.5:
            return None
        return self.chance.choice(sizes)


EXTREMES: list[tuple[str, Fate, Fate]] = [
    ("nothing unsynced", "old", "old"),
    ("everything", "new", "new"),
    ("sizes without data", "new", "zero"),
    ("names without data and sizes", "new", "old"),
    ("data without names", "old", "new"),
    ("sizes without data and names", "old", "zero"),
]


def some_fates(crash: Crash, chance: random.Random) -> Fates:
    """One change alone there, one alone missing, or anything by lot."""
    pending = crash.pending()
    kind = chance.randrange(3)
    if kind == 0 or not pending:
        return Fates("anything", "old", "old", chance=random.Random(chance.random()))
    # What was asked for last is what a promise hangs on.
    change = pending[-1 - min(int(chance.expovariate(0.2)), len(pending) - 1)]
    name = f"{type(change).__name__} {getattr(change, 'name', getattr(change, 'offset', ''))}"
    if kind == 1:
        return Fates(f"only {name}", "old", "old", {change: "new"})
    missing: Fate = "zero" if isinstance(change, Write) and chance.random() < 0.5 else "old"
    return Fates(f"all but {name} ({missing})", "new", "new", {change: missing})


def states(disk: Disk, chance: random.Random) -> Iterator[tuple[int, Fates]]:
    """The extremes wherever the next thing becomes certain, or a promise ends; then by lot.

    Until then what may be there only grows, and so does what was promised.
    """
    turns = [*disk.syncs, *(mark.moment for mark in disk.marks if is_ending(mark)), inf]
    ends = sorted({disk.moments[bisect_left(disk.moments, turn) - 1] for turn in turns})
    for extreme in EXTREMES:
        for moment in ends:
            yield moment, Fates(*extreme)
    while True:
        moment = chance.choice(ends if chance.random() < 0.5 else disk.moments)
        yield moment, some_fates(Crash(disk, moment), chance)


def is_ending(mark: Mark) -> bool:
    return bool(mark.says["event"] == "terminating")


@dataclass
class Known:
    """What clients know of one upload at a moment."""

    offset: int | None = None
    """Acknowledged; None before its creation was."""
    synced: int = 0
    """So far while it lay idle."""
    is_finished: bool = False
    is_ending: bool = False
    is_ended: bool = False


def known_at(disk: Disk, moment: int) -> dict[str, Known]:
    known = {upload_id: Known() for upload_id in LENGTHS}
    for mark in disk.marks:
        if mark.moment > moment:
            break
        upload = known[mark.says["id"]]
        match mark.says["event"]:
            case "stands":
                upload.offset, upload.is_finished = mark.says["offset"], mark.says["finished"]
            case "synced":
                upload.synced = mark.says["offset"]
            case "terminating":
                upload.is_ending = True
            case "terminated":
                upload.is_ended = True
    return known


def assert_kept(upload_id: str, known: Known, found: Upload | None, sync: Sync) -> None:
    """What `sync` promises about an upload of which this much is known."""
    if known.is_ended:
        assert found is None, f"{upload_id} was terminated and is back"
    elif known.is_finished and not known.is_ending:
        assert found is not None, f"{upload_id} was finished and is gone"
        assert found.is_finished, f"{upload_id} was finished and stands at {found.offset}"
    elif known.offset is not None and not known.is_ending:
        promised = known.offset if sync is Sync.PATCH else known.synced
        if promised or sync is Sync.PATCH:
            assert found is not None, f"{upload_id} stood at {promised} and is gone"
            assert found.offset >= promised, (
                f"{upload_id} stood at {promised} and stands at {found.offset}"
            )


class Examiner:
    """Starts a store on what a loss of power has left, and looks at its uploads.

    An upload lives in the files that bear its id. Those that have been looked at before are not
    looked at again.
    """

    def __init__(self, directory: Path, sync: Sync, chance: random.Random) -> None:
        self._directory = directory
        self._sync = sync
        self._chance = chance
        self._seen: dict[int, Upload | None] = {}
        self.examined = Counter[str]()

    async def examine(self, tree: Tree, known: dict[str, Known]) -> None:
        """Raises AssertionError for a lie or a broken promise."""
        keys = {upload_id: hash((upload_id, *_files(tree, upload_id))) for upload_id in known}
        new = {upload_id for upload_id, key in keys.items() if key not in self._seen}
        if new:
            found = await self._look(tree, new)
            self._seen.update((keys[upload_id], upload) for upload_id, upload in found.items())
        for upload_id, upload in known.items():
            assert_kept(upload_id, upload, self._seen[keys[upload_id]], self._sync)

    async def _look(self, tree: Tree, upload_ids: set[str]) -> dict[str, Upload | None]:
        self._lay_out(tree, upload_ids)
        store = FileStore(self._directory, FileStoreOptions(self._sync), boot_id="after the loss")
        await store.start()
        try:
            found = {upload_id: await self._look_at(store, upload_id) for upload_id in upload_ids}
            ids = {upload_id async for upload_id in store.ids()}
            assert {upload_id for upload_id in found if found[upload_id]} <= ids <= upload_ids
            assert [finding async for finding in store.findings() if not finding.is_leftover] == []
        finally:
            await store.close()
        return found

    def _lay_out(self, tree: Tree, upload_ids: set[str]) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir()
        for name, content in tree.items():
            path = self._directory / name
            if content is None:
                path.mkdir()
            elif name.startswith(".tusserver/") or _id_of(name) in upload_ids:
                path.write_bytes(content)

    async def _look_at(self, store: FileStore, upload_id: str) -> Upload | None:
        """The upload after the store has settled it; whatever it says at any time is true."""
        try:
            self._assert_true(await store.get(upload_id))
        except UploadNotFound:
            return None
        if self._chance.random() < 0.5:
            await store.open(upload_id)
        else:
            async for finding in store.findings():
                if finding.upload_id == upload_id:
                    await store.mend(finding)
        upload = await store.get(upload_id)
        self._assert_true(upload)
        assert upload.is_settled
        self.examined["finished" if upload.is_finished else "unfinished"] += 1
        if not isinstance(upload.concat, Final) and self._chance.random() < 0.2:
            await self._go_on(store, upload)
        return upload

    def _assert_true(self, upload: Upload) -> None:
        upload_id = upload.upload_id
        with open(self._directory / upload_id, "rb") as file:
            stored = file.read(upload.offset)
        right = content_of(upload_id)[: upload.offset]
        assert stored == right, f"{upload_id}: {upload.offset} covers {_difference(stored, right)}"
        assert upload.metadata == scenario.metadata_of(upload_id)
        assert upload.length == LENGTHS[upload_id] or (
            upload.length is None and ("deferred" in upload_id or upload_id in PARTIALS)
        )
        assert isinstance(upload.concat, Final) == (upload_id in PARTIALS)

    async def _go_on(self, store: FileStore, upload: Upload) -> None:
        """Nothing that a loss of power leaves keeps an upload from being finished."""
        way = self._chance.choice([scenario.PLAIN, scenario.SUMMED, scenario.TRAILED])
        if upload.length is None:
            way = scenario.declaring(way)
        upload = await Life(store).append(upload.upload_id, LENGTHS[upload.upload_id], way)
        assert upload.is_finished
        self._assert_true(upload)


def _files(tree: Tree, upload_id: str) -> list[bytes | None]:
    return [tree.get(f"{upload_id}{suffix}") for suffix in ("", ".info", ".marker")]


def _id_of(name: str) -> str:
    return name.removesuffix(".info").removesuffix(".marker")


def _difference(stored: bytes, right: bytes) -> str:
    """Where the first wrong byte is, and what is there instead."""
    for position, byte in enumerate(right):
        if position >= len(stored):
            return f"nothing from {position} on"
        if stored[position] != byte:
            return f"{'a zero' if stored[position] == 0 else 'a wrong byte'} at {position}"
    return "the right bytes"


def contents(directory: Path) -> Tree:
    return {
        str(path.relative_to(directory)): None if path.is_dir() else path.read_bytes()
        for path in directory.rglob("*")
    }


def everything(disk: Disk) -> Tree:
    fates = Fates("everything", "new", "new")
    return Crash(disk, max(disk.moments)).tree(fates.of, fates.size)


@pytest.fixture
def after() -> Iterator[Path]:
    """A directory in memory where there is one: thousands of states are laid out in it."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:
        yield Path(directory) / "uploads"


@dataclass(frozen=True)
class Recording:
    """The trace of one run of the scenario on `upload_dir`, which it made."""

    sync: Sync
    trace: Path
    upload_dir: Path


RUNS = {
    "finish": (Sync.FINISH, Placement.AUTO, "off"),
    "patch": (Sync.PATCH, Placement.AUTO, "off"),
    # As on systems whose kernel does not sync for us.
    "finish-threads": (Sync.FINISH, Placement.THREADS, "off"),
    "finish past the cache": (Sync.FINISH, Placement.AUTO, "on"),
    "patch past the cache": (Sync.PATCH, Placement.AUTO, "on"),
}


@pytest.fixture(scope="module", params=list(RUNS.values()), ids=list(RUNS))
def recording(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Recording:
    sync, placement, direct_io = request.param
    directory = tmp_path_factory.mktemp("power")
    made = Recording(sync, directory / "trace", directory / "uploads")
    options = (str(made.upload_dir), sync.value, placement.value, direct_io)
    command = [sys.executable, "-m", "tests.e2e.power_scenario", *options]
    record(command, _PROJECT, made.trace)
    goes_past_cache = re.search(r"\bO_DIRECT\b", made.trace.read_text()) is not None
    assert goes_past_cache == (direct_io == "on")
    return made


def test_the_model_is_right_about_the_one_state_that_can_be_seen(recording: Recording) -> None:
    disk = Disk(recording.upload_dir, read_trace(recording.trace))
    everything = Fates("everything", "new", "new")
    tree = Crash(disk, max(disk.moments)).tree(everything.of, everything.size)
    assert tree == contents(recording.upload_dir)


@pytest.mark.timeout(60 + STATES // 20)
def test_what_was_promised_survives_a_loss_of_power(recording: Recording, after: Path) -> None:
    disk = Disk(recording.upload_dir, read_trace(recording.trace))
    chance = random.Random(SEED)
    examiner = Examiner(after, recording.sync, chance)

    async def examine_states() -> None:
        for moment, fates in islice(states(disk, chance), STATES):
            tree = Crash(disk, moment).tree(fates.of, fates.size)
            try:
                await examiner.examine(tree, known_at(disk, moment))
            except Exception as error:
                error.add_note(
                    f"TUSSERVER_TEST_SEED={SEED}: {fates.name}, "
                    f"when power is lost after line {moment + 1} of {recording.trace}"
                )
                raise

    asyncio.run(examine_states())
    assert min(examiner.examined["finished"], examiner.examined["unfinished"]) > 0


def test_an_upload_directory_that_the_store_made_survives_with_its_uploads(
    recording: Recording, after: Path
) -> None:
    disk = Disk(recording.upload_dir.parent, read_trace(recording.trace))
    examiner = Examiner(after, recording.sync, random.Random(SEED))
    nothing = Fates("nothing unsynced", "old", "old")
    last = max(disk.moments)
    tree = Crash(disk, last).tree(nothing.of, nothing.size)
    prefix = f"{recording.upload_dir.name}/"
    inside = {path.removeprefix(prefix): tree[path] for path in tree if path.startswith(prefix)}
    asyncio.run(examiner.examine(inside, known_at(disk, last)))

"""Everything is tried on every way to a place: `link`; `rename` and `claim`, where the file system
cannot do that; `copy` from another file system, and `part`, where only a link says that it is one;
`replace` and `replace-copy`.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest

from tusserver.policy.naming import numbered
from tusserver.protocol.finish import Intent
from tusserver.store import copying, filesystem, placing
from tusserver.store.placing import (
    STEPS,
    NameTaken,
    NothingToPlace,
    OnCollision,
    Placed,
    Placer,
    UnsafeFolder,
)

DATA = bytes(range(256)) * 256 + b"the end"
FOLDERS = ("jobs", "한글 이름")
NAME = "scan.tar.gz"
FIRST = "jobs/한글 이름/scan.tar.gz"
SECOND = "jobs/한글 이름/scan (1).tar.gz"
UPLOAD = "0a/1b"
PART = ".0a%2F1b.part"
MIB = 1024 * 1024


def refuse(number: int) -> NoReturn:
    raise OSError(number, os.strerror(number))


class WithoutLinks(Placer):
    def link(self, origin: str, origin_folder: int | None, name: str, folder: int) -> None:
        refuse(errno.EEXIST if exists(name, folder) else errno.EPERM)


class WithoutLinksAndExclusiveRenames(WithoutLinks):
    def rename_exclusively(
        self, origin: str, origin_folder: int | None, name: str, folder: int
    ) -> None:
        refuse(errno.EEXIST if exists(name, folder) else errno.EINVAL)


class Mounted(Placer):
    """The same file system is mounted twice: its device tells nothing."""

    def link(self, origin: str, origin_folder: int | None, name: str, folder: int) -> None:
        if origin_folder is None:
            refuse(errno.EXDEV)
        os.link(origin, name, src_dir_fd=origin_folder, dst_dir_fd=folder)


def exists(name: str, folder: int) -> bool:
    # Linux looks for the new name before it asks the file system.
    return name in os.listdir(folder)


KINDS: dict[str, type[Placer]] = {
    "link": Placer,
    "rename": WithoutLinks,
    "claim": WithoutLinksAndExclusiveRenames,
    "copy": Placer,
    "part": Mounted,
    "replace": Placer,
    "replace-copy": Placer,
}
STEPS_OF = {
    "link": {"prepared", "noted"},
    "rename": {"prepared", "noted"},
    "claim": {"prepared", "noted", "claimed"},
    "copy": {"part open", "part written", "copied", "compared", "noted"},
    "part": {"prepared", "part open", "part written", "copied", "compared", "noted"},
    "replace": {"prepared", "noted"},
    "replace-copy": {"part open", "part written", "copied", "compared", "noted"},
}
ALWAYS = {"folder ready", "named", "place synced", "part removed", "source removed"}


@dataclass
class Place:
    """A finished upload, a root to place it below, and the record that survives a crash."""

    placer: Placer
    source: Path
    record: Path

    @property
    def root(self) -> Path:
        return self.placer.root

    @property
    def folder(self) -> Path:
        return self.root.joinpath(*FOLDERS)

    @property
    def intent(self) -> Intent | None:
        if not self.record.exists():
            return None
        return msgspec.json.decode(self.record.read_bytes(), type=Intent)

    def note(self, intent: Intent) -> None:
        written = self.record.with_name("record.new")
        written.write_bytes(msgspec.json.encode(intent))
        written.replace(self.record)

    def place(
        self,
        on_step: Callable[[str], None] = lambda step: None,
        on_progress: Callable[[int], None] = lambda copied: None,
        folders: tuple[str, ...] = FOLDERS,
    ) -> Placed:
        return self.placer.place(
            self.source,
            folders,
            NAME,
            UPLOAD,
            self.intent,
            self.note,
            on_step=on_step,
            on_progress=on_progress,
        )

    def put(self, relative: str, content: bytes) -> Path:
        """Somebody else's file."""
        path = self.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in self.root.rglob("*")
            if path.is_file()
        }

    def assert_placed(self) -> None:
        """The upload is in one place, and nothing but that has changed."""
        assert self.files() == {FIRST: DATA}
        assert not self.source.exists()


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder on another file system than that of `tmp_path`."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    kind: str = request.param
    # Small, so that there are several steps.
    monkeypatch.setattr(copying, "COPY_SIZE", 16 * 1024)
    above = request.getfixturevalue("memory") if "copy" in kind else tmp_path
    root = above / "root"
    root.mkdir()
    source = tmp_path / "data"
    source.write_bytes(DATA)
    on_collision = OnCollision.REPLACE if "replace" in kind else OnCollision.NUMBER
    placer = KINDS[kind](root, on_collision, 0o640, 0o750, None, True, numbered)
    return Place(placer, source, tmp_path / "record")


def only(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("place", kinds, indirect=True)


NUMBERING = only("link", "rename", "claim", "copy", "part")
COPYING = only("copy", "part")


class Killed(BaseException):
    """The process has died: nothing that tidies up after an error runs."""


def test_a_file_is_moved_to_its_place(place: Place, request: pytest.FixtureRequest) -> None:
    seen: list[str] = []
    placed = place.place(seen.append)
    assert placed == Placed(place.root / FIRST, FIRST)
    place.assert_placed()
    kind = request.node.callspec.params["place"]
    assert set(seen) == ALWAYS | STEPS_OF[kind]
    assert set(seen) <= set(STEPS)


def test_an_empty_file_is_moved_to_its_place(place: Place) -> None:
    place.source.write_bytes(b"")
    place.place()
    assert place.files() == {FIRST: b""}
    assert not place.source.exists()


def test_a_file_can_lie_in_the_root_itself(place: Place) -> None:
    assert place.place(folders=()).relative == NAME
    assert place.files() == {NAME: DATA}


def test_modes_are_those_of_the_settings_when_the_file_appears(place: Place) -> None:
    place.placer = replace(place.placer, group=os.getgid())
    seen: list[tuple[int, int]] = []

    def look(step: str) -> None:
        if step == placing.NAMED:
            state = (place.root / FIRST).stat()
            seen.append((stat.S_IMODE(state.st_mode), state.st_gid))

    place.place(look)
    assert seen == [(0o640, os.getgid())]
    for folder in (place.folder, place.folder.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o750


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which containers and CI have")
def test_files_and_new_folders_get_the_group(place: Place) -> None:
    place.placer = replace(place.placer, group=12345)
    place.place()
    assert {(place.root / FIRST).stat().st_gid, place.folder.stat().st_gid} == {12345}
    assert place.root.stat().st_gid != 12345


def test_new_folders_hand_down_what_their_parent_does(place: Place) -> None:
    place.root.chmod(0o2755)
    place.place()
    assert stat.S_IMODE(place.folder.stat().st_mode) == 0o2750


def test_all_that_leads_to_a_file_is_on_the_disk_before_the_upload_goes(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: dict[tuple[int, int], set[str]] = {}
    fsync = os.fsync

    def recorded(descriptor: int) -> None:
        state = os.fstat(descriptor)
        is_folder = stat.S_ISDIR(state.st_mode)
        names = set(os.listdir(descriptor)) if is_folder else {str(state.st_size)}
        synced[state.st_dev, state.st_ino] = names
        fsync(descriptor)

    def look(step: str) -> None:
        if step == placing.PLACE_SYNCED:
            done.update({key: set(names) for key, names in synced.items()})

    done: dict[tuple[int, int], set[str]] = {}
    monkeypatch.setattr(os, "fsync", recorded)
    place.place(look)
    names = {place.root: "jobs", place.root / "jobs": FOLDERS[1], place.folder: NAME}
    for folder, name in names.items():
        assert name in done[folder.stat().st_dev, folder.stat().st_ino]
    state = (place.root / FIRST).stat()
    assert done[state.st_dev, state.st_ino] == {str(len(DATA))}


def test_without_a_mode_a_file_keeps_its_own(place: Place) -> None:
    place.placer = replace(place.placer, file_mode=None)
    place.source.chmod(0o604)
    place.place()
    assert stat.S_IMODE((place.root / FIRST).stat().st_mode) == 0o604


def test_a_file_keeps_the_time_it_was_modified(place: Place) -> None:
    os.utime(place.source, ns=(0, 1_700_000_000_123_456_000))
    place.place()
    assert (place.root / FIRST).stat().st_mtime_ns == 1_700_000_000_123_456_000


@COPYING
def test_progress_tells_how_many_bytes_are_copied(place: Place) -> None:
    progress: list[int] = []
    place.place(on_progress=progress.append)
    assert progress == [*range(0, len(DATA), 16 * 1024), len(DATA)]


def kill_at(step: str, occurrence: int) -> Callable[[str], None]:
    left = occurrence

    def on_step(reached: str) -> None:
        nonlocal left
        left -= reached == step
        if left == 0:
            raise Killed

    return on_step


@pytest.mark.parametrize("occurrence", [1, 2])
@pytest.mark.parametrize("step", STEPS)
def test_a_move_that_was_cut_short_anywhere_is_carried_on(
    place: Place, step: str, occurrence: int
) -> None:
    for _ in range(3):
        try:
            place.place(kill_at(step, occurrence))
        except (Killed, NothingToPlace):
            continue
    assert place.place().relative == FIRST
    place.assert_placed()
    assert place.place().relative == FIRST


@NUMBERING
@pytest.mark.parametrize("step", STEPS)
def test_a_name_that_is_taken_meanwhile_stays_somebody_elses(place: Place, step: str) -> None:
    place.put("jobs/한글 이름/other", b"other")

    def on_step(reached: str) -> None:
        if reached == step:
            if not (place.root / FIRST).exists():
                place.put(FIRST, b"foreign")
            raise Killed

    try:
        place.place(on_step)
    except Killed:
        # What was claimed is not visible to anybody who does not overwrite it.
        is_foreign = (place.root / FIRST).read_bytes() == b"foreign"
        relative = place.place().relative
        assert relative == (SECOND if is_foreign else FIRST)
        foreign = {FIRST: b"foreign"} if is_foreign else {}
        assert place.files() == {**foreign, relative: DATA, "jobs/한글 이름/other": b"other"}
        assert not place.source.exists()


@NUMBERING
def test_a_name_that_is_taken_between_look_and_link_stays_somebody_elses(place: Place) -> None:
    def on_step(reached: str) -> None:
        if reached == placing.NOTED and not (place.root / FIRST).exists():
            place.put(FIRST, b"foreign")

    assert place.place(on_step).relative == SECOND
    assert place.files() == {FIRST: b"foreign", SECOND: DATA}
    assert place.intent is not None
    assert place.intent.path == SECOND


@NUMBERING
def test_each_name_that_is_taken_leads_to_the_next_number(place: Place) -> None:
    place.put(FIRST, b"foreign")
    (place.root / SECOND).symlink_to("nowhere")
    (place.folder / "scan (2).tar.gz").mkdir()
    seen: list[str] = []
    assert place.place(seen.append).relative == "jobs/한글 이름/scan (3).tar.gz"
    # A note may take its time; none is wasted on what can be seen to be taken.
    # The second one is that of the copy, if only the link says that there must be one.
    assert seen.count(placing.NOTED) <= 2
    assert (place.root / FIRST).read_bytes() == b"foreign"
    assert not (place.folder / "nowhere").exists()


def die_at(place: Place, step: str, occurrence: int) -> None:
    """In a process of its own: SIGKILL right after this step."""
    try:
        place.place(kill_at(step, occurrence))
    except Killed:
        os.kill(os.getpid(), signal.SIGKILL)


def in_a_process(function: Callable[..., None], *arguments: object) -> int | None:
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.parametrize("step", STEPS)
def test_a_process_that_is_killed_anywhere_is_carried_on_by_another(
    place: Place, step: str
) -> None:
    codes = [in_a_process(die_at, place, step, 1) for _ in range(2)]
    assert set(codes) <= {0, -signal.SIGKILL}
    assert place.place().relative == FIRST
    place.assert_placed()


@pytest.mark.parametrize("attempt", range(5))
def test_a_process_that_is_killed_at_any_time_is_carried_on(place: Place, attempt: int) -> None:
    context = multiprocessing.get_context("fork")
    for _ in range(3):
        process = context.Process(target=die_at, args=(place, "never", 1))
        process.start()
        # Dies wherever it just is: between two steps as well.
        process.join(0.001 * attempt)
        process.kill()
        process.join()
    assert place.place().relative == FIRST
    files = place.files()
    if isinstance(place.placer, WithoutLinksAndExclusiveRenames):
        # See the module: an empty file may stay, from between its creation and the id in it.
        files = {name: content for name, content in files.items() if content}
    assert list(files.values()) == [DATA]
    assert not place.source.exists()


@COPYING
def test_a_copy_is_carried_on_and_not_begun_anew(place: Place) -> None:
    with pytest.raises(Killed):
        place.place(kill_at(copying.PART_WRITTEN, 3))
    progress: list[int] = []
    place.place(on_progress=progress.append)
    assert progress[0] == 3 * 16 * 1024
    place.assert_placed()


@COPYING
@pytest.mark.parametrize("step", [copying.PART_WRITTEN, copying.COPIED, copying.COMPARED])
def test_a_part_that_is_not_what_was_written_is_not_believed(place: Place, step: str) -> None:
    with pytest.raises(Killed):
        place.place(kill_at(step, 1))
    with (place.folder / PART).open("r+b") as part:
        part.seek(100)
        part.write(b"damage")
        part.seek(0, os.SEEK_END)
        part.write(b"more than there ever was" * 5000)
    place.place()
    place.assert_placed()


@COPYING
def test_a_copy_that_differs_in_the_end_does_not_appear(place: Place) -> None:
    def damage(reached: str) -> None:
        if reached == copying.COPIED:
            with (place.folder / PART).open("r+b") as part:
                part.write(b"damage")

    with pytest.raises(OSError, match="differs"):
        place.place(damage)
    assert FIRST not in place.files()
    assert place.source.read_bytes() == DATA
    place.place()
    place.assert_placed()


@COPYING
def test_a_copy_whose_bytes_a_loss_of_power_has_taken_is_made_again(place: Place) -> None:
    with pytest.raises(Killed):
        place.place(kill_at(placing.PART_REMOVED, 1))
    (place.root / FIRST).write_bytes(bytes(len(DATA)))
    assert place.place().relative == SECOND
    assert place.files() == {FIRST: bytes(len(DATA)), SECOND: DATA}


def _place_as_nobody(place: Place) -> None:
    if os.geteuid() == 0:
        # Modes do not stop root.
        above = place.root.parent
        for path in (above, *above.rglob("*")):
            os.chown(path, 65534, 65534)
        os.setgid(65534)
        os.setuid(65534)
    place.place()


def test_a_part_whose_final_mode_lets_nobody_write_is_replaced(memory: Path) -> None:
    (memory / "root").mkdir()
    (memory / "data").write_bytes(DATA)
    placer = Mounted(memory / "root", OnCollision.NUMBER, 0o440, 0o750, None, True, numbered)
    place = Place(placer, memory / "data", memory / "record")
    with pytest.raises(Killed):
        place.place(kill_at(copying.COMPARED, 1))
    assert in_a_process(_place_as_nobody, place) == 0
    place.assert_placed()


@COPYING
def test_what_others_put_where_the_copy_goes_is_not_written_to(
    place: Place, tmp_path: Path
) -> None:
    victim = place.put("victim", b"precious")
    place.folder.mkdir(parents=True)
    for plant in (os.symlink, os.link):
        plant(victim, place.folder / PART)
        with pytest.raises(Killed):
            place.place(kill_at(copying.COPIED, 1))
        assert victim.read_bytes() == b"precious"
        (place.folder / PART).unlink()
    place.place()
    assert place.files() == {FIRST: DATA, "victim": b"precious"}
    assert not (place.root / FIRST).is_symlink()


@pytest.mark.parametrize("depth", [0, 1])
def test_no_symbolic_link_below_the_root_is_followed(
    place: Place, tmp_path: Path, depth: int
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = place.root.joinpath(*FOLDERS[: depth + 1])
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    with pytest.raises(UnsafeFolder, match="symbolic link"):
        place.place()
    assert os.listdir(outside) == []
    assert place.source.read_bytes() == DATA
    link.unlink()
    place.place()
    place.assert_placed()


def test_a_folder_that_becomes_a_link_after_a_crash_is_not_followed(
    place: Place, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        place.place(kill_at(placing.NOTED, 1))
    place.folder.rename(tmp_path / "moved" if place.root.parent == tmp_path else place.root / "m")
    outside = tmp_path / "outside"
    outside.mkdir()
    place.folder.symlink_to(outside)
    with pytest.raises(UnsafeFolder, match="symbolic link"):
        place.place()
    assert os.listdir(outside) == []
    assert place.source.exists()


def test_a_root_may_be_a_link(place: Place, tmp_path: Path) -> None:
    (tmp_path / "root-link").symlink_to(place.root)
    place.placer = replace(place.placer, root=tmp_path / "root-link")
    placed = place.place()
    assert placed.path == tmp_path / "root-link" / FIRST
    assert placed.path.read_bytes() == DATA


def test_a_file_in_the_way_of_a_folder_stays(place: Place) -> None:
    place.put("jobs", b"foreign")
    with pytest.raises(UnsafeFolder, match="there is a file where a folder should be"):
        place.place()
    assert place.files() == {"jobs": b"foreign"}
    assert place.source.exists()


def test_a_root_that_is_missing_is_not_made(place: Place) -> None:
    place.root.rmdir()
    with pytest.raises(FileNotFoundError) as error:
        place.place()
    assert not isinstance(error.value, NothingToPlace)
    assert not place.root.exists()


@pytest.mark.parametrize(
    ("folders", "name"),
    [(("..",), "x"), ((".",), "x"), (("a/b",), "x"), (("",), "x"), ((), ".."), ((), "a\0b")],
)
@only("link")
def test_what_is_no_name_is_refused(place: Place, folders: tuple[str, ...], name: str) -> None:
    with pytest.raises(ValueError, match="is not the name of"):
        place.placer.place(place.source, folders, name, UPLOAD, None, place.note)
    assert place.source.exists()


@only("link")
@pytest.mark.parametrize("path", ["../data", "/etc/passwd", "jobs/../../data", "jobs/.."])
def test_an_intent_that_leads_out_is_refused(place: Place, path: str) -> None:
    state = place.source.stat()
    place.note(Intent(path, state.st_dev, state.st_ino))
    with pytest.raises(ValueError, match="is not the name of"):
        place.place()
    assert place.source.exists()


def test_what_is_neither_here_nor_there_is_told(place: Place) -> None:
    place.place()
    # Made before the other one goes, whose inode it could get otherwise.
    place.put("foreign", b"foreign").replace(place.root / FIRST)
    with pytest.raises(NothingToPlace):
        place.place()
    assert place.files() == {FIRST: b"foreign"}
    (place.root / FIRST).unlink()
    with pytest.raises(NothingToPlace):
        place.place()


def test_a_device_may_have_another_number_after_a_boot(place: Place) -> None:
    with pytest.raises(Killed):
        place.place(kill_at(placing.NAMED, 1))
    assert place.intent is not None
    place.note(Intent(place.intent.path, place.intent.device + 1, place.intent.inode))
    for _ in range(2):
        assert place.place().relative == FIRST
    place.assert_placed()


@only("link")
def test_an_inode_may_have_another_number_after_a_boot(place: Place) -> None:
    with pytest.raises(Killed):
        place.place(kill_at(placing.NAMED, 1))
    assert place.intent is not None
    place.note(Intent(place.intent.path, place.intent.device, place.intent.inode + 1))
    assert place.place().relative == FIRST
    place.assert_placed()


@NUMBERING
def test_a_name_that_is_to_be_refused_is(place: Place) -> None:
    place.placer = replace(place.placer, on_collision=OnCollision.REFUSE)
    place.put(FIRST, b"foreign")
    seen: list[str] = []
    for _ in range(2):
        with pytest.raises(NameTaken, match="is taken"):
            place.place(seen.append)
        assert copying.PART_OPEN not in seen
        assert place.files() == {FIRST: b"foreign"}
        assert place.source.read_bytes() == DATA
    (place.root / FIRST).unlink()
    place.place()
    place.assert_placed()


@NUMBERING
def test_a_name_that_is_taken_at_the_last_moment_is_refused(place: Place) -> None:
    place.placer = replace(place.placer, on_collision=OnCollision.REFUSE)

    def on_step(reached: str) -> None:
        if reached == placing.NOTED:
            place.put(FIRST, b"foreign")

    with pytest.raises(NameTaken):
        place.place(on_step)
    assert place.files() == {FIRST: b"foreign"}
    assert place.source.read_bytes() == DATA


REPLACING = only("replace", "replace-copy")


@REPLACING
def test_a_foreign_file_is_replaced_as_a_whole(place: Place) -> None:
    former = place.put(FIRST, b"former").open("rb")
    seen: set[bytes] = set()
    place.place(lambda step: seen.add((place.root / FIRST).read_bytes()))
    assert seen == {b"former", DATA}
    place.assert_placed()
    with former:
        assert former.read() == b"former"


@REPLACING
def test_a_link_is_replaced_and_not_followed(place: Place) -> None:
    victim = place.put("victim", b"precious")
    place.folder.mkdir(parents=True)
    (place.root / FIRST).symlink_to(victim)
    place.place()
    assert not (place.root / FIRST).is_symlink()
    assert place.files() == {FIRST: DATA, "victim": b"precious"}


@REPLACING
def test_a_folder_is_not_replaced(place: Place) -> None:
    (place.root / FIRST).mkdir(parents=True)
    with pytest.raises(NameTaken):
        place.place()
    assert place.source.read_bytes() == DATA
    assert os.listdir(place.folder) == [NAME]


def _place_number(place: Place, number: int, barrier: Barrier) -> None:
    source = place.source.with_name(f"data-{number}")
    source.write_bytes(DATA + bytes([number]))
    barrier.wait(20)
    place.placer.place(source, FOLDERS, NAME, f"upload-{number}", None, lambda intent: None)


@NUMBERING
def test_processes_that_place_the_same_name_at_once_get_different_numbers(place: Place) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(8)
    processes = [
        context.Process(target=_place_number, args=(place, number, barrier)) for number in range(8)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 8
    files = place.files()
    names = [FIRST, *(f"jobs/한글 이름/scan ({number}).tar.gz" for number in range(1, 8))]
    assert sorted(files) == sorted(names)
    assert sorted(files.values()) == [DATA + bytes([number]) for number in range(8)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={2 * MIB}", "tmpfs", str(mount)]
    subprocess.run(command, check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root, which containers and CI have")
@only("link")
@pytest.mark.parametrize("is_reserved", [True, False])
def test_a_full_disk_leaves_the_upload_and_no_part(
    place: Place, small_disk: Path, is_reserved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_reserved:
        # As on file systems that cannot set room aside.
        monkeypatch.setattr(filesystem, "reserve", lambda descriptor, length: None)
    place.placer = replace(place.placer, root=small_disk)
    data = DATA * 16
    place.source.write_bytes(data)
    ballast = place.put("ballast", bytes(2 * MIB - len(data)))
    seen: list[str] = []
    with pytest.raises(OSError, match="No space") as error:
        place.place(seen.append)
    assert (copying.PART_WRITTEN in seen) is not is_reserved
    assert error.value.errno == errno.ENOSPC
    assert list(place.files()) == ["ballast"]
    assert place.source.read_bytes() == data
    ballast.unlink()
    place.place()
    assert place.files() == {FIRST: data}


@only("link")
def test_an_upload_with_a_very_long_id_can_be_copied(place: Place, memory: Path) -> None:
    place.placer = replace(place.placer, root=memory)
    place.placer.place(place.source, (), NAME, "a/" * 250 + "a", None, place.note)
    assert place.files() == {NAME: DATA}


@only("link")
def test_without_durability_nothing_is_waited_for(place: Place) -> None:
    seen: list[str] = []
    place.placer = replace(place.placer, durable=False)
    place.place(seen.append)
    assert placing.PLACE_SYNCED not in seen
    place.assert_placed()

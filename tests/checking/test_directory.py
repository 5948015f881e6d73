"""What a directory lacks is noticed and named, and nothing stays behind."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checking import states, tried
from tusserver.checking.base import Result, State
from tusserver.checking.directory import readable
from tusserver.compose_checks import build_checks
from tusserver.settings import Settings

pytestmark = pytest.mark.anyio

MAKE, WRITE, LOCKS = "make the directory", "write and sync a file", "locks between processes"
OWNER, ROOM, PLACE = "made by its owner", "room", "place a finished file"
DIRECT, KEEP = "write past the page cache", "keep infected files"
needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root, which containers and CI have"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "uploads"


@pytest.fixture
def destinations(tmp_path: Path) -> Path:
    (tmp_path / "jobs").mkdir()
    return tmp_path / "jobs"


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory on another file system."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)


async def checked(root: Path, *only: str, **settings: object) -> dict[str, Result]:
    section, *_ = build_checks(Settings.of(upload_dir=root, **settings))
    return await tried(section, *only)


def files(directory: Path) -> list[str]:
    return [path.name for path in directory.rglob("*") if not path.is_dir()]


async def test_a_good_directory_has_everything(
    root: Path, destinations: Path, tmp_path: Path
) -> None:
    settings = {"destination_root": destinations, "quarantine_dir": tmp_path / "quarantine"}
    found = await checked(root, **settings)
    assert states(found, State.OK) == {}
    assert {LOCKS, PLACE, KEEP} <= found.keys()
    assert files(root) == ["locks"]
    assert files(destinations) == []
    assert not (tmp_path / "quarantine").exists()


async def test_uploads_that_are_there_are_not_touched(root: Path) -> None:
    await checked(root)
    for name in ("a" * 32, f"{'a' * 32}.info", ".tusserver/tmp/check.txt"):
        (root / name).write_text(name)
    await checked(root)
    assert sorted(files(root)) == sorted(["a" * 32, f"{'a' * 32}.info", "check.txt", "locks"])


async def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = await checked(tmp_path / "file" / "uploads")
    assert (found[MAKE].state, "Not a directory" in found[MAKE].text) == (State.MISSING, True)
    assert found[MAKE].advice
    assert states(found, State.OK, State.MISSING).keys() >= {WRITE, LOCKS, ROOM}


async def test_a_disk_that_does_not_write_is_told(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    found = await checked(root, WRITE)
    assert (found[WRITE].state, found[WRITE].text) == (State.MISSING, "Input/output error")
    assert files(root) == []


async def test_locks_that_do_not_work_are_told(root: Path) -> None:
    (root / ".tusserver" / "locks").mkdir(parents=True)
    result = (await checked(root, LOCKS))[LOCKS]
    assert (result.state, "cannot keep locks" in result.text) == (State.MISSING, True)


async def test_locks_that_everybody_gets_are_told(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = fcntl.fcntl

    def grant(descriptor: int, command: int, argument: int | bytes = 0) -> int | bytes:
        if command == fcntl.F_OFD_SETLK:
            return 0
        return original(descriptor, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", grant)
    result = (await checked(root, LOCKS))[LOCKS]
    assert (result.state, "does not keep locks apart" in result.text) == (State.MISSING, True)


async def test_locks_in_memory_need_nothing(root: Path) -> None:
    found = await checked(root, "locks", lock="memory")
    assert found["locks"].state is State.OK
    assert LOCKS not in found


@needs_root
async def test_root_does_not_make_what_the_server_could_not_open(root: Path) -> None:
    os.mkdir(root)
    os.chown(root, 54321, 1)  # Of no user.
    assert "belongs to 54321" in (await checked(root))[OWNER].text
    os.chown(root, 1, 1)
    found = await checked(root)
    assert (found[OWNER].state, "this is root" in found[OWNER].text) == (State.MISSING, True)
    assert "runuser -u" in found[OWNER].advice
    assert os.listdir(root) == []
    os.chown(root, 0, 0)
    await checked(root)
    os.chown(root, 1, 1)
    # The server has been there already, so that nothing is made that stays.
    found = await checked(root)
    assert states(found, State.OK) == {OWNER: State.NOTE}


async def test_too_little_room_is_told(root: Path) -> None:
    missing = (await checked(root, ROOM, min_free_space="4096TiB"))[ROOM]
    assert (missing.state, "--min-free-space is 4.0 PiB" in missing.text) == (State.MISSING, True)
    noted = (await checked(root, ROOM, max_size="4096TiB"))[ROOM]
    assert (noted.state, "has no room" in noted.advice) == (State.NOTE, True)


@pytest.mark.parametrize(("wish", "state"), [("on", State.MISSING), ("auto", State.OK)])
async def test_direct_io_that_is_refused_is_told(
    root: Path, wish: str, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = fcntl.fcntl

    def refuse(descriptor: int, command: int, *flags: int) -> int:
        if command == fcntl.F_SETFL and flags[0] & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return original(descriptor, command, *flags)

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    result = (await checked(root, DIRECT, direct_io=wish))[DIRECT]
    assert result.state is state
    assert wish == "auto" or "no direct I/O" in result.text


async def test_files_that_will_be_copied_are_told(root: Path, elsewhere: Path) -> None:
    result = (await checked(root, PLACE, destination_root=elsewhere))[PLACE]
    assert (result.state, "are copied" in result.text) == (State.NOTE, True)
    assert os.listdir(elsewhere) == []
    assert files(root) == []


@pytest.mark.parametrize(
    ("template", "state"),
    [("{filename}", State.MISSING), ("{owner}/{filename}", State.NOTE)],
    ids=["files", "folders"],
)
async def test_destinations_that_cannot_be_written_are_told(
    root: Path, destinations: Path, template: str, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*names: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "link", refuse)
    settings = {"destination_root": destinations, "destination_template": template}
    result = (await checked(root, PLACE, **settings))[PLACE]
    assert (result.state, str(destinations) in result.text) == (state, True)
    assert files(root) == []


async def test_a_quarantine_elsewhere_is_good(root: Path, elsewhere: Path) -> None:
    result = (await checked(root, KEEP, quarantine_dir=elsewhere))[KEEP]
    assert (result.state, result.text) == (State.OK, f"in {elsewhere}, by copying")
    assert os.listdir(elsewhere) == []


async def test_destinations_on_a_broken_disk_are_told(
    root: Path, destinations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*names: object, **options: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", fail)
    result = (await checked(root, PLACE, destination_root=destinations))[PLACE]
    assert (result.state, result.text) == (State.MISSING, "Input/output error")


async def test_a_quarantine_that_cannot_be_made_is_told(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = (await checked(root, KEEP, quarantine_dir=tmp_path / "file" / "x"))[KEEP]
    assert (result.state, "Not a directory" in result.text) == (State.MISSING, True)


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (3 * 2**39, "1.5 TiB"),
     (2**63, "8192.0 PiB")],
)  # fmt: skip
def test_sizes_are_readable(size: int, words: str) -> None:
    assert readable(size) == words

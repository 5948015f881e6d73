"""The file locker beyond the contract: real processes, crashes, dead sockets, hostile datagrams."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tusserver.lock import file as file_module
from tusserver.lock.base import LockerUnusable
from tusserver.lock.file import FileLocker
from tusserver.protocol.errors import UploadLocked

pytestmark = pytest.mark.anyio

HOLDER = """
import asyncio, os, pwd, sys
from pathlib import Path
from tusserver.lock.file import FileLocker

if sys.argv[3]:
    # After the imports: another user may not be able to read this checkout.
    os.setuid(pwd.getpwnam(sys.argv[3]).pw_uid)

async def main():
    locker = FileLocker(Path(sys.argv[1]))
    await locker.start()
    lock = await locker.acquire("a", 5)
    asked = asyncio.Event()
    if sys.argv[2] == "polite":
        lock.on_release_request(asked.set)
    print("held", flush=True)
    await asked.wait()
    await lock.release()
    print("released", flush=True)

asyncio.run(main())
"""


@pytest.fixture
async def locker(tmp_path: Path) -> AsyncIterator[FileLocker]:
    made = FileLocker(tmp_path)
    await made.start()
    yield made
    await made.close()


def hold(directory: Path, manner: str, user: str = "") -> subprocess.Popen[str]:
    """Another process that holds the lock on the upload `a`."""
    command = [sys.executable, "-c", HOLDER, str(directory), manner, user]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


async def test_another_process_is_asked_and_lets_go(locker: FileLocker, tmp_path: Path) -> None:
    with hold(tmp_path, "polite") as process:
        assert await locker.try_acquire("a") is None
        lock = await locker.acquire("a", 20)
        assert process.wait(10) == 0
    await lock.release()


async def test_a_killed_process_holds_nothing(locker: FileLocker, tmp_path: Path) -> None:
    with hold(tmp_path, "deaf") as process:
        waiting = asyncio.create_task(locker.acquire("a", 20))
        await asyncio.sleep(0)
        process.send_signal(signal.SIGKILL)
        await (await waiting).release()


async def test_the_socket_of_a_killed_process_is_removed(
    locker: FileLocker, tmp_path: Path
) -> None:
    with hold(tmp_path, "deaf") as process:
        process.kill()
    assert len(os.listdir(tmp_path / "workers")) == 2
    other = FileLocker(tmp_path)
    await other.start()
    assert len(os.listdir(tmp_path / "workers")) == 2
    await other.close()
    assert len(os.listdir(tmp_path / "workers")) == 1


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that belongs to another user, who can get to it."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        shutil.chown(name, "nobody")
        yield Path(name)


async def test_a_process_of_root_and_the_servers_user_hear_each_other(open_directory: Path) -> None:
    with hold(open_directory, "polite", user="nobody") as process:
        locker = FileLocker(open_directory)
        await locker.start()
        lock = await locker.acquire("a", 20)
        assert process.wait(10) == 0
        await lock.release()
        await locker.close()


async def test_a_dead_socket_of_root_does_not_keep_the_server_from_starting(
    open_directory: Path,
) -> None:
    (open_directory / "workers").mkdir(mode=0o700)
    shutil.chown(open_directory / "workers", "nobody")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(str(open_directory / "workers" / ("0" * 16)))
    os.chmod(open_directory / "workers" / ("0" * 16), 0o600)
    with hold(open_directory, "deaf", user="nobody") as process:
        process.kill()


async def test_a_closed_locker_leaves_only_the_lock_file(tmp_path: Path) -> None:
    locker = FileLocker(tmp_path / "new" / "directory")
    await locker.start()
    lock = await locker.acquire("a", 0)
    await locker.close()
    await lock.release()
    assert os.listdir(tmp_path / "new" / "directory" / "workers") == []


async def test_directories_with_long_paths_work(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d" * 60] * 3)
    first, second = FileLocker(deep), FileLocker(deep)
    await first.start()
    await second.start()
    lock = await first.acquire("a", 0)
    waiting = asyncio.create_task(second.acquire("a", 10))
    while not lock.release_requested:
        await asyncio.sleep(0.001)
    await lock.release()
    await (await waiting).release()
    await first.close()
    await second.close()


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"plea",
        b"plea\0a",
        b"plea\0a\0../../../../tmp/x",
        b"plea\0unknown\0" + b"0" * 16,
        b"freed\0unknown\0" + b"0" * 16,
        b"\xff\xfe\0\xff\0\xff",
        b"x" * 60000,
    ],
)
async def test_foreign_datagrams_do_no_harm(
    locker: FileLocker, tmp_path: Path, message: bytes
) -> None:
    lock = await locker.acquire("a", 0)
    (name,) = os.listdir(tmp_path / "workers")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(message, str(tmp_path / "workers" / name))
    await asyncio.sleep(0.01)
    assert not lock.release_requested
    await lock.release()


async def test_a_directory_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LockerUnusable, match=r"cannot keep locks in .*file"):
        await FileLocker(tmp_path / "file").start()


async def test_a_file_system_that_grants_every_lock_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_module, "_lock", lambda descriptor, position: True)
    with pytest.raises(LockerUnusable, match="does not keep locks apart"):
        await FileLocker(tmp_path).start()


async def test_positions_of_locks_differ(locker: FileLocker) -> None:
    positions = {file_module._position(f"{number:032x}") for number in range(5000)}
    assert len(positions) == 5000
    assert max(positions) < 2**63 - 2


async def test_a_bus_that_fails_harms_no_lock(
    locker: FileLocker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_descriptor(directory: int) -> list[str]:
        raise OSError(errno.EMFILE, "told to fail")

    other = FileLocker(tmp_path)
    await other.start()
    held = await other.acquire("a", 0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", no_descriptor)
        with pytest.raises(UploadLocked):
            await locker.acquire("a", 0.1)
    held.request_release("0" * 16)
    await other.close()
    await held.release()
    await (await locker.acquire("a", 0)).release()

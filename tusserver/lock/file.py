"""Locks between the processes of one host: byte-range locks that the kernel holds, in one file.

`<directory>/locks` is never written and never removed. The lock of an upload is one byte of it, at
a 63-bit hash of the id, taken as an open-file-description lock (`F_OFD_SETLK`). The kernel frees it
when the process dies, however it dies; there is no PID that could be reused and no lock file that
could be unlinked under a waiter. Two uploads whose hashes agree would merely wait for each other.

`<directory>/workers/<token>` is the datagram socket of one process. A process that wants a held
upload asks all others to let go of it, and whoever holds it says when it is free; the waiter also
looks by itself now and then, since a killed holder says nothing. Sockets of dead processes refuse
datagrams, and are removed by whoever notices.

Linux only: elsewhere one process works with the memory locker.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import secrets
import socket
import struct
import sys
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

from tusserver.lock.base import LockerUnusable
from tusserver.lock.memory import MemoryLock, MemoryLocker
from tusserver.protocol.errors import StorageUnavailable, UploadLocked

assert sys.platform == "linux", "this module needs the locks of Linux"

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LOOK_AGAIN = 0.05
"""Seconds after which a waiter looks and asks again, in case a datagram was lost or the holder was
killed.
"""
_MAX_DATAGRAM = 4096
_PLEA, _FREED = b"plea", b"freed"
_PROBE_POSITION = 2**63 - 2
_FLOCK = struct.Struct("hhqqi0q")
_TOKEN = re.compile(r"[0-9a-f]{16}")


class FileLock:
    """A lock that this process holds in its own table and in the kernel."""

    __slots__ = ("_local", "_locker", "askers")

    def __init__(self, locker: FileLocker, local: MemoryLock) -> None:
        self._locker = locker
        self._local = local
        self.askers: set[str] = set()

    @property
    def release_requested(self) -> bool:
        """Somebody of this or another process waits for this upload."""
        return self._local.release_requested

    @property
    def is_held(self) -> bool:
        """Always: the kernel takes no lock away from a process that lives."""
        return True

    @property
    def fence(self) -> int:
        """0: such a lock cannot be lost."""
        return 0

    def on_release_request(self, callback: Callable[[], None]) -> None:
        """Calls this once somebody asks for the upload; at once if that has happened already."""
        self._local.on_release_request(callback)

    def request_release(self, asker: str) -> None:
        """The plea of another process, which is told when the lock is free."""
        self.askers.add(asker)
        self._local.request_release()

    async def release(self) -> None:
        """Lets go in the kernel, tells who asked, then hands on inside the process."""
        try:
            self._locker.let_go(self._local.upload_id, self.askers)
        finally:
            self._locker.hand_on(self._local)


class FileLocker:
    """Exclusive locks among all processes that use the same `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._local = MemoryLocker()
        self._held: dict[str, FileLock] = {}
        self._freed: dict[str, asyncio.Event] = {}
        self._token = ""
        self._descriptor = -1
        self._workers = -1
        self._socket: socket.socket | None = None

    async def start(self) -> None:
        """Opens the lock file, proves that the file system keeps locks apart, and listens for
        pleas.
        """
        workers = self._directory / "workers"
        # Not before: a process may have been forked since this object was made.
        self._token = secrets.token_hex(8)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            # Only processes of the same user may ask for uploads.
            workers.mkdir(mode=0o700, exist_ok=True)
            self._descriptor = os.open(
                self._directory / "locks", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            self._prove_locks_work()
            self._workers = os.open(workers, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._listen()
        except OSError as error:
            await self.close()
            raise LockerUnusable(
                f"cannot keep locks in {self._directory}: {error.strerror}"
            ) from error

    def _prove_locks_work(self) -> None:
        """Some network file systems grant every lock to everybody. Raises LockerUnusable on such a
        one.
        """
        if not _lock(self._descriptor, _PROBE_POSITION):
            return  # Another process is proving the same right now: so locks do work.
        other = os.open(self._directory / "locks", os.O_RDWR | os.O_CLOEXEC)
        try:
            if _lock(other, _PROBE_POSITION):
                raise LockerUnusable(
                    f"the file system of {self._directory} does not keep locks apart; "
                    "use one worker with --lock memory"
                )
        finally:
            os.close(other)
            _unlock(self._descriptor, _PROBE_POSITION)

    def _listen(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(self._address(self._token))
        # Whoever may enter the directory may ask: the server's user and, for the commands, root.
        os.chmod(self._token, 0o666, dir_fd=self._workers)
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._hear)
        for name in os.listdir(self._workers):
            self._send(name, b"")

    def _address(self, name: str) -> str:
        # By way of the descriptor, because the address of a unix socket has room for some hundred
        # bytes only.
        return f"/proc/self/fd/{self._workers}/{name}"

    async def close(self) -> None:
        """Stops listening. Locks that are still held are freed by closing the file."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
            with suppress(FileNotFoundError):
                os.unlink(self._token, dir_fd=self._workers)
        for descriptor in (self._descriptor, self._workers):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._workers = -1

    async def try_acquire(self, upload_id: str) -> FileLock | None:
        """The lock if nobody of any process holds it."""
        return self._take(upload_id)

    def _take(self, upload_id: str) -> FileLock | None:
        local = self._local.take(upload_id)
        if local is None:
            return None
        is_ours = False
        try:
            is_ours = self._lock_in_kernel(upload_id)
        finally:
            if not is_ours:
                self._local.free(local)
        return self._hold(local) if is_ours else None

    async def acquire(self, upload_id: str, wait: float) -> FileLock:
        """The lock, after a plea to its holder; raises UploadLocked after `wait` seconds."""
        taken = self._take(upload_id)
        if taken is not None:
            return taken
        deadline = asyncio.get_running_loop().time() + wait
        local = await self._local.acquire(upload_id, wait)
        try:
            await self._wait_for_kernel(upload_id, deadline)
        except BaseException:
            await local.release()
            raise
        return self._hold(local)

    async def _wait_for_kernel(self, upload_id: str, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        freed = self._freed[upload_id] = asyncio.Event()
        try:
            while not self._lock_in_kernel(upload_id):
                if loop.time() >= deadline:
                    raise UploadLocked
                self._tell_others(_PLEA, upload_id)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_AGAIN):
                        await freed.wait()
                freed.clear()
        finally:
            del self._freed[upload_id]

    def _lock_in_kernel(self, upload_id: str) -> bool:
        try:
            return _lock(self._descriptor, _position(upload_id))
        except OSError as error:
            raise StorageUnavailable(f"cannot take the lock: {error.strerror}") from error

    def _hold(self, local: MemoryLock) -> FileLock:
        lock = self._held[local.upload_id] = FileLock(self, local)
        return lock

    def let_go(self, upload_id: str, askers: set[str]) -> None:
        """Frees the lock in the kernel and tells those who asked. Only for the lock's own
        `release`.
        """
        del self._held[upload_id]
        if self._descriptor >= 0:
            _unlock(self._descriptor, _position(upload_id))
        for name in askers:
            self._send(name, b"\0".join((_FREED, upload_id.encode(), self._token.encode())))

    def hand_on(self, local: MemoryLock) -> None:
        """Gives the lock to whoever waits for it in this process. Only for the lock's own
        `release`.
        """
        self._local.free(local)

    def _tell_others(self, kind: bytes, upload_id: str) -> None:
        message = b"\0".join((kind, upload_id.encode(), self._token.encode()))
        # Without a descriptor left nobody can be asked; the waiter looks again by itself.
        with suppress(OSError):
            for name in os.listdir(self._workers):
                if name != self._token:
                    self._send(name, message)

    def _send(self, name: str, message: bytes) -> None:
        if self._socket is None:
            return  # Closed while a lock was still held.
        try:
            self._socket.sendto(message, self._address(name))
        except ConnectionRefusedError:
            # Nobody listens there any more: the process is dead, and its name is never used again.
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._workers)
        except OSError:
            pass  # Busy, just gone, or somebody else's; whoever waits looks again by itself.

    def _hear(self) -> None:
        assert self._socket is not None
        while True:
            try:
                message = self._socket.recv(_MAX_DATAGRAM)
            except BlockingIOError:
                return
            kind, _, rest = message.partition(b"\0")
            upload_id, _, asker = rest.decode("utf-8", "replace").partition("\0")
            if kind == _PLEA and upload_id in self._held and _TOKEN.fullmatch(asker):
                self._held[upload_id].request_release(asker)
            elif kind == _FREED and upload_id in self._freed:
                self._freed[upload_id].set()


@lru_cache(maxsize=256)
def _position(upload_id: str) -> int:
    """The byte that stands for this upload; the uppermost positions are kept free for the probe."""
    return (
        int.from_bytes(blake2b(upload_id.encode(), digest_size=8).digest(), "big") % _PROBE_POSITION
    )


def _lock(descriptor: int, position: int) -> bool:
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK, position))
    except (BlockingIOError, PermissionError):
        return False
    return True


def _unlock(descriptor: int, position: int) -> None:
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK, position))


def _flock(kind: int, position: int) -> bytes:
    # struct flock: type, whence, start, length, pid; the pid must be 0 for this kind of lock.
    return _FLOCK.pack(kind, os.SEEK_SET, position, 1, 0)

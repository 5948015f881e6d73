"""Which upload belongs to which file, kept so that it survives Ctrl-C, a crash and a reboot.

    $XDG_STATE_HOME/tusserver/uploads/
        <key>.json      one upload: its URL, and the fingerprint that its file had
        <key>.N.json    the partial upload of part N, if the file goes in parts
        <key>.lock      held by the process that sends the file

The key is a digest of server, destination and path. Entries are replaced by rename, after fsync, so
there is a whole one or none. The kernel frees the lock of a process that was killed. URLs may be
signed, so nobody else may read them.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tusclient.storage.interface import Storage

from tusserver.client.errors import Busy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tusserver.client.sources import Source

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_KEPT = 30 * 24 * 3600
"""Seconds after which an entry that nobody came back to is removed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One upload. `is_finished`: all bytes have been acknowledged. `starts` is where the parts of
    the file begin, if it goes in parts; then `url` is empty until they are joined.
    """

    url: str
    fingerprint: str
    path: str
    is_finished: bool = False
    starts: tuple[int, ...] = ()


def key_of(creation_url: str, source: Source) -> str:
    """Where the entry of a file stands. Not the fingerprint: then a file that has changed would be
    an unknown one, and two files that begin alike could be one. A signature in the URL does not
    count: the next one is for the same server.
    """
    assert source.path is not None
    server = urlsplit(creation_url)._replace(query="", fragment="").geturl()
    parts = [server, source.destination, source.filename, os.fspath(source.path.absolute())]
    return sha256(json.dumps(parts).encode()).hexdigest()[:40]


def state_folder() -> Path:
    """Where entries are kept, by the XDG base directory specification."""
    given = os.environ.get("XDG_STATE_HOME", "")
    home = Path(given) if given.startswith("/") else Path.home() / ".local" / "state"
    return home / "tusserver" / "uploads"


class UrlStorage(Storage):
    """tuspy's interface, with entries instead of bare URLs. All methods raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._forget_old()

    def get_item(self, key: str) -> Entry | None:
        """None also for an entry that cannot be understood: another version wrote it."""
        try:
            found = json.loads(self._path(key).read_bytes())
            entry = Entry(**{item.name: found[item.name] for item in fields(Entry)})
            return replace(entry, starts=tuple(int(start) for start in entry.starts))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def set_item(self, key: str, value: Entry) -> None:
        temporary = self._folder / f"{key}.{os.getpid()}.tmp"
        with open(temporary, "wb", opener=_private) as file:
            file.write(json.dumps(asdict(value)).encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path(key))
        self._sync()

    def remove_item(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def finish_item(self, key: str) -> None:
        """Notes that all bytes are there; the entry stays until the whole run has succeeded."""
        entry = self.get_item(key)
        if entry is not None:
            self.set_item(key, replace(entry, is_finished=True))

    def remove_url(self, url: str) -> None:
        """Forgets an upload that was cancelled."""
        for path in self._folder.glob("*.json"):
            entry = self.get_item(path.stem)
            if entry is not None and entry.url == url:
                self.remove_item(path.stem)

    @contextmanager
    def locked(self, key: str) -> Iterator[None]:
        """Keeps others, threads of this process too, from sending the same file. Raises Busy."""
        path = self._folder / f"{key}.lock"
        descriptor = _lock(path)
        try:
            yield
        finally:
            # While it is held: whoever opened it meanwhile sees that it has lost its name.
            with suppress(PermissionError):  # Windows keeps what is open.
                path.unlink(missing_ok=True)
            os.close(descriptor)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"

    def _sync(self) -> None:
        if sys.platform == "win32":
            return  # Folders cannot be opened there.
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _forget_old(self) -> None:
        before = time.time() - _KEPT
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):
                if path.suffix != ".lock" and path.stat().st_mtime < before:
                    path.unlink()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _lock(path: Path) -> int:
    """The descriptor of the lock. Raises Busy."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _take(descriptor)
            if _is_named(descriptor, path):
                return descriptor
        except (BlockingIOError, PermissionError) as error:
            os.close(descriptor)
            raise Busy("another process is sending this file") from error
        os.close(descriptor)


def _take(descriptor: int) -> None:
    """Raises BlockingIOError, on Windows PermissionError, if somebody else has it."""
    if sys.platform == "win32":
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_named(descriptor: int, path: Path) -> bool:
    """Whether the lock is still the file of that name: its last holder removes it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False

"""What a directory of uploads, or of parts that wait, needs of its file system.

Files are made where the store makes its own temporary ones, and under such names: if the check
dies, the sweeper of any server removes them.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tusserver.checking.base import Check, Found, Lacking, Section
from tusserver.store import direct_io, filesystem
from tusserver.store.base import StoreUnusable
from tusserver.store.direct_io import DirectIO

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tusserver.store.file_layout import Layout

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
FAILURES = (OSError, StoreUnusable)
_OWNER, MAKE = "made by its owner", "make the directory"
_PIECE = b"some bytes of an upload\n" * 1000


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that have to be free for any upload to be taken, and of the longest one; None: nobody
    has said.
    """

    least: int | None
    longest: int | None


def upload_section(layout: Layout, wish: DirectIO, room: Room, *more: Check) -> Section:
    """The directory of a file store, and what else is tried in it."""
    files = DirectoryChecks(layout, wish, room)
    return Section(f"Uploads in {layout.root}", (*files.checks(), *more), FAILURES, explain)


def waiting_section(directory: Path, *more: Check) -> Section:
    """The directory where parts wait that have no place in memory, and what else is tried in it."""

    def make() -> Found:
        os.makedirs(directory, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(_PIECE)
        return Found()

    def look_for_room() -> Found:
        return Found(f"{readable(filesystem.free_bytes(directory))} free")

    checks = (
        Check(_OWNER, in_thread(lambda: owned(directory))),
        Check(MAKE, in_thread(make), after=(_OWNER,)),
        Check("room", in_thread(look_for_room), is_needed=False, after=(MAKE,)),
    )
    return Section(f"Parts that wait in {directory}", (*checks, *more), FAILURES, explain)


def explain(error: Exception) -> Lacking:
    """What an error of the file system means for the operator."""
    if not isinstance(error, OSError):
        return Lacking(str(error))
    where = f" ({error.filename})" if error.filename else ""
    advice = "see owner and permissions of the directory, and how its file system is mounted"
    return Lacking(f"{error.strerror or error}{where}", advice)


def in_thread(work: Callable[[], Found]) -> Callable[[], Awaitable[Found]]:
    """The same without holding up the event loop."""

    async def run() -> Found:
        return await asyncio.to_thread(work)

    return run


def readable(size: int) -> str:
    """A number of bytes for a person."""
    power = min(max(size.bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    return f"{size / 2 ** (10 * power):.{min(power, 1)}f} {_UNITS[power]}"


def owned(directory: Path) -> Found:
    """Raises Lacking if what is made by this user would be in the way of the server's."""
    if sys.platform == "win32" or not directory.exists():
        return Found("it is not there yet")
    owner = directory.stat().st_uid
    if owner == os.geteuid() or os.geteuid() != 0:
        return Found()
    name = _name_of(owner)
    text, advice = (
        f"it belongs to {name}, and this is root",
        f"runuser -u {name} -- tusserver check …",
    )
    if not (directory / ".tusserver" / "locks").exists():
        raise Lacking(f"{text}, whose files the server could not open", advice)
    return Found(f"{text}, who may do everything", advice, is_note=True)


def _name_of(user: int) -> str:
    if sys.platform == "win32":
        return str(user)
    import pwd

    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


class DirectoryChecks:
    """The directory of a file store."""

    def __init__(self, layout: Layout, wish: DirectIO, room: Room) -> None:
        self._layout = layout
        self._wish = wish
        self._room = room

    def checks(self) -> tuple[Check, ...]:
        """In the order in which they build on each other."""
        made = (MAKE,)
        owner = in_thread(lambda: owned(self._layout.root))
        return (
            Check(_OWNER, owner),
            Check(MAKE, in_thread(self._make), after=(_OWNER,)),
            Check("write and sync a file", in_thread(self._write), after=made),
            Check("replace a file at one stroke", in_thread(self._replace), after=made),
            Check("write past the page cache", in_thread(self._write_directly), after=made),
            Check("share bytes of files", in_thread(self._share), is_needed=False, after=made),
            Check("room", in_thread(self._look_for_room), after=made),
        )

    def _make(self) -> Found:
        self._layout.make_directories()
        return Found()

    def _temporary(self) -> str:
        return self._layout.new_temporary("check")

    def _write(self) -> Found:
        path = self._temporary()
        descriptor = filesystem.open_file(path, self._layout.file_mode, create=True)
        try:
            started = time.monotonic()
            end = filesystem.write_at(descriptor, [_PIECE], 0)
            filesystem.write_at(descriptor, [b"to be cut off"], end)
            os.ftruncate(descriptor, end)
            filesystem.sync_data(descriptor)
            filesystem.sync_directory(self._layout.temporary)
            took = time.monotonic() - started
            if filesystem.read_at(descriptor, end + 1, 0) != _PIECE:
                raise Lacking("other bytes came back than were written", _NO_DISK)
        finally:
            os.close(descriptor)
            filesystem.remove(path)
        return Found(f"in {took * 1000:.1f} ms")

    def _replace(self) -> Found:
        path, durable = self._temporary(), self._layout.durable
        try:
            for content in (b"former", b"present"):
                beside = self._temporary()
                mode = self._layout.file_mode
                filesystem.replace_file(path, content, beside, mode, durable=durable)
            if filesystem.read_file(path) != b"present":
                raise Lacking("the former content is still there", _NO_DISK)
        finally:
            filesystem.remove(path)
        return Found()

    def _write_directly(self) -> Found:
        if self._wish is DirectIO.OFF:
            return Found("not asked for (--direct-io off)")
        settled = direct_io.settle(self._wish, self._layout)
        if settled is DirectIO.OFF:
            return Found("not done: this file system does not lie on a disk of its own")
        return Found(f"as --direct-io {self._wish.value} asks for")

    def _share(self) -> Found:
        if filesystem.can_clone(self._temporary()):
            return Found("uploads are joined without copying")
        return Found("not here: uploads are joined by copying")

    def _look_for_room(self) -> Found:
        free, room = filesystem.free_bytes(self._layout.root), self._room
        text = f"{readable(free)} free"
        if room.least is not None and free < room.least:
            wanted = readable(room.least)
            raise Lacking(f"{text}, and --min-free-space is {wanted}", "no upload would be taken")
        if room.longest is not None and free < room.longest:
            advice = f"an upload of --max-size, {readable(room.longest)}, has no room"
            return Found(text, advice, is_note=True)
        return Found(text)


_NO_DISK = "this is no file system that uploads can be kept on"

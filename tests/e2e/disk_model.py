"""What a program has asked of a disk, call by call, and when each of it became certain.

It is read from the calls that `syscalls` has recorded. A call whose effect is not told here is an
error, so that nothing goes unseen.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tests.e2e.syscalls import Call

MARK = "mark:"
"""How the traced program tells what it knows: it reads a link of this name that is not there."""


@dataclass(eq=False)
class Node:
    """A file or directory, whatever its names are."""

    syncs: list[tuple[int, int]] = field(default_factory=list)

    def synced_until(self, moment: int) -> int:
        """Changes that had ended before this are on the disk at `moment`."""
        return max((begun for begun, done in self.syncs if done <= moment), default=-1)


@dataclass(eq=False)
class Entry:
    """A name in a directory now stands for this, or for nothing."""

    name: str
    node: Node | None
    begun: int
    done: int


@dataclass(eq=False)
class Write:
    """Bytes at an offset."""

    offset: int
    data: bytes
    begun: int
    done: int


@dataclass(eq=False)
class Resize:
    """A new size."""

    size: int
    begun: int
    done: int


Change = Entry | Write | Resize


@dataclass(eq=False)
class Directory(Node):
    changes: list[Entry] = field(default_factory=list)
    now: dict[str, Node] = field(default_factory=dict)


@dataclass(eq=False)
class File(Node):
    changes: list[Write | Resize] = field(default_factory=list)
    now: bytearray = field(default_factory=bytearray)
    bases: dict[int, bytes] = field(default_factory=dict)
    """The content after the first so many changes."""

    def base(self, count: int) -> bytes:
        if count not in self.bases:
            content = bytearray(self.base(count - 1)) if count else bytearray()
            if count:
                apply(content, self.changes[count - 1])
            self.bases[count] = bytes(content)
        return self.bases[count]


def apply(content: bytearray, change: Write | Resize) -> None:
    """As the running system sees it."""
    if isinstance(change, Resize):
        resize(content, change.size)
    else:
        resize(content, max(len(content), change.offset))
        content[change.offset : change.offset + len(change.data)] = change.data


def resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


@dataclass(frozen=True)
class Mark:
    """Something that the traced program had come to know at this moment."""

    moment: int
    says: dict[str, Any]


class Unmodelled(Exception):
    """A call whose effect on a disk is not told here yet."""


class Disk:
    """Everything that calls have done below `base`, which is taken to be there, and empty."""

    def __init__(self, base: Path, calls: Iterable[Call]) -> None:
        self.root = Directory()
        self.marks: list[Mark] = []
        self.moments: list[int] = []
        """When something had been asked for or had come to an end, in order."""
        self.syncs: list[int] = []
        """When a sync had come to its end, and something became certain."""
        self._base = str(base)
        self._open: dict[int, Node] = {}
        self._in_flight: dict[int, Node | None] = {}
        self._submitted: dict[tuple[str, int], tuple[Node | None, int]] = {}
        moments = [(moment, call) for call in calls for moment in {call.begun, call.done}]
        for moment, call in sorted(moments, key=lambda item: item[0]):
            if moment == call.begun:
                self._begin(call)
            if moment == call.done:
                self._end(call)
        self.moments = sorted(set(self.moments))

    def _begin(self, call: Call) -> None:
        """A descriptor is looked up when a call begins: it may be closed before the call ends."""
        first = call.arguments[0] if call.arguments else ""
        descriptor = int(first) if first.isdecimal() else -1
        self._in_flight[call.done] = self._open.get(descriptor)
        if call.name == "close" and call.result == 0:
            self._open.pop(descriptor, None)

    def _end(self, call: Call) -> None:
        node = self._in_flight.pop(call.done)
        if call.result < 0 and not call.name.startswith("readlink"):
            return
        if call.name in _ON_DESCRIPTORS:
            if node is not None:
                _ON_DESCRIPTORS[call.name](self, call, node)
                self.moments += [call.begun, call.done]
        elif call.name in _ON_PATHS:
            _ON_PATHS[call.name](self, call)
        elif call.name != "close":
            raise Unmodelled(call)

    # Paths.

    def _path(self, call: Call, index: int, at: int | None = None) -> str | None:
        """A path relative to the base; None if it lies elsewhere."""
        path = call.text(index)
        if at is not None and call.arguments[at] != "AT_FDCWD" and not path.startswith("/"):
            if call.number(at) in self._open:
                raise Unmodelled(call)
            return None
        if path != self._base and not path.startswith(self._base + "/"):
            return None
        return os.path.relpath(path, self._base)

    def _find(self, path: str) -> Node | None:
        node: Node | None = self.root
        for name in path.split("/"):
            if name != ".":
                node = node.now.get(name) if isinstance(node, Directory) else None
        return node

    def _parent(self, path: str) -> Directory:
        parent = self._find(os.path.dirname(path) or ".")
        assert isinstance(parent, Directory), path
        return parent

    def _set(self, path: str, node: Node | None, call: Call) -> None:
        parent, name = self._parent(path), os.path.basename(path)
        parent.changes.append(Entry(name, node, call.begun, call.done))
        if node is None:
            del parent.now[name]
        else:
            parent.now[name] = node
        self.moments += [call.begun, call.done]

    def _opened(self, call: Call) -> None:
        path = self._path(call, 1, 0)
        if path is None:
            return
        node = self._find(path)
        if node is None:
            assert call.has_flag(2, "O_CREAT"), path
            node = File()
            self._set(path, node, call)
        elif call.has_flag(2, "O_TRUNC"):
            assert isinstance(node, File)
            self._change(node, Resize(0, call.begun, call.done))
        self._open[call.result] = node

    def _renamed(self, call: Call, old: str | None, new: str | None) -> None:
        if old is None and new is None:
            return
        if old is None or new is None:
            raise Unmodelled(call)
        node = self._find(old)
        assert node is not None, old
        self._set(old, None, call)
        self._set(new, node, call)

    def _removed(self, call: Call, path: str | None) -> None:
        if path is not None:
            self._set(path, None, call)

    def _made_directory(self, call: Call, path: str | None) -> None:
        # The base itself is taken for granted.
        if path is not None and path != ".":
            self._set(path, Directory(), call)

    def _linked(self, call: Call) -> None:
        if any(
            self._base.encode().hex() in argument.replace("\\x", "") for argument in call.arguments
        ):
            raise Unmodelled(call)

    def _marked(self, call: Call, path: str) -> None:
        if path.startswith(MARK):
            self.marks.append(Mark(call.done, json.loads(path.removeprefix(MARK))))
            self.moments.append(call.done)

    # Descriptors.

    def _change(self, node: Node, change: Write | Resize) -> None:
        assert isinstance(node, File)
        node.changes.append(change)
        apply(node.now, change)

    def _wrote(self, call: Call, node: Node, *, offset: int) -> None:
        data = call.data(1)[: call.result]
        self._change(node, Write(call.number(offset), data, call.begun, call.done))

    def _copied(self, call: Call, source: Node) -> None:
        target, start = self._open[call.number(2)], call.number(1)
        assert isinstance(source, File)
        data = bytes(source.now[start : start + call.result])
        self._change(target, Write(call.number(3), data, call.begun, call.done))

    def _controlled(self, call: Call, node: Node) -> None:
        """A range that shares its extents with that of another file is like a copy of it."""
        if "CLONE" not in call.arguments[1]:
            return
        source, start, length, offset = map(int, re.findall(r"=(\d+)", call.arguments[2]))
        file = self._open[source]
        assert isinstance(file, File)
        data = bytes(file.now[start : start + length])
        self._change(node, Write(offset, data, call.begun, call.done))

    def _duplicated(self, call: Call, node: Node) -> None:
        if call.name != "fcntl" or "F_DUPFD" in call.arguments[1]:
            self._open[call.result] = node

    def _reserved(self, call: Call, node: Node) -> None:
        """Nothing can be seen of room that is set aside."""
        if "KEEP_SIZE" not in call.arguments[1]:
            raise Unmodelled(call)

    def _synced(self, call: Call, node: Node) -> None:
        node.syncs.append((call.begun, call.done))
        self.syncs.append(call.done)

    # Asynchronous syncs: begun with one call, told of by another one.

    def _submit(self, call: Call) -> None:
        for data, operation, descriptor in _REQUEST.findall(call.arguments[2])[: call.result]:
            if operation not in ("FSYNC", "FDSYNC"):
                raise Unmodelled(call)
            key = call.arguments[0], int(data, 0)
            self._submitted[key] = self._open.get(int(descriptor)), call.begun

    def _reap(self, call: Call) -> None:
        for data, result in _EVENT.findall(call.arguments[3]):
            node, begun = self._submitted.pop((call.arguments[0], int(data, 0)))
            if node is not None and result == "0":
                node.syncs.append((begun, call.done))
                self.syncs.append(call.done)
                self.moments += [begun, call.done]

    def _not_told(self, call: Call, node: Node) -> None:
        raise Unmodelled(call)


_REQUEST = re.compile(r"aio_data=(\w+), aio_lio_opcode=IOCB_CMD_(\w+), aio_fildes=(\d+)")
_EVENT = re.compile(r"data=(\w+), obj=\w+, res=(-?\d+)")
_ON_PATHS: dict[str, Callable[[Disk, Call], None]] = {
    "openat": Disk._opened,
    "rename": lambda disk, call: disk._renamed(call, disk._path(call, 0), disk._path(call, 1)),
    "renameat": lambda disk, call: disk._renamed(
        call, disk._path(call, 1, 0), disk._path(call, 3, 2)
    ),
    "renameat2": lambda disk, call: disk._renamed(
        call, disk._path(call, 1, 0), disk._path(call, 3, 2)
    ),
    "unlink": lambda disk, call: disk._removed(call, disk._path(call, 0)),
    "rmdir": lambda disk, call: disk._removed(call, disk._path(call, 0)),
    "unlinkat": lambda disk, call: disk._removed(call, disk._path(call, 1, 0)),
    "mkdir": lambda disk, call: disk._made_directory(call, disk._path(call, 0)),
    "mkdirat": lambda disk, call: disk._made_directory(call, disk._path(call, 1, 0)),
    **dict.fromkeys(("creat", "truncate", "link", "linkat", "symlink", "symlinkat"), Disk._linked),
    "readlink": lambda disk, call: disk._marked(call, call.text(0)),
    "io_submit": Disk._submit,
    "io_getevents": Disk._reap,
    "readlinkat": lambda disk, call: disk._marked(call, call.text(1)),
}
_ON_DESCRIPTORS: dict[str, Callable[[Disk, Call, Node], None]] = {
    "pwrite64": lambda disk, call, node: disk._wrote(call, node, offset=3),
    "pwritev": lambda disk, call, node: disk._wrote(call, node, offset=3),
    "pwritev2": lambda disk, call, node: disk._wrote(call, node, offset=3),
    "ftruncate": lambda disk, call, node: disk._change(
        node, Resize(call.number(1), call.begun, call.done)
    ),
    "copy_file_range": Disk._copied,
    "fallocate": Disk._reserved,
    "ioctl": Disk._controlled,
    "fsync": Disk._synced,
    "fdatasync": Disk._synced,
    "dup": Disk._duplicated,
    "dup2": Disk._duplicated,
    "dup3": Disk._duplicated,
    "fcntl": Disk._duplicated,
    **dict.fromkeys(
        ("write", "writev", "sendfile", "splice", "syncfs", "sync_file_range"),
        Disk._not_told,
    ),
}

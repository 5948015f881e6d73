"""Syncs of several files and directories at once, done by workers of the Linux kernel.

A sync is all waiting. A thread of ours that waits for one has to be woken afterwards and to fight
for the interpreter, which costs more than the sync of a small file. Linux takes syncs as
asynchronous I/O (`io_submit`), does them side by side, and tells of their ends through a descriptor
that the event loop can wait for. The C library has no functions for these calls, only numbers.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import platform
import select
import struct
import sys
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from tusserver.store import filesystem
from tusserver.store.disk_syncs import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_SLOTS = 128
"""Syncs that may be under way at the same time; more wait for their turn."""
_PROBE_WAIT = 30_000
"""Milliseconds."""
_FSYNC, _FDSYNC = 2, 3
_TELL_BY_EVENT = 1
_REQUEST = struct.Struct("=QIiHhIQQqQII")
"""struct iocb: data, key, flags; operation, priority, descriptor; buffer, bytes, offset, reserved;
flags, event descriptor.
"""
_EVENT = struct.Struct("=QQqq")
"""struct io_event: data, request, result, second result."""


class _Numbers(NamedTuple):
    """Of the system calls."""

    setup: int
    destroy: int
    getevents: int
    submit: int


_NUMBERS = {"x86_64": _Numbers(206, 207, 208, 209), "aarch64": _Numbers(0, 1, 4, 2)}


class _Batch:
    """What has become of the jobs of one call."""

    __slots__ = ("done", "found", "left")

    def __init__(self, size: int, loop: asyncio.AbstractEventLoop) -> None:
        self.found: list[OSError | None] = [None] * size
        self.left = size
        self.done: asyncio.Future[list[OSError | None]] = loop.create_future()

    def end(self, index: int, code: int) -> None:
        """One job has ended with this number of an error, or 0."""
        if code:
            self.found[index] = OSError(code, os.strerror(code))
        self.left -= 1
        if self.left == 0 and not self.done.done():
            self.done.set_result(self.found)


class KernelSyncs:
    """Syncs for the event loop on which `open` was called."""

    def __init__(self, numbers: _Numbers, context: int) -> None:
        self._numbers = numbers
        self._context = context
        self._event = _new_event()
        self._requests = ctypes.create_string_buffer(_REQUEST.size * _SLOTS)
        self._address = ctypes.addressof(self._requests)
        self._pointers = (ctypes.c_uint64 * _SLOTS)()
        self._events = ctypes.create_string_buffer(_EVENT.size * _SLOTS)
        self._free = list(range(_SLOTS))
        self._under_way: dict[int, tuple[_Batch, int]] = {}
        self._waiting: deque[tuple[Job, _Batch, int]] = deque()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._event, self._reap)

    @classmethod
    def open(cls, directory: Path) -> KernelSyncs | None:
        """None where the system has no such thing, or does not let us, or not for files on the file
        system of this directory.
        """
        numbers = _NUMBERS.get(platform.machine())
        if sys.platform != "linux" or numbers is None or ctypes.sizeof(ctypes.c_void_p) != 8:
            return None
        context = ctypes.c_ulong(0)
        if _call(numbers.setup, _SLOTS, ctypes.addressof(context)) < 0:
            return None
        syncs = cls(numbers, context.value)
        if syncs._works(directory):
            return syncs
        syncs.close()
        return None

    def _works(self, directory: Path) -> bool:
        """Older kernels and some sandboxes know asynchronous I/O, but not for syncs."""
        descriptor = filesystem.open_directory(directory)
        try:
            probe = self.all([Job(descriptor)])
            if not probe.done():
                _await_event(self._event)
                self._reap()
            return probe.done() and probe.result() == [None]
        finally:
            os.close(descriptor)

    def all(self, jobs: Sequence[Job]) -> asyncio.Future[list[OSError | None]]:
        """As DiskSyncs says."""
        batch = _Batch(len(jobs), self._loop)
        self._waiting.extend((job, batch, index) for index, job in enumerate(jobs))
        self._submit()
        return batch.done

    def _submit(self) -> None:
        """Hands over what waits, as far as there is room."""
        slots: list[int] = []
        while self._waiting and self._free:
            job, batch, index = self._waiting.popleft()
            slot = self._free.pop()
            self._under_way[slot] = batch, index
            operation = _FDSYNC if job.is_data_only else _FSYNC
            start = slot * _REQUEST.size
            _REQUEST.pack_into(
                self._requests, start, slot, 0, 0, operation, 0, job.descriptor, 0, 0, 0, 0,
                _TELL_BY_EVENT, self._event,
            )  # fmt: skip
            self._pointers[len(slots)] = self._address + start
            slots.append(slot)
        first = 0
        while first < len(slots):
            pointers = ctypes.addressof(self._pointers) + first * ctypes.sizeof(ctypes.c_uint64)
            taken = _call(self._numbers.submit, self._context, len(slots) - first, pointers)
            if taken < 0:
                # That of the first one; the others have not been looked at.
                self._end(slots[first], ctypes.get_errno() or errno.EIO)
            first += max(taken, 1)

    def _end(self, slot: int, code: int) -> None:
        self._free.append(slot)
        batch, index = self._under_way.pop(slot)
        batch.end(index, code)

    def _reap(self) -> None:
        """Some have ended."""
        with suppress(BlockingIOError):
            os.read(self._event, 8)
        found = _call(
            self._numbers.getevents, self._context, 0, _SLOTS, ctypes.addressof(self._events)
        )
        for number in range(found):
            slot, _, result, _ = _EVENT.unpack_from(self._events, number * _EVENT.size)
            self._end(slot, -result)
        if self._waiting:
            self._submit()

    def close(self) -> None:
        """As DiskSyncs says."""
        self._loop.remove_reader(self._event)
        # Waits for the end of what is under way.
        _call(self._numbers.destroy, self._context)
        os.close(self._event)


def _find_syscall() -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    syscall.argtypes = (ctypes.c_long, *(ctypes.c_ulong,) * 5)
    return syscall


_syscall = _find_syscall()


def _call(number: int, *arguments: int) -> int:
    """A system call; -1 for an error, whose number ctypes keeps."""
    assert _syscall is not None
    return _syscall(number, *arguments, *(0,) * (5 - len(arguments)))


def _new_event() -> int:
    """A descriptor that is told of ends."""
    if sys.platform != "linux":
        raise NotImplementedError
    return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)


def _await_event(event: int) -> None:
    """Blocks until something has ended, or for long enough."""
    if sys.platform != "linux":
        raise NotImplementedError
    waiting = select.poll()
    waiting.register(event, select.POLLIN)
    waiting.poll(_PROBE_WAIT)

"""Large buffers that are used again and again, and begin at a page."""

from __future__ import annotations

import mmap
import sys
import time
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

IDLE = 10.0
"""Seconds after which a buffer that nobody needed is given back to the system."""


class BufferPool:
    """As many buffers as are in use at the same time, by any threads, or were a moment ago; memory
    is taken only as far as they are ever filled.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        # The one that was used last is still in the caches of the processor.
        self._free: deque[tuple[float, memoryview]] = deque()

    @contextmanager
    def lease(self) -> Iterator[memoryview]:
        """A buffer for the time of the context; what is in it is left over from others."""
        try:
            _, buffer = self._free.pop()
        except IndexError:
            buffer = self._new()
        try:
            yield buffer
        finally:
            self._give_back(buffer)

    def _give_back(self, buffer: memoryview) -> None:
        now = time.monotonic()
        self._free.append((now, buffer))
        # Of a burst of uploads only the first in the row are still needed when it is over.
        with suppress(IndexError):
            longest = self._free.popleft()
            if now - longest[0] < IDLE:
                self._free.appendleft(longest)

    def _new(self) -> memoryview:
        memory = mmap.mmap(-1, self._size)
        if sys.platform == "linux":
            # One large page instead of hundreds, each of which a disk would have to be told.
            memory.madvise(mmap.MADV_HUGEPAGE)
        return memoryview(memory)

"""Large buffers that are used again and again, and begin at a page."""

from __future__ import annotations

import mmap
import sys
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class BufferPool:
    """As many buffers as are in use at the same time at most, by any threads; memory is taken only
    as far as they are ever filled.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        # The one that was used last is still in the caches of the processor.
        self._free: deque[memoryview] = deque()

    @contextmanager
    def lease(self) -> Iterator[memoryview]:
        """A buffer for the time of the context; what is in it is left over from others."""
        try:
            buffer = self._free.pop()
        except IndexError:
            buffer = self._new()
        try:
            yield buffer
        finally:
            self._free.append(buffer)

    def _new(self) -> memoryview:
        memory = mmap.mmap(-1, self._size)
        if sys.platform == "linux":
            # One large page instead of hundreds, each of which a disk would have to be told.
            memory.madvise(mmap.MADV_HUGEPAGE)
        return memoryview(memory)

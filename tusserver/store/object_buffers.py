"""Where the bytes of a part are gathered until it is sent: in memory as long as there is enough of
it, else in a file without a name.
"""

from __future__ import annotations

import os
import tempfile
from typing import IO, TYPE_CHECKING

from tusserver.store.filesystem import storage_errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_STEP = 256 * 1024


class PartMemory:
    """Memory that all parts of one process share, `size` bytes of it. It is used again and again,
    since new memory costs as much time as filling it.
    """

    def __init__(self, size: int) -> None:
        self._free = size
        self._idle: dict[int, list[bytearray]] = {}

    def lease(self, size: int) -> bytearray | None:
        """So many bytes with any content, if they are left."""
        idle = self._idle.get(size)
        if idle:
            return idle.pop()
        while size > self._free and self._drop_idle():
            pass
        if size > self._free:
            return None
        self._free -= size
        return bytearray(size)

    def _drop_idle(self) -> bool:
        for idle in self._idle.values():
            if idle:
                self._free += len(idle.pop())
                return True
        return False

    def give_back(self, memory: bytearray) -> None:
        """After `lease`."""
        self._idle.setdefault(len(memory), []).append(memory)


class PartBuffer:
    """Room for one part of `size` bytes, the first `front` of which come last, by `fill_front`.

    `filled` is where the next byte goes. It must be closed.
    """

    def __init__(self, memory: PartMemory, spool_dir: str | None, size: int, front: int) -> None:
        """Raises StorageFull or StorageFailed if there is neither memory nor room for a file."""
        self._shared = memory
        self.size, self.front, self.filled = size, front, front
        self._memory = memory.lease(size)
        self._file: IO[bytes] | None = None
        if self._memory is None:
            with storage_errors():
                self._file = tempfile.TemporaryFile(buffering=0, dir=spool_dir)  # noqa: SIM115

    @property
    def is_full(self) -> bool:
        """No byte more goes in."""
        return self.filled == self.size

    def write(self, data: memoryview) -> int:
        """Takes as many of these bytes as there is room for, and says how many. Raises StorageFull,
        StorageFailed.
        """
        taken = min(len(data), self.size - self.filled)
        self._put(data[:taken], self.filled)
        self.filled += taken
        return taken

    def fill_front(self, data: bytes, position: int) -> None:
        """Bytes of the front."""
        self._put(memoryview(data), position)

    def _put(self, data: memoryview, position: int) -> None:
        if self._memory is not None:
            self._memory[position : position + len(data)] = data
            return
        assert self._file is not None
        with storage_errors():
            self._file.seek(position)
            while data:
                data = data[self._file.write(data) :]

    def get(self, start: int, end: int) -> bytes:
        """The bytes [start, end)."""
        if self._memory is not None:
            return bytes(memoryview(self._memory)[start:end])
        assert self._file is not None
        with storage_errors():
            self._file.seek(start)
            return self._file.read(end - start)

    def view(self, start: int, end: int) -> memoryview:
        """The same without a copy where there is none to be made."""
        if self._memory is not None:
            return memoryview(self._memory)[start:end]
        return memoryview(self.get(start, end))

    def span(self, start: int = 0) -> Span:
        """The bytes from here to the last one, to be sent."""
        return Span(self, start, self.filled)

    def close(self) -> None:
        """Gives memory or file back; may be called again."""
        if self._memory is not None:
            self._shared.give_back(self._memory)
            self._memory = None
        if self._file is not None:
            self._file.close()
            self._file = None


class Span:
    """Some bytes of a part as clients of a service take them: they can be sent again from the
    beginning, and are never copied as a whole.
    """

    def __init__(self, part: PartBuffer, start: int, end: int) -> None:
        self._part = part
        self._start, self._end = start, end
        self._position = start

    def __len__(self) -> int:
        return self._end - self._start

    def feed(self, update: Callable[[memoryview], None]) -> None:
        """Hands all bytes to this, in order; for a thread."""
        for start in range(self._start, self._end, _STEP):
            update(self._part.view(start, min(start + _STEP, self._end)))

    def read(self, size: int = -1) -> bytes:
        end = self._end if size < 0 else min(self._position + size, self._end)
        data = self._part.get(self._position, end)
        self._position = end
        return data

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: self._start, os.SEEK_CUR: self._position, os.SEEK_END: self._end}
        self._position = base[whence] + position
        return self.tell()

    def tell(self) -> int:
        return self._position - self._start

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        while self._position < self._end:
            end = min(self._position + _STEP, self._end)
            data = self._part.view(self._position, end)
            self._position = end
            yield data

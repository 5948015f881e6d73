"""A file on its way: opened once, watched for changes, read block by block."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tusserver.client.errors import FileChanged, Unreadable
from tusserver.client.fingerprint import FileFingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from tusserver.client.stopping import Stop

BLOCK = 256 * 1024
"""Bytes that are read and handed to the kernel at once: all of a file that is ever in memory."""


class OpenFile:
    """A file as it was when it was opened."""

    def __init__(self, path: Path) -> None:
        """Raises Unreadable."""
        try:
            self._stream = open(path, "rb")  # noqa: SIM115 - closed by __exit__
            self._status = os.fstat(self._stream.fileno())
            self.fingerprint = FileFingerprint().get_fingerprint(self._stream)
        except OSError as error:
            raise Unreadable(f"cannot read it: {error.strerror}") from error
        self.size = self._status.st_size
        self._mutex = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()

    def read(self, position: int, size: int) -> bytes:
        """At least one byte; several threads may read at once. Raises FileChanged if there is none,
        Unreadable.
        """
        try:
            block = self._read(position, size)
        except OSError as error:
            # Not to be taken for an error of the connection.
            raise Unreadable(f"cannot read it: {error.strerror}") from error
        if not block:
            raise FileChanged("it has become shorter while it was being sent")
        return block

    def _read(self, position: int, size: int) -> bytes:
        if sys.platform != "win32":
            return os.pread(self._stream.fileno(), size, position)
        with self._mutex:
            self._stream.seek(position)
            return self._stream.read(size)

    def check(self) -> None:
        """Raises FileChanged if somebody has written to it since it was opened."""
        now = os.fstat(self._stream.fileno())
        if (now.st_size, now.st_mtime_ns) != (self._status.st_size, self._status.st_mtime_ns):
            raise FileChanged("it was changed while it was being sent")

    def blocks(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes [start, end)."""
        while start < end:
            block = self.read(start, min(BLOCK, end - start))
            start += len(block)
            yield block


@dataclass(frozen=True, slots=True)
class FileBody:
    """The bytes [start, end) of a file as the body of a request, with a length for its header.

    `report` hears how far it is, in bytes of the file, when a block has gone.
    """

    file: OpenFile
    start: int
    end: int
    stop: Stop
    report: Callable[[int], None]

    def __len__(self) -> int:
        return self.end - self.start

    def __iter__(self) -> Iterator[bytes]:
        """Raises FileChanged before the last block of the file rather than let the server have a
        mixture of two versions.
        """
        position = self.start
        for block in self.file.blocks(self.start, self.end):
            self.stop.check()
            if position + len(block) >= self.file.size:
                self.file.check()
            yield block
            position += len(block)
            self.report(position)

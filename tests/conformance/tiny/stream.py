"""Bytes off a socket: heads, bodies of known length, and chunked ones."""

from __future__ import annotations

import re
import select
import time
from typing import TYPE_CHECKING

from tests.conformance.tiny.messages import Broken, Refused

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

_PIECE = 256 * 1024
_POLL = 0.02


class Stream:
    """What has come and not been taken. Silence of more than `idle` seconds ends it."""

    def __init__(self, raw: socket.socket, *, idle: float) -> None:
        self._socket = raw
        self._idle = idle
        self.buffer = b""

    def more(self, is_stopped: Callable[[], bool] = lambda: False) -> None:
        """Waits for bytes. Raises Broken at the end, on silence, and when it is stopped."""
        deadline = time.monotonic() + self._idle
        while not select.select([self._socket], [], [], _POLL)[0]:
            if is_stopped() or time.monotonic() > deadline:
                raise Broken
        if is_stopped():
            raise Broken
        try:
            data = self._socket.recv(_PIECE)
        except OSError as error:
            raise Broken from error
        if not data:
            raise Broken
        self.buffer += data

    def head(self, largest: int) -> bytes | None:
        """The next head without its end; None when the client closes before one. Raises Refused."""
        while True:
            self.buffer = self.buffer.lstrip(b"\r\n") if self.buffer[:1] in b"\r\n" else self.buffer
            head, end, rest = self.buffer.partition(b"\r\n\r\n")
            if len(head) > largest:
                raise Refused(431, "Too large a head.", closes=True)
            if end:
                break
            if re.search(rb"[^\r]\n", head):
                raise Refused(400, "A line ends without CR.", closes=True)
            try:
                self.more()
            except Broken:
                return None
        if re.search(rb"\r(?!\n)|(?<!\r)\n|\0", head):
            raise Refused(400, "A stray CR, LF or NUL.", closes=True)
        self.buffer = rest
        return head

    def line(self, is_stopped: Callable[[], bool]) -> bytes:
        """Up to CRLF. Raises Refused for a line that goes on and on, or ends in LF alone."""
        while b"\n" not in self.buffer:
            if len(self.buffer) > 8192:
                raise Refused(400, "A line without an end.", closes=True)
            self.more(is_stopped)
        line, _, self.buffer = self.buffer.partition(b"\n")
        if not line.endswith(b"\r"):
            raise Refused(400, "A line ends without CR.", closes=True)
        return line[:-1]

    def some(self, most: int, is_stopped: Callable[[], bool]) -> bytes:
        """At least one byte, and no more than so many."""
        if not self.buffer:
            self.more(is_stopped)
        taken, self.buffer = self.buffer[:most], self.buffer[most:]
        return taken


class StreamBody:
    """A body that is read while it comes; `before_first` is called before the first read."""

    def __init__(self, stream: Stream, length: int | None) -> None:
        self.stream = stream
        self.length = length
        self.trailers: list[tuple[str, str]] = []
        self.is_done = length == 0
        self.before_first: Callable[[], None] | None = None
        self._is_stopped = False

    def stop(self) -> None:
        self._is_stopped = True

    def is_stopped(self) -> bool:
        return self._is_stopped

    def read(self) -> bytes:
        if self.is_done:
            return b""
        if self._is_stopped:
            raise Broken
        if self.before_first is not None:
            self.before_first()
            self.before_first = None
        return self.piece()

    def piece(self) -> bytes:
        raise NotImplementedError


class LengthBody(StreamBody):
    """As many bytes as Content-Length says; none without it."""

    def __init__(self, stream: Stream, lengths: list[str]) -> None:
        super().__init__(stream, int(lengths[0]) if lengths else 0)
        self.left = self.length or 0

    def piece(self) -> bytes:
        taken = self.stream.some(min(self.left, _PIECE), self.is_stopped)
        self.left -= len(taken)
        self.is_done = not self.left
        return taken


class ChunkedBody(StreamBody):
    """Chunks, and trailers behind them."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream, None)
        self.left = 0
        """Of the current chunk."""

    def piece(self) -> bytes:
        if not self.left:
            self.left = self.chunk_size()
            if not self.left:
                self.read_trailers()
                self.is_done = True
                return b""
        taken = self.stream.some(min(self.left, _PIECE), self.is_stopped)
        self.left -= len(taken)
        if not self.left:
            self.end_of_chunk()
        return taken

    def chunk_size(self) -> int:
        size = self.stream.line(self.is_stopped).partition(b";")[0].rstrip(b" \t")
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,15}", size):
            raise Refused(400, "No good chunk size.", closes=True)
        return int(size, 16)

    def end_of_chunk(self) -> None:
        while len(self.stream.buffer) < 2:
            self.stream.more(self.is_stopped)
        end, self.stream.buffer = self.stream.buffer[:2], self.stream.buffer[2:]
        if end != b"\r\n":
            raise Refused(400, "A chunk is longer than it says.", closes=True)

    def read_trailers(self) -> None:
        while line := self.stream.line(self.is_stopped):
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon:
                raise Refused(400, "No trailer line.", closes=True)
            self.trailers.append((name.lower(), value.strip(" \t")))

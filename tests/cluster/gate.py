"""What lies between the nodes and the S3 service, and makes a bad one of a good one on demand."""

from __future__ import annotations

import random
import re
import socket
import struct
import threading
import time
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from types import TracebackType

_SIZE = 256 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LOOK = re.compile(rb"GET [^ ?]+\.info[? ]")
_ERROR = (
    b"HTTP/1.1 %d Trouble\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%s"
)
_BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate</Message></Error>"
_BROKEN = b"<Error><Code>InternalError</Code><Message>We met trouble</Message></Error>"


class Misdeed(Enum):
    """What may happen to a request."""

    BUSY = "answers 503"
    BROKEN = "answers 500"
    SLOW = "answers late"
    CUT_IN_BODY = "resets the connection in the middle of the request"
    CUT_IN_ANSWER = "does what it is asked to, and resets the connection"


class Mood(NamedTuple):
    """Which share of the requests it happens to; `delay` in seconds."""

    misdeed: Misdeed
    share: float
    delay: float = 0.0


class S3Gate:
    """A proxy before the service at `target`. `mood` is None as long as it does nothing bad;
    `done` counts its misdeeds, `looks` how often a record was asked for.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.mood: Mood | None = None
        self.done = self.looks = 0
        self._target = target
        self._chance = random.Random(0)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: set[socket.socket] = set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in list(self._open):
            _cut(each)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._open.add(client)
        with client, suppress(OSError), socket.create_connection(self._target) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answers = _Answers(server, client)
            answers.start()
            try:
                _Requests(self, client, server, answers).carry_all()
            finally:
                _cut(server)
                answers.join()
        self._open.discard(client)

    def judge(self, head: bytes) -> Mood | None:
        """What is to happen to a request that has just come."""
        self.looks += _LOOK.match(head) is not None
        mood = self.mood
        if mood is None or self._chance.random() >= mood.share:
            return None
        self.done += 1
        return mood


class _Answers(threading.Thread):
    """Carries what the service says, until it is to be kept back."""

    def __init__(self, server: socket.socket, client: socket.socket) -> None:
        super().__init__(daemon=True)
        self.is_cut = False
        self._server, self._client = server, client

    def run(self) -> None:
        with suppress(OSError):
            while data := self._server.recv(_SIZE):
                if self.is_cut and not data.startswith(b"HTTP/1.1 100"):
                    break
                self._client.sendall(data)
        _cut(self._client)


class _Requests:
    """Carries the requests of one connection, one after the other."""

    def __init__(
        self, gate: S3Gate, client: socket.socket, server: socket.socket, answers: _Answers
    ) -> None:
        self._gate, self._client, self._server = gate, client, server
        self._answers = answers
        self._buffer = b""

    def carry_all(self) -> None:
        while self._more_until_head():
            head, end, self._buffer = self._buffer.partition(b"\r\n\r\n")
            found = _LENGTH.search(head)
            length = int(found[1]) if found else 0
            if not self._carry(head + end, length, self._gate.judge(head)):
                return

    def _carry(self, head: bytes, length: int, mood: Mood | None) -> bool:
        """Whether the connection goes on."""
        misdeed = None if mood is None else mood.misdeed
        if misdeed in (Misdeed.BUSY, Misdeed.BROKEN):
            status, text = (503, _BUSY) if misdeed is Misdeed.BUSY else (500, _BROKEN)
            self._client.sendall(_ERROR % (status, len(text), text))
            return False
        if misdeed is Misdeed.SLOW:
            assert mood is not None
            time.sleep(mood.delay)
        self._answers.is_cut = misdeed is Misdeed.CUT_IN_ANSWER
        self._server.sendall(head)
        is_half = misdeed is Misdeed.CUT_IN_BODY
        if not self._carry_body(length // 2 if is_half else length) or is_half:
            _cut(self._client)
            return False
        return True

    def _carry_body(self, left: int) -> bool:
        while left:
            data = self._buffer or self._client.recv(_SIZE)
            if not data:
                return False
            self._server.sendall(data[:left])
            self._buffer = data[left:]
            left -= min(left, len(data))
        return True

    def _more_until_head(self) -> bool:
        while b"\r\n\r\n" not in self._buffer:
            data = self._client.recv(_SIZE)
            if not data:
                return False
            self._buffer += data
        return True


def _cut(end: socket.socket) -> None:
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.shutdown(socket.SHUT_RDWR)

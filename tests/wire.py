"""HTTP/1.1 on a bare socket: what is sent is exactly what the test says, what comes is exactly
kept.
"""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

Address = tuple[str, int] | str
"""Host and port, or the path of a unix socket."""


class ConnectionEnded(Exception):
    """The other side closed (or reset) before a whole answer had come."""


@dataclass(frozen=True)
class Answer:
    """One answer.

    Header names are in lower case; `interim` are the statuses of the 1xx before it.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    interim: list[int] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]

    def get(self, name: str) -> str | None:
        """The value of a header that may come once at most."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times: {values}"
        return values[0] if values else None

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        assert value is not None, f"no {name} in {self.headers}"
        return value


class Wire:
    """One connection.

    Every wait for the other side ends after `timeout` seconds with TimeoutError.
    """

    def __init__(
        self, address: Address, *, timeout: float = 15.0, tls: ssl.SSLContext | None = None
    ) -> None:
        if isinstance(address, str):
            raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        else:
            raw = socket.socket(
                socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM
            )
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.settimeout(timeout)
        try:
            raw.connect(address)
        except OSError:
            raw.close()
            raise
        self.socket = raw if tls is None else tls.wrap_socket(raw, server_hostname="localhost")
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Closes with RST instead of FIN, as a network that drops the connection does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_slowly(self, data: bytes, *, pause: float = 0.0) -> None:
        """One byte per segment."""
        for index in range(len(data)):
            self.socket.sendall(data[index : index + 1])
            if pause:
                time.sleep(pause)

    def request(
        self,
        method: str,
        target: str,
        headers: dict[str, str] | list[tuple[str, str]] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Sends one request as given, with a Host, and returns its answer."""
        self.send(head(method, target, headers) + body)
        return self.answer(method)

    def answer(self, method: str = "GET") -> Answer:
        """The next answer, to a request with this method. Raises ConnectionEnded."""
        interim: list[int] = []
        while True:
            status, headers = self._head()
            if status >= 200:
                break
            interim.append(status)
        found = Answer(status, headers, interim=interim)
        has_body = method != "HEAD" and status not in (204, 304)
        return Answer(status, headers, self._body(found) if has_body else b"", interim)

    def _head(self) -> tuple[int, list[tuple[str, str]]]:
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        raw, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").split("\r\n")
        version, status, *_ = first.split(" ", 2)
        assert version == "HTTP/1.1", first
        pairs = [line.partition(":") for line in lines]
        return int(status), [(name.lower(), value.strip()) for name, _, value in pairs]

    def _body(self, found: Answer) -> bytes:
        if found.get("transfer-encoding") == "chunked":
            return self._chunks()
        length = found.get("content-length")
        if length is not None:
            return self._exactly(int(length))
        with suppress(ConnectionEnded):
            while True:
                self._more()
        body, self._buffer = self._buffer, b""
        return body

    def _chunks(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self._buffer:
                self._more()
            size, _, self._buffer = self._buffer.partition(b"\r\n")
            piece = self._exactly(int(size, 16) + 2)
            if len(piece) == 2:
                return body
            body += piece[:-2]

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _more(self) -> None:
        try:
            data = self.socket.recv(65536)
        except (ConnectionResetError, BrokenPipeError) as error:
            raise ConnectionEnded("reset") from error
        if not data:
            raise ConnectionEnded("closed")
        self._buffer += data

    def is_ended(self) -> bool:
        """Waits until the other side closes; False if it sends something instead."""
        if self._buffer:
            return False
        try:
            self._more()
        except ConnectionEnded:
            return True
        return False


def head(
    method: str, target: str, headers: dict[str, str] | list[tuple[str, str]] | None = None
) -> bytes:
    """The head of a request, values in Latin-1. A Host is added unless given."""
    pairs = list(headers.items()) if isinstance(headers, dict) else list(headers or [])
    if not any(name.lower() == "host" for name, _ in pairs):
        pairs.insert(0, ("Host", "localhost"))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in pairs)]
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def chunked(*pieces: bytes, trailers: dict[str, str] | None = None, end: bool = True) -> bytes:
    """A chunked body of these pieces; without `end` the last chunk is missing."""
    framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    if not end:
        return framed
    fields = "".join(f"{name}: {value}\r\n" for name, value in (trailers or {}).items())
    return framed + b"0\r\n" + fields.encode("latin-1") + b"\r\n"

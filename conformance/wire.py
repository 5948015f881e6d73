"""HTTP/1.1 on a bare socket: what is sent is exactly what the caller says, and what comes is kept.

No HTTP library is between, so that heads can be malformed, bodies slow or cut off, requests
pipelined, and interim answers seen.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

Address: TypeAlias = tuple[str, int] | str
"""Host and port, or the path of a unix socket."""
Headers: TypeAlias = "Mapping[str, str] | Sequence[tuple[str, str]]"
_LARGEST_HEAD = 1024 * 1024
_BODILESS = (204, 304)


class ConnectionEnded(Exception):
    """The other side closed (or reset) before a whole answer had come."""


class BadAnswer(Exception):
    """What came is no HTTP/1.1 answer."""


@dataclass(frozen=True)
class Answer:
    """One answer. Header names are in lower case; `interim` are the statuses of the 1xx before."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    interim: tuple[int, ...] = ()
    traffic: Traffic | None = field(default=None, repr=False, compare=False)
    version: str = "HTTP/1.1"

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]

    def get(self, name: str) -> str | None:
        """The value; several are joined with commas, as a proxy may do it."""
        values = self.all(name)
        return ", ".join(values) if values else None

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))

    def __str__(self) -> str:
        told = [
            f"{key}: {value}"
            for key, value in self.headers
            if key.startswith(("upload-", "tus-", "location", "allow", "content-"))
        ]
        return " · ".join((str(self.status), *told))


class Traffic:
    """What went over one connection, in order; of large pieces only how large they were."""

    SHOWN = 2048
    """Bytes of each piece that are kept."""
    PIECES = 60

    def __init__(self) -> None:
        self.pieces: list[tuple[str, bytes, int]] = []

    def note(self, direction: str, data: bytes) -> None:
        if len(self.pieces) < self.PIECES:
            self.pieces.append((direction, data[: self.SHOWN], len(data)))

    def text(self) -> str:
        """Readable: `>` sent, `<` received; what is not printable is escaped."""
        lines = []
        for direction, data, size in self.pieces:
            shown = data.decode("latin-1")
            lines += [f"{direction} {_escaped(line)}" for line in shown.splitlines() or [""]]
            if size > len(data):
                lines.append(f"{direction} … {size:,} bytes in all")
        return "\n".join(lines)


def _escaped(line: str) -> str:
    return "".join(
        each if each.isascii() and each.isprintable() else repr(each)[1:-1] for each in line
    )


class Wire:
    """One connection. Every wait for the other side ends after `timeout` seconds with
    TimeoutError.

    `observe` is told of each answer, with the method that it answers.
    """

    def __init__(
        self,
        address: Address,
        *,
        timeout: float = 15.0,
        tls: ssl.SSLContext | None = None,
        host: str = "localhost",
        observe: Callable[[str, Answer], None] | None = None,
    ) -> None:
        self.traffic = Traffic()
        self.host = host
        self._observe = observe
        self._buffer = b""
        raw = _socket(address)
        raw.settimeout(timeout)
        try:
            raw.connect(address)
            name = host.rsplit(":", 1)[0].strip("[]")
            self.socket = raw if tls is None else tls.wrap_socket(raw, server_hostname=name)
        except BaseException:
            raw.close()
            raise

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
        with suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def finish_sending(self) -> None:
        """Closes this direction only."""
        self.socket.shutdown(socket.SHUT_WR)

    def send(self, data: bytes) -> None:
        """Raises ConnectionEnded when the other side takes nothing more."""
        self.traffic.note(">", data)
        try:
            self.socket.sendall(data)
        except (ConnectionError, ssl.SSLError) as error:
            raise ConnectionEnded("closed while it was sent to") from error

    def try_send(self, data: bytes) -> bool:
        """Sends; False when the other side takes nothing more, as it may have answered before."""
        try:
            self.send(data)
        except (ConnectionEnded, TimeoutError):
            return False
        return True

    def send_slowly(self, data: bytes, *, pause: float = 0.0, step: int = 1) -> None:
        """So many bytes per segment."""
        for start in range(0, len(data), step):
            self.send(data[start : start + step])
            if pause:
                time.sleep(pause)

    def request(
        self, method: str, target: str, headers: Headers | None = None, body: bytes = b""
    ) -> Answer:
        """Sends one request as given, with a Host, and returns its answer.

        A body that the server does not take to its end is no fault as long as an answer comes.
        """
        self.send(self.head(method, target, headers))
        if body:
            self.try_send(body)
        return self.answer(method)

    def head(self, method: str, target: str, headers: Headers | None = None) -> bytes:
        """The head of a request to this host."""
        return head(method, target, headers, host=self.host)

    def answer(self, method: str = "GET") -> Answer:
        """The next answer, to a request with this method. Raises ConnectionEnded, BadAnswer, and
        TimeoutError.
        """
        interim: list[int] = []
        while True:
            version, status, headers = self._head()
            if status >= 200:
                break
            interim.append(status)
        found = Answer(status, headers, b"", tuple(interim), self.traffic, version)
        if method != "HEAD" and status not in _BODILESS:
            found = Answer(
                status, headers, self._body(found), tuple(interim), self.traffic, version
            )
        if self._observe is not None:
            self._observe(method, found)
        return found

    def interim(self, within: float) -> int | None:
        """The status of the next head, which stays to be read if it is a final one; None when
        nothing came in time.
        """
        deadline = time.monotonic() + within
        while b"\r\n\r\n" not in self._buffer:
            if not self.has_more(max(0.0, deadline - time.monotonic())):
                return None
            self._more()
        raw, _, rest = self._buffer.partition(b"\r\n\r\n")
        status = _parsed(raw)[1]
        if status < 200:
            self._buffer = rest
        return status

    def has_more(self, within: float) -> bool:
        """Whether something (or the end) comes within so many seconds."""
        if self._buffer or (isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()):
            return True
        return bool(select.select([self.socket], [], [], within)[0])

    def is_ended(self, within: float | None = None) -> bool:
        """Waits until the other side closes; False if it sends something instead, or nothing."""
        if self._buffer or (within is not None and not self.has_more(within)):
            return False
        try:
            self._more()
        except ConnectionEnded:
            return True
        except TimeoutError:
            return False
        return False

    def _head(self) -> tuple[str, int, tuple[tuple[str, str], ...]]:
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > _LARGEST_HEAD:
                raise BadAnswer("a head without an end")
            self._more()
        raw, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return _parsed(raw)

    def _body(self, found: Answer) -> bytes:
        if (found.get("transfer-encoding") or "").lower() == "chunked":
            return self._chunks()
        length = found.get("content-length")
        if length is not None:
            if not length.isdecimal():
                raise BadAnswer(f"Content-Length: {length}")
            return self._exactly(int(length))
        with suppress(ConnectionEnded):
            while True:
                self._more()
        body, self._buffer = self._buffer, b""
        return body

    def _chunks(self) -> bytes:
        body = bytearray()
        while True:
            size = self._line().partition(b";")[0].strip()
            try:
                length = int(size, 16)
            except ValueError:
                raise BadAnswer(f"a chunk of size {size!r}") from None
            if not length:
                break
            body += self._exactly(length)
            if self._exactly(2) != b"\r\n":
                raise BadAnswer("a chunk is longer than it says")
        while self._line():
            """Trailers."""
        return bytes(body)

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._more()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _more(self) -> None:
        try:
            data = self.socket.recv(1024 * 1024)
        except (ConnectionError, ssl.SSLError) as error:
            raise ConnectionEnded("reset") from error
        if not data:
            raise ConnectionEnded("closed")
        self.traffic.note("<", data)
        self._buffer += data


def _socket(address: Address) -> socket.socket:
    if isinstance(address, str):
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _parsed(raw: bytes) -> tuple[str, int, tuple[tuple[str, str], ...]]:
    first, *lines = raw.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    status = rest[:3]
    if version not in ("HTTP/1.1", "HTTP/1.0") or not (status.isdecimal() and len(status) == 3):
        raise BadAnswer(f"a status line {first[:80]!r}")
    pairs = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadAnswer(f"a header line {line[:80]!r}")
        pairs.append((name.lower(), value.strip(" \t")))
    return version, int(status), tuple(pairs)


def pairs_of(headers: Headers | None) -> list[tuple[str, str]]:
    """The headers as a list that may be changed."""
    if isinstance(headers, Mapping):
        return list(headers.items())
    return list(headers or ())


def head(
    method: str,
    target: str,
    headers: Headers | None = None,
    *,
    host: str = "localhost",
    version: str = "HTTP/1.1",
) -> bytes:
    """The head of a request, values in Latin-1. A Host is added unless given."""
    pairs = pairs_of(headers)
    if host and not any(name.lower() == "host" for name, _ in pairs):
        pairs.insert(0, ("Host", host))
    lines = [f"{method} {target} {version}", *(f"{name}: {value}" for name, value in pairs)]
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def chunked(*pieces: bytes, trailers: Headers | None = None, end: bool = True) -> bytes:
    """A chunked body of these pieces; without `end` the last chunk is missing."""
    framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece)
    if not end:
        return framed
    fields = "".join(f"{name}: {value}\r\n" for name, value in pairs_of(trailers))
    return framed + b"0\r\n" + fields.encode("latin-1") + b"\r\n"

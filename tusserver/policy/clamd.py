"""The verdict of ClamAV's daemon on a file, by descriptor or as a stream.

A client of the few commands needed, one connection each: `PING`, `VERSION`, `FILDES` and
`INSTREAM`, in their `z` forms, where commands and answers end with a NUL.

What clamd calls `OK` was not always looked at: beyond its own limits it says so of any file, unless
it is configured with `AlertExceedsMax yes`. So a file above `max_size` is never sent, and what
clamd did not scan to the end is `NotScanned`, which is neither clean nor infected.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SIZE_CEILING = 2**31 - 1
"""Bytes that clamd can scan at most, however it is configured."""
_QUICK = 5.0
"""Seconds for what needs no scanning: to connect, and to say which version it is."""
_BUSY = 0.05
"""Seconds after which to knock again where the daemon's queue of connections is full."""
_CHUNK = 256 * 1024
_MAX_ANSWER = 8192

_UNIX_ADDRESS = re.compile(r"(?:unix:)?(?P<path>/[^\0]+)")
_TCP_ADDRESS = re.compile(
    r"(?:tcp:)?(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%\w+)?)\]|(?P<host>[\w.-]+)):(?P<port>[0-9]{1,5})"
)
_VERDICT = re.compile(r"(?:stream|fd\[[0-9]+\]): (?:OK|(?P<signature>[^\0\n]+) FOUND)")
_STREAM_TOO_LONG = "INSTREAM size limit exceeded. ERROR"
_LIMIT_EXCEEDED = "Heuristics.Limits.Exceeded"


@dataclass(frozen=True, slots=True)
class Clean:
    """clamd scanned the file and knows nothing against it."""


@dataclass(frozen=True, slots=True)
class Infected:
    """clamd recognised something; `signature` is its name, as the database has it."""

    signature: str


@dataclass(frozen=True, slots=True)
class NotScanned:
    """Nobody looked at all of the file; `reason` is a sentence that says why."""

    reason: str


Verdict: TypeAlias = Clean | Infected | NotScanned


class ClamdUnavailable(Exception):
    """No verdict could be had from the daemon; a sentence for the operator."""


class Clamd:
    """A daemon at `unix:/path`, `/path`, `host:port` or `tcp:host:port` (IPv6 in brackets).

    `max_size`: bytes above which files are not scanned; clamd's own limits must not be lower.
    `timeout`: seconds that clamd may take to scan, after it has all the bytes, and to accept each
    chunk of them before. Raises ValueError if the address is none of these forms.
    """

    def __init__(self, address: str, *, max_size: int, timeout: float) -> None:
        self._path, self._host, self._port = _parse_address(address)
        self._name = f"clamd at {address}"
        self._max_size = min(max_size, SIZE_CEILING)
        self._timeout = timeout

    @property
    def takes_descriptors(self) -> bool:
        """Whether `scan_descriptor` may be used: the daemon is on this host, at a unix socket."""
        return bool(self._path)

    async def ping(self) -> None:
        """Raises ClamdUnavailable if the daemon does not answer within a few seconds."""
        answer = await self._ask(b"zPING\0")
        if answer != "PONG":
            raise self._gave_nonsense(answer)

    async def version(self) -> str:
        """The version of the daemon and, if it has one, of its database (`ClamAV 1.4.6/27800/…`).
        Raises ClamdUnavailable.
        """
        answer = await self._ask(b"zVERSION\0")
        if not answer.startswith("ClamAV "):
            raise self._gave_nonsense(answer)
        return answer

    async def scan_descriptor(self, descriptor: int, size: int) -> Verdict:
        """The verdict on an open file of `size` bytes, all of which clamd reads by itself. The
        descriptor stays the caller's, but its position is at times moved to the start. Needs
        `takes_descriptors`; raises ClamdUnavailable, and ValueError if it is open for writing only.
        """
        assert self.takes_descriptors, "descriptors pass through unix sockets only"
        _require_readable(descriptor)
        if size > self._max_size:
            return self._too_large(size)
        if os.fstat(descriptor).st_size != size:
            return _other_size(size)
        async with self._connection() as connection:
            await self._send(connection, b"zFILDES\0")
            async with self._within(_QUICK, "take the descriptor"):
                _send_descriptor(connection, descriptor)
            return self._verdict(await self._answer(connection, self._timeout))

    async def scan_stream(self, buffers: AsyncIterator[bytes], size: int) -> Verdict:
        """The verdict on what the iterator yields, which should be `size` bytes: where it is not,
        the file counts as not scanned. Raises ClamdUnavailable, and whatever the iterator raises;
        to close that is the caller's business, since it is not always read to its end.
        """
        if size > self._max_size:
            return self._too_large(size)
        async with self._connection() as connection:
            await self._send(connection, b"zINSTREAM\0")
            if not await self._send_all(connection, buffers, size):
                return _other_size(size)
            return self._verdict(await self._answer(connection, self._timeout))

    async def _send_all(
        self, connection: socket.socket, buffers: AsyncIterator[bytes], size: int
    ) -> bool:
        """Whether there is an answer to wait for; there is none if the size was wrong."""
        chunks, received = _Chunks(), 0
        async for buffer in buffers:
            received += len(buffer)
            if received > size:
                return False
            for chunk in chunks.add(buffer):
                if not await self._send(connection, chunk):
                    return True
        if received < size:
            return False
        await self._send(connection, chunks.end())
        return True

    def _too_large(self, size: int) -> NotScanned:
        return NotScanned(f"The file has {size} bytes; only up to {self._max_size} are scanned.")

    def _verdict(self, answer: str) -> Verdict:
        if answer == _STREAM_TOO_LONG:
            return NotScanned("The file is larger than the StreamMaxLength of clamd.")
        found = _VERDICT.fullmatch(answer)
        if found is None:
            raise self._gave_nonsense(answer)
        signature = found["signature"]
        if signature is None:
            return Clean()
        if signature.startswith(_LIMIT_EXCEEDED):
            return NotScanned(f"Scanning ended at a limit of clamd: {signature}.")
        return Infected(signature)

    def _gave_nonsense(self, answer: str) -> ClamdUnavailable:
        return ClamdUnavailable(f"{self._name} answered {answer!r}")

    async def _ask(self, command: bytes) -> str:
        async with self._connection() as connection:
            await self._send(connection, command)
            return await self._answer(connection, min(_QUICK, self._timeout))

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[socket.socket]:
        async with self._within(min(_QUICK, self._timeout), "accept a connection"):
            if self._path:
                connection = await _connect_unix(self._path)
            else:
                connection = await _connect_tcp(self._host, self._port)
        with connection:
            yield connection

    async def _send(self, connection: socket.socket, data: bytes | bytearray) -> bool:
        """False if clamd has closed the connection. It may have answered before, so that must be
        read all the same.
        """
        async with self._within(self._timeout, "take what was sent"):
            try:
                await asyncio.get_running_loop().sock_sendall(connection, data)
            except (BrokenPipeError, ConnectionResetError):
                return False
        return True

    async def _answer(self, connection: socket.socket, timeout: float) -> str:
        loop = asyncio.get_running_loop()
        answer = bytearray()
        async with self._within(timeout, "answer"):
            while not answer.endswith(b"\0"):
                part = await loop.sock_recv(connection, _MAX_ANSWER)
                answer += part
                if not part or len(answer) > _MAX_ANSWER:
                    fault = "went on and on in" if part else "broke off in"
                    raise ClamdUnavailable(
                        f"{self._name} {fault} its answer: {bytes(answer[:80])!r}"
                    )
        return answer[:-1].decode("utf-8", "backslashreplace")

    @asynccontextmanager
    async def _within(self, seconds: float, doing: str) -> AsyncIterator[None]:
        """Only around what is ours: an error of the caller's iterator is not clamd's."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            raise ClamdUnavailable(
                f"{self._name} did not {doing} within {seconds:g} seconds"
            ) from error
        except OSError as error:
            raise ClamdUnavailable(
                f"{self._name} did not {doing}: {error.strerror or error}"
            ) from error


class _Chunks:
    """Makes the chunks of `INSTREAM` from buffers of any size: the length as four bytes, big
    endian, then the bytes; the length zero ends the stream.
    """

    def __init__(self) -> None:
        self._pending = bytearray()

    def add(self, buffer: bytes) -> Iterator[bytearray]:
        self._pending += buffer
        while len(self._pending) >= _CHUNK:
            yield _length(_CHUNK) + self._pending[:_CHUNK]
            del self._pending[:_CHUNK]

    def end(self) -> bytearray:
        last = _length(len(self._pending)) + self._pending if self._pending else bytearray()
        return last + _length(0)


def _length(count: int) -> bytearray:
    return bytearray(count.to_bytes(4, "big"))


def _parse_address(address: str) -> tuple[str, str, int]:
    """Either the path of a unix socket or a host and a port; what it is not is empty."""
    unix = _UNIX_ADDRESS.fullmatch(address)
    if unix and sys.platform != "win32":
        return unix["path"], "", 0
    tcp = _TCP_ADDRESS.fullmatch(address)
    if tcp is None or not 0 < int(tcp["port"]) < 65536:
        raise ValueError(
            f"{address!r} is no address of clamd: "
            "write unix:/path/to/socket, host:port or [address]:port"
        )
    return "", tcp["v6"] or tcp["host"], int(tcp["port"])


async def _connect_unix(path: str) -> socket.socket:
    """Connects, as often as it takes where too many wait to be accepted. Raises OSError."""
    if sys.platform == "win32":
        raise OSError("no unix sockets here")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        # By hand, because event loops take "too many wait" for "soon connected", and nothing tells
        # when there is room.
        while True:
            try:
                connection.connect(path)
            except BlockingIOError:
                await asyncio.sleep(_BUSY)
            else:
                return connection
    except BaseException:
        connection.close()
        raise


async def _connect_tcp(host: str, port: int) -> socket.socket:
    """Connects to the first address of the host where that works. Raises OSError."""
    loop = asyncio.get_running_loop()
    refusal = OSError(f"{host} has no address")
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for family, kind, protocol, _, address in found:
        try:
            return await _connect(socket.socket(family, kind, protocol), address)
        except OSError as error:
            refusal = error
    raise refusal


async def _connect(connection: socket.socket, address: tuple[object, ...]) -> socket.socket:
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection


def _other_size(size: int) -> NotScanned:
    return NotScanned(f"There are not as many bytes to scan as the file should have: {size}.")


def _require_readable(descriptor: int) -> None:
    if sys.platform != "win32":
        mode = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
        if mode == os.O_WRONLY:
            raise ValueError("a descriptor that is open for writing only cannot be scanned")


def _send_descriptor(connection: socket.socket, descriptor: int) -> None:
    """Raises OSError. A new connection has room for a byte, so there is nothing to wait for."""
    if sys.platform == "win32":
        raise OSError("no unix sockets here")
    # It travels with a byte that means nothing, because it cannot travel alone.
    socket.send_fds(connection, [b"\0"], [descriptor])

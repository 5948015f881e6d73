"""HTTP/1.1 and tus for the soak: one connection, kept as long as the server keeps it."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 1024 * 1024
_RANDOM = os.urandom(BLOCK) * 2
_HEAD_LIMIT = 256 * 1024
ANSWER_TIMEOUT = 60.0
"""Seconds after which a missing answer is a fault."""


class Wrong(Exception):
    """The server did what it must not; the message says what."""


@dataclass(frozen=True)
class Content:
    """The bytes of one upload, which differ from those of the others."""

    seed: int
    size: int

    def pieces(self, start: int, end: int) -> Iterator[memoryview]:
        """From `start` to `end`, in pieces of a block at most."""
        view = memoryview(_RANDOM)
        while start < end:
            place = (self.seed + start) % BLOCK
            step = min(BLOCK, end - start)
            yield view[place : place + step]
            start += step

    def part(self, start: int, end: int) -> bytes:
        return b"".join(self.pieces(start, end))


@dataclass(frozen=True)
class Answer:
    """Status and headers, names in lower case; `body` is empty where it is left to be read."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    @property
    def offset(self) -> int:
        return int(self.headers.get("upload-offset", "-1"))


class Connection:
    """One connection to the server; opened at the first request, and again after it was closed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self.port, limit=_HEAD_LIMIT)
        return self._streams

    def abort(self) -> None:
        """Closes at once, whatever is under way."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def begin(self, method: str, target: str, headers: dict[str, str]) -> None:
        """Sends the head of a request; the body follows with `send`."""
        fields = {"Host": "localhost", "Tus-Resumable": "1.0.0", **headers}
        lines = (f"{method} {target} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items()), "", "")
        await self.send("\r\n".join(lines).encode())

    async def send(self, data: bytes | memoryview) -> None:
        _, writer = await self._open()
        writer.write(data)
        await writer.drain()

    async def answer(self, method: str) -> Answer:
        """The answer to what was sent. Raises Wrong when none comes in time."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                found = await self._head()
                if method in ("HEAD", "GET") or found.status == 204:
                    return found
                length = int(found.headers.get("content-length", "0"))
                body = await (await self._open())[0].readexactly(length)
        except TimeoutError:
            raise Wrong(f"{method} was not answered within {ANSWER_TIMEOUT:.0f} s") from None
        if found.headers.get("connection") == "close":
            self.abort()
        return Answer(found.status, found.headers, body)

    async def _head(self) -> Answer:
        reader, _ = await self._open()
        raw = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = raw.rstrip("\r\n").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        return Answer(int(first.split(" ")[1]), headers)

    async def read(self, size: int) -> bytes:
        """The next bytes of the body of a GET."""
        return await (await self._open())[0].readexactly(size)

    async def request(
        self, method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """One whole request."""
        length = {"Content-Length": str(len(body))} if method in ("POST", "PATCH") else {}
        await self.begin(method, target, {**length, **(headers or {})})
        if body:
            await self.send(body)
        return await self.answer(method)


def expect(answer: Answer, *statuses: int, what: str) -> Answer:
    """The answer, if it has one of these. Raises Wrong."""
    if answer.status not in statuses:
        said = answer.body[:200].decode("utf-8", "replace")
        raise Wrong(f"{what} was answered {answer.status}: {said}")
    return answer


def patch_head(offset: int, length: int, more: dict[str, str] | None = None) -> dict[str, str]:
    return {
        "Content-Type": "application/offset+octet-stream",
        "Upload-Offset": str(offset),
        "Content-Length": str(length),
        **(more or {}),
    }


class Upload:
    """One upload and what is known of it: `acknowledged` bytes must never be lost, and of more than
    `sent` none can have arrived.
    """

    def __init__(self, connection: Connection, content: Content, target: str) -> None:
        self.connection = connection
        self.content = content
        self.target = target
        self.acknowledged = 0
        self.sent = 0

    @classmethod
    async def create(
        cls,
        connection: Connection,
        content: Content,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
    ) -> Upload:
        head = {"Upload-Length": str(content.size), **(headers or {})}
        if body:
            head["Content-Type"] = "application/offset+octet-stream"
        answer = await connection.request("POST", "/files/", head, body)
        expect(answer, 201, what="a creation")
        upload = cls(connection, content, urlsplit(answer.headers["location"]).path)
        upload.acknowledged = upload.sent = len(body)
        return upload

    async def patch(self, end: int, headers: dict[str, str] | None = None) -> Answer:
        """Sends the bytes from what is acknowledged up to `end`, and wants them to be taken."""
        await self.begin(end, headers)
        await self.send(self.acknowledged, end)
        return self.accept(await self.connection.answer("PATCH"), end)

    async def begin(self, end: int, headers: dict[str, str] | None = None) -> None:
        """Sends the head of a PATCH from what is acknowledged up to `end`."""
        start = self.acknowledged
        head = patch_head(start, end - start, headers)
        await self.connection.begin("PATCH", self.target, head)

    async def send(self, start: int, end: int) -> None:
        """Sends these bytes as a part of a body."""
        self.sent = max(self.sent, end)
        for piece in self.content.pieces(start, end):
            await self.connection.send(piece)

    def accept(self, answer: Answer, end: int) -> Answer:
        """Notes that a PATCH up to `end` has succeeded. Raises Wrong when it has not."""
        expect(answer, 204, what=f"PATCH from {self.acknowledged} to {end}")
        if answer.offset != end:
            raise Wrong(f"PATCH to {end} was answered with the offset {answer.offset}")
        self.acknowledged = end
        return answer

    async def look(self) -> int:
        """The offset by HEAD, between what was acknowledged and what was ever sent."""
        answer = await self.connection.request("HEAD", self.target)
        expect(answer, 200, 204, what="HEAD")
        if not self.acknowledged <= answer.offset <= self.sent:
            raise Wrong(f"offset {answer.offset}, not between {self.acknowledged} and {self.sent}")
        self.acknowledged = answer.offset
        return answer.offset

    async def verify(self) -> int:
        """Compares every byte; returns how many."""
        await self.connection.begin("GET", self.target, {})
        answer = expect(await self.connection.answer("GET"), 200, what="GET")
        length = int(answer.headers["content-length"])
        if length != self.content.size:
            raise Wrong(f"{length} bytes instead of {self.content.size}")
        position = 0
        for piece in self.content.pieces(0, length):
            if await self.connection.read(len(piece)) != piece:
                raise Wrong(f"wrong bytes between {position} and {position + len(piece)}")
            position += len(piece)
        return length

    async def delete(self) -> None:
        answer = await self.connection.request("DELETE", self.target)
        expect(answer, 204, what="DELETE")

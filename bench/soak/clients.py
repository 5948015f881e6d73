"""The clients of the soak: each kind does one upload, as its kind does, again and again."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.soak.client import Connection, Content, Upload, Wrong, expect, patch_head

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

KIB, MIB = 1024, 1024 * 1024
_RETRIES = 20
PAUSES = (1.0, 3.0)
"""Seconds between two pieces of a slow client, at least and at most."""
BREAKS = 0.1
"""The share of slow clients whose connection breaks."""


@dataclass
class Tally:
    """What all clients have done so far."""

    finished: dict[str, int] = field(default_factory=dict)
    verified: int = 0
    """Bytes that were read back and compared."""
    faults: list[str] = field(default_factory=list)
    open_slow: int = 0
    """Slow requests that are under way."""

    def note(self, kind: str, verified: int = 0) -> None:
        self.finished[kind] = self.finished.get(kind, 0) + 1
        self.verified += verified


@dataclass(frozen=True)
class Client:
    """One client: its connection, its dice, and the common tally."""

    connection: Connection
    dice: random.Random
    tally: Tally

    def content(self, smallest: int, largest: int) -> Content:
        return Content(self.dice.randrange(MIB), self.dice.randint(smallest, largest))


def checksum(dice: random.Random, data: bytes) -> dict[str, str]:
    """The header with the digest of the data, by one algorithm or another."""
    if dice.random() < 0.5:
        name, digest = "sha1", hashlib.sha1(data).digest()
    else:
        name, digest = "crc32", zlib.crc32(data).to_bytes(4, "big")
    return {"Upload-Checksum": f"{name} {base64.b64encode(digest).decode()}"}


async def small(client: Client) -> None:
    """One small upload, in one request or in two."""
    content = client.content(1, 64 * KIB)
    data = content.part(0, content.size)
    if client.dice.random() < 0.5:
        upload = await Upload.create(client.connection, content, body=data)
    else:
        upload = await Upload.create(client.connection, content)
        with_digest = client.dice.random() < 0.5
        await upload.patch(content.size, checksum(client.dice, data) if with_digest else None)
    client.tally.note("small", await upload.verify())
    await upload.delete()
    await asyncio.sleep(0.05)


async def large(client: Client) -> None:
    """Many megabytes, in one PATCH, or in several with a digest each."""
    content = client.content(16 * MIB, 96 * MIB)
    upload = await Upload.create(client.connection, content)
    if client.dice.random() < 0.5:
        await upload.patch(content.size)
    while upload.acknowledged < content.size:
        end = min(content.size, upload.acknowledged + 5 * MIB)
        data = content.part(upload.acknowledged, end)
        await upload.patch(end, checksum(client.dice, data))
    client.tally.note("large", await upload.verify())
    await upload.delete()
    await asyncio.sleep(0.5)


async def wrong_checksum(client: Client) -> None:
    """Bytes that do not match their digest leave the offset where it was."""
    content = client.content(64 * KIB, 4 * MIB)
    upload = await Upload.create(client.connection, content)
    half = content.size // 2
    await upload.patch(half)
    false = checksum(client.dice, b"something else")
    await upload.begin(content.size, false)
    await upload.send(half, content.size)
    expect(await client.connection.answer("PATCH"), 460, what="a wrong checksum")
    if await upload.look() != half:
        raise Wrong("bytes with a wrong checksum were kept")
    await upload.patch(content.size)
    client.tally.note("wrong checksum", await upload.verify())
    await upload.delete()
    await asyncio.sleep(0.5)


async def broken(client: Client) -> None:
    """A connection that dies in the middle, and the upload goes on from where HEAD says."""
    content = client.content(1 * MIB, 32 * MIB)
    upload = await Upload.create(client.connection, content)
    for _ in range(client.dice.randint(1, 3)):
        await _send_in_part(client, upload)
    await resume(upload)
    client.tally.note("broken and resumed", await upload.verify())
    await upload.delete()
    await asyncio.sleep(0.5)


async def _send_in_part(client: Client, upload: Upload) -> None:
    start, end = upload.acknowledged, upload.content.size
    if start == end:
        return
    stop = client.dice.randint(start, end - 1)
    await upload.begin(end)
    await upload.send(start, stop)
    client.connection.abort()
    await upload.look()


async def resume(upload: Upload) -> None:
    """HEAD, then PATCH from there; again when bytes of the broken request arrived in between."""
    for _ in range(_RETRIES):
        start = await upload.look()
        if start == upload.content.size:
            return
        await upload.begin(upload.content.size)
        await upload.send(start, upload.content.size)
        answer = await upload.connection.answer("PATCH")
        if answer.status == 204:
            upload.accept(answer, upload.content.size)
            return
        expect(answer, 409, 423, what="a resumed PATCH")
        await asyncio.sleep(0.1)
    raise Wrong(f"could not be resumed in {_RETRIES} attempts")


async def joined(client: Client) -> None:
    """Partial uploads that become one."""
    parts = []
    seed = client.dice.randrange(MIB)
    total = 0
    for _ in range(3):
        content = Content(seed + total, client.dice.randint(1, 2 * MIB))
        part = await Upload.create(client.connection, content, {"Upload-Concat": "partial"})
        await part.patch(content.size)
        parts.append(part)
        total += content.size
    concat = f"final;{' '.join(part.target for part in parts)}"
    answer = await client.connection.request("POST", "/files/", {"Upload-Concat": concat})
    expect(answer, 201, what="joining")
    final = Upload(client.connection, Content(seed, total), answer.headers["location"])
    client.tally.note("joined", await final.verify())
    for upload in (final, *parts):
        await upload.delete()
    await asyncio.sleep(0.5)


async def impatient(client: Client) -> None:
    """An upload that is deleted while it is sent, after a PATCH at a wrong offset."""
    content = client.content(256 * KIB, 8 * MIB)
    upload = await Upload.create(client.connection, content)
    wrong = await client.connection.request(
        "PATCH", upload.target, patch_head(content.size // 2, 1), b"x"
    )
    expect(wrong, 409, what="a wrong offset")
    await upload.begin(content.size)
    await upload.send(0, content.size // 4)
    other = Connection(client.connection.port)
    try:
        await Upload(other, content, upload.target).delete()
        answer = await other.request("HEAD", upload.target)
        expect(answer, 404, 410, what="HEAD after DELETE")
    finally:
        other.abort()
        client.connection.abort()
    client.tally.note("deleted while it was sent")
    await asyncio.sleep(0.5)


async def slow(client: Client) -> None:
    """An upload that takes a minute or several, most of it waiting; some break and are resumed."""
    content = client.content(150 * KIB, 600 * KIB)
    upload = await Upload.create(client.connection, content)
    client.tally.open_slow += 1
    try:
        stop = content.size
        if client.dice.random() < BREAKS:
            stop = client.dice.randrange(content.size)
        await _drip(client, upload, stop)
    finally:
        client.tally.open_slow -= 1
    if stop < content.size:
        client.connection.abort()
        await resume(upload)
    else:
        upload.accept(await client.connection.answer("PATCH"), content.size)
    client.tally.note("slow", await upload.verify())
    await upload.delete()


async def _drip(client: Client, upload: Upload, stop: int) -> None:
    size = upload.content.size
    step = size // client.dice.randint(20, 100) + 1
    await upload.begin(size)
    for start in range(0, stop, step):
        await upload.send(start, min(start + step, stop))
        await asyncio.sleep(client.dice.uniform(*PAUSES))


KINDS: dict[Callable[[Client], Awaitable[None]], int] = {
    small: 6, large: 2, wrong_checksum: 1, broken: 2, joined: 1, impatient: 1,
}  # fmt: skip
"""How many clients of each kind there are beside the slow ones."""


async def repeat(
    kind: Callable[[Client], Awaitable[None]], client: Client, rest: float = 1.0
) -> None:
    """One client's life: a fault is noted, and after a rest it starts anew. Until it is
    cancelled.
    """
    try:
        while True:
            try:
                await kind(client)
            except (Wrong, OSError, EOFError) as error:
                client.tally.faults.append(f"{kind.__name__}: {type(error).__name__}: {error}")
                client.connection.abort()
                await asyncio.sleep(rest)
    finally:
        client.connection.abort()

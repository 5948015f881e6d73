"""The run whose system calls `test_power_loss` replays: a file store at work on many uploads.

    python -m tests.e2e.power_scenario DIRECTORY SYNC PLACEMENT DIRECT_IO

With DIRECT_IO on, bodies are direct, and blocks are written past the page cache.

It tells by marks in the trace what a client would know at that moment. It goes through the kinds of
requests, through processes that are killed (their appends simply never go on), and through a start
under another kernel that lost nothing.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import random
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.disk_model import MARK
from tusserver.protocol.checksum import Checksum
from tusserver.protocol.decision import Append, Outcome, Trailer
from tusserver.protocol.upload import Final, Partial, Upload
from tusserver.store import direct_io, file_session
from tusserver.store.base import BodyInterrupted
from tusserver.store.calls import Placement
from tusserver.store.direct_io import DirectIO
from tusserver.store.file import FileStore, FileStoreOptions, Sync

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tusserver.store.base import DirectBody, Sink

_PIECE = 5003
SYNC_BYTES = 12_000
"""So small that there are background syncs in the middle of a body of some ten thousand bytes."""
LENGTHS = {
    "plain": 40_000, "empty": 0, "tiny": 1, "fa/nn/ed": 7_000, "summed": 30_000,
    "trailed": 28_000, "long": 90_000,
    "deferred": 20_000, "deferred-summed": 9_000, "deferred-wrong": 9_000, "idle": 30_000,
    "left": 30_000, "joined": 24_000, "first": 15_000, "second": 9_000, "awaiting": 21_000,
    "third": 12_000, "cancelled": 20_000, "removed": 10_000, "removed-summed": 10_000,
    **{f"{name}-{life}": 30_000 for life in ("killed", "rebooted")
       for name in ("plain", "full", "wrong", "wrong-full", "chunked", "trailed", "deferred")},
}  # fmt: skip
PARTIALS = {"joined": ("first", "second"), "awaiting": ("third", "second")}


@lru_cache
def content_of(upload_id: str) -> bytes:
    """The right bytes of an upload; none of them is zero."""
    if upload_id in PARTIALS:
        return b"".join(content_of(partial) for partial in PARTIALS[upload_id])
    return bytes(byte or 1 for byte in random.Random(upload_id).randbytes(LENGTHS[upload_id]))


def metadata_of(upload_id: str) -> str:
    return f"filename {base64.b64encode(upload_id.encode()).decode()}"


def mark(event: str, upload_id: str, **says: object) -> None:
    """A line in the trace: a link of this name is read, which is not there."""
    with suppress(OSError):
        os.readlink(MARK + json.dumps({"event": event, "id": upload_id, **says}))


class Pieces:
    """A body that comes in pieces and ends as told; None stands for a process that is killed."""

    is_slow = False

    def __init__(self, data: bytes, end: Outcome | None, *, is_direct: bool) -> None:
        self._pieces = [data[start : start + _PIECE] for start in range(0, len(data), _PIECE)]
        self._end = end
        self._is_direct = is_direct
        self._left = b""

    @property
    def direct(self) -> DirectBody | None:
        return self if self._is_direct else None

    async def ready(self) -> None:
        self._left = await self.read()

    def drain(self, sink: Sink) -> bool:
        piece, self._left = self._left, b""
        rest = memoryview(piece)
        while rest:
            view = sink.buffer()[: len(rest)]
            view[:] = rest[: len(view)]
            sink.store(len(view))
            rest = rest[len(view) :]
        return not piece

    def interrupt(self, outcome: Outcome) -> None:
        """Nothing fails here."""
        raise AssertionError(outcome)

    async def read(self) -> bytes:
        # A slow client: what came before is written meanwhile.
        await asyncio.sleep(0.001)
        if self._pieces:
            return self._pieces.pop(0)
        if self._end is None:
            await asyncio.Event().wait()
        if self._end not in (None, Outcome.COMPLETE):
            raise BodyInterrupted(self._end)
        return b""


@dataclass(frozen=True)
class Way:
    """How the bytes of a request come: with what verification, right or not, to which end."""

    checksum: bool = False
    trailer: Trailer = Trailer.ABSENT
    is_right: bool = True
    end: Outcome | None = Outcome.COMPLETE
    declares: bool = False


PLAIN = Way()
SUMMED = Way(checksum=True)
WRONG = Way(checksum=True, is_right=False)
CHUNKED = Way(trailer=Trailer.POSSIBLE)
TRAILED = Way(trailer=Trailer.ANNOUNCED)
WRONG_TRAILER = Way(trailer=Trailer.ANNOUNCED, is_right=False)


def cut(way: Way) -> Way:
    return replace(way, end=Outcome.DISCONNECTED)


def declaring(way: Way) -> Way:
    return replace(way, declares=True)


@dataclass
class Life:
    """What one process does with a store."""

    store: FileStore
    has_direct_bodies: bool = False

    async def create(
        self, upload_id: str, concat: Partial | Final | None = None, *, deferred: bool = False
    ) -> Upload:
        now = datetime.now(UTC)
        length = None if deferred else LENGTHS[upload_id]
        upload = Upload(upload_id, 0, length, now, now, metadata_of(upload_id), concat)
        await self.store.create(upload)
        if not isinstance(concat, Final):
            acknowledge(upload)
        return upload

    async def append(self, upload_id: str, end: int, way: Way = PLAIN) -> Upload:
        """Brings the bytes up to `end`."""
        upload = await self.store.open(upload_id)
        if upload.is_finished:
            acknowledge(upload)
            return upload
        data = content_of(upload_id)[upload.offset : end]
        checksum = Checksum("sha1", hashlib.sha1(data).digest())
        plan = Append(
            expected=len(data),
            declare=LENGTHS[upload_id] if way.declares else None,
            checksum=checksum if way.checksum else None,
            trailer=way.trailer,
        )
        if not way.is_right:
            data = bytes(byte % 255 + 1 for byte in data)
        late = checksum if way.trailer is Trailer.ANNOUNCED else None
        # Trailers come with chunked bodies only.
        is_direct = self.has_direct_bodies and way.trailer is Trailer.ABSENT
        body = Pieces(data, way.end, is_direct=is_direct)
        appended = await self.store.append(upload, plan, body, lambda: late)
        acknowledge(appended.upload)
        return appended.upload

    async def join(self, upload_id: str) -> None:
        partials = [await self.store.get(partial) for partial in PARTIALS[upload_id]]
        upload = await self.store.get(upload_id)
        acknowledge(await self.store.concatenate(upload, partials))

    async def terminate(self, upload_id: str) -> None:
        mark("terminating", upload_id)
        await self.store.terminate(upload_id)
        mark("terminated", upload_id)

    # What happens to some of the uploads.

    async def appends(
        self, upload_id: str, *appends: tuple[int, Way], deferred: bool = False
    ) -> None:
        await self.create(upload_id, deferred=deferred)
        for end, way in appends:
            await self.append(upload_id, end, way)

    async def concatenations(self) -> None:
        for partial in ("first", "second", "third"):
            await self.create(partial, Partial())
        await self.append("first", 15_000)
        await self.append("second", 9_000, SUMMED)
        await self.create("joined", Final(PARTIALS["joined"], "final;first second"))
        await self.join("joined")
        final = await self.create("awaiting", Final(PARTIALS["awaiting"], "final;third second"))
        await self.store.await_partials(final, [await self.store.get("third")])
        await self.append("third", 12_000)
        await self.join("awaiting")

    async def terminations(self) -> None:
        await self.appends("cancelled", (13_000, PLAIN))
        await self.terminate("cancelled")
        await self.appends("removed", (10_000, PLAIN))
        await self.terminate("removed")
        await self.appends("removed-summed", (5_000, SUMMED), (8_000, WRONG))
        await self.terminate("removed-summed")

    async def idle(self) -> None:
        await self.appends("idle", (11_000, PLAIN))
        await self.store.sync("idle")
        mark("synced", "idle", offset=11_000)
        await self.append("idle", 17_000)

    async def is_killed(self, life: str) -> None:
        """Appends that have stored all their bytes when the process is killed."""
        running = set()
        for name, end, way in (
            ("plain", 20_000, PLAIN),
            ("full", 30_000, PLAIN),
            ("wrong", 20_000, WRONG),
            ("wrong-full", 30_000, WRONG),
            ("chunked", 20_000, CHUNKED),
            ("trailed", 20_000, WRONG_TRAILER),
            ("deferred", 30_000, declaring(PLAIN)),
        ):
            upload_id = f"{name}-{life}"
            await self.appends(upload_id, (7_000, PLAIN), deferred=name == "deferred")
            running.add(asyncio.create_task(self.append(upload_id, end, replace(way, end=None))))
            while (self.directory / upload_id).stat().st_size < end:
                await asyncio.sleep(0.002)
        _KILLED.append(running)

    async def goes_on(self, life: str) -> None:
        for name, way in (
            ("plain", PLAIN),
            ("full", PLAIN),
            ("wrong", SUMMED),
            ("wrong-full", PLAIN),
            ("chunked", TRAILED),
            ("trailed", CHUNKED),
            ("deferred", PLAIN),
        ):
            await self.append(f"{name}-{life}", 30_000, way)

    @property
    def directory(self) -> Path:
        return Path(sys.argv[1])


_KILLED: list[set[asyncio.Task[Upload]]] = []
"""They would be collected if nobody held them."""


def acknowledge(upload: Upload) -> None:
    """A reply tells where the upload stands."""
    mark("stands", upload.upload_id, offset=upload.offset, finished=upload.is_finished)


async def first_life(life: Life) -> None:
    # Alone first, so that no sync for one upload makes another's certain.
    await life.appends("empty")
    await life.appends("tiny", (1, PLAIN))
    await life.appends("fa/nn/ed", (7_000, PLAIN))
    await asyncio.gather(
        life.appends("plain", (9_000, PLAIN), (25_000, PLAIN), (40_000, PLAIN)),
        life.appends("long", (90_000, PLAIN)),
        life.appends("left", (10_000, SUMMED), (16_000, WRONG), (29_000, cut(PLAIN))),
        life.idle(),
    )
    summed = ((9_000, SUMMED), (20_000, WRONG), (20_000, SUMMED), (26_000, PLAIN), (30_000, SUMMED))
    trailed = (
        (8_000, CHUNKED), (16_000, TRAILED), (20_000, WRONG_TRAILER), (20_000, cut(CHUNKED)),
        (24_000, cut(TRAILED)), (24_000, TRAILED), (28_000, CHUNKED),
    )  # fmt: skip
    await asyncio.gather(life.appends("summed", *summed), life.appends("trailed", *trailed))
    deferred: list[Coroutine[None, None, None]] = [
        life.appends(name, *appends, deferred=True)
        for name, appends in (
            ("deferred", ((7_000, PLAIN), (14_000, SUMMED), (20_000, declaring(PLAIN)))),
            ("deferred-summed", ((4_000, PLAIN), (9_000, declaring(SUMMED)))),
            ("deferred-wrong", ((8_000, declaring(WRONG)), (9_000, declaring(TRAILED)))),
        )
    ]
    await asyncio.gather(*deferred)
    await life.concatenations()
    await life.terminations()
    await life.is_killed("killed")
    await life.is_killed("rebooted")


async def main(directory: Path, options: FileStoreOptions) -> None:
    file_session._SYNC_BYTES = SYNC_BYTES
    direct_io.WORTHWHILE = 1
    for boot_id, live in (
        ("first boot", first_life),
        ("first boot", lambda life: life.goes_on("killed")),
        ("second boot", lambda life: life.goes_on("rebooted")),
    ):
        store = FileStore(directory, options, boot_id=boot_id)
        await store.start()
        await live(Life(store, has_direct_bodies=options.direct_io is DirectIO.ON))
    # Not by way of the appends that stand still: they belong to processes that were killed.
    os._exit(0)


if __name__ == "__main__":
    chosen = FileStoreOptions(
        Sync(sys.argv[2]), calls=Placement(sys.argv[3]), direct_io=DirectIO(sys.argv[4])
    )
    asyncio.run(main(Path(sys.argv[1]), chosen))

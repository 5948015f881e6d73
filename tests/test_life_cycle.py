"""The whole life of uploads against a model that was written from the specification, on each store.

Requests go through parse, decide and settle with bodies that are split and broken off at will; the
model knows nothing of how the server does it, only what a client must see.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule
from msgspec.structs import replace

from tests.fakes import ScriptedBody
from tusserver.lock.memory import MemoryLocker
from tusserver.protocol.core import Head, Patch
from tusserver.protocol.creation import Create
from tusserver.protocol.decision import Outcome, Reply
from tusserver.protocol.errors import TusError
from tusserver.protocol.request import RawRequest, parse
from tusserver.protocol.termination import Terminate
from tusserver.protocol.urls import UploadUrls
from tusserver.rules import UploadsOptions
from tusserver.store.file import FileStore, FileStoreOptions, Sync
from tusserver.store.memory import MemoryStore
from tusserver.sweeper import Sweeper
from tusserver.uploads import Uploads

_T = TypeVar("_T")
MAX_SIZE = 40
DAY = timedelta(hours=24)

pieces = st.lists(st.binary(min_size=1, max_size=12), max_size=4)
breaks = st.sampled_from([Outcome.COMPLETE] * 5 + [Outcome.DISCONNECTED, Outcome.IDLE])


@dataclass
class Known:
    """What a client must find of one upload."""

    data: bytes
    length: int | None
    is_partial: bool = False
    parts: tuple[str, ...] | None = None
    is_old: bool = False
    is_gone: bool = False

    @property
    def is_finished(self) -> bool:
        return self.parts is None and len(self.data) == self.length

    @property
    def is_expired(self) -> bool:
        return self.is_old and (self.is_partial or not self.is_finished)


class Life(RuleBasedStateMachine):
    """One server and what its clients did."""

    ids: Bundle[str] = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.known: dict[str, Known] = {}
        self.uploads = Uploads(
            self.make_store(), MemoryLocker(), UploadsOptions(max_size=MAX_SIZE, expires_after=DAY)
        )
        self.run(self.uploads.start())

    def make_store(self) -> Any:  # noqa: ANN401
        return MemoryStore()

    def make_old(self, upload_id: str) -> None:
        entry = self.uploads.store._entry(upload_id)  # type: ignore[attr-defined]
        entry.upload = replace(entry.upload, modified_at=datetime.now(UTC) - 2 * DAY)

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self.loop.run_until_complete(work)

    def send(
        self, method: str, target: str, body: ScriptedBody | None = None, **headers: str
    ) -> tuple[int, dict[str, str]]:
        """The status and headers of the answer to this request."""
        fields = {"tus-resumable": "1.0.0", "host": "h", **headers}
        pairs = [
            (name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()
        ]
        raw = RawRequest(method, target, pairs, "1.1", UploadUrls("/files/"))
        try:
            reply = self.run(self.serve(raw, body or ScriptedBody()))
            status, found = reply.status, reply.headers
        except TusError as error:
            status, found = error.status, error.headers
        return status, {name.decode(): value.decode() for name, value in found}

    async def serve(self, raw: RawRequest, body: ScriptedBody) -> Reply:
        capabilities = self.uploads.capabilities
        match parse(raw, capabilities):
            case Head() as request:
                return await self.uploads.look(request, capabilities)
            case Patch() as request:
                return await self.uploads.append(request, body, capabilities)
            case Create() as request:
                return await self.uploads.create(request, body, capabilities)
            case Terminate() as request:
                return await self.uploads.terminate(request)
            case request:
                raise AssertionError(request)

    # What clients do.

    @rule(
        target=ids,
        length=st.none() | st.integers(0, 12) | st.integers(0, MAX_SIZE + 1),
        is_partial=st.booleans(),
        buffers=st.just([]) | pieces,
    )
    def create(self, length: int | None, is_partial: bool, buffers: list[bytes]) -> Any:  # noqa: ANN401
        data = b"".join(buffers)
        size = {"upload_defer_length": "1"} if length is None else {"upload_length": str(length)}
        extra = {"upload_concat": "partial"} if is_partial else {}
        status, headers = self.send(
            "POST", "", ScriptedBody(*buffers),
            content_type="application/offset+octet-stream", content_length=str(len(data)),
            **size, **extra,
        )  # fmt: skip
        if (length or 0) > MAX_SIZE or len(data) > (MAX_SIZE if length is None else length):
            assert status == 413
            return multiple()
        assert (status, headers["upload-offset"]) == (201, str(len(data)))
        upload_id = headers["location"].removeprefix("/files/")
        self.known[upload_id] = Known(data, length, is_partial)
        return upload_id

    @rule(
        upload_id=ids,
        splits=st.lists(st.integers(1, 12), max_size=4),
        is_last=st.booleans(),
        outcome=breaks,
        checksum=st.sampled_from(["", "right"]),
        is_announced=st.booleans(),
    )
    def go_on(
        self,
        upload_id: str,
        splits: list[int],
        is_last: bool,
        outcome: Outcome,
        checksum: str,
        is_announced: bool,
    ) -> None:
        """A PATCH of a client that knows what it does: it fits, and may be the last one."""
        known = self.known[upload_id]
        stored, declare = len(known.data), None
        room = (MAX_SIZE if known.length is None else known.length) - stored
        sizes = [min(size, room) for size in splits] if room else []
        while sum(sizes) > room:
            sizes.pop()
        if is_last:
            sizes.append(room - sum(sizes) if known.length is not None else 0)
            declare = stored + sum(sizes)
        buffers = [os.urandom(size) for size in sizes]
        self.patch(upload_id, 0, buffers, outcome, checksum, declare, is_announced)

    @rule(
        upload_id=ids,
        shift=st.sampled_from([0, 0, -1, 1]),
        buffers=pieces,
        checksum=st.sampled_from(["", "wrong"]),
        declare=st.none() | st.integers(-1, 12),
        is_announced=st.booleans(),
    )
    def blunder(
        self,
        upload_id: str,
        shift: int,
        buffers: list[bytes],
        checksum: str,
        declare: int | None,
        is_announced: bool,
    ) -> None:
        """A PATCH as it should not be."""
        length = None if declare is None else max(0, len(self.known[upload_id].data) + declare)
        self.patch(upload_id, shift, buffers, Outcome.COMPLETE, checksum, length, is_announced)

    def patch(
        self,
        upload_id: str,
        shift: int,
        buffers: list[bytes],
        outcome: Outcome,
        checksum: str,
        declare: int | None,
        is_announced: bool,
    ) -> None:
        """Sends it, and says what must come of it."""
        known = self.known[upload_id]
        offset, data = len(known.data) + shift, b"".join(buffers)
        headers = {
            "content_type": "application/offset+octet-stream",
            "upload_offset": str(offset),
            **({"upload_checksum": _checksum(checksum, data)} if checksum else {}),
            **({"content_length": str(len(data))} if is_announced else {}),
            **({} if is_announced else {"transfer_encoding": "chunked"}),
            **({} if declare is None else {"upload_length": str(declare)}),
        }
        body = ScriptedBody(*buffers, outcome=outcome)
        status, found = self.send("PATCH", upload_id, body, **headers)
        refusal = self._refusal(known, offset, declare, data if is_announced else b"")
        if offset < 0 or refusal:
            assert status == (400 if offset < 0 else refusal)
            return
        self._stored(known, declare, data, outcome, checksum, status, found)

    def _refusal(
        self, known: Known, offset: int, declare: int | None, announced: bytes
    ) -> int | None:
        if known.is_gone:
            return 404
        if known.is_expired:
            return 410
        if known.parts is not None:
            return 403
        if offset != len(known.data):
            return 409
        if declare is not None and declare != known.length:
            if known.length is not None or declare < len(known.data):
                return 400
            if declare > MAX_SIZE:
                return 413
        length = known.length if declare is None else declare
        room = (MAX_SIZE if length is None else length) - len(known.data)
        return 413 if len(announced) > room else None

    def _stored(
        self,
        known: Known,
        declare: int | None,
        data: bytes,
        outcome: Outcome,
        checksum: str,
        status: int,
        found: dict[str, str],
    ) -> None:
        length = known.length if declare is None else declare
        room = (MAX_SIZE if length is None else length) - len(known.data)
        is_too_long, is_broken = len(data) > room, outcome is not Outcome.COMPLETE
        wanted = 413 if is_too_long else {Outcome.DISCONNECTED: 400, Outcome.IDLE: 503}.get(outcome)
        if wanted is None and checksum == "wrong":
            wanted = 460
        assert status == (wanted or 204)
        if not (checksum and (is_too_long or is_broken or checksum == "wrong")):
            known.data += data[:room]
            known.length = length
            known.is_old = known.is_old and not data[:room]
        assert found["upload-offset"] == str(len(known.data))

    @rule(target=ids, chosen=st.lists(ids, min_size=1, max_size=3), is_sensible=st.booleans())
    def concatenate(self, chosen: list[str], is_sensible: bool) -> Any:  # noqa: ANN401
        if is_sensible:
            chosen = [upload_id for upload_id in chosen if self.known[upload_id].is_partial]
        parts = [self.known[upload_id] for upload_id in chosen]
        value = "final;" + " ".join(f"/files/{upload_id}" for upload_id in chosen)
        status, headers = self.send("POST", "", content_length="0", upload_concat=value)
        if not parts or any(
            part.is_gone or part.is_expired or not part.is_partial for part in parts
        ):
            assert status == 400
            return multiple()
        lengths = [part.length for part in parts]
        if None not in lengths and sum(length or 0 for length in lengths) > MAX_SIZE:
            assert status == 413
            return multiple()
        assert status == 201
        upload_id = headers["location"].removeprefix("/files/")
        self.known[upload_id] = Known(b"", None, parts=tuple(chosen))
        return upload_id

    @rule(upload_id=ids, dice=st.integers(0, 3))
    def terminate(self, upload_id: str, dice: int) -> None:
        if dice:
            return
        status, _ = self.send("DELETE", upload_id)
        assert status == (404 if self.known[upload_id].is_gone else 204)
        self.known[upload_id].is_gone = True

    @rule(upload_id=ids, dice=st.integers(0, 3))
    def grow_old(self, upload_id: str, dice: int) -> None:
        known = self.known[upload_id]
        if dice or known.is_gone or known.parts is not None:
            return
        self.make_old(upload_id)
        known.is_old = True

    @rule()
    def sweep(self) -> None:
        report = self.run(Sweeper(self.uploads).sweep())
        due = {
            upload_id
            for upload_id, known in self.known.items()
            if known.is_expired and not known.is_gone and not self._is_awaited(upload_id)
        }
        assert set(report.expired) == due
        for upload_id in due:
            self.known[upload_id].is_gone = True

    def _is_awaited(self, upload_id: str) -> bool:
        """Whether it is a finished partial that a final upload needs as soon as others are."""
        return self.known[upload_id].is_finished and any(
            final.parts is not None and final.length is None and upload_id in final.parts
            for final in self.known.values()
            if not final.is_gone
        )

    # What they see.

    @invariant()
    def every_upload_is_as_it_was_left(self) -> None:
        for upload_id, known in self.known.items():
            status, headers = self.send("HEAD", upload_id)
            if known.is_gone or known.is_expired:
                assert status == (404 if known.is_gone else 410)
                assert "upload-offset" not in headers
                continue
            assert status == 200
            if known.parts is not None:
                self._see_final(upload_id, known, headers)
                continue
            assert headers["upload-offset"] == str(len(known.data))
            assert headers.get("upload-length") == _text(known.length)
            assert headers.get("upload-defer-length") == ("1" if known.length is None else None)
            assert self.content(upload_id) == known.data

    def _see_final(self, upload_id: str, known: Known, headers: dict[str, str]) -> None:
        assert known.parts is not None
        parts = [self.known[part] for part in known.parts]
        # What waits for the others does not expire.
        if known.length is None and all(part.is_finished and not part.is_gone for part in parts):
            data = b"".join(part.data for part in parts)
            if len(data) > MAX_SIZE:
                assert "upload-offset" not in headers
                return
            # Joining may go on behind the scenes; it is done once what is under way has ended.
            assert self.uploads._joiner is not None
            self.run(self.uploads._joiner.close())
            _, headers = self.send("HEAD", upload_id)
            known.data, known.length = data, len(data)
        if known.length is None:
            assert "upload-offset" not in headers
            return
        assert headers["upload-offset"] == headers["upload-length"] == str(known.length)
        assert self.content(upload_id) == known.data

    def content(self, upload_id: str) -> bytes:
        async def read() -> bytes:
            upload = await self.uploads.view(upload_id)
            return b"".join([b async for b in self.uploads.store.read(upload, 0, upload.offset)])

        return self.run(read())

    def teardown(self) -> None:
        self.run(self.uploads.close())
        self.loop.close()


class LifeOnFiles(Life):
    """The same on the file store."""

    def make_store(self) -> FileStore:
        self.root = Path(tempfile.mkdtemp())
        return FileStore(self.root, FileStoreOptions(Sync.FINISH))

    def make_old(self, upload_id: str) -> None:
        then = time.time() - 2 * DAY.total_seconds()
        os.utime(self.root / upload_id, (then, then))

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.root)


def _checksum(kind: str, data: bytes) -> str:
    digest = hashlib.sha256(data if kind == "right" else data + b"x").digest()
    return f"sha256 {base64.b64encode(digest).decode()}"


def _text(length: int | None) -> str | None:
    return None if length is None else str(length)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestLifeOnFiles = LifeOnFiles.TestCase
TestLifeOnFiles.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

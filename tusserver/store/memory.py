"""Uploads in the memory of one process: the executable meaning of the store contracts, for tests
and for trying things out.

Everything is lost with the process.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tusserver.protocol.decision import Outcome, Trailer
from tusserver.protocol.errors import UploadNotFound
from tusserver.store.base import Appended, BodyInterrupted

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

    from tusserver.protocol.checksum import Checksum
    from tusserver.protocol.decision import Append
    from tusserver.protocol.finish import Finish
    from tusserver.protocol.upload import Upload
    from tusserver.store.base import Body

_READ_SIZE = 256 * 1024


@dataclass(slots=True)
class _Entry:
    upload: Upload
    data: bytearray


def _now() -> datetime:
    return datetime.now(UTC)


class MemoryStore:
    """A dict of byte strings. `clock` gives the current moment, aware and in UTC."""

    def __init__(self, clock: Callable[[], datetime] = _now) -> None:
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._waiting: dict[str, list[str]] = {}

    async def start(self) -> None:
        """Nothing to prepare."""

    async def close(self) -> None:
        """Nothing to free."""

    async def create(self, upload: Upload) -> Upload:
        self._entries[upload.upload_id] = _Entry(upload, bytearray())
        return upload

    async def get(self, upload_id: str, *, is_held: bool = False) -> Upload:
        return self._entry(upload_id).upload

    async def open(self, upload_id: str) -> Upload:
        return self._entry(upload_id).upload

    async def append(
        self, upload: Upload, plan: Append, body: Body, late_checksum: Callable[[], Checksum | None]
    ) -> Appended:
        entry = self._entry(upload.upload_id)
        if plan.is_staged:
            return await self._append_staged(entry, plan, body, late_checksum)
        self._advance(entry, b"", plan.declare)
        try:
            while buffer := await body.read():
                self._advance(entry, buffer)
        except BodyInterrupted as interruption:
            return Appended(entry.upload, interruption.outcome)
        return Appended(entry.upload, Outcome.COMPLETE)

    async def _append_staged(
        self, entry: _Entry, plan: Append, body: Body, late_checksum: Callable[[], Checksum | None]
    ) -> Appended:
        staged = bytearray()
        try:
            while buffer := await body.read():
                staged += buffer
        except BodyInterrupted as interruption:
            if plan.keeps_prefix:
                self._advance(entry, staged, plan.declare)
            return Appended(entry.upload, interruption.outcome)
        checksums = [plan.checksum, late_checksum() if plan.trailer is not Trailer.ABSENT else None]
        if not all(_matches(checksum, staged) for checksum in checksums if checksum is not None):
            return Appended(entry.upload, Outcome.MISMATCH)
        self._advance(entry, staged, plan.declare)
        return Appended(entry.upload, Outcome.COMPLETE)

    def _advance(
        self, entry: _Entry, buffer: bytes | bytearray, declare: int | None = None
    ) -> None:
        entry.data += buffer
        entry.upload = replace(
            entry.upload,
            offset=len(entry.data),
            length=entry.upload.length if declare is None else declare,
            modified_at=self._clock() if buffer else entry.upload.modified_at,
        )

    async def record_finish(self, upload: Upload, finish: Finish) -> Upload:
        entry = self._entry(upload.upload_id)
        entry.upload = replace(entry.upload, finish=finish)
        if finish.has_left:
            entry.data.clear()
        return entry.upload

    async def read(self, upload: Upload, start: int, end: int) -> AsyncGenerator[bytes, None]:
        data = self._entry(upload.upload_id).data
        for position in range(start, end, _READ_SIZE):
            yield bytes(data[position : min(position + _READ_SIZE, end)])

    async def ids(self) -> AsyncIterator[str]:
        for upload_id in list(self._entries):
            yield upload_id

    async def terminate(self, upload_id: str) -> None:
        self._entry(upload_id)
        del self._entries[upload_id]
        self._waiting.pop(upload_id, None)
        self._forget_waiting(upload_id)

    async def concatenate(self, upload: Upload, partials: Sequence[Upload]) -> Upload:
        entry = self._entry(upload.upload_id)
        data = bytearray().join(self._entry(partial.upload_id).data for partial in partials)
        entry.data = data
        entry.upload = replace(
            entry.upload, offset=len(data), length=len(data), modified_at=self._clock()
        )
        self._forget_waiting(upload.upload_id)
        return entry.upload

    def _forget_waiting(self, final_id: str) -> None:
        for finals in self._waiting.values():
            while final_id in finals:
                finals.remove(final_id)

    async def await_partials(self, upload: Upload, partials: Sequence[Upload]) -> None:
        for partial in partials:
            self._waiting.setdefault(partial.upload_id, []).append(upload.upload_id)

    async def waiting_for(self, partial_id: str) -> Sequence[str]:
        return tuple(self._waiting.get(partial_id, ()))

    def _entry(self, upload_id: str) -> _Entry:
        try:
            return self._entries[upload_id]
        except KeyError:
            raise UploadNotFound from None


def _matches(checksum: Checksum, data: bytearray) -> bool:
    digest = checksum.start()
    digest.update(data)
    return checksum.matches(digest)

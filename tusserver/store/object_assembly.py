"""Puts the parts of an upload together, and finds out what became of that after a crash."""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tusserver.protocol.errors import StorageFailed, TusError, UploadDamaged
from tusserver.protocol.grammar import parse_metadata
from tusserver.store.base import StoreUnusable
from tusserver.store.bucket import MultipartMissing, ObjectMissing, PartsRefused, Superseded
from tusserver.store.object_buffers import PartBuffer, PartMemory
from tusserver.store.object_records import Overtaken

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from tusserver.store.bucket import Bucket
    from tusserver.store.object_keys import Keys
    from tusserver.store.object_options import ObjectOptions
    from tusserver.store.object_record import Kept, ObjectRecord, ObjectState, Tail
    from tusserver.store.object_records import ObjectRecords

_LONGEST_TYPE = 255


class ObjectGround:
    """What everybody needs who works on uploads in one bucket."""

    def __init__(
        self, options: ObjectOptions, bucket: Bucket, keys: Keys, records: ObjectRecords
    ) -> None:
        self.options = options
        self.bucket = bucket
        self.keys = keys
        self.records = records
        self.memory = PartMemory(options.memory)
        self.on_stored: Callable[[str, int], None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def prepare_spool(self) -> None:
        """Makes the directory where parts may have to wait. Raises StoreUnusable."""
        if self.options.spool_dir is None:
            return
        try:
            os.makedirs(self.options.spool_dir, exist_ok=True)
            tempfile.TemporaryFile(dir=self.options.spool_dir).close()
        except OSError as error:
            raise StoreUnusable(f"{self.options.spool_dir}: {error.strerror}") from error

    def part_buffer(self, size: int, front: int = 0) -> PartBuffer:
        """Room for a part."""
        return PartBuffer(self.memory, self.options.spool_dir, size, front)

    def in_background(self, work: Coroutine[object, object, None]) -> None:
        """For what nobody needs to wait for: what fails of it is found by the sweeper."""
        task = asyncio.create_task(_survived(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Waits for what runs in the background."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def drop_tails(self, upload_id: str, tails: Iterable[Tail]) -> None:
        """Removes what the record does not name any more."""
        keys = [self.keys.tail(upload_id, tail.token) for tail in tails]
        if keys:
            self.in_background(self.bucket.delete(*keys))

    async def read_tails(self, upload_id: str, tails: Iterable[Tail], part: PartBuffer) -> None:
        """Fills the front of a part with what lies behind the parts. Raises StorageFailed if it is
        not what the record says.
        """
        position = 0
        for tail in tails:
            try:
                data, _ = await self.bucket.get(self.keys.tail(upload_id, tail.token))
            except ObjectMissing:
                raise UploadDamaged from None
            if len(data) != tail.size:
                raise StorageFailed("the end of an upload is not what was stored")
            part.fill_front(data, position)
            position += len(data)

    async def begin_multipart(
        self, kept: Kept, state: ObjectState, *, is_joined: bool = False
    ) -> Kept:
        """Records this state with a new multipart upload. Raises what `ObjectRecords.replace`
        raises.
        """
        key, media_type = self.keys.data(kept.record.upload_id), content_type(kept.record)
        multipart = await self.bucket.begin_multipart(key, media_type, is_joined=is_joined)
        try:
            return await self.records.replace(kept, replace(state, multipart=multipart))
        except Overtaken:
            self.in_background(self.bucket.abort(key, multipart))
            raise

    async def put_whole(self, record: ObjectRecord, part: PartBuffer) -> bool:
        """Writes an upload that is small enough as one object, unless something lies there already:
        then returns False, and the bytes have to go the way of a multipart upload.

        What lies there is of a request that ended before it could record it, or of one that is just
        about to. It must not be touched before the record says that it is ours to do so.
        """
        key = self.keys.data(record.upload_id)
        try:
            await self.bucket.put(key, part.span(), is_new=True, content_type=content_type(record))
        except Superseded:
            # What is empty is the same whoever has written it.
            return not part.filled and await self._is_empty(key)
        return True

    async def put_empty(self, kept: Kept) -> Kept:
        """Makes the object of an upload whose length is 0. Raises StorageFailed."""
        part = self.part_buffer(1)
        try:
            if not await self.put_whole(kept.record, part):
                raise StorageFailed("something lies in the place of a new upload")
        finally:
            part.close()
        return await self.records.replace(kept, assembled(kept.state, 0))

    async def _is_empty(self, key: str) -> bool:
        try:
            return await self.bucket.size(key) == 0
        except ObjectMissing:
            return False

    async def assemble(self, kept: Kept) -> Kept:
        """Puts together an upload whose record says that it is whole; may be called again after a
        crash, by any node.

        Raises StorageUnavailable if it is to be tried again, UploadDamaged if bytes are gone.
        """
        record, state = kept.record, kept.state
        key, length = self.keys.data(record.upload_id), record.size
        try:
            await self.bucket.complete(key, state.multipart, state.parts, content_type(record))
        except (MultipartMissing, ObjectMissing):
            pass  # It may have been done before.
        except PartsRefused as error:
            raise UploadDamaged("the service does not have all parts any more") from error
        try:
            size = await self.bucket.size(key)
        except ObjectMissing:
            raise UploadDamaged from None
        if size != length:
            raise StorageFailed(f"the object has {size} bytes instead of {length}")
        return await self.records.replace(kept, assembled(state, length))


def assembled(state: ObjectState, length: int) -> ObjectState:
    """The state of an upload whose object is there."""
    return replace(
        state,
        offset=length,
        multipart="",
        reserved=0,
        parts=(),
        tails=(),
        is_whole=False,
        is_assembled=True,
        first=b"",
        has_crc32=None,
    )


def content_type(record: ObjectRecord) -> str:
    """What the client says that the bytes are, if a header can hold it."""
    if record.tusserver.metadata is None:
        value = (record.metadata or {}).get("filetype", "")
    else:
        fields = dict(parse_metadata(record.tusserver.metadata))
        value = fields.get("filetype", b"").decode("ascii", "replace")
    is_plain = value.isascii() and value.isprintable() and "/" in value
    return value if is_plain and len(value) <= _LONGEST_TYPE else "application/octet-stream"


async def _survived(work: Coroutine[object, object, None]) -> None:
    with suppress(TusError):
        await work

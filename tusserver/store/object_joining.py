"""Final uploads in a bucket: joined from the objects of their partials, by copies inside the
service where these are large enough.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import accumulate
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tusserver.protocol.errors import StorageFailed, StorageFull, UploadNotFound
from tusserver.store.bucket import MultipartMissing, ObjectMissing
from tusserver.store.object_assembly import assembled
from tusserver.store.object_parts import NoPartsLeft, plan_join
from tusserver.store.object_record import as_object_upload
from tusserver.together import together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tusserver.protocol.upload import Upload
    from tusserver.store.object_assembly import ObjectGround
    from tusserver.store.object_buffers import PartBuffer
    from tusserver.store.object_parts import Slice
    from tusserver.store.object_record import Kept, Part

_AT_ONCE = 4
_NOTE = b"A final upload waits for this one."


class ObjectJoiner:
    """Joins the final uploads of one store."""

    def __init__(self, ground: ObjectGround) -> None:
        self._ground = ground

    async def join(self, upload: Upload, partials: Sequence[Upload]) -> Upload:
        """See `ConcatenatingStore.concatenate`."""
        ground, upload_id = self._ground, upload.upload_id
        kept = await ground.records.load(upload_id)
        if kept.state.is_whole:
            kept = await ground.assemble(kept)
        if not kept.state.is_assembled:
            kept = await self._joined(kept, partials)
        if kept.state.has_notes:
            notes = [ground.keys.waiting(partial.upload_id, upload_id) for partial in partials]
            await ground.bucket.delete(*dict.fromkeys(notes))
        return as_object_upload(upload_id, kept)

    async def _joined(self, kept: Kept, partials: Sequence[Upload]) -> Kept:
        ground = self._ground
        sources = [ground.keys.data(partial.upload_id) for partial in partials]
        sizes = [partial.offset for partial in partials]
        await self._check(sources, sizes)
        length = sum(sizes)
        record = replace(kept.record, size=length, size_is_deferred=False)
        if kept.state.multipart:
            # Of an attempt that a crash has ended.
            await ground.bucket.abort(ground.keys.data(record.upload_id), kept.state.multipart)
        try:
            plan = plan_join(sizes, ground.options.rules)
        except NoPartsLeft as error:
            raise StorageFull("the partials are too many to be joined") from error
        try:
            if len(plan) <= 1 and length <= ground.options.rules.usual:
                return await self._join_small(kept, record.size, plan, sources)
            return await self._join_large(kept, length, plan, sources)
        except ObjectMissing:
            raise UploadNotFound from None
        except MultipartMissing as error:
            raise StorageFailed("the multipart upload has been ended from outside") from error

    async def _check(self, sources: Sequence[str], sizes: Sequence[int]) -> None:
        """Each partial is there and has the size that its record says. Raises UploadNotFound."""
        found = dict(zip(sources, sizes, strict=True))
        try:
            actual = await together(map(self._ground.bucket.size, found))
        except ObjectMissing:
            raise UploadNotFound from None
        for there, size in zip(actual, found.values(), strict=True):
            if there != size:
                raise StorageFailed("a partial is not what its record says")

    async def _join_small(
        self, kept: Kept, length: int, plan: Sequence[tuple[Slice, ...]], sources: Sequence[str]
    ) -> Kept:
        record = replace(kept.record, size=length, size_is_deferred=False)
        part = self._ground.part_buffer(max(length, 1), length)
        try:
            await self._gather([piece for slices in plan for piece in slices], sources, part)
            is_there = await self._ground.put_whole(record, part)
        finally:
            part.close()
        if not is_there:
            return await self._join_large(kept, length, plan, sources)
        state = replace(kept.state, modified_at=datetime.now(UTC))
        return await self._ground.records.replace(kept, assembled(state, length), record)

    async def _join_large(
        self, kept: Kept, length: int, plan: Sequence[tuple[Slice, ...]], sources: Sequence[str]
    ) -> Kept:
        ground = self._ground
        record = replace(kept.record, size=length, size_is_deferred=False)
        # Recorded before a byte is copied, so that this attempt can be found and ended.
        kept = await ground.begin_multipart(kept, kept.state, is_joined=True)
        placing = (
            self._place(kept, number, slices, sources) for number, slices in enumerate(plan, 1)
        )
        parts = await together(placing, at_once=_AT_ONCE)
        state = replace(
            kept.state,
            parts=tuple(parts),
            reserved=len(parts),
            is_whole=True,
            modified_at=datetime.now(UTC),
        )
        return await ground.assemble(await ground.records.replace(kept, state, record))

    async def _place(
        self, kept: Kept, number: int, slices: tuple[Slice, ...], sources: Sequence[str]
    ) -> Part:
        bucket, key = self._ground.bucket, self._ground.keys.data(kept.record.upload_id)
        multipart = kept.state.multipart
        if len(slices) == 1 and self._ground.options.rules.are_copied:
            source, start, end = slices[0]
            return await bucket.copy_part(key, multipart, number, sources[source], start, end)
        size = sum(piece.size for piece in slices)
        part = self._ground.part_buffer(size, size)
        try:
            await self._gather(slices, sources, part)
            return await bucket.put_part(key, multipart, number, part.span(), is_joined=True)
        finally:
            part.close()

    async def _gather(
        self, slices: Sequence[Slice], sources: Sequence[str], part: PartBuffer
    ) -> None:
        """Fills a part that is all front with these bytes."""
        positions = accumulate((piece.size for piece in slices), initial=0)

        async def fill(piece: Slice, position: int) -> None:
            source, start, end = piece
            async for buffer in self._ground.bucket.read(sources[source], start, end):
                part.fill_front(buffer, position)
                position += len(buffer)

        await together(map(fill, slices, positions))

    # Who waits for whom.

    async def await_partials(self, upload: Upload, partials: Sequence[Upload]) -> None:
        """See `ConcatenatingStore.await_partials`."""
        keys, final_id = self._ground.keys, upload.upload_id
        notes = [keys.waiting(partial.upload_id, final_id) for partial in partials]
        kept = await self._ground.records.load(final_id)
        await self._ground.records.replace(kept, replace(kept.state, has_notes=True))
        await together(self._ground.bucket.put(note, _NOTE) for note in dict.fromkeys(notes))

    async def waiting_for(self, partial_id: str) -> list[str]:
        """See `ConcatenatingStore.waiting_for`."""
        keys = self._ground.keys
        return [
            keys.final_of(listed.key)
            async for page in self._ground.bucket.pages(keys.waiting(partial_id))
            for listed in page
        ]

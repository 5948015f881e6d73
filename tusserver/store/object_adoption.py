"""Uploads that tusd has left in the bucket are adopted, each once and under its lock.

tusd's record does not say how far an upload has got: the sum of the parts that its multipart upload
is listed with does, and behind them what is too small for a part, the object `<object id>.part`.
Here that is looked at once and written into the record, which alone counts from then on. Of the
parts only those count that have all before them: tusd sends several at once, and one of them may
have failed. What lies in `<object id>.part` becomes a tail of ours: it is copied first, then
recorded, then removed, so that whoever comes after a crash finds either the one or the other.

Before that nothing is written, whoever looks: tusd could still go on. Afterwards it must not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from tusserver.protocol.errors import StorageFailed, UploadDamaged, UploadNotFound
from tusserver.store.bucket import MultipartMissing, ObjectMissing, PartListing
from tusserver.store.object_assembly import assembled
from tusserver.store.object_keys import is_of_tusd, multipart_of, new_token
from tusserver.store.object_record import ObjectState, Tail, as_object_upload, changed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from tusserver.protocol.upload import Upload
    from tusserver.store.bucket import Listed
    from tusserver.store.object_assembly import ObjectGround
    from tusserver.store.object_record import Kept, ObjectRecord, Part

_IN_DOUBT = 16
"""Numbers behind those of the parts under which a dead tusd may still have one stored."""


class Left(NamedTuple):
    """What tusd has left of an upload: the size of its object and of what lies behind the parts in
    bytes (None: there is none), the parts (None: the multipart upload is over), and when the first
    and the last of all that was written.
    """

    size: int | None
    tail: int | None
    parts: Sequence[Part] | None
    created_at: datetime
    modified_at: datetime


class Adopted(NamedTuple):
    """The state that an upload is adopted with, but for the `tail` bytes behind its parts, which
    have to be copied for that.
    """

    state: ObjectState
    tail: int = 0


def judge(record: ObjectRecord, left: Left, most: int) -> Adopted:
    """How far an upload has got, with part numbers up to `most`. Raises UploadDamaged if its bytes
    are not there any more.
    """
    state, length = ObjectState(modified_at=left.modified_at), record.length
    if left.size is not None and left.size == length:
        return Adopted(assembled(state, left.size))
    if left.parts is None:
        raise UploadDamaged("neither the object is there nor its parts")
    if record.is_final:
        return Adopted(state)  # Its partials are there, and joined anew.
    front = _front(left.parts)
    in_parts = sum(part.size for part in front)
    if length is not None and in_parts > length:
        raise UploadDamaged("the parts have more bytes than the upload")
    if front:
        state = _with_parts(state, front, multipart_of(record.upload_id), left.parts, most)
    if front and in_parts == length:
        # As long as they are not put together nobody may see that all are there.
        return Adopted(replace(state, offset=max(0, in_parts - 1), is_whole=True))
    # Where a part is missing, what lies behind the last one is not the end of the front.
    tail = left.tail or 0 if len(front) == len(left.parts) else 0
    if length is not None and in_parts + tail >= length:
        # The last byte has to come from the client: with it the bytes become one object.
        tail = tail - 1 if in_parts + tail == length else 0
    return Adopted(replace(state, offset=in_parts), max(0, tail))


def _front(parts: Iterable[Part]) -> tuple[Part, ...]:
    """The parts with all numbers from 1 on."""
    return tuple(part for expected, part in enumerate(parts, 1) if part.number == expected)


def _with_parts(
    state: ObjectState, front: tuple[Part, ...], multipart: str, parts: Sequence[Part], most: int
) -> ObjectState:
    # Those that are still to come are as those that are there: tusd begins all without.
    has_crc32 = all(part.crc32 for part in front)
    return replace(
        state,
        multipart=multipart,
        parts=front if has_crc32 else tuple(replace(part, crc32="") for part in front),
        reserved=min(parts[-1].number + _IN_DOUBT, most),
        has_crc32=has_crc32,
    )


class Adopter:
    """Looks at what tusd has left in one bucket, and adopts it."""

    def __init__(self, ground: ObjectGround) -> None:
        self._ground = ground
        self._bucket = ground.bucket
        self._keys = ground.keys

    def is_left(self, kept: Kept) -> bool:
        """Whether tusd was the last to write this record."""
        # Each record of ours has a revision.
        is_foreign = is_of_tusd(kept.record.upload_id) and not kept.state.revision
        return is_foreign and isinstance(self._bucket, PartListing)

    async def as_upload(self, kept: Kept) -> Upload:
        """The upload that this record stands for; one that tusd has left stands as it will once it
        is adopted, and is not settled. Raises UploadDamaged.
        """
        upload_id = kept.record.upload_id
        if not self.is_left(kept):
            return as_object_upload(upload_id, kept)
        left = await self._look(kept)
        again = await self._ground.records.load(upload_id)
        if again.etag != kept.etag:
            # Somebody has adopted it meanwhile, and may have begun to remove what was looked at.
            return await self.as_upload(again)
        state, tail = self._judge(kept, left)
        state = replace(state, offset=state.offset + tail)
        record = changed(kept.record, state, created_at=left.created_at)
        return replace(as_object_upload(upload_id, kept._replace(record=record)), is_settled=False)

    async def adopted(self, kept: Kept) -> Kept:
        """This record, adopted if tusd has left it; for the holder of the lock. Raises
        UploadDamaged, and what `ObjectRecords.replace` raises.
        """
        if not self.is_left(kept):
            return kept
        left = await self._look(kept)
        state, tail = self._judge(kept, left)
        if tail:
            state = await self._with_tail(kept, state, tail)
        record = kept.record
        kept = await self._ground.records.replace(kept, state, created_at=left.created_at)
        self._drop(record.upload_id, left, state)
        if record.length == 0 and not state.is_assembled and not record.is_final:
            kept = await self._ground.put_empty(kept)
        return kept

    def _judge(self, kept: Kept, left: Left) -> Adopted:
        return judge(kept.record, left, self._ground.options.rules.count)

    async def _look(self, kept: Kept) -> Left:
        assert isinstance(self._bucket, PartListing)
        upload_id = kept.record.upload_id
        key = self._keys.data(upload_id)
        info, tail = self._keys.info(upload_id), self._keys.left_tail(upload_id)
        there = await self._there(key, info, tail)
        if info not in there:
            raise UploadNotFound
        moments = [listed.modified_at for listed in there.values()]
        try:
            listed_parts = await self._bucket.parts(key, multipart_of(upload_id))
        except MultipartMissing:
            parts = None
        else:
            parts = [each.part for each in listed_parts]
            moments += [each.modified_at for each in listed_parts]
        return Left(
            there[key].size if key in there else None,
            there[tail].size if tail in there else None,
            parts,
            there[info].modified_at,
            max(moments),
        )

    async def _there(self, *keys: str) -> dict[str, Listed]:
        """Those of these objects that are there; all begin with the first one's key."""
        found: dict[str, Listed] = {}
        async for page in self._bucket.pages(keys[0]):
            found.update((listed.key, listed) for listed in page if listed.key in keys)
            if page and page[-1].key > max(keys):
                return found
        return found

    async def _with_tail(self, kept: Kept, state: ObjectState, size: int) -> ObjectState:
        """The state with what tusd keeps behind the parts, of which a copy is made."""
        upload_id, tail = kept.record.upload_id, Tail(new_token(), size)
        try:
            data, _ = await self._bucket.get(self._keys.left_tail(upload_id))
        except ObjectMissing:
            raise StorageFailed("tusd is at work on this upload") from None
        if len(data) < size:
            raise StorageFailed("tusd is at work on this upload")
        await self._bucket.put(self._keys.tail(upload_id, tail.token), data[:size])
        first = b"" if state.parts else data[: min(size, self._ground.options.keep_first)]
        return replace(state, tails=(tail,), offset=state.offset + size, first=first)

    def _drop(self, upload_id: str, left: Left, state: ObjectState) -> None:
        """Removes what does not count any more."""
        if left.tail is not None:
            self._ground.in_background(self._bucket.delete(self._keys.left_tail(upload_id)))
        if left.parts is not None and not state.multipart:
            key, multipart = self._keys.data(upload_id), multipart_of(upload_id)
            self._ground.in_background(self._bucket.abort(key, multipart))

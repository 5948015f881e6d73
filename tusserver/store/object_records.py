"""The records of the uploads in a bucket, each replaced only by one who has seen the last.

That makes a lock that was lost harmless: of two nodes that go on with the same upload the second
one to write learns that it is not the only one, and acknowledges nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from tusserver.protocol.errors import StorageUnavailable, TusError, UploadNotFound
from tusserver.store.bucket import ObjectMissing, Superseded
from tusserver.store.object_keys import new_token
from tusserver.store.object_record import (
    Kept,
    ObjectRecord,
    ObjectState,
    changed,
    decode_object,
    encode_object,
)

if TYPE_CHECKING:
    from tusserver.store.bucket import Bucket
    from tusserver.store.object_keys import Keys

_JSON = "application/json"


class Overtaken(StorageUnavailable):
    """Somebody else has replaced or removed the record; certain, unlike other failures to write."""


class ObjectRecords:
    """The records of one store."""

    def __init__(self, bucket: Bucket, keys: Keys) -> None:
        self._bucket = bucket
        self._keys = keys

    async def load(self, upload_id: str, *, is_removed: bool = False) -> Kept:
        """The record as it stands; one of an upload that is being removed only if `is_removed`.

        Raises UploadNotFound, UploadDamaged, StorageUnavailable, StorageFailed.
        """
        kept = await self.find(upload_id)
        # An id of tusd's is never known by its first half: that would be another lock.
        if kept.record.upload_id != upload_id or (kept.state.is_removed and not is_removed):
            raise UploadNotFound
        return kept

    async def find(self, found_id: str) -> Kept:
        """The record with the keys of this upload, or of this object id, also of one that is being
        removed: whose it is the record says. Raises what `load` raises.
        """
        try:
            data, etag = await self._bucket.get(self._keys.info(found_id))
        except ObjectMissing:
            raise UploadNotFound from None
        return Kept(decode_object(data, found_id), data, etag)

    async def named(self, object_id: str) -> str | None:
        """The id of the upload whose keys begin with this: what stands for it where the record
        cannot be read, and None if there is none any more.
        """
        try:
            return (await self.find(object_id)).record.upload_id
        except UploadNotFound:
            return None
        except TusError:
            return object_id

    async def add(self, record: ObjectRecord) -> Kept:
        """Writes the first record of an upload. Raises what `replace` raises."""
        return await self._put(record, None)

    async def replace(
        self, kept: Kept, state: ObjectState, record: ObjectRecord | None = None, **changes: object
    ) -> Kept:
        """Puts this state, and `changes` to what is tusserver's own, in the place of `kept`; in
        `record`, where more is different.

        Raises Overtaken if somebody else has replaced it meanwhile, and then it is as they left it;
        StorageUnavailable, StorageFull, StorageFailed.
        """
        return await self._put(changed(record or kept.record, state, **changes), kept)

    async def _put(self, record: ObjectRecord, former: Kept | None) -> Kept:
        state = replace(record.state, revision=new_token())
        record = changed(record, state)
        content = encode_object(record, None if former is None else former.content)
        key = self._keys.info(record.upload_id)
        try:
            etag = await self._bucket.put(
                key,
                content,
                seen=None if former is None else former.etag,
                is_new=former is None,
                content_type=_JSON,
            )
        except (Superseded, ObjectMissing):
            return await self._compare(record)
        return Kept(record, content, etag)

    async def _compare(self, record: ObjectRecord) -> Kept:
        """After a refused write: it may be our own, whose answer got lost, that stands there."""
        try:
            kept = await self.load(record.upload_id, is_removed=True)
        except UploadNotFound:
            raise Overtaken("the upload has been removed meanwhile") from None
        if kept.state.revision != record.state.revision:
            raise Overtaken("another server has gone on with this upload") from None
        return kept

    async def remove(self, upload_id: str) -> None:
        """The last step of a removal."""
        await self._bucket.delete(self._keys.info(upload_id))

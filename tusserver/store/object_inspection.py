"""What crashes leave in a bucket: found without locks, mended under them.

Only objects of a form that nobody else would choose are ever removed, and before that the record is
replaced: whoever has seen an older one, and believes to hold the upload still, can then not name
them any more.
"""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from tusserver.protocol.errors import StorageFailed, TusError, UploadDamaged, UploadNotFound
from tusserver.store.base import Finding
from tusserver.store.bucket import ObjectMissing, Superseded
from tusserver.store.object_keys import is_of_tusd
from tusserver.store.object_record import Kept, as_object_upload, decode_object
from tusserver.store.object_removal import finish_removal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from datetime import datetime

    from tusserver.protocol.upload import Upload
    from tusserver.store.bucket import Multipart
    from tusserver.store.object_adoption import Adopter
    from tusserver.store.object_assembly import ObjectGround
    from tusserver.store.object_listing import Group


class _Kind(Enum):
    """Kind, problem, remedy, and whether it is a leftover of no upload."""

    REMOVING = ("half-removed", "left by an interrupted termination", "remove the rest", True)
    STRAY = ("stray-bytes", "bytes of an interrupted request, in no record", "remove them", True)
    WAITING = (
        "stale-note",
        "a note that a final upload waits for this one, and it does not",
        "remove it",
        True,
    )
    UNSETTLED = (
        "unsettled",
        "all bytes are there, and have not been put together",
        "do that",
        False,
    )
    NO_BYTES = (
        "record-without-data",
        "the object is not what the record says",
        "see what has removed or replaced it, then bring it back or remove the upload",
        False,
    )
    NO_RECORD = (
        "object-without-record",
        "an object without a record, perhaps of another program",
        "remove it by hand if nobody needs it",
        False,
    )
    AT_PLACE = (
        "multipart-at-place",
        "a multipart upload that is not over, perhaps of another program",
        "abort it by hand if nobody needs it",
        False,
    )
    UNREADABLE = ("unreadable", "the service does not let it be read", "look at its rules", False)
    DAMAGED = (
        "damaged-record",
        "the record cannot be read",
        "set it aside as .info.damaged",
        False,
    )

    def finding(self, upload_id: str) -> Finding:
        return Finding(upload_id, *self.value)


class Seen(Struct, frozen=True):
    """What a look at an upload has shown. It is `unread` where the service has not let us."""

    upload: Upload | None
    findings: tuple[Finding, ...] = ()
    is_unread: bool = False


class ObjectInspection:
    """Looks into the bucket of one store."""

    def __init__(self, ground: ObjectGround, adopter: Adopter) -> None:
        self._ground = ground
        self._adopter = adopter
        self._bucket = ground.bucket
        self._keys = ground.keys
        self._menders: dict[str, Callable[[str], Awaitable[bool]]] = {
            _Kind.REMOVING.value[0]: self._mend_removal,
            _Kind.STRAY.value[0]: self._mend_stray,
            _Kind.WAITING.value[0]: self._mend_waiting,
            _Kind.UNSETTLED.value[0]: self._mend_unsettled,
            _Kind.NO_BYTES.value[0]: self._mend_bytes,
            _Kind.NO_RECORD.value[0]: self._mend_lonely,
            _Kind.AT_PLACE.value[0]: self._mend_at_place,
            _Kind.UNREADABLE.value[0]: self._mend_unreadable,
            _Kind.DAMAGED.value[0]: self._mend_damaged,
        }

    async def oldest(self) -> datetime | None:
        """What has no record and was written before this moment may be removed; None if the service
        does not tell the time.
        """
        now = await self._bucket.now()
        return None if now is None else now - timedelta(seconds=self._ground.options.grace)

    async def look(self, group: Group, oldest: datetime | None) -> Seen:
        """Reads the record of an upload and compares it with what is in the bucket."""
        if not group.has_record:
            return Seen(None, tuple(self._without_record(group, oldest)))
        try:
            kept = await self._ground.records.find(group.object_id)
        except UploadNotFound:
            return Seen(None)
        except UploadDamaged:
            return Seen(None, (_Kind.DAMAGED.finding(group.object_id),))
        except TusError:
            return Seen(None, (_Kind.UNREADABLE.finding(group.object_id),), is_unread=True)
        return await self._look_at(kept, group)

    async def _look_at(self, kept: Kept, group: Group) -> Seen:
        upload_id = kept.record.upload_id
        if kept.state.is_removed:
            return Seen(None, (_Kind.REMOVING.finding(upload_id),))
        try:
            upload = await self._adopter.as_upload(kept)
        except UploadNotFound:
            return Seen(None)
        except UploadDamaged:
            return Seen(None, (_Kind.NO_BYTES.finding(upload_id),))
        except TusError:
            return Seen(None, (_Kind.UNREADABLE.finding(upload_id),), is_unread=True)
        found = [kind.finding(upload_id) for kind in self._compare(kept, upload, group)]
        if await self._stale(group.notes):
            found.append(_Kind.WAITING.finding(upload_id))
        if self._adopter.is_left(kept):
            # Until a client comes tusd may have it back.
            upload = replace(upload, is_settled=True)
        return Seen(upload, tuple(found))

    def _without_record(self, group: Group, oldest: datetime | None) -> Iterable[Finding]:
        if oldest is None or group.modified_at >= oldest:
            return
        if group.tails:
            yield _Kind.STRAY.finding(group.object_id)
        if group.notes:
            yield _Kind.WAITING.finding(group.object_id)
        if group.size is not None:
            yield _Kind.NO_RECORD.finding(group.object_id)

    def _compare(self, kept: Kept, upload: Upload, group: Group) -> Iterable[_Kind]:
        has_left_tail = group.has_left_tail and self._is_adopted(kept)
        if has_left_tail or not set(group.tails) <= self._named(kept):
            yield _Kind.STRAY
        origin = upload.origin
        if isinstance(origin, Kept) and origin.state.is_whole:
            yield _Kind.UNSETTLED
        if _has_object(kept) and group.size != kept.state.offset:
            yield _Kind.NO_BYTES

    def _is_adopted(self, kept: Kept) -> bool:
        return is_of_tusd(kept.record.upload_id) and not self._adopter.is_left(kept)

    def _named(self, kept: Kept) -> set[str]:
        upload_id = kept.record.upload_id
        return {self._keys.tail(upload_id, tail.token) for tail in kept.state.tails}

    async def stray_multiparts(self, oldest: datetime | None) -> AsyncIterator[Finding]:
        """Those that no record names."""
        async for multipart in self._bucket.multiparts(self._keys.prefix):
            object_id = self._keys.object_of_data(multipart.key)
            if object_id is None:
                continue
            try:
                kept = await self._find(object_id)
            except TusError:
                continue
            if self._is_stray(multipart, kept, oldest):
                upload_id = object_id if kept is None else kept.record.upload_id
                yield _Kind.STRAY.finding(upload_id)

    async def multiparts_at_places(self, oldest: datetime | None) -> AsyncIterator[Finding]:
        """Those that are older than any copy takes: of a server that died before it could record
        one, or not ours at all. They are named by their keys.
        """
        destination = self._ground.options.destination
        if destination is None or oldest is None:
            return
        async for multipart in self._bucket.multiparts(destination.prefix):
            if multipart.initiated_at < oldest:
                yield _Kind.AT_PLACE.finding(multipart.key)

    async def _find(self, upload_id: str) -> Kept | None:
        """The record with these keys, also of an upload that is being removed; None if there is
        none.
        """
        try:
            return await self._ground.records.find(upload_id)
        except UploadNotFound:
            return None

    # Under the lock of the upload.

    async def mend(self, finding: Finding) -> bool:
        """See `InspectingStore.mend`."""
        return await self._menders[finding.kind](finding.upload_id)

    async def _mend_removal(self, upload_id: str) -> bool:
        kept = await self._find(upload_id)
        if kept is None or not kept.state.is_removed:
            return False
        await finish_removal(self._ground, kept)
        return True

    async def _mend_stray(self, upload_id: str) -> bool:
        kept = await self._find(upload_id)
        if kept is not None:
            if kept.record.upload_id != upload_id:
                return False  # Of tusd, which has come meanwhile: it has another lock.
            if kept.state.is_removed:
                return await self._mend_removal(upload_id)
            kept = await self._adopter.adopted(kept)
        oldest = await self.oldest() if kept is None else None
        tails = await self._stray_tails(upload_id, kept, oldest)
        multiparts = await self._strays_at(upload_id, kept, oldest)
        if not tails and not multiparts:
            return False
        if kept is not None:
            await self._ground.records.replace(kept, kept.state)
        await self._bucket.delete(*tails)
        for multipart in multiparts:
            await self._bucket.abort(self._keys.data(upload_id), multipart)
        return True

    async def _stray_tails(
        self, upload_id: str, kept: Kept | None, oldest: datetime | None
    ) -> list[str]:
        named = set() if kept is None else self._named(kept)
        left = self._keys.left_tail(upload_id)
        return [
            listed.key
            async for page in self._bucket.pages(left)
            for listed in page
            if self._keys.own(listed.key) is not None
            or (listed.key == left and kept is not None and self._is_adopted(kept))
            if listed.key not in named
            if kept is not None or (oldest is not None and listed.modified_at < oldest)
        ]

    async def _strays_at(
        self, upload_id: str, kept: Kept | None, oldest: datetime | None
    ) -> list[str | None]:
        key = self._keys.data(upload_id)
        return [
            multipart.multipart
            async for multipart in self._bucket.multiparts(key)
            if multipart.key == key and self._is_stray(multipart, kept, oldest)
        ]

    def _is_stray(self, multipart: Multipart, kept: Kept | None, oldest: datetime | None) -> bool:
        """Whether the record does not name it, or there is none and it is old."""
        if kept is None:
            return oldest is not None and multipart.initiated_at < oldest
        if kept.state.is_removed or self._adopter.is_left(kept):
            return False  # The removal ends them all; what tusd has left is no matter of ours yet.
        if multipart.multipart is None:
            return not kept.state.multipart
        return kept.state.multipart != multipart.multipart

    async def _stale(self, notes: Iterable[str]) -> list[str]:
        """Those notes whose final uploads do not wait any more."""
        return [note for note in notes if not await self._is_pending(self._keys.final_of(note))]

    async def _is_pending(self, upload_id: str) -> bool:
        try:
            kept = await self._ground.records.load(upload_id)
        except (UploadNotFound, UploadDamaged):
            return False
        except TusError:
            return True  # Nobody can say; its notes do no harm.
        return as_object_upload(upload_id, kept).is_pending

    async def _mend_waiting(self, partial_id: str) -> bool:
        pages = self._bucket.pages(self._keys.waiting(partial_id))
        stale = await self._stale([listed.key async for page in pages for listed in page])
        await self._bucket.delete(*stale)
        return bool(stale)

    async def _mend_unsettled(self, upload_id: str) -> bool:
        kept = await self._ground.records.load(upload_id)
        kept = await self._adopter.adopted(kept)
        if kept.state.is_whole:
            await self._ground.assemble(kept)
        return kept.state.is_whole

    async def _mend_bytes(self, upload_id: str) -> bool:
        """Nothing but a person can do that: the bytes may come back."""
        kept = await self._ground.records.load(upload_id)
        await self._adopter.as_upload(kept)  # Tells what tusd has left, and is not there any more.
        if not _has_object(kept):
            return False
        try:
            size = await self._bucket.size(self._keys.data(upload_id))
        except ObjectMissing:
            raise UploadDamaged("the object is gone") from None
        if size != kept.state.offset:
            raise UploadDamaged(f"the object has {size} bytes instead of {kept.state.offset}")
        return False

    async def _mend_lonely(self, upload_id: str) -> bool:
        if await self._find(upload_id) is not None:
            return False
        try:
            await self._bucket.size(self._keys.data(upload_id))
        except ObjectMissing:
            return False
        raise StorageFailed("it may be of another program; remove it by hand if nobody needs it")

    async def _mend_at_place(self, key: str) -> bool:
        async for multipart in self._bucket.multiparts(key):
            if multipart.key == key:
                raise StorageFailed("it may be of another program; abort it by hand")
        return False

    async def _mend_unreadable(self, upload_id: str) -> bool:
        await self._ground.records.find(upload_id)  # Tells why.
        return False

    async def _mend_damaged(self, upload_id: str) -> bool:
        info = self._keys.info(upload_id)
        try:
            content, etag = await self._bucket.get(info)
            decode_object(content, upload_id)
        except ObjectMissing:
            return False
        except UploadDamaged:
            await self._bucket.put(self._keys.set_aside(upload_id), content)
            return await self._removed(info, etag)
        return False

    async def _removed(self, key: str, seen: str) -> bool:
        try:
            await self._bucket.delete_seen(key, seen)
        except (Superseded, ObjectMissing):
            return False
        return True


def _has_object(kept: Kept) -> bool:
    """Whether the record says that the bytes are one object here."""
    finish = kept.record.tusserver.finish
    return kept.state.is_assembled and not (finish is not None and finish.has_left)

"""Hands finished uploads over to other programs: copies them, inside the service, to keys of their
own below another prefix of the bucket, never over what is there unless that is wished.

A copy appears at one stroke, marked with the upload that it is of. It is recorded before it begins,
so that after a crash the next attempt ends what was begun, and nobody who comes late can complete
it; if the mark is there by then, the copy is. The bytes of the upload go once the record says where
the copy is.

Somebody may take a copy away before that is recorded. It is made once more then: the mark is gone
with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tusserver.protocol.errors import StorageFailed, UploadNotFound
from tusserver.store.base import PlaceRefused
from tusserver.store.bucket import KeyRefused, MultipartMissing, ObjectMissing, Superseded
from tusserver.store.collisions import OnCollision, candidates
from tusserver.store.object_assembly import content_type
from tusserver.store.object_record import Copying
from tusserver.store.object_records import Overtaken
from tusserver.store.object_removal import record_outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tusserver.protocol.finish import Finish
    from tusserver.protocol.upload import Upload
    from tusserver.store.object_assembly import ObjectGround
    from tusserver.store.object_record import Kept

RECORDED = "recorded"
COPIED = "copied"
_MAX_KEY = 1024
"""Bytes of the longest key that every service takes."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where finished uploads go: keys that begin with `prefix`, which no upload's own key does.
    `numbered` makes another name of a name and a number from 1 on.
    """

    prefix: str
    on_collision: OnCollision
    numbered: Callable[[str, int], str]


class ObjectPlaces:
    """Where the uploads of one store go."""

    def __init__(self, ground: ObjectGround, destination: Destination) -> None:
        self._ground = ground
        self._destination = destination

    async def place(
        self, upload: Upload, folders: Sequence[str], name: str, on_step: Callable[[str], None]
    ) -> Kept:
        """See `PlacingStore.place`."""
        assert upload.finish is not None
        kept = await self._ground.records.load(upload.upload_id)
        if not await self._ended_former(kept):
            kept = await self._copied(kept, folders, name, on_step)
        copying = kept.state.copying
        assert copying is not None
        finish = replace(upload.finish, place=copying.path)
        return await record_outcome(self._ground, kept, finish)

    async def _ended_former(self, kept: Kept) -> bool:
        """Ends the copy of an attempt that a crash has ended; whether it was there already."""
        copying = kept.state.copying
        if copying is None:
            return False
        await self._ground.bucket.abort(copying.key, copying.multipart)
        return await self._is_there(copying.key, kept)

    async def _copied(
        self, kept: Kept, folders: Sequence[str], name: str, on_step: Callable[[str], None]
    ) -> Kept:
        destination = self._destination
        for candidate in candidates(name, destination.on_collision, destination.numbered):
            path = "/".join((*folders, candidate))
            if not await self._may_go_to(self._key(path)):
                continue
            kept = await self._begun(kept, path)
            on_step(RECORDED)
            if await self._copy(kept):
                on_step(COPIED)
                return kept
        raise PlaceRefused(f"{'/'.join((*folders, name))!r} is taken")

    def _key(self, path: str) -> str:
        return self._destination.prefix + path

    async def _may_go_to(self, key: str) -> bool:
        if len(key.encode()) > _MAX_KEY:
            raise PlaceRefused(f"the name {key!r} is too long")
        if self._destination.on_collision is OnCollision.REPLACE:
            return True
        try:
            await self._ground.bucket.size(key)
        except ObjectMissing:
            return True
        return False

    async def _begun(self, kept: Kept, path: str) -> Kept:
        """Records that a copy begins; whatever it leaves can be found from then on."""
        bucket, key = self._ground.bucket, self._key(path)
        multipart = await bucket.begin_copy(key, kept.record.upload_id, content_type(kept.record))
        copying = Copying(key, multipart, path)
        try:
            return await self._ground.records.replace(kept, replace(kept.state, copying=copying))
        except Overtaken:
            self._ground.in_background(bucket.abort(key, multipart))
            raise

    async def _copy(self, kept: Kept) -> bool:
        """False if somebody else has taken the name meanwhile."""
        bucket, copying = self._ground.bucket, kept.state.copying
        assert copying is not None
        upload_id = kept.record.upload_id
        try:
            await bucket.copy(
                self._ground.keys.data(upload_id),
                kept.state.offset,
                copying.key,
                copying.multipart,
                upload_id,
                is_new=self._destination.on_collision is not OnCollision.REPLACE,
            )
        except (Superseded, MultipartMissing) as error:
            # The answer to an earlier attempt may have been lost.
            if await self._is_there(copying.key, kept):
                return True
            if isinstance(error, MultipartMissing):
                raise StorageFailed("the copy has been ended from outside") from error
            await bucket.abort(copying.key, copying.multipart)
            return False
        except KeyRefused as error:
            await bucket.abort(copying.key, copying.multipart)
            raise PlaceRefused(f"{copying.path!r} cannot be: {error}") from error
        except ObjectMissing as error:
            raise StorageFailed("there is nothing to place") from error
        return True

    async def _is_there(self, key: str, kept: Kept) -> bool:
        """Whether the object is our copy."""
        try:
            return await self._ground.bucket.marked(key) == kept.record.upload_id
        except ObjectMissing:
            return False

    async def key_of(self, kept: Kept, finish: Finish) -> str:
        """The key of an upload that has been placed. Raises UploadNotFound if it is not there any
        more, or has become another one.
        """
        key = self._key(finish.place)
        if not await self._is_there(key, kept):
            raise UploadNotFound
        return key

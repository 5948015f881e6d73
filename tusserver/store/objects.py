"""Uploads in a bucket of an object store, for any number of servers that share a locker.

The record of an upload says how far it has got, and which parts of a multipart upload and which
smaller objects hold its bytes (object_record, object_keys). Nothing else counts: what is listed in
the bucket is never added up, except once for an upload that tusd has left (object_adoption). A body
becomes parts in object_session; object_assembly makes one object of them, object_joining one upload
of several, object_removal removes all, object_survey finds what crashes have left.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tusserver.protocol.decision import Outcome, Trailer
from tusserver.protocol.errors import UploadDamaged, UploadNotFound
from tusserver.protocol.upload import Final
from tusserver.store.base import Appended
from tusserver.store.bucket import ObjectMissing, PartListing, PartsRefused
from tusserver.store.object_adoption import Adopter
from tusserver.store.object_assembly import ObjectGround
from tusserver.store.object_joining import ObjectJoiner
from tusserver.store.object_keys import Keys
from tusserver.store.object_places import ObjectPlaces
from tusserver.store.object_record import Kept, as_object_upload, new_object_record
from tusserver.store.object_records import ObjectRecords
from tusserver.store.object_removal import record_outcome, remove
from tusserver.store.object_session import ObjectSession
from tusserver.store.object_survey import ObjectSurvey
from tusserver.together import together

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

    from tusserver.protocol.checksum import Checksum
    from tusserver.protocol.decision import Append
    from tusserver.protocol.finish import Finish
    from tusserver.protocol.upload import Upload
    from tusserver.store.base import Body, Finding, Known, Mark, Surveyed
    from tusserver.store.bucket import Bucket
    from tusserver.store.object_options import ObjectOptions
    from tusserver.store.object_record import ObjectState


class ObjectStore:
    """One prefix of one bucket."""

    def __init__(self, bucket: Bucket, options: ObjectOptions) -> None:
        self.options = options
        self.bucket = bucket
        self._keys = Keys(options.prefix)
        self._records = ObjectRecords(self.bucket, self._keys)
        self._ground = ObjectGround(options, self.bucket, self._keys, self._records)
        self._adopter = Adopter(self._ground)
        self._joiner = ObjectJoiner(self._ground)
        self._survey = ObjectSurvey(self._ground, self._adopter)
        destination = options.destination
        self._places = None if destination is None else ObjectPlaces(self._ground, destination)

    async def connect(self) -> None:
        await self.bucket.start()

    async def start(self) -> None:
        """Raises StoreUnusable when the bucket cannot be reached, or parts have no room to wait
        in.
        """
        self._ground.prepare_spool()
        await self.connect()

    async def close(self) -> None:
        await self._ground.settle()
        await self.bucket.close()

    async def create(self, upload: Upload) -> Upload:
        storage = self.bucket.storage(self._keys.data(upload.upload_id))
        kept = await self._records.add(new_object_record(upload, storage))
        if upload.is_complete and not isinstance(upload.concat, Final):
            kept = await self._ground.put_empty(kept)
        return as_object_upload(upload.upload_id, kept)

    async def get(self, upload_id: str, *, is_held: bool = False) -> Upload:
        return await self._adopter.as_upload(await self._records.load(upload_id))

    async def open(self, upload_id: str) -> Upload:
        kept = await self._adopter.adopted(await self._records.load(upload_id))
        if kept.state.is_whole:
            kept = await self._ground.assemble(kept)
        elif kept.state.parts:
            await self._check_parts(kept.record.upload_id, kept.state)
        return as_object_upload(upload_id, kept)

    async def _check_parts(self, upload_id: str, state: ObjectState) -> None:
        """After a long rest: better now than with the last byte. Raises UploadDamaged."""
        keeping = self.bucket.keeps_parts
        if keeping is None or state.modified_at is None:
            return
        if datetime.now(UTC) - state.modified_at < keeping:
            return
        try:
            await self.bucket.check_parts(self._keys.data(upload_id), state.multipart, state.parts)
        except PartsRefused:
            raise UploadDamaged("the service has not kept the bytes for so long") from None

    async def append(
        self, upload: Upload, plan: Append, body: Body, late_checksum: Callable[[], Checksum | None]
    ) -> Appended:
        kept = upload.origin
        assert isinstance(kept, Kept)
        session = ObjectSession(self._ground, kept, plan, body)
        try:
            outcome = await session.write_all()
            late = None
            if outcome is Outcome.COMPLETE and plan.trailer is not Trailer.ABSENT:
                late = late_checksum()
            kept, outcome = await session.complete(outcome, late)
        except BaseException:
            await session.abandon()
            raise
        finally:
            await session.close()
        return Appended(as_object_upload(upload.upload_id, kept), outcome)

    async def read(self, upload: Upload, start: int, end: int) -> AsyncGenerator[bytes, None]:
        kept = upload.origin
        assert isinstance(kept, Kept)
        if start == end:
            return
        if not kept.state.is_assembled:
            yield self._first(await self._records.load(upload.upload_id), start, end)
            return
        try:
            async for buffer in self.bucket.read(await self._key_of(kept), start, end):
                yield buffer
        except ObjectMissing:
            raise UploadNotFound from None

    async def _key_of(self, kept: Kept) -> str:
        """Where the object is."""
        finish = kept.record.tusserver.finish
        if finish is None or not finish.place:
            return self._keys.data(kept.record.upload_id)
        if self._places is None:
            raise UploadNotFound
        return await self._places.key_of(kept, finish)

    def _first(self, kept: Kept, start: int, end: int) -> bytes:
        """The first bytes of an upload that is not finished, which can be had as far as they are
        kept.
        """
        if end > len(kept.state.first):
            raise UploadNotFound
        return kept.state.first[start:end]

    async def record_finish(self, upload: Upload, finish: Finish) -> Upload:
        kept = await self._records.load(upload.upload_id)
        changed = await record_outcome(self._ground, kept, finish)
        return as_object_upload(upload.upload_id, changed)

    async def place(
        self,
        upload: Upload,
        folders: Sequence[str],
        name: str,
        on_step: Callable[[str], None] = lambda step: None,
    ) -> Upload:
        assert self._places is not None
        placed = await self._places.place(upload, folders, name, on_step)
        return as_object_upload(upload.upload_id, placed)

    def on_stored(self, listener: Callable[[str, int], None]) -> None:
        self._ground.on_stored = listener

    def ids(self) -> AsyncIterator[str]:
        return self._ids()

    async def _ids(self) -> AsyncIterator[str]:
        async for page in self.bucket.pages(self._keys.prefix):
            names = [self._keys.object_of_info(listed.key) for listed in page]
            found: Sequence[str | None] = names
            if isinstance(self.bucket, PartListing):
                # Some may be of tusd, whose keys do not tell the whole id.
                found = await together(self._records.named(name) for name in names if name)
            for upload_id in filter(None, found):
                yield upload_id

    async def terminate(self, upload_id: str) -> None:
        await remove(self._ground, upload_id)

    async def concatenate(self, upload: Upload, partials: Sequence[Upload]) -> Upload:
        return await self._joiner.join(upload, partials)

    async def await_partials(self, upload: Upload, partials: Sequence[Upload]) -> None:
        await self._joiner.await_partials(upload, partials)

    async def waiting_for(self, partial_id: str) -> Sequence[str]:
        return await self._joiner.waiting_for(partial_id)

    def findings(self) -> AsyncIterator[Finding]:
        return self._survey.findings()

    async def mend(self, finding: Finding) -> bool:
        return await self._survey.inspection.mend(finding)

    async def mark(self) -> Mark | None:
        return await self._survey.mark()

    def survey(
        self, wants: Callable[[Upload], bool], known: Known | None = None
    ) -> AsyncIterator[Surveyed]:
        return self._survey.steps(wants, known)

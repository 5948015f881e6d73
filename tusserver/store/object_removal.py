"""Removes uploads from a bucket, in steps that a crash may come between: first the record says so,
then everything goes, the record last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from tusserver.protocol.finish import Finish
    from tusserver.store.object_assembly import ObjectGround
    from tusserver.store.object_record import Kept, ObjectState


async def remove(ground: ObjectGround, upload_id: str) -> None:
    """Removes an upload; carries on a removal that was begun. Raises UploadNotFound."""
    kept = await ground.records.load(upload_id)
    # From here on nobody who has seen an older record can write another.
    kept = await ground.records.replace(kept, replace(kept.state, is_removed=True))
    await finish_removal(ground, kept)


async def finish_removal(ground: ObjectGround, kept: Kept) -> None:
    """Removes all that belongs to an upload whose record says that it is being removed."""
    record = kept.record
    await remove_bytes(ground, record.upload_id, kept.state)
    keys, upload_id = ground.keys, record.upload_id
    async for page in ground.bucket.pages(f"{keys.data(upload_id)}."):
        # Also tails that nobody could record.
        mine = [listed.key for listed in page if keys.goes_with(upload_id, listed.key)]
        await ground.bucket.delete(*mine)
    if kept.state.has_notes:
        notes = [keys.waiting(partial, upload_id) for partial in record.partial_uploads or ()]
        await ground.bucket.delete(*dict.fromkeys(notes))
    await ground.records.remove(upload_id)


async def record_outcome(ground: ObjectGround, kept: Kept, finish: Finish) -> Kept:
    """See `FinishingStore.record_finish`."""
    state = kept.state
    if finish.has_left:
        state = replace(state, parts=(), tails=(), multipart="", is_whole=False, copying=None)
    changed = await ground.records.replace(kept, state, finish=finish)
    if finish.has_left:
        left = replace(kept.state, copying=None) if finish.place else kept.state
        await remove_bytes(ground, kept.record.upload_id, left)
    return changed


async def remove_bytes(ground: ObjectGround, upload_id: str, state: ObjectState) -> None:
    """Removes the bytes of an upload, wherever they lie, but what has appeared at its place."""
    copying = state.copying
    if copying is not None:
        await ground.bucket.abort(copying.key, copying.multipart)
    await ground.bucket.clear(ground.keys.data(upload_id))
    await ground.bucket.delete(*(ground.keys.tail(upload_id, tail.token) for tail in state.tails))

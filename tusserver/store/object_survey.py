"""Goes through a bucket for the sweeper: which uploads it wants to see, and what crashes have left.

A listing tells for a thousand objects at once when they were written. Records are read a few at a
time, and after the first survey only where something was written since, or where the time of the
last byte may have become a matter: that is not later than the record, but may be earlier.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tusserver.store.base import Mark, Surveyed
from tusserver.store.object_inspection import ObjectInspection, Seen
from tusserver.store.object_keys import object_id
from tusserver.store.object_listing import Group, groups
from tusserver.together import together

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from datetime import datetime

    from tusserver.protocol.upload import Upload
    from tusserver.store.base import Finding, Known
    from tusserver.store.object_adoption import Adopter
    from tusserver.store.object_assembly import ObjectGround

_AT_ONCE = 8
_DOUBT = 60.0
"""Seconds by which the clocks of the service and of the servers may differ."""


class ObjectSurvey:
    """Surveys of one store."""

    def __init__(self, ground: ObjectGround, adopter: Adopter) -> None:
        self._ground = ground
        self.inspection = ObjectInspection(ground, adopter)

    async def mark(self) -> Mark | None:
        """Now, by the clock of the service; None if it does not tell."""
        now = await self._ground.bucket.now()
        return None if now is None else Mark(now.timestamp(), time.monotonic())

    async def findings(self) -> AsyncIterator[Finding]:
        """See `InspectingStore.findings`."""
        oldest = await self.inspection.oldest()
        async for batch in self._batches():
            for seen in await self._looked(batch, oldest):
                for finding in seen.findings:
                    yield finding
        async for finding in self.inspection.stray_multiparts(oldest):
            yield finding
        async for finding in self.inspection.multiparts_at_places(oldest):
            yield finding

    async def steps(
        self, wants: Callable[[Upload], bool], known: Known | None
    ) -> AsyncIterator[Surveyed]:
        """See `SurveyingStore.survey`."""
        oldest = await self.inspection.oldest()
        again = {object_id(upload_id) for upload_id in known.again} if known else set()
        async for batch in self._batches():
            changed = [
                group
                for group in batch
                if known is None or group.object_id in again or not _is_as_it_was(group, known)
            ]
            seen = await self._looked(changed, oldest)
            wanted = await asyncio.to_thread(_wanted, wants, changed, seen)
            leftovers = [finding for one in seen for finding in one.findings if finding.is_leftover]
            yield Surveyed(sum(group.has_record for group in batch), wanted, leftovers)
        async for finding in self.inspection.stray_multiparts(oldest):
            yield Surveyed(0, (), (finding,))

    async def _batches(self) -> AsyncIterator[list[Group]]:
        batch: list[Group] = []
        async for group in groups(self._ground.bucket, self._ground.keys):
            batch.append(group)
            if len(batch) == _AT_ONCE:
                yield batch
                batch = []
        if batch:
            yield batch

    async def _looked(self, batch: Sequence[Group], oldest: datetime | None) -> list[Seen]:
        return await together(self.inspection.look(group, oldest) for group in batch)


def _wanted(
    wants: Callable[[Upload], bool], batch: Sequence[Group], seen: Sequence[Seen]
) -> list[str]:
    return [
        group.object_id if one.upload is None else one.upload.upload_id
        for group, one in zip(batch, seen, strict=True)
        if one.is_unread or (one.upload is not None and wants(one.upload))
    ]


def _is_as_it_was(group: Group, known: Known) -> bool:
    """Whether an earlier look at this upload still tells how it stands."""
    if not group.has_record:
        return False
    written = group.modified_at.timestamp()
    if written >= known.mark.moment - _DOUBT:
        return False
    # The last byte is no later than this, and may be as old as one likes: the finish is recorded,
    # too. So the upload is certainly not due for the first time only if this is older than all
    # that can have become due. (The bytes of what tusd has left may be younger: such an upload is
    # seen to be due by the next survey that reads all.)
    return not any(written > after - _DOUBT for after, _ in known.ripened)

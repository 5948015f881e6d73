"""What Azure alone has: blocks that wait in the place of an object, which a mark keeps for them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from tusserver.checking.base import Check, Found, Lacking
from tusserver.checking.bucket_multiparts import JOIN, SEND, MultipartChecks, some, some_last
from tusserver.checking.bucket_objects import BUCKET, WRITE
from tusserver.checking.bucket_trial import MEDIA_TYPE, as_part
from tusserver.store.bucket import ObjectMissing, PartsRefused, Superseded

if TYPE_CHECKING:
    from tusserver.store.object_record import Part

_LARGE = 300 * 1024
"""Bytes of an object that the store sends as blocks, though it is one."""
_LOST = "a late server could take the bytes of unfinished uploads away: keep them elsewhere"


class BlockChecks(MultipartChecks):
    """What is done with blocks."""

    def checks(self) -> tuple[Check, ...]:
        """In the order in which they build on each other."""
        listing = "list the blocks that wait"
        # What a join that went wrong has left lies in the place of blocks.
        return (
            *self.common(joined=(JOIN,)),
            Check("write an object in blocks", self._write_in_blocks, after=(BUCKET, WRITE)),
            Check(listing, self._list_blocks, after=(SEND,)),
            Check("keep the blocks that wait", self._keep, after=(SEND, JOIN, listing)),
            Check("put blocks together twice", self._join_again, after=(SEND, JOIN)),
        )

    async def _write_in_blocks(self) -> Found:
        key, first, second = self.trial.new_key(), some(_LARGE), some(_LARGE)
        with as_part(first) as data:
            await self.bucket.put(key, data, is_new=True)
        with suppress(Superseded), as_part(second) as data:
            await self.bucket.put(key, data, is_new=True)
            text = "a second list of blocks with If-None-Match: * was accepted, over the first one"
            raise Lacking(text, self.trial.service.is_unconditional)
        if (await self.bucket.get(key)).data != first:
            raise Lacking("other bytes came back than were written", self.trial.service.is_broken)
        return Found()

    async def _list_blocks(self) -> Found:
        """By which an upload that has lost its blocks is told from one that goes on."""
        multipart, part = await self.waiting()
        if not await self._are_there(multipart, part):
            raise Lacking("a block that was just sent is not listed", _LOST)
        if await self._are_there(await self.trial.begin(), part):
            raise Lacking("blocks are told that were never sent", self.trial.service.is_broken)
        return Found()

    async def _are_there(self, multipart: str, *parts: Part) -> bool:
        try:
            await self.bucket.check_parts(self.key, multipart, parts)
        except PartsRefused:
            return False
        return True

    async def _keep(self) -> Found:
        """From a server that believes that it may write the object as a whole."""
        multipart, part = await self.waiting()
        with suppress(ObjectMissing):
            await self.bucket.size(self.key)
            text = "the mark of an unfinished upload came back without its metadata"
            raise Lacking(text, "it would be taken for an object: see what drops x-ms-meta headers")
        async with self.trial.covered():
            with suppress(Superseded):
                await self.bucket.put(self.key, b"late", is_new=True)
                raise Lacking("an object was accepted over blocks that wait", _LOST)
            if not await self._are_there(multipart, part):
                raise Lacking("blocks are gone after a write that was refused", _LOST)
            await self.bucket.clear(self.key)
        return Found()

    async def _join_again(self) -> Found:
        """As after an answer that was lost."""
        multipart, data = await self.trial.begin(), some_last()
        part = await self.put(multipart, 1, data)
        async with self.trial.covered():
            await self.bucket.complete(self.key, multipart, [part], MEDIA_TYPE)
            try:
                await self.bucket.complete(self.key, multipart, [part], MEDIA_TYPE)
            except PartsRefused as error:
                text = "the same list is refused once it has been done"
                raise Lacking(text, "uploads would not be finished after a crash") from error
            await self.compare([data])
        return Found("the second time changes nothing")

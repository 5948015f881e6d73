"""Objects: written, read, listed, removed, and replaced only by one who has seen the last."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from tusserver.checking.base import Check, Found, Lacking
from tusserver.checking.bucket_trial import SKEW
from tusserver.protocol.errors import StorageUnavailable
from tusserver.store.base import StoreUnusable
from tusserver.store.bucket import ObjectMissing, Superseded

if TYPE_CHECKING:
    from tusserver.checking.bucket_trial import Trial

_SIZE = 1000
_AT_ONCE = 8
_WARN_SKEW = 30.0
"""Seconds; some services tell the time to the second only."""
BUCKET, WRITE = "reach the bucket", "write an object"


class ObjectChecks:
    """What is done with single objects."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._bucket = trial.bucket
        self._service = service = trial.service
        self._broken, self._unconditional = service.is_broken, service.is_unconditional
        self._key, self._data, self._etag = "", secrets.token_bytes(_SIZE), ""

    def checks(self) -> tuple[Check, ...]:
        """In the order in which they build on each other."""
        built, seen = (BUCKET, WRITE), "replace only what was seen"
        is_needed = self._service.needs_seen_removals
        return (
            Check(BUCKET, self._reach),
            Check("clocks agree", self._clock, is_needed=False, after=(BUCKET,)),
            Check(WRITE, self._write, after=(BUCKET,)),
            Check("read an object", self._read, after=built),
            Check("read a range", self._read_range, after=built),
            Check("size of an object", self._size, after=built),
            Check("list objects", self._list, after=built),
            Check("verify a checksum", self._verify, after=built),
            Check("write only what is new", self._write_new, after=built),
            Check(seen, self._replace_seen, after=built),
            Check("only one replaces it", self._race, after=(*built, seen)),
            Check("remove an object", self._delete, after=built),
            Check("remove only what was seen", self._delete_seen, is_needed=is_needed, after=built),
        )

    async def _reach(self) -> Found:
        trial, started = self._trial, time.monotonic()
        try:
            await trial.bucket.start()
            took = time.monotonic() - started
            await trial.liar.start()
        except StoreUnusable as error:
            raise trial.service.unreached(error) from error
        trial.is_connected = True
        return Found(f"answered in {took * 1000:.0f} ms")

    async def _clock(self) -> Found:
        before = time.time()
        now = await self._bucket.now()
        ours = (before + time.time()) / 2
        if now is None:
            advice = "what a crash leaves without a record will not be removed by the sweeper"
            return Found("the service does not tell the time", advice, is_note=True)
        # It is told without its fraction.
        skew = now.timestamp() + 0.5 - ours
        if abs(skew) > _WARN_SKEW:
            advice = f"let both be set by NTP; from {SKEW} s on every request is refused"
            return Found(f"they differ by {abs(skew):.0f} s", advice, is_note=True)
        return Found(f"within {max(1, round(abs(skew)))} s")

    async def _write(self) -> Found:
        self._key = self._trial.new_key()
        self._etag = await self._bucket.put(self._key, self._data)
        return Found(self._key)

    async def _read(self) -> Found:
        content = await self._bucket.get(self._key)
        if content.data != self._data:
            raise Lacking("other bytes came back than were written", self._broken)
        if content.etag != self._etag:
            raise Lacking("it is told with another tag than it was written with", self._broken)
        return Found()

    async def _read_range(self) -> Found:
        buffers = [data async for data in self._bucket.read(self._key, 100, 300)]
        if b"".join(buffers) != self._data[100:300]:
            raise Lacking("other bytes came than were asked for", self._broken)
        return Found()

    async def _size(self) -> Found:
        size = await self._bucket.size(self._key)
        if size != _SIZE:
            raise Lacking(f"{size} bytes are told instead of {_SIZE}", self._broken)
        return Found()

    async def _list(self) -> Found:
        prefix = self._trial.keys.data(self._trial.plain_id)
        listed = [each.key async for page in self._bucket.pages(prefix) for each in page]
        if listed != [self._key]:
            raise Lacking("an object is not listed right after it was written", self._broken)
        return Found()

    async def _verify(self) -> Found:
        kind = self._service.checksum
        if kind is None:
            advice = "a part that is cut on its way may be taken for a whole one"
            return Found(self._service.checksum_is_off, advice, is_note=True)
        key, advice = self._trial.new_key(), self._service.verifies_nothing
        with suppress(ObjectMissing):
            if await self._trial.refuses(self._trial.liar.put(key, self._data)):
                await self._bucket.size(key)
                raise Lacking("an object with a wrong checksum was refused, and kept", advice)
            raise Lacking(f"a wrong checksum ({kind}) was accepted", advice)
        return Found(kind)

    async def _write_new(self) -> Found:
        key = self._trial.new_key()
        await self._bucket.put(key, self._data, is_new=True)
        with suppress(Superseded):
            await self._bucket.put(key, b"another", is_new=True)
            text = "a second write with If-None-Match: * was accepted, over the first one"
            raise Lacking(text, self._unconditional)
        return await self._unharmed(key, self._data)

    async def _replace_seen(self) -> Found:
        key = self._trial.new_key()
        first = await self._bucket.put(key, b"first")
        second = await self._bucket.put(key, b"second", seen=first)
        with suppress(Superseded):
            await self._bucket.put(key, b"third", seen=first)
            text = "a write with If-Match and an old tag was accepted, over a newer one"
            raise Lacking(text, self._unconditional)
        await self._bucket.put(key, b"third", seen=second)
        return await self._unharmed(key, b"third")

    async def _unharmed(self, key: str, data: bytes) -> Found:
        if (await self._bucket.get(key)).data != data:
            raise Lacking("a write was refused, and done all the same", self._unconditional)
        return Found()

    async def _race(self) -> Found:
        key = self._trial.new_key()
        seen = await self._bucket.put(key, b"seen by all")

        async def replace(number: int) -> bool:
            try:
                await self._bucket.put(key, b"%d" % number, seen=seen)
            except (Superseded, StorageUnavailable):
                return False
            return True

        won = sum(await asyncio.gather(*map(replace, range(_AT_ONCE))))
        if won > 1:
            text = f"{won} of {_AT_ONCE} who replaced the same object at once were told they had"
            raise Lacking(text, self._unconditional)
        return Found(f"of {_AT_ONCE} at once")

    async def _delete(self) -> Found:
        await self._bucket.delete(self._key)
        with suppress(ObjectMissing):
            await self._bucket.size(self._key)
            raise Lacking("it is still there afterwards", self._broken)
        await self._bucket.delete(self._key)  # What is gone may be removed once more.
        return Found()

    async def _delete_seen(self) -> Found:
        key = self._trial.new_key()
        old = await self._bucket.put(key, b"old")
        present = await self._bucket.put(key, b"present")
        with suppress(Superseded):
            await self._bucket.delete_seen(key, old)
            text = "a removal with If-Match and an old tag was accepted"
            raise Lacking(text, self._service.removes_unseen)
        await self._bucket.delete_seen(key, present)
        return Found()

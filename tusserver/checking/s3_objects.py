"""Objects: written, read, listed, removed, and replaced only by one who has seen the last."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from tusserver.checking.base import Check, Found, Lacking
from tusserver.checking.s3_trial import SKEW, code_of, refusal, refuses, skew_of, status_of
from tusserver.protocol.errors import StorageUnavailable
from tusserver.store.base import StoreUnusable
from tusserver.store.bucket import ObjectMissing, Superseded
from tusserver.store.s3_options import PartChecksum

if TYPE_CHECKING:
    from tusserver.checking.s3_trial import Trial

_SIZE = 1000
_AT_ONCE = 8
_WARN_SKEW = 30.0
"""Seconds; some services tell the time to the second only."""
_UNCONDITIONAL = (
    "two servers could both go on with the same upload: use a release of the service that knows "
    "conditional writes (If-Match, If-None-Match), and no proxy that drops these headers"
)
BUCKET, WRITE = "reach the bucket", "write an object"


class ObjectChecks:
    """What is done with single objects."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._bucket = trial.bucket
        self._key, self._data, self._etag = "", secrets.token_bytes(_SIZE), ""

    def checks(self) -> tuple[Check, ...]:
        """In the order in which they build on each other."""
        built, seen = (BUCKET, WRITE), "replace only what was seen"
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
            Check("remove only what was seen", self._delete_seen, is_needed=False, after=built),
        )

    async def _reach(self) -> Found:
        trial, started = self._trial, time.monotonic()
        try:
            await trial.bucket.start()
            took = time.monotonic() - started
            await trial.liar.start()
        except StoreUnusable as error:
            raise self._unreached(error) from error
        trial.is_connected = True
        return Found(f"answered in {took * 1000:.0f} ms")

    def _unreached(self, error: StoreUnusable) -> Lacking:
        answer, bucket = refusal(error), self._trial.options.bucket
        if answer is None:
            return Lacking(str(error), "see --s3-endpoint, --s3-region and the keys")
        headers = answer.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        skew = skew_of(headers.get("date", ""))
        if skew is not None and abs(skew) > SKEW:
            advice = f"the clocks differ by {skew:.0f} s; the service takes {SKEW} s at most"
            return Lacking(f"bucket {bucket}: the service refuses this clock", advice)
        if status_of(answer) == 403:
            advice = "see the keys and whether they have the right s3:ListBucket on the bucket"
            return Lacking(f"bucket {bucket}: not allowed ({code_of(answer)})", advice)
        return Lacking(str(error), "see --store, --s3-endpoint and --s3-region")

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
            raise Lacking("other bytes came back than were written", _BROKEN)
        if content.etag != self._etag:
            raise Lacking("it is told with another tag than it was written with", _BROKEN)
        return Found()

    async def _read_range(self) -> Found:
        buffers = [data async for data in self._bucket.read(self._key, 100, 300)]
        if b"".join(buffers) != self._data[100:300]:
            raise Lacking("other bytes came than were asked for", _BROKEN)
        return Found()

    async def _size(self) -> Found:
        size = await self._bucket.size(self._key)
        if size != _SIZE:
            raise Lacking(f"{size} bytes are told instead of {_SIZE}", _BROKEN)
        return Found()

    async def _list(self) -> Found:
        prefix = self._trial.keys.data(self._trial.plain_id)
        listed = [each.key async for page in self._bucket.pages(prefix) for each in page]
        if listed != [self._key]:
            raise Lacking("an object is not listed right after it was written", _BROKEN)
        return Found()

    async def _verify(self) -> Found:
        kind = self._trial.options.checksum
        if kind is PartChecksum.NONE:
            advice = "a part that is cut on its way may be taken for a whole one"
            return Found("off by --s3-checksum none", advice, is_note=True)
        key = self._trial.new_key()
        with suppress(ObjectMissing):
            if await refuses(self._trial.liar.put(key, self._data)):
                await self._bucket.size(key)
                raise Lacking("an object with a wrong checksum was refused, and kept", CHECKSUM)
            raise Lacking(f"a wrong checksum ({kind.value}) was accepted", CHECKSUM)
        return Found(kind.value)

    async def _write_new(self) -> Found:
        key = self._trial.new_key()
        await self._bucket.put(key, self._data, is_new=True)
        with suppress(Superseded):
            await self._bucket.put(key, b"another", is_new=True)
            text = "a second write with If-None-Match: * was accepted, over the first one"
            raise Lacking(text, _UNCONDITIONAL)
        return await self._unharmed(key, self._data)

    async def _replace_seen(self) -> Found:
        key = self._trial.new_key()
        first = await self._bucket.put(key, b"first")
        second = await self._bucket.put(key, b"second", seen=first)
        with suppress(Superseded):
            await self._bucket.put(key, b"third", seen=first)
            text = "a write with If-Match and an old tag was accepted, over a newer one"
            raise Lacking(text, _UNCONDITIONAL)
        await self._bucket.put(key, b"third", seen=second)
        return await self._unharmed(key, b"third")

    async def _unharmed(self, key: str, data: bytes) -> Found:
        if (await self._bucket.get(key)).data != data:
            raise Lacking("a write was refused, and done all the same", _UNCONDITIONAL)
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
            raise Lacking(text, _UNCONDITIONAL)
        return Found(f"of {_AT_ONCE} at once")

    async def _delete(self) -> Found:
        await self._bucket.delete(self._key)
        with suppress(ObjectMissing):
            await self._bucket.size(self._key)
            raise Lacking("it is still there afterwards", _BROKEN)
        await self._bucket.delete(self._key)  # What is gone may be removed once more.
        return Found()

    async def _delete_seen(self) -> Found:
        key = self._trial.new_key()
        old = await self._bucket.put(key, b"old")
        present = await self._bucket.put(key, b"present")
        with suppress(Superseded):
            await self._bucket.delete_seen(key, old)
            text = "a removal with If-Match and an old tag was accepted"
            raise Lacking(text, "only `tusserver verify` uses it, to set damaged records aside")
        await self._bucket.delete_seen(key, present)
        return Found()


_BROKEN = "this is no S3 that uploads can be kept in; see whether a proxy stands in between"
CHECKSUM = (
    "half a part could be taken for a whole one: try another --s3-checksum (crc32, md5), and "
    "--s3-preset for what the service is"
)

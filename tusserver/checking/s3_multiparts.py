"""Multipart uploads: found, ended, and put together from the parts that are named and no others."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tusserver.checking.base import Check, Found, Lacking
from tusserver.checking.s3_objects import BUCKET, CHECKSUM, WRITE
from tusserver.checking.s3_trial import MEDIA_TYPE, refuses
from tusserver.protocol.errors import StorageFailed, StorageUnavailable
from tusserver.store.bucket import MultipartMissing, ObjectMissing, PartsRefused
from tusserver.store.object_parts import MIB, MIN_PART
from tusserver.store.s3_options import PartChecksum

if TYPE_CHECKING:
    from tusserver.checking.s3_trial import Trial
    from tusserver.store.object_record import Part

_LAST = 4321
_AROUND = 500
"""Bytes that are looked at on either side of a joint."""
_MORE = 64 * 1024
_OTHER = "try another --s3-preset; parts of equal size are what r2 needs"
_MIXED = "uploads could end up with other bytes than were sent: keep them elsewhere"
_BEGIN, _FIND, _END = "begin a multipart upload", "find multipart uploads", "end a multipart upload"
_SEND, _COPY, _JOIN = "send a part", "copy a range into a part", "put the parts together"
_REFUSED = (PartsRefused, StorageFailed, StorageUnavailable)


class MultipartChecks:
    """What is done with multipart uploads. Parts have the sizes of real ones, and most of them are
    copied, so that few bytes are sent.
    """

    def __init__(self, trial: Trial, *, joins: bool) -> None:
        """`joins`: uploads are joined from others, by copies inside the service."""
        self._trial = trial
        self._bucket = trial.bucket
        self._key = trial.joined_key
        self._joins = joins
        self._source, self._source_key = b"", ""
        self._multipart = ""
        self._sent: Part | None = None
        self._data = b""

    def checks(self) -> tuple[Check, ...]:
        """In the order in which they build on each other."""
        begun, sent = (BUCKET, WRITE, _BEGIN), (_BEGIN, _SEND)
        equal = self._trial.rules.are_equal
        unequal = () if equal else (Check("parts of any size", self._join_unequal, after=(_JOIN,)),)
        return (
            Check(_BEGIN, self._begin, after=(BUCKET, WRITE)),
            Check(_FIND, self._find, after=begun),
            Check(_SEND, self._send, after=begun),
            Check("verify the checksum of a part", self._verify, after=sent),
            Check(_COPY, self._copy, is_needed=self._joins, after=begun),
            Check(_JOIN, self._join, after=sent),
            *unequal,
            Check("parts below 5 MiB", self._join_small, is_needed=False, after=(_JOIN,)),
            Check("refuse parts that it has not", self._join_wrong, is_needed=False, after=sent),
            Check(_END, self._abort, after=begun),
        )

    async def _begin(self) -> Found:
        self._multipart = await self._trial.begin()
        return Found()

    async def _find(self) -> Found:
        if self._multipart not in await self._listed():
            text = "one that has just begun is not listed"
            raise Lacking(text, "what crashes leave could not be found, nor be removed")
        return Found()

    async def _listed(self) -> list[str | None]:
        found = self._bucket.multiparts(self._key)
        return [each.multipart async for each in found if each.key == self._key]

    async def _put(
        self, multipart: str, number: int, data: bytes, *, is_joined: bool = False
    ) -> Part:
        return await self._bucket.put_part(self._key, multipart, number, data, is_joined=is_joined)

    async def _send(self) -> Found:
        """Twice, as after an answer that was lost; the last one counts."""
        await self._put(self._multipart, 1, b"to be replaced")
        self._data = _some(MIN_PART)
        self._sent = await self._put(self._multipart, 1, self._data)
        return Found("and once more in its place")

    async def _verify(self) -> Found:
        if self._trial.options.checksum is PartChecksum.NONE:
            return Found("off by --s3-checksum none", is_note=True)
        part = self._trial.liar.put_part(self._key, self._multipart, 3, b"some bytes")
        if not await refuses(part):
            raise Lacking("a part with a wrong checksum was accepted", CHECKSUM)
        return Found(self._trial.options.checksum.value)

    async def _copy(self) -> Found:
        """As uploads are joined: what is copied, and behind it what is sent."""
        key, self._source = self._trial.new_key(), _some(MIN_PART + 2 * _MORE)
        await self._bucket.put(key, self._source)
        multipart = await self._trial.begin(is_joined=True)
        copied, data = await self._copied(multipart, 1, MIN_PART, key)
        rest = secrets.token_bytes(_LAST)
        last = await self._put(multipart, 2, rest, is_joined=True)
        await self._complete(multipart, (copied, last), [data, rest])
        self._source_key = key
        return Found("inside the service")

    async def _copied(
        self, multipart: str, number: int, size: int, source: str
    ) -> tuple[Part, bytes]:
        start = _MORE // 2
        end = start + size
        part = await self._bucket.copy_part(self._key, multipart, number, source, start, end)
        return part, self._source[start:end]

    async def _make(self, multipart: str, number: int, size: int) -> tuple[Part, bytes]:
        """A part of a joined upload that is copied, if that works."""
        if not self._source_key:
            data = _some(size)
            return await self._put(multipart, number, data, is_joined=True), data
        return await self._copied(multipart, number, size, self._source_key)

    async def _join(self) -> Found:
        """Numbers are left out, as where a server died; a part that is not named does not count."""
        assert self._sent is not None
        data = self._data[::-1]
        second = await self._put(self._multipart, 2, data)
        await self._put(self._multipart, 3, b"in no record")
        rest = secrets.token_bytes(_LAST)
        last = await self._put(self._multipart, 5, rest)
        await self._complete(self._multipart, (self._sent, second, last), [self._data, data, rest])
        return Found("those that are named, and no others")

    async def _join_unequal(self) -> Found:
        multipart = await self._trial.begin(is_joined=True)
        first, longer = await self._make(multipart, 1, MIN_PART + _MORE)
        second, shorter = await self._make(multipart, 2, MIN_PART)
        rest = secrets.token_bytes(_LAST)
        last = await self._put(multipart, 3, rest, is_joined=True)
        try:
            await self._complete(multipart, (first, second, last), [longer, shorter, rest])
        except PartsRefused as error:
            raise Lacking("parts of different sizes are refused", _OTHER) from error
        return Found()

    async def _complete(self, multipart: str, parts: tuple[Part, ...], data: list[bytes]) -> None:
        """Raises Lacking if the object is not what the parts are."""
        whole = b"".join(data)
        async with self._trial.covered():
            await self._bucket.complete(self._key, multipart, parts, MEDIA_TYPE)
            size = await self._bucket.size(self._key)
            if size != len(whole):
                raise Lacking(f"the object has {size} bytes instead of {len(whole)}", _MIXED)
            position = 0
            for piece in data:
                for at in (position, position + len(piece) - _AROUND):
                    buffers = self._bucket.read(self._key, at, at + _AROUND)
                    if b"".join([one async for one in buffers]) != whole[at : at + _AROUND]:
                        raise Lacking("the object has other bytes than its parts", _MIXED)
                position += len(piece)

    async def _join_small(self) -> Found:
        multipart = await self._trial.begin()
        parts = [await self._put(multipart, number, b"small") for number in (1, 2)]
        async with self._trial.covered():
            try:
                await self._bucket.complete(self._key, multipart, parts, MEDIA_TYPE)
            except _REFUSED:
                return Found("refused, as by S3; they are never sent")
        return Found("taken, though they are never sent")

    async def _join_wrong(self) -> Found:
        multipart = await self._trial.begin()
        part = await self._put(multipart, 1, b"some bytes")
        other = await self._put(multipart, 2, b"other bytes")
        wrong = replace(part, etag=other.etag)
        async with self._trial.covered():
            with suppress(*_REFUSED):
                await self._bucket.complete(self._key, multipart, [wrong], MEDIA_TYPE)
                text = "a part that was named with the tag of another one was taken"
                raise Lacking(text, "no harm: a number is never used for other bytes")
        return Found()

    async def _abort(self) -> Found:
        multipart = await self._trial.begin()
        part = await self._put(multipart, 1, b"some bytes")
        await self._bucket.abort(self._key, multipart)
        if multipart in await self._listed():
            raise Lacking("it is still listed afterwards", "its room would never be free again")
        async with self._trial.covered():
            with suppress(MultipartMissing, ObjectMissing, *_REFUSED):
                await self._bucket.complete(self._key, multipart, [part], MEDIA_TYPE)
                raise Lacking("it could be completed all the same", _MIXED)
        return Found()


def _some(size: int) -> bytes:
    """Bytes that are nowhere else."""
    unit = secrets.token_bytes(MIB)
    return (
        b"".join([secrets.token_bytes(64) + unit[64:] for _ in range(size // MIB)])
        + unit[: size % MIB]
    )

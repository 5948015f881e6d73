"""Multipart uploads as S3 has them: with copies inside the service, and parts that must not be too
small.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tusserver.checking.base import Check, Found, Lacking
from tusserver.checking.bucket_multiparts import (
    JOIN,
    REFUSED,
    SEND,
    MultipartChecks,
    some,
    some_last,
)
from tusserver.checking.bucket_objects import BUCKET, WRITE
from tusserver.checking.bucket_trial import MEDIA_TYPE, as_part
from tusserver.store.bucket import PartsRefused
from tusserver.store.object_parts import MIN_PART

if TYPE_CHECKING:
    from tusserver.checking.bucket_trial import Trial
    from tusserver.store.object_record import Part

_BEGIN = "begin a multipart upload"
_MORE = 64 * 1024
_OTHER = "try another --s3-preset; parts of equal size are what r2 needs"


class S3MultipartChecks(MultipartChecks):
    """Parts have the sizes of real ones; most of them are copied, so that few bytes are sent."""

    def __init__(self, trial: Trial, *, joins: bool) -> None:
        """`joins`: uploads are joined from others, by copies inside the service."""
        super().__init__(trial)
        self._joins = joins
        self._source, self._source_key = b"", ""

    def checks(self) -> tuple[Check, ...]:
        """In the order in which they build on each other."""
        copy, wrong = "copy a range into a part", "refuse parts that it has not"
        equal = self.trial.rules.are_equal
        unequal = () if equal else (Check("parts of any size", self._join_unequal, after=(JOIN,)),)
        return (
            Check(_BEGIN, self.begin, after=(BUCKET, WRITE)),
            *self.common(begun=(_BEGIN,)),
            Check(copy, self._copy, is_needed=self._joins, after=(_BEGIN,)),
            *unequal,
            Check("parts below 5 MiB", self._join_small, is_needed=False, after=(JOIN,)),
            Check(wrong, self._join_wrong, is_needed=False, after=(SEND,)),
        )

    async def _copy(self) -> Found:
        """As uploads are joined: what is copied, and behind it what is sent."""
        key, self._source = self.trial.new_key(), some(MIN_PART + 2 * _MORE)
        with as_part(self._source) as source:
            await self.bucket.put(key, source)
        multipart = await self.trial.begin(is_joined=True)
        copied, data = await self._copied(multipart, 1, MIN_PART, key)
        rest = some_last()
        last = await self.put(multipart, 2, rest, is_joined=True)
        await self.complete(multipart, (copied, last), [data, rest])
        self._source_key = key
        return Found("inside the service")

    async def _copied(
        self, multipart: str, number: int, size: int, source: str
    ) -> tuple[Part, bytes]:
        start = _MORE // 2
        end = start + size
        part = await self.bucket.copy_part(self.key, multipart, number, source, start, end)
        return part, self._source[start:end]

    async def _make(self, multipart: str, number: int, size: int) -> tuple[Part, bytes]:
        """A part of a joined upload that is copied, if that works."""
        if not self._source_key:
            data = some(size)
            return await self.put(multipart, number, data, is_joined=True), data
        return await self._copied(multipart, number, size, self._source_key)

    async def _join_unequal(self) -> Found:
        multipart = await self.trial.begin(is_joined=True)
        first, longer = await self._make(multipart, 1, MIN_PART + _MORE)
        second, shorter = await self._make(multipart, 2, MIN_PART)
        rest = some_last()
        last = await self.put(multipart, 3, rest, is_joined=True)
        try:
            await self.complete(multipart, (first, second, last), [longer, shorter, rest])
        except PartsRefused as error:
            raise Lacking("parts of different sizes are refused", _OTHER) from error
        return Found()

    async def _join_small(self) -> Found:
        multipart = await self.trial.begin()
        parts = [await self.put(multipart, number, b"small") for number in (1, 2)]
        async with self.trial.covered():
            try:
                await self.bucket.complete(self.key, multipart, parts, MEDIA_TYPE)
            except REFUSED:
                return Found("refused, as by S3; they are never sent")
        return Found("taken, though they are never sent")

    async def _join_wrong(self) -> Found:
        multipart = await self.trial.begin()
        part = await self.put(multipart, 1, b"some bytes")
        other = await self.put(multipart, 2, b"other bytes")
        wrong = replace(part, etag=other.etag)
        async with self.trial.covered():
            with suppress(*REFUSED):
                await self.bucket.complete(self.key, multipart, [wrong], MEDIA_TYPE)
                text = "a part that was named with the tag of another one was taken"
                raise Lacking(text, "no harm: a number is never used for other bytes")
        return Found()

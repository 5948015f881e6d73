"""Multipart uploads: found, ended, and put together from the parts that are named and no others."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from tusserver.checking.base import Check, Found, Lacking
from tusserver.checking.bucket_objects import BUCKET, WRITE
from tusserver.checking.bucket_trial import MEDIA_TYPE, as_part
from tusserver.protocol.errors import StorageFailed, StorageUnavailable
from tusserver.store.bucket import MultipartMissing, ObjectMissing, PartsRefused
from tusserver.store.object_parts import MIB

if TYPE_CHECKING:
    from tusserver.checking.bucket_trial import Trial
    from tusserver.store.object_record import Part

_LAST = 4321
_AROUND = 500
"""Bytes that are looked at on either side of a joint."""
SEND, JOIN = "send a part", "put the parts together"
_FIND, _END = "find multipart uploads", "end a multipart upload"
_MIXED = "uploads could end up with other bytes than were sent: keep them elsewhere"
REFUSED = (PartsRefused, StorageFailed, StorageUnavailable)


class MultipartChecks:
    """What is done with multipart uploads of any service."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.bucket = trial.bucket
        self.key = trial.joined_key
        self._multipart = ""
        self._sent: Part | None = None
        self._data = b""

    def common(
        self, *, begun: tuple[str, ...] = (), joined: tuple[str, ...] = ()
    ) -> tuple[Check, ...]:
        """In the order in which they build on each other: sending on the checks in `begun`, ending
        on those in `joined`.
        """
        sent = (SEND,)
        return (
            Check(SEND, self._send, after=(BUCKET, WRITE, *begun)),
            Check(_FIND, self._find, after=sent),
            Check("verify the checksum of a part", self._verify, after=sent),
            Check(JOIN, self._join, after=sent),
            Check(_END, self._end, after=(SEND, *joined)),
        )

    async def begin(self) -> Found:
        """Where a multipart upload is begun by a call."""
        self._multipart = await self.trial.begin()
        return Found()

    async def put(
        self, multipart: str, number: int, data: bytes, *, is_joined: bool = False
    ) -> Part:
        """Sends a part as the store does."""
        with as_part(data) as part:
            return await self.bucket.put_part(
                self.key, multipart, number, part, is_joined=is_joined
            )

    async def _send(self) -> Found:
        """Twice, as after an answer that was lost; the last one counts."""
        if not self._multipart:
            await self.begin()
        await self.put(self._multipart, 1, b"to be replaced")
        self._data = some(self.trial.service.part_size)
        self._sent = await self.put(self._multipart, 1, self._data)
        return Found("and once more in its place")

    async def _find(self) -> Found:
        if not await self._listed(self._multipart):
            text = "one that has just begun is not listed"
            raise Lacking(text, "what crashes leave could not be found, nor be removed")
        return Found()

    async def _listed(self, multipart: str) -> list[str | None]:
        """How it is listed, if it is."""
        found = self.bucket.multiparts(self.key)
        named = [each.multipart async for each in found if each.key == self.key]
        return [each for each in named if each in (None, multipart)]

    async def _verify(self) -> Found:
        service = self.trial.service
        if service.checksum is None:
            return Found(service.checksum_is_off, is_note=True)
        with as_part(b"some bytes") as part:
            sent = self.trial.liar.put_part(self.key, self._multipart, 3, part)
            if not await self.trial.refuses(sent):
                text = "a part with a wrong checksum was accepted"
                raise Lacking(text, service.verifies_nothing)
        return Found(service.checksum)

    async def _join(self) -> Found:
        """Numbers are left out, as where a server died; a part that is not named does not count."""
        assert self._sent is not None
        data = self._data[::-1]
        second = await self.put(self._multipart, 2, data)
        await self.put(self._multipart, 3, b"in no record")
        rest = some_last()
        last = await self.put(self._multipart, 5, rest)
        await self.complete(self._multipart, (self._sent, second, last), [self._data, data, rest])
        return Found("those that are named, and no others")

    async def complete(self, multipart: str, parts: tuple[Part, ...], data: list[bytes]) -> None:
        """Raises Lacking if the object is not what the parts are."""
        async with self.trial.covered():
            await self.bucket.complete(self.key, multipart, parts, MEDIA_TYPE)
            await self.compare(data)

    async def compare(self, data: list[bytes]) -> None:
        """Raises Lacking if the object is not made of these."""
        whole = b"".join(data)
        size = await self.bucket.size(self.key)
        if size != len(whole):
            raise Lacking(f"the object has {size} bytes instead of {len(whole)}", _MIXED)
        position = 0
        for piece in data:
            for at in (position, position + len(piece) - _AROUND):
                buffers = self.bucket.read(self.key, at, at + _AROUND)
                if b"".join([one async for one in buffers]) != whole[at : at + _AROUND]:
                    raise Lacking("the object has other bytes than its parts", _MIXED)
            position += len(piece)

    async def _end(self) -> Found:
        """As the sweeper does it, and as a removal does."""
        multipart, part = await self.waiting()
        for listed in await self._listed(multipart) or [multipart]:
            await self.bucket.abort(self.key, listed)
        await self._assert_ended(multipart, part)
        multipart, part = await self.waiting()
        async with self.trial.covered():
            await self.bucket.clear(self.key)
        await self._assert_ended(multipart, part)
        return Found()

    async def waiting(self) -> tuple[str, Part]:
        """A multipart upload of one part."""
        multipart = await self.trial.begin()
        return multipart, await self.put(multipart, 1, b"some bytes")

    async def _assert_ended(self, multipart: str, part: Part) -> None:
        if await self._listed(multipart):
            raise Lacking("it is still listed afterwards", "its room would never be free again")
        async with self.trial.covered():
            with suppress(MultipartMissing, ObjectMissing, *REFUSED):
                await self.bucket.complete(self.key, multipart, [part], MEDIA_TYPE)
                raise Lacking("it could be completed all the same", _MIXED)


def some(size: int) -> bytes:
    """Bytes that are nowhere else."""
    unit = secrets.token_bytes(MIB)
    return (
        b"".join([secrets.token_bytes(64) + unit[64:] for _ in range(size // MIB)])
        + unit[: size % MIB]
    )


def some_last() -> bytes:
    """Those of the last part, which is a small one."""
    return secrets.token_bytes(_LAST)

"""What a store of objects needs of its service, tried below its own prefix.

Everything that is made has a key of the form of a tail (`<id>.part-<token>`) or is a multipart
upload at `<id>`, of ids that nobody else has: if the check dies, the sweeper of any server removes
them after a day. While there may be an object `<id>`, which no sweeper would touch, a record stands
beside it that says that it is being removed.
"""

from __future__ import annotations

import secrets
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace as changed_state

from tusserver.protocol.errors import TusError
from tusserver.protocol.upload import Upload
from tusserver.store.base import StoreUnusable
from tusserver.store.bucket import (
    MultipartMissing,
    ObjectMissing,
    PartsRefused,
    Superseded,
)
from tusserver.store.object_buffers import PartBuffer, PartMemory
from tusserver.store.object_keys import Keys, new_token
from tusserver.store.object_record import changed, encode_object, new_object_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
    from typing import Any

    from tusserver.checking.base import Lacking
    from tusserver.store.bucket import Bucket
    from tusserver.store.object_buffers import Span
    from tusserver.store.object_parts import PartRules
    from tusserver.store.object_record import ObjectStorage

DEADLINE, PART_DEADLINE = 10.0, 60.0
"""Seconds for one call, and for one that moves a part: a check must come to an end."""
FAILURES = (
    TusError, StoreUnusable, ObjectMissing, MultipartMissing, PartsRefused, Superseded,
)  # fmt: skip
_BAD_REQUEST = 400
SKEW = 15 * 60
"""Seconds by which clocks may differ before the service refuses every request."""
MEDIA_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What has to be known of a kind of service. Texts are advice for the operator."""

    explain: Callable[[Exception], Lacking]
    """What an error of a call means."""
    unreached: Callable[[StoreUnusable], Lacking]
    """What it means that the client could not be started."""
    status_of: Callable[[BaseException], int | None]
    """The status of the answer behind an error; None if there was none."""
    checksum: str | None
    """What it verifies the bytes with; None: nothing."""
    checksum_is_off: str = ""
    part_size: int
    """Bytes of a part that is tried."""
    needs_seen_removals: bool
    is_broken: str
    is_unconditional: str
    verifies_nothing: str
    removes_unseen: str


@dataclass
class Trial:
    """The bucket, and what has been made in it. `plain_id` has tails only, `joined_id` multipart
    uploads only. The `liar` sends checksums that are not those of the bytes.
    """

    service: Service
    rules: PartRules
    bucket: Bucket
    liar: Bucket
    keys: Keys
    plain_id: str = field(default_factory=lambda: secrets.token_hex(16))
    joined_id: str = field(default_factory=lambda: secrets.token_hex(16))
    objects: list[str] = field(default_factory=list)
    multiparts: list[str] = field(default_factory=list)
    copies: list[tuple[str, str]] = field(default_factory=list)
    is_connected: bool = False

    def new_key(self) -> str:
        """A key for an object, which is removed in the end."""
        key = self.keys.tail(self.plain_id, new_token())
        self.objects.append(key)
        return key

    @property
    def joined_key(self) -> str:
        """Where multipart uploads are."""
        return self.keys.data(self.joined_id)

    async def begin(self, *, is_joined: bool = False) -> str:
        """A multipart upload, which is ended in the end."""
        multipart = await self.bucket.begin_multipart(
            self.joined_key, MEDIA_TYPE, is_joined=is_joined
        )
        self.multiparts.append(multipart)
        return multipart

    def began_copy(self, key: str, multipart: str) -> None:
        """An object that is to be a copy, which is ended and removed in the end."""
        self.copies.append((key, multipart))
        self.objects.append(key)

    @asynccontextmanager
    async def covered(self) -> AsyncIterator[None]:
        """While multipart uploads may become an object."""
        key, info = self.joined_key, self.keys.info(self.joined_id)
        self.objects += [key, info]
        await self.bucket.put(info, _removal(self.joined_id, self.bucket.storage(key)))
        yield
        await self.bucket.delete(key)
        await self.bucket.delete(info)
        self.objects.remove(key)
        self.objects.remove(info)

    async def refuses(self, call: Awaitable[object]) -> bool:
        """Whether the service refuses what was sent with this call. Raises what else it may
        raise.
        """
        try:
            await call
        except (TusError, PartsRefused) as error:
            if self.service.status_of(error) != _BAD_REQUEST:
                raise
            return True
        return False

    async def close(self) -> str:
        """Removes all that has been made, the record last; what could not be removed."""
        left = await self._removed() if self.is_connected else []
        await self.bucket.close()
        await self.liar.close()
        if not left:
            return ""
        return f"could not remove {', '.join(left)}; a sweep does so after a day, once it may"

    async def _removed(self) -> list[str]:
        key, left = self.joined_key, await self._not_ended()
        info = self.keys.info(self.joined_id)
        for each in dict.fromkeys(self.objects):
            # By the record the sweeper finds an object that has to stay for now.
            is_wanted = each == info and key in left
            if is_wanted or not await _is_done(self.bucket.delete(each)):
                left.append(each)
        return left

    async def _not_ended(self) -> list[str]:
        key, left = self.joined_key, list[str]()
        multiparts: dict[str | None, None] = dict.fromkeys(self.multiparts)
        with suppress(TusError):
            # Also one whose beginning was interrupted.
            async for found in self.bucket.multiparts(key):
                if found.key == key:
                    multiparts[found.multipart] = None
        for multipart in multiparts:
            if not await _is_done(self.bucket.abort(key, multipart)):
                left.append(f"{_named(multipart)} at {key}")
        for copied, multipart in self.copies:
            if not await _is_done(self.bucket.abort(copied, multipart)):
                left.append(f"{_named(multipart)} at {copied}")
        if self.multiparts and self.bucket.keeps_parts is not None:
            # Here parts do not end with what they belong to.
            with suppress(*FAILURES):
                async with self.covered():
                    await self.bucket.clear(key)
        return left


def _named(multipart: str | None) -> str:
    return "what waits" if multipart is None else f"the multipart upload {multipart}"


async def _is_done(removal: Coroutine[Any, Any, None]) -> bool:
    try:
        await removal
    except (TusError, ObjectMissing):
        return False
    return True


def _removal(upload_id: str, storage: ObjectStorage) -> bytes:
    """The record of an upload whose removal has begun."""
    now = datetime.now(UTC)
    record = new_object_record(Upload(upload_id, 0, None, now, now), storage)
    state = changed_state(record.state, is_removed=True, revision=new_token())
    return encode_object(changed(record, state), None)


@contextmanager
def as_part(data: bytes) -> Iterator[Span]:
    """These bytes as the store sends them."""
    buffer = PartBuffer(PartMemory(len(data)), None, len(data), 0)
    try:
        buffer.write(memoryview(data))
        yield buffer.span()
    finally:
        buffer.close()


def skew_of(date: str) -> float | None:
    """Seconds by which the clock of an answer is ahead of ours."""
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except ValueError:
        return None

"""What a store of objects needs of the service that keeps them: a bucket, and few kinds of calls.

An implementation lets no error of its library out. What passes (the service does not answer, is
busy, fails) it tries again for a while; after that it is StorageUnavailable. Besides what is said
at each method all of them raise StorageUnavailable, StorageFull and StorageFailed.

Whatever is written has a known length from the beginning, so that no service can take half of it
for the whole, and a checksum that the service verifies, where it knows one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence
    from datetime import datetime, timedelta

    from tusserver.store.object_buffers import Span
    from tusserver.store.object_record import ObjectStorage, Part


class ObjectMissing(Exception):
    """There is no such object."""


class MultipartMissing(Exception):
    """The multipart upload has been completed, aborted, or never was."""


class Superseded(Exception):
    """A conditional write was refused: the object is not what the writer had seen."""


class KeyRefused(Exception):
    """The service cannot have an object there; why, in a few words."""


class PartsRefused(Exception):
    """The service does not have these parts."""


class Content(NamedTuple):
    """A small object and its tag."""

    data: bytes
    etag: str


class Listed(NamedTuple):
    """One object of a listing."""

    key: str
    modified_at: datetime
    size: int


class Multipart(NamedTuple):
    """One multipart upload that is not over. It is None where the service does not tell them
    apart: then it is whatever waits in the place of this object.
    """

    key: str
    multipart: str | None
    initiated_at: datetime


class ListedPart(NamedTuple):
    """A part that the service has; with its `crc32` where the multipart upload was begun so that
    all must have one, and the service tells it.
    """

    part: Part
    modified_at: datetime


class Bucket(Protocol):
    """A client of one bucket, from `start` to `close`. Keys are whole; sizes in bytes."""

    @property
    def keeps_parts(self) -> timedelta | None:
        """How long parts are kept at least after the last one was sent; None: as long as nobody
        ends the multipart upload.
        """
        ...

    def storage(self, key: str) -> ObjectStorage:
        """Where the bytes of an upload are to lie, as tusd writes it down."""
        ...

    async def start(self) -> None:
        """Connects, and looks whether the bucket is there. Raises StoreUnusable."""
        ...

    async def close(self) -> None:
        """Ends the connections."""
        ...

    async def now(self) -> datetime | None:
        """The clock of the service, to the second; None if it does not tell."""
        ...

    # Objects.

    async def get(self, key: str) -> Content:
        """A small object. Raises ObjectMissing."""
        ...

    def read(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """The bytes [start, end) of an object, in buffers. Raises ObjectMissing."""
        ...

    async def size(self, key: str) -> int:
        """The bytes of an object. Raises ObjectMissing."""
        ...

    async def put(
        self,
        key: str,
        data: bytes | Span,
        *,
        seen: str | None = None,
        is_new: bool = False,
        content_type: str = "application/octet-stream",
    ) -> str:
        """Writes a whole object and returns its tag: only over the content with the tag `seen`, or
        only if there is none and it `is_new`. Raises Superseded, or with `seen` ObjectMissing.

        Where a part has been sent an object that `is_new` must not take the parts away.
        """
        ...

    async def delete(self, *keys: str) -> None:
        """Removes these objects, those that are there."""
        ...

    async def delete_seen(self, key: str, seen: str) -> None:
        """Removes an object with this tag. Raises Superseded, ObjectMissing."""
        ...

    async def clear(self, key: str) -> None:
        """Removes an object, and ends every multipart upload in its place."""
        ...

    def pages(self, prefix: str) -> AsyncIterator[list[Listed]]:
        """All objects whose keys begin so, in the order of their keys, a page at a time."""
        ...

    # Objects in parts.

    async def begin_multipart(self, key: str, content_type: str, *, is_joined: bool = False) -> str:
        """A new multipart upload; of parts that are copied from other objects if it `is_joined`. It
        is recorded before the first part is sent.
        """
        ...

    async def put_part(
        self,
        key: str,
        multipart: str,
        number: int,
        part: Span,
        *,
        is_joined: bool = False,
        has_crc32: bool | None = None,
    ) -> Part:
        """Sends a part; `is_joined` is told as when the multipart upload was begun. For one that
        another program began `has_crc32` tells whether its parts have such a checksum.

        Raises MultipartMissing.
        """
        ...

    async def copy_part(
        self, key: str, multipart: str, number: int, source: str, start: int, end: int
    ) -> Part:
        """The bytes [start, end) of another object, copied inside the service. Only where the rules
        of parts say that it can.

        Raises ObjectMissing, MultipartMissing.
        """
        ...

    async def check_parts(self, key: str, multipart: str, parts: Sequence[Part]) -> None:
        """Raises PartsRefused if parts are known to be gone; for a bucket that does not keep them
        for ever.
        """
        ...

    async def complete(
        self, key: str, multipart: str, parts: Sequence[Part], content_type: str
    ) -> None:
        """Puts the parts together; only after that has been recorded. Raises MultipartMissing (also
        if it had been done before), PartsRefused.
        """
        ...

    # Copies for other programs.

    async def begin_copy(self, key: str, upload_id: str, content_type: str) -> str:
        """The multipart upload that `copy` needs; it is recorded before. Its object is marked with
        the upload that it is of.
        """
        ...

    async def copy(
        self, source: str, size: int, key: str, multipart: str, upload_id: str, *, is_new: bool
    ) -> None:
        """Copies a whole object to this key inside the service; it appears at one stroke, and only
        if there is none yet if it `is_new`.

        Raises Superseded, KeyRefused, MultipartMissing (also if it had been done before), and
        ObjectMissing if the source is gone.
        """
        ...

    async def marked(self, key: str) -> str | None:
        """The upload that this object is a copy of; None if it is none. Raises ObjectMissing."""
        ...

    async def abort(self, key: str, multipart: str | None) -> None:
        """Ends a multipart upload, if there is one. What is of another one stays."""
        ...

    def multiparts(self, prefix: str) -> AsyncIterator[Multipart]:
        """All multipart uploads that are not over and whose keys begin so."""
        ...


@runtime_checkable
class PartListing(Protocol):
    """A bucket that tells which parts of a multipart upload it has, as uploads need it that another
    program has left there.
    """

    async def parts(self, key: str, multipart: str) -> list[ListedPart]:
        """All of them, in the order of their numbers. Raises MultipartMissing."""
        ...

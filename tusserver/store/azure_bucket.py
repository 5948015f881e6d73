"""One container of Azure Blob Storage.

A multipart upload is here a number of blocks that wait in the place of an object until a list of
them is committed, which makes them the object. The service has one such place for each object, and
forgets what waits there when somebody writes the object as a whole, or after a week without a new
block. So before the first block is sent an empty object is put there, marked by its metadata: where
it stands nobody else can write an object that is new (`is_new`), and so take the blocks away. It is
not shown as an object. The name of a block has the id of its multipart upload, so that of several
attempts each has its own.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections import OrderedDict
from contextlib import suppress
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, unquote

from aiohttp import ClientError as HttpError
from azure.core.exceptions import AzureError
from azure.storage.blob import BlobBlock, ContentSettings

from tusserver.protocol.errors import StorageUnavailable
from tusserver.store.azure_client import (
    NOT_UNDERSTOOD,
    client,
    errors,
    only_new,
    only_over,
    sentence,
)
from tusserver.store.base import StoreUnusable
from tusserver.store.bucket import (
    Content,
    Listed,
    Multipart,
    ObjectMissing,
    PartsRefused,
    Superseded,
)
from tusserver.store.object_record import ObjectStorage, Part
from tusserver.together import together

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
    from datetime import datetime

    from azure.storage.blob.aio import BlobClient, ContainerClient

    from tusserver.store.azure_options import AzureOptions
    from tusserver.store.object_buffers import Span

_READ_SIZE = 4 * 1024 * 1024
_COPIED = 256 * 1024
"""Bytes that may be in memory once more than the bounds for parts allow."""
_LISTED = 1000
_PLACES = 10_000
_MARK = {"tusserver": "unfinished"}
_COPY = "tusserver_upload"
_PENDING = 1.0
"""Seconds between two looks whether a copy is there."""
_BINARY = "application/octet-stream"


class AzureBucket:
    """See `Bucket`."""

    keeps_parts = timedelta(days=6)  # A week, by clocks that may differ.

    def __init__(self, options: AzureOptions) -> None:
        self.options = options
        self._name = options.container
        self._client: ContainerClient | None = None
        self._places: OrderedDict[str, None] = OrderedDict()
        """Objects in whose places we have seen something."""

    def storage(self, key: str) -> ObjectStorage:
        return ObjectStorage(type="azurestore", container=self._name, key=key)

    async def start(self) -> None:
        try:
            self._client = client(self.options, _READ_SIZE)
            async with asyncio.timeout(self.options.deadline):
                await self._date(retry_total=1)
        except (AzureError, HttpError, TimeoutError, *NOT_UNDERSTOOD) as error:
            await self.close()
            raise StoreUnusable(f"container {self._name}: {sentence(error)}") from error

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    @property
    def _container(self) -> ContainerClient:
        assert self._client is not None
        return self._client

    def _blob(self, key: str) -> BlobClient:
        return self._container.get_blob_client(key)

    async def _call(self, call: Awaitable[Any], deadline: float | None = None) -> Any:  # noqa: ANN401
        with errors():
            async with asyncio.timeout(deadline or self.options.deadline):
                return await call

    async def now(self) -> datetime | None:
        try:
            return parsedate_to_datetime(await self._call(self._date()))
        except ValueError:
            return None

    async def _date(self, **given: Any) -> str:
        """The shortest answer that a signature for this container is enough for; its date."""
        dates: list[str] = []

        def keep(response: Any) -> None:  # noqa: ANN401 - it has no public type
            dates.append(response.http_response.headers.get("Date", ""))

        blobs = self._container.list_blobs(results_per_page=1, raw_response_hook=keep, **given)
        await anext(blobs.by_page(), None)
        return "".join(dates[-1:])

    # Objects.

    async def get(self, key: str) -> Content:
        found = await self._call(self._blob(key).download_blob())
        return Content(await self._call(found.readall()), found.properties.etag)

    async def read(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        left = end - start
        found = await self._call(self._blob(key).download_blob(start, left))
        buffers = aiter(found.chunks())
        while left:
            buffer = await self._call(anext(buffers, b""))
            if not buffer:
                raise StorageUnavailable("the object broke off")
            left -= len(buffer)
            yield buffer

    async def size(self, key: str) -> int:
        found = await self._call(self._blob(key).get_blob_properties())
        if _is_mark(found.metadata):
            raise ObjectMissing
        return int(found.size)

    async def put(
        self,
        key: str,
        data: bytes | Span,
        *,
        seen: str | None = None,
        is_new: bool = False,
        content_type: str = _BINARY,
    ) -> str:
        condition = only_over(seen) if seen else only_new() if is_new else {}
        settings = ContentSettings(content_type=content_type)
        if len(data) > _COPIED and not isinstance(data, bytes):
            # The library would make one piece of it.
            block = _block(secrets.token_hex(8), 0)
            await self._send(key, block, data)
            return await self._commit(key, [block], content_settings=settings, **condition)
        content = data if isinstance(data, bytes) else data.read()
        call = self._blob(key).upload_blob(
            content,
            length=len(content),
            content_settings=settings,
            headers=await self._proof(content),
            **{"overwrite": True, **condition},
        )
        return str((await self._call(call, self.options.part_deadline))["etag"])

    async def _proof(self, data: bytes | Span) -> dict[str, str]:
        """The header by which the service verifies these bytes."""
        md5 = hashlib.md5(usedforsecurity=False)
        if isinstance(data, bytes):
            md5.update(data)
        else:
            await asyncio.to_thread(data.feed, md5.update)
        return {"Content-MD5": base64.b64encode(md5.digest()).decode()}

    async def _send(self, key: str, block: str, data: Span) -> None:
        headers, body = await self._proof(data), cast("Any", data)
        call = self._blob(key).stage_block(block, body, length=len(data), headers=headers)
        await self._call(call, self.options.part_deadline)

    async def _commit(self, key: str, blocks: Sequence[str], **given: Any) -> str:
        """Makes these blocks the object; whatever else waits there is forgotten."""
        call = self._blob(key).commit_block_list([BlobBlock(block) for block in blocks], **given)
        return str((await self._call(call, self.options.part_deadline))["etag"])

    async def delete(self, *keys: str) -> None:
        await together(map(self._delete, keys))

    async def _delete(self, key: str) -> None:
        self._places.pop(key, None)
        try:
            await self._call(self._blob(key).delete_blob("include"))
        except ObjectMissing:
            return

    async def delete_seen(self, key: str, seen: str) -> None:
        await self._call(self._blob(key).delete_blob("include", **only_over(seen)))

    async def clear(self, key: str) -> None:
        # What is only deleted may leave its blocks, and they could be committed later.
        await self._commit(key, [])
        await self._delete(key)

    async def pages(self, prefix: str) -> AsyncIterator[list[Listed]]:
        async for page in self._listing(prefix):
            yield [
                Listed(item.name, item.last_modified, item.size)
                for item in page
                if not _is_mark(item.metadata)
            ]

    async def _listing(self, prefix: str) -> AsyncIterator[list[Any]]:
        pages = self._container.list_blobs(
            prefix, include=["metadata"], results_per_page=_LISTED
        ).by_page()
        while (page := await self._call(anext(pages, None))) is not None:
            yield [item async for item in page]

    # Objects in parts.

    async def begin_multipart(self, key: str, content_type: str, *, is_joined: bool = False) -> str:
        return secrets.token_hex(8)

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
        if len(part):  # The service takes no empty block.
            await self._take_place(key)
            await self._send(key, _block(multipart, number), part)
        return Part(number, len(part), "")

    async def _take_place(self, key: str) -> None:
        """Sees to it that there is something in the place of an object: the mark, or what somebody
        has put there and could not record, which the parts will replace.
        """
        if key in self._places:
            return
        call = self._blob(key).upload_blob(b"", length=0, metadata=_MARK, **only_new())
        with suppress(Superseded):
            await self._call(call)
        self._places[key] = None
        if len(self._places) > _PLACES:
            self._places.popitem(last=False)

    async def copy_part(
        self, key: str, multipart: str, number: int, source: str, start: int, end: int
    ) -> Part:
        raise NotImplementedError("the rules of parts say that it cannot")

    async def check_parts(self, key: str, multipart: str, parts: Sequence[Part]) -> None:
        try:
            _, waiting = await self._call(self._blob(key).get_block_list("uncommitted"))
        except ObjectMissing:
            raise PartsRefused("the object and its blocks are gone") from None
        if not set(_blocks(multipart, parts)) <= {block.id for block in waiting}:
            raise PartsRefused("blocks are gone")

    async def complete(
        self, key: str, multipart: str, parts: Sequence[Part], content_type: str
    ) -> None:
        # If it had been done before, the blocks are those of the object, and it stays the same.
        settings = ContentSettings(content_type=content_type)
        await self._commit(key, _blocks(multipart, parts), content_settings=settings)
        self._places.pop(key, None)

    async def begin_copy(self, key: str, upload_id: str, content_type: str) -> str:
        return ""

    async def copy(
        self, source: str, size: int, key: str, multipart: str, upload_id: str, *, is_new: bool
    ) -> None:
        # Within one account the service knows the key already, but not a signature.
        url = self._blob(source).url
        if self.options.sas and "?" not in url:
            url = f"{url}?{self.options.sas.removeprefix('?')}"
        call = self._blob(key).start_copy_from_url(
            url,
            metadata={_COPY: quote(upload_id)},
            **only_new() if is_new else {},
        )
        await self._call(call, self.options.part_deadline)
        await self._await_copy(key)

    async def _await_copy(self, key: str) -> str | None:
        """Waits until an object is whole, and returns its mark. Raises StorageUnavailable if it is
        a copy that has failed; ObjectMissing.
        """
        while True:
            found = await self._call(self._blob(key).get_blob_properties())
            mark, status = (found.metadata or {}).get(_COPY), found.copy.status
            if mark is None or status == "success":
                return mark
            if status != "pending":
                await self._delete(key)
                raise StorageUnavailable(f"the copy has {status}: {found.copy.status_description}")
            await asyncio.sleep(_PENDING)

    async def marked(self, key: str) -> str | None:
        mark = await self._await_copy(key)
        return None if mark is None else unquote(mark)

    async def abort(self, key: str, multipart: str | None) -> None:
        if multipart is not None:
            return  # Its blocks go when the object is put together or removed, or by themselves.
        try:
            found = await self._call(self._blob(key).get_blob_properties())
            if _is_mark(found.metadata):
                etag = await self._commit(key, [], metadata=_MARK, **only_over(found.etag))
                self._places.pop(key, None)
                await self.delete_seen(key, etag)
        except (ObjectMissing, Superseded):
            return

    async def multiparts(self, prefix: str) -> AsyncIterator[Multipart]:
        async for page in self._listing(prefix):
            for item in page:
                if _is_mark(item.metadata):
                    yield Multipart(item.name, None, item.last_modified)


def _block(multipart: str, number: int) -> str:
    """The name of a block; of one object all have the same length."""
    return f"{multipart}-{number:05d}"


def _blocks(multipart: str, parts: Sequence[Part]) -> list[str]:
    return [_block(multipart, part.number) for part in parts if part.size]


def _is_mark(metadata: dict[str, str] | None) -> bool:
    return _MARK.items() <= (metadata or {}).items()

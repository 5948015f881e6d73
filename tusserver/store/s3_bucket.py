"""One bucket of an S3-compatible service. Each call has a deadline."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import zlib
from contextlib import AsyncExitStack
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from aiohttp import ClientError as HttpError
from botocore.exceptions import BotoCoreError, ClientError

from tusserver.protocol.errors import StorageFailed, StorageUnavailable
from tusserver.store.base import StoreUnusable
from tusserver.store.bucket import (
    Content,
    Listed,
    ListedPart,
    Multipart,
    MultipartMissing,
    ObjectMissing,
)
from tusserver.store.object_parts import plan_copy
from tusserver.store.object_record import ObjectStorage, Part
from tusserver.store.s3_client import config, errors, sentence, session
from tusserver.store.s3_options import PartChecksum
from tusserver.together import together

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
    from datetime import datetime

    from tusserver.store.object_buffers import Span
    from tusserver.store.s3_options import S3Options

_AT_ONCE = 4
_MARK = "tusserver-upload"
_READ_SIZE = 512 * 1024
_LISTED = 1000


class S3Bucket:
    """See `Bucket`."""

    keeps_parts = None

    def __init__(self, options: S3Options) -> None:
        self.options = options
        self._name = options.bucket
        self._exit = AsyncExitStack()
        self._client: Any = None

    def storage(self, key: str) -> ObjectStorage:
        return ObjectStorage(type="s3store", bucket=self._name, key=key)

    async def start(self) -> None:
        options = self.options
        try:
            client = session().create_client(
                "s3",
                endpoint_url=options.endpoint,
                region_name=options.region,
                aws_access_key_id=options.access_key,
                aws_secret_access_key=options.secret_key,
                config=config(options),
            )
            self._client = await self._exit.enter_async_context(client)
            async with asyncio.timeout(options.deadline):
                await self._client.head_bucket(Bucket=self._name)
        except (BotoCoreError, HttpError, ClientError, ValueError, TimeoutError) as error:
            await self.close()
            raise StoreUnusable(f"bucket {self._name}: {sentence(error)}") from error

    async def close(self) -> None:
        await self._exit.aclose()

    async def _call(self, name: str, deadline: float | None = None, **given: Any) -> Any:  # noqa: ANN401
        with errors():
            async with asyncio.timeout(deadline or self.options.deadline):
                return await getattr(self._client, name)(Bucket=self._name, **given)

    async def get(self, key: str) -> Content:
        with errors():
            async with asyncio.timeout(self.options.deadline):
                answer = await self._client.get_object(Bucket=self._name, Key=key)
                async with answer["Body"] as body:
                    return Content(await body.read(), answer["ETag"])

    async def read(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        with errors():
            wanted = f"bytes={start}-{end - 1}"
            async with asyncio.timeout(self.options.deadline):
                answer = await self._client.get_object(Bucket=self._name, Key=key, Range=wanted)
            async with answer["Body"] as body:
                left = end - start
                while left:
                    async with asyncio.timeout(self.options.deadline):
                        buffer = await body.read(min(_READ_SIZE, left))
                    if not buffer:
                        raise StorageUnavailable("the object broke off")
                    left -= len(buffer)
                    yield buffer

    async def size(self, key: str) -> int:
        return int((await self._call("head_object", Key=key))["ContentLength"])

    async def put(
        self,
        key: str,
        data: bytes | Span,
        *,
        seen: str | None = None,
        is_new: bool = False,
        content_type: str = "application/octet-stream",
    ) -> str:
        conditions = {}
        if self.options.is_conditional:
            conditions = {"IfMatch": seen} if seen else {"IfNoneMatch": "*"} if is_new else {}
        body, checksum, _ = await self._prepared(data)
        answer = await self._call(
            "put_object",
            self.options.part_deadline,
            Key=key,
            Body=body,
            ContentLength=len(data),
            ContentType=content_type,
            **checksum,
            **conditions,
        )
        return str(answer["ETag"])

    async def _prepared(
        self, data: bytes | Span, kind: PartChecksum | None = None
    ) -> tuple[Any, dict[str, str], str]:
        """The body, the fields that prove it, and its CRC-32 as it is sent."""
        kind = kind or self.options.checksum
        if kind is PartChecksum.NONE:
            return data, {}, ""
        update, digest = _running(kind)
        if isinstance(data, bytes):
            update(data)
        else:
            await asyncio.to_thread(data.feed, update)
        value = base64.b64encode(digest()).decode()
        if kind is PartChecksum.MD5:
            return data, {"ContentMD5": value}, ""
        return data, {"ChecksumCRC32": value}, value

    async def delete(self, *keys: str) -> None:
        # One by one needs no body with a checksum, and is mostly one call as well.
        await together(self._call("delete_object", Key=key) for key in keys)

    async def delete_seen(self, key: str, seen: str) -> None:
        given: dict[str, Any] = {"IfMatch": seen} if self.options.is_conditional else {}
        await self._call("delete_object", Key=key, **given)

    async def clear(self, key: str) -> None:
        # Also multipart uploads whose beginning nobody could record.
        async for multipart in self.multiparts(key):
            if multipart.key == key:
                await self.abort(key, multipart.multipart)
        await self.delete(key)

    async def now(self) -> datetime | None:
        answer = await self._call("head_bucket")
        try:
            return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        except (KeyError, ValueError):
            return None

    async def begin_multipart(self, key: str, content_type: str, *, is_joined: bool = False) -> str:
        given: dict[str, Any] = {}
        # Not every service says the checksum of a range that it has copied; some say another.
        if self.options.checksum is PartChecksum.CRC32 and not is_joined:
            given["ChecksumAlgorithm"] = "CRC32"
        answer = await self._call(
            "create_multipart_upload", Key=key, ContentType=content_type, **given
        )
        return str(answer["UploadId"])

    async def put_part(
        self,
        key: str,
        multipart: str,
        number: int,
        part: bytes | Span,
        *,
        is_joined: bool = False,
        has_crc32: bool | None = None,
    ) -> Part:
        kind = self.options.checksum
        if has_crc32:
            kind = PartChecksum.CRC32
        elif kind is PartChecksum.CRC32 and (is_joined or has_crc32 is False):
            kind = PartChecksum.MD5
        body, checksum, crc32 = await self._prepared(part, kind)
        answer = await self._call(
            "upload_part",
            self.options.part_deadline,
            Key=key,
            UploadId=multipart,
            PartNumber=number,
            Body=body,
            ContentLength=len(part),
            **checksum,
        )
        return Part(number, len(part), answer["ETag"], crc32)

    async def copy_part(
        self, key: str, multipart: str, number: int, source: str, start: int, end: int
    ) -> Part:
        answer = await self._call(
            "upload_part_copy",
            self.options.part_deadline,
            Key=key,
            UploadId=multipart,
            PartNumber=number,
            CopySource={"Bucket": self._name, "Key": source},
            CopySourceRange=f"bytes={start}-{end - 1}",
        )
        return Part(number, end - start, answer["CopyPartResult"]["ETag"])

    async def check_parts(self, key: str, multipart: str, parts: Sequence[Part]) -> None:
        pass  # The service tells by itself once the next part is sent.

    async def parts(self, key: str, multipart: str) -> list[ListedPart]:
        found: list[ListedPart] = []
        more: dict[str, Any] = {}
        while True:
            try:
                page = await self._call("list_parts", Key=key, UploadId=multipart, **more)
            except ObjectMissing:
                raise MultipartMissing from None  # Some services say that of the key.
            # Parts may have one that the multipart upload was not begun with; then it is not asked.
            has_crc32 = page.get("ChecksumAlgorithm") == "CRC32"
            for item in page.get("Parts", ()):
                crc32 = item.get("ChecksumCRC32", "") if has_crc32 else ""
                part = Part(item["PartNumber"], item["Size"], item["ETag"], crc32)
                found.append(ListedPart(part, item["LastModified"]))
            if not page.get("IsTruncated"):
                return found
            more = {"PartNumberMarker": page["NextPartNumberMarker"]}

    async def complete(
        self, key: str, multipart: str, parts: Sequence[Part], content_type: str
    ) -> None:
        await self._complete(key, multipart, parts)

    async def _complete(
        self, key: str, multipart: str, parts: Sequence[Part], **conditions: str
    ) -> None:
        named = [
            {"PartNumber": part.number, "ETag": part.etag}
            | ({"ChecksumCRC32": part.crc32} if part.crc32 else {})
            for part in parts
        ]
        await self._call(
            "complete_multipart_upload",
            self.options.part_deadline,
            Key=key,
            UploadId=multipart,
            MultipartUpload={"Parts": named},
            **conditions,
        )

    async def begin_copy(self, key: str, upload_id: str, content_type: str) -> str:
        answer = await self._call(
            "create_multipart_upload",
            Key=key,
            ContentType=content_type,
            Metadata={_MARK: quote(upload_id)},
        )
        return str(answer["UploadId"])

    async def copy(
        self, source: str, size: int, key: str, multipart: str, upload_id: str, *, is_new: bool
    ) -> None:
        # Copies of whole objects know no conditions on most services; multipart uploads do.
        if size:
            copies = (
                self.copy_part(key, multipart, number, source, start, end)
                for number, (start, end) in enumerate(plan_copy(size), 1)
            )
            parts = await together(copies, at_once=_AT_ONCE)
        else:
            parts = [await self.put_part(key, multipart, 1, b"", is_joined=True)]
        conditions = {"IfNoneMatch": "*"} if is_new and self.options.is_conditional else {}
        await self._complete(key, multipart, parts, **conditions)

    async def marked(self, key: str) -> str | None:
        answer = await self._call("head_object", Key=key)
        mark = answer["Metadata"].get(_MARK)
        return None if mark is None else unquote(mark)

    async def abort(self, key: str, multipart: str | None) -> None:
        assert multipart is not None
        try:
            await self._call("abort_multipart_upload", Key=key, UploadId=multipart)
        except (MultipartMissing, ObjectMissing):
            return

    async def pages(self, prefix: str) -> AsyncIterator[list[Listed]]:
        more: dict[str, Any] = {}
        while True:
            page = await self._call("list_objects_v2", Prefix=prefix, MaxKeys=_LISTED, **more)
            yield [
                Listed(item["Key"], item["LastModified"], item["Size"])
                for item in page.get("Contents", ())
            ]
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    async def multiparts(self, prefix: str) -> AsyncIterator[Multipart]:
        more: dict[str, Any] = {}
        while True:
            page = await self._call(
                "list_multipart_uploads", Prefix=prefix, MaxUploads=_LISTED, **more
            )
            for item in page.get("Uploads", ()):
                yield Multipart(item["Key"], item["UploadId"], item["Initiated"])
            if not page.get("IsTruncated"):
                return
            # As they were given: what has an order of its own gives no key.
            markers = {name: page.get(f"Next{name}") for name in ("KeyMarker", "UploadIdMarker")}
            more = {name: marker for name, marker in markers.items() if marker}
            if not more:
                raise StorageFailed("the service does not tell how its listing goes on")


def _running(kind: PartChecksum) -> tuple[Callable[[Any], None], Callable[[], bytes]]:
    """A digest of this kind: how to feed it, and what it comes to."""
    if kind is PartChecksum.MD5:
        md5 = hashlib.md5(usedforsecurity=False)
        return md5.update, md5.digest
    value = 0

    def update(data: bytes) -> None:
        nonlocal value
        value = zlib.crc32(data, value)

    return update, lambda: value.to_bytes(4, "big")

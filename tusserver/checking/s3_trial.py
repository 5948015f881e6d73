"""What an S3 store needs of its service, tried below its own prefix.

Everything that is made has a key of the form of a tail (`<id>.part-<token>`) or is a multipart
upload at `<id>`, of ids that nobody else has: if the check dies, the sweeper of any server removes
them after a day. While there may be an object `<id>`, which no sweeper would touch, a record stands
beside it that says that it is being removed.
"""

from __future__ import annotations

import secrets
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError
from msgspec.structs import replace as changed_state

from tusserver.checking.base import Lacking
from tusserver.protocol.errors import TusError
from tusserver.protocol.upload import Upload
from tusserver.store.base import StoreUnusable
from tusserver.store.bucket import (
    MultipartMissing,
    ObjectMissing,
    PartsRefused,
    Superseded,
)
from tusserver.store.object_keys import Keys, new_token
from tusserver.store.object_record import changed, encode_object, new_object_record
from tusserver.store.s3_bucket import S3Bucket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Coroutine
    from typing import Any

    from tusserver.store.object_buffers import Span
    from tusserver.store.object_options import ObjectOptions
    from tusserver.store.object_parts import PartRules
    from tusserver.store.object_record import ObjectStorage
    from tusserver.store.s3_options import PartChecksum, S3Options

_DEADLINE, _PART_DEADLINE = 10.0, 60.0
"""Seconds for one call, and for one that moves a part: a check must come to an end."""
_RIGHTS = {
    "HeadBucket": "s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "UploadPartCopy": "s3:PutObject and s3:GetObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "DeleteObject": "s3:DeleteObject",
}
"""What has to be allowed for a call."""
_DENIED = {"AccessDenied", "403", "AllAccessDisabled", "UnauthorizedAccess"}
_NOT_US = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "ExpiredToken"}
_UNKNOWN_CALL = {"NotImplemented", "MethodNotAllowed", "501", "405"}
FAILURES = (
    TusError, StoreUnusable, ObjectMissing, MultipartMissing, PartsRefused, Superseded,
)  # fmt: skip
_BAD_REQUEST = 400
SKEW = 15 * 60
"""Seconds by which clocks may differ before the service refuses every request."""


MEDIA_TYPE = "application/octet-stream"


class Liar(S3Bucket):
    """Sends checksums that are not those of the bytes."""

    async def _prepared(
        self, data: bytes | Span, kind: PartChecksum | None = None
    ) -> tuple[Any, dict[str, str], str]:
        other = b"other bytes than those that are sent"
        _, checksum, crc32 = await super()._prepared(other, kind)
        return data, checksum, crc32


@dataclass
class Trial:
    """The bucket, and what has been made in it. `plain_id` has tails only, `joined_id` multipart
    uploads only.
    """

    options: S3Options
    rules: PartRules
    bucket: S3Bucket
    liar: S3Bucket
    keys: Keys
    plain_id: str = field(default_factory=lambda: secrets.token_hex(16))
    joined_id: str = field(default_factory=lambda: secrets.token_hex(16))
    objects: list[str] = field(default_factory=list)
    multiparts: list[str] = field(default_factory=list)
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

    async def close(self) -> str:
        """Removes all that has been made, the record last; what could not be removed."""
        left = await self._removed() if self.is_connected else []
        await self.bucket.close()
        await self.liar.close()
        if not left:
            return ""
        return f"could not remove {', '.join(left)}; a sweep does so after a day, once it may"

    async def _removed(self) -> list[str]:
        key, left = self.joined_key, list[str]()
        multiparts = dict.fromkeys(self.multiparts)
        with suppress(TusError):
            # Also one whose beginning was interrupted.
            async for found in self.bucket.multiparts(key):
                if found.key == key and found.multipart is not None:
                    multiparts[found.multipart] = None
        for multipart in multiparts:
            if not await _is_done(self.bucket.abort(key, multipart)):
                left.append(f"the multipart upload {multipart} at {key}")
        info = self.keys.info(self.joined_id)
        for each in dict.fromkeys(self.objects):
            # By the record the sweeper finds an object that has to stay for now.
            is_wanted = each == info and key in left
            if is_wanted or not await _is_done(self.bucket.delete(each)):
                left.append(each)
        return left


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


def start_trial(options: S3Options, place: ObjectOptions) -> Trial:
    """Nothing is connected yet. Every call has a deadline that a person can wait for."""
    options = replace(options, deadline=_DEADLINE, part_deadline=_PART_DEADLINE)
    return Trial(options, place.rules, S3Bucket(options), Liar(options), Keys(place.prefix))


def explain(error: Exception, options: S3Options, prefix: str) -> Lacking:
    """What an error of a call means for the operator."""
    answer = refusal(error)
    where = f"{options.bucket}/{prefix}*"
    if answer is None:
        cause = error.__cause__ or error
        reason = str(cause) or type(cause).__name__
        if isinstance(cause, TimeoutError):
            reason = f"no answer within {options.deadline:g} s"
        return Lacking(f"the service cannot be reached: {reason}", _REACH)
    call, code = answer.operation_name, code_of(answer)
    said = str(answer.response.get("Error", {}).get("Message", "")) or code
    if code in _DENIED:
        right = _RIGHTS.get(call, f"s3:{call}")
        scope = options.bucket if "ListBucket" in right else where
        return Lacking(f"{call} is not allowed", f"give these keys the right {right} on {scope}")
    if code in _NOT_US:
        return Lacking(f"the service refuses the keys: {said}", _KEYS)
    if code in _UNKNOWN_CALL:
        return Lacking(f"the service does not know {call}", _OTHER)
    return Lacking(f"{call} failed: {code}: {said}", _OTHER)


_REACH = "see whether --s3-endpoint is right and can be reached from here"
_KEYS = "see AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and the clock of this machine"
_OTHER = "look at the service's log, or try another --s3-preset; see docs/s3.md"


def refusal(error: BaseException) -> ClientError | None:
    """The answer of the service behind an error; None if there was none."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ClientError):
        cause = cause.__cause__
    return cause


def code_of(answer: ClientError) -> str:
    """The name of the error, as S3 has it."""
    return str(answer.response.get("Error", {}).get("Code", ""))


def status_of(answer: ClientError) -> int:
    """The status of an answer."""
    return int(answer.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


async def refuses(call: Awaitable[object]) -> bool:
    """Whether the service refuses what was sent with this call. Raises what else it may raise."""
    try:
        await call
    except (TusError, PartsRefused) as error:
        answer = refusal(error)
        if answer is None or status_of(answer) != _BAD_REQUEST:
            raise
        return True
    return False


def skew_of(date: str) -> float | None:
    """Seconds by which the clock of an answer is ahead of ours."""
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except ValueError:
        return None

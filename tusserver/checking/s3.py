"""What an S3 store needs of its service."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from tusserver.checking.base import Lacking, Section
from tusserver.checking.bucket_objects import ObjectChecks
from tusserver.checking.bucket_places import place_checks
from tusserver.checking.bucket_trial import (
    DEADLINE,
    FAILURES,
    PART_DEADLINE,
    SKEW,
    Service,
    Trial,
    skew_of,
)
from tusserver.checking.s3_multiparts import S3MultipartChecks
from tusserver.store.object_keys import Keys
from tusserver.store.object_parts import MIN_PART
from tusserver.store.s3_bucket import S3Bucket
from tusserver.store.s3_options import PartChecksum

if TYPE_CHECKING:
    from typing import Any

    from tusserver.store.base import StoreUnusable
    from tusserver.store.object_buffers import Span
    from tusserver.store.object_options import ObjectOptions
    from tusserver.store.s3_options import S3Options

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
_FORBIDDEN = 403
_ATTEMPTS = 2
_REACH = "see whether --s3-endpoint is right and can be reached from here"
_KEYS = "see AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and the clock of this machine"
_OTHER = "look at the service's log, or try another --s3-preset; see docs/s3.md"


class Liar(S3Bucket):
    """Sends checksums that are not those of the bytes."""

    async def _prepared(
        self, data: bytes | Span, kind: PartChecksum | None = None
    ) -> tuple[Any, dict[str, str], str]:
        other = b"other bytes than those that are sent"
        _, checksum, crc32 = await super()._prepared(other, kind)
        return data, checksum, crc32


def bucket_section(options: S3Options, place: ObjectOptions, *, joins: bool) -> Section:
    """Tries the bucket, below the store's prefix. `joins`: uploads are joined from others."""
    # Every call has a deadline that a person can wait for.
    options = replace(
        options,
        attempts=min(options.attempts, _ATTEMPTS),
        deadline=DEADLINE,
        part_deadline=PART_DEADLINE,
    )
    service, keys = _service(options, place.prefix), Keys(place.prefix)
    trial = Trial(service, place.rules, S3Bucket(options), Liar(options), keys)
    where = f"s3://{options.bucket}/{place.prefix} at {options.endpoint or 'AWS'}"
    checks = (
        *ObjectChecks(trial).checks(),
        *S3MultipartChecks(trial, joins=joins).checks(),
        *place_checks(trial, place.destination),
    )
    return Section(f"Bucket {where}", checks, FAILURES, service.explain, trial.close)


def _service(options: S3Options, prefix: str) -> Service:
    kind = options.checksum
    return Service(
        explain=lambda error: _explain(error, options, prefix),
        unreached=lambda error: _unreached(error, options),
        status_of=_status_of,
        checksum=None if kind is PartChecksum.NONE else kind.value,
        checksum_is_off="off by --s3-checksum none",
        part_size=MIN_PART,
        needs_seen_removals=False,
        is_broken="this is no S3 that uploads can be kept in; see whether a proxy stands in "
        "between",
        is_unconditional="two servers could both go on with the same upload: use a release of the "
        "service that knows conditional writes (If-Match, If-None-Match), and no proxy that drops "
        "these headers",
        verifies_nothing="half a part could be taken for a whole one: try another --s3-checksum "
        "(crc32, md5), and --s3-preset for what the service is",
        removes_unseen="only `tusserver verify` uses it, to set damaged records aside",
    )


def _unreached(error: StoreUnusable, options: S3Options) -> Lacking:
    answer, bucket = _refusal(error), options.bucket
    if answer is None:
        return Lacking(str(error), "see --s3-endpoint, --s3-region and the keys")
    headers = answer.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    skew = skew_of(headers.get("date", ""))
    if skew is not None and abs(skew) > SKEW:
        advice = f"the clocks differ by {skew:.0f} s; the service takes {SKEW} s at most"
        return Lacking(f"bucket {bucket}: the service refuses this clock", advice)
    if _status_of(answer) == _FORBIDDEN:
        advice = "see the keys and whether they have the right s3:ListBucket on the bucket"
        return Lacking(f"bucket {bucket}: not allowed ({_code_of(answer)})", advice)
    return Lacking(str(error), "see --store, --s3-endpoint and --s3-region")


def _explain(error: Exception, options: S3Options, prefix: str) -> Lacking:
    answer = _refusal(error)
    where = f"{options.bucket}/{prefix}*"
    if answer is None:
        cause = error.__cause__ or error
        reason = str(cause) or type(cause).__name__
        if isinstance(cause, TimeoutError):
            reason = f"no answer within {options.deadline:g} s"
        return Lacking(f"the service cannot be reached: {reason}", _REACH)
    call, code = answer.operation_name, _code_of(answer)
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


def _refusal(error: BaseException) -> ClientError | None:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ClientError):
        cause = cause.__cause__
    return cause


def _code_of(answer: ClientError) -> str:
    """The name of the error, as S3 has it."""
    return str(answer.response.get("Error", {}).get("Code", ""))


def _status_of(error: BaseException) -> int | None:
    answer = _refusal(error)
    if answer is None:
        return None
    return int(answer.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))

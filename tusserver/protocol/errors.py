"""The refusals of a tus server: one class per cause, each with its status, its stable code and the
headers it must carry.

    TusError
    ├── MalformedRequest 400, with one subclass per header that can be wrong
    ├── ModifyFinal 403            ├── UnsupportedContentType 415
    ├── UploadNotFound 404         ├── UnsupportedContentEncoding 415
    ├── MethodNotAllowed 405       ├── UploadLocked, UploadInterrupted 423
    ├── OffsetMismatch 409         ├── ChecksumMismatch 460
    ├── UploadGone 410             ├── StorageFailed 500
    ├── UnsupportedVersion 412     ├── ReadTimeout, ServerShutdown 503
    └── MaxSizeExceeded, UploadSizeExceeded 413, StorageFull 507

The codes are tusd's where tusd has one, so that scripts that look for them go on working. Raised
anywhere below the HTTP shell and turned into an answer at exactly one place there. The message says
what is wrong and what to do about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable

Header = tuple[bytes, bytes]
"""One header field as ASGI has it: a lower-case name and its value, both in bytes."""

RETRY_AFTER = (b"retry-after", b"1")


class TusError(Exception):
    """A request that is refused. `headers` are added to the answer."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "ERR_INTERNAL_SERVER_ERROR"
    default_message: ClassVar[str] = "the server failed; try again later"
    headers: tuple[Header, ...] = ()
    is_for_operator: ClassVar[bool] = False
    """Something is wrong with the server, its storage or its data, which belongs into the log."""

    def __init__(self, message: str | None = None, *, headers: Iterable[Header] = ()) -> None:
        super().__init__(message or self.default_message)
        self.headers = (*type(self).headers, *headers)

    @property
    def message(self) -> str:
        """One sentence for a person."""
        return str(self.args[0])

    @property
    def reason(self) -> str:
        """What is behind it, in the words of whoever failed first: for the log, not for clients."""
        cause: BaseException = self
        while cause.__cause__ is not None:
            cause = cause.__cause__
        return str(cause)


# 400: the request itself is wrong; sending it again unchanged cannot help.


class MalformedRequest(TusError):
    """The request breaks HTTP or the protocol in a way that no other class names."""

    status = 400
    code = "ERR_MALFORMED_REQUEST"
    default_message = "the request is malformed"


class RepeatedHeader(MalformedRequest):
    code = "ERR_REPEATED_HEADER"


class InvalidMethodOverride(MalformedRequest):
    code = "ERR_INVALID_METHOD_OVERRIDE"
    default_message = (
        "X-HTTP-Method-Override must be HEAD, PATCH, DELETE, GET, OPTIONS or POST, in upper case"
    )


class InvalidUploadLength(MalformedRequest):
    code = "ERR_INVALID_UPLOAD_LENGTH"
    default_message = "Upload-Length must be a non-negative number of bytes below 2^63"


class InvalidDeferLength(MalformedRequest):
    code = "ERR_INVALID_UPLOAD_LENGTH_DEFER"
    default_message = "Upload-Defer-Length must be 1 where it is given"


class AmbiguousLength(MalformedRequest):
    code = "ERR_AMBIGUOUS_UPLOAD_LENGTH"
    default_message = "give either Upload-Length or Upload-Defer-Length: 1, not both"


class InvalidOffset(MalformedRequest):
    code = "ERR_INVALID_OFFSET"
    default_message = "Upload-Offset must be a non-negative number of bytes below 2^63"


class InvalidMetadata(MalformedRequest):
    code = "ERR_INVALID_METADATA"


class InvalidChecksum(MalformedRequest):
    code = "ERR_INVALID_CHECKSUM"


class MissingTrailer(InvalidChecksum):
    default_message = "the announced trailer Upload-Checksum did not come; the bytes were discarded"


class UnsupportedChecksumAlgorithm(MalformedRequest):
    code = "ERR_UNSUPPORTED_CHECKSUM_ALGORITHM"


class InvalidConcat(MalformedRequest):
    code = "ERR_INVALID_CONCAT"


class ConcatenationUnsupported(MalformedRequest):
    code = "ERR_CONCATENATION_UNSUPPORTED"
    default_message = "this server does not offer concatenation; send the upload in one piece"


class PartialUnfinished(MalformedRequest):
    code = "ERR_UPLOAD_NOT_FINISHED"
    default_message = "a partial upload is not finished; finish it before joining"


class MalformedBody(MalformedRequest):
    """The chunked framing of the body is broken; what came before the break is stored."""

    code = "ERR_MALFORMED_BODY"
    default_message = "the framing of the body is broken; ask for the offset with HEAD and go on"


# 403 to 415: well-formed, but not for this resource in this state.


class ModifyFinal(TusError):
    status = 403
    code = "ERR_MODIFY_FINAL"
    default_message = (
        "a final upload is made from its partial uploads and takes no bytes of its own"
    )


class UploadNotFound(TusError):
    status = 404
    code = "ERR_UPLOAD_NOT_FOUND"
    default_message = "there is no such upload; create a new one"


class UploadUnfinished(UploadNotFound):
    code = "ERR_UPLOAD_NOT_FINISHED"
    default_message = "the upload is not finished yet; there is nothing to download"


class MethodNotAllowed(TusError):
    status = 405
    code = "ERR_METHOD_NOT_ALLOWED"

    def __init__(self, allowed: str) -> None:
        """`allowed` is the value of the Allow header (RFC 9110, section 15.5.6)."""
        super().__init__(
            f"this method is not offered here; use one of {allowed}",
            headers=[(b"allow", allowed.encode())],
        )


class OffsetMismatch(TusError):
    status = 409
    code = "ERR_MISMATCHED_OFFSET"

    def __init__(self, offset: int) -> None:
        """`offset` is where the upload stands, in bytes; the client is told, so that it need not
        ask.
        """
        super().__init__(
            f"the upload stands at {offset}; send the bytes from there",
            headers=[(b"upload-offset", b"%d" % offset)],
        )
        self.offset = offset


class UploadGone(TusError):
    status = 410
    code = "ERR_UPLOAD_EXPIRED"
    default_message = "the upload has expired; create a new one"


class UploadDamaged(UploadGone):
    """The record of the upload cannot be read. It is kept for the operator; the client can only
    start again.
    """

    code = "ERR_UPLOAD_DAMAGED"
    is_for_operator = True
    default_message = "the upload cannot be continued, its record is damaged; create a new one"


class UnsupportedVersion(TusError):
    status = 412
    code = "ERR_UNSUPPORTED_VERSION"
    default_message = "send Tus-Resumable: 1.0.0; it is the version that this server speaks"
    headers = ((b"tus-version", b"1.0.0"),)


class MaxSizeExceeded(TusError):
    status = 413
    code = "ERR_MAX_SIZE_EXCEEDED"

    def __init__(self, max_size: int) -> None:
        """`max_size` is the longest upload that this server takes, in bytes."""
        super().__init__(f"the upload is longer than the {max_size} bytes that this server takes")


class UploadSizeExceeded(TusError):
    status = 413
    code = "ERR_UPLOAD_SIZE_EXCEEDED"
    default_message = "the request carries more bytes than the upload has left"


class UnsupportedContentType(TusError):
    status = 415
    code = "ERR_INVALID_CONTENT_TYPE"
    default_message = "send the bytes as Content-Type: application/offset+octet-stream"


class UnsupportedContentEncoding(TusError):
    status = 415
    code = "ERR_INVALID_CONTENT_ENCODING"
    default_message = (
        "send the bytes without Content-Encoding; compress the file before the upload instead"
    )


# 423: passing; every known client tries again.


class UploadLocked(TusError):
    status = 423
    code = "ERR_UPLOAD_LOCKED"
    default_message = "another request is using this upload; try again in a moment"
    headers = (RETRY_AFTER,)


class UploadInterrupted(TusError):
    status = 423
    code = "ERR_UPLOAD_INTERRUPTED"
    default_message = "a newer request took this upload over; what arrived before is stored"
    headers = (RETRY_AFTER,)


class StorageUnavailable(UploadLocked):
    """The storage does not answer for the moment. As 423, because some clients start over at byte 0
    on HEAD with 5xx.
    """

    code = "ERR_STORAGE_UNAVAILABLE"
    is_for_operator = True
    default_message = "the storage does not answer; try again in a moment"


class ChecksumMismatch(TusError):
    status = 460
    code = "ERR_CHECKSUM_MISMATCH"
    default_message = "the bytes do not match Upload-Checksum and were discarded; send them again"


# 5xx: not the client's fault; the offset stays true and the upload can go on.


class StorageFailed(TusError):
    code = "ERR_STORAGE_FAILED"
    is_for_operator = True
    default_message = "the storage failed; ask for the offset with HEAD and go on from there"


class ReadTimeout(TusError):
    status = 503
    code = "ERR_READ_TIMEOUT"
    default_message = "no bytes came for too long; what arrived is stored"
    headers = (RETRY_AFTER,)


class ServerShutdown(TusError):
    status = 503
    code = "ERR_SERVER_SHUTDOWN"
    default_message = "the server is stopping; what arrived is stored, go on in a moment"
    headers = (RETRY_AFTER,)


class StorageFull(TusError):
    status = 507
    code = "ERR_STORAGE_FULL"
    is_for_operator = True
    default_message = (
        "there is no room for these bytes; what arrived is stored, go on when there is room again"
    )

"""The rules for upload bytes that PATCH and creation-with-upload share: label, coding, length,
checksum, outcome.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from tusserver.protocol import checksum as checksums
from tusserver.protocol.capabilities import CHECKSUM, CHECKSUM_TRAILER, Capabilities
from tusserver.protocol.decision import Append, Outcome, Trailer
from tusserver.protocol.errors import (
    ChecksumMismatch,
    MalformedBody,
    MalformedRequest,
    MaxSizeExceeded,
    ReadTimeout,
    ServerShutdown,
    UnsupportedContentEncoding,
    UploadInterrupted,
    UploadSizeExceeded,
)
from tusserver.protocol.grammar import is_offset_octet_stream, list_tokens, parse_integer
from tusserver.protocol.refusals import KindNotAllowed

if TYPE_CHECKING:
    from tusserver.protocol.checksum import Checksum
    from tusserver.protocol.errors import TusError
    from tusserver.protocol.fields import Fields
    from tusserver.protocol.upload import Upload

_REFUSALS: dict[Outcome, type[TusError]] = {
    Outcome.TOO_LONG: UploadSizeExceeded,
    Outcome.MISMATCH: ChecksumMismatch,
    Outcome.IDLE: ReadTimeout,
    Outcome.RELEASED: UploadInterrupted,
    Outcome.SHUTDOWN: ServerShutdown,
    Outcome.CANCELLED: ServerShutdown,
    Outcome.REFUSED: KindNotAllowed,
    Outcome.MALFORMED: MalformedBody,
    # Nobody is left to read this answer; it is what the log shows.
    Outcome.DISCONNECTED: MalformedBody,
}


class BodyHead(Struct, frozen=True):
    """What the header says about the body of a request. `content_length` is None when it is not
    announced.
    """

    content_length: int | None
    is_labelled: bool
    checksum: Checksum | None
    trailer: Trailer

    @property
    def brings_bytes(self) -> bool:
        """Upload bytes follow, or may follow, or their absence is to be verified."""
        return self.is_labelled and (self.content_length != 0 or self.checksum is not None)

    def plan(self, room: int | None, *, declare: int | None = None) -> Append:
        """Leave to store this body where `room` bytes are left. Raises UploadSizeExceeded when it
        cannot fit.
        """
        if room is not None and self.content_length is not None and self.content_length > room:
            raise UploadSizeExceeded
        return Append(room, self.content_length, declare, self.checksum, self.trailer)


def parse_body_head(fields: Fields, http_version: str, capabilities: Capabilities) -> BodyHead:
    """Reads the fields that describe the body. Raises MalformedRequest and its kin, or
    UnsupportedContentEncoding.
    """
    content_length = _content_length(fields, http_version)
    coding = fields.get(b"content-encoding")
    if coding and coding.lower() != "identity" and content_length != 0:
        raise UnsupportedContentEncoding
    value = fields.get(b"upload-checksum") if capabilities.offers(CHECKSUM) else None
    return BodyHead(
        content_length=content_length,
        is_labelled=is_offset_octet_stream(fields.get(b"content-type")),
        checksum=None if value is None else checksums.parse(value),
        trailer=_trailer(fields, content_length, capabilities),
    )


def _content_length(fields: Fields, http_version: str) -> int | None:
    value = fields.get(b"content-length")
    transfer_encoding = fields.get(b"transfer-encoding")
    if transfer_encoding is not None:
        # Two framings in one message are how requests are smuggled past proxies (RFC 9112, section
        # 6.1).
        if value is not None or http_version == "1.0" or transfer_encoding.lower() != "chunked":
            raise MalformedRequest(
                "the only transfer coding taken is chunked, in HTTP/1.1 and without Content-Length"
            )
        return None
    if value is None:
        return 0 if http_version.startswith("1") else None
    try:
        return parse_integer(value)
    except ValueError as error:
        raise MalformedRequest(f"Content-Length: {error}") from None


def _trailer(fields: Fields, content_length: int | None, capabilities: Capabilities) -> Trailer:
    announced = "upload-checksum" in list_tokens(fields.get(b"trailer") or "")
    if content_length is not None or not capabilities.offers(CHECKSUM_TRAILER):
        # Where trailers do not reach us an announced one would go unseen: taken for missing, so
        # that nothing unverified is kept (checksum-trailer is not advertised on such a connection).
        return Trailer.ANNOUNCED if announced else Trailer.ABSENT
    return Trailer.ANNOUNCED if announced else Trailer.POSSIBLE


def room_for(upload: Upload, length: int | None, capabilities: Capabilities) -> int | None:
    """How many bytes may still be stored when `length` is (or becomes) the length of the upload;
    None: no bound.

    Raises MaxSizeExceeded ('Tus-Max-Size' binds an upload whose length is deferred, too).
    """
    max_size = capabilities.max_size
    if length is None:
        return None if max_size is None else max(0, max_size - upload.offset)
    if max_size is not None and length > max_size:
        raise MaxSizeExceeded(max_size)
    return length - upload.offset


def refuse_broken(upload: Upload, outcome: Outcome) -> None:
    """Raises the refusal that a body which ended badly stands for; it tells the true offset."""
    refusal = _REFUSALS.get(outcome)
    if refusal is not None:
        raise refusal(headers=[(b"upload-offset", b"%d" % upload.shown_offset)])

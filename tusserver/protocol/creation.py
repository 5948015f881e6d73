"""POST on the creation URL: creation, creation-with-upload, creation-defer-length, and the creation
of final uploads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from tusserver.protocol import concatenation, digests, expiration, finished, grammar
from tusserver.protocol.body_plan import BodyHead, refuse_broken, room_for
from tusserver.protocol.capabilities import CONCATENATION, Capabilities
from tusserver.protocol.decision import Append, Outcome, Reply
from tusserver.protocol.errors import (
    AmbiguousLength,
    ConcatenationUnsupported,
    InvalidConcat,
    InvalidDeferLength,
    InvalidMetadata,
    InvalidUploadLength,
    MalformedRequest,
    MaxSizeExceeded,
    ModifyFinal,
    UnsupportedContentType,
)
from tusserver.protocol.upload import Final, Partial, Upload

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tusserver.protocol.digests import Digests
    from tusserver.protocol.fields import Fields
    from tusserver.protocol.urls import UploadUrls


_CUT_BY_SERVER = frozenset({Outcome.SHUTDOWN, Outcome.IDLE, Outcome.CANCELLED})


class Create(Struct, frozen=True):
    """A creation request that is consistent in itself. `length` is None when it is deferred or
    follows from partials.
    """

    length: int | None
    metadata: str
    concat: Partial | Final | None
    body: BodyHead
    urls: UploadUrls
    expected: Digests = ()
    """Digests of the whole file that the client gave, where the server verifies them."""

    @property
    def partials(self) -> tuple[str, ...] | None:
        """The ids of the partial uploads to join; None when this is not a final upload."""
        return self.concat.partials if isinstance(self.concat, Final) else None

    @property
    def refuses_body(self) -> bool:
        """An unannounced body without the label of upload bytes; HTTP libraries label even empty
        ones at will.
        """
        return self.body.content_length is None and (
            not self.body.is_labelled or self.partials is not None
        )

    def decide(
        self, upload_id: str, partials: Sequence[Upload], capabilities: Capabilities, now: datetime
    ) -> tuple[Upload, Append | None]:
        """The new upload and the plan for the bytes that came with it. Raises the refusal."""
        length = self.length
        if self.partials is not None:
            length = concatenation.joined_length(partials, capabilities)
        if (
            length is not None
            and capabilities.max_size is not None
            and length > capabilities.max_size
        ):
            raise MaxSizeExceeded(capabilities.max_size)
        upload = Upload(upload_id, 0, length, now, now, self.metadata, self.concat)
        if self.partials is not None or not self.body.brings_bytes:
            return upload, None
        return upload, self.body.plan(room_for(upload, length, capabilities))

    def settle(
        self, upload: Upload, outcome: Outcome, capabilities: Capabilities, now: datetime
    ) -> Reply:
        """201 with `Location`, and the offset where the request was labelled as one with bytes."""
        # Where the server cut the body off, 'as many bytes as possible' were accepted: the client
        # goes on from this offset.
        if outcome not in _CUT_BY_SERVER:
            refuse_broken(upload, outcome)
        finished.refuse_refused(upload)
        headers = [(b"location", self.urls.location(upload.upload_id))]
        # 'The Server MUST include the Upload-Offset header in the response' of
        # creation-with-upload.
        if self.body.is_labelled and not upload.is_pending:
            headers.append((b"upload-offset", b"%d" % upload.shown_offset))
        headers += finished.headers(upload)
        if isinstance(upload.concat, Final):
            headers.append((b"upload-concat", upload.concat.raw.encode("latin-1")))
        elif upload.concat is not None:
            headers.append((b"upload-concat", b"partial"))
        return Reply(201, (*headers, *expiration.headers(upload, capabilities.expires_after)))


def parse_create(
    fields: Fields, body: BodyHead, urls: UploadUrls, capabilities: Capabilities
) -> Create:
    """Reads a POST on the creation URL. Raises the 400 that names what is wrong, 403, or 415."""
    concat = _parse_concat(fields.get(b"upload-concat"), urls, capabilities)
    length = _parse_length(fields, is_final=isinstance(concat, Final))
    metadata = fields.get(b"upload-metadata") or ""
    try:
        grammar.parse_metadata(metadata)
    except ValueError as error:
        raise InvalidMetadata(f"Upload-Metadata: {error}") from None
    if body.content_length and isinstance(concat, Final):
        raise ModifyFinal
    if body.content_length and not body.is_labelled:
        raise UnsupportedContentType
    expected = _parse_digests(fields, metadata) if capabilities.verifies_digests else ()
    return Create(length, metadata, concat, body, urls, expected)


def _parse_digests(fields: Fields, metadata: str) -> Digests:
    try:
        found = dict(digests.parse_metadata(grammar.parse_metadata(metadata)))
    except ValueError as error:
        raise InvalidMetadata(f"Upload-Metadata: {error}") from None
    try:
        found.update(digests.parse_header(fields.get(b"repr-digest") or ""))
    except ValueError as error:
        raise MalformedRequest(f"Repr-Digest: {error}") from None
    return tuple(found.items())


def _parse_length(fields: Fields, *, is_final: bool) -> int | None:
    length = fields.get(b"upload-length")
    defer = fields.get(b"upload-defer-length")
    if is_final:
        # 'The Client MUST NOT include the Upload-Length header in the final upload creation.'
        if length is not None or defer is not None:
            raise InvalidConcat(
                "the length of a final upload follows from its partial uploads; send none"
            )
        return None
    if length is not None and defer is not None:
        raise AmbiguousLength
    if defer is not None:
        if defer != "1":
            raise InvalidDeferLength
        return None
    if length is None:
        raise InvalidUploadLength(
            "give Upload-Length, or Upload-Defer-Length: 1 if it is not known yet"
        )
    try:
        return grammar.parse_integer(length)
    except ValueError as error:
        raise InvalidUploadLength(f"Upload-Length: {error}") from None


def _parse_concat(
    value: str | None, urls: UploadUrls, capabilities: Capabilities
) -> Partial | Final | None:
    if value is None:
        return None
    if not capabilities.offers(CONCATENATION):
        raise ConcatenationUnsupported
    try:
        part_urls = grammar.parse_concat(value)
        if part_urls is None:
            return Partial()
        return Final(tuple(urls.upload_id(url) for url in part_urls), value)
    except ValueError as error:
        raise InvalidConcat(f"Upload-Concat: {error}") from None

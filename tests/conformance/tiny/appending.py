"""PATCH: bytes at the end of an upload, verified first where a digest came with them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from typing import TYPE_CHECKING

from tests.conformance.tiny.core import Core
from tests.conformance.tiny.messages import Broken, Refused, Response

if TYPE_CHECKING:
    from tests.conformance.tiny.messages import Request
    from tests.conformance.tiny.uploads import Upload

SIZES = {"sha1": 20, "md5": 16, "sha256": 32, "sha512": 64, "crc32": 4}
"""The digest of each algorithm in bytes."""


class Appending(Core):
    """PATCH, and the checksum extension."""

    def patch(self, request: Request) -> Response:
        upload = self.upload_of(request)
        if upload.is_final:
            raise Refused(403, "A final upload takes no bytes.")
        self.check_label(request)
        offset = self.number(request, "Upload-Offset")
        with upload.turn.take(request.body.stop):
            self.check_there(upload)
            self.check_offset(upload, offset)
            self.append(request, upload, self.declared_length(request, upload))
            self.prolong(upload)
            response = Response(204).set("Upload-Offset", upload.offset)
            return self.with_expiry(upload, response)

    def check_offset(self, upload: Upload, offset: int) -> None:
        if offset != upload.offset:
            raise Refused(409, f"The upload stands at {upload.offset}.")

    def declared_length(self, request: Request, upload: Upload) -> int | None:
        """The length of the upload as this PATCH leaves it. Raises Refused."""
        if "upload-length" not in request:
            return upload.length
        length = self.number(request, "Upload-Length")
        if upload.length is not None and length != upload.length:
            raise Refused(400, "The length of an upload never changes.")
        self.check_size(length)
        if length < upload.offset:
            raise Refused(400, "More bytes than that are there.")
        return length

    def append(self, request: Request, upload: Upload, length: int | None) -> None:
        """The body behind the upload's bytes; its length becomes this one. Raises Refused."""
        room = (self.max_size if length is None else length) - upload.offset
        if request.body.length is not None and request.body.length > room:
            raise Refused(413, "More bytes than the upload has room for.")
        digests = self.expected_digests(request)
        try:
            if digests or self.announces_digest(request):
                self.append_verified(request, upload, length, room, digests)
            else:
                upload.length = length
                self.append_as_it_comes(request, upload, room)
        except Broken:
            raise Refused(400, "The body broke off.", closes=True) from None

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        """What has come stays, whatever happens then."""
        while piece := request.body.read():
            self.store(upload, piece[:room])
            if len(piece) > room:
                raise Refused(413, "More bytes than the upload has room for.", closes=True)
            room -= len(piece)

    def store(self, upload: Upload, data: bytes) -> None:
        with self.guard:
            upload.data += data

    # Checksum.

    def algorithms(self) -> str:
        return ",".join(SIZES)

    def append_verified(
        self,
        request: Request,
        upload: Upload,
        length: int | None,
        room: int,
        digests: list[tuple[str, bytes]],
    ) -> None:
        """All of the body or nothing."""
        data = bytearray()
        while piece := request.body.read():
            data += piece
            if len(data) > room:
                raise Refused(413, "More bytes than the upload has room for.", closes=True)
        if self.announces_digest(request):
            digests = [*digests, self.digest_of_trailer(request)]
        for algorithm, digest in digests:
            if self.computed(algorithm, bytes(data)) != digest:
                raise Refused(460, f"The {algorithm} of the body is another.")
        upload.length = length
        self.store(upload, bytes(data))

    def expected_digests(self, request: Request) -> list[tuple[str, bytes]]:
        """Of the header: one or none."""
        values = request.all("upload-checksum")
        if not values or not self.has("checksum"):
            return []
        if len(values) > 1:
            raise Refused(400, "One Upload-Checksum, please.")
        return [self.parsed_digest(values[0])]

    def announces_digest(self, request: Request) -> bool:
        named = {each.strip().lower() for each in (request.get("trailer") or "").split(",")}
        return (
            self.has("checksum-trailer")
            and "upload-checksum" in named
            and request.body.length is None
        )

    def digest_of_trailer(self, request: Request) -> tuple[str, bytes]:
        values = [value for name, value in request.body.trailers if name == "upload-checksum"]
        if len(values) != 1:
            raise Refused(400, "The trailer with Upload-Checksum did not come.")
        return self.parsed_digest(values[0])

    def parsed_digest(self, value: str) -> tuple[str, bytes]:
        """Algorithm and digest. Raises Refused(400)."""
        algorithm, _, encoded = value.partition(" ")
        if algorithm not in SIZES or not re.fullmatch("[A-Za-z0-9+/]+=*", encoded):
            raise Refused(400, "Upload-Checksum: an algorithm, a blank, a digest in Base64.")
        try:
            digest = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise Refused(400, "The digest is not Base64.") from None
        if len(digest) != SIZES[algorithm]:
            raise Refused(400, f"The digest is not that of {algorithm}.")
        return algorithm, digest

    def computed(self, algorithm: str, data: bytes) -> bytes:
        if algorithm == "crc32":
            return zlib.crc32(data).to_bytes(4, "big")
        return hashlib.new(algorithm, data).digest()

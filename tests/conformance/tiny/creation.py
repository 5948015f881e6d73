"""POST: new uploads, with a first part of their bytes if they bring it, and joined ones."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from tests.conformance.tiny.appending import Appending
from tests.conformance.tiny.messages import Refused, Response
from tests.conformance.tiny.uploads import Upload

if TYPE_CHECKING:
    from tests.conformance.tiny.messages import Request

LARGEST_METADATA = 32 * 1024


class Creation(Appending):
    """The creation extensions and concatenation."""

    def create(self, request: Request) -> Response:
        concat = self.concat_of(request)
        if concat is not None and concat.startswith("final;"):
            return self.created(self.new_final(request, concat))
        upload = Upload(self.new_length(request), self.metadata_of(request), concat)
        self.prolong(upload)
        self.take_body(request, upload)
        self.keep(upload)
        response = self.created(upload)
        if self.has("creation-with-upload") and "content-type" in request:
            response.set("Upload-Offset", upload.offset)
        return response

    def created(self, upload: Upload) -> Response:
        response = Response(201).set("Location", self.location(upload))
        return self.with_expiry(upload, response)

    def location(self, upload: Upload) -> str:
        return f"{self.prefix}{upload.id}"

    def keep(self, upload: Upload) -> None:
        with self.guard:
            self.uploads[upload.id] = upload

    def take_body(self, request: Request, upload: Upload) -> None:
        if not request.has_body or self.is_empty_after_all(request):
            return
        if not self.has("creation-with-upload"):
            raise Refused(400, "This server takes no bytes with a creation.")
        self.check_label(request)
        self.append(request, upload, upload.length)

    def is_empty_after_all(self, request: Request) -> bool:
        """Whether a chunked body without the label, which is refused if it has bytes, has none."""
        is_chunked, has_label = request.body.length is None, "content-type" in request
        return is_chunked and not has_label and not request.body.read()

    def new_length(self, request: Request) -> int | None:
        """None for one that is told later. Raises Refused."""
        deferred = request.all("upload-defer-length")
        if deferred and not self.has("creation-defer-length"):
            raise Refused(501, "The length must be told at once.")
        if deferred and deferred != ["1"]:
            raise Refused(400, "Upload-Defer-Length is 1.")
        if deferred and "upload-length" in request:
            raise Refused(400, "A length that is told is not deferred.")
        if deferred:
            return None
        length = self.number(request, "Upload-Length")
        self.check_size(length)
        return length

    # Metadata.

    def metadata_of(self, request: Request) -> str | None:
        """The header as it came. Raises Refused(400) for what is no list of pairs."""
        value = request.get("upload-metadata")
        if not value:
            return None
        if len(value) > LARGEST_METADATA:
            raise Refused(413, "Too much metadata.")
        keys = [self.key_of(pair) for pair in value.split(",")]
        if len(set(keys)) != len(keys):
            raise Refused(400, "A key of the metadata comes twice.")
        return value

    def key_of(self, pair: str) -> str:
        key, blank, value = pair.strip(" ").partition(" ")
        if not re.fullmatch(r"[!-+\--~]+", key):
            raise Refused(400, "Keys of metadata are ASCII.")
        if blank and value:
            self.check_base64(value)
        return key

    def check_base64(self, value: str) -> None:
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise Refused(400, "Values of metadata are Base64.") from None

    # Concatenation.

    def concat_of(self, request: Request) -> str | None:
        """Upload-Concat, if this server knows it. Raises Refused(400) for neither kind."""
        values = request.all("upload-concat")
        if not values or not self.has("concatenation"):
            return None
        if len(values) > 1 or (values[0] != "partial" and not values[0].startswith("final;")):
            raise Refused(400, "Upload-Concat: partial, or final; and the parts.")
        return values[0]

    def new_final(self, request: Request, concat: str) -> Upload:
        if "upload-length" in request or "upload-defer-length" in request:
            raise Refused(400, "The length of a final upload is that of its parts.")
        if request.has_body:
            raise Refused(400, "A final upload takes no bytes.")
        parts = self.parts_of(request, concat)
        upload = Upload(self.joined_length(parts), self.metadata_of(request), concat, parts, True)
        self.check_size(upload.length or 0)
        self.prolong(upload)
        self.settle(upload)
        if upload.is_pending and not self.has("concatenation-unfinished"):
            raise Refused(400, "A part is not finished.")
        self.keep(upload)
        return upload

    def parts_of(self, request: Request, concat: str) -> list[Upload]:
        urls = concat.removeprefix("final;").strip(" ").split(" ")
        return [self.part(request, url) for url in urls]

    def part(self, request: Request, url: str) -> Upload:
        """Raises Refused(400): for other hosts and for what is no partial upload."""
        if not url:
            raise Refused(400, "A part without a URL.")
        host = request.get("host") or ""
        found = urlsplit(urljoin(f"http://{host}{self.prefix}", url))
        is_ours = found.scheme in ("http", "https") and found.netloc.lower() == host.lower()
        upload = self.uploads.get(self.id_of(found.path)) if is_ours else None
        if upload is None or upload.is_gone or upload.is_expired:
            raise Refused(400, "A part does not exist.")
        if not upload.is_partial:
            raise Refused(400, "Only partial uploads can be joined.")
        return upload

    def joined_length(self, parts: list[Upload]) -> int | None:
        """None while one of them is not known."""
        lengths = [part.length for part in parts]
        known = [length for length in lengths if length is not None]
        return sum(known) if len(known) == len(lengths) else None

    def settle(self, upload: Upload) -> None:
        """Joins the parts of a pending final upload if they are all there."""
        if not upload.is_pending:
            return
        upload.length = self.joined_length(upload.parts)
        with self.guard:
            if all(part.is_finished and not part.is_gone for part in upload.parts):
                upload.data = bytearray(b"".join(part.data for part in upload.parts))
                upload.is_pending = False

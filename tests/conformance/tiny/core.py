"""What every request goes through: versions, routes, numbers, and the uploads there are."""

from __future__ import annotations

import re
import threading
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

from tests.conformance.tiny.messages import Refused, Response
from tests.conformance.tiny.uploads import Upload

if TYPE_CHECKING:
    from tests.conformance.tiny.messages import Request

LABEL = "application/offset+octet-stream"
LARGEST = 2**63 - 1


class Core:
    """The switches of a server, its uploads by id, and the rules that all requests share."""

    prefix = "/files/"
    version = "1.0.0"
    extensions: tuple[str, ...] = (
        "creation",
        "creation-defer-length",
        "creation-with-upload",
        "expiration",
        "checksum",
        "checksum-trailer",
        "termination",
        "concatenation",
        "concatenation-unfinished",
    )
    max_size = 2**40
    """In bytes."""
    lifetime = 3600.0
    """Seconds after the last PATCH in which an unfinished upload stays."""
    idle = 30.0
    """Seconds of silence after which a connection ends."""

    def __init__(self) -> None:
        self.uploads: dict[str, Upload] = {}
        self.guard = threading.Lock()
        """Held while `uploads` or an upload's bytes change."""

    def has(self, extension: str) -> bool:
        return extension in self.extensions

    # Before the method is looked at.

    def method_of(self, request: Request) -> str:
        """The method, or what X-HTTP-Method-Override puts in its place on a POST."""
        override = request.get("x-http-method-override")
        if override is None or request.method != "POST":
            return request.method
        if override not in ("PATCH", "DELETE", "HEAD"):
            raise Refused(400, "X-HTTP-Method-Override: PATCH, DELETE or HEAD.")
        return override

    def check_version(self, request: Request, method: str) -> None:
        asked = request.get("tus-resumable")
        if asked is None and method in ("HEAD", "GET"):
            return
        if asked != self.version:
            raise Refused(412, "This server speaks tus 1.0.0.", Tus_Version=self.versions())

    def versions(self) -> str:
        return self.version

    def is_creation_path(self, path: str) -> bool:
        return path in (self.prefix, self.prefix.rstrip("/"))

    def id_of(self, path: str) -> str:
        """The upload's id in a path; empty where it names none."""
        found = re.fullmatch(re.escape(self.prefix) + "([0-9a-f]{32})", path)
        return found[1] if found else ""

    def upload_of(self, request: Request) -> Upload:
        """Raises Refused(404), and 410 for what has expired."""
        upload = self.uploads.get(self.id_of(request.path))
        if upload is None:
            raise Refused(404, "There is no such upload.")
        self.check_there(upload)
        return upload

    def check_there(self, upload: Upload) -> None:
        """Again when its turn has come: it may have gone while the request waited."""
        if upload.is_gone:
            raise Refused(404, "There is no such upload.")
        if upload.is_expired:
            raise Refused(410, "The upload has expired.")

    # Header fields.

    def number(self, request: Request, name: str) -> int:
        """A number of bytes from a header. Raises Refused(400)."""
        values = request.all(name)
        if len(values) != 1 or not self.is_number(values[0]):
            raise Refused(400, f"{name} is one number of bytes.")
        return int(values[0])

    def is_number(self, text: str) -> bool:
        return re.fullmatch("[0-9]{1,19}", text) is not None and int(text) <= LARGEST

    def check_size(self, size: int) -> None:
        if size > self.max_size:
            raise Refused(413, f"At most {self.max_size} bytes.")

    def check_label(self, request: Request) -> None:
        label = (request.get("content-type") or "").partition(";")[0].strip()
        if label.lower() != LABEL:
            raise Refused(415, f"Content-Type: {LABEL}, please.")

    # OPTIONS and HEAD.

    def options(self, request: Request) -> Response:
        response = Response(204).set("Tus-Version", self.versions())
        if self.extensions:
            response.set("Tus-Extension", ",".join(self.extensions))
        response.set("Tus-Max-Size", self.max_size)
        if self.has("checksum"):
            response.set("Tus-Checksum-Algorithm", self.algorithms())
        return response

    def algorithms(self) -> str:
        raise NotImplementedError

    def head(self, request: Request) -> Response:
        """Asks a running PATCH to let go, so that the offset is one to go on from."""
        upload = self.upload_of(request)
        with upload.turn.take(request.body.stop):
            self.check_there(upload)
            self.settle(upload)
            return self.described(upload, Response(200))

    def settle(self, upload: Upload) -> None:
        raise NotImplementedError

    def described(self, upload: Upload, response: Response) -> Response:
        """HEAD's headers."""
        response.set("Cache-Control", "no-store")
        if not upload.is_pending:
            response.set("Upload-Offset", upload.offset)
        if upload.length is not None:
            response.set("Upload-Length", upload.length)
        elif not upload.is_final:
            response.set("Upload-Defer-Length", 1)
        if upload.metadata:
            response.set("Upload-Metadata", upload.metadata)
        if upload.concat is not None:
            response.set("Upload-Concat", upload.concat)
        return self.with_expiry(upload, response)

    # Expiration.

    def with_expiry(self, upload: Upload, response: Response) -> Response:
        if self.has("expiration") and not upload.is_finished:
            response.set("Upload-Expires", self.expiry_date(upload))
        return response

    def expiry_date(self, upload: Upload) -> str:
        return formatdate(upload.expires, usegmt=True)

    def prolong(self, upload: Upload) -> None:
        upload.expires = time.time() + self.lifetime

"""CONCAT broken: what cannot be joined, and what joining must not harm."""

from __future__ import annotations

import socket
from contextlib import suppress
from urllib.parse import urlsplit

from conformance.verdict import Verdict
from tests.conformance.mutants import mutant
from tests.conformance.tiny import Refused, Request, Response, Tiny, Upload


@mutant("CONCAT-21")
class PartsHaveNoLimit(Tiny):
    """Each part is below the maximum, and the whole is not looked at."""

    max_size = 1000

    def new_final(self, request: Request, concat: str) -> Upload:
        self.max_size, before = 2**40, self.max_size
        try:
            return super().new_final(request, concat)
        finally:
            self.max_size = before


@mutant("CONCAT-22")
class PartsAreFetched(Tiny):
    """A part on another host is fetched from there."""

    def part(self, request: Request, url: str) -> Upload:
        found = urlsplit(url)
        if found.port and found.netloc != request.get("host"):
            with (
                suppress(OSError),
                socket.create_connection((found.hostname or "", found.port), 1) as other,
            ):
                other.settimeout(30)
                other.sendall(f"GET {found.path} HTTP/1.0\r\n\r\n".encode())
                other.recv(1024)
        return super().part(request, url)


@mutant("CONCAT-22")
class UnknownPartsAreLeftOut(Tiny):
    """A part that does not exist is passed over."""

    def parts_of(self, request: Request, concat: str) -> list[Upload]:
        found = []
        for url in concat.removeprefix("final;").strip(" ").split(" "):
            with suppress(Refused):
                found.append(self.part(request, url))
        return found


@mutant("CONCAT-23")
class AnythingIsJoined(Tiny):
    """Regular and final uploads are joined, too."""

    def part(self, request: Request, url: str) -> Upload:
        try:
            return super().part(request, url)
        except Refused:
            upload = self.uploads.get(url.rpartition("/")[2])
            if upload is None:
                raise
            return upload


@mutant("CONCAT-24")
class BytesAreAppended(Tiny):
    """Bytes that come with a final upload are put behind its parts."""

    def new_final(self, request: Request, concat: str) -> Upload:
        body = bytearray()
        while piece := request.body.read():
            body += piece
        request.body.length = 0
        upload = super().new_final(request, concat)
        if body:
            upload.data += body
            upload.length = upload.offset
        return upload


@mutant("CONCAT-24", Verdict.WARN)
class BytesAreThrownAway(Tiny):
    """Bytes that come with a final upload are taken, and lost."""

    def new_final(self, request: Request, concat: str) -> Upload:
        while request.body.read():
            """Lost."""
        request.body.length = 0
        return super().new_final(request, concat)


@mutant("CONCAT-25")
class EmptyPartsAreNone(Tiny):
    """A part of length 0 counts as missing."""

    def part(self, request: Request, url: str) -> Upload:
        upload = super().part(request, url)
        if upload.length == 0:
            raise Refused(400, "The part is empty.")
        return upload


@mutant("CONCAT-26")
class FewParts(Tiny):
    """Sixteen parts are the most."""

    def parts_of(self, request: Request, concat: str) -> list[Upload]:
        if concat.count(" ") > 16:
            raise Refused(400, "Too many parts.")
        return super().parts_of(request, concat)


@mutant("CONCAT-26")
class ALineOfParts(Tiny):
    """Of a long list only what fits into a buffer of 1 KiB is read."""

    def parts_of(self, request: Request, concat: str) -> list[Upload]:
        fits = concat if len(concat) <= 1024 else concat[:1024].rpartition(" ")[0]
        return super().parts_of(request, fits)


@mutant("CONCAT-27")
class FinalIsAPlainUpload(Tiny):
    """Without the extension a final upload becomes an empty plain one."""

    extensions = tuple(each for each in Tiny.extensions if not each.startswith("concatenation"))

    def new_length(self, request: Request) -> int | None:
        if "upload-concat" in request and "upload-length" not in request:
            return 0
        return super().new_length(request)


@mutant("CONCAT-28")
class TheWholeIsItsParts(Tiny):
    """A final upload only points to its parts, and is shorter when one is ended."""

    def described(self, upload: Upload, response: Response) -> Response:
        if upload.is_final and not upload.is_pending:
            upload.data = bytearray(b"".join(p.data for p in upload.parts if not p.is_gone))
        return super().described(upload, response)


@mutant("CONCAT-28")
class PartsGoWithTheWhole(Tiny):
    """Who ends a final upload ends its parts, too."""

    def delete(self, request: Request) -> Response:
        parts = self.upload_of(request).parts
        response = super().delete(request)
        for part in parts:
            part.is_gone = True
        return response


@mutant("CONCAT-29")
class TornPartsAreJoined(Tiny):
    """A part whose PATCH is still running is joined as far as it has come."""

    def settle(self, upload: Upload) -> None:
        if upload.is_pending and all(part.offset for part in upload.parts):
            upload.data = bytearray(b"".join(part.data for part in upload.parts))
            upload.length = upload.offset
            upload.is_pending = False
        super().settle(upload)


@mutant("CONCAT-30")
class DeferredPartsStayOut(Tiny):
    """A part whose length was told later cannot be joined."""

    def create(self, request: Request) -> Response:
        response = super().create(request)
        upload = self.uploads[(response.get("Location") or "").rpartition("/")[2]]
        if upload.is_partial and upload.length is None:
            self.deferred.add(upload.id)
        return response

    def part(self, request: Request, url: str) -> Upload:
        upload = super().part(request, url)
        if upload.id in self.deferred:
            raise Refused(400, "Its length was not known.")
        return upload

    deferred: set[str] = set()  # noqa: RUF012 - ids are unique

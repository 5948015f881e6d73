"""CORE-PATCH broken."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from conformance.verdict import Verdict
from tests.conformance.mutants import mutant
from tests.conformance.tiny import Broken, Connection, Refused, Request, Response, Tiny

if TYPE_CHECKING:
    from tests.conformance.tiny import Upload


@mutant("CORE-PATCH-01")
class AppendedInFront(Tiny):
    """Bytes are put before those that are there."""

    def store(self, upload: Upload, data: bytes) -> None:
        with self.guard:
            upload.data[:0] = data


@mutant("CORE-PATCH-03")
class AnyMediaType(Tiny):
    """The media type is not looked at."""

    def check_label(self, request: Request) -> None:
        """Anything goes."""


@mutant("CORE-PATCH-03", Verdict.FAIL)
class RefusedTypeIsStored(Tiny):
    """The media type is looked at when the bytes have been stored."""

    def patch(self, request: Request) -> Response:
        label = request.get("content-type")
        request.set("content-type", "application/offset+octet-stream")
        response = super().patch(request)
        request.set("content-type", label)
        self.check_label(request)
        return response


@mutant("CORE-PATCH-04")
class EarlierOffsetsPass(Tiny):
    """An offset before the end writes again what is there."""

    def check_offset(self, upload: Upload, offset: int) -> None:
        if offset > upload.offset:
            super().check_offset(upload, offset)
        del upload.data[offset:]


@mutant("CORE-PATCH-04")
class GapsAreFilled(Tiny):
    """An offset behind the end leaves a gap of zeros."""

    def check_offset(self, upload: Upload, offset: int) -> None:
        if upload.offset < offset <= (upload.length or 0):
            upload.data.extend(bytes(offset - upload.offset))
        super().check_offset(upload, offset)


@mutant("CORE-PATCH-05")
class ConflictsCount(Tiny):
    """What comes with a wrong offset is stored before it is refused."""

    def check_offset(self, upload: Upload, offset: int) -> None:
        if offset != upload.offset:
            self.store(upload, b"?")
        super().check_offset(upload, offset)


@mutant("CORE-PATCH-06")
class PatchIsA200(Tiny):
    """PATCH is answered 200."""

    def patch(self, request: Request) -> Response:
        response = super().patch(request)
        response.status = 200
        return response


@mutant("CORE-PATCH-07")
class PatchTellsNoOffset(Tiny):
    """The answer to PATCH has no offset."""

    def patch(self, request: Request) -> Response:
        return super().patch(request).drop("Upload-Offset")


@mutant("CORE-PATCH-08")
class OffsetCountsBlocks(Tiny):
    """Only whole blocks of 4 KiB are stored of a large body, and all of it is counted."""

    def store(self, upload: Upload, data: bytes) -> None:
        whole = len(data) // 4096 * 4096
        super().store(upload, data[:whole] if whole else data)

    def patch(self, request: Request) -> Response:
        before = int(request.get("upload-offset") or 0)
        length = request.body.length or 0
        return super().patch(request).set("Upload-Offset", before + length)


@mutant("CORE-PATCH-09")
class StrangersAreBadRequests(Tiny):
    """PATCH of what is not there is answered 400."""

    def patch(self, request: Request) -> Response:
        if self.id_of(request.path) not in self.uploads:
            raise Refused(400, "What?")
        return super().patch(request)


@mutant("CORE-PATCH-10")
class HundredPatches(Tiny):
    """After a hundred PATCHes an upload is said to be abused."""

    def patch(self, request: Request) -> Response:
        if self.upload_of(request).offset >= 100 and request.body.length == 1:
            raise Refused(400, "That is enough.")
        return super().patch(request)


@mutant("CORE-PATCH-11")
class AllOrNothing(Tiny):
    """A body that breaks off is thrown away."""

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        before = upload.offset
        try:
            super().append_as_it_comes(request, upload, room)
        except Broken:
            del upload.data[before:]
            raise


@mutant("CORE-PATCH-12")
class WaitsForEver(Tiny):
    """A silent client is waited for."""

    idle = 3600.0


@mutant("CORE-PATCH-14")
class NoOffsetIsTheEnd(Tiny):
    """Without an offset the bytes are appended."""

    def patch(self, request: Request) -> Response:
        if "upload-offset" not in request:
            request.set("upload-offset", str(self.upload_of(request).offset))
        return super().patch(request)


@mutant("CORE-PATCH-15")
class LetterForLetter(Tiny):
    """The media type is compared letter for letter."""

    def check_label(self, request: Request) -> None:
        if request.get("content-type") != "application/offset+octet-stream":
            raise Refused(415, "No.")


@mutant("CORE-PATCH-16")
class UploadsGrow(Tiny):
    """More bytes than announced are stored."""

    def append(self, request: Request, upload: Upload, length: int | None) -> None:
        super().append(request, upload, None)
        upload.length = length


@mutant("CORE-PATCH-17")
class ChunkedUploadsGrow(Tiny):
    """A chunked body is stored to its end."""

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        super().append_as_it_comes(request, upload, 2**40 if request.body.length is None else room)


@mutant("CORE-PATCH-17")
class SwallowsStreams(Tiny):
    """What is too much of a chunked body is read to its end, and dropped with a 204."""

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        while piece := request.body.read():
            self.store(upload, piece[:room])
            room -= min(room, len(piece))


@mutant("CORE-PATCH-18")
class EmptyPatchesAreRefused(Tiny):
    """A PATCH without bytes is refused."""

    def patch(self, request: Request) -> Response:
        if not request.has_body and self.upload_of(request).offset == 5:
            raise Refused(400, "No bytes.")
        return super().patch(request)


@mutant("CORE-PATCH-19")
class CompleteUploadsGrow(Tiny):
    """A byte more at the end of a complete upload is stored."""

    def append(self, request: Request, upload: Upload, length: int | None) -> None:
        if upload.is_finished and request.has_body:
            super().append(request, upload, None)
            return
        super().append(request, upload, length)


@mutant("CORE-PATCH-20")
class LengthRequired(Tiny):
    """A chunked body is answered 411."""

    def patch(self, request: Request) -> Response:
        if request.body.length is None:
            raise Refused(411, "A length, please.", closes=True)
        return super().patch(request)


class _ReadsFirst(Connection):
    """Reads a body before it hands the request on, as simple frameworks do."""

    def read_request(self) -> Request | None:
        request = super().read_request()
        if request is not None and (request.body.length or 0) > 1000:
            self.socket.settimeout(10)
            deadline = time.monotonic() + 8.0
            while time.monotonic() < deadline and len(self.stream.buffer) < 1000:
                self.stream.more(lambda: time.monotonic() > deadline)
        return request


@mutant("CORE-PATCH-21")
class BodiesAreReadFirst(Tiny):
    """A request is looked at when its body is there."""

    connection_class = _ReadsFirst


@mutant("CORE-PATCH-22")
class ConflictTellsTheWrongOffset(Tiny):
    """A conflict repeats the offset that the client sent."""

    def check_offset(self, upload: Upload, offset: int) -> None:
        try:
            super().check_offset(upload, offset)
        except Refused as refused:
            refused.response.set("Upload-Offset", offset)
            raise

"""CWU broken."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tests.conformance.mutants import mutant
from tests.conformance.tiny import Broken, Connection, Refused, Response, Tiny, Upload

if TYPE_CHECKING:
    from tests.conformance.tiny import Request


class _Odd(Tiny):
    """Appends in an odd way what comes with a creation, and PATCH as it should be."""

    def take_body(self, request: Request, upload: Upload) -> None:
        if request.has_body and "content-type" in request:
            self.check_label(request)
            self.append_first(request, upload)
        else:
            super().take_body(request, upload)

    def append_first(self, request: Request, upload: Upload) -> None:
        self.append(request, upload, upload.length)


@mutant("CWU-01")
class CreationWithUploadIsNotAnnounced(Tiny):
    """A creation takes bytes, and OPTIONS does not say so."""

    def options(self, request: Request) -> Response:
        others = [name for name in self.extensions if name != "creation-with-upload"]
        return super().options(request).set("Tus-Extension", ",".join(others))


@mutant("CWU-02")
class WithUploadButNoCreation(Tiny):
    """Creation with upload is announced in place of creation."""

    def options(self, request: Request) -> Response:
        others = [name for name in self.extensions if name != "creation"]
        return super().options(request).set("Tus-Extension", ",".join(others))


@mutant("CWU-05")
class BodyIsLeftForLater(Tiny):
    """The bytes that come with a creation are thrown away, and the offset is 0."""

    def take_body(self, request: Request, upload: Upload) -> None:
        while request.body.read():
            """Thrown away."""


@mutant("CWU-06")
class CreationTellsNoOffset(Tiny):
    """The bytes are stored, and the 201 does not tell how many."""

    def create(self, request: Request) -> Response:
        return super().create(request).drop("Upload-Offset")


@mutant("CWU-06")
class OffsetBeforeTheBytes(Tiny):
    """The 201 tells the offset of the upload as it was created, before the bytes were stored."""

    def create(self, request: Request) -> Response:
        response = super().create(request)
        return (
            response if response.get("Upload-Offset") is None else response.set("Upload-Offset", 0)
        )


@mutant("CWU-06")
class FirstBufferOnly(_Odd):
    """The bytes that came along with the head are stored, and all that was announced is told."""

    def append_first(self, request: Request, upload: Upload) -> None:
        self.store(upload, request.body.read()[:1024])
        while request.body.read():
            """Lost."""

    def create(self, request: Request) -> Response:
        response = super().create(request)
        if response.get("Upload-Offset") is not None and request.body.length is not None:
            response.set("Upload-Offset", request.body.length)
        return response


@mutant("CWU-06")
class ChunksAreStoredWithTheirSizes(_Odd):
    """A chunked body is counted with its framing."""

    def create(self, request: Request) -> Response:
        response = super().create(request)
        offset = response.get("Upload-Offset")
        if offset is not None and request.body.length is None:
            response.set("Upload-Offset", int(offset) + 15)
        return response


@mutant("CWU-07")
class AnyLabelWillDo(Tiny):
    """A body is stored whatever it says to be."""

    def take_body(self, request: Request, upload: Upload) -> None:
        request.set("content-type", "application/offset+octet-stream")
        super().take_body(request, upload)


@mutant("CWU-07")
class OtherLabelsArePassedOver(Tiny):
    """A body with another label is thrown away, and the upload created."""

    def take_body(self, request: Request, upload: Upload) -> None:
        try:
            super().take_body(request, upload)
        except Refused as refused:
            if refused.response.status != 415:
                raise


class _Silent(Connection):
    def go_ahead(self) -> None:
        """Not said."""
        self.awaits_go_ahead = False


@mutant("CWU-09")
class NeverSaysGoAhead(Tiny):
    """Expect is passed over, and the body waited for."""

    connection_class = _Silent


@mutant("CWU-09")
class ExpectationFailed(Tiny):
    """A creation that expects 100 is answered 417."""

    def create(self, request: Request) -> Response:
        if "expect" in request:
            raise Refused(417, "Just send it.", closes=True)
        return super().create(request)


@mutant("CWU-10")
class ExcessOfCreationIsCutOff(_Odd):
    """What a creation brings beyond the length is thrown away without a word."""

    def append_first(self, request: Request, upload: Upload) -> None:
        while piece := request.body.read():
            room = len(piece) if upload.length is None else upload.length - upload.offset
            self.store(upload, piece[:room])


@mutant("CWU-10")
class ExcessOfCreationIsStored(_Odd):
    """The bytes of a creation are stored without a look at the length."""

    def append_first(self, request: Request, upload: Upload) -> None:
        while piece := request.body.read():
            self.store(upload, piece)


@mutant("CWU-10")
class ExcessOfChunksIsStored(_Odd):
    """Content-Length is compared with the length; a chunked body is stored as it comes."""

    def append_first(self, request: Request, upload: Upload) -> None:
        if request.body.length is not None:
            super().append_first(request, upload)
            return
        while piece := request.body.read():
            self.store(upload, piece)


class _WithoutUpload(Tiny):
    extensions = ("creation", "creation-defer-length", "termination")


@mutant("CWU-11")
class StoredInSecret(_WithoutUpload):
    """Without the extension the bytes are stored all the same, and the 201 does not say so."""

    def take_body(self, request: Request, upload: Upload) -> None:
        if request.has_body:
            self.append(request, upload, upload.length)


class _LeavesBodies(Connection):
    """Takes what is left of a creation's body for the next request."""

    def drain(self, request: Request) -> bool:
        return request.method == "POST" or super().drain(request)


@mutant("CWU-11")
class BodyStaysOnTheWire(_WithoutUpload):
    """A body that nobody wants is not read, and taken for the next request."""

    connection_class = _LeavesBodies

    def take_body(self, request: Request, upload: Upload) -> None:
        """Not read."""


@mutant("CWU-12")
class NoBytesBeforeTheLength(Tiny):
    """A creation without a length takes no bytes."""

    def take_body(self, request: Request, upload: Upload) -> None:
        if upload.length is None and request.has_body:
            raise Refused(400, "Tell the length first.")
        super().take_body(request, upload)


@mutant("CWU-12")
class BodyIsTheWholeUpload(Tiny):
    """The body of a creation without a length is taken for the whole of the upload."""

    def take_body(self, request: Request, upload: Upload) -> None:
        super().take_body(request, upload)
        if upload.length is None and request.has_body:
            upload.length = upload.offset


class _WantsBytes(Tiny):
    def wants_bytes(self, upload: Upload) -> bool:
        raise NotImplementedError

    def take_body(self, request: Request, upload: Upload) -> None:
        is_empty = request.body.length == 0 and "content-type" in request
        if is_empty and self.wants_bytes(upload):
            raise Refused(400, "The body is missing.")
        super().take_body(request, upload)


@mutant("CWU-13")
class LabelNeedsBytes(_WantsBytes):
    """A creation with the label and without bytes is refused."""

    def wants_bytes(self, upload: Upload) -> bool:
        return upload.length != 0


@mutant("CWU-14")
class EmptyFileNeedsBytes(_WantsBytes):
    """An upload of length 0 with the label and without bytes is refused."""

    def wants_bytes(self, upload: Upload) -> bool:
        return upload.length == 0


@mutant("CWU-15")
class BrokenCreationBlocksOthers(Tiny):
    """Creations take turns, and one that breaks off never gives its own back."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.turn = threading.Lock()

    def take_body(self, request: Request, upload: Upload) -> None:
        if not self.turn.acquire(timeout=2.0):
            raise Refused(503, "Try again later.")
        try:
            super().take_body(request, upload)
        except Refused as refused:
            if isinstance(refused.__context__, Broken):
                raise
            self.turn.release()
            raise
        self.turn.release()


@mutant("CWU-15")
class BrokenCreationStopsTheServer(Tiny):
    """An end in the middle of a creation's body ends the server."""

    def append(self, request: Request, upload: Upload, length: int | None) -> None:
        try:
            super().append(request, upload, length)
        except Refused as refused:
            if isinstance(refused.__context__, Broken) and request.method == "POST":
                self.__exit__(None, None, None)
            raise


@mutant("CWU-16")
class ChecksumIsForPatch(_Odd):
    """A checksum is verified on PATCH only."""

    def append_first(self, request: Request, upload: Upload) -> None:
        request.set("upload-checksum", None)
        super().append_first(request, upload)


@mutant("CWU-16")
class MismatchIsKept(Tiny):
    """A creation with a wrong digest is answered 460, and the upload has the bytes."""

    def take_body(self, request: Request, upload: Upload) -> None:
        digest = request.get("upload-checksum")
        if digest is None or not request.has_body:
            super().take_body(request, upload)
            return
        request.set("upload-checksum", None)
        super().take_body(request, upload)
        algorithm, expected = self.parsed_digest(digest)
        if self.computed(algorithm, bytes(upload.data)) != expected:
            self.keep(upload)
            raise Refused(460, "The digest is another.", Location=self.location(upload))

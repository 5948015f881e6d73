"""CREATE broken."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

from tests.conformance.mutants import mutant
from tests.conformance.tiny import Refused, Response, Tiny, Upload

if TYPE_CHECKING:
    from tests.conformance.tiny import Request


@mutant("CREATE-01")
class NoCreation(Tiny):
    """Uploads come into being in another way."""

    extensions = ("termination",)


@mutant("CREATE-02")
class CreationIsNotAnnounced(Tiny):
    """What builds on creation is announced, creation itself goes without saying."""

    def options(self, request: Request) -> Response:
        others = [name for name in self.extensions if name != "creation"]
        return super().options(request).set("Tus-Extension", ",".join(others))


@mutant("CREATE-02")
class NothingIsAnnounced(Tiny):
    """There is no Tus-Extension, and all of them work."""

    def options(self, request: Request) -> Response:
        return super().options(request).drop("Tus-Extension")


@mutant("CREATE-05")
class CreationIsOK(Tiny):
    """The framework's usual 200 answers a creation."""

    def created(self, upload: Upload) -> Response:
        response = super().created(upload)
        response.status = 200
        return response


@mutant("CREATE-05")
class CreationIsNoContent(Tiny):
    """As there is no body, a creation is answered 204."""

    def created(self, upload: Upload) -> Response:
        response = super().created(upload)
        response.status = 204
        return response


@mutant("CREATE-06")
class LocationIsIdOnly(Tiny):
    """Location is the bare id, which is right only behind a creation URL that ends in a slash."""

    def location(self, upload: Upload) -> str:
        return upload.id


@mutant("CREATE-06")
class LocationWithoutPrefix(Tiny):
    """Location is the path behind the proxy, which the proxy serves under another one."""

    def location(self, upload: Upload) -> str:
        return f"/{upload.id}"


@mutant("CREATE-06")
class LocationOfBackend(Tiny):
    """Location names the host and port behind the proxy, which no client reaches."""

    def location(self, upload: Upload) -> str:
        return f"http://127.0.0.1:9{self.prefix}{upload.id}"


@mutant("CREATE-06")
class LocationTwice(Tiny):
    """Two layers tell the Location."""

    def created(self, upload: Upload) -> Response:
        return super().created(upload).add("Location", self.location(upload))


@mutant("CREATE-06")
class NoLocation(Tiny):
    """The URL of the new upload is in the body."""

    def created(self, upload: Upload) -> Response:
        response = super().created(upload).drop("Location")
        response.body = self.location(upload).encode()
        return response


@mutant("CREATE-06")
class UploadOnFirstByte(Tiny):
    """There is no file before the first byte, and HEAD looks for the file."""

    def head(self, request: Request) -> Response:
        upload = self.upload_of(request)
        if not upload.offset and upload.length != 0:
            raise Refused(404, "There is no such upload.")
        return super().head(request)


@mutant("CREATE-07")
class Preallocated(Tiny):
    """Space is allocated at creation, and the size of the file is the offset."""

    def keep(self, upload: Upload) -> None:
        if upload.length is not None and upload.length <= 1000 and not upload.is_final:
            upload.data += bytes(upload.length - upload.offset)
        super().keep(upload)


@mutant("CREATE-07")
class NewUploadIsReadOnly(Tiny):
    """A new upload takes no bytes: those have to come with the creation."""

    def patch(self, request: Request) -> Response:
        if not self.upload_of(request).offset:
            raise Refused(403, "Send the first bytes with the creation.")
        return super().patch(request)


@mutant("CREATE-09")
class ZeroIsNoLength(Tiny):
    """`if not length` refuses a length of 0."""

    def new_length(self, request: Request) -> int | None:
        length = super().new_length(request)
        if length == 0:
            raise Refused(400, "Upload-Length is missing.")
        return length


@mutant("CREATE-09")
class ZeroIsDeferred(Tiny):
    """A length of 0 is taken for one that is not known yet."""

    def new_length(self, request: Request) -> int | None:
        return super().new_length(request) or None


@mutant("CREATE-09")
class EmptyUploadCannotBePatched(Tiny):
    """An empty PATCH of an empty upload divides by its length."""

    def patch(self, request: Request) -> Response:
        if self.upload_of(request).length == 0:
            raise Refused(500, "Internal Server Error")
        return super().patch(request)


@mutant("CREATE-10")
class TooLongIsBadRequest(Tiny):
    """A length above the maximum is answered 400."""

    def check_size(self, size: int) -> None:
        if size > self.max_size:
            raise Refused(400, "Too long.")


@mutant("CREATE-10")
class MaximumIsForShow(Tiny):
    """The maximum is announced, and nobody looks at it."""

    def check_size(self, size: int) -> None:
        """Anything goes."""


@mutant("CREATE-10")
class MaximumIsOffByOne(Tiny):
    """A length of just the maximum is refused."""

    max_size = 1000

    def check_size(self, size: int) -> None:
        super().check_size(size + 1)


@mutant("CREATE-10")
class RefusalWithLocation(Tiny):
    """The Location is set before the length is looked at, and stays in the refusal."""

    def create(self, request: Request) -> Response:
        try:
            return super().create(request)
        except Refused as refused:
            refused.response.set("Location", self.location(Upload(None)))
            raise


@mutant("CREATE-11")
class NoLengthIsZero(Tiny):
    """Without any length it is 0."""

    def new_length(self, request: Request) -> int | None:
        if "upload-length" not in request and "upload-defer-length" not in request:
            return 0
        return super().new_length(request)


@mutant("CREATE-11")
class NoLengthIsDeferred(Tiny):
    """Without any length it is told later."""

    def new_length(self, request: Request) -> int | None:
        if "upload-length" not in request and "upload-defer-length" not in request:
            return None
        return super().new_length(request)


@mutant("CREATE-12")
class KnownLengthWins(Tiny):
    """Of both headers the length counts."""

    def new_length(self, request: Request) -> int | None:
        if "upload-length" in request:
            request.set("upload-defer-length", None)
        return super().new_length(request)


@mutant("CREATE-13")
class LengthOfLastPatch(Tiny):
    """An Upload-Length on a PATCH is always taken for the length."""

    def declared_length(self, request: Request, upload: Upload) -> int | None:
        if "upload-length" in request:
            upload.length = None
        return super().declared_length(request, upload)


@mutant("CREATE-13")
class LengthMayShrink(Tiny):
    """A PATCH may make the upload shorter, not longer."""

    def declared_length(self, request: Request, upload: Upload) -> int | None:
        if "upload-length" in request and upload.length is not None:
            length = self.number(request, "Upload-Length")
            if upload.offset <= length <= upload.length:
                return length
        return super().declared_length(request, upload)


@mutant("CREATE-13")
class LengthIsRecordedFirst(Tiny):
    """The length of a PATCH is written down before it is compared, and stays when refused."""

    def declared_length(self, request: Request, upload: Upload) -> int | None:
        known = upload.length
        try:
            return super().declared_length(request, upload)
        except Refused:
            if known is not None and "upload-length" in request:
                upload.length = self.number(request, "Upload-Length")
            raise


@mutant("CREATE-13")
class FinishedUploadGrows(Tiny):
    """The length is compared while the upload is unfinished; then a PATCH reopens it."""

    def declared_length(self, request: Request, upload: Upload) -> int | None:
        if "upload-length" in request and upload.is_finished:
            return max(upload.offset, self.number(request, "Upload-Length"))
        return super().declared_length(request, upload)


@mutant("CREATE-15")
class MetadataIsRejected(Tiny):
    """By its policy it takes no metadata at all."""

    def metadata_of(self, request: Request) -> str | None:
        if request.get("upload-metadata"):
            raise Refused(403, "No metadata here.")
        return None


@mutant("CREATE-16")
class MetadataIsKept(Tiny):
    """The metadata is for the server's own use, HEAD does not tell it."""

    def described(self, upload: Upload, response: Response) -> Response:
        return super().described(upload, response).drop("Upload-Metadata")


@mutant("CREATE-16")
class MetadataGoesWithLastByte(Tiny):
    """The record with the metadata is deleted when the upload is complete."""

    def described(self, upload: Upload, response: Response) -> Response:
        response = super().described(upload, response)
        return response.drop("Upload-Metadata") if upload.is_finished else response


@mutant("CREATE-16")
class KeysWithoutValueAreLost(Tiny):
    """A key without a value is taken for nothing."""

    def metadata_of(self, request: Request) -> str | None:
        metadata = super().metadata_of(request) or ""
        return ",".join(pair for pair in metadata.split(",") if " " in pair.strip()) or None


@mutant("CREATE-16")
class KeysInTitleCase(Tiny):
    """Keys are stored as header names, and come back as the library writes those."""

    def metadata_of(self, request: Request) -> str | None:
        metadata = super().metadata_of(request)
        if metadata is None:
            return None
        pairs = [pair.strip().partition(" ") for pair in metadata.split(",")]
        return ",".join(f"{key.title()}{blank}{value}" for key, blank, value in pairs)


@mutant("CREATE-17")
class EmptyMetadataHeader(Tiny):
    """HEAD always has the header, empty where there is no metadata."""

    def described(self, upload: Upload, response: Response) -> Response:
        return super().described(upload, response).set("Upload-Metadata", upload.metadata or "")


@mutant("CREATE-18")
class IdOfTheSecond(Tiny):
    """The id is made of the time, in tenths of a second."""

    def create(self, request: Request) -> Response:
        self.tick = f"{int(time.time() * 10):032x}"
        return super().create(request)

    def keep(self, upload: Upload) -> None:
        upload.id = self.tick
        super().keep(upload)


@mutant("CREATE-18")
class SameRequestSameUpload(Tiny):
    """What looks like the same upload is the same: its id is a digest of the headers."""

    def keep(self, upload: Upload) -> None:
        described = f"{upload.length} {upload.metadata} {upload.concat}"
        upload.id = hashlib.md5(described.encode()).hexdigest()
        super().keep(upload)


@mutant("CREATE-18")
class SharedFile(Tiny):
    """The URLs differ, but uploads of one second are written to the same temporary file."""

    def keep(self, upload: Upload) -> None:
        if upload.length and not upload.offset and not upload.is_final:
            now = int(time.time())
            with self.guard:
                shared = [each for each in self.uploads.values() if each.expires >= now + 3600]
            if shared and upload.length == shared[-1].length and not shared[-1].is_final:
                upload.data = shared[-1].data
        super().keep(upload)


@mutant("CREATE-19")
class LengthRequired(Tiny):
    """A creation without Content-Length is answered 411."""

    def create(self, request: Request) -> Response:
        if "content-length" not in request and request.body.length is not None:
            raise Refused(411, "Content-Length, please.")
        return super().create(request)


@mutant("CREATE-19")
class ChunkedNeedsLabel(Tiny):
    """A chunked body is taken for bytes although it has none."""

    def is_empty_after_all(self, request: Request) -> bool:
        return False


@mutant("CREATE-20")
class LabelOfNothing(Tiny):
    """A type that is not the label is refused without a look at the length."""

    def create(self, request: Request) -> Response:
        if "content-type" in request:
            self.check_label(request)
        return super().create(request)

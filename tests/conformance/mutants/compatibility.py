"""COMPAT broken."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.conformance.mutants import mutant
from tests.conformance.tiny import Refused, Response, Tiny, Upload
from tests.conformance.tiny.uploads import Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conformance.tiny import Request


class _InUse(Turn):
    """Nobody is asked to let go: who comes second is refused at once."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status
        self.is_taken = threading.Lock()

    @contextmanager
    def take(self, let_go: Callable[[], None]) -> Iterator[None]:
        if not self.is_taken.acquire(blocking=False):
            raise Refused(self.status, "The upload is in use.")
        try:
            yield
        finally:
            self.is_taken.release()


class _Locks(Tiny):
    status = 423

    def keep(self, upload: Upload) -> None:
        upload.turn = _InUse(self.status)
        super().keep(upload)


@mutant("COMPAT-01")
class UnknownLengthGoesUnsaid(Tiny):
    """HEAD says neither a length nor that it is deferred."""

    def described(self, upload: Upload, response: Response) -> Response:
        return super().described(upload, response).drop("Upload-Defer-Length")


@mutant("COMPAT-01")
class LengthOfPartGoesUnsaid(Tiny):
    """HEAD of a partial upload tells no length, as that of the whole counts."""

    def described(self, upload: Upload, response: Response) -> Response:
        response = super().described(upload, response)
        return response.drop("Upload-Length") if upload.is_partial else response


@mutant("COMPAT-02")
class InUseIsBadRequest(_Locks):
    """An upload that is in use is answered 400."""

    status = 400


@mutant("COMPAT-02")
class HiddenWhileInUse(_Locks):
    """HEAD of an upload that is in use does not find it."""

    status = 423

    def head(self, request: Request) -> Response:
        try:
            return super().head(request)
        except Refused as refused:
            if refused.response.status == 423:
                raise Refused(404, "There is no such upload.") from None
            raise


@mutant("COMPAT-02")
class PatchInUseIsForbidden(_Locks):
    """A second PATCH is answered 403."""

    status = 423

    def patch(self, request: Request) -> Response:
        try:
            return super().patch(request)
        except Refused as refused:
            if refused.response.status == 423:
                raise Refused(403, "The upload is in use.") from None
            raise


@mutant("COMPAT-09")
class InUseIsConflict(_Locks):
    """An upload that is in use is answered 409, on HEAD too."""

    status = 409


@mutant("COMPAT-03")
class PostIsPost(Tiny):
    """X-HTTP-Method-Override is passed over."""

    def method_of(self, request: Request) -> str:
        return request.method


@mutant("COMPAT-03")
class ChunkedPostIsCreation(Tiny):
    """The method is replaced where there is a Content-Length."""

    def method_of(self, request: Request) -> str:
        return request.method if request.body.length is None else super().method_of(request)


@mutant("COMPAT-04")
class DeleteIsOK(Tiny):
    """The framework's usual 200 answers DELETE."""

    def delete(self, request: Request) -> Response:
        response = super().delete(request)
        response.status = 200
        return response


@mutant("COMPAT-05")
class FinalNeedsLength(Tiny):
    """A final upload has to tell its length, as any other."""

    def new_final(self, request: Request, concat: str) -> Upload:
        if "upload-length" not in request:
            raise Refused(400, "Upload-Length is missing.")
        return super().new_final(request, concat)


@mutant("COMPAT-05")
class ConcatIsForPost(Tiny):
    """Upload-Concat on PATCH is refused."""

    def patch(self, request: Request) -> Response:
        if "upload-concat" in request:
            raise Refused(400, "Upload-Concat belongs to creation.")
        return super().patch(request)


@mutant("COMPAT-05")
class PartsByPath(Tiny):
    """Parts are named by their paths, and an absolute URL is none."""

    def part(self, request: Request, url: str) -> Upload:
        if "://" in url:
            raise Refused(400, "A part does not exist.")
        return super().part(request, url)


@mutant("COMPAT-06")
class EmptyFileIsRefused(Tiny):
    """An upload without bytes is taken for a mistake."""

    def new_length(self, request: Request) -> int | None:
        length = super().new_length(request)
        if length == 0:
            raise Refused(400, "The file is empty.")
        return length


@mutant("COMPAT-06")
class EmptyFileWithLabelIsDeferred(Tiny):
    """With the label, a length of 0 is taken for one that is not known."""

    def new_length(self, request: Request) -> int | None:
        length = super().new_length(request)
        return None if length == 0 and "content-type" in request else length


@mutant("COMPAT-07")
class PatchTellsNoOffset(Tiny):
    """A PATCH is answered 204, and HEAD is there for the offset."""

    def patch(self, request: Request) -> Response:
        return super().patch(request).drop("Upload-Offset")


@mutant("COMPAT-07")
class LastPatchTellsNoOffset(Tiny):
    """The PATCH that completes an upload goes to a hook, whose answer has no offset."""

    def patch(self, request: Request) -> Response:
        response = super().patch(request)
        is_finished = self.upload_of(request).is_finished
        return response.drop("Upload-Offset") if is_finished else response


@mutant("COMPAT-07")
class PostTellsNoOffset(Tiny):
    """A creation that brings bytes does not tell how many were taken."""

    def create(self, request: Request) -> Response:
        return super().create(request).drop("Upload-Offset")


@mutant("COMPAT-08")
class EmptyMetadataIsMalformed(Tiny):
    """An empty Upload-Metadata has a pair without a key."""

    def metadata_of(self, request: Request) -> str | None:
        if request.get("upload-metadata") == "":
            raise Refused(400, "A key is missing.")
        return super().metadata_of(request)


@mutant("COMPAT-08")
class LastPatchNeedsBytes(Tiny):
    """A PATCH without bytes is refused, also one that tells the length."""

    def patch(self, request: Request) -> Response:
        if not request.has_body:
            raise Refused(400, "There is nothing to append.")
        return super().patch(request)


@mutant("COMPAT-10")
class LocationBehindASlash(Tiny):
    """Location is the bare id, and the creation URL works without its slash too."""

    def location(self, upload: Upload) -> str:
        return upload.id


@mutant("COMPAT-11")
class DraftComesFirst(Tiny):
    """What has headers of the draft is taken for a request of the draft, and has no length."""

    def new_length(self, request: Request) -> int | None:
        if "upload-complete" in request or "upload-incomplete" in request:
            return None
        return super().new_length(request)


@mutant("COMPAT-11")
class OffsetOfTheDraft(Tiny):
    """PATCH with the version of the draft is answered as the draft wants it."""

    def patch(self, request: Request) -> Response:
        response = super().patch(request)
        if "upload-draft-interop-version" in request:
            response.status = 201
        return response


@mutant("COMPAT-12")
class StrictHeaders(Tiny):
    """Headers that begin as those of tus, and are none, are refused."""

    def create(self, request: Request) -> Response:
        if "upload-foo" in request:
            raise Refused(400, "An unknown header.")
        return super().create(request)


@mutant("COMPAT-12")
class AjaxIsAnotherAPI(Tiny):
    """HEAD with X-Requested-With is answered as the API of the site does."""

    def head(self, request: Request) -> Response:
        response = super().head(request)
        if "x-requested-with" in request:
            response.drop("Upload-Offset")
        return response


@mutant("COMPAT-12")
class VersionOfTheClient(Tiny):
    """OPTIONS tells back the versions that the client says to speak, and whatever it extends."""

    def options(self, request: Request) -> Response:
        response = super().options(request)
        if "tus-extension" in request:
            response.set("Tus-Version", f"{self.version},{request.get('tus-extension')}")
        return response

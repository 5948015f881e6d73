"""CORE-HEAD broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conformance.mutants import mutant
from tests.conformance.tiny import Connection, Refused, Response, Tiny

if TYPE_CHECKING:
    from tests.conformance.tiny import Request, Upload


@mutant("CORE-HEAD-01")
class NoOffsetAtZero(Tiny):
    """HEAD of a fresh upload tells no offset, as a zero counts as nothing."""

    def described(self, upload: Upload, response: Response) -> Response:
        response = super().described(upload, response)
        return response if upload.offset else response.drop("Upload-Offset")


@mutant("CORE-HEAD-02")
class OffsetFromCreation(Tiny):
    """HEAD tells the offset from the record that is written at creation and at the end."""

    def described(self, upload: Upload, response: Response) -> Response:
        response = super().described(upload, response)
        return response if upload.is_finished else response.set("Upload-Offset", 0)


@mutant("CORE-HEAD-03")
class MovedWhenFinished(Tiny):
    """What is finished has been moved away, and HEAD no longer finds it."""

    def described(self, upload: Upload, response: Response) -> Response:
        if upload.is_finished:
            raise Refused(404, "There is no such upload.")
        return super().described(upload, response)


@mutant("CORE-HEAD-04")
class NoLengthWhenFinished(Tiny):
    """Once all bytes are there the length counts as told."""

    def described(self, upload: Upload, response: Response) -> Response:
        response = super().described(upload, response)
        return response.drop("Upload-Length") if upload.is_finished else response


@mutant("CORE-HEAD-05")
class UnknownIsEmpty(Tiny):
    """HEAD of what is not there is an upload at 0, so that clients begin anew."""

    def head(self, request: Request) -> Response:
        if self.id_of(request.path) not in self.uploads:
            return Response(200).set("Upload-Offset", 0)
        return super().head(request)


@mutant("CORE-HEAD-05")
class UnknownIsBadRequest(Tiny):
    """400 to HEAD of what is not there."""

    def head(self, request: Request) -> Response:
        if self.id_of(request.path) not in self.uploads:
            raise Refused(400, "No upload.")
        return super().head(request)


@mutant("CORE-HEAD-06")
class PartialContent(Tiny):
    """206 as long as bytes are missing."""

    def described(self, upload: Upload, response: Response) -> Response:
        response = super().described(upload, response)
        if not upload.is_finished:
            response.status = 206
        return response


@mutant("CORE-HEAD-07")
class CacheWithQuestions(Tiny):
    """no-cache, which lets caches keep the answer."""

    def described(self, upload: Upload, response: Response) -> Response:
        return super().described(upload, response).set("Cache-Control", "no-cache")


@mutant("CORE-HEAD-07")
class FinishedMayBeCached(Tiny):
    """As a draft of the protocol had it: what is finished may be cached."""

    def described(self, upload: Upload, response: Response) -> Response:
        response = super().described(upload, response)
        return response.drop("Cache-Control") if upload.is_finished else response


class _BodyOfHead(Connection):
    """Sends a body in answer to HEAD if its status is among these."""

    statuses: tuple[int, ...] = (200,)

    def encoded(self, request: Request | None, response: Response) -> bytes:
        encoded = super().encoded(request, response)
        is_head = request is not None and request.method == "HEAD"
        if not is_head or response.status not in self.statuses:
            return encoded
        head = encoded.removesuffix(b"\r\n")
        return head + b"Content-Length: 3\r\n\r\n{}\n"


@mutant("CORE-HEAD-08")
class HeadWithBody(Tiny):
    """HEAD is answered with an empty document, which is sent."""

    connection_class = _BodyOfHead


@mutant("CORE-HEAD-08")
class NoContentWithLength(Tiny):
    """204 with the size of the upload as Content-Length."""

    def described(self, upload: Upload, response: Response) -> Response:
        response = super().described(upload, response)
        response.status = 204
        return response.set("Content-Length", upload.length or 0)


@mutant("CORE-HEAD-09")
class HeadEmptiesTheFile(Tiny):
    """HEAD opens the file for writing, which empties it."""

    def head(self, request: Request) -> Response:
        response = super().head(request)
        upload = self.upload_of(request)
        if not upload.is_finished:
            upload.data.clear()
        return response


@mutant("CORE-HEAD-10")
class CreationUrlIsAnUpload(Tiny):
    """HEAD tells an offset of 0 for the creation URL too."""

    def route(self, request: Request) -> Response:
        if request.method == "HEAD" and self.is_creation_path(request.path):
            return Response(200).set("Upload-Offset", 0)
        return super().route(request)


class _BodyOfRefusedHead(_BodyOfHead):
    statuses = (404,)


@mutant("CORE-HEAD-11")
class RefusedHeadWithBody(Tiny):
    """A refusal explains itself, whatever the method."""

    connection_class = _BodyOfRefusedHead

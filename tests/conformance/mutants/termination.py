"""TERM broken."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.conformance.mutants import mutant
from tests.conformance.tiny import Connection, Refused, Request, Response, Tiny, Upload

if TYPE_CHECKING:
    from collections.abc import Callable

_WITHOUT = tuple(each for each in Tiny.extensions if each != "termination")


@mutant("TERM-01")
class SecretEnd(Tiny):
    """DELETE ends uploads although nobody was told."""

    extensions = _WITHOUT

    def handler(self, method: str, request: Request) -> Callable[[Request], Response]:
        if method == "DELETE" and not self.is_creation_path(request.path):
            return self.delete
        return super().handler(method, request)


@mutant("TERM-02")
class EndedWithWords(Tiny):
    """DELETE is answered 200 with a sentence."""

    def delete(self, request: Request) -> Response:
        super().delete(request)
        return Response(200, body=b"gone\n")


class _WordsBehind(Connection):
    """Puts a body behind every 204 to DELETE."""

    def encoded(self, request: Request | None, response: Response) -> bytes:
        answer = super().encoded(request, response)
        if request is None or request.method != "DELETE" or response.status != 204:
            return answer
        return answer.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\ngone\n")


@mutant("TERM-02")
class WordsBehindNoContent(Tiny):
    """A 204 to DELETE comes with a sentence."""

    connection_class = _WordsBehind


@mutant("TERM-03")
class RoomStaysTaken(Tiny):
    """What an upload has announced counts towards a quota, and goes on to when it is ended."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.taken = 0

    def keep(self, upload: Upload) -> None:
        self.taken += upload.length or 0
        if self.taken > 50 * 2**20:
            raise Refused(507, "There is no room.")
        super().keep(upload)


@mutant("TERM-05")
class FinishedStays(Tiny):
    """A finished upload cannot be ended."""

    def delete(self, request: Request) -> Response:
        if self.upload_of(request).is_finished:
            raise Refused(400, "The upload is finished.")
        return super().delete(request)


@mutant("TERM-04")
class EndedUploadIsForbidden(Tiny):
    """What was ended is answered 403 from then on."""

    def upload_of(self, request: Request) -> Upload:
        if self.id_of(request.path) and self.id_of(request.path) not in self.uploads:
            raise Refused(403, "No.")
        return super().upload_of(request)


@mutant("TERM-04")
class BytesOfEndedUploadStay(Tiny):
    """DELETE forgets the upload, and GET still finds its bytes."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.left: dict[str, Upload] = {}

    def delete(self, request: Request) -> Response:
        upload = self.upload_of(request)
        response = super().delete(request)
        self.left[upload.id] = upload
        return response

    def get(self, request: Request) -> Response:
        found = self.left.get(self.id_of(request.path))
        if found is not None and found.is_finished:
            return Response(200, body=bytes(found.data))
        return super().get(request)


@mutant("TERM-06")
class EndOfNothing(Tiny):
    """DELETE of what never was is a success."""

    def delete(self, request: Request) -> Response:
        if self.id_of(request.path) not in self.uploads:
            return Response(204)
        return super().delete(request)


@mutant("TERM-07")
class RefusedEndEnds(Tiny):
    """Without the extension DELETE is refused, after it has been done."""

    extensions = _WITHOUT

    def handler(self, method: str, request: Request) -> Callable[[Request], Response]:
        if method == "DELETE" and not self.is_creation_path(request.path):
            self.delete(request)
        return super().handler(method, request)


@mutant("TERM-08")
class LateWriterBringsItBack(Tiny):
    """DELETE does not wait for the running PATCH, which saves the upload once more at its end."""

    def delete(self, request: Request) -> Response:
        upload = self.upload_of(request)
        with self.guard:
            del self.uploads[upload.id]
        return Response(204)

    def append(self, request: Request, upload: Upload, length: int | None) -> None:
        super().append(request, upload, length)
        self.keep(upload)


@mutant("TERM-08")
class EndWaitsForTheWriter(Tiny):
    """DELETE waits until the PATCH is done, and then gives up with 500."""

    def delete(self, request: Request) -> Response:
        upload = self.upload_of(request)
        before = upload.offset
        time.sleep(0.2)
        if 0 < before < (upload.length or 0):
            raise Refused(500, "The upload is busy.")
        return super().delete(request)


@mutant("TERM-09")
class SecondEndFails(Tiny):
    """Two ends at once: the one that comes second finds no file, and falls over it."""

    def delete(self, request: Request) -> Response:
        upload = self.upload_of(request)
        time.sleep(0.1)
        try:
            return super().delete(request)
        except Refused:
            raise Refused(500, f"No such file: {upload.id}") from None


@mutant("TERM-10")
class EndOfEverything(Tiny):
    """DELETE on the creation URL removes all there is."""

    def handler(self, method: str, request: Request) -> Callable[[Request], Response]:
        if method == "DELETE" and self.is_creation_path(request.path):
            return self.delete_all
        return super().handler(method, request)

    def delete_all(self, request: Request) -> Response:
        with self.guard:
            self.uploads.clear()
        return Response(204)


class _LeavesBodies(Connection):
    """Does not read the body of a DELETE."""

    def drain(self, request: Request) -> bool:
        if request.method == "DELETE":
            return True
        return super().drain(request)


@mutant("TERM-11")
class BodyOfDeleteStays(Tiny):
    """The body of a DELETE is taken for the next request."""

    connection_class = _LeavesBodies


@mutant("TERM-12")
class EndsFirst(Tiny):
    """The version is looked at when the upload has been ended already."""

    def check_version(self, request: Request, method: str) -> None:
        if method == "DELETE" and request.get("tus-resumable") != self.version:
            self.delete(request)
        super().check_version(request, method)

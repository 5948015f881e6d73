"""CONCU broken."""

from __future__ import annotations

from tests.conformance.mutants import mutant
from tests.conformance.tiny import Refused, Request, Response, Tiny, Upload


@mutant("CONCU-01")
class OnlyFinishedParts(Tiny):
    """concatenation-unfinished is announced, and unfinished parts are refused."""

    def new_final(self, request: Request, concat: str) -> Upload:
        upload = super().new_final(request, concat)
        if upload.is_pending:
            raise Refused(400, "A part is not finished.")
        return upload


@mutant("CONCU-02")
class PendingTellsNoLength(Tiny):
    """The length is told when the parts are joined, and not before."""

    def described(self, upload: Upload, response: Response) -> Response:
        response = super().described(upload, response)
        return response.drop("Upload-Length") if upload.is_pending else response


@mutant("CONCU-02")
class UnknownLengthIsZero(Tiny):
    """A part whose length is not known counts as empty."""

    def joined_length(self, parts: list[Upload]) -> int | None:
        return sum(part.length or 0 for part in parts)


@mutant("CONCU-03")
class PendingCountsWhatIsThere(Tiny):
    """HEAD of a final upload tells how many bytes of its parts have come."""

    def described(self, upload: Upload, response: Response) -> Response:
        response = super().described(upload, response)
        if upload.is_pending:
            response.set("Upload-Offset", sum(part.offset for part in upload.parts))
        return response


@mutant("CONCU-04")
class NeverJoined(Tiny):
    """Parts that are finished after the final upload was made are never joined."""

    def head(self, request: Request) -> Response:
        upload = self.upload_of(request)
        return self.described(upload, Response(200))


@mutant("CONCU-04")
class JoinedAsTheyEnd(Tiny):
    """Parts are joined in the order in which they were finished."""

    def patch(self, request: Request) -> Response:
        response = super().patch(request)
        upload = self.upload_of(request)
        if upload.is_finished:
            self.finished.append(upload.id)
        return response

    def settle(self, upload: Upload) -> None:
        if upload.is_pending:
            order = {upload_id: number for number, upload_id in enumerate(self.finished)}
            upload.parts.sort(key=lambda part: order.get(part.id, -1))
        super().settle(upload)

    finished: list[str] = []  # noqa: RUF012 - ids are unique


@mutant("CONCU-05")
class PendingFinalsTakeBytes(Tiny):
    """PATCH on a final upload whose parts are missing is a conflict."""

    def patch(self, request: Request) -> Response:
        if self.upload_of(request).is_pending:
            raise Refused(409, "Not yet.")
        return super().patch(request)


@mutant("CONCU-06")
class JoinedWithAHole(Tiny):
    """A part that has been ended is left out when the others are there."""

    def settle(self, upload: Upload) -> None:
        if upload.is_pending:
            upload.parts = [part for part in upload.parts if not part.is_gone]
        super().settle(upload)

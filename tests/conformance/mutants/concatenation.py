"""CONCAT broken: how parts are joined."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.verdict import Verdict
from tests.conformance.mutants import mutant
from tests.conformance.tiny import Refused, Request, Response, Tiny, Upload

if TYPE_CHECKING:
    from collections.abc import Iterable

_AT_ONCE = tuple(each for each in Tiny.extensions if each != "concatenation-unfinished")


def _announced(names: Iterable[str]) -> str:
    return ",".join(each for each in names if not each.startswith("concatenation"))


@mutant("CONCAT-01")
class SecretConcatenation(Tiny):
    """Parts are joined, and concatenation is not announced."""

    def options(self, request: Request) -> Response:
        return super().options(request).set("Tus-Extension", _announced(self.extensions))


@mutant("CONCAT-02")
class PartialsTakeOnePatch(Tiny):
    """A partial upload is taken for finished after its first PATCH."""

    def patch(self, request: Request) -> Response:
        upload = self.upload_of(request)
        if upload.is_partial and upload.offset:
            raise Refused(403, "A partial upload is sent at once.")
        return super().patch(request)


@mutant("CONCAT-04")
class FinalWithoutLocation(Tiny):
    """The final upload is made, and nobody told where."""

    def created(self, upload: Upload) -> Response:
        response = super().created(upload)
        return response.drop("Location") if upload.is_final else response


@mutant("CONCAT-05")
class LengthOfTheFirst(Tiny):
    """The length of the whole is that of the first part."""

    def joined_length(self, parts: list[Upload]) -> int | None:
        return parts[0].length

    def described(self, upload: Upload, response: Response) -> Response:
        response = super().described(upload, response)
        if upload.is_final and upload.length is not None:
            response.set("Upload-Offset", upload.length)
        return response


@mutant("CONCAT-06")
class JoinedByAge(Tiny):
    """Parts are joined in the order in which they were created."""

    def parts_of(self, request: Request, concat: str) -> list[Upload]:
        ages = {upload_id: number for number, upload_id in enumerate(self.uploads)}
        return sorted(super().parts_of(request, concat), key=lambda part: ages[part.id])


@mutant("CONCAT-07")
class BelievesTheClient(Tiny):
    """A final upload has the length that the client says."""

    def new_final(self, request: Request, concat: str) -> Upload:
        length = request.get("upload-length")
        request.set("upload-length", None)
        upload = super().new_final(request, concat)
        if length is not None:
            upload.length = int(length)
        return upload


@mutant("CONCAT-09")
class UnfinishedPartsAreJoined(Tiny):
    """Unfinished parts are taken as far as they have come, though nobody was told so."""

    extensions = _AT_ONCE

    def settle(self, upload: Upload) -> None:
        if upload.is_pending:
            upload.data = bytearray(b"".join(part.data for part in upload.parts))
            upload.length = upload.offset
            upload.is_pending = False


@mutant("CONCAT-10")
class MetadataIsInherited(Tiny):
    """The whole has the metadata of its first part."""

    def new_final(self, request: Request, concat: str) -> Upload:
        upload = super().new_final(request, concat)
        upload.metadata = upload.metadata or upload.parts[0].metadata
        return upload


@mutant("CONCAT-10")
class MetadataIsMerged(Tiny):
    """The metadata of the parts is added to that of the whole, if it has some."""

    def new_final(self, request: Request, concat: str) -> Upload:
        upload = super().new_final(request, concat)
        if upload.metadata:
            more = [part.metadata for part in upload.parts if part.metadata]
            upload.metadata = ",".join([upload.metadata, *more])
        return upload


@mutant("CONCAT-12", Verdict.WARN)
class PartsAreUsedOnce(Tiny):
    """A part can be joined once only, though it stays."""

    def parts_of(self, request: Request, concat: str) -> list[Upload]:
        parts = super().parts_of(request, concat)
        if len({part.id for part in parts}) < len(parts):
            raise Refused(400, "A part comes twice.")
        return parts


@mutant("CONCAT-13")
class FinalsAreExtended(Tiny):
    """PATCH on a final upload is judged as on any other, and an empty one succeeds."""

    def patch(self, request: Request) -> Response:
        upload = self.upload_of(request)
        if not upload.is_final:
            return super().patch(request)
        upload.concat, before = None, upload.concat
        try:
            return super().patch(request)
        finally:
            upload.concat = before


@mutant("CONCAT-13")
class PartsAreExtended(Tiny):
    """PATCH on a final upload is refused when its bytes are behind the last part already."""

    def patch(self, request: Request) -> Response:
        upload = self.upload_of(request)
        if upload.is_final and (data := request.body.read()):
            self.store(upload.parts[-1], data)
        return super().patch(request)


@mutant("CONCAT-14")
class FinalsTellNoOffset(Tiny):
    """HEAD of a final upload never tells an offset."""

    def described(self, upload: Upload, response: Response) -> Response:
        response = super().described(upload, response)
        return response.drop("Upload-Offset") if upload.is_final else response


@mutant("CONCAT-15")
class PendingFinalsStandAtZero(Tiny):
    """HEAD of a final upload whose parts are missing tells an offset of 0."""

    def described(self, upload: Upload, response: Response) -> Response:
        return super().described(upload, response.set("Upload-Offset", 0))


@mutant("CONCAT-16")
class PartialsTellNoOffset(Tiny):
    """HEAD of a partial upload tells an offset only when it is finished."""

    def described(self, upload: Upload, response: Response) -> Response:
        response = super().described(upload, response)
        if upload.is_partial and not upload.is_finished:
            response.drop("Upload-Offset")
        return response


@mutant("CONCAT-17")
class FinalsTellNoLength(Tiny):
    """The length of the whole is not told at once."""

    def described(self, upload: Upload, response: Response) -> Response:
        response = super().described(upload, response)
        if upload.is_final and upload.id not in self.looked_at:
            self.looked_at.add(upload.id)
            response.drop("Upload-Length")
        return response

    looked_at: set[str] = set()  # noqa: RUF012 - ids are unique


@mutant("CONCAT-18")
class NoUploadConcat(Tiny):
    """HEAD does not tell what kind of upload it is."""

    def described(self, upload: Upload, response: Response) -> Response:
        return super().described(upload, response).drop("Upload-Concat")


@mutant("CONCAT-18", Verdict.WARN)
class ConcatInAnotherSpelling(Tiny):
    """HEAD tells the parts by absolute URLs, whatever was sent."""

    def described(self, upload: Upload, response: Response) -> Response:
        response = super().described(upload, response)
        if upload.is_final:
            root = self.url.removesuffix(self.prefix)
            urls = " ".join(f"{root}{self.location(part)}" for part in upload.parts)
            response.set("Upload-Concat", f"final;{urls}")
        return response


@mutant("CONCAT-19")
class OtherValuesAreIgnored(Tiny):
    """What is neither partial nor final counts as absent."""

    def concat_of(self, request: Request) -> str | None:
        try:
            return super().concat_of(request)
        except Refused:
            return None


@mutant("CONCAT-20", Verdict.WARN)
class OnlyAbsoluteParts(Tiny):
    """Parts must be named by absolute URLs."""

    def part(self, request: Request, url: str) -> Upload:
        if "://" not in url:
            raise Refused(400, "An absolute URL, please.")
        return super().part(request, url)

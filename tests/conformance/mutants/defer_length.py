"""DEFER broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conformance.mutants import mutant
from tests.conformance.tiny import Refused, Response, Tiny, Upload

if TYPE_CHECKING:
    from tests.conformance.tiny import Request


class _Remembers(Tiny):
    """Knows which uploads were created without a length."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.deferred: set[str] = set()

    def keep(self, upload: Upload) -> None:
        if upload.length is None:
            self.deferred.add(upload.id)
        super().keep(upload)


@mutant("DEFER-01")
class DeferringIsNotAnnounced(Tiny):
    """The list of extensions has not been touched since deferring was added."""

    def options(self, request: Request) -> Response:
        others = [name for name in self.extensions if name != "creation-defer-length"]
        return super().options(request).set("Tus-Extension", ",".join(others))


@mutant("DEFER-02")
class DeferredIsTrue(Tiny):
    """Upload-Defer-Length is written as the boolean that it is inside."""

    def described(self, upload: Upload, response: Response) -> Response:
        response = super().described(upload, response)
        return (
            response if upload.length is not None else response.set("Upload-Defer-Length", "true")
        )


@mutant("DEFER-03")
class AnyValueDefers(Tiny):
    """The header counts as set, whatever it says."""

    def new_length(self, request: Request) -> int | None:
        if request.get("upload-defer-length") and "upload-length" not in request:
            return None
        return super().new_length(request)


@mutant("DEFER-03")
class NumberOneDefers(Tiny):
    """The value is read as a number, so that 01 is 1."""

    def new_length(self, request: Request) -> int | None:
        value = request.get("upload-defer-length") or ""
        if value.isdecimal() and int(value) == 1 and "upload-length" not in request:
            return None
        return super().new_length(request)


@mutant("DEFER-04")
class DeferredUntilFirstByte(Tiny):
    """Once bytes have come HEAD no longer says that the length is unknown."""

    def described(self, upload: Upload, response: Response) -> Response:
        response = super().described(upload, response)
        return response.drop("Upload-Defer-Length") if upload.offset else response


@mutant("DEFER-04")
class UnknownLengthIsZero(Tiny):
    """The length that nobody knows yet is told as the 0 of the database."""

    def described(self, upload: Upload, response: Response) -> Response:
        response = super().described(upload, response)
        return response if upload.length is not None else response.set("Upload-Length", 0)


@mutant("DEFER-06")
class EmptyPatchDeclaresNothing(Tiny):
    """A PATCH without bytes is done before its headers are read."""

    def declared_length(self, request: Request, upload: Upload) -> int | None:
        return super().declared_length(request, upload) if request.has_body else upload.length


@mutant("DEFER-06")
class LengthComesFirstOrNever(Tiny):
    """A length is taken with the first PATCH only, and passed over later."""

    def declared_length(self, request: Request, upload: Upload) -> int | None:
        return upload.length if upload.offset else super().declared_length(request, upload)


@mutant("DEFER-06")
class LengthOfOnePatch(Tiny):
    """A length binds the PATCH that it came with, and is forgotten while bytes are missing."""

    def patch(self, request: Request) -> Response:
        upload = self.upload_of(request)
        was_deferred = upload.length is None
        response = super().patch(request)
        if was_deferred and not upload.is_finished:
            upload.length = None
        return response


@mutant("DEFER-07")
class DeferredForEver(_Remembers):
    """What was created without a length is called deferred to its end."""

    def described(self, upload: Upload, response: Response) -> Response:
        response = super().described(upload, response)
        return response.set("Upload-Defer-Length", 1) if upload.id in self.deferred else response


@mutant("DEFER-07")
class NotDeferredIsZero(Tiny):
    """HEAD says `Upload-Defer-Length: 0` where the length is known."""

    def described(self, upload: Upload, response: Response) -> Response:
        response = super().described(upload, response)
        return response if upload.length is None else response.set("Upload-Defer-Length", 0)


@mutant("DEFER-08")
class DeclaredLengthIsReplaced(_Remembers):
    """An upload that began without a length takes another with each PATCH."""

    def declared_length(self, request: Request, upload: Upload) -> int | None:
        if upload.id in self.deferred and "upload-length" in request:
            return max(upload.offset, self.number(request, "Upload-Length"))
        return super().declared_length(request, upload)


@mutant("DEFER-08")
class DeclaredLengthMayGrow(_Remembers):
    """More than was declared can be declared, also of what was complete."""

    def declared_length(self, request: Request, upload: Upload) -> int | None:
        if upload.id in self.deferred and "upload-length" in request:
            length = self.number(request, "Upload-Length")
            if upload.length is not None and length > upload.length:
                return length
        return super().declared_length(request, upload)


@mutant("DEFER-09")
class DeclaredLengthHasNoLimit(Tiny):
    """The maximum is looked at when an upload is created, and a length on PATCH is not."""

    def declared_length(self, request: Request, upload: Upload) -> int | None:
        maximum, self.max_size = self.max_size, 2**62
        try:
            return super().declared_length(request, upload)
        finally:
            self.max_size = maximum


@mutant("DEFER-09")
class RefusedLengthStays(Tiny):
    """A length above the maximum is refused after it has been written down."""

    def declared_length(self, request: Request, upload: Upload) -> int | None:
        try:
            return super().declared_length(request, upload)
        except Refused as refused:
            if refused.response.status == 413:
                upload.length = self.number(request, "Upload-Length")
            raise


@mutant("DEFER-09")
class AnnouncedBodyHasNoLimit(Tiny):
    """Without a length the maximum binds chunked bodies; of others Content-Length is believed."""

    max_size = 1000

    def append(self, request: Request, upload: Upload, length: int | None) -> None:
        if length is None and request.body.length is not None:
            self.append_as_it_comes(request, upload, request.body.length)
        else:
            super().append(request, upload, length)


@mutant("DEFER-09")
class ChunkedBodyHasNoLimit(Tiny):
    """Without a length the maximum binds what is announced; a chunked body goes on and on."""

    max_size = 1000

    def append(self, request: Request, upload: Upload, length: int | None) -> None:
        if length is None and request.body.length is None:
            self.append_as_it_comes(request, upload, 2**62)
        else:
            super().append(request, upload, length)


@mutant("DEFER-10")
class LengthBelowTheOffset(Tiny):
    """A length is taken as it comes, though more bytes are there."""

    def declared_length(self, request: Request, upload: Upload) -> int | None:
        if upload.length is None and "upload-length" in request:
            return self.number(request, "Upload-Length")
        return super().declared_length(request, upload)

    def append(self, request: Request, upload: Upload, length: int | None) -> None:
        if length is not None and length < upload.offset and not request.has_body:
            upload.length = length
        else:
            super().append(request, upload, length)


@mutant("DEFER-10")
class CutToItsLength(Tiny):
    """A length below the offset throws away the bytes behind it."""

    def declared_length(self, request: Request, upload: Upload) -> int | None:
        if upload.length is None and "upload-length" in request:
            length = self.number(request, "Upload-Length")
            with self.guard:
                del upload.data[length:]
        return super().declared_length(request, upload)


@mutant("DEFER-10")
class RefusedButRecorded(Tiny):
    """A length below the offset is written down, and only then refused."""

    def declared_length(self, request: Request, upload: Upload) -> int | None:
        try:
            return super().declared_length(request, upload)
        except Refused:
            if upload.length is None:
                upload.length = self.number(request, "Upload-Length")
            raise


@mutant("DEFER-11")
class LengthBeforeOffset(Tiny):
    """The length is declared before the offset is compared."""

    def check_offset(self, upload: Upload, offset: int) -> None:
        """Later."""

    def append(self, request: Request, upload: Upload, length: int | None) -> None:
        upload.length = length
        super().check_offset(upload, self.number(request, "Upload-Offset"))
        super().append(request, upload, length)


@mutant("DEFER-11")
class SecretLength(Tiny):
    """The length of a refused PATCH is remembered, and later no other is taken."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.declared: dict[str, int] = {}

    def patch(self, request: Request) -> Response:
        upload = self.upload_of(request)
        if upload.length is None and "upload-length" in request:
            length = self.number(request, "Upload-Length")
            if self.declared.setdefault(upload.id, length) != length:
                raise Refused(400, "The length of an upload never changes.")
        return super().patch(request)


@mutant("DEFER-12")
class NothingToAppend(Tiny):
    """A PATCH without bytes is refused, also one that tells the length of all that has come."""

    def patch(self, request: Request) -> Response:
        if not request.has_body:
            raise Refused(400, "There is nothing to append.")
        return super().patch(request)


@mutant("DEFER-12")
class CompleteAtTheEndOfTheBody(Tiny):
    """The end of a body is the end of an upload whose length is not known."""

    def patch(self, request: Request) -> Response:
        response, upload = super().patch(request), self.upload_of(request)
        if upload.length is None and upload.offset >= 10:
            upload.length = upload.offset
        return response


@mutant("DEFER-13")
class ExcessIsCutOff(Tiny):
    """What is longer than the length beside it is cut off without a word."""

    def append(self, request: Request, upload: Upload, length: int | None) -> None:
        if upload.length is not None or length is None:
            super().append(request, upload, length)
            return
        upload.length = length
        while piece := request.body.read():
            self.store(upload, piece[: length - upload.offset])


@mutant("DEFER-13")
class ExcessIsStored(Tiny):
    """The length is written down after the body has been stored as it came."""

    def append(self, request: Request, upload: Upload, length: int | None) -> None:
        if upload.length is not None or length is None:
            super().append(request, upload, length)
            return
        super().append(request, upload, None)
        upload.length = length
        if upload.offset > length:
            raise Refused(413, "More bytes than the upload has room for.")


@mutant("DEFER-14")
class DefersAllTheSame(Tiny):
    """Deferring is switched off in OPTIONS only."""

    extensions = ("creation", "termination")

    def new_length(self, request: Request) -> int | None:
        return None if "upload-length" not in request else super().new_length(request)


class _ReadsLength(Tiny):
    """Reads the length on a PATCH in a way of its own."""

    def read(self, text: str) -> int:
        raise NotImplementedError

    def declared_length(self, request: Request, upload: Upload) -> int | None:
        if upload.length is None and "upload-length" in request:
            try:
                request.set("upload-length", str(self.read(request.get("upload-length") or "")))
            except (ValueError, OverflowError):
                raise Refused(400, "Upload-Length is one number of bytes.") from None
        return super().declared_length(request, upload)


@mutant("DEFER-15")
class LengthByInt(_ReadsLength):
    """The length is what int() makes of it: +5, 1_000, and the UTF-8 of other digits."""

    def read(self, text: str) -> int:
        return int(text.encode("latin-1").decode(errors="replace"))


@mutant("DEFER-15")
class LengthByFloat(_ReadsLength):
    """The length is what a parser of any number makes of it: 5.0 and 5e3."""

    def read(self, text: str) -> int:
        return int(float(text)) if text.isascii() and "_" not in text and "+" not in text else -1


@mutant("DEFER-15")
class LengthUpToTheFirstOther(_ReadsLength):
    """The length is the digits in front, and the rest is passed over."""

    def read(self, text: str) -> int:
        digits = text[: next((at for at, each in enumerate(text) if not "0" <= each <= "9"), None)]
        return int(digits)


@mutant("DEFER-15")
class BadLengthIsNoLength(Tiny):
    """What is no number counts as not sent, and the bytes are taken."""

    def declared_length(self, request: Request, upload: Upload) -> int | None:
        if upload.length is None and not self.is_number(request.get("upload-length") or ""):
            request.set("upload-length", None)
        return super().declared_length(request, upload)

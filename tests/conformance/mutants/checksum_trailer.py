"""CHKT broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conformance.mutants import mutant
from tests.conformance.tiny import Connection, Refused, Request, Response, Tiny
from tests.conformance.tiny.stream import ChunkedBody

if TYPE_CHECKING:
    from tests.conformance.tiny import Upload

Digests = list[tuple[str, bytes]]


@mutant("CHKT-01")
class SecretTrailers(Tiny):
    """Trailers are verified, and checksum-trailer is not announced."""

    def options(self, request: Request) -> Response:
        shown = (each for each in self.extensions if each != "checksum-trailer")
        return super().options(request).set("Tus-Extension", ",".join(shown))


@mutant("CHKT-02")
class TrailersAreForgotten(Tiny):
    """The trailer is announced and waited for, and lost on its way through the HTTP library."""

    def digest_of_trailer(self, request: Request) -> tuple[str, bytes]:
        request.body.trailers.clear()
        return super().digest_of_trailer(request)


@mutant("CHKT-03")
class TrailersAreIgnored(Tiny):
    """The digest in a trailer is not looked at."""

    def announces_digest(self, request: Request) -> bool:
        return False


@mutant("CHKT-05")
class UnannouncedTrailersAreAFault(Tiny):
    """A trailer that was not announced is refused, though its digest is right."""

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        super().append_as_it_comes(request, upload, room)
        if any(name == "upload-checksum" for name, _ in request.body.trailers):
            raise Refused(400, "Nobody has announced that.")


@mutant("CHKT-06")
class MissingTrailerRefusedTooLate(Tiny):
    """The bytes are stored before it is noticed that the trailer did not come."""

    def append_verified(
        self,
        request: Request,
        upload: Upload,
        length: int | None,
        room: int,
        digests: Digests,
    ) -> None:
        try:
            super().append_verified(request, upload, length, room, digests)
        except Refused as refused:
            if refused.response.status == 400:
                self.store(upload, bytes(room))
            raise


@mutant("CHKT-07")
class TrailerReplacesHeader(Tiny):
    """Where a trailer is announced the header is not verified."""

    def expected_digests(self, request: Request) -> Digests:
        return [] if self.announces_digest(request) else super().expected_digests(request)


@mutant("CHKT-08")
class TrailersAreHeaders(Tiny):
    """Trailers are merged into the header fields, where they win."""

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        super().append_as_it_comes(request, upload, room)
        for name, value in request.body.trailers:
            if name == "upload-length":
                upload.length = int(value)


class _NoTrailers(ChunkedBody):
    """Believes the body to end with the last chunk."""

    def read_trailers(self) -> None:
        self.trailers = []


@mutant("CHKT-09")
class TrailersAreTheNextRequest(Tiny):
    """Trailers are left on the connection."""

    class _Connection(Connection):
        chunked_class = _NoTrailers

    connection_class = _Connection

"""ROB-HTTP broken: expectations, kept connections, methods, bodies, and answers."""

from __future__ import annotations

import gzip
import socket
import struct
from typing import TYPE_CHECKING

from tests.conformance.mutants import mutant
from tests.conformance.tiny import Broken, Connection, Refused, Response, Tiny
from tests.conformance.tiny.stream import ChunkedBody

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conformance.tiny import Request, Upload
    from tests.conformance.tiny.stream import StreamBody


class _Ignores(Connection):
    def expect(self, body: StreamBody, expectation: str) -> None:
        """Nothing is expected of this server."""


@mutant("ROB-HTTP-01")
class NeverAsks(Tiny):
    """A body that is held back is waited for in silence."""

    connection_class = _Ignores


class _Refuses(Connection):
    def expect(self, body: StreamBody, expectation: str) -> None:
        raise Refused(417, "No expectations, please.", closes=True)


@mutant("ROB-HTTP-01")
class ExpectationsRefused(Tiny):
    """100-continue is not known."""

    connection_class = _Refuses


class _Deadlock(Connection):
    def expect(self, body: StreamBody, expectation: str) -> None:
        def wait() -> None:
            while True:
                self.stream.buffer = b""
                self.stream.more()

        body.before_first = wait


@mutant("ROB-HTTP-01")
class HeldBackBodiesHang(Tiny):
    """Nothing comes after 100-continue, whatever the client does then."""

    connection_class = _Deadlock


class _RefusesAndGoesOn(Connection):
    def serve_one(self) -> bool:
        self.was_asked = False
        return super().serve_one()

    def expect(self, body: StreamBody, expectation: str) -> None:
        super().expect(body, expectation)
        self.awaits_go_ahead = False
        self.was_asked = True

    def drain(self, request: Request) -> bool:
        return self.was_asked or super().drain(request)


@mutant("ROB-HTTP-02")
class HeldBackBodiesAreRequests(Tiny):
    """After a refusal without 100 the body, if it comes, is taken for the next request."""

    connection_class = _RefusesAndGoesOn


@mutant("ROB-HTTP-02")
class DoomedBodiesAreWaitedFor(Tiny):
    """A body that nobody wants is waited for in silence before it is refused."""

    class connection_class(_Ignores):
        def body_of(self, version: str, headers: list[tuple[str, str]]) -> StreamBody:
            body = super().body_of(version, headers)
            if any(name == "expect" for name, _ in headers):
                while len(self.stream.buffer) < (body.length or 0):
                    self.stream.more()
            return body


class _Unexpected(Connection):
    def expect(self, body: StreamBody, expectation: str) -> None:
        if expectation.lower() != "100-continue":
            raise Refused(500, closes=True)
        super().expect(body, expectation)


@mutant("ROB-HTTP-03")
class OtherExpectationsAreAnError(Tiny):
    """An expectation other than 100-continue ends in an exception."""

    connection_class = _Unexpected


class _ClosesAlways(Connection):
    def wants_close(self, request: Request) -> bool:
        return request.method == "PATCH" or super().wants_close(request)


@mutant("ROB-HTTP-04")
class ClosesAfterPatch(Tiny):
    """Each PATCH needs a connection of its own."""

    connection_class = _ClosesAlways


class _ClosesNever(Connection):
    def wants_close(self, request: Request) -> bool:
        return request.version == "HTTP/1.0"


@mutant("ROB-HTTP-04")
class CloseIgnored(Tiny):
    """`Connection: close` has no effect."""

    connection_class = _ClosesNever


@mutant("ROB-HTTP-14")
class GzipUndone(Tiny):
    """A body with a content coding is decoded before it is stored."""

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        if request.get("content-encoding") != "gzip":
            super().append_as_it_comes(request, upload, room)
            return
        data = bytearray()
        while piece := request.body.read():
            data += piece
        self.store(upload, gzip.decompress(bytes(data)))


@mutant("ROB-HTTP-14")
class GzipCountedCodedAndStoredDecoded(Tiny):
    """The offset goes by what came, but the file by what was decoded of it."""

    def store(self, upload: Upload, data: bytes) -> None:
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data).ljust(len(data), b"\0")
        super().store(upload, data)


class _Handlers(Tiny):
    """Another method on an upload."""

    extra = ""

    def handler(self, method: str, request: Request) -> Callable[[Request], Response]:
        if method == self.extra and not self.is_creation_path(request.path):
            return self.other
        return super().handler(method, request)

    def other(self, request: Request) -> Response:
        raise NotImplementedError


@mutant("ROB-HTTP-15")
class PostOnAnUploadCreates(_Handlers):
    """POST creates uploads below the creation URL too."""

    extra = "POST"

    def other(self, request: Request) -> Response:
        return self.create(request)


@mutant("ROB-HTTP-15")
class PutStores(_Handlers):
    """PUT is served as PATCH."""

    extra = "PUT"

    def other(self, request: Request) -> Response:
        return self.patch(request)


@mutant("ROB-HTTP-15")
class UnknownMethodsAreAnError(_Handlers):
    """A method that nobody knows ends in an exception."""

    extra = "FOO"

    def other(self, request: Request) -> Response:
        raise Refused(500)


@mutant("ROB-HTTP-15")
class NoAllow(Tiny):
    """405 without Allow."""

    def handler(self, method: str, request: Request) -> Callable[[Request], Response]:
        try:
            return super().handler(method, request)
        except Refused as refused:
            refused.response.drop("Allow")
            raise


@mutant("ROB-HTTP-15")
class DeleteOfAllIsTaken(Tiny):
    """DELETE on the creation URL is answered as if it were done."""

    def handler(self, method: str, request: Request) -> Callable[[Request], Response]:
        if method == "DELETE" and self.is_creation_path(request.path):
            return lambda _: Response(204)
        return super().handler(method, request)


@mutant("ROB-HTTP-16")
class UnfinishedIsPadded(Tiny):
    """An unfinished upload is served with zeros for what is missing."""

    def get(self, request: Request) -> Response:
        upload = self.upload_of(request)
        data = bytes(upload.data).ljust(upload.length or 0, b"\0")
        return Response(200, body=data).set("Content-Type", "application/octet-stream")


@mutant("ROB-HTTP-16")
class UnfinishedIsAnError(Tiny):
    """GET of an unfinished upload ends in an exception."""

    def get(self, request: Request) -> Response:
        if not self.upload_of(request).is_finished:
            raise Refused(500)
        return super().get(request)


class _LengthOfNothing(Connection):
    def encoded(self, request: Request | None, response: Response) -> bytes:
        if response.status == 204 and request is not None and request.method != "OPTIONS":
            response.set("Content-Length", 0)
        return super().encoded(request, response)


@mutant("ROB-HTTP-17")
class LengthInNoContent(Tiny):
    """204 with Content-Length: 0."""

    connection_class = _LengthOfNothing


class _ChunkedNothing(Connection):
    def encoded(self, request: Request | None, response: Response) -> bytes:
        if response.status == 204 and request is not None and request.method == "DELETE":
            response.set("Transfer-Encoding", "chunked")
        return super().encoded(request, response)


@mutant("ROB-HTTP-17")
class ChunkedNoContent(Tiny):
    """204 to DELETE with Transfer-Encoding."""

    connection_class = _ChunkedNothing


class _Resets(Connection):
    def send(self, request: Request | None, response: Response) -> None:
        if response.status == 409 and request is not None and not request.body.is_done:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.socket.close()
            raise Broken
        super().send(request, response)


@mutant("ROB-HTTP-18")
class ResetInPlaceOfRefusal(Tiny):
    """A body that nobody wants is cut off by a reset, and the reason is lost."""

    connection_class = _Resets


class _NoExtensions(ChunkedBody):
    def chunk_size(self) -> int:
        if b";" in self.stream.buffer.partition(b"\r")[0]:
            raise Refused(400, "No good chunk size.", closes=True)
        return super().chunk_size()


@mutant("ROB-HTTP-20")
class ExtensionsOfChunksRefused(Tiny):
    """Extensions of chunks are taken for bad sizes."""

    class connection_class(Connection):
        chunked_class = _NoExtensions


class _FirstSegmentLost(Connection):
    def body_of(self, version: str, headers: list[tuple[str, str]]) -> StreamBody:
        body = super().body_of(version, headers)
        if body.length is not None and len(self.stream.buffer) >= body.length > 5:
            self.stream.buffer = b""
        return body


@mutant("ROB-HTTP-20")
class BodyBehindTheHeadLost(Tiny):
    """What comes in one segment with the head is thrown away with it."""

    connection_class = _FirstSegmentLost


class _AsksForNothing(Connection):
    def body_of(self, version: str, headers: list[tuple[str, str]]) -> StreamBody:
        body = super().body_of(version, headers)
        if any(name == "expect" for name, _ in headers) and body.length == 0:
            self.stream.more()
        return body


@mutant("ROB-HTTP-20")
class EmptyBodyWaitedFor(Tiny):
    """After Expect a body is waited for, be it empty."""

    connection_class = _AsksForNothing

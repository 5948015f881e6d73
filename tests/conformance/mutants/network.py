"""ROB-NET broken."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from tests.conformance.mutants import mutant
from tests.conformance.tiny import Broken, Connection, Refused, Response, Tiny
from tests.conformance.tiny.stream import ChunkedBody, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conformance.tiny import Request, Upload


@mutant("ROB-NET-01")
class KeepsWholeBodiesOnly(Tiny):
    """A body is stored when all of it has come; what breaks off is thrown away."""

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        data = bytearray()
        while piece := request.body.read():
            data += piece
            if len(data) > room:
                raise Refused(413, "More bytes than the upload has room for.", closes=True)
        self.store(upload, bytes(data))


@mutant("ROB-NET-01")
class OffsetOfPreallocatedFile(Tiny):
    """The file gets its room before the bytes come, and its size is taken for the offset."""

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        begin = upload.offset
        try:
            super().append_as_it_comes(request, upload, room)
        except Broken:
            missing = begin + (request.body.length or 0) - upload.offset
            self.store(upload, bytes(max(missing, 0)))
            raise


def _is_reset(error: Broken) -> bool:
    return isinstance(error.__cause__, ConnectionResetError)


@mutant("ROB-NET-02")
class ResetLosesThePatch(Tiny):
    """A reset is an error like any other, and undoes what the request had stored."""

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        begin = upload.offset
        try:
            super().append_as_it_comes(request, upload, room)
        except Broken as error:
            if _is_reset(error):
                with self.guard:
                    del upload.data[begin:]
            raise


@mutant("ROB-NET-03")
class BrokenChunksAreUndone(Tiny):
    """A chunked body without its end counts for nothing."""

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        begin = upload.offset
        try:
            super().append_as_it_comes(request, upload, room)
        except Broken:
            if request.body.length is None:
                with self.guard:
                    del upload.data[begin:]
            raise


@mutant("ROB-NET-03")
class FlushesTheDecoder(Tiny):
    """When a chunked body breaks off, what the decoder still holds is stored, framing or not."""

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        try:
            super().append_as_it_comes(request, upload, room)
        except Broken:
            if isinstance(request.body, ChunkedBody):
                self.store(upload, request.body.stream.buffer)
            raise


class _Strtol(ChunkedBody):
    def chunk_size(self) -> int:
        found = re.match(rb"[0-9A-Fa-f]*", self.stream.line(self.is_stopped))
        return int(found[0] or b"0", 16) if found else 0


@mutant("ROB-NET-04")
class SizesUpToTheFirstStrangeLetter(Tiny):
    """Sizes of chunks are read as far as they are hexadecimal: `zz` is the end of the body."""

    class connection_class(Connection):
        chunked_class = _Strtol


class _AnyLineEnd(ChunkedBody):
    def end_of_chunk(self) -> None:
        while len(self.stream.buffer) < 2:
            self.stream.more(self.is_stopped)
        self.stream.buffer = self.stream.buffer[2:]


@mutant("ROB-NET-04")
class TwoBytesAfterAChunk(Tiny):
    """The line end after a chunk is skipped, whatever it is."""

    class connection_class(Connection):
        chunked_class = _AnyLineEnd


class _BareLineFeeds(ChunkedBody):
    def chunk_size(self) -> int:
        while b"\n" not in self.stream.buffer:
            self.stream.more(self.is_stopped)
        line, _, self.stream.buffer = self.stream.buffer.partition(b"\n")
        self.stream.buffer = line.rstrip(b"\r") + b"\r\n" + self.stream.buffer
        return super().chunk_size()

    def end_of_chunk(self) -> None:
        self.stream.buffer = self.stream.buffer.removeprefix(b"\r").removeprefix(b"\n")

    def read_trailers(self) -> None:
        self.stream.buffer = self.stream.buffer.removeprefix(b"\r").removeprefix(b"\n")


@mutant("ROB-NET-04")
class ChunksWithBareLineFeeds(Tiny):
    """A line feed alone ends the lines of a chunked body too."""

    class connection_class(Connection):
        chunked_class = _BareLineFeeds


@mutant("ROB-NET-04")
class StoresWhatIsNoChunk(Tiny):
    """A body that is no good chunked one is refused, but what came of it is stored as it is."""

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        try:
            super().append_as_it_comes(request, upload, room)
        except Refused:
            if isinstance(request.body, ChunkedBody):
                self.store(upload, request.body.stream.buffer[: room - upload.offset])
            raise


class _NoExtensions(ChunkedBody):
    def chunk_size(self) -> int:
        while b"\n" not in self.stream.buffer:
            self.stream.more(self.is_stopped)
        if b";" in self.stream.buffer.partition(b"\r")[0]:
            raise Refused(400, "No good chunk size.", closes=True)
        return super().chunk_size()


@mutant("ROB-NET-04")
class NoChunkExtensions(Tiny):
    """Extensions of chunks are taken for bad sizes."""

    class connection_class(Connection):
        chunked_class = _NoExtensions


@mutant("ROB-NET-05")
class BreaksShrinkTheUpload(Tiny):
    """A reset cuts the upload to whole blocks, below what HEAD had told before."""

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        try:
            super().append_as_it_comes(request, upload, room)
        except Broken as error:
            if _is_reset(error):
                with self.guard:
                    del upload.data[len(upload.data) // 2**20 * 2**20 :]
            raise


@mutant("ROB-NET-05")
class BlockOverwrittenAtResumption(Tiny):
    """What is resumed in the middle of a block begins at its start in the file."""

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        begin = upload.offset
        super().append_as_it_comes(request, upload, room)
        if begin % 4096 and upload.offset - begin > 4096:
            with self.guard:
                upload.data[begin - 8 : begin] = upload.data[begin : begin + 8]


@mutant("ROB-NET-06")
class UnflushedBytesLost(Tiny):
    """What a 204 acknowledged was still in a buffer when the server was killed."""

    def recover(self, upload: Upload) -> None:
        del upload.data[len(upload.data) // 65536 * 65536 :]


@mutant("ROB-NET-06")
class MetadataInMemoryOnly(Tiny):
    """Metadata is not written down, and gone after a restart."""

    def recover(self, upload: Upload) -> None:
        upload.metadata = None


@mutant("ROB-NET-06")
class ForgetsUploads(Tiny):
    """Which uploads there are is kept in memory only."""

    def recover(self, upload: Upload) -> None:
        del self.uploads[upload.id]


@mutant("ROB-NET-06")
class SizeOfPreallocatedFile(Tiny):
    """After a restart the size of the file, which had got its room before, is the offset."""

    def recover(self, upload: Upload) -> None:
        if upload.length == 2**20 and upload.data:
            upload.data += bytes(upload.length - upload.offset)


@mutant("ROB-NET-06")
class PartialNoMore(Tiny):
    """That an upload is partial is not written down."""

    def recover(self, upload: Upload) -> None:
        upload.concat = None


@mutant("ROB-NET-07")
class WholeBodyInThreeSeconds(Tiny):
    """The time limit is that of the whole body, not of the silence in it."""

    def store(self, upload: Upload, data: bytes) -> None:
        begun = self._begun.setdefault(upload.id, time.monotonic())
        if time.monotonic() - begun > 3.0:
            raise Refused(408, "Too slow.", closes=True)
        super().store(upload, data)

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self._begun: dict[str, float] = {}


@mutant("ROB-NET-08")
class WaitsForeverForHeads(Tiny):
    """Half a head keeps a connection open for as long as the client likes."""

    idle = 3600.0


@mutant("ROB-NET-08")
class FewConnections(Tiny):
    """A hundred half heads take all the threads, and nobody else is served."""

    idle = 8.0

    class connection_class(Connection):
        def serve(self) -> None:
            if len(self.server._connected) > 100:
                time.sleep(9.0)
            super().serve()


@mutant("ROB-NET-09")
class SecondPatchAnsweredLikeTheFirst(Tiny):
    """A PATCH to a finished upload is answered 204, whatever its offset."""

    def patch(self, request: Request) -> Response:
        upload = self.upload_of(request)
        if upload.is_finished:
            return Response(204).set("Upload-Offset", upload.offset)
        return super().patch(request)


class _Watched(Connection):
    """Looks whether the client is still there once it has answered."""

    def serve_one(self) -> bool:
        server = self.server
        assert isinstance(server, UndoneWhenTheClientLeaves)
        goes_on = super().serve_one()
        if not goes_on or not self.stream.buffer:
            server.confirm(self.stream)
        return goes_on


@mutant("ROB-NET-09")
class UndoneWhenTheClientLeaves(Tiny):
    """A client that is gone when its bytes are to be stored has cancelled the request."""

    connection_class = _Watched

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.last: Callable[[], None] = lambda: None

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        begin = upload.offset
        super().append_as_it_comes(request, upload, room)

        def undo() -> None:
            with self.guard:
                del upload.data[begin:]

        self.last = undo

    def confirm(self, stream: Stream) -> None:
        undo, self.last = self.last, lambda: None
        try:
            stream.more()
        except Broken as error:
            if _is_reset(error):
                undo()

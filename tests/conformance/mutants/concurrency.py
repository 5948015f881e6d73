"""ROB-CONC broken."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from tests.conformance.mutants import mutant
from tests.conformance.tiny import Broken, Refused, Request, Response, Tiny, Upload
from tests.conformance.tiny.uploads import Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _AnyTurn(Turn):
    """Everybody's turn at once."""

    def take(self, let_go: Callable[[], None]) -> _Nothing:  # type: ignore[override]
        return _Nothing()


class _Nothing:
    def __enter__(self) -> None:
        """Nothing is held."""

    def __exit__(self, *error: object) -> None:
        """Nothing is given back."""


class _NoTurns(Tiny):
    """No request has an upload for itself."""

    def keep(self, upload: Upload) -> None:
        upload.turn = _AnyTurn()
        super().keep(upload)


class _WritesAtTheEnd(_NoTurns):
    """The offset is compared when the request begins, and the bytes written when they are all
    there.
    """

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        offset, data = upload.offset, bytearray()
        while piece := request.body.read():
            data += piece
        # A disk takes its time.
        time.sleep(0.01)
        with self.guard:
            upload.data[offset : offset + len(data)] = data


@mutant("ROB-CONC-01")
class BothSucceed(_WritesAtTheEnd):
    """Two PATCHes at one offset both succeed; the last one's bytes stay."""


@mutant("ROB-CONC-02")
class SecondOverwrites(_WritesAtTheEnd):
    """A second PATCH writes over the first, and both succeed."""


@mutant("ROB-CONC-09")
class LastPatchIsRepeatable(Tiny):
    """A PATCH that would end where the finished upload ends is taken for a repetition, and is a
    success, whatever its bytes.
    """

    def check_offset(self, upload: Upload, offset: int) -> None:
        if not upload.is_finished:
            super().check_offset(upload, offset)

    def append(self, request: Request, upload: Upload, length: int | None) -> None:
        if upload.is_finished and request.body.length:
            while request.body.read():
                """Thrown away: it is there already."""
            return
        super().append(request, upload, length)


@mutant("ROB-CONC-09")
class CompletedTwice(_WritesAtTheEnd):
    """Two PATCHes complete one upload."""


@mutant("ROB-CONC-01")
class BytesInterleave(_NoTurns):
    """Parallel PATCHes are written as they come, one's bytes between the other's."""

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        while piece := request.body.read():
            for start in range(0, len(piece), 4096):
                self.store(upload, piece[start : start + 4096][: upload_room(upload)])
                time.sleep(0.01)


def upload_room(upload: Upload) -> int:
    return max(0, (upload.length or 0) - upload.offset)


@mutant("ROB-CONC-03")
class HeadPromises(_NoTurns):
    """HEAD counts what a running PATCH has announced, whether it comes or not."""

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        self.promised = {upload.id: upload.offset + (request.body.length or 0)}
        try:
            super().append_as_it_comes(request, upload, room)
        finally:
            self.promised = {}

    promised: dict[str, int] = {}  # noqa: RUF012 - set anew, never changed

    def described(self, upload: Upload, response: Response) -> Response:
        response = super().described(upload, response)
        if upload.id in self.promised:
            response.set("Upload-Offset", self.promised[upload.id])
        return response


@mutant("ROB-CONC-03")
class BrokenOffIsUndone(_NoTurns):
    """HEAD tells what has come so far, and when the PATCH breaks off it is thrown away."""

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        before = upload.offset
        try:
            super().append_as_it_comes(request, upload, room)
        except Broken:
            with self.guard:
                del upload.data[before:]
            raise


class _Stubborn(Turn):
    """Whoever has the upload keeps it; others are refused after a moment."""

    patience = 0.2

    def take(self, let_go: Callable[[], None]) -> Iterator[None]:  # type: ignore[override]
        return super().take(lambda: None)  # type: ignore[return-value]


@mutant("ROB-CONC-04")
class DeadOnesBlock(Tiny):
    """Nobody has to let go, and a client that has died keeps the upload for a while."""

    idle = 8.0

    def keep(self, upload: Upload) -> None:
        upload.turn = _Stubborn()
        super().keep(upload)


@mutant("ROB-CONC-05")
class LateBytesAreStored(_NoTurns):
    """The offset is compared at the beginning only: what a superseded request sends later is added
    where the newer one ended, over its last bytes.
    """

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        position = upload.offset
        while piece := request.body.read():
            with self.guard:
                upload.data[position : position + len(piece)] = piece
            position += len(piece)


@mutant("ROB-CONC-05")
class LateBytesCountAsNew(_NoTurns):
    """What comes is added at the end, whoever sent it, until the upload is full."""

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        while piece := request.body.read():
            self.store(upload, piece[: upload_room(upload)])


@mutant("ROB-CONC-05")
class LengthGrows(_NoTurns):
    """The older PATCH still has room for its announced bytes, and the upload grows by them."""

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        super().append_as_it_comes(request, upload, room)
        upload.length = max(upload.length or 0, upload.offset)


@mutant("ROB-CONC-06")
class IdsByTheClock(Tiny):
    """The id of an upload is the time in hundredths of a second."""

    def create(self, request: Request) -> Response:
        response = super().create(request)
        with self.guard:
            upload = self.uploads.pop((response.get("Location") or "").rpartition("/")[2])
            upload.id = f"{int(time.time() * 100):032x}"
            self.uploads[upload.id] = upload
        return response.set("Location", self.location(upload))


@mutant("ROB-CONC-07")
class OneBufferForAll(_NoTurns):
    """All requests share the buffer into which bodies are read."""

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        while piece := request.body.read():
            self.shared = piece
            time.sleep(0.002)
            self.store(upload, self.shared[: len(piece)].ljust(len(piece), b"\0"))

    shared = b""


@mutant("ROB-CONC-08")
class OneAtATime(Tiny):
    """Requests with a body are handled one after the other."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.one = threading.Lock()

    def patch(self, request: Request) -> Response:
        if not self.one.acquire(timeout=3.0):
            raise Refused(503, "Busy.")
        try:
            return super().patch(request)
        finally:
            self.one.release()

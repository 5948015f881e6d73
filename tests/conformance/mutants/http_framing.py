"""ROB-HTTP broken: pipelining, left-over bodies, and ambiguous framing."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.conformance.mutants import mutant
from tests.conformance.tiny import Connection, Response, Tiny

if TYPE_CHECKING:
    from tests.conformance.tiny import Request
    from tests.conformance.tiny.stream import StreamBody

_Headers = list[tuple[str, str]]


class _Forgetful(Connection):
    def send(self, request: Request | None, response: Response) -> None:
        super().send(request, response)
        if request is not None and request.body.is_done:
            self.stream.buffer = b""


@mutant("ROB-HTTP-05")
class PipelinedRequestsLost(Tiny):
    """What was read together with a request, and stands behind it, is thrown away with it."""

    connection_class = _Forgetful


class _Cached(Connection):
    def encoded(self, request: Request | None, response: Response) -> bytes:
        self.offset: str | None = getattr(self, "offset", None)
        if request is not None and request.method == "HEAD" and response.status == 200:
            self.offset = self.offset or response.get("Upload-Offset") or "0"
            response.set("Upload-Offset", self.offset)
        return super().encoded(request, response)


@mutant("ROB-HTTP-05")
class OffsetOfTheConnection(Tiny):
    """What the first HEAD on a connection told is told again."""

    connection_class = _Cached


class _Delayed(Connection):
    """Keeps the answer to a PATCH until that to a HEAD has gone."""

    held = b""

    def send(self, request: Request | None, response: Response) -> None:
        data = self.encoded(request, response)
        if request is not None and request.method == "PATCH" and self.stream.buffer:
            self.held += data
            return
        self.socket.sendall(data + self.held)
        self.held = b""


@mutant("ROB-HTTP-05")
class AnswersOutOfOrder(Tiny):
    """Of pipelined requests, the quick ones are answered first."""

    connection_class = _Delayed


@mutant("ROB-HTTP-05")
class TwinCreationsAreOne(Tiny):
    """A creation right behind an equal one on its connection is taken for a repetition of it."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self._local = threading.local()

    def create(self, request: Request) -> Response:
        headers = [pair for pair in request.headers if pair[0] != "connection"]
        last, first = getattr(self._local, "last", (None, Response(500)))
        if last != headers:
            first = super().create(request)
            self._local.last = (headers, first)
        return Response(first.status, list(first.headers), first.body)


class _Undrained(Connection):
    def drain(self, request: Request) -> bool:
        return True


@mutant("ROB-HTTP-06")
class BodiesLeftOver(Tiny):
    """The body of a refused request is taken for the next request."""

    connection_class = _Undrained


class _ChunksUndrained(Connection):
    def drain(self, request: Request) -> bool:
        return request.body.length is None or super().drain(request)


@mutant("ROB-HTTP-06")
class ChunksLeftOver(Tiny):
    """The chunks of a refused request are taken for the next request."""

    connection_class = _ChunksUndrained


class _DrainsWhatIsThere(Connection):
    def drain(self, request: Request) -> bool:
        length = request.body.length
        if length is None or request.body.is_done:
            return super().drain(request)
        self.stream.buffer = self.stream.buffer[length:]
        return True


@mutant("ROB-HTTP-06")
class LateBodiesLeftOver(Tiny):
    """Of a refused body only what has come already is thrown away."""

    connection_class = _DrainsWhatIsThere


class _Reframed(Connection):
    """Headers are changed before the framing is judged."""

    def body_of(self, version: str, headers: _Headers) -> StreamBody:
        return super().body_of(version, self.reframed(headers))

    def reframed(self, headers: _Headers) -> _Headers:
        return headers


class _LengthWins(_Reframed):
    def reframed(self, headers: _Headers) -> _Headers:
        names = {name for name, _ in headers}
        has_both = {"content-length", "transfer-encoding"} <= names
        return [pair for pair in headers if not (has_both and pair[0] == "transfer-encoding")]


@mutant("ROB-HTTP-07")
class LengthWins(Tiny):
    """Of Content-Length and Transfer-Encoding the first is believed."""

    connection_class = _LengthWins


class _ChunkedWins(_Reframed):
    def reframed(self, headers: _Headers) -> _Headers:
        names = {name for name, _ in headers}
        has_both = {"content-length", "transfer-encoding"} <= names
        return [pair for pair in headers if not (has_both and pair[0] == "content-length")]


@mutant("ROB-HTTP-07")
class ChunkedWinsAndGoesOn(Tiny):
    """Content-Length beside chunks is ignored, and the connection kept."""

    connection_class = _ChunkedWins


class _AnyCoding(_Reframed):
    def reframed(self, headers: _Headers) -> _Headers:
        return [
            (name, "chunked")
            if name == "transfer-encoding" and "chunked" in value
            else (name, value)
            for name, value in headers
        ]


@mutant("ROB-HTTP-07")
class AnythingWithChunked(Tiny):
    """A transfer coding is taken for chunked when the word is somewhere in it."""

    connection_class = _AnyCoding


class _UnknownIgnored(_Reframed):
    def reframed(self, headers: _Headers) -> _Headers:
        return [pair for pair in headers if pair[0] != "transfer-encoding" or pair[1] == "chunked"]


@mutant("ROB-HTTP-07")
class UnknownCodingsIgnored(Tiny):
    """A transfer coding that is not known is none, and the chunks are the next request."""

    connection_class = _UnknownIgnored


class _OldChunks(Connection):
    def check_framing(self, version: str, lengths: list[str], codings: list[str]) -> None:
        super().check_framing("HTTP/1.1", lengths, codings)

    def wants_close(self, request: Request) -> bool:
        request.version = "HTTP/1.1"
        return super().wants_close(request)


@mutant("ROB-HTTP-07")
class ChunksInOldVersions(Tiny):
    """HTTP/1.0 with chunks is served as if it were HTTP/1.1, on a kept connection."""

    connection_class = _OldChunks


class _Lengths(Connection):
    def reframed(self, values: list[str]) -> list[str]:
        return values

    def body_of(self, version: str, headers: _Headers) -> StreamBody:
        lengths = [value for name, value in headers if name == "content-length"]
        rest = [pair for pair in headers if pair[0] != "content-length"]
        return super().body_of(
            version, [*rest, *(("content-length", value) for value in self.reframed(lengths))]
        )


class _PythonInt(_Lengths):
    def reframed(self, values: list[str]) -> list[str]:
        with suppress(ValueError):
            return [str(int(value)) for value in values]
        return values


@mutant("ROB-HTTP-08")
class LengthsAsPythonReadsThem(Tiny):
    """`+5` and `5_0` are lengths."""

    connection_class = _PythonInt


class _FirstLength(_Lengths):
    def reframed(self, values: list[str]) -> list[str]:
        return values[:1]


@mutant("ROB-HTTP-08")
class FirstOfTwoLengths(Tiny):
    """Of two lengths the first is believed."""

    connection_class = _FirstLength


class _LastLength(_Lengths):
    def reframed(self, values: list[str]) -> list[str]:
        return [value.rpartition(",")[2].strip() for value in values[-1:]]


@mutant("ROB-HTTP-08")
class LastOfTwoLengths(Tiny):
    """Of two lengths the last is believed, in a list too."""

    connection_class = _LastLength


class _Atoi(_Lengths):
    def reframed(self, values: list[str]) -> list[str]:
        return [(re.match("[0-9]*", value) or [""])[0] or "0" for value in values]


@mutant("ROB-HTTP-08")
class LengthsUpToTheFirstStrangeLetter(Tiny):
    """A length is read as far as it has digits."""

    connection_class = _Atoi


class _NoLength(_Lengths):
    def reframed(self, values: list[str]) -> list[str]:
        return [value for value in values if re.fullmatch("[0-9]{1,19}", value)]


@mutant("ROB-HTTP-08")
class BadLengthsIgnored(Tiny):
    """A length that is none is as good as no header."""

    connection_class = _NoLength

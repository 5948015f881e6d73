"""ROB-HTTP broken: old, odd, huge and malformed heads."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tests.conformance.mutants import mutant
from tests.conformance.tiny import Broken, Connection, Refused, Response, Tiny
from tests.conformance.tiny.stream import Stream

if TYPE_CHECKING:
    from tests.conformance.tiny import Request
    from tests.conformance.tiny.stream import StreamBody

_Headers = list[tuple[str, str]]


class _KeepsOld(Connection):
    def wants_close(self, request: Request) -> bool:
        return "close" in (request.get("connection") or "").lower()


@mutant("ROB-HTTP-09")
class OldVersionsAreKept(Tiny):
    """A client of HTTP/1.0 waits for a close that does not come."""

    connection_class = _KeepsOld


class _AsksOld(Connection):
    def body_of(self, version: str, headers: _Headers) -> StreamBody:
        is_framed = any(name == "content-length" for name, _ in headers)
        return super().body_of("HTTP/1.1" if is_framed else version, headers)


@mutant("ROB-HTTP-09")
class ContinueInOldVersions(Tiny):
    """A client of HTTP/1.0 is told 100, which it does not know."""

    connection_class = _AsksOld


class _ChunkedAnswers(Connection):
    def encoded(self, request: Request | None, response: Response) -> bytes:
        if request is not None and request.version == "HTTP/1.0":
            response.set("Transfer-Encoding", "chunked")
        return super().encoded(request, response)


@mutant("ROB-HTTP-09")
class ChunkedInOldVersions(Tiny):
    """Answers to HTTP/1.0 are chunked."""

    connection_class = _ChunkedAnswers


@mutant("ROB-HTTP-09")
class LocationOfNoHost(Tiny):
    """Without a Host the created upload is nowhere."""

    def create(self, request: Request) -> Response:
        response = super().create(request)
        host = request.get("host") or ""
        return response.set("Location", f"http://{host}{response.get('Location')}")


class _AnyHost(Connection):
    def check_host(self, version: str, headers: _Headers) -> None:
        """All is well."""


class _OneHost(Connection):
    def check_host(self, version: str, headers: _Headers) -> None:
        super().check_host("HTTP/1.0", headers)


class _FirstHost(Connection):
    def check_host(self, version: str, headers: _Headers) -> None:
        hosts = [pair for pair in headers if pair[0] == "host"]
        super().check_host(version, hosts[:1])


@mutant("ROB-HTTP-10")
class NoHostNeeded(Tiny):
    """HTTP/1.1 without a Host is served."""

    connection_class = _OneHost


@mutant("ROB-HTTP-10")
class FirstOfTwoHosts(Tiny):
    """Of two Host headers the first is believed."""

    connection_class = _FirstHost


@mutant("ROB-HTTP-10")
class LocationOfAnyHost(Tiny):
    """Whatever is in Host goes into the Location."""

    class connection_class(_FirstHost):
        def check_host(self, version: str, headers: _Headers) -> None:
            values = [pair for pair in headers if pair[0] == "host"]
            super(_FirstHost, self).check_host(version, [("host", "x")] * len(values))

    def create(self, request: Request) -> Response:
        response = super().create(request)
        host = request.get("host") or ""
        return response.set("Location", f"http://{host}{response.get('Location')}")


@mutant("ROB-HTTP-10")
class LocationOfDecodedHost(Tiny):
    """Host is decoded on its way into the Location, so that a line end comes out of it."""

    class connection_class(Connection):
        def check_host(self, version: str, headers: _Headers) -> None:
            values = [pair for pair in headers if pair[0] == "host"]
            has_markup = any(set(value) & set('"<>\t') for _, value in values)
            shown = [("host", '"' if has_markup else "x")] * len(values)
            super().check_host(version, shown)

    def create(self, request: Request) -> Response:
        response = super().create(request)
        host = unquote(request.get("host") or "")
        return response.set("Location", f"http://{host}{response.get('Location')}")


@mutant("ROB-HTTP-10")
class EmptyHostUnexpected(Tiny):
    """An empty Host ends in an exception."""

    def create(self, request: Request) -> Response:
        if request.get("host") == "":
            raise Refused(500)
        return super().create(request)


@mutant("ROB-HTTP-11")
class StrangersMustSpeakHttp(Tiny):
    """X-Forwarded-Proto is believed, and refused where it is neither http nor https."""

    def create(self, request: Request) -> Response:
        if request.get("x-forwarded-proto") not in (None, "http", "https"):
            raise Refused(400)
        return super().create(request)


class _HugeIsAnError(Connection):
    def read_head(self) -> str | None:
        try:
            return super().read_head()
        except Refused as refused:
            if refused.response.status == 431:
                refused.response.status = 500
            raise


@mutant("ROB-HTTP-12")
class HugeHeadsAreAnError(Tiny):
    """A head beyond the buffer ends in an exception."""

    connection_class = _HugeIsAnError


class _HugeIsSilent(Connection):
    def read_head(self) -> str | None:
        try:
            return super().read_head()
        except Refused as refused:
            if refused.response.status == 431:
                time.sleep(15.0)
            raise


@mutant("ROB-HTTP-12")
class HugeHeadsHang(Tiny):
    """A head beyond the buffer is never answered."""

    connection_class = _HugeIsSilent


class _HugeIsFatal(Connection):
    def read_head(self) -> str | None:
        try:
            return super().read_head()
        except Refused as refused:
            if refused.response.status == 431:
                self.server.__exit__(None, None, None)
            raise


@mutant("ROB-HTTP-12")
class HugeHeadsKill(Tiny):
    """A head beyond the buffer is refused, and takes the whole server with it."""

    connection_class = _HugeIsFatal


class _ManyFieldsAreAnError(Connection):
    def header(self, line: str) -> tuple[str, str]:
        if line.startswith("X-99:"):
            raise Refused(500, closes=True)
        return super().header(line)


@mutant("ROB-HTTP-12")
class ManyFieldsAreAnError(Tiny):
    """The hundredth header ends in an exception."""

    connection_class = _ManyFieldsAreAnError


class _StrictHeader(Connection):
    def read_request(self) -> Request | None:
        try:
            return super().read_request()
        except Refused as refused:
            if refused.response.status == 400 and b"header" in refused.response.body:
                refused.response.status = 500
            raise


@mutant("ROB-HTTP-13")
class MalformedHeadersAreAnError(Tiny):
    """A header line that is none ends in an exception."""

    connection_class = _StrictHeader


class _WaitsForCrLf(Stream):
    def head(self, largest: int) -> bytes | None:
        while b"\r\n\r\n" not in self.buffer:
            if len(self.buffer) > largest:
                raise Refused(431, "Too large a head.", closes=True)
            try:
                self.more()
            except Broken:
                return None
        return super().head(largest)


class _Strict(Connection):
    stream_class = _WaitsForCrLf


@mutant("ROB-HTTP-13")
class LineFeedsHang(Tiny):
    """A head whose lines end in line feeds only is waited for to its end."""

    connection_class = _Strict


@mutant("ROB-HTTP-13")
class AsteriskUnexpected(Tiny):
    """`OPTIONS *` ends in an exception."""

    def options(self, request: Request) -> Response:
        if request.target == "*":
            raise Refused(500)
        return super().options(request)


class _NulKills(Connection):
    def read_head(self) -> str | None:
        try:
            return super().read_head()
        except Refused:
            self.server.__exit__(None, None, None)
            raise


@mutant("ROB-HTTP-13")
class StrayBytesKill(Tiny):
    """A NUL in a head takes the whole server with it."""

    connection_class = _NulKills


class _OneRead(Stream):
    def head(self, largest: int) -> bytes | None:
        if not self.buffer:
            try:
                self.more()
            except Broken:
                return None
        if b"\r\n\r\n" not in self.buffer and len(self.buffer) < 1024:
            raise Refused(400, "No whole head.", closes=True)
        return super().head(largest)


@mutant("ROB-HTTP-19")
class HeadsInOneRead(Tiny):
    """A head that does not come in one piece is no good."""

    class connection_class(Connection):
        stream_class = _OneRead

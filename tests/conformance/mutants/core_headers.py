"""CORE-HDR broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conformance.mutants import mutant
from tests.conformance.tiny import Connection, Refused, Response, Tiny

if TYPE_CHECKING:
    from tests.conformance.tiny import Request, Upload


@mutant("CORE-HDR-01")
class OffsetTwice(Tiny):
    """Two layers put Upload-Offset into the answer to PATCH."""

    def patch(self, request: Request) -> Response:
        response = super().patch(request)
        return response.add("Upload-Offset", response.get("Upload-Offset") or "")


@mutant("CORE-HDR-01")
class OffsetWithFraction(Tiny):
    """All numbers are floats: an offset of 4 is told as 4.0."""

    def answer(self, request: Request) -> Response:
        response = super().answer(request)
        offset = response.get("Upload-Offset")
        return response if offset is None else response.set("Upload-Offset", f"{offset}.0")


@mutant("CORE-HDR-02")
class UnknownLengthIsMinusOne(Tiny):
    """The length of an upload of deferred length is told as -1."""

    def described(self, upload: Upload, response: Response) -> Response:
        response = super().described(upload, response)
        return response if upload.length is not None else response.set("Upload-Length", -1)


@mutant("CORE-HDR-03")
class OverrideIsIgnored(Tiny):
    """X-HTTP-Method-Override was never heard of."""

    def method_of(self, request: Request) -> str:
        return request.method


@mutant("CORE-HDR-03")
class OverrideOfPatchOnly(Tiny):
    """Only PATCH can be put in the place of POST."""

    def method_of(self, request: Request) -> str:
        if request.get("x-http-method-override") in ("DELETE", "HEAD"):
            raise Refused(400, "X-HTTP-Method-Override: PATCH.")
        return super().method_of(request)


@mutant("CORE-HDR-03")
class OverrideOfHeadIgnored(Tiny):
    """HEAD cannot be put in the place of POST."""

    def method_of(self, request: Request) -> str:
        is_head = request.get("x-http-method-override") == "HEAD"
        return request.method if is_head else super().method_of(request)


@mutant("CORE-HDR-05")
class UnknownOverrideCreates(Tiny):
    """An override that it does not know is ignored, and the POST is a creation."""

    def method_of(self, request: Request) -> str:
        try:
            return super().method_of(request)
        except Refused:
            return request.method


@mutant("CORE-HDR-05")
class UnknownOverrideIsServerError(Tiny):
    """The name of the method is looked up in a table, unchecked."""

    def method_of(self, request: Request) -> str:
        try:
            return super().method_of(request)
        except Refused:
            raise Refused(500, "Internal Server Error") from None


@mutant("CORE-HDR-05")
class OverrideOfGetIsServerError(Tiny):
    """The body that DELETE by override wants to read is not there on a GET."""

    def method_of(self, request: Request) -> str:
        if request.method == "GET" and "x-http-method-override" in request:
            raise Refused(500, "Internal Server Error")
        return super().method_of(request)


class _LowerCaseUnknown(Connection):
    def header(self, line: str) -> tuple[str, str]:
        name, value = super().header(line)
        return (f"x-{name}" if line.startswith("upload-") else name), value


@mutant("CORE-HDR-06")
class LowerCaseNamesUnknown(Tiny):
    """Headers are looked up as the specification spells them; `upload-offset` is not found."""

    connection_class = _LowerCaseUnknown


class _UpperCaseUnknown(Connection):
    def header(self, line: str) -> tuple[str, str]:
        name, value = super().header(line)
        return (f"x-{name}" if line.startswith("TUS-") else name), value


@mutant("CORE-HDR-06")
class UpperCaseNamesUnknown(Tiny):
    """Only the usual spelling and lower case are looked up; `TUS-RESUMABLE` is not found."""

    connection_class = _UpperCaseUnknown


class _OneBlank(Connection):
    def header(self, line: str) -> tuple[str, str]:
        name, value = super().header(line)
        raw = line.partition(":")[2]
        return name, raw.removeprefix(" ") if name == "upload-offset" else value


@mutant("CORE-HDR-06")
class OneBlankOnly(Tiny):
    """One blank behind the colon is taken away, further ones belong to the value."""

    connection_class = _OneBlank

"""CORE-GEN and CORE-VER broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conformance.mutants import mutant
from tests.conformance.tiny import Refused, Response, Tiny

if TYPE_CHECKING:
    from tests.conformance.tiny import Request


@mutant("CORE-GEN-01")
class PatchOnlyByOverride(Tiny):
    """Something in front lets no PATCH through; only POST with the override gets to the server."""

    def route(self, request: Request) -> Response:
        if request.method == "PATCH":
            raise Refused(405, "Not here.", Allow="GET, HEAD, POST, OPTIONS")
        return super().route(request)


@mutant("CORE-GEN-01")
class NoHead(Tiny):
    """HEAD is not implemented."""

    def route(self, request: Request) -> Response:
        if request.method == "HEAD":
            raise Refused(501, "Not implemented.")
        return super().route(request)


@mutant("CORE-VER-01")
class RefusalsWithoutVersion(Tiny):
    """Errors come from another layer, which knows nothing of Tus-Resumable."""

    def dressed(self, request: Request | None, response: Response) -> Response:
        response = super().dressed(request, response)
        return response.drop("Tus-Resumable") if response.status >= 400 else response


@mutant("CORE-VER-01")
class CreationWithoutVersion(Tiny):
    """The answer to a creation was forgotten."""

    def dressed(self, request: Request | None, response: Response) -> Response:
        response = super().dressed(request, response)
        return response.drop("Tus-Resumable") if response.status == 201 else response


@mutant("CORE-VER-01")
class VersionIsThatOfTheProduct(Tiny):
    """Tus-Resumable holds the version of the software."""

    def dressed(self, request: Request | None, response: Response) -> Response:
        return super().dressed(request, response).set("Tus-Resumable", "2.4.1")


@mutant("CORE-VER-03")
class HeadOfAnyVersion(Tiny):
    """The version is checked on what changes something only."""

    def check_version(self, request: Request, method: str) -> None:
        if method != "HEAD":
            super().check_version(request, method)


@mutant("CORE-VER-03")
class OtherVersionsAreBadRequests(Tiny):
    """400 instead of 412."""

    def check_version(self, request: Request, method: str) -> None:
        try:
            super().check_version(request, method)
        except Refused as refused:
            refused.response.status = 400
            raise


@mutant("CORE-VER-03")
class VersionsThatBeginTheSame(Tiny):
    """`1.0` is good enough, as `1.0.0` begins so."""

    def check_version(self, request: Request, method: str) -> None:
        if not self.version.startswith(request.get("tus-resumable") or "x"):
            super().check_version(request, method)


@mutant("CORE-VER-04")
class RefusedVersionsWithoutList(Tiny):
    """412 does not say what it wants."""

    def answer(self, request: Request) -> Response:
        response = super().answer(request)
        return response.drop("Tus-Version") if response.status == 412 else response


@mutant("CORE-VER-04")
class RefusedVersionsWithAnotherList(Tiny):
    """412 tells another list than OPTIONS."""

    def answer(self, request: Request) -> Response:
        response = super().answer(request)
        return response.set("Tus-Version", "1") if response.status == 412 else response


@mutant("CORE-VER-05")
class VersionIsCheckedLast(Tiny):
    """The version is checked when all is done, as if it were about the answer."""

    def route(self, request: Request) -> Response:
        method = self.method_of(request)
        if method == "OPTIONS":
            return self.options(request)
        response = self.handler(method, request)(request)
        self.check_version(request, method)
        return response


@mutant("CORE-VER-05")
class DeletedBeforeVersionIsChecked(Tiny):
    """DELETE is done before the version is looked at."""

    def check_version(self, request: Request, method: str) -> None:
        try:
            super().check_version(request, method)
        except Refused:
            if method == "DELETE":
                self.delete(request)
            raise


@mutant("CORE-VER-06")
class MissingVersionIsGuessed(Tiny):
    """A request without Tus-Resumable is served."""

    def check_version(self, request: Request, method: str) -> None:
        if "tus-resumable" in request:
            super().check_version(request, method)


@mutant("CORE-VER-07")
class ListOfVersionsInBlanks(Tiny):
    """Versions with blanks instead of commas between them."""

    def versions(self) -> str:
        return "1.0.0 0.2.2"


@mutant("CORE-VER-07")
class ListOfVersionsWithName(Tiny):
    """Tus-Version names the protocol too."""

    def versions(self) -> str:
        return "tus/1.0.0"


@mutant("CORE-VER-08")
class OptionsRefusesVersions(Tiny):
    """OPTIONS goes through the check of the version as all the others."""

    def options(self, request: Request) -> Response:
        if "tus-resumable" in request:
            self.check_version(request, "OPTIONS")
        return super().options(request)


@mutant("CORE-VER-08")
class OptionsTellsOldClientsLess(Tiny):
    """Extensions are told only to those who name a version that is known."""

    def options(self, request: Request) -> Response:
        response = super().options(request)
        if request.get("tus-resumable") not in (None, self.version):
            response.drop("Tus-Extension")
        return response

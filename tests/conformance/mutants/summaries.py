"""Servers that give themselves away somewhere in a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conformance.mutants import mutant
from tests.conformance.tiny import Refused, Tiny

if TYPE_CHECKING:
    from tests.conformance.tiny import Request, Upload


@mutant("ROB-SEC-07")
class RefusalNamesTheFile(Tiny):
    """What is not there is told by the path of the file."""

    def upload_of(self, request: Request) -> Upload:
        try:
            return super().upload_of(request)
        except Refused as refused:
            path = f"/srv/data/uploads/{self.id_of(request.path)}.info"
            refused.response.body = f"open {path}: no such file or directory\n".encode()
            raise


@mutant("ROB-SEC-07")
class RefusalIsTrace(Tiny):
    """Answers 400 with what the interpreter says."""

    def number(self, request: Request, name: str) -> int:
        try:
            return super().number(request, name)
        except Refused as refused:
            refused.response.body = b"Traceback (most recent call last):\n  ValueError\n"
            raise


@mutant("ROB-SEC-07")
class RefusalIsPage(Tiny):
    """Refusals are pages that show what was asked for."""

    def upload_of(self, request: Request) -> Upload:
        try:
            return super().upload_of(request)
        except Refused as refused:
            refused.response.set("Content-Type", "text/html")
            refused.response.body = f"<p>{request.target} not found</p>".encode()
            raise


@mutant("ROB-SEC-09")
class MissingNumberIsUnavailable(Tiny):
    """A number that is missing is answered as if the server were overloaded, for how long it does
    not say.
    """

    def number(self, request: Request, name: str) -> int:
        if name.lower() not in request:
            raise Refused(503, "Service Unavailable")
        return super().number(request, name)


@mutant("ROB-SEC-09")
class MissingNumberIsServerError(Tiny):
    """A number that is missing is a server error."""

    def number(self, request: Request, name: str) -> int:
        if name.lower() not in request:
            raise Refused(500, "Internal Server Error")
        return super().number(request, name)

"""EXP broken."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import TYPE_CHECKING

from conformance.verdict import Verdict
from tests.conformance.mutants import mutant
from tests.conformance.tiny import Broken, Refused, Request, Response, Tiny

if TYPE_CHECKING:
    from tests.conformance.tiny import Upload


@mutant("EXP-02")
class SecretDeadline(Tiny):
    """Upload-Expires is sent, and expiration not announced."""

    def options(self, request: Request) -> Response:
        response = super().options(request)
        shown = (each for each in self.extensions if each != "expiration")
        return response.set("Tus-Extension", ",".join(shown))


@mutant("EXP-03")
class PatchTellsNoDeadline(Tiny):
    """Only the creation tells when an upload expires."""

    def patch(self, request: Request) -> Response:
        return super().patch(request).drop("Upload-Expires")


@mutant("EXP-04", Verdict.WARN)
class CreationTellsNoDeadline(Tiny):
    """Only PATCH tells when an upload expires."""

    def created(self, upload: Upload) -> Response:
        return super().created(upload).drop("Upload-Expires")


@mutant("EXP-05")
class DeadlineInIsoForm(Tiny):
    """The deadline is told as ISO 8601 has it."""

    def expiry_date(self, upload: Upload) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(upload.expires))


@mutant("EXP-05")
class DeadlineInLocalTime(Tiny):
    """The deadline is told with a zone in figures."""

    def expiry_date(self, upload: Upload) -> str:
        return formatdate(upload.expires)


@mutant("EXP-06")
class DeadlineIsThePast(Tiny):
    """The time of the last change is told instead of the deadline."""

    def expiry_date(self, upload: Upload) -> str:
        return formatdate(upload.expires - self.lifetime - 5, usegmt=True)


@mutant("EXP-07")
class NothingExpires(Tiny):
    """The deadline passes, and the upload stays."""

    lifetime = 1.0

    def check_there(self, upload: Upload) -> None:
        if upload.is_gone:
            super().check_there(upload)


@mutant("EXP-09", Verdict.INFO)
class HeadTellsNoDeadline(Tiny):
    """HEAD does not tell when the upload expires."""

    def head(self, request: Request) -> Response:
        return super().head(request).drop("Upload-Expires")


@mutant("EXP-10")
class FinishedExpireToo(Tiny):
    """What is finished is removed at the deadline that it had before."""

    lifetime = 1.0

    def check_there(self, upload: Upload) -> None:
        super().check_there(upload)
        if time.time() > upload.expires:
            raise Refused(410, "The upload has expired.")


@mutant("EXP-11")
class TornByExpiry(Tiny):
    """The sweeper removes the bytes under a running PATCH, and the upload begins at 0 again."""

    lifetime = 1.0

    def append_as_it_comes(self, request: Request, upload: Upload, room: int) -> None:
        deadline = upload.expires
        while piece := request.body.read():
            self.store(upload, piece[:room])
            room -= len(piece)
            if time.time() > deadline:
                upload.data.clear()
                self.prolong(upload)
                raise Broken

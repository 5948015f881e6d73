"""CORE-HEAD broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conformance.mutants import mutant
from tests.conformance.tiny import Response, Tiny

if TYPE_CHECKING:
    from tests.conformance.tiny import Upload


@mutant("CORE-HEAD-01")
class NoOffsetAtZero(Tiny):
    """HEAD of a fresh upload tells no offset, as a zero counts as nothing."""

    def described(self, upload: Upload, response: Response) -> Response:
        response = super().described(upload, response)
        return response if upload.offset else response.drop("Upload-Offset")

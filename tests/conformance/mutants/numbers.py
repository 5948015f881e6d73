"""ROB-NUM broken."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from tests.conformance.mutants import mutant
from tests.conformance.tiny import Refused, Request, Response, Tiny

if TYPE_CHECKING:
    from tests.conformance.tiny import Upload

_COUNTER = 2**64


class _Lenient(Tiny):
    """Takes for a number what Python's int() does, in the header named."""

    header = ""

    def number(self, request: Request, name: str) -> int:
        values = request.all(name)
        if name == self.header and values:
            with suppress(ValueError):
                # As frameworks do it that decode header values as UTF-8.
                return int(values[0].encode("latin-1").decode("utf-8", "replace"))
        return super().number(request, name)


@mutant("ROB-NUM-01")
class LengthByInt(_Lenient):
    """Upload-Length goes through int(), which takes signs, underscores and digits of any script."""

    header = "Upload-Length"


@mutant("ROB-NUM-01")
class LengthUpToTheFirstOddity(Tiny):
    """Upload-Length is read as C's strtoll does it: up to what is no digit."""

    def number(self, request: Request, name: str) -> int:
        text = request.get(name) or ""
        digits = text[: len(text) - len(text.lstrip("0123456789"))]
        if name == "Upload-Length" and digits:
            return int(digits[:19])
        return super().number(request, name)


@mutant("ROB-NUM-02")
class OffsetByInt(_Lenient):
    """Upload-Offset goes through int()."""

    header = "Upload-Offset"


@mutant("ROB-NUM-02")
class NoOffsetIsZero(Tiny):
    """An Upload-Offset that is no number counts as zero."""

    def number(self, request: Request, name: str) -> int:
        try:
            return super().number(request, name)
        except Refused:
            if name == "Upload-Offset" and name in request:
                return 0
            raise


@mutant("ROB-NUM-03")
class LengthIsAFloat(Tiny):
    """Lengths go through a double, as in JavaScript."""

    max_size = 2**62

    def number(self, request: Request, name: str) -> int:
        return int(float(super().number(request, name)))


@mutant("ROB-NUM-04")
class RoomIsTakenAtOnce(Tiny):
    """The file is made as long as announced at once, and what the disk says to that is a 500."""

    max_size = 2**63

    def create(self, request: Request) -> Response:
        if len(request.get("upload-length") or "") > 15:
            raise Refused(500, "File too large")
        return super().create(request)


@mutant("ROB-NUM-05")
class OffsetsWrap(Tiny):
    """Offsets are counted in 64 bits, and one of 2^64 is one of 0."""

    def is_number(self, text: str) -> bool:
        return text.isascii() and text.isdecimal()

    def check_offset(self, upload: Upload, offset: int) -> None:
        super().check_offset(upload, offset % _COUNTER)


class _TakesOneOf(Tiny):
    """Of several values one counts."""

    header, index = "", 0

    def number(self, request: Request, name: str) -> int:
        values = request.all(name)
        if name == self.header and len(values) > 1:
            request.set(name, values[self.index])
        return super().number(request, name)


@mutant("ROB-NUM-06")
class FirstOffsetWins(_TakesOneOf):
    """Of two Upload-Offsets the first counts."""

    header, index = "Upload-Offset", 0


@mutant("ROB-NUM-06")
class LastLengthWins(_TakesOneOf):
    """Of two Upload-Lengths the last counts."""

    header, index = "Upload-Length", -1


@mutant("ROB-NUM-06")
class AnyVersionWillDo(Tiny):
    """Of two versions one that is spoken is enough."""

    def check_version(self, request: Request, method: str) -> None:
        if self.version in request.all("tus-resumable"):
            return
        super().check_version(request, method)

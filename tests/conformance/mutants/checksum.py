"""CHK broken."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from tests.conformance.mutants import mutant
from tests.conformance.tiny import Broken, Refused, Request, Response, Tiny
from tests.conformance.tiny.appending import SIZES

if TYPE_CHECKING:
    from tests.conformance.tiny import Upload

Digests = list[tuple[str, bytes]]


@mutant("CHK-02")
class SecretChecksum(Tiny):
    """Digests are verified, and checksum is not announced."""

    def options(self, request: Request) -> Response:
        shown = (each for each in self.extensions if not each.startswith("checksum"))
        return super().options(request).set("Tus-Extension", ",".join(shown))


@mutant("CHK-03")
class NoListOfAlgorithms(Tiny):
    """OPTIONS does not tell which algorithms there are."""

    def options(self, request: Request) -> Response:
        return super().options(request).drop("Tus-Checksum-Algorithm")


@mutant("CHK-04")
class NamesInCapitals(Tiny):
    """Algorithms are listed in capitals, too."""

    def algorithms(self) -> str:
        return f"{super().algorithms()},SHA-224"


@mutant("CHK-05")
class NoSha1(Tiny):
    """sha1 counts as unsafe, and is not there."""

    def algorithms(self) -> str:
        return ",".join(name for name in SIZES if name != "sha1")

    def parsed_digest(self, value: str) -> tuple[str, bytes]:
        if value.startswith("sha1"):
            raise Refused(400, "No sha1 any more.")
        return super().parsed_digest(value)


@mutant("CHK-07")
class DigestInHex(Tiny):
    """Digests are taken in hexadecimal, not in Base64."""

    def parsed_digest(self, value: str) -> tuple[str, bytes]:
        algorithm, _, text = value.partition(" ")
        try:
            return algorithm, bytes.fromhex(text)
        except ValueError:
            raise Refused(400, "No hexadecimal digest.") from None


class _NeverVerifies(Tiny):
    def computed(self, algorithm: str, data: bytes) -> bytes:
        """Whatever is expected: see append_verified."""
        return self.expected

    expected = b""

    def expected_digests(self, request: Request) -> Digests:
        found = super().expected_digests(request)
        self.expected = found[0][1] if found else b""
        return found


@mutant("CHK-08")
class NeverVerified(_NeverVerifies):
    """The header is parsed, and the digest never compared."""


@mutant("CHK-09")
class MismatchIsA500(Tiny):
    """A digest that does not match falls through to an error of the server."""

    def append_verified(
        self,
        request: Request,
        upload: Upload,
        length: int | None,
        room: int,
        digests: Digests,
    ) -> None:
        try:
            super().append_verified(request, upload, length, room, digests)
        except Refused as refused:
            refused.response.status = 500
            raise


@mutant("CHK-10")
class UnknownAlgorithmsPass(Tiny):
    """A digest of an algorithm that the server does not know is not verified."""

    def expected_digests(self, request: Request) -> Digests:
        name = (request.get("upload-checksum") or "").partition(" ")[0]
        if name and name not in SIZES:
            return []
        return super().expected_digests(request)


@mutant("CHK-11")
class StoredBeforeItIsVerified(Tiny):
    """The bytes are stored as they come, and only the answer tells that they do not match."""

    def append_verified(
        self,
        request: Request,
        upload: Upload,
        length: int | None,
        room: int,
        digests: Digests,
    ) -> None:
        before = upload.offset
        self.append_as_it_comes(request, upload, room)
        for algorithm, digest in digests:
            if self.computed(algorithm, bytes(upload.data[before:])) != digest:
                raise Refused(460, "The digest is another.")


@mutant("CHK-11")
class OffsetGoesBackOnly(Tiny):
    """After a mismatch the offset is set back, and the bytes stay before those that come next."""

    def append_verified(
        self,
        request: Request,
        upload: Upload,
        length: int | None,
        room: int,
        digests: Digests,
    ) -> None:
        data = bytearray()
        while piece := request.body.read():
            data += piece
        digests = digests or [self.digest_of_trailer(request)]
        for algorithm, digest in digests:
            if self.computed(algorithm, bytes(data)) != digest:
                self.left_over[upload.id] = bytes(data)
                raise Refused(460, "The digest is another.")
        upload.length = length
        left = self.left_over.pop(upload.id, b"")
        self.store(upload, (left + bytes(data))[: len(data)])

    left_over: dict[str, bytes] = {}  # noqa: RUF012 - ids are unique


@mutant("CHK-12")
class OutOfFormIsIgnored(Tiny):
    """A header that cannot be parsed counts as absent."""

    def expected_digests(self, request: Request) -> Digests:
        try:
            return super().expected_digests(request)
        except Refused:
            name = (request.get("upload-checksum") or "").partition(" ")[0]
            if name in SIZES or not name:
                return []
            raise


@mutant("CHK-13")
class Md5IsAnother(Tiny):
    """md5 is announced and computed over one byte too few."""

    def computed(self, algorithm: str, data: bytes) -> bytes:
        return super().computed(algorithm, data[:-1] if algorithm == "md5" else data)


@mutant("CHK-14")
class CapitalsPassUnverified(Tiny):
    """SHA1 is taken for a name, and found in no table."""

    def expected_digests(self, request: Request) -> Digests:
        if (request.get("upload-checksum") or "").startswith("SHA1"):
            return []
        return super().expected_digests(request)


@mutant("CHK-15")
class HalfIsCountedWhole(Tiny):
    """A body cut short is padded to its length."""

    def append_verified(
        self,
        request: Request,
        upload: Upload,
        length: int | None,
        room: int,
        digests: Digests,
    ) -> None:
        try:
            super().append_verified(request, upload, length, room, digests)
        except Broken:
            self.store(upload, bytes(request.body.length or 0))
            raise


@mutant("CHK-16")
class EmptyBodiesHaveNoDigest(Tiny):
    """A digest without bytes is refused."""

    def expected_digests(self, request: Request) -> Digests:
        if "upload-checksum" in request and request.body.length == 0:
            raise Refused(400, "Nothing to verify.")
        return super().expected_digests(request)


@mutant("CHK-17")
class ChunkedIsNotVerified(Tiny):
    """Only bodies of known length are verified."""

    def expected_digests(self, request: Request) -> Digests:
        return [] if request.body.length is None else super().expected_digests(request)


@mutant("CHK-18")
class LastChunkPasses(Tiny):
    """What completes an upload is stored before it is verified."""

    def append_verified(
        self,
        request: Request,
        upload: Upload,
        length: int | None,
        room: int,
        digests: Digests,
    ) -> None:
        if request.body.length == room and upload.offset:
            self.append_as_it_comes(request, upload, room)
            raise Refused(460, "The digest is another.")
        super().append_verified(request, upload, length, room, digests)


@mutant("CHK-19")
class RefusedBytesDeclareALength(Tiny):
    """The length that came with bytes which do not match is kept."""

    def append(self, request: Request, upload: Upload, length: int | None) -> None:
        super().append(request, upload, length)

    def declared_length(self, request: Request, upload: Upload) -> int | None:
        upload.length = super().declared_length(request, upload)
        return upload.length


@mutant("CHK-20")
class DigestFirst(Tiny):
    """A header out of form or a digest is judged before the offset, and not as a conflict."""

    def check_offset(self, upload: Upload, offset: int) -> None:
        if offset != upload.offset:
            raise Refused(400, "Something is wrong.")


@mutant("CHK-21")
class HeadShowsUnverified(Tiny):
    """Bytes are counted while they come, and taken back when the body breaks off."""

    def head(self, request: Request) -> Response:
        upload = self.upload_of(request)
        return self.described(upload, Response(200))

    def append_verified(
        self,
        request: Request,
        upload: Upload,
        length: int | None,
        room: int,
        digests: Digests,
    ) -> None:
        before = upload.offset
        try:
            self.append_as_it_comes(request, upload, room)
        except Broken:
            del upload.data[before:]
            raise
        if any(self.computed(name, bytes(upload.data[before:])) != each for name, each in digests):
            del upload.data[before:]
            raise Refused(460, "The digest is another.")


@mutant("CHK-21")
class HeadShowsUntilItMismatches(HeadShowsUnverified):
    """Bytes are counted while they come; a prefix stays, and a whole body that does not match is
    taken back.
    """

    def append_verified(
        self,
        request: Request,
        upload: Upload,
        length: int | None,
        room: int,
        digests: Digests,
    ) -> None:
        before = upload.offset
        self.append_as_it_comes(request, upload, room)
        if any(self.computed(name, bytes(upload.data[before:])) != each for name, each in digests):
            del upload.data[before:]
            raise Refused(460, "The digest is another.")


def decoded(text: str) -> bytes:
    """Base64 as lenient parsers take it."""
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return b""


@mutant("CHK-12")
class LenientBase64(Tiny):
    """Whatever follows the digest is passed over, and so is what is not Base64."""

    def parsed_digest(self, value: str) -> tuple[str, bytes]:
        algorithm, _, rest = value.partition(" ")
        words = rest.split()
        if algorithm == "sha1" and words:
            return algorithm, decoded(words[0].partition(",")[0])
        return super().parsed_digest(value)

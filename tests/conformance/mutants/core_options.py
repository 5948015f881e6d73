"""CORE-OPT broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conformance.mutants import mutant
from tests.conformance.tiny import Refused, Response, Tiny

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conformance.tiny import Request


@mutant("CORE-OPT-01")
class OptionsWithoutVersions(Tiny):
    """OPTIONS is answered by the CORS layer alone in its way."""

    def options(self, request: Request) -> Response:
        return super().options(request).drop("Tus-Version")


@mutant("CORE-OPT-02")
class NoOptions(Tiny):
    """OPTIONS is no method that it knows."""

    def options(self, request: Request) -> Response:
        raise Refused(405, "Not here.", Allow="POST")


@mutant("CORE-OPT-03")
class NoExtensionsAsEmptyHeader(Tiny):
    """Without any extension there is a header without a value."""

    extensions = ()

    def options(self, request: Request) -> Response:
        return super().options(request).set("Tus-Extension", "")


@mutant("CORE-OPT-03")
class ExtensionsWithCommaAtTheEnd(Tiny):
    """A comma behind each extension."""

    def options(self, request: Request) -> Response:
        return super().options(request).set("Tus-Extension", f"{','.join(self.extensions)},")


@mutant("CORE-OPT-03")
class ExtensionsBetweenBlanks(Tiny):
    """Blanks between extensions."""

    def options(self, request: Request) -> Response:
        return super().options(request).set("Tus-Extension", " ".join(self.extensions))


@mutant("CORE-OPT-03")
class ExtensionsTwice(Tiny):
    """Two stores both add what they can do."""

    def options(self, request: Request) -> Response:
        return super().options(request).add("Tus-Extension", "creation,termination")


@mutant("CORE-OPT-04")
class NoMaximumIsMinusOne(Tiny):
    """No limit is announced as -1."""

    max_size = 2**62

    def options(self, request: Request) -> Response:
        return super().options(request).set("Tus-Max-Size", -1)


@mutant("CORE-OPT-04")
class MaximumWithUnit(Tiny):
    """The maximum as in the configuration."""

    def options(self, request: Request) -> Response:
        return super().options(request).set("Tus-Max-Size", "1TiB")


@mutant("CORE-OPT-05")
class MaximumNotTold(Tiny):
    """There is a hard limit that OPTIONS keeps to itself."""

    def options(self, request: Request) -> Response:
        return super().options(request).drop("Tus-Max-Size")


@mutant("CORE-OPT-08")
class NoOptionsOnUploads(Tiny):
    """OPTIONS is routed for the creation URL only."""

    def options(self, request: Request) -> Response:
        if not self.is_creation_path(request.path):
            raise Refused(404, "Not found.")
        return super().options(request)


@mutant("CORE-OPT-08")
class LessOptionsOnUploads(Tiny):
    """On upload URLs only the CORS layer answers."""

    def options(self, request: Request) -> Response:
        response = super().options(request)
        if not self.is_creation_path(request.path):
            response.drop("Tus-Version", "Tus-Extension")
        return response


@mutant("CORE-OPT-09")
class TrailersWithoutChecksum(Tiny):
    """Only checksum-trailer is announced of the two."""

    def options(self, request: Request) -> Response:
        told = [each for each in self.extensions if each != "checksum"]
        return super().options(request).set("Tus-Extension", ",".join(told))


@mutant("CORE-OPT-10")
class TerminationAnnouncedOnly(Tiny):
    """Termination is announced by default, but DELETE is switched off."""

    def handler(self, method: str, request: Request) -> Callable[[Request], Response]:
        if method == "DELETE":
            raise Refused(405, "Not here.", Allow="HEAD, PATCH, OPTIONS")
        return super().handler(method, request)


@mutant("CORE-OPT-10")
class ChecksumAnnouncedOnly(Tiny):
    """Checksums are announced, but never computed."""

    def computed(self, algorithm: str, data: bytes) -> bytes:
        return b""

    def expected_digests(self, request: Request) -> list[tuple[str, bytes]]:
        return []


@mutant("CORE-OPT-10")
class ConcatenationNotAnnounced(Tiny):
    """Uploads can be joined, but OPTIONS does not say so."""

    def options(self, request: Request) -> Response:
        told = [each for each in self.extensions if not each.startswith("concatenation")]
        return super().options(request).set("Tus-Extension", ",".join(told))

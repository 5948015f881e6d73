"""ROB-CORS broken."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from tests.conformance.mutants import mutant
from tests.conformance.tiny import Refused, Response, Tiny

if TYPE_CHECKING:
    from tests.conformance.tiny import Request


def _without(response: Response, header: str, *names: str) -> None:
    """Takes these names out of a list."""
    listed = (response.get(header) or "").split(", ")
    response.set(header, ", ".join(each for each in listed if each not in names))


@mutant("ROB-CORS-01")
class StarForRequestHeaders(Tiny):
    """A star is to allow all headers; it does not cover Authorization."""

    def allow_origin(self, request: Request, response: Response) -> None:
        super().allow_origin(request, response)
        response.set("Access-Control-Allow-Headers", "*")


@mutant("ROB-CORS-01")
class MetadataNotAllowed(Tiny):
    """Upload-Metadata is missing from the headers that scripts may send."""

    def allow_origin(self, request: Request, response: Response) -> None:
        super().allow_origin(request, response)
        _without(response, "Access-Control-Allow-Headers", "Upload-Metadata")


@mutant("ROB-CORS-01")
class NoPreflightOfCreation(Tiny):
    """A preflight of the creation URL is taken for a request to a page."""

    def options(self, request: Request) -> Response:
        is_preflight = "access-control-request-method" in request
        if is_preflight and self.is_creation_path(request.path):
            raise Refused(404, "Not found.")
        return super().options(request)


@mutant("ROB-CORS-02")
class PatchNotAllowed(Tiny):
    """The methods that a CORS library allows by default."""

    def allow_origin(self, request: Request, response: Response) -> None:
        super().allow_origin(request, response)
        response.set("Access-Control-Allow-Methods", "GET, HEAD, PUT, POST, DELETE")


@mutant("ROB-CORS-03")
class LocationNotExposed(Tiny):
    """Scripts cannot read where their upload is."""

    def allow_origin(self, request: Request, response: Response) -> None:
        super().allow_origin(request, response)
        _without(response, "Access-Control-Expose-Headers", "Location")


@mutant("ROB-CORS-04")
class RefusalsOfNoOrigin(Tiny):
    """Errors come from another layer, which knows nothing of CORS."""

    def allow_origin(self, request: Request, response: Response) -> None:
        if response.status < 400:
            super().allow_origin(request, response)


class _Echo(Tiny):
    """Names the origin that asks."""

    def allow_origin(self, request: Request, response: Response) -> None:
        super().allow_origin(request, response)
        response.set("Access-Control-Allow-Origin", request.get("origin") or "*")


@mutant("ROB-CORS-05")
class EchoWithoutVary(_Echo):
    """Names the origin that asks, and caches may give that to others."""


@mutant("ROB-CORS-06")
class CredentialsForAll(Tiny):
    """Any page may send credentials."""

    def allow_origin(self, request: Request, response: Response) -> None:
        super().allow_origin(request, response)
        response.set("Access-Control-Allow-Credentials", "true")


@mutant("ROB-CORS-07")
class PreflightNeedsCredentials(Tiny):
    """Whoever sends no credentials is refused, preflights as well."""

    def options(self, request: Request) -> Response:
        is_preflight = "access-control-request-method" in request
        if is_preflight and "authorization" not in request:
            raise Refused(401, "Who are you?", WWW_Authenticate="Bearer")
        return super().options(request)


@mutant("ROB-CORS-08")
class DecodedOrigin(Tiny):
    """The origin is decoded before it is told, line ends and all."""

    def allow_origin(self, request: Request, response: Response) -> None:
        super().allow_origin(request, response)
        response.set("Access-Control-Allow-Origin", unquote(request.get("origin") or "*"))
        response.set("Vary", "Origin")


@mutant("ROB-CORS-08")
class NullOriginIsServerError(Tiny):
    """The host of the origin is looked up in a list; `null` has none."""

    def answer(self, request: Request) -> Response:
        if request.get("origin") == "null":
            return self.dressed(request, Response(500))
        return super().answer(request)

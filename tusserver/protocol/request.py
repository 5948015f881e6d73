"""From a raw request to one of the protocol's requests: version gate, method override, which
methods go where.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from tusserver.protocol import grammar
from tusserver.protocol.body_plan import parse_body_head
from tusserver.protocol.capabilities import TERMINATION, VERSION, Capabilities
from tusserver.protocol.core import Head, Options, Patch
from tusserver.protocol.creation import Create, parse_create
from tusserver.protocol.download import Download, parse_download
from tusserver.protocol.errors import (
    InvalidMethodOverride,
    InvalidOffset,
    InvalidUploadLength,
    MalformedRequest,
    MethodNotAllowed,
    UnsupportedContentType,
    UnsupportedVersion,
    UploadNotFound,
)
from tusserver.protocol.fields import Fields
from tusserver.protocol.termination import Terminate
from tusserver.protocol.urls import is_host, is_upload_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tusserver.protocol.errors import Header
    from tusserver.protocol.urls import UploadUrls

_OVERRIDES = frozenset({"HEAD", "PATCH", "DELETE", "GET", "OPTIONS", "POST"})
_VERSION_FIELD = frozenset({b"tus-resumable"})
_NEEDS_VERSION = frozenset({"POST", "PATCH", "DELETE"})


class RawRequest(Struct, frozen=True):
    """One HTTP request as the shell got it, without its body.

    `target` is what follows the base path in the decoded path: empty for the creation URL, else an
    id that nobody has looked at yet. `urls` are the URLs of uploads as this client sees them.
    """

    method: str
    target: str
    headers: Iterable[Header]
    http_version: str
    urls: UploadUrls


Request = Options | Head | Patch | Create | Terminate | Download


def parse(raw: RawRequest, capabilities: Capabilities) -> Request:
    """The request that this is. Raises the TusError that refuses it; nothing has been touched by
    then.
    """
    # For OPTIONS the Tus-Resumable header 'MUST be ignored by the Server', however often it comes.
    is_options = raw.method == "OPTIONS"
    fields = Fields(raw.headers, ignored=_VERSION_FIELD if is_options else frozenset())
    _refuse_bad_host(fields, raw.http_version)
    method = _effective_method(raw.method, fields)
    if method == "OPTIONS":
        return Options(capabilities)
    _refuse_other_versions(method, fields)
    if not raw.target:
        return _parse_creation(raw, method, fields, capabilities)
    return _parse_upload(raw, method, fields, capabilities)


def _refuse_bad_host(fields: Fields, http_version: str) -> None:
    """RFC 9112, section 3.2: an HTTP/1.1 request without a usable Host is answered 400."""
    host = fields.get(b"host")
    if host is None and http_version == "1.1":
        raise MalformedRequest("an HTTP/1.1 request needs a Host header")
    if host and not is_host(host):
        raise MalformedRequest("the Host header holds no host name")


def _effective_method(method: str, fields: Fields) -> str:
    """'The X-HTTP-Method-Override header MUST be treated as the request's method.'

    On POST only: the other methods a browser sends across sites without asking first, or need no
    help.
    """
    override = fields.get(b"x-http-method-override")
    if override is None or method != "POST":
        return method
    if override not in _OVERRIDES:
        raise InvalidMethodOverride
    return override


def _refuse_other_versions(method: str, fields: Fields) -> None:
    """'If the version is not supported by the Server, it MUST respond with 412 … and MUST include
    Tus-Version.'

    HEAD and GET may come without the header, as browsers and probes send them.
    """
    version = fields.get(b"tus-resumable")
    if version != VERSION and (version is not None or method in _NEEDS_VERSION):
        raise UnsupportedVersion


def _parse_creation(
    raw: RawRequest, method: str, fields: Fields, capabilities: Capabilities
) -> Request:
    if method != "POST":
        raise MethodNotAllowed("POST, OPTIONS")
    body = parse_body_head(fields, raw.http_version, capabilities)
    return parse_create(fields, body, raw.urls, capabilities)


def _parse_upload(
    raw: RawRequest, method: str, fields: Fields, capabilities: Capabilities
) -> Request:
    allowed = _allowed(capabilities)
    if method not in allowed:
        raise MethodNotAllowed(", ".join((*allowed, "OPTIONS")))
    if not is_upload_id(raw.target):
        raise UploadNotFound
    match method:
        case "HEAD":
            return Head(raw.target, raw.urls)
        case "PATCH":
            return _parse_patch(raw, fields, capabilities)
        case "DELETE":
            return Terminate(raw.target)
        case _:
            return parse_download(raw.target, fields)


def _allowed(capabilities: Capabilities) -> tuple[str, ...]:
    allowed = ["HEAD", "PATCH"]
    if capabilities.offers(TERMINATION):
        allowed.append("DELETE")
    if capabilities.download:
        allowed.append("GET")
    return tuple(allowed)


def _parse_patch(raw: RawRequest, fields: Fields, capabilities: Capabilities) -> Patch:
    body = parse_body_head(fields, raw.http_version, capabilities)
    # 'All PATCH requests MUST use Content-Type: application/offset+octet-stream, otherwise … 415
    # SHOULD.'
    if not body.is_labelled:
        raise UnsupportedContentType
    offset = fields.get(b"upload-offset")
    if offset is None:
        raise InvalidOffset("give Upload-Offset, the offset from which these bytes go on")
    length = fields.get(b"upload-length")
    try:
        parsed_offset = grammar.parse_integer(offset)
    except ValueError as error:
        raise InvalidOffset(f"Upload-Offset: {error}") from None
    try:
        parsed_length = None if length is None else grammar.parse_integer(length)
    except ValueError as error:
        raise InvalidUploadLength(f"Upload-Length: {error}") from None
    return Patch(raw.target, parsed_offset, parsed_length, body)

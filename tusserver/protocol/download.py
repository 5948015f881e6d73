"""GET of a finished upload, which tus leaves open (RFC 9110): ranges, validators, and headers that
keep its bytes inert.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from tusserver.protocol import grammar
from tusserver.protocol.decision import Reply

if TYPE_CHECKING:
    from tusserver.protocol.errors import Header
    from tusserver.protocol.fields import Fields
    from tusserver.protocol.upload import Upload

# What a browser shows without being able to run anything in it; everything else is to be saved.
_INLINE = re.compile(
    r"image/(png|jpeg|gif|webp|avif)|audio/[a-z0-9.+-]+|video/[a-z0-9.+-]+|text/plain", re.ASCII
)
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,100}/[A-Za-z0-9!#$&^_.+-]{1,100}", re.ASCII)
_RANGE = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})", re.ASCII | re.IGNORECASE)

NOSNIFF: Header = (b"x-content-type-options", b"nosniff")
# Whatever is uploaded comes from a stranger: if a browser shows it, then without scripts, forms, or
# our origin.
_SANDBOX: Header = (b"content-security-policy", b"sandbox; default-src 'none'")
_CACHE: Header = (b"cache-control", b"private, no-cache")


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes [start, end) of an upload."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Download:
    """GET on an upload, with the conditions of the request."""

    upload_id: str
    range: str | None = None
    if_range: str | None = None
    if_none_match: str | None = None
    if_modified_since: str | None = None
    if_match: str | None = None
    if_unmodified_since: str | None = None

    def reply(self, upload: Upload) -> tuple[Reply, Span | None]:
        """The head of the answer for a finished upload (200, 206, 304, 412, 416), and which bytes
        follow it, if any.
        """
        modified = upload.modified_at.replace(microsecond=0)
        validators = (
            (b"etag", _etag(upload)),
            (b"last-modified", grammar.format_http_date(modified)),
            _CACHE,
        )
        if self._is_changed(upload, modified):
            return Reply(412, validators), None
        if self._is_unchanged(upload, modified):
            return Reply(304, validators), None
        headers = (
            *validators,
            *_description(upload),
            (b"accept-ranges", b"bytes"),
            NOSNIFF,
            _SANDBOX,
        )
        length = upload.offset
        span = self._span(upload, modified)
        if span is None:
            return Reply(200, headers), Span(0, length)
        if span.start >= span.end:
            return Reply(416, (*headers, (b"content-range", b"bytes */%d" % length))), None
        content_range = (b"content-range", b"bytes %d-%d/%d" % (span.start, span.end - 1, length))
        return Reply(206, (*headers, content_range)), span

    def _is_changed(self, upload: Upload, modified: datetime) -> bool:
        """RFC 9110, section 13.2.2: If-Match counts before If-Unmodified-Since."""
        if self.if_match is not None:
            tags = {tag.strip() for tag in self.if_match.split(",")}
            return "*" not in tags and _etag(upload).decode() not in tags
        since = _parse_date(self.if_unmodified_since)
        return since is not None and modified > since

    def _is_unchanged(self, upload: Upload, modified: datetime) -> bool:
        """RFC 9110, section 13.2.2: If-None-Match counts before If-Modified-Since."""
        if self.if_none_match is not None:
            tags = {tag.strip().removeprefix("W/") for tag in self.if_none_match.split(",")}
            return "*" in tags or _etag(upload).decode() in tags
        since = _parse_date(self.if_modified_since)
        return since is not None and modified <= since

    def _span(self, upload: Upload, modified: datetime) -> Span | None:
        """The requested bytes; empty if they lie behind the end, None if all are to be sent.

        Several ranges at once are answered with the whole, as RFC 9110, section 14.2 allows.
        """
        match = _RANGE.fullmatch(self.range.strip()) if self.range is not None else None
        if match is None or not self._is_range_current(upload, modified):
            return None
        first, last = match.groups()
        length = upload.offset
        if not first:
            return Span(max(0, length - int(last)), length) if last else None
        if last and int(last) < int(first):
            return None
        return Span(int(first), min(int(last) + 1, length) if last else length)

    def _is_range_current(self, upload: Upload, modified: datetime) -> bool:
        if self.if_range is None:
            return True
        value = self.if_range.strip()
        return (
            value == _etag(upload).decode()
            if value.endswith('"')
            else _parse_date(value) == modified
        )


def parse_download(upload_id: str, fields: Fields) -> Download:
    """Reads the conditions of a GET; malformed ones count as absent, as HTTP says."""
    return Download(
        upload_id,
        range=fields.get(b"range"),
        if_range=fields.get(b"if-range"),
        if_none_match=fields.get(b"if-none-match"),
        if_modified_since=fields.get(b"if-modified-since"),
        if_match=fields.get(b"if-match"),
        if_unmodified_since=fields.get(b"if-unmodified-since"),
    )


def _etag(upload: Upload) -> bytes:
    """A strong validator: the bytes behind an id never change once the upload is finished. The
    SHA-256 of the file where it was computed, so that the same bytes have the same tag.
    """
    digests = dict(upload.finish.digests) if upload.finish is not None else {}
    tag = digests.get("sha256") or f"{upload.upload_id}-{upload.offset:x}"
    return f'"{tag}"'.encode("ascii", "replace")


def _parse_date(value: str | None) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(value) if value else None
    except (ValueError, OverflowError):
        return None
    return parsed if parsed is None or parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)


def _description(upload: Upload) -> tuple[Header, Header]:
    """Content-Type and Content-Disposition, from the metadata that clients commonly send."""
    metadata = dict(grammar.parse_metadata(upload.metadata))
    declared = (metadata.get("filetype") or metadata.get("type") or b"").decode("utf-8", "replace")
    content_type = (
        declared.lower() if _MEDIA_TYPE.fullmatch(declared) else "application/octet-stream"
    )
    kind = "inline" if _INLINE.fullmatch(content_type) else "attachment"
    filename = (metadata.get("filename") or metadata.get("name") or b"").decode("utf-8", "replace")
    return (
        (b"content-type", content_type.encode()),
        (b"content-disposition", f"{kind}{_filename_parameters(filename)}".encode()),
    )


def _filename_parameters(filename: str) -> str:
    """The plain parameter for old clients and the exact one of RFC 6266 and RFC 8187."""
    printable = "".join(character for character in filename if character.isprintable())[:200]
    if not printable:
        return ""
    plain = re.sub(r'[^ !#-\[\]-~]|[%"\\]', "_", printable)
    return f"; filename=\"{plain}\"; filename*=UTF-8''{quote(printable, safe='')}"

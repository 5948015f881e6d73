"""Header values of tus 1.0: a parse and a format for each, and the only home of their regular
expressions and Base64.

Parsing raises ValueError with a sentence that says what is wrong; which refusal that becomes is the
caller's matter. Nothing is repaired silently: what is accepted is exactly what the grammar of the
protocol says, with the leniencies named where they stand.
"""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from functools import lru_cache

MAX_INTEGER = 2**63 - 1
OFFSET_OCTET_STREAM = "application/offset+octet-stream"

# int() takes signs, blanks, underscores and the digits of every script; the protocol takes ASCII
# digits.
_INTEGER = re.compile(r"[0-9]{1,19}", re.ASCII)
# 'Upload-Metadata' names ASCII keys without blank and comma. A semicolon is what a mistaken
# separator looks like (`name YQ==;type Yg==`); taking it as part of a key would hide the mistake.
_KEY = re.compile(r"[!-+\--:<-~]+", re.ASCII)
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", re.ASCII)
_URL = re.compile(r"[!-~]+", re.ASCII)
_CHECKSUM = re.compile(r"([!-~]+) ([!-~]+)", re.ASCII)

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip

MetadataPairs = tuple[tuple[str, bytes], ...]
"""Keys and decoded values in the order in which the client gave them; keys are unique."""


def parse_integer(value: str) -> int:
    """The number of bytes in `Upload-Length` or `Upload-Offset` (core protocol, 'non-negative
    integer').

    Leading zeros are accepted; signs, blanks, fractions, other digits than ASCII's and values from
    2^63 are not.
    """
    if not _INTEGER.fullmatch(value):
        raise ValueError(f"{value[:40]!r} is not a non-negative decimal number below 2^63")
    number = int(value)
    if number > MAX_INTEGER:
        raise ValueError(f"{value} is not below 2^63")
    return number


@lru_cache(maxsize=64)
def parse_metadata(value: str) -> MetadataPairs:
    """The pairs of `Upload-Metadata` (creation extension); an empty value gives no pairs.

    Blanks around the commas are tolerated, as HTTP tolerates them in lists. A key may come without
    a value.
    """
    if not value.strip(" \t"):
        return ()
    pairs: dict[str, bytes] = {}
    for element in value.split(","):
        key, _, encoded = element.strip(" \t").partition(" ")
        if not _KEY.fullmatch(key):
            raise ValueError(
                f"{key[:40]!r} is not a key: ASCII characters without blank, comma and semicolon"
            )
        if key in pairs:
            raise ValueError(f"the key {key[:40]!r} stands there twice")
        pairs[key] = decode_base64(encoded)
    return tuple(pairs.items())


def format_metadata(pairs: MetadataPairs) -> str:
    """The value of `Upload-Metadata` for these pairs; a key with an empty value stands alone.

    Pairs whose key cannot stand in the header are left out; only records of other servers may have
    such.
    """
    return ",".join(
        f"{key} {base64.b64encode(value).decode()}" if value else key
        for key, value in pairs
        if _KEY.fullmatch(key)
    )


def decode_base64(value: str) -> bytes:
    """Base64 of the standard alphabet with its padding (RFC 4648, section 4), nothing around it."""
    if not _BASE64.fullmatch(value):
        raise ValueError(f"{value[:40]!r} is not Base64 of the standard alphabet with padding")
    return base64.b64decode(value, validate=True)


def parse_checksum(value: str) -> tuple[str, bytes]:
    """Algorithm and digest of `Upload-Checksum` (checksum extension): a name, one blank, Base64."""
    match = _CHECKSUM.fullmatch(value)
    if match is None:
        raise ValueError(
            "Upload-Checksum is the name of an algorithm, one blank and the Base64 of the digest"
        )
    return match[1], decode_base64(match[2])


def parse_concat(value: str) -> tuple[str, ...] | None:
    """The part URLs of `Upload-Concat: final;URL URL…`, or None for `partial` (concatenation
    extension).
    """
    if value == "partial":
        return None
    if not value.startswith("final;"):
        raise ValueError(
            "it is 'partial', or 'final;' and the URLs of the partial uploads between blanks"
        )
    urls = tuple(filter(None, value.removeprefix("final;").split(" ")))
    if not urls:
        raise ValueError("it names no partial upload after 'final;'")
    if not all(_URL.fullmatch(url) for url in urls):
        raise ValueError("URLs consist of printable ASCII characters, with blanks between them")
    return urls


def is_offset_octet_stream(content_type: str | None) -> bool:
    """Whether this `Content-Type` is the one of upload bytes; parameters and case do not matter
    (RFC 9110, 8.3.1).
    """
    return (
        content_type is not None
        and content_type.partition(";")[0].strip(" \t").lower() == OFFSET_OCTET_STREAM
    )


def list_tokens(value: str) -> tuple[str, ...]:
    """The lower-case members of a comma-separated header, empty ones left out (RFC 9110, section
    5.6.1).
    """
    return tuple(token for item in value.split(",") if (token := item.strip(" \t").lower()))


def format_http_date(moment: datetime) -> bytes:
    """The IMF-fixdate of an aware moment (RFC 9110, 5.6.7), as `Upload-Expires` wants it."""
    return _http_date(moment.replace(microsecond=0))


@lru_cache(maxsize=1024)
def _http_date(moment: datetime) -> bytes:
    # Uploads of the same second have the same deadline.
    now = moment.astimezone(UTC)
    return (
        f"{_DAYS[now.weekday()]}, {now.day:02} {_MONTHS[now.month - 1]} {now.year:04} "
        f"{now.hour:02}:{now.minute:02}:{now.second:02} GMT"
    ).encode()

"""The header fields of a raw request, with the rule for fields that come twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tusserver.protocol.errors import RepeatedHeader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tusserver.protocol.errors import Header

# Only these are looked at; whatever else a client or a proxy sends has no effect.
_KNOWN = frozenset(
    {
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"host",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
        b"repr-digest",
        b"trailer",
        b"transfer-encoding",
        b"tus-resumable",
        b"upload-checksum",
        b"upload-concat",
        b"upload-defer-length",
        b"upload-length",
        b"upload-metadata",
        b"upload-offset",
        b"x-http-method-override",
    }
)
# These are lists: several lines mean the same as one line with commas (RFC 9110, section 5.3).
_LISTS = frozenset({b"if-match", b"if-none-match", b"repr-digest", b"trailer", b"upload-metadata"})


class Fields:
    """The known fields by lower-case name, values decoded as Latin-1, so that no byte is lost or
    misread.
    """

    __slots__ = ("_values",)

    def __init__(
        self, headers: Iterable[Header], *, ignored: frozenset[bytes] = frozenset()
    ) -> None:
        """`headers` as ASGI gives them, without those to be `ignored`.

        Raises RepeatedHeader for a single-valued field that comes twice.
        """
        values: dict[bytes, str] = {}
        for raw_name, raw_value in headers:
            name = raw_name.lower()
            if name not in _KNOWN or name in ignored:
                continue
            value = raw_value.decode("latin-1").strip(" \t")
            if name in values:
                if name not in _LISTS:
                    raise RepeatedHeader(f"the header {name.decode()} stands there more than once")
                value = ",".join(filter(None, (values[name], value)))
            values[name] = value
        self._values = values

    def get(self, name: bytes) -> str | None:
        """The value of this field without the blanks around it, or None when it is absent."""
        return self._values.get(name)

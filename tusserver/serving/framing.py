"""An answer as bytes of HTTP/1.1, from the messages of an application (RFC 9112, sections 4 to 7).

In place of uvicorn's, which looks at each header with two regular expressions and writes head and
body apart; of a small answer that is most of the work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tusserver.protocol.errors import Header

_NO_BODY = frozenset({204, 304})
_LINE_END = b"\r\n"


class Framing:
    """One answer. `is_head`: it answers a HEAD, and has no body whatever it says."""

    __slots__ = ("_is_chunked", "_is_head", "_left", "asks_to_close")

    def __init__(self, *, is_head: bool) -> None:
        self._is_head = is_head
        self._is_chunked = False
        self._left = 0
        self.asks_to_close = False
        """The application has said `Connection: close`; known after `head`."""

    def head(self, status: int, headers: Iterable[Header], *, closes: bool) -> bytes:
        """Status line and headers; `closes` if the connection ends with this answer.

        Raises RuntimeError for a header that would break out of its line.
        """
        lines = [STATUS_LINE[status][:-2]]
        length = None
        for raw_name, value in headers:
            name = raw_name.lower()
            if name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding":
                self._is_chunked = value.lower() == b"chunked"
            elif name == b"connection" and b"close" in value.lower():
                self.asks_to_close = True
            lines.append(b"%s: %s" % (name, value))
        if closes and not self.asks_to_close:
            lines.append(b"connection: close")
        if length is None and not self._is_chunked and status not in _NO_BODY and not self._is_head:
            self._is_chunked = True
            lines.append(b"transfer-encoding: chunked")
        self._left = 0 if self._is_head or length is None else length
        head = _LINE_END.join((*lines, b"", b""))
        if head.count(b"\n") != len(lines) + 1 or head.count(b"\r") != len(lines) + 1:
            raise RuntimeError("a header of the answer contains the end of a line")
        return head

    def body(self, data: bytes, *, is_last: bool) -> bytes:
        """The next bytes of the body. Raises RuntimeError if they are not as many as was told."""
        if self._is_head:
            return b""
        if self._is_chunked:
            framed = b"%x\r\n%s\r\n" % (len(data), data) if data else b""
            return framed + b"0\r\n\r\n" if is_last else framed
        self._left -= len(data)
        if self._left < 0 or (is_last and self._left > 0):
            raise RuntimeError("the body of the answer is not as long as its Content-Length")
        return data

"""HTTP/1.1 on one connection: heads, interim answers, and what is left of a refused body."""

from __future__ import annotations

import re
import socket
import time
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

from tests.conformance.tiny.messages import Broken, Refused, Request, Response
from tests.conformance.tiny.stream import ChunkedBody, LengthBody, Stream

if TYPE_CHECKING:
    from tests.conformance.tiny.server import Tiny
    from tests.conformance.tiny.stream import StreamBody

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_DRAINED = 1024 * 1024
"""What is left of a body is read up to this size, so that the connection can go on."""


class Connection:
    """One connection, until it ends."""

    largest_head = 64 * 1024
    stream_class: type[Stream] = Stream
    chunked_class: type[ChunkedBody] = ChunkedBody

    def __init__(self, server: Tiny, raw: socket.socket) -> None:
        self.server = server
        self.socket = raw
        self.stream = self.stream_class(raw, idle=server.idle)
        self.awaits_go_ahead = False
        """Whether the client holds its body back until it hears 100."""

    def serve(self) -> None:
        with self.socket, suppress(Broken, OSError):
            while self.serve_one():
                """The next request."""
            self.linger()

    def serve_one(self) -> bool:
        """Answers one request; False when it was the last."""
        try:
            request = self.read_request()
        except Refused as refused:
            self.send(None, self.server.dressed(None, refused.response))
            return False
        if request is None:
            return False
        response = self.server.answer(request)
        closes = response.closes or self.wants_close(request) or self.awaits_go_ahead
        if closes:
            response.set("Connection", "close")
        self.send(request, response)
        return not closes and self.drain(request)

    def wants_close(self, request: Request) -> bool:
        words = (request.get("connection") or "").lower()
        return "close" in words or request.version == "HTTP/1.0"

    def drain(self, request: Request) -> bool:
        """Reads what is left of the body; False when that is too much."""
        body = request.body
        if body.is_done:
            return True
        if body.length is None or body.length > _DRAINED:
            return False
        while body.read():
            """Thrown away."""
        return True

    def linger(self) -> None:
        """Lets the client read the answer before its unread bytes would reset the connection."""
        self.socket.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + 3.0
        self.socket.settimeout(1.0)
        while time.monotonic() < deadline and self.socket.recv(1024 * 1024):
            """Thrown away."""

    def read_request(self) -> Request | None:
        """None when the client has closed instead. Raises Refused for what is no good head."""
        head = self.read_head()
        if head is None:
            return None
        first, *lines = head.split("\r\n")
        method, target, version = self.request_line(first)
        headers = [self.header(line) for line in lines]
        self.check_host(version, headers)
        body = self.body_of(version, headers)
        return Request(method, self.path_of(target), headers, body, version)

    def read_head(self) -> str | None:
        raw = self.stream.head(self.largest_head)
        return None if raw is None else raw.decode("latin-1")

    def request_line(self, line: str) -> tuple[str, str, str]:
        parts = line.split(" ")
        if len(parts) != 3 or not TOKEN.fullmatch(parts[0]) or not parts[1]:
            raise Refused(400, "No request line.", closes=True)
        if not re.fullmatch(r"HTTP/[0-9]\.[0-9]", parts[2]):
            raise Refused(400, "No version of HTTP.", closes=True)
        if parts[2] not in ("HTTP/1.0", "HTTP/1.1"):
            raise Refused(505, "HTTP/1.1, please.", closes=True)
        if any(ord(each) < 33 or ord(each) == 127 for each in parts[1]):
            raise Refused(400, "Control characters in the target.", closes=True)
        return parts[0], parts[1], parts[2]

    def path_of(self, target: str) -> str:
        """The target without scheme and host, if it has them."""
        absolute = re.match(r"https?://[^/?]*", target, re.IGNORECASE)
        return target[absolute.end() :] or "/" if absolute else target

    def header(self, line: str) -> tuple[str, str]:
        name, colon, value = line.partition(":")
        if not colon or not TOKEN.fullmatch(name):
            raise Refused(400, "No header line.", closes=True)
        value = value.strip(" \t")
        if any((ord(each) < 32 and each != "\t") or ord(each) == 127 for each in value):
            raise Refused(400, "Control characters in a header.", closes=True)
        return name.lower(), value

    def check_host(self, version: str, headers: list[tuple[str, str]]) -> None:
        hosts = [value for name, value in headers if name == "host"]
        if len(hosts) > 1 or (version == "HTTP/1.1" and not hosts):
            raise Refused(400, "One Host, please.", closes=True)
        if hosts and not re.fullmatch(r"[A-Za-z0-9.\-_~:\[\]%]*", hosts[0]):
            raise Refused(400, "No good Host.", closes=True)

    def body_of(self, version: str, headers: list[tuple[str, str]]) -> StreamBody:
        lengths = [value for name, value in headers if name == "content-length"]
        codings = [value for name, value in headers if name == "transfer-encoding"]
        self.check_framing(version, lengths, codings)
        body: StreamBody = LengthBody(self.stream, lengths)
        if codings:
            body = self.chunked_class(self.stream)
        expects = [value for name, value in headers if name == "expect"]
        self.awaits_go_ahead = False
        if expects and version == "HTTP/1.1" and not body.is_done:
            self.expect(body, expects[0])
        return body

    def check_framing(self, version: str, lengths: list[str], codings: list[str]) -> None:
        if codings and (lengths or version == "HTTP/1.0"):
            raise Refused(400, "Ambiguous framing.", closes=True)
        if codings and [each.lower() for each in codings] != ["chunked"]:
            raise Refused(501, "An unknown transfer coding.", closes=True)
        if len(set(lengths)) > 1:
            raise Refused(400, "Several lengths.", closes=True)
        if lengths and not re.fullmatch("[0-9]{1,19}", lengths[0]):
            raise Refused(400, "No good Content-Length.", closes=True)

    def expect(self, body: StreamBody, expectation: str) -> None:
        """The body is asked for when it is first read, and not if the request is refused before."""
        if expectation.lower() != "100-continue":
            raise Refused(417, "Unknown expectation.", closes=True)
        self.awaits_go_ahead = True
        body.before_first = self.go_ahead

    def go_ahead(self) -> None:
        self.awaits_go_ahead = False
        self.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def send(self, request: Request | None, response: Response) -> None:
        self.socket.sendall(self.encoded(request, response))

    def encoded(self, request: Request | None, response: Response) -> bytes:
        """The answer as it goes over the wire."""
        response.set("Date", formatdate(usegmt=True))
        is_bodiless = response.status == 204 or (request is not None and request.method == "HEAD")
        if not is_bodiless:
            response.set("Content-Length", len(response.body))
            if response.body and response.get("Content-Type") is None:
                response.set("Content-Type", "text/plain; charset=utf-8")
        phrase = HTTPStatus(response.status).phrase if response.status != 460 else "Mismatch"
        lines = [f"HTTP/1.1 {response.status} {phrase}"]
        lines += [f"{name}: {value}" for name, value in response.headers]
        head = "\r\n".join((*lines, "", "")).encode("latin-1")
        return head if is_bodiless else head + response.body

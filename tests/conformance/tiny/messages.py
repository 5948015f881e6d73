"""Requests and responses as the server handles them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


class Broken(Exception):
    """The connection ended in the middle of a body, or its bytes ceased to come."""


class Refused(Exception):
    """The request is answered with this status; `closes` when the connection cannot go on."""

    def __init__(
        self, status: int, text: str = "", *, closes: bool = False, **headers: str
    ) -> None:
        super().__init__(text)
        self.response = Response(status, body=f"{text}\n".encode(), closes=closes)
        for name, value in headers.items():
            self.response.set(name.replace("_", "-"), value)


class Body(Protocol):
    """The body of one request, read while it comes."""

    length: int | None
    """In bytes; None for a chunked body."""
    trailers: list[tuple[str, str]]
    """What came behind a chunked body, names in lower case; filled once it is read."""
    is_done: bool

    def read(self) -> bytes:
        """The next piece; nothing at the end. Raises Broken, and Refused for bad framing."""

    def stop(self) -> None:
        """Another request asks this one to let go: `read` raises Broken from now on."""


@dataclass
class Request:
    """`target` is the path and query as sent. Header names are in lower case."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: Body
    version: str = "HTTP/1.1"

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]

    def get(self, name: str) -> str | None:
        """The value; several are joined with commas."""
        values = self.all(name)
        return ", ".join(values) if values else None

    def set(self, name: str, value: str | None) -> None:
        """Replaces a header, or takes it away; for mutants."""
        self.headers = [pair for pair in self.headers if pair[0] != name.lower()]
        if value is not None:
            self.headers.append((name.lower(), value))

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def has_body(self) -> bool:
        return self.body.length is None or self.body.length > 0


@dataclass
class Response:
    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    closes: bool = False
    """Whether the connection ends with it."""

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def set(self, name: str, value: str | int) -> Response:
        """Puts a header in the place of any with that name."""
        self.drop(name).headers.append((name, str(value)))
        return self

    def add(self, name: str, value: str | int) -> Response:
        self.headers.append((name, str(value)))
        return self

    def drop(self, *names: str) -> Response:
        dropped = {name.lower() for name in names}
        self.headers = [pair for pair in self.headers if pair[0].lower() not in dropped]
        return self

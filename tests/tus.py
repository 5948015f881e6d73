"""The short forms of the specification's check list: mk, hd, pa … against one server."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from tests.wire import Address, Answer, Wire, head

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = {"Tus-Resumable": "1.0.0"}
OCTETS = {"Content-Type": "application/offset+octet-stream"}


@dataclass(frozen=True)
class Tus:
    """A tus server under test. Upload URLs are the paths that its `Location` says."""

    address: Address
    creation: str = "/files/"

    def wire(self, *, timeout: float = 15.0) -> Wire:
        """A new connection."""
        return Wire(self.address, timeout=timeout)

    def request(
        self,
        method: str,
        target: str,
        headers: dict[str, str] | list[tuple[str, str]] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """One request on a connection of its own, with just these headers (and a Host)."""
        with self.wire() as wire:
            return wire.request(method, target, headers, body)

    def options(self, target: str | None = None, **headers: str) -> Answer:
        return self.request("OPTIONS", self.creation if target is None else target, _named(headers))

    def post(self, headers: dict[str, str], body: bytes = b"") -> Answer:
        """POST on the creation URL with version and Content-Length."""
        return self.request(
            "POST", self.creation, {**VERSION, "Content-Length": str(len(body)), **headers}, body
        )

    def mk(self, length: int | None, headers: dict[str, str] | None = None) -> str:
        """Creates an upload (of deferred length for None) and returns its path."""
        size = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
        answer = self.post({**size, **(headers or {})})
        assert answer.status == 201, answer
        return self.location(answer)

    def location(self, answer: Answer) -> str:
        """The path of the upload that a creation made."""
        return urlsplit(urljoin(f"http://localhost{self.creation}", answer["Location"])).path

    def made(self, data: bytes, headers: dict[str, str] | None = None) -> str:
        """A finished upload with these bytes."""
        url = self.mk(len(data), headers)
        if data:
            assert self.pa(url, 0, data).status == 204
        return url

    def hd(self, url: str) -> Answer:
        return self.request("HEAD", url, VERSION)

    def off(self, url: str) -> int:
        answer = self.hd(url)
        assert answer.status in (200, 204), answer
        return int(answer["Upload-Offset"])

    def pa(
        self, url: str, offset: int | str, data: bytes, headers: dict[str, str] | None = None
    ) -> Answer:
        return self.request("PATCH", url, patch_headers(offset, len(data), headers), data)

    def delete(self, url: str, headers: dict[str, str] | None = None) -> Answer:
        return self.request("DELETE", url, {**VERSION, **(headers or {})})

    def get(self, url: str, headers: dict[str, str] | None = None) -> Answer:
        return self.request("GET", url, headers or {})

    def content(self, url: str) -> bytes:
        """The bytes of a finished upload."""
        answer = self.get(url)
        assert answer.status == 200, answer
        return answer.body

    def assert_intact(self, url: str, offset: int, rest: bytes = b"") -> None:
        """INTACT: the upload stands at `offset` and, with `rest`, can be completed from there."""
        assert self.off(url) == offset
        if rest:
            assert self.pa(url, offset, rest).status == 204

    def assert_live(self) -> None:
        """LIVE: OPTIONS on a new connection is answered."""
        with self.wire(timeout=5) as wire:
            assert wire.request("OPTIONS", self.creation).status == 200

    def begin_patch(
        self, url: str, offset: int, length: int, headers: dict[str, str] | None = None
    ) -> Wire:
        """A connection on which the head of a PATCH with `length` bytes has been sent."""
        wire = self.wire()
        wire.send(head("PATCH", url, patch_headers(offset, length, headers)))
        return wire


def patch_headers(
    offset: int | str, length: int, headers: dict[str, str] | None = None
) -> dict[str, str]:
    """The headers of a PATCH with so many bytes."""
    return {
        **VERSION,
        **OCTETS,
        "Upload-Offset": str(offset),
        "Content-Length": str(length),
        **(headers or {}),
    }


def chunked_headers(offset: int, headers: dict[str, str] | None = None) -> dict[str, str]:
    """The headers of a PATCH whose length is not announced."""
    return {
        **VERSION,
        **OCTETS,
        "Upload-Offset": str(offset),
        "Transfer-Encoding": "chunked",
        **(headers or {}),
    }


def eventually(condition: Callable[[], bool], *, within: float = 10.0) -> None:
    """Waits for something that another process or thread is about to do."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}

"""The short forms of the check list: mk, hd, off, pa … against one server."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from conformance.discovery import OCTETS, VERSION
from conformance.target import request_target
from conformance.verdict import Unverifiable
from conformance.wire import head, pairs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from conformance.target import Target
    from conformance.wire import Answer, Headers, Wire


class Tus:
    """Speaks tus to the target. Uploads are named by their absolute URLs.

    `observe` is told of each answer, with the method it answers; the headers of the target go with
    every request.
    """

    def __init__(self, target: Target, observe: Callable[[str, Answer], None]) -> None:
        self.target = target
        self.url = target.url
        self._observe = observe

    def wire(self, url: str | None = None, *, timeout: float | None = None) -> Wire:
        """A new connection, to the host of this URL. Raises Unverifiable where that is another one
        than that of the creation URL, and cannot be reached.
        """
        try:
            return self.target.connect(url, timeout=timeout, observe=self._observe)
        except OSError as error:
            if url is None or urlsplit(url).netloc == urlsplit(self.url).netloc:
                raise
            raise Unverifiable(f"{url}, named by the server, cannot be reached: {error}") from error

    def head(self, method: str, url: str, headers: Headers | None = None) -> bytes:
        """The head of a request for this URL, as it would be sent; a Host is added."""
        host = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
        return head(method, request_target(url), self.with_credentials(headers), host=host)

    def with_credentials(self, headers: Headers | None) -> list[tuple[str, str]]:
        """These headers and those of the target; whatever a check says itself wins."""
        pairs = pairs_of(headers)
        named = {name.lower() for name, _ in pairs}
        return pairs + [pair for pair in self.target.headers if pair[0].lower() not in named]

    def request(
        self, method: str, url: str, headers: Headers | None = None, body: bytes = b""
    ) -> Answer:
        """One request on a connection of its own, with just these headers (and a Host)."""
        with self.wire(url) as wire:
            wire.send(self.head(method, url, headers))
            if body:
                wire.try_send(body)
            return wire.answer(method)

    def options(self, url: str | None = None, headers: Headers | None = None) -> Answer:
        return self.request("OPTIONS", url or self.url, headers)

    def post(self, headers: Mapping[str, str], body: bytes = b"", url: str | None = None) -> Answer:
        """POST on the creation URL with version and Content-Length."""
        sent = {**VERSION, "Content-Length": str(len(body)), **headers}
        return self.request("POST", url or self.url, sent, body)

    def mk(self, length: int | None, headers: Mapping[str, str] | None = None) -> str:
        """Creates an upload (of deferred length for None) and returns its URL.

        Raises Unverifiable where that does not work, as what follows shows nothing then.
        """
        if self.target.upload_url_command and not headers and length is not None:
            return self.target.new_upload_url(length)
        size = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
        return self.created(self.post({**size, **(headers or {})}))

    def created(self, answer: Answer) -> str:
        """The URL in a 201. Raises Unverifiable for another answer."""
        if answer.status != 201 or "location" not in answer:
            raise Unverifiable(f"no upload could be created: {answer}")
        return self.target.resolve(answer.all("location")[0])

    def made(self, data: bytes, headers: Mapping[str, str] | None = None) -> str:
        """A finished upload with these bytes. Raises Unverifiable."""
        url = self.mk(len(data), headers)
        if data:
            self.sent(url, 0, data)
        return url

    def sent(
        self, url: str, offset: int, data: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        """PATCH as a step on the way to what is checked. Raises Unverifiable when it fails."""
        answer = self.pa(url, offset, data, headers)
        if answer.status not in (200, 204):
            raise Unverifiable(f"PATCH at {offset} was answered {answer}")

    def hd(self, url: str, headers: Headers | None = None) -> Answer:
        return self.request("HEAD", url, {**VERSION, **dict(headers or {})})

    def off(self, url: str) -> int | None:
        """What HEAD says; None when it says no offset."""
        return offset_of(self.hd(url))

    def pa(
        self,
        url: str,
        offset: int | str,
        data: bytes,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        return self.request("PATCH", url, patch_headers(offset, len(data), headers), data)

    def delete(self, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.request("DELETE", url, {**VERSION, **(headers or {})})

    def get(self, url: str, headers: Headers | None = None) -> Answer:
        return self.request("GET", url, {**VERSION, **dict(headers or {})})

    def begin_patch(
        self,
        url: str,
        offset: int,
        length: int,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
    ) -> Wire:
        """A connection on which the head of a PATCH with `length` bytes has been sent."""
        wire = self.wire(url, timeout=timeout)
        wire.send(self.head("PATCH", url, patch_headers(offset, length, headers)))
        return wire

    def begin_chunked(
        self, url: str, offset: int, headers: Mapping[str, str] | None = None
    ) -> Wire:
        """A connection on which the head of a PATCH with a chunked body has been sent."""
        wire = self.wire(url)
        wire.send(self.head("PATCH", url, chunked_headers(offset, headers)))
        return wire

    def stranger(self, url: str) -> str:
        """The URL of an upload that does not exist, beside this one."""
        return f"{url.rstrip('/').rpartition('/')[0]}/{secrets.token_hex(16)}"


def offset_of(answer: Answer) -> int | None:
    """The offset that an answer tells; None where it tells none, or no number."""
    value = answer.get("upload-offset")
    return int(value) if value is not None and value.isascii() and value.isdigit() else None


def patch_headers(
    offset: int | str, length: int, headers: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The headers of a PATCH with so many bytes."""
    return {
        **VERSION,
        **OCTETS,
        "Upload-Offset": str(offset),
        "Content-Length": str(length),
        **(headers or {}),
    }


def chunked_headers(offset: int, headers: Mapping[str, str] | None = None) -> dict[str, str]:
    """The headers of a PATCH whose length is not announced."""
    return {
        **VERSION,
        **OCTETS,
        "Upload-Offset": str(offset),
        "Transfer-Encoding": "chunked",
        **(headers or {}),
    }


def without(headers: Mapping[str, str], *names: str) -> dict[str, str]:
    """These headers but for some."""
    left_out = {name.lower() for name in names}
    return {name: value for name, value in headers.items() if name.lower() not in left_out}


def eventually(condition: Callable[[], bool], within: float, every: float = 0.05) -> bool:
    """Whether it comes about in so many seconds."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def joined(urls: Sequence[str]) -> dict[str, str]:
    """The header that joins these parts."""
    return {"Upload-Concat": f"final;{' '.join(urls)}"}

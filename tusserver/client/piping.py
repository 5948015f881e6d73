"""Standard input as an upload: its length is declared at its end.

What has been read and is not acknowledged stays in memory, one chunk, so that a broken connection
loses nothing. After the end of the process nobody can read it again: such an upload is removed.
"""

from __future__ import annotations

import os
import select
import sys
from typing import TYPE_CHECKING

from tusserver.client.answers import whole_number
from tusserver.client.errors import ClientError, Gone, Interrupted, Passing, Refused, Unreadable
from tusserver.client.uploader import created
from tusserver.protocol.grammar import format_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tusserver.client.patience import Patience
    from tusserver.client.session import Session
    from tusserver.client.sources import Source
    from tusserver.client.uploader import Observer

PIPE_CHUNK = 8 * 1024 * 1024
"""Bytes per request and in memory, unless the user says how many."""
_LOOK = 0.2
_OCTETS = {"Content-Type": "application/offset+octet-stream"}


class PipeUpload:
    """One upload from a file descriptor. `offset` is how many bytes the server has acknowledged."""

    def __init__(
        self,
        session: Session,
        source: Source,
        patience: Patience,
        observer: Observer,
        *,
        descriptor: int = 0,
        chunk_size: int | None = None,
    ) -> None:
        self.url: str | None = None
        self.offset = 0
        self.response_headers: Mapping[str, str] = {}
        self._session = session
        self._source = source
        self._patience = patience
        self._observer = observer
        self._descriptor = descriptor
        self._chunk_size = chunk_size or PIPE_CHUNK

    def upload(self) -> None:
        """Sends all that can be read. Raises ClientError."""
        self._create()
        try:
            for chunk, is_last in self._chunks():
                self._send(chunk, is_last=is_last)
        except Interrupted:
            # The session makes no more requests, and the server removes what nobody goes on with.
            raise
        except ClientError:
            self._remove()
            raise

    def _create(self) -> None:
        pairs = tuple((key, value.encode()) for key, value in self._source.metadata.items())
        headers = {"Upload-Defer-Length": "1", "Upload-Metadata": format_metadata(pairs)}
        while self.url is None:
            try:
                self.url, self.response_headers = created(self._session, headers)
            except Passing as error:
                self._patience.wait(error)
        self._observer.standing(0, url=self.url)

    def _chunks(self) -> Iterator[tuple[bytes, bool]]:
        """Pieces of the chunk's size, the last one shorter and maybe empty."""
        while True:
            chunk = bytearray()
            while len(chunk) < self._chunk_size:
                block = self._read(self._chunk_size - len(chunk))
                if not block:
                    yield bytes(chunk), True
                    return
                chunk += block
            yield bytes(chunk), False

    def _read(self, size: int) -> bytes:
        # Not sys.stdin: a thread that waits in it cannot be stopped. On Windows it waits anyway.
        while sys.platform != "win32" and not select.select([self._descriptor], [], [], _LOOK)[0]:
            self._session.stop.check()
        self._session.stop.check()
        try:
            return os.read(self._descriptor, size)
        except OSError as error:
            raise Unreadable(f"cannot read it: {error.strerror}") from error

    def _send(self, chunk: bytes, *, is_last: bool) -> None:
        end = self.offset + len(chunk)
        is_declared = not is_last
        while self.offset < end or not is_declared:
            rest = chunk[len(chunk) - (end - self.offset) :]
            try:
                self._patch(rest, end if is_last else None)
                is_declared = True
                self._patience.progressed()
                self._observer.sent(self.offset)
            except Passing as error:
                self._patience.wait(error)
                is_declared = self._ask(self.offset, end) or not is_last

    def _patch(self, data: bytes, length: int | None) -> None:
        headers = {**_OCTETS, "Upload-Offset": str(self.offset)}
        if length is not None:
            headers["Upload-Length"] = str(length)
        assert self.url is not None
        answer = self._session.request("PATCH", self.url, headers, data=data)
        offset = whole_number(answer, "Upload-Offset")
        if offset is None or offset < self.offset:
            raise Refused("this is no tus server: its answer to PATCH has no good Upload-Offset")
        self.offset, self.response_headers = offset, answer.headers

    def _ask(self, least: int, most: int) -> bool:
        """Where the server stands now; tells whether it knows the length."""
        assert self.url is not None
        while True:
            try:
                answer = self._session.request("HEAD", self.url)
                break
            except Passing as error:
                self._patience.wait(error)
        offset = whole_number(answer, "Upload-Offset")
        if offset is None or not least <= offset <= most:
            raise Gone("the upload has lost bytes that cannot be read again")
        self.offset = offset
        self._observer.standing(offset, url=self.url)
        return "Upload-Length" in answer.headers

    def _remove(self) -> None:
        """Best effort: the upload expires by itself."""
        assert self.url is not None
        try:
            self._session.request("DELETE", self.url)
        except ClientError:
            return

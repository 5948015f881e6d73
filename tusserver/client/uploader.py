"""tuspy's uploader with one kept-alive connection, bodies that are read while they are sent, and
retries that ask the server where to go on.

tuspy itself reads a whole chunk (by default the whole file) into memory, opens a connection for
each request, waits 30 seconds before any retry, and takes every failure for one that may pass.
"""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO
from sys import maxsize
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urljoin

from tusclient.client import TusClient
from tusclient.request import TusRequest
from tusclient.uploader.uploader import Uploader

from tusserver.client.answers import whole_number
from tusserver.client.body import FileBody, OpenFile
from tusserver.client.errors import ClientError, FileChanged, Gone, Passing, Refused
from tusserver.client.storage import Entry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tusserver.client.patience import Patience
    from tusserver.client.session import Session
    from tusserver.client.sources import Source
    from tusserver.client.storage import UrlStorage

CHECKSUM_CHUNK = 16 * 1024 * 1024
"""Bytes per request with checksums, unless the user says how many."""
_MAX_BEGINNINGS = 3
"""How often an upload that has vanished is begun anew, before the server is taken for broken."""


class Observer(Protocol):
    """Hears how one upload gets on."""

    def standing(self, position: int, *, url: str) -> None:
        """So many bytes are at the server, as it says itself."""

    def sent(self, position: int) -> None:
        """The bytes before this position have been sent."""

    def anew(self, reason: str) -> None:
        """What was known of the upload does not hold any more; it begins anew."""


class Client(TusClient):
    """tuspy's client, with a session."""

    def __init__(self, session: Session) -> None:
        super().__init__(session.url)
        self.session = session


class StreamingUploader(Uploader):
    """One upload of one file, or of its bytes from `start` to `end`. `offset` counts from there.
    `response_headers` are those of the last answer about its bytes.
    """

    client: Client
    # The base class says None, as it begins.
    url: str | None  # type: ignore[assignment]
    request: StreamingRequest  # type: ignore[assignment]

    def __init__(
        self,
        client: Client,
        source: Source,
        file: OpenFile,
        patience: Patience,
        observer: Observer,
        *,
        chunk_size: int | None = None,
        checksum: bool = False,
        storage: UrlStorage | None = None,
        key: str = "",
        start: int = 0,
        end: int | None = None,
    ) -> None:
        # get_file_size() is called before the base class is through.
        self.file = file
        self.start = start
        self._end = file.size if end is None else end
        super().__init__(
            # It would move the position of a real one, at which other threads may be reading.
            file_stream=BytesIO(),
            client=client,
            chunk_size=chunk_size or (CHECKSUM_CHUNK if checksum else maxsize),
            metadata=source.metadata,
            upload_checksum=checksum,
        )
        # Not given to the base class: it would store None for a file it does not know, and close
        # the file to take its fingerprint.
        self._storage, self._key = storage, key
        self._source = source
        self._patience = patience
        self.observer = observer
        self.response_headers: Mapping[str, str] = {}

    def get_file_size(self) -> int:
        return self._end - self.start

    def set_url(self, url: str | None) -> None:
        """Remembers it, if it is to be remembered."""
        self.url = url
        if self._storage is None:
            return
        if url is None:
            self._storage.remove_item(self._key)
        else:
            entry = Entry(url, self.file.fingerprint, str(self._source.path))
            self._storage.set_item(self._key, entry)

    def recall(self) -> bool:
        """Goes on with the upload of an earlier run, if there is one; tells whether it had all
        bytes.
        """
        entry = None if self._storage is None else self._storage.get_item(self._key)
        if entry is None:
            return False
        if entry.fingerprint != self.file.fingerprint:
            self.observer.anew("the file has changed since")
            self.abandon(entry.url)
            return False
        self.url = entry.url
        return entry.is_finished

    def abandon(self, url: str) -> None:
        """Has the server remove what nobody will go on with; it may refuse to."""
        self.set_url(None)
        try:
            self.client.session.request("DELETE", url)
        except ClientError:
            # It expires by itself. If the user has stopped everything, the next request says so.
            return

    def upload(self, stop_at: int | None = None) -> None:
        """Sends the file; returns when the server has all of it. Raises ClientError."""
        self.stop_at = stop_at or self.get_file_size()
        beginnings = 0
        while True:
            try:
                self._synchronise()
                while self.offset < self.stop_at:
                    self.upload_chunk()  # type: ignore[no-untyped-call]
                    self._patience.progressed()
                return
            except Gone as error:
                beginnings += 1
                if self.url is None or beginnings > _MAX_BEGINNINGS:
                    raise
                self.set_url(None)
                self.observer.anew(error.message)
            except FileChanged:
                if self.url is not None:
                    self.abandon(self.url)
                raise
            except Passing as error:
                self._patience.wait(error)

    def _synchronise(self) -> None:
        """Creates the upload, or asks where it stands."""
        if self.url is None:
            self.set_url(self.create_url())
            self.offset = 0
        else:
            before, self.offset = self.offset, self.get_offset()
            if self.offset > before:
                self._patience.progressed()
        assert self.url is not None
        self.observer.standing(self.start + self.offset, url=self.url)

    def create_url(self) -> str:
        """POST; the URL of the new upload. Raises ClientError."""
        session = self.client.session
        headers = self.get_url_creation_headers()  # type: ignore[no-untyped-call]
        url, self.response_headers = created(session, headers)
        return url

    def get_offset(self) -> int:
        """HEAD. Raises Gone also for an upload of another length: it is not this file's."""
        assert self.url is not None
        answer = self.client.session.request("HEAD", self.url, self.get_headers())  # type: ignore[no-untyped-call]
        offset = whole_number(answer, "Upload-Offset")
        if offset is None:
            raise Refused("this is no tus server: its answer to HEAD has no Upload-Offset")
        if whole_number(answer, "Upload-Length") not in (None, self.get_file_size()):
            raise Gone("the upload at the server has another length")
        self.response_headers = answer.headers
        return offset

    def _do_request(self) -> None:
        self.request = StreamingRequest(self)
        self.request.perform()
        self.response_headers = self.request.response_headers


class StreamingRequest(TusRequest):
    """A PATCH whose body comes from the disk while it is sent."""

    def __init__(self, uploader: StreamingUploader) -> None:
        super().__init__(uploader)  # type: ignore[no-untyped-call]
        self._session = uploader.client.session
        self._offset = uploader.offset
        position = uploader.start + uploader.offset
        self._body = FileBody(
            uploader.file,
            position,
            position + self._content_length,
            self._session.stop,
            uploader.observer.sent,
        )

    def perform(self) -> None:
        """Raises ClientError."""
        if self._upload_checksum:
            self._request_headers["upload-checksum"] = self._checksum()
        answer = self._session.request("PATCH", self._url, self._request_headers, data=self._body)
        self.status_code = answer.status_code
        self.response_headers = {name.lower(): value for name, value in answer.headers.items()}
        offset = whole_number(answer, "Upload-Offset")
        if offset is None:
            raise Refused("this is no tus server: its answer to PATCH has no Upload-Offset")
        if offset <= self._offset:
            raise Passing("the server has stored nothing of what was sent")

    def _checksum(self) -> str:
        """Reads the chunk once more rather than keep it."""
        digest = self._checksum_algorithm(b"")
        for block in self._body.file.blocks(self._body.start, self._body.end):
            digest.update(block)
        return f"{self._checksum_algorithm_name} {b64encode(digest.digest()).decode()}"


def created(session: Session, headers: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
    """POST; the URL of the new upload, and the headers of the answer. Raises ClientError."""
    try:
        answer = session.request("POST", session.url, headers)
    except Gone as error:
        raise Refused(error.message, status=error.status) from error
    location = answer.headers.get("Location")
    if answer.status_code != 201 or not location:
        raise Refused("this is no tus server: it has created no upload")
    return urljoin(session.url, location), answer.headers

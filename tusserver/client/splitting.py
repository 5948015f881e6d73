"""One file over several connections: partial uploads that the server joins (concatenation).

tuspy knows nothing of this. Each part is an upload of its own, with an entry of its own in the
storage; the entry of the file says where they begin, so that a later run cuts it at the same
places. Once the server has joined the parts they are removed, for they need as much room again.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from tusserver.client.answers import whole_number
from tusserver.client.errors import ClientError, Gone, Interrupted, Passing, Refused
from tusserver.client.storage import Entry
from tusserver.client.uploader import Client, StreamingUploader, created
from tusserver.protocol.grammar import format_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import ExitStack

    from tusserver.client.body import OpenFile
    from tusserver.client.patience import Patience
    from tusserver.client.session import Session
    from tusserver.client.sources import Source
    from tusserver.client.storage import UrlStorage
    from tusserver.client.uploader import Observer

MIN_PART = 16 * 1024 * 1024
"""Bytes. A smaller part is not worth its three requests."""


def starts_of(size: int, connections: int) -> tuple[int, ...]:
    """Where the parts of a file begin, at most one for each connection; empty if it is to stay
    whole.
    """
    count = min(connections, size // MIN_PART)
    return tuple(size * index // count for index in range(count)) if count > 1 else ()


def offers_concatenation(session: Session) -> bool:
    """OPTIONS. False also if there is no good answer: the uploads will say what is wrong."""
    try:
        answer = session.request("OPTIONS", session.url)
    except ClientError:
        return False
    offered = answer.headers.get("Tus-Extension", "").split(",")
    return "concatenation" in {extension.strip() for extension in offered}


class PartUploader(StreamingUploader):
    """A partial upload. It carries the metadata too: what is refused is refused at once."""

    def get_url_creation_headers(self) -> dict[str, str]:
        headers: dict[str, str] = super().get_url_creation_headers()  # type: ignore[no-untyped-call]
        return {**headers, "Upload-Concat": "partial"}


class Split:
    """A file in parts. Threads call `send` for each part, and `join` once that says so.

    `observer` hears the positions of all parts as one: the bytes that are there, wherever. `stack`
    is closed at the end, it holds the file and the lock.
    """

    def __init__(
        self,
        source: Source,
        file: OpenFile,
        starts: tuple[int, ...],
        observer: Observer,
        stack: ExitStack,
        *,
        chunk_size: int | None = None,
        checksum: bool = False,
        storage: UrlStorage | None = None,
        key: str = "",
    ) -> None:
        self.source = source
        self.failure: ClientError | None = None
        self._file, self._starts = file, starts
        self._observer = observer
        self._stack = stack
        self._chunk_size, self._checksum = chunk_size, checksum
        self._storage, self._key = storage, key
        self._mutex = threading.Lock()
        self._waiting = len(starts)
        self._positions = [0] * len(starts)
        self._urls: list[str | None] = [None] * len(starts)
        self.remember()

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def size(self) -> int:
        return self._file.size

    def close(self) -> None:
        self._stack.close()

    def remember(self, url: str = "") -> None:
        """Notes where the parts begin, or where they have been joined."""
        if self._storage is None:
            return
        entry = Entry(url, self._file.fingerprint, str(self.source.path), starts=self._starts)
        if url:
            entry = replace(entry, is_finished=True, starts=())
        self._storage.set_item(self._key, entry)
        if url:
            for index in range(len(self)):
                self._storage.remove_item(part_key(self._key, index))

    def discard(self, session: Session) -> None:
        """The next run begins anew."""
        if self._storage is not None:
            forget_parts(self._storage, self._key)
        self._remove_parts(session)

    def send(self, index: int, session: Session, patience: Patience) -> bool:
        """Sends one part, unless another one has failed; whether it was the last that ended. The
        first failure is kept in `failure`.
        """
        uploader = PartUploader(
            Client(session), self.source, self._file, patience, PartObserver(self, index),
            chunk_size=self._chunk_size, checksum=self._checksum, storage=self._storage,
            key=part_key(self._key, index), start=self._starts[index], end=self._end(index),
        )  # fmt: skip
        try:
            self.check()
            uploader.recall()
            uploader.upload()
        except ClientError as error:
            self.failure = self.failure or error
        with self._mutex:
            self._urls[index] = uploader.url
            self._waiting -= 1
            return not self._waiting

    def join(self, session: Session, patience: Patience) -> tuple[str, Mapping[str, str]]:
        """The URL of the whole file, and the headers of the last answer. Raises ClientError."""
        self._file.check()
        urls = [url for url in self._urls if url is not None]
        pairs = tuple((key, value.encode()) for key, value in self.source.metadata.items())
        headers = {
            "Upload-Concat": f"final;{' '.join(urls)}",
            "Upload-Metadata": format_metadata(pairs),
        }
        while True:
            try:
                url, told = created(session, headers)
                break
            except Passing as error:
                patience.wait(error)
        self.remember(url)
        told = {**told, **self._joined(session, patience, url)}
        self._remove_parts(session)
        return url, told

    def _remove_parts(self, session: Session) -> None:
        abandon(session, [url for url in self._urls if url is not None])

    def check(self) -> None:
        """Raises Interrupted if another part has failed: not what it has failed by, which this one
        might try again.
        """
        if self.failure is not None:
            raise Interrupted

    def move(self, index: int, position: int, url: str = "") -> None:
        """Tells the observer; with a URL, that the server has said so."""
        with self._mutex:
            self._positions[index] = position - self._starts[index]
            if url:
                self._observer.standing(sum(self._positions), url=url)
            else:
                self._observer.sent(sum(self._positions))

    def tell_anew(self, reason: str) -> None:
        self._observer.anew(reason)

    def _end(self, index: int) -> int:
        return (*self._starts[1:], self._file.size)[index]

    def _joined(self, session: Session, patience: Patience, url: str) -> Mapping[str, str]:
        """The headers of HEAD, once the server has joined them."""
        while True:
            try:
                answer = session.request("HEAD", url)
                if "Upload-Offset" not in answer.headers:
                    raise Passing("the server is still joining the parts")
                if whole_number(answer, "Upload-Offset") != self._file.size:
                    raise Refused("the server has joined the parts to another length")
                return answer.headers
            except Passing as error:
                patience.wait(error)
            except Gone:
                return {}  # Its finish has taken it away: the answer to POST was good.


class PartObserver:
    """Hears how one part gets on, and stops it when another one has failed."""

    def __init__(self, split: Split, index: int) -> None:
        self._split, self._index = split, index

    def standing(self, position: int, *, url: str) -> None:
        self._split.check()
        self._split.move(self._index, position, url)

    def sent(self, position: int) -> None:
        self._split.check()
        self._split.move(self._index, position)

    def anew(self, reason: str) -> None:
        self._split.tell_anew(reason)


def part_key(key: str, index: int) -> str:
    """Of the entry of one part."""
    return f"{key}.{index}"


def forget_parts(storage: UrlStorage, key: str) -> list[str]:
    """Removes the entries of a file that went in parts; their URLs."""
    entry = storage.get_item(key)
    keys = [part_key(key, index) for index in range(len(entry.starts) if entry else 0)]
    parts = [storage.get_item(part) for part in keys]
    for known in [*keys, key]:
        storage.remove_item(known)
    return [part.url for part in parts if part is not None]


def abandon(session: Session, urls: list[str]) -> None:
    """Has the server remove what nobody needs any more; what it does not remove, expires."""
    for url in urls:
        try:
            session.request("DELETE", url)
        except ClientError:
            continue

"""Loads a finished upload into a file, and goes on where an earlier try was cut; or passes it on.

    FILE.part         the bytes so far
    FILE.part.etag    of which version of the file they are

Only a whole and verified file gets the name FILE.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

import requests
from requests.structures import CaseInsensitiveDict

from tusserver.client.answers import whole_number
from tusserver.client.errors import ClientError, Passing, Refused, Unreadable
from tusserver.protocol import digests
from tusserver.protocol.grammar import parse_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tusserver.client.patience import Patience
    from tusserver.client.session import Session

_BLOCK = 64 * 1024
"""Bytes that are read at once. Of a block in whose middle the connection breaks nothing is kept."""
_RANGE = re.compile(r"bytes ([0-9]{1,19})-[0-9]{1,19}/[0-9*]{1,19}", re.ASCII)
_FILENAME = re.compile(r"filename\*=UTF-8''([^;]+)|filename=\"([^\"]*)\"", re.IGNORECASE)

Tell = Callable[[int, int | None], None]
"""Hears how many bytes are there, and how many there will be if that is known."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was loaded: `received` are the bytes of this run. `digest` is the algorithm by which all
    were verified, empty if the server has none.
    """

    name: str
    size: int
    received: int
    digest: str


class _Sink(Protocol):
    """Where the bytes go. `size` of them are there, of the version `etag` (empty if unknown)."""

    name: str
    size: int
    etag: str

    def begin(self, position: int, etag: str) -> None:
        """What is written next belongs there; whatever is behind it is dropped. Raises Refused."""

    def write(self, block: bytes) -> None: ...

    def finish(self, facts: Mapping[str, str]) -> str:
        """Verifies it; the algorithm. Raises Refused."""
        ...

    def close(self) -> None: ...


def load(
    session: Session,
    patience: Patience,
    tell: Tell,
    *,
    output: Path | BinaryIO | None,
    force: bool = False,
) -> Loaded:
    """Loads what is at the URL of the session, by default into the folder where we are. Raises
    ClientError.
    """
    facts = CaseInsensitiveDict(_facts(session, patience))
    if isinstance(output, Path | None):
        target = output if output is not None else Path(_name(session.url, facts))
        if target.exists() and not force:
            raise Unreadable(f"{target} is there already; see --force")
        sink: _Sink = _Part(target, facts.get("ETag", ""))
    else:
        sink = _Stream(output, facts)
    try:
        received = 0
        while True:
            before = sink.size
            try:
                facts.update(_receive(session, sink, tell))
                received += sink.size - before
                break
            except Passing as error:
                received += sink.size - before
                if sink.size > before:
                    patience.progressed()
                patience.wait(error)
        return Loaded(sink.name, sink.size, received, sink.finish(facts))
    except OSError as error:
        raise Unreadable(f"cannot write {sink.name}: {error.strerror}") from error
    finally:
        sink.close()


def _facts(session: Session, patience: Patience) -> Mapping[str, str]:
    """What HEAD says: it has the digest. A URL may be good for GET only, then nothing."""
    while True:
        try:
            return session.request("HEAD", session.url).headers
        except Passing as error:
            patience.wait(error)
        except ClientError as error:
            if error.status in (404, 410, 401):
                raise
            return {}


def _name(url: str, facts: Mapping[str, str]) -> str:
    """A name without folders, that is neither hidden nor empty."""
    try:
        metadata = dict(parse_metadata(facts.get("Upload-Metadata", "")))
    except ValueError:
        metadata = {}
    told = (metadata.get("filename") or metadata.get("name") or b"").decode("utf-8", "replace")
    found = _FILENAME.search(facts.get("Content-Disposition", ""))
    if not told and found is not None:
        told = unquote(found[1]) if found[1] else found[2]
    told = told or unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])
    name = re.split(r"[/\\]", told)[-1]
    name = "".join(character for character in name if character.isprintable()).lstrip(".")
    return name[:200] or "download"


class _Part:
    """A file that gets its name when it is whole."""

    def __init__(self, target: Path, etag: str) -> None:
        self.name = str(target)
        self._file: BinaryIO | None = None
        self._target = target
        self._path = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.etag")
        self.etag = etag if self._path.exists() and etag and self._noted() == etag else ""
        self.size = self._path.stat().st_size if self.etag else 0

    def _noted(self) -> str:
        try:
            return self._note.read_text()
        except (OSError, UnicodeDecodeError):
            return ""

    def begin(self, position: int, etag: str) -> None:
        self.close()
        self._note.write_text(etag)
        self.etag, self.size = etag, position
        self._file = open(self._path, "r+b" if position else "wb")  # noqa: SIM115 - closed by close()
        self._file.truncate(position)
        self._file.seek(position)

    def write(self, block: bytes) -> None:
        assert self._file is not None
        self._file.write(block)
        self.size += len(block)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def finish(self, facts: Mapping[str, str]) -> str:
        self.close()
        algorithm = self._verify(facts.get("Repr-Digest", ""))
        with open(self._path, "rb") as file:
            os.fsync(file.fileno())
        self._path.replace(self._target)
        self._note.unlink(missing_ok=True)
        return algorithm

    def _verify(self, header: str) -> str:
        algorithm, expected = _expected(header)
        if not algorithm:
            return ""
        with open(self._path, "rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
        if found != expected:
            self._path.unlink()
            raise Refused(f"what came has another {algorithm} than the server says, and is removed")
        return algorithm


class _Stream:
    """Standard output: nothing can be taken back, and the digest is made on the way."""

    name = "standard output"

    def __init__(self, stream: BinaryIO, facts: Mapping[str, str]) -> None:
        self.size = 0
        self.etag = ""
        self._stream = stream
        self._algorithm, self._expected = _expected(facts.get("Repr-Digest", ""))
        self._digest = hashlib.new(self._algorithm) if self._algorithm else None

    def begin(self, position: int, etag: str) -> None:
        if position != self.size:
            raise Refused("it cannot be gone on with, and what was written cannot be taken back")
        self.etag = etag

    def write(self, block: bytes) -> None:
        if self._digest is not None:
            self._digest.update(block)
        self._stream.write(block)
        self.size += len(block)

    def close(self) -> None:
        return

    def finish(self, facts: Mapping[str, str]) -> str:
        self._stream.flush()
        if self._digest is not None and self._digest.hexdigest() != self._expected:
            raise Refused(f"what came has another {self._algorithm} than the server says")
        return self._algorithm


def _expected(header: str) -> tuple[str, str]:
    """The best algorithm in `Repr-Digest` and its digest in hexadecimal; empty without one."""
    try:
        known = dict(digests.parse_header(header))
    except ValueError:
        return "", ""
    algorithm = next((name for name in ("sha512", "sha256", "sha1", "md5") if name in known), "")
    return algorithm, known.get(algorithm, "")


def _receive(session: Session, sink: _Sink, tell: Tell) -> Mapping[str, str]:
    """One GET, from where we are to the end; its headers. Raises ClientError."""
    # Without an ETag nobody knows whether the rest would be that of the same file.
    can_go_on = sink.size and sink.etag
    headers = {"Range": f"bytes={sink.size}-", "If-Range": sink.etag} if can_go_on else {}
    try:
        answer = session.request("GET", session.url, headers, stream=True)
    except Refused as error:
        if error.status == 416 and can_go_on:
            return {}  # Nothing is missing.
        raise
    with answer:
        start = _start(answer)
        length = whole_number(answer, "Content-Length")
        total = None if length is None else start + length
        sink.begin(start, answer.headers.get("ETag", ""))
        tell(sink.size, total)
        for block in _blocks(session, answer):
            sink.write(block)
            tell(sink.size, total)
    if total is not None and sink.size != total:
        raise Passing(f"the connection broke after {sink.size} of {total} bytes")
    return answer.headers


def _start(answer: requests.Response) -> int:
    """Where the bytes of this answer belong."""
    if answer.status_code != 206:
        return 0
    found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if found is None:
        raise Refused("the server sends a part without saying which")
    return int(found[1])


def _blocks(session: Session, answer: requests.Response) -> Iterator[bytes]:
    try:
        yield from answer.iter_content(_BLOCK)
    except requests.RequestException as error:
        raise session.translated(error) from error

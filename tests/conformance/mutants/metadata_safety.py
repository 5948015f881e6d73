"""META broken: what metadata must not do."""

from __future__ import annotations

import base64
from posixpath import normpath
from typing import TYPE_CHECKING

from tests.conformance.mutants import mutant
from tests.conformance.tiny import Connection, Refused, Response, Tiny

if TYPE_CHECKING:
    from tests.conformance.tiny import Request, Upload


def values(metadata: str | None) -> dict[str, str]:
    """The metadata as text by key."""
    found = {}
    for pair in (metadata or "").split(","):
        key, _, value = pair.strip().partition(" ")
        found[key] = base64.b64decode(value).decode("latin-1")
    return found


@mutant("META-07")
class NameGoesIntoHeader(Tiny):
    """The file name is put between quotes as it is, line ends and all."""

    def get(self, request: Request) -> Response:
        name = values(self.upload_of(request).metadata).get("filename", "")
        return super().get(request).set("Content-Disposition", f'attachment; filename="{name}"')


@mutant("META-07")
class TypeGoesIntoHeader(Tiny):
    """The type is told as it is, line ends and all."""

    def get(self, request: Request) -> Response:
        kind = values(self.upload_of(request).metadata).get("filetype", "text/plain")
        return super().get(request).set("Content-Type", kind)


@mutant("META-07")
class QuotesAreNotEscaped(Tiny):
    """Line ends are taken out of the file name, quotes stay."""

    def get(self, request: Request) -> Response:
        name = values(self.upload_of(request).metadata).get("filename", "")
        safe = name.replace("\r", "").replace("\n", "")
        return super().get(request).set("Content-Disposition", f'attachment; filename="{safe}"')


@mutant("META-07")
class PagesAreServed(Tiny):
    """Content comes with the type that its uploader says, for the browser to show."""

    def get(self, request: Request) -> Response:
        kind = values(self.upload_of(request).metadata).get("filetype", "text/plain")
        response = super().get(request).set("Content-Type", kind.partition("\r")[0])
        return response.drop("Content-Disposition", "X-Content-Type-Options")


class Told(Tiny):
    """What is put into the answer to HEAD by the metadata."""

    def described(self, upload: Upload, response: Response) -> Response:
        response = super().described(upload, response)
        for key, value in values(upload.metadata).items():
            self.tell(response, key, value)
        return response

    def tell(self, response: Response, key: str, value: str) -> None:
        raise NotImplementedError


@mutant("META-12")
class LengthFromMetadata(Told):
    """Metadata and state are one record, and the key `length` is written last."""

    def tell(self, response: Response, key: str, value: str) -> None:
        if key == "length":
            response.set("Upload-Length", value)


@mutant("META-12")
class OffsetFromMetadata(Told):
    """Metadata and state are one record, and the key `offset` is written last."""

    def tell(self, response: Response, key: str, value: str) -> None:
        if key == "offset":
            response.set("Upload-Offset", value)


@mutant("META-12")
class IdFromMetadata(Tiny):
    """The key `id` is the id of the upload."""

    def keep(self, upload: Upload) -> None:
        given = values(upload.metadata).get("id", "")
        if len(given) == 32:
            upload.id = given
        super().keep(upload)


@mutant("META-12")
class KeysOfPrototype(Tiny):
    """Keys are looked up in an object, where some are there from the start and get lost."""

    def metadata_of(self, request: Request) -> str | None:
        metadata = super().metadata_of(request)
        built_in = ("constructor", "toString", "__proto__")
        kept = [pair for pair in (metadata or "").split(",") if not pair.startswith(built_in)]
        return ",".join(kept) or None


@mutant("META-12")
class KeyIsColumn(Tiny):
    """Each key is a column of a table, which some keys are no names for."""

    def metadata_of(self, request: Request) -> str | None:
        metadata = super().metadata_of(request)
        if any(not key.isidentifier() for key in values(metadata) if key):
            raise Refused(500, "Internal Server Error")
        return metadata


@mutant("META-13")
class MetadataIsCutOff(Tiny):
    """The column for the metadata has 4096 characters."""

    def metadata_of(self, request: Request) -> str | None:
        metadata = super().metadata_of(request)
        return metadata and metadata[:4096]


@mutant("META-13")
class TooMuchIsServerError(Tiny):
    """Metadata that the storage does not take is answered 500."""

    def metadata_of(self, request: Request) -> str | None:
        if len(request.get("upload-metadata") or "") > 2048:
            raise Refused(500, "Internal Server Error")
        return super().metadata_of(request)


class _OutOfStep(Connection):
    def serve_one(self) -> bool:
        try:
            request = self.read_request()
        except Refused as refused:
            self.send(None, self.server.dressed(None, refused.response))
            return True
        if request is None:
            return False
        self.send(request, self.server.answer(request))
        return self.drain(request)


@mutant("META-13")
class OutOfStepAfterLongHead(Tiny):
    """What is left of a head that is too long is read as the next request."""

    connection_class = _OutOfStep


class _Silent(Connection):
    def read_head(self) -> str | None:
        try:
            return super().read_head()
        except Refused:
            while self.socket.recv(65536):
                """It waits for an end that it has already thrown away."""
            return None


@mutant("META-13")
class LongHeadIsNotAnswered(Tiny):
    """A head that is too long is thrown away without an answer, and the connection stays."""

    connection_class = _Silent


class Files(Tiny):
    """Bytes lie in files, by path."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.files: dict[str, bytearray] = {}

    def keep(self, upload: Upload) -> None:
        name = values(upload.metadata).get("filename", "")
        self.open(self.path(upload, name) if name else f"/uploads/{upload.id}", upload)
        super().keep(upload)

    def open(self, path: str, upload: Upload) -> None:
        upload.data = self.files.setdefault(path, upload.data)

    def path(self, upload: Upload, name: str) -> str:
        raise NotImplementedError


@mutant("META-14")
class FileOfThatName(Files):
    """Bytes are written to a file of the given name, without its folders."""

    def path(self, upload: Upload, name: str) -> str:
        return f"/uploads/{name.rpartition('/')[2]}"


@mutant("META-14")
class PathOfThatName(Files):
    """Each upload has a folder, and the given name is a path below it, or not below it; what is
    there is overwritten.
    """

    def path(self, upload: Upload, name: str) -> str:
        return normpath(f"/uploads/{upload.id}/{name}")

    def open(self, path: str, upload: Upload) -> None:
        self.files.setdefault(path, upload.data).clear()
        super().open(path, upload)


@mutant("META-14")
class NameWithNul(Tiny):
    """Of the name a path is made at the first byte, which fails where there is a NUL in it."""

    def patch(self, request: Request) -> Response:
        if "\0" in values(self.upload_of(request).metadata).get("filename", ""):
            raise Refused(500, "Internal Server Error")
        return super().patch(request)


@mutant("META-14")
class FolderDoesNotExist(Tiny):
    """A name with folders in it is a path in the storage, where those folders are not."""

    def metadata_of(self, request: Request) -> str | None:
        metadata = super().metadata_of(request)
        if "/" in values(metadata).get("filename", ""):
            raise Refused(500, "Internal Server Error")
        return metadata

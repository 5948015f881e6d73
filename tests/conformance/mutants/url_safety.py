"""ROB-SEC broken: URLs that lead where they should not, and content that acts in a browser."""

from __future__ import annotations

import mimetypes
import re
from fnmatch import fnmatchcase
from posixpath import join, normpath
from typing import TYPE_CHECKING
from urllib.parse import unquote, unquote_to_bytes

from conformance.verdict import Verdict
from tests.conformance.mutants import mutant
from tests.conformance.mutants.metadata_safety import values
from tests.conformance.tiny import Refused, Response, Tiny

if TYPE_CHECKING:
    from tests.conformance.tiny import Request, Upload


class Files(Tiny):
    """Uploads lie in a folder of a disk that has other files, too."""

    storage = "/srv/uploads"

    def file_of(self, name: str) -> str:
        """The path of the file that a name is taken for."""
        return normpath(f"{self.storage}/{name}")

    def name_of(self, request: Request) -> str:
        return request.path.removeprefix(self.prefix)

    def content(self, path: str) -> bytes | None:
        """What stands in a file that is no upload; None where there is none."""
        return b"root:x:0:0:root:/root:/bin/sh\n" if path == "/etc/passwd" else None

    def is_outside(self, path: str) -> bool:
        return not f"{path}/".startswith(f"{self.storage}/")


class ServesFiles(Files):
    """GET is answered by something that serves files."""

    def get(self, request: Request) -> Response:
        found = self.content(self.file_of(self.name_of(request)))
        return super().get(request) if found is None else Response(200, body=found)


@mutant("ROB-SEC-01")
class PathIsJoined(ServesFiles):
    """The path of the URL is joined with the folder as it is, dots and all."""


@mutant("ROB-SEC-01")
class PathIsDecodedAndJoined(ServesFiles):
    """Dots are followed before escapes are decoded, and then again by the disk."""

    def file_of(self, name: str) -> str:
        lead = [each for each in name.split("/") if each not in (".", "..")]
        return super().file_of(unquote("/".join(lead)))


@mutant("ROB-SEC-01")
class PathIsDecodedTwice(ServesFiles):
    """Escapes are decoded, dots taken out, and escapes decoded once more."""

    def file_of(self, name: str) -> str:
        once = unquote(name)
        return super().file_of("" if ".." in once else unquote(once))


@mutant("ROB-SEC-01")
class DotsAreTakenOutOnce(ServesFiles):
    """`../` is taken out of the path, whereby another one can arise."""

    def file_of(self, name: str) -> str:
        return super().file_of(name.replace("../", ""))


@mutant("ROB-SEC-01")
class AbsolutePathWins(ServesFiles):
    """The path is joined by a function that starts anew at an absolute one."""

    def file_of(self, name: str) -> str:
        return join(self.storage, unquote(name).replace("..", ""))


@mutant("ROB-SEC-01")
class DeletesAnyFile(Files):
    """DELETE removes the file of that name, and does not mind when there is none."""

    def delete(self, request: Request) -> Response:
        outside = self.is_outside(self.file_of(unquote(self.name_of(request))))
        return Response(204) if outside else super().delete(request)


@mutant("ROB-SEC-01")
class AppendsToAnyFile(Files):
    """PATCH opens the file of that name for appending, which creates it."""

    def patch(self, request: Request) -> Response:
        if not self.is_outside(self.file_of(unquote(self.name_of(request)))):
            return super().patch(request)
        while request.body.read():
            """Written."""
        return Response(204)


@mutant("ROB-SEC-01")
class OffsetOfAnyFile(Files):
    """HEAD tells the size of whatever has that name, as of a folder."""

    def head(self, request: Request) -> Response:
        path = self.file_of(self.name_of(request))
        is_folder = f"{self.storage}/".startswith(f"{path}/".replace("//", "/"))
        return Response(200).set("Upload-Offset", 4096) if is_folder else super().head(request)


@mutant("ROB-SEC-01")
class EscapedSlashIsFollowed(Tiny):
    """An id is decoded, and then used as a path in the storage."""

    def id_of(self, path: str) -> str:
        name = normpath(unquote(path.removeprefix(self.prefix)))
        return super().id_of(f"{self.prefix}{name}")


@mutant("ROB-SEC-01")
class NameEndsAtNul(Tiny):
    """The disk takes a name to end where there is a NUL."""

    def id_of(self, path: str) -> str:
        return super().id_of(path.partition("%00")[0])


@mutant("ROB-SEC-01")
class NulIsServerError(Tiny):
    """A NUL in the name of a file is an error that nobody foresaw."""

    def upload_of(self, request: Request) -> Upload:
        if "%00" in request.path:
            raise Refused(500, "Internal Server Error")
        return super().upload_of(request)


@mutant("ROB-SEC-01")
class RefusalTellsOffset(Files):
    """A PATCH that leads outside is refused, with the size of what is there."""

    def patch(self, request: Request) -> Response:
        if self.is_outside(self.file_of(unquote(self.name_of(request)))):
            raise Refused(409, "The upload stands at 1734.", Upload_Offset="1734")
        return super().patch(request)


class Strict(Tiny):
    """What is done with an id before it is looked up."""

    def upload_of(self, request: Request) -> Upload:
        if self.is_trouble(request.path.removeprefix(self.prefix)):
            raise Refused(500, "Internal Server Error")
        return super().upload_of(request)

    def is_trouble(self, name: str) -> bool:
        raise NotImplementedError


@mutant("ROB-SEC-02")
class BadEscapeIsServerError(Strict):
    """An escape that is none is an error that nobody foresaw."""

    def is_trouble(self, name: str) -> bool:
        return re.search("%(?![0-9A-Fa-f]{2})", name) is not None


@mutant("ROB-SEC-02")
class NoUtf8IsServerError(Strict):
    """An id that is not UTF-8 is an error that nobody foresaw."""

    def is_trouble(self, name: str) -> bool:
        try:
            unquote_to_bytes(name).decode()
        except UnicodeDecodeError:
            return True
        return False


@mutant("ROB-SEC-02")
class EmojiIsServerError(Strict):
    """The database has no place for characters of four bytes."""

    def is_trouble(self, name: str) -> bool:
        return max(map(ord, unquote(name)), default=0) > 0xFFFF


@mutant("ROB-SEC-02")
class LongNameIsServerError(Strict):
    """What is too long for the name of a file is an error that nobody foresaw."""

    def is_trouble(self, name: str) -> bool:
        return len(name) > 255


@mutant("ROB-SEC-02")
class StarIsPattern(Tiny):
    """Uploads are looked up by a pattern, and any that fits will do."""

    def id_of(self, path: str) -> str:
        name = path.removeprefix(self.prefix)
        found = (each for each in list(self.uploads) if fnmatchcase(each, name))
        return next(found, "")


@mutant("ROB-SEC-02")
class OddIdIsTrace(Tiny):
    """Answers 400 to an id that is not UTF-8, with what the interpreter says."""

    def upload_of(self, request: Request) -> Upload:
        if re.search("%[c-f]", request.path):
            raise Refused(400, "Traceback (most recent call last):\n  UnicodeDecodeError")
        return super().upload_of(request)


@mutant("ROB-SEC-02")
class IdBreaksOutOfHeader(Tiny):
    """The refusal names the decoded id in a header."""

    def upload_of(self, request: Request) -> Upload:
        try:
            return super().upload_of(request)
        except Refused as refused:
            name = unquote(request.path.removeprefix(self.prefix), "latin-1")
            if "\n" in name:
                refused.response.set("X-Missing", name)
            raise


@mutant("ROB-SEC-03")
class EndingIsCutOff(Tiny):
    """What stands behind a dot is taken for the format that the client likes."""

    def id_of(self, path: str) -> str:
        return super().id_of(re.sub(r"\.[a-z]+$", "", path))


@mutant("ROB-SEC-03")
class RecordIsServed(Tiny):
    """GET serves the file in which the server keeps what it knows of an upload."""

    def get(self, request: Request) -> Response:
        name = request.path.removesuffix(".info")
        if name != request.path and self.id_of(name) in self.uploads:
            return Response(200, body=b'{"Offset": 5, "Path": "/srv/uploads"}')
        return super().get(request)


@mutant("ROB-SEC-03")
class LockCanBeDeleted(Tiny):
    """DELETE removes whatever has that name, like the file of a lock."""

    def delete(self, request: Request) -> Response:
        is_lock = self.id_of(request.path.removesuffix(".lock")) in self.uploads
        if is_lock and request.path.endswith(".lock"):
            return Response(204)
        return super().delete(request)


@mutant("ROB-SEC-03")
class PartIsUpload(Tiny):
    """Bytes lie in a file with `.part` behind its name, and PATCH takes that name too."""

    def patch(self, request: Request) -> Response:
        request.target = request.target.replace(".part", "")
        return super().patch(request)


@mutant("ROB-SEC-03")
class HiddenFileHasSize(Tiny):
    """HEAD tells the size of a file with a dot before its name, where the bytes come in."""

    def head(self, request: Request) -> Response:
        request.target = request.target.replace("/.", "/")
        return super().head(request)


@mutant("ROB-SEC-03")
class BackupIsServerError(Tiny):
    """The record of `id~` is looked for in a file that has another form."""

    def upload_of(self, request: Request) -> Upload:
        if self.id_of(request.path.removesuffix("~")) in self.uploads and "~" in request.path:
            raise Refused(500, "Internal Server Error")
        return super().upload_of(request)


class Shows(Tiny):
    """What a browser shows by its type."""

    def get(self, request: Request) -> Response:
        upload = self.upload_of(request)
        kind = self.kind(upload)
        response = super().get(request)
        if kind:
            response.set("Content-Type", kind).drop("Content-Disposition")
        return response

    def kind(self, upload: Upload) -> str:
        """Empty where it is not to be shown."""
        return values(upload.metadata).get("filetype", "")


@mutant("ROB-SEC-08")
class TypeOfMetadata(Shows):
    """Content comes with the type that its uploader says, for the browser to show."""


@mutant("ROB-SEC-08")
class PicturesAreShown(Shows):
    """Only pictures are shown, and a drawing is one."""

    def kind(self, upload: Upload) -> str:
        kind = super().kind(upload)
        return kind if kind.startswith("image/") else ""


@mutant("ROB-SEC-08")
class PagesAreKnownBySpelling(Shows):
    """All is shown but text/html, in just this spelling."""

    def kind(self, upload: Upload) -> str:
        kind = super().kind(upload)
        return "" if kind in ("text/html", "image/svg+xml", "application/xhtml+xml") else kind


@mutant("ROB-SEC-08")
class TypeOfName(Shows):
    """The ending of the file's name says how it is shown."""

    def kind(self, upload: Upload) -> str:
        return mimetypes.guess_type(values(upload.metadata).get("filename", ""))[0] or ""


@mutant("ROB-SEC-08")
class TypeOfContent(Shows):
    """What looks like a page is shown as one."""

    def kind(self, upload: Upload) -> str:
        return "text/html" if bytes(upload.data).startswith(b"<!DOCTYPE html") else ""


@mutant("ROB-SEC-08", Verdict.WARN)
class BrowserMayGuess(Tiny):
    """Does not keep browsers from guessing the type."""

    def get(self, request: Request) -> Response:
        return super().get(request).drop("X-Content-Type-Options")


@mutant("ROB-SEC-08")
class RangesAreBare(Tiny):
    """Ranges are answered elsewhere, where nobody thought of browsers."""

    def get(self, request: Request) -> Response:
        response = super().get(request)
        if "range" in request:
            response.status = 206
            response.drop("X-Content-Type-Options", "Content-Disposition")
        return response

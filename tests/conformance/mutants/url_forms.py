"""ROB-SEC broken: the forms of URLs, and what ids tell."""

from __future__ import annotations

import secrets
import time
import uuid
from typing import TYPE_CHECKING

from tests.conformance.mutants import mutant
from tests.conformance.tiny import Refused, Response, Tiny

if TYPE_CHECKING:
    from tests.conformance.tiny import Request, Upload


@mutant("ROB-SEC-04")
class SlashIsMoved(Tiny):
    """What has a slash at its end has moved for good to where it has none."""

    def head(self, request: Request) -> Response:
        return self.moved(request) or super().head(request)

    def moved(self, request: Request) -> Response | None:
        path = request.path.rstrip("/")
        return None if path == request.path else Response(301).set("Location", path)


@mutant("ROB-SEC-04")
class SlashLeadsAway(Tiny):
    """The redirect of what has a slash at its end forgets the id."""

    def patch(self, request: Request) -> Response:
        if request.path.endswith("/"):
            return Response(308).set("Location", self.prefix)
        return super().patch(request)


@mutant("ROB-SEC-04")
class SlashIsServerError(Tiny):
    """Behind a slash an id is expected, and there is none."""

    def upload_of(self, request: Request) -> Upload:
        if request.path.endswith("/"):
            raise Refused(500, "Internal Server Error")
        return super().upload_of(request)


@mutant("ROB-SEC-04")
class SlashIsAnotherUpload(Tiny):
    """HEAD finds no record of what has a slash at its end, and makes a new one."""

    def head(self, request: Request) -> Response:
        if request.path.endswith("/"):
            return Response(200).set("Upload-Length", 0)
        return super().head(request)


@mutant("ROB-SEC-04")
class SlashSwallowsBytes(Tiny):
    """PATCH with a slash at the end is answered as if it had been done."""

    def patch(self, request: Request) -> Response:
        if not request.path.endswith("/"):
            return super().patch(request)
        size = 0
        while piece := request.body.read():
            size += len(piece)
        return Response(204).set("Upload-Offset", size)


@mutant("ROB-SEC-04")
class CreationIsMoved(Tiny):
    """The creation URL without its slash has moved, and is not posted to again."""

    def create(self, request: Request) -> Response:
        if not request.path.endswith("/"):
            return Response(301).set("Location", self.prefix)
        return super().create(request)


@mutant("ROB-SEC-04")
class LocationIsPutBehind(Tiny):
    """Location is the URL that was posted to and the id, as if it had a slash at its end."""

    def create(self, request: Request) -> Response:
        response = super().create(request)
        name = (response.get("Location") or "").removeprefix(self.prefix)
        return response.set("Location", f"{request.path}{name}")


@mutant("ROB-SEC-05")
class LocationHasTheQuery(Tiny):
    """Location is the URL that was posted to, query and all, and the id."""

    def create(self, request: Request) -> Response:
        response = super().create(request)
        name = (response.get("Location") or "").removeprefix(self.prefix)
        has_query = "?" in request.target
        return response.set("Location", f"{request.target}/{name}") if has_query else response


@mutant("ROB-SEC-05")
class QueryIsUnknown(Tiny):
    """A creation with a query is not found."""

    def create(self, request: Request) -> Response:
        if "?" in request.target:
            raise Refused(404, "Not found.")
        return super().create(request)


@mutant("ROB-SEC-05")
class QueryIsServerError(Tiny):
    """A path in a query is an error that nobody foresaw."""

    def upload_of(self, request: Request) -> Upload:
        if request.target.endswith("?../.."):
            raise Refused(500, "Internal Server Error")
        return super().upload_of(request)


@mutant("ROB-SEC-05")
class QueryIsCached(Tiny):
    """HEAD with a query is answered by a cache that keeps no headers."""

    def head(self, request: Request) -> Response:
        response = super().head(request)
        return Response(200) if "?" in request.target else response


@mutant("ROB-SEC-05")
class QueryIsFollowed(Tiny):
    """The query is taken for a part of the path, and a PATCH sent elsewhere."""

    def patch(self, request: Request) -> Response:
        if "?" in request.target:
            return Response(307).set("Location", self.prefix)
        return super().patch(request)


class Ids(Tiny):
    """Ids of another kind."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.count = 0

    def keep(self, upload: Upload) -> None:
        with self.guard:
            self.count += 1
            upload.id = self.new_id()
        super().keep(upload)

    def id_of(self, path: str) -> str:
        return path.removeprefix(self.prefix)

    def new_id(self) -> str:
        raise NotImplementedError


@mutant("ROB-SEC-06")
class IdsAreNumbers(Ids):
    """Uploads are numbered."""

    def new_id(self) -> str:
        return str(self.count)


@mutant("ROB-SEC-06")
class IdsAreLongNumbers(Ids):
    """Uploads are numbered, with zeros before the number."""

    def new_id(self) -> str:
        return f"{self.count:032x}"


@mutant("ROB-SEC-06")
class IdsAreTimes(Ids):
    """An id is the time of creation."""

    def new_id(self) -> str:
        return f"upload-{time.time_ns()}"


@mutant("ROB-SEC-06")
class IdsStartWithTime(Ids):
    """An id is the time of creation in milliseconds, and something random."""

    def new_id(self) -> str:
        return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


@mutant("ROB-SEC-06")
class IdsStartWithNumber(Ids):
    """An id is a number without zeros before it, and something random."""

    def new_id(self) -> str:
        return f"{self.count + 95}-{secrets.token_hex(16)}"


@mutant("ROB-SEC-06")
class IdsCountDown(Ids):
    """An id is what is left of all numbers, so that new uploads are listed first."""

    def new_id(self) -> str:
        return f"{2**64 - self.count:016x}{secrets.token_hex(8)}"


@mutant("ROB-SEC-06")
class IdsAreOfHost(Ids):
    """An id is made of the clock and the address of the machine."""

    def new_id(self) -> str:
        return str(uuid.uuid1())


@mutant("ROB-SEC-06")
class IdsAreShort(Ids):
    """An id is eight random characters."""

    def new_id(self) -> str:
        return secrets.token_hex(4)


@mutant("ROB-SEC-06")
class IdsHaveFewBits(Ids):
    """An id is a random number of 32 bits, made longer by what is always the same."""

    def new_id(self) -> str:
        return f"upload-of-the-server-{secrets.randbits(32):032d}"


@mutant("ROB-SEC-10")
class IdsHaveNoCase(Tiny):
    """Ids are names of files on a disk that does not mind their case."""

    def id_of(self, path: str) -> str:
        return super().id_of(path.lower())


@mutant("ROB-SEC-10")
class CaseIsServerError(Tiny):
    """An id in capitals is found by the disk and not in the database."""

    def upload_of(self, request: Request) -> Upload:
        if request.path != request.path.lower():
            raise Refused(500, "Internal Server Error")
        return super().upload_of(request)

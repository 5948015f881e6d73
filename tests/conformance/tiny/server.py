"""The whole server: which method does what, and the socket it listens on."""

from __future__ import annotations

import socket
import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from tests.conformance.tiny.connection import Connection
from tests.conformance.tiny.creation import Creation
from tests.conformance.tiny.messages import Refused, Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from tests.conformance.tiny.uploads import Upload

_METHODS = "POST, HEAD, PATCH, DELETE, GET, OPTIONS"
_REQUEST_HEADERS = (
    "Authorization, Content-Type, Tus-Resumable, Upload-Checksum, Upload-Concat, "
    "Upload-Defer-Length, Upload-Length, Upload-Metadata, Upload-Offset, X-HTTP-Method-Override, "
    "X-Request-ID, X-Requested-With"
)
_EXPOSED = (
    "Location, Tus-Checksum-Algorithm, Tus-Extension, Tus-Max-Size, Tus-Resumable, Tus-Version, "
    "Upload-Concat, Upload-Defer-Length, Upload-Expires, Upload-Length, Upload-Metadata, "
    "Upload-Offset"
)


class Tiny(Creation):
    """Listens on a port of 127.0.0.1, a free one by default, as soon as it is entered."""

    connection_class: type[Connection] = Connection

    def __init__(self, port: int = 0) -> None:
        super().__init__()
        self._connected: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))

    @property
    def url(self) -> str:
        """The creation URL."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}{self.prefix}"

    def __enter__(self) -> Self:
        self._listener.listen(1024)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                raw, _ = self._listener.accept()
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connected.add(raw)
                connection = self.connection_class(self, raw)
                threading.Thread(target=connection.serve, daemon=True).start()

    def restart(self) -> None:
        """As if it were killed and started again."""
        for raw in list(self._connected):
            with suppress(OSError):
                raw.shutdown(socket.SHUT_RDWR)
        with self.guard:
            for upload in list(self.uploads.values()):
                self.recover(upload)

    def recover(self, upload: Upload) -> None:
        """What a restart leaves of an upload: all of it; for mutants."""

    def answer(self, request: Request) -> Response:
        """The answer to one request, whatever it is."""
        try:
            response = self.route(request)
        except Refused as refused:
            response = refused.response
        return self.dressed(request, response)

    def route(self, request: Request) -> Response:
        method = self.method_of(request)
        if method == "OPTIONS":
            return self.options(request)
        handler = self.handler(method, request)
        self.check_version(request, method)
        return handler(request)

    def handler(self, method: str, request: Request) -> Callable[[Request], Response]:
        """Raises Refused(405)."""
        if self.is_creation_path(request.path):
            handlers = {"POST": self.create} if self.has("creation") else {}
        else:
            handlers = {"HEAD": self.head, "PATCH": self.patch, "GET": self.get}
            if self.has("termination"):
                handlers["DELETE"] = self.delete
        if method not in handlers:
            raise Refused(405, "Not here.", Allow=", ".join((*handlers, "OPTIONS")))
        return handlers[method]

    def dressed(self, request: Request | None, response: Response) -> Response:
        """What every answer carries; no request where its head could not be read."""
        response.set("Tus-Resumable", self.version)
        if request is not None and "origin" in request:
            self.allow_origin(request, response)
        return response

    def allow_origin(self, request: Request, response: Response) -> None:
        response.set("Access-Control-Allow-Origin", "*")
        response.set("Access-Control-Expose-Headers", _EXPOSED)
        if request.method == "OPTIONS":
            response.set("Access-Control-Allow-Methods", _METHODS)
            response.set("Access-Control-Allow-Headers", _REQUEST_HEADERS)

    def delete(self, request: Request) -> Response:
        """Termination: a running PATCH is asked to let go first."""
        upload = self.upload_of(request)
        with upload.turn.take(request.body.stop):
            self.check_there(upload)
            upload.is_gone = True
            with self.guard:
                del self.uploads[upload.id]
        return Response(204)

    def get(self, request: Request) -> Response:
        """The bytes of a finished upload, in a form that no browser runs."""
        upload = self.upload_of(request)
        self.settle(upload)
        if not upload.is_finished:
            raise Refused(403, "The upload is not finished.")
        response = Response(200, body=bytes(upload.data))
        response.set("Content-Type", "application/octet-stream")
        response.set("Content-Disposition", "attachment")
        return response.set("X-Content-Type-Options", "nosniff")

"""A proxy in front of a real service of objects that spoils some of what goes through it, as
services and proxies do that are not what they seem.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.store.s3_server import ACCESS_KEY, SECRET_KEY

_OF_A_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "host", "content-length"}
_SIGNED_ANEW = {"authorization", "x-amz-date", "x-amz-content-sha256"}


@dataclass
class Request:
    """A request on its way; header names in small letters."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    call: str = ""
    """The name of the call, as the service has it, as far as it matters here."""

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    def drop(self, *names: str) -> None:
        """Takes headers away, those that are there."""
        for name in names:
            self.headers.pop(name, None)


@dataclass
class Response:
    """An answer on its way."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def error(status: int, code: str) -> Response:
    """An answer as S3 gives it."""
    body = f"<Error><Code>{code}</Code><Message>{code} it is</Message></Error>"
    return Response(status, {"content-type": "application/xml"}, body.encode())


class Service(Protocol):
    """What the proxy has to know of a service."""

    def call_of(self, request: Request) -> str: ...

    def signed(self, request: Request, url: str) -> dict[str, str]:
        """The headers with which the service takes what may have been changed."""


class S3:
    """See `Service`."""

    def call_of(self, request: Request) -> str:
        query, copies = request.query, "x-amz-copy-source" in request.headers
        if "uploadId" in query:
            part = "UploadPartCopy" if copies else "UploadPart"
            return {
                "PUT": part, "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload",
            }[request.method]  # fmt: skip
        if "uploads" in query:
            return {"GET": "ListMultipartUploads", "POST": "CreateMultipartUpload"}[request.method]
        if "list-type" in query:
            return "ListObjectsV2"
        kind = "Object" if urlsplit(request.target).path.strip("/").count("/") else "Bucket"
        verbs = {"PUT": "Put", "GET": "Get", "HEAD": "Head", "DELETE": "Delete"}
        return verbs[request.method] + kind

    def signed(self, request: Request, url: str) -> dict[str, str]:
        kept = {k: v for k, v in request.headers.items() if k not in _OF_A_HOP | _SIGNED_ANEW}
        signed = AWSRequest(request.method, url, kept, request.body)
        S3SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", "us-east-1").add_auth(signed)
        return dict(signed.headers)


class Azure:
    """See `Service`. With a shared access signature, which is about no header, and no body."""

    def call_of(self, request: Request) -> str:
        kind = request.query.get("comp", ["blob"])[0]
        if "x-ms-copy-source" in request.headers:
            return "Copy Blob"
        return {
            ("GET", "list"): "List Blobs", ("GET", "blocklist"): "Get Block List",
            ("PUT", "blocklist"): "Put Block List", ("PUT", "block"): "Put Block",
            ("PUT", "blob"): "Put Blob", ("GET", "blob"): "Get Blob",
            ("HEAD", "blob"): "Get Blob Properties", ("DELETE", "blob"): "Delete Blob",
        }[request.method, kind]  # fmt: skip

    def signed(self, request: Request, url: str) -> dict[str, str]:
        headers = {k: v for k, v in request.headers.items() if k not in _OF_A_HOP}
        source = headers.get("x-ms-copy-source")
        if source is not None:
            # The service has to take it for an object of its own.
            there = urlsplit(url).netloc
            headers["x-ms-copy-source"] = urlsplit(source)._replace(netloc=there).geturl()
        return headers


def azure_error(status: int, code: str) -> Response:
    """An answer as Azure gives it."""
    return Response(status, {"x-ms-error-code": code})


Way = Callable[[Request], Response]
"""The way to the service and back."""
Fault = Callable[[Request, Way], Response]
"""What happens to a request; the second argument is the rest of the way."""


class Proxy:
    """Forwards everything to the service at `port`, through one fault."""

    def __init__(self, port: int, service: Service) -> None:
        self._port, self._service = port, service
        self.fault: Fault = honest
        self.seen: list[Request] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def forward(self, request: Request) -> Response:
        """The honest way."""
        url = f"http://127.0.0.1:{self._port}{request.target}"
        headers = self._service.signed(request, url)
        connection = HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request(request.method, request.target, request.body, headers)
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return Response(answer.status, headers, answer.read())
        finally:
            connection.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def _pass_on(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", 0)))
                request = Request(self.command, self.path, headers, body)
                request.call = proxy._service.call_of(request)
                proxy.seen.append(request)
                self._answer(request.method, proxy.fault(request, proxy.forward))

            def _answer(self, method: str, answer: Response) -> None:
                self.send_response_only(answer.status)
                for name, value in answer.headers.items():
                    if name not in _OF_A_HOP:
                        self.send_header(name, value)
                size = str(len(answer.body))
                if method == "HEAD":
                    size = answer.headers.get("content-length", "0")
                self.send_header("content-length", size)
                self.end_headers()
                if method != "HEAD":
                    self.wfile.write(answer.body)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on

        return Handler


@contextmanager
def proxy_to(port: int, service: Service | None = None) -> Iterator[Proxy]:
    """A started one, honest at first; to an S3 service unless to another."""
    proxy = Proxy(port, service or S3())
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()


# Faults.


def honest(request: Request, way: Way) -> Response:
    return way(request)


def dropping(*names: str, of: str = "") -> Fault:
    """These headers never arrive; only with calls `of` this name, if there is one."""

    def fault(request: Request, way: Way) -> Response:
        if of in ("", request.call):
            request.drop(*names)
        return way(request)

    return fault


def answering(call: str, answer: Response) -> Fault:
    """This call is never made, and answered so."""

    def fault(request: Request, way: Way) -> Response:
        return answer if request.call == call else way(request)

    return fault


def hiding(call: str, pattern: bytes) -> Fault:
    """The answer to this call comes without what matches."""

    def fault(request: Request, way: Way) -> Response:
        answer = way(request)
        if request.call == call:
            answer.body = re.sub(pattern, b"", answer.body, flags=re.DOTALL)
        return answer

    return fault


class Gate:
    """Holds the check up at one call, when the service has done it for the so-and-so-many-th
    time.
    """

    def __init__(self, call: str, number: int = 1) -> None:
        self._call, self._left = call, number
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, request: Request, way: Way) -> Response:
        answer = way(request)
        if request.call == self._call:
            self._left -= 1
            if not self._left:
                self.reached.set()
                self.opened.wait(60)
        return answer

"""A proxy in front of a real S3 service that spoils some of what goes through it, as services and
proxies do that are not what they seem. It signs anew what it has changed.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def call(self) -> str:
        """The name of the call, as S3 has it, as far as it matters here."""
        query, copies = self.query, "x-amz-copy-source" in self.headers
        if "uploadId" in query:
            part = "UploadPartCopy" if copies else "UploadPart"
            return {
                "PUT": part, "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload",
            }[self.method]  # fmt: skip
        if "uploads" in query:
            return {"GET": "ListMultipartUploads", "POST": "CreateMultipartUpload"}[self.method]
        if "list-type" in query:
            return "ListObjectsV2"
        kind = "Object" if urlsplit(self.target).path.strip("/").count("/") else "Bucket"
        return {"PUT": "Put", "GET": "Get", "HEAD": "Head", "DELETE": "Delete"}[self.method] + kind

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


Way = Callable[[Request], Response]
"""The way to the service and back."""
Fault = Callable[[Request, Way], Response]
"""What happens to a request; the second argument is the rest of the way."""


class Proxy:
    """Forwards everything to the service at `port`, through one fault."""

    def __init__(self, port: int) -> None:
        self._port = port
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
        kept = {k: v for k, v in request.headers.items() if k not in _OF_A_HOP | _SIGNED_ANEW}
        signed = AWSRequest(request.method, url, kept, request.body)
        S3SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", "us-east-1").add_auth(signed)
        connection = HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request(request.method, request.target, request.body, dict(signed.headers))
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
def proxy_to(port: int) -> Iterator[Proxy]:
    """A started one, honest at first."""
    proxy = Proxy(port)
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

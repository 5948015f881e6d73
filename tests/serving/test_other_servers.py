"""The application where no direct body is to be had: our own server over TLS, and other ASGI
servers, over HTTP/1.1 and HTTP/2. Each is a real process, spoken to by real clients.
"""

from __future__ import annotations

import gc
import hashlib
import os
import ssl
import subprocess
import sys
import threading
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import httpx
import pytest
from tusclient.client import TusClient

from tests.servers import free_port, tusserver_command
from tests.tus import OCTETS, VERSION, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MIB = 1024 * 1024
FACTORY = "tusserver:create_app"


@dataclass(frozen=True)
class Kind:
    """A server: its command line of port and certificate, started where `uploads` is to be."""

    command: Callable[[str, str, str], list[str]]
    is_tls: bool = True
    is_http2: bool = False


def _ours(port: str, chain: str, key: str) -> list[str]:
    return [*tusserver_command(), "--port", port, "--tls-certificate", chain, "--tls-key", key]


def _uvicorn(port: str, chain: str, key: str) -> list[str]:
    return [sys.executable, "-m", "uvicorn", "--factory", FACTORY, "--port", port]


def _uvicorn_tls(port: str, chain: str, key: str) -> list[str]:
    return [*_uvicorn(port, chain, key), "--ssl-certfile", chain, "--ssl-keyfile", key]


def _zttp(port: str, chain: str, key: str) -> list[str]:
    return [*_uvicorn_tls(port, chain, key), "--http", "zttp", "--http2"]


def _hypercorn(port: str, chain: str, key: str) -> list[str]:
    return [sys.executable, "-m", "hypercorn", f"{FACTORY}()", "--bind", f"localhost:{port}"]


def _hypercorn_tls(port: str, chain: str, key: str) -> list[str]:
    return [*_hypercorn(port, chain, key), "--certfile", chain, "--keyfile", key]


def _granian(port: str, chain: str, key: str) -> list[str]:
    name = ["--interface", "asgi", "--factory", FACTORY]
    return [sys.executable, "-m", "granian", *name, "--host", "127.0.0.1", "--port", port]


def _granian_tls(port: str, chain: str, key: str) -> list[str]:
    return [*_granian(port, chain, key), "--ssl-certificate", chain, "--ssl-keyfile", key]


KINDS = {
    "ours, TLS": Kind(_ours),
    "uvicorn": Kind(_uvicorn, is_tls=False),
    "uvicorn, TLS": Kind(_uvicorn_tls),
    "uvicorn with zttp, HTTP/2": Kind(_zttp, is_http2=True),
    "hypercorn": Kind(_hypercorn, is_tls=False),
    "hypercorn, HTTP/2": Kind(_hypercorn_tls, is_http2=True),
    "granian": Kind(_granian, is_tls=False),
    "granian, HTTP/2": Kind(_granian_tls, is_http2=True),
}


def new_client(kind: Kind, chain: Path) -> httpx.Client:
    trust = ssl.create_default_context(cafile=str(chain))
    transport = httpx.HTTPTransport(verify=trust, http1=not kind.is_http2, http2=kind.is_http2)
    return httpx.Client(transport=transport, headers=VERSION, timeout=20)


@dataclass(frozen=True)
class Remote:
    """A running server. `client` speaks to it as its kind is spoken to."""

    kind: Kind
    creation: str
    chain: Path
    uploads: Path
    client: httpx.Client

    def post(self, headers: dict[str, str]) -> httpx.Response:
        """A creation without a body. To hypercorn it ends with its head, as browsers send it: the
        empty frame that httpx sends behind a `Content-Length: 0` may come after the answer, and
        that ends the whole connection (https://github.com/pgjones/hypercorn/issues/329).
        """
        request = self.client.build_request("POST", self.creation, headers=headers)
        if self.kind.command is _hypercorn_tls:
            del request.headers["Content-Length"]
        return self.client.send(request)

    def create(self, length: int) -> str:
        answer = self.post({"Upload-Length": str(length)})
        assert answer.status_code == 201, answer
        assert answer.http_version == ("HTTP/2" if self.kind.is_http2 else "HTTP/1.1")
        return str(answer.url.join(answer.headers["Location"]))

    def offset(self, url: str) -> int:
        """By HEAD, once more where the connection has gone meanwhile, as clients do it."""
        try:
            answer = self.client.head(url)
        except httpx.RemoteProtocolError:
            answer = self.client.head(url)
        assert answer.status_code == 200, answer
        return int(answer.headers["Upload-Offset"])

    def patch(
        self, url: str, offset: int, data: bytes, more: dict[str, str] | None = None
    ) -> httpx.Response:
        headers = {**OCTETS, "Upload-Offset": str(offset), **(more or {})}
        return self.client.patch(url, headers=headers, content=data)

    def content(self, url: str) -> bytes:
        answer = self.client.get(url)
        assert answer.status_code == 200, answer
        return answer.content


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    chain, key = directory / "chain.pem", directory / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
               "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
               "subjectAltName=DNS:localhost", "-keyout", str(key),
               "-out", str(chain)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return chain, key


@pytest.fixture(scope="module", params=list(KINDS.values()), ids=list(KINDS))
def remote(
    request: pytest.FixtureRequest,
    certificate: tuple[Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Remote]:
    """Each server in turn, with default settings; shared by the tests of this module."""
    kind: Kind = request.param
    port = str(free_port())
    directory = tmp_path_factory.mktemp("server")
    creation = f"{'https' if kind.is_tls else 'http'}://localhost:{port}/files/"
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(
            kind.command(port, *map(str, certificate)), cwd=directory, stdout=log, stderr=log
        )
    try:
        with new_client(kind, certificate[0]) as client:
            ready = Remote(kind, creation, certificate[0], directory / "uploads", client)
            eventually(lambda: _is_ready(ready, process, directory / "log"), within=30)
            yield ready
    finally:
        process.kill()  # Some wait for clients that keep their connections.
        process.wait(20)


def _is_ready(remote: Remote, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        return remote.client.options(remote.creation).status_code == 200
    except httpx.TransportError:
        return False


class Cut(Exception):
    """Ends a body from the side of the client."""


def cut_body(data: bytes, have_arrived: Callable[[], bool]) -> Iterator[bytes]:
    """A body that breaks off after these bytes, once the server has them: a connection that is
    reset takes with it what nobody has read yet.
    """
    for start in range(0, len(data), 64 * 1024):
        yield data[start : start + 64 * 1024]
    eventually(have_arrived)
    raise Cut


def sha1(data: bytes) -> dict[str, str]:
    return {"Upload-Checksum": f"sha1 {b64encode(hashlib.sha1(data).digest()).decode()}"}


def test_an_upload_in_several_requests(remote: Remote) -> None:
    data = os.urandom(5 * MIB + 3)
    url = remote.create(len(data))
    assert remote.offset(url) == 0
    for start, end in ((0, 1), (1, 200_000), (200_000, len(data))):
        answer = remote.patch(url, start, data[start:end])
        assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, str(end))
        assert remote.offset(url) == end
    assert remote.content(url) == data


@pytest.mark.parametrize("length", [True, False], ids=["length told", "length not told"])
def test_a_body_that_breaks_off_is_kept_and_the_upload_goes_on(
    remote: Remote, length: bool
) -> None:
    data, sent = os.urandom(3 * MIB), MIB + 17
    url = remote.create(len(data))
    told = {"Content-Length": str(len(data))} if length else {}
    headers = {**OCTETS, "Upload-Offset": "0", **told}
    # Not by HEAD: ours shows nothing of a body of unknown length before its end, as there may be a
    # checksum behind it.
    file = remote.uploads / url.rpartition("/")[2]
    body = cut_body(data[:sent], lambda: file.stat().st_size == sent)
    with new_client(remote.kind, remote.chain) as other, pytest.raises(Cut):
        other.patch(url, headers=headers, content=body)
    eventually(lambda: remote.offset(url) == sent)
    answer = remote.patch(url, sent, data[sent:])
    assert answer.status_code == 204
    assert remote.content(url) == data


def test_a_newer_request_takes_over_from_one_that_is_stalled(remote: Remote) -> None:
    data = os.urandom(MIB)
    url = remote.create(len(data))
    release = threading.Event()

    def stalled() -> Iterator[bytes]:
        yield data[:300_000]
        release.wait(20)
        raise Cut

    def send() -> None:
        headers = {**OCTETS, "Upload-Offset": "0", "Content-Length": str(len(data))}
        with (
            new_client(remote.kind, remote.chain) as other,
            suppress(Cut, httpx.TransportError),
        ):
            other.patch(url, headers=headers, content=stalled())

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        eventually(lambda: remote.offset(url) == 300_000)
        answer = remote.patch(url, 300_000, data[300_000:])
        assert answer.status_code == 204
    finally:
        release.set()
        thread.join(20)
    assert remote.content(url) == data


def test_a_checksum_is_checked(remote: Remote) -> None:
    data = os.urandom(2 * MIB)
    url = remote.create(len(data))
    assert remote.patch(url, 0, data[:MIB], sha1(data[:MIB])).status_code == 204
    refused = remote.patch(url, MIB, data[MIB:], sha1(b"another"))
    assert refused.status_code == 460
    assert remote.offset(url) == MIB
    assert remote.patch(url, MIB, data[MIB:], sha1(data[MIB:])).status_code == 204
    assert remote.content(url) == data


@pytest.mark.parametrize("size", [1, 100_000, 8 * MIB])
def test_a_wrong_offset_is_told_however_large_the_body(remote: Remote, size: int) -> None:
    url = remote.create(size + 5)
    assert remote.patch(url, 0, b"first").status_code == 204
    # On a connection of its own: an answer that comes before the end of the body ends more than its
    # stream in hypercorn, now or a moment later (https://github.com/pgjones/hypercorn/issues/329).
    with new_client(remote.kind, remote.chain) as client:
        try:
            answer = replace(remote, client=client).patch(url, 0, bytes(size))
            assert (answer.status_code, answer.headers["Tus-Resumable"]) == (409, "1.0.0")
        except httpx.TransportError:
            # Nor does httpx see the answer of granian when its stream is closed under it. The
            # client finds out by HEAD.
            assert remote.kind.command in (_hypercorn_tls, _granian_tls)
    assert remote.offset(url) == 5
    assert remote.patch(url, 5, bytes(size)).status_code == 204


def test_uploads_are_created_with_their_bytes_joined_and_deleted(remote: Remote) -> None:
    urls = []
    for part in (b"hello ", b"world"):
        headers = {"Upload-Length": str(len(part)), "Upload-Concat": "partial", **OCTETS}
        answer = remote.client.post(remote.creation, headers=headers, content=part)
        assert (answer.status_code, answer.headers["Upload-Offset"]) == (201, str(len(part)))
        urls.append(answer.headers["Location"])
    final = remote.post({"Upload-Concat": f"final;{' '.join(urls)}"})
    assert final.status_code == 201
    url = str(final.url.join(final.headers["Location"]))
    assert remote.content(url) == b"hello world"
    assert remote.client.get(url, headers={"Range": "bytes=6-"}).content == b"world"
    assert remote.client.delete(url).status_code == 204
    assert remote.client.head(url).status_code in (404, 410)


def test_trailers_are_not_promised(remote: Remote) -> None:
    """Other servers do not hand them over, so that a checksum in one would never be checked."""
    extensions = remote.client.options(remote.creation).headers["Tus-Extension"].split(",")
    assert "checksum" in extensions
    assert ("checksum-trailer" in extensions) == (remote.kind.command is _ours)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_tuspy_uploads_and_resumes(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # HTTP/1.1, which those that speak HTTP/2 speak on the same port as well.
    data = os.urandom(3 * MIB + 1)
    (tmp_path / "file").write_bytes(data)
    client = TusClient(remote.creation)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(remote.chain))
    first = client.uploader(str(tmp_path / "file"), chunk_size=MIB, upload_checksum=True)
    first.upload(stop_at=MIB)
    assert first.url is not None
    assert remote.offset(first.url) == MIB
    again = client.uploader(str(tmp_path / "file"), chunk_size=MIB, url=first.url)
    again.upload()
    assert remote.content(str(again.url)) == data
    # It opens its file anew for each request and never closes it; no later test shall hear.
    del first, again
    gc.collect()

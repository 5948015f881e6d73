"""The shipped site for nginx (`deploy/nginx.conf`) in the real nginx, before a running server."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import re
import socket
import ssl
import subprocess
import sys
import tomllib
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.cutting import CuttingProxy
from tests.e2e.nginx import (
    DEPLOY,
    Proxy,
    nginx,
)
from tests.servers import process_server, running
from tests.tus import OCTETS, VERSION, Tus, chunked_headers, eventually
from tests.wire import Answer, Wire, chunked, head
from tusserver import create_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Serve

MEBI = 1024 * 1024


@pytest.fixture
def proxied(serve: Serve, tmp_path: Path) -> Iterator[Callable[..., Proxy]]:
    """A factory of nginx before a server with these settings."""
    with ExitStack() as stack:

        def start(*variants: str, creation: str = "/files/", **settings: object) -> Proxy:
            settings.setdefault("behind_proxy", True)
            address = serve(**settings).address
            return stack.enter_context(
                nginx(tmp_path / "nginx", address, *variants, creation=creation)
            )

        yield start


@pytest.fixture
def tus(proxied: Callable[..., Proxy]) -> Tus:
    """A server with the default settings, seen through nginx."""
    return proxied().tus


# What a client of any upload sees.


def test_a_whole_upload_passes(tus: Tus) -> None:
    url = tus.mk(11, {"Upload-Metadata": "filename aGVsbG8udHh0"})
    assert tus.pa(url, 0, b"hello ")["Upload-Offset"] == "6"
    answer = tus.hd(url)
    assert answer["Upload-Offset"] == "6"
    assert answer["Upload-Metadata"] == "filename aGVsbG8udHh0"
    assert tus.pa(url, 6, b"world").status == 204
    assert tus.content(url) == b"hello world"
    assert tus.delete(url).status == 204
    assert tus.hd(url).status == 404


def test_options_passes_with_what_the_server_offers(tus: Tus) -> None:
    answer = tus.options()
    assert answer.status == 200
    assert "creation" in answer["Tus-Extension"].split(",")
    assert answer["Tus-Version"] == "1.0.0"


def test_the_base_path_without_its_slash_is_not_redirected(tus: Tus) -> None:
    answer = tus.request("POST", "/files", {**VERSION, "Upload-Length": "3", "Content-Length": "0"})
    assert answer.status == 201
    assert re.fullmatch(r"/files/[0-9a-f]{32}", answer["Location"])


def test_location_is_the_path_that_the_client_uses(tus: Tus) -> None:
    answer = tus.post({"Upload-Length": "3"})
    assert re.fullmatch(r"/files/[0-9a-f]{32}", answer["Location"])


@pytest.mark.parametrize("base_path", ["/files/", "/"])
def test_location_below_another_site_has_its_prefix(
    proxied: Callable[..., Proxy], base_path: str
) -> None:
    creation = f"/portal/uploads{base_path}"
    tus = proxied("prefix", creation=creation, base_path=base_path).tus
    answer = tus.post({"Upload-Length": "5"})
    assert re.fullmatch(rf"{creation}[0-9a-f]{{32}}", answer["Location"])
    url = answer["Location"]
    assert tus.pa(url, 0, b"hello").status == 204
    assert tus.content(url) == b"hello"


def test_parts_are_joined_by_their_urls_below_a_prefix(proxied: Callable[..., Proxy]) -> None:
    tus = proxied("prefix", creation="/portal/uploads/files/").tus
    parts = [tus.made(data, {"Upload-Concat": "partial"}) for data in (b"hello ", b"world")]
    final = tus.location(tus.post({"Upload-Concat": f"final;{' '.join(parts)}"}))
    assert tus.content(final) == b"hello world"


@pytest.mark.parametrize("prefix", ["/evil", "https://evil.example"])
def test_a_prefix_that_the_client_made_up_does_not_get_through(tus: Tus, prefix: str) -> None:
    answer = tus.post({"Upload-Length": "5", "X-Forwarded-Prefix": prefix})
    assert re.fullmatch(r"/files/[0-9a-f]{32}", answer["Location"])


def test_one_connection_to_the_server_is_kept_for_many_requests(
    serve: Serve, tmp_path: Path
) -> None:
    address = serve().address
    assert isinstance(address, tuple)
    with (
        CuttingProxy(address, cuts=[]) as between,
        nginx(tmp_path / "nginx", between.address) as proxy,
    ):
        url = proxy.tus.made(b"hello")
        for _ in range(3):
            assert proxy.tus.content(url) == b"hello"
        assert between.accepted == 1


def test_other_paths_do_not_reach_the_server(tus: Tus) -> None:
    answer = tus.request("OPTIONS", "/filesystem")
    assert answer.status == 404
    assert answer.get("Tus-Version") is None


# Location as a full URL, and who is believed.

FAKED = {
    "Forwarded": "for=203.0.113.9;host=evil.example;proto=gopher",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "ftp",
    "X-Forwarded-For": "203.0.113.9",
}


@pytest.mark.parametrize(
    "faked", [pytest.param({}, id="plain"), pytest.param(FAKED, id="with faked headers")]
)
def test_location_url_has_the_host_that_the_client_named(
    proxied: Callable[..., Proxy], faked: dict[str, str]
) -> None:
    tus = proxied(location="url").tus
    answer = tus.post({"Host": "uploads.example:8000", "Upload-Length": "5", **faked})
    assert re.fullmatch(r"http://uploads\.example:8000/files/[0-9a-f]{32}", answer["Location"])


@pytest.mark.parametrize(
    ("behind_proxy", "scheme"),
    [pytest.param(True, "https", id="believed"), pytest.param(False, "http", id="not believed")],
)
def test_location_url_is_https_where_nginx_is_believed(
    proxied: Callable[..., Proxy], behind_proxy: bool, scheme: str
) -> None:
    proxy = proxied("tls", location="url", behind_proxy=behind_proxy)
    trust = ssl.create_default_context(cafile=str(proxy.directory / "uploads.pem"))
    with Wire(("127.0.0.1", proxy.port), tls=trust) as wire:
        headers = {"Host": "uploads.example", **VERSION, "Upload-Length": "5", **FAKED}
        answer = wire.request("POST", "/files/", {**headers, "Content-Length": "0"})
        assert re.fullmatch(
            rf"{scheme}://uploads\.example/files/[0-9a-f]{{32}}", answer["Location"]
        )
        patch = {**VERSION, **OCTETS, "Upload-Offset": "0", "Content-Length": "5"}
        path = answer["Location"].removeprefix(f"{scheme}://uploads.example")
        assert wire.request("PATCH", path, patch, b"hello").status == 204


@pytest.mark.parametrize(
    ("options", "logged"),
    [
        pytest.param(["--behind-proxy"], "127.0.0.2", id="believed"),
        pytest.param([], "127.0.0.1", id="not believed"),
        pytest.param(["--trusted-proxies", "192.0.2.1"], "127.0.0.1", id="another one believed"),
    ],
)
def test_the_logged_address_is_the_clients_where_nginx_is_believed(
    tmp_path: Path, options: list[str], logged: str
) -> None:
    with (
        process_server(tmp_path / "uploads", "--access-log", *options) as server,
        nginx(tmp_path / "nginx", server.tus.address) as proxy,
        # From an address that neither nginx nor the server has.
        socket.create_connection(
            ("127.0.0.1", proxy.port), 10, source_address=("127.0.0.2", 0)
        ) as connection,
    ):
        target = "/files/0123456789abcdef0123456789abcdef"
        connection.sendall(head("HEAD", target, {**VERSION, "X-Forwarded-For": "203.0.113.9"}))
        assert connection.recv(65536).startswith(b"HTTP/1.1 404")
        line = re.compile(rf'(\S+) "HEAD {target}" 404')
        eventually(lambda: line.search(server.log.read_text()) is not None)
        assert line.findall(server.log.read_text()) == [logged]


def test_cors_headers_come_once(tus: Tus) -> None:
    origin = {"Origin": "https://portal.example"}
    created = tus.post({"Upload-Length": "5", **origin})
    refused = tus.request("HEAD", "/files/0123456789abcdef", {**VERSION, **origin})
    assert refused.status == 404
    preflight = tus.request(
        "OPTIONS", "/files/", {**origin, "Access-Control-Request-Method": "PATCH"}
    )
    for answer in (created, refused, preflight):
        assert answer["Access-Control-Allow-Origin"] == "*"
        assert "Upload-Offset" in answer["Access-Control-Expose-Headers"]
    assert "PATCH" in preflight["Access-Control-Allow-Methods"]


# Bytes go through as they come.


def test_head_tells_the_live_offset_of_a_slow_patch(tus: Tus) -> None:
    url = tus.mk(12)
    with tus.begin_patch(url, 0, 12) as wire:
        for count in range(1, 4):
            wire.send(b"abc")
            eventually(partial(_stands_at, tus, url, 3 * count))
        wire.send(b"def")
        assert wire.answer("PATCH").status == 204
    assert tus.content(url) == b"abcabcabcdef"


def _stands_at(tus: Tus, url: str, offset: int) -> bool:
    return tus.off(url) == offset


def test_a_chunked_patch_passes(tus: Tus) -> None:
    url = tus.mk(11)
    body = chunked(b"hello ", b"world")
    assert tus.request("PATCH", url, chunked_headers(0), body).status == 204
    assert tus.content(url) == b"hello world"


@pytest.mark.parametrize("cut", [Wire.close, Wire.reset], ids=["closed", "reset"])
def test_a_cut_connection_keeps_its_bytes(tus: Tus, cut: Callable[[Wire], None]) -> None:
    data = os.urandom(3 * MEBI)
    url = tus.mk(len(data))
    wire = tus.begin_patch(url, 0, len(data))
    wire.send(data[: 2 * MEBI])
    eventually(partial(_stands_at, tus, url, 2 * MEBI))
    cut(wire)
    assert tus.pa(url, 2 * MEBI, data[2 * MEBI :]).status == 204
    assert tus.content(url) == data


def test_a_stalled_client_does_not_keep_another_from_going_on(tus: Tus) -> None:
    url = tus.mk(10)
    with tus.begin_patch(url, 0, 10) as stalled:
        stalled.send(b"hello")
        eventually(partial(_stands_at, tus, url, 5))
        assert tus.pa(url, 5, b"world").status == 204
        assert stalled.answer("PATCH").status == 423
    assert tus.content(url) == b"helloworld"


def test_an_early_refusal_reaches_a_client_that_is_still_sending(tus: Tus) -> None:
    url = tus.mk(60 * MEBI)
    block = bytes(MEBI)
    with tus.begin_patch(url, 7, 50 * MEBI) as wire:
        for _ in range(50):
            wire.send(block)
        answer = wire.answer("PATCH")
    assert answer.status == 409
    assert answer["Upload-Offset"] == "0"
    assert tus.off(url) == 0


def test_a_client_that_waits_for_100_continue_gets_it(tus: Tus) -> None:
    url = tus.mk(5)
    with tus.begin_patch(url, 0, 5, {"Expect": "100-continue"}) as wire:
        assert wire.socket.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.send(b"hello")
        assert wire.answer("PATCH").status == 204
    assert tus.content(url) == b"hello"


def test_a_body_of_200_mib_and_its_download_are_not_gathered_in_files(
    proxied: Callable[..., Proxy],
) -> None:
    proxy = proxied()
    block, count = os.urandom(MEBI), 200
    url = proxy.tus.mk(count * MEBI)
    with proxy.tus.begin_patch(url, 0, count * MEBI) as wire:
        for _ in range(count):
            wire.send(block)
        assert wire.answer("PATCH")["Upload-Offset"] == str(count * MEBI)
    assert downloaded_sha256(proxy.port, url) == hashlib.sha256(block * count).hexdigest()


def downloaded_sha256(port: int, url: str) -> str:
    digest = hashlib.sha256()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", url)
        answer = connection.getresponse()
        assert answer.status == 200
        while data := answer.read(MEBI):
            digest.update(data)
    return digest.hexdigest()


def test_a_trailer_that_nginx_drops_is_missed(tus: Tus) -> None:
    url = tus.mk(11)
    headers = chunked_headers(0, {"Trailer": "Upload-Checksum"})
    digest = base64.b64encode(hashlib.sha1(b"hello world").digest()).decode()
    body = chunked(b"hello world", trailers={"Upload-Checksum": f"sha1 {digest}"})
    answer = tus.request("PATCH", url, headers, body)
    assert answer.status == 400
    assert answer.body.startswith(b"ERR_INVALID_CHECKSUM")
    tus.assert_intact(url, 0, b"hello world")


# Downloads, and large headers.


def test_a_range_of_a_download_passes(tus: Tus) -> None:
    url = tus.made(bytes(range(256)) * 1024)
    answer = tus.get(url, {"Range": "bytes=256-511"})
    assert answer.status == 206
    assert answer.body == bytes(range(256))
    assert answer["Content-Range"] == f"bytes 256-511/{256 * 1024}"
    again = tus.get(url, {"Range": "bytes=0-0", "If-Range": answer["ETag"]})
    assert (again.status, again.body) == (206, b"\0")


def test_a_download_is_not_compressed(tus: Tus) -> None:
    text = b"many words " * 10_000
    # The type that nginx compresses wherever compression is on.
    url = tus.made(text, {"Upload-Metadata": "filetype dGV4dC9odG1s"})
    answer = tus.get(url, {"Accept-Encoding": "gzip"})
    assert answer.get("Content-Encoding") is None
    assert answer["Content-Length"] == str(len(text))
    assert answer.body == text


def test_a_final_upload_may_have_very_many_parts(tus: Tus) -> None:
    part = tus.made(b"x", {"Upload-Concat": "partial"})
    concat = "final;" + " ".join([part] * 3000)
    assert 110_000 < len(concat) < 128 * 1024
    created = tus.post({"Upload-Concat": concat})
    assert created.status == 201, created
    final = tus.location(created)
    assert tus.hd(final)["Upload-Concat"] == concat
    assert tus.content(final) == b"x" * 3000


# Other ways to reach the server, and a server that is away.


def test_the_server_may_listen_on_a_unix_socket(tmp_path: Path) -> None:
    app = create_app(upload_dir=tmp_path / "uploads", behind_proxy=True, location="url")
    with (
        running(app, unix=tmp_path / "s") as server,
        nginx(tmp_path / "nginx", server.address, "socket") as proxy,
    ):
        created = proxy.tus.post({"Upload-Length": "5", "Host": "uploads.example"})
        assert created["Location"].startswith("http://uploads.example/files/")
        url = proxy.tus.location(created)
        assert proxy.tus.pa(url, 0, b"hello").status == 204
        assert proxy.tus.content(url) == b"hello"


def test_an_upload_outlives_a_restart_of_the_server(tmp_path: Path) -> None:
    with (
        process_server(tmp_path / "uploads") as server,
        nginx(tmp_path / "nginx", server.tus.address) as proxy,
    ):
        tus = proxy.tus
        url = tus.mk(10)
        assert tus.pa(url, 0, b"hello").status == 204
        server.kill()
        # tus-js-client begins at byte 0 again after HEAD with any 5xx, but not after 423.
        assert_asked_to_come_again(tus.hd(url), 423)
        assert_asked_to_come_again(tus.pa(url, 5, b"world"), 503)
        server.start()
        tus.assert_intact(url, 5, b"world")
        assert tus.content(url) == b"helloworld"


def assert_asked_to_come_again(answer: Answer, status: int) -> None:
    assert answer.status == status
    assert int(answer["Retry-After"]) > 0
    assert answer["Cache-Control"] == "no-store"


def test_a_server_that_dies_under_a_patch_is_answered_for(tmp_path: Path) -> None:
    with (
        process_server(tmp_path / "uploads") as server,
        nginx(tmp_path / "nginx", server.tus.address) as proxy,
    ):
        url = proxy.tus.mk(10)
        with proxy.tus.begin_patch(url, 0, 10) as wire:
            wire.send(b"hello")
            eventually(partial(_stands_at, proxy.tus, url, 5))
            server.kill()
            assert_asked_to_come_again(wire.answer("PATCH"), 503)
        server.start()
        proxy.tus.assert_intact(url, 5, b"world")


def test_a_stop_of_the_server_reaches_the_client_with_its_own_answer(tmp_path: Path) -> None:
    with (
        process_server(tmp_path / "uploads") as server,
        nginx(tmp_path / "nginx", server.tus.address) as proxy,
    ):
        url = proxy.tus.mk(10)
        with proxy.tus.begin_patch(url, 0, 10) as wire:
            wire.send(b"hello")
            eventually(partial(_stands_at, proxy.tus, url, 5))
            assert server.stop() == 0
            answer = wire.answer("PATCH")
        assert answer.status == 503
        assert answer.body.startswith(b"ERR_SERVER_SHUTDOWN")
        server.start()
        proxy.tus.assert_intact(url, 5, b"world")


# The other files of deploy/ that can be tried here.


def test_the_time_to_stop_is_longer_than_the_servers() -> None:
    settings = tomllib.loads((DEPLOY / "tusserver.toml").read_text())
    seconds = int(settings["shutdown-timeout"].removesuffix("s"))
    unit = (DEPLOY / "tusserver.service").read_text()
    compose = (DEPLOY / "compose.yaml").read_text()
    for text, line in ((unit, r"TimeoutStopSec=(\d+)"), (compose, r"stop_grace_period: (\d+)s")):
        found = re.findall(line, text)
        assert len(found) == 1
        assert int(found[0]) > seconds


@pytest.mark.parametrize("with_examples", [False, True], ids=["as shipped", "with all examples"])
def test_the_shipped_settings_are_good(tmp_path: Path, with_examples: bool) -> None:
    text = (DEPLOY / "tusserver.toml").read_text()
    if with_examples:
        text, count = re.subn(r"^# (?=[a-z-]+ = )", "", text, flags=re.MULTILINE)
        assert count > 10
    config = tmp_path / "tusserver.toml"
    config.write_text(text)
    command = [sys.executable, "-m", "tusserver", "--config", str(config), "--check-config"]
    checked = subprocess.run(
        [*command, "--upload-dir", str(tmp_path / "uploads")], capture_output=True, text=True
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "The settings are good" in checked.stdout

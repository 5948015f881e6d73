"""The real nginx with the shipped site, before a running server."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers import free_port
from tests.tus import Tus, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.wire import Address

DEPLOY = Path(__file__).parents[2] / "deploy"

MAIN = """\
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
{user}
error_log stderr warn;
events {{ worker_connections 128; }}
http {{
    # As some distributions have it.
    gzip on;
    gzip_proxied any;
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/site.conf;
}}
"""


def nginx_program() -> str:
    # Debian keeps it where the PATH of ordinary users does not lead.
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.fail("nginx is not installed: run scripts/test, or apt-get install nginx-light")
    return program


def replaced(site: str, old: str, new: str) -> str:
    """A change that must be possible, so that the shipped file cannot drift away from its tests."""
    assert site.count(old) == 1, f"deploy/nginx.conf has {old!r} {site.count(old)} times"
    return site.replace(old, new)


def shipped_site(port: int, upstream: Address, *variants: str) -> str:
    """The shipped file with these variants in use, on this port, before this server."""
    site = (DEPLOY / "nginx.conf").read_text()
    for variant in variants:
        assert f"#{variant}#" in site
        site = site.replace(f"#{variant}# ", "")
    site = replaced(site, "    listen [::]:80;\n", "")
    if "tls" in variants:
        site = replaced(site, "    listen [::]:443 ssl;\n", "")
        site = replaced(site, "    listen 80;\n", "")
        site = replaced(site, "listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;")
    else:
        site = replaced(site, "listen 80;", f"listen 127.0.0.1:{port};")
    if isinstance(upstream, str):
        site = replaced(site, "    server 127.0.0.1:8080;\n", "")
        return replaced(site, "unix:/run/tusserver/tusserver.sock;", f"unix:{upstream};")
    return replaced(site, "127.0.0.1:8080", f"{upstream[0]}:{upstream[1]}")


@dataclass(frozen=True)
class Proxy:
    """A running nginx; `tus` speaks to it as to a server, `directory` holds its temporary files."""

    port: int
    tus: Tus
    directory: Path


@contextmanager
def nginx(
    directory: Path,
    upstream: Address,
    *variants: str,
    creation: str = "/files/",
    change: Callable[[str], str] = lambda site: site,
) -> Iterator[Proxy]:
    """nginx with the shipped site, changed by `change`, on a free port."""
    directory.mkdir()
    port = free_port()
    site = change(shipped_site(port, upstream, *variants))
    if "tls" in variants:
        certificate, key = make_certificate(directory)
        site = replaced(site, "/etc/ssl/certs/uploads.pem", str(certificate))
        site = replaced(site, "/etc/ssl/private/uploads.key", str(key))
    (directory / "site.conf").write_text(site)
    # Its workers must be able to enter the directories of this test.
    user = "user root;" if os.geteuid() == 0 else ""
    (directory / "main.conf").write_text(MAIN.format(directory=directory, user=user))
    log = directory / "error.log"
    with open(log, "wb") as out:
        process = subprocess.Popen(
            [nginx_program(), "-e", "stderr", "-p", str(directory), "-c", "main.conf"],
            stdout=out,
            stderr=out,
        )
    try:
        eventually(lambda: process.poll() is not None or is_listening(port))
        assert process.poll() is None, log.read_text()
        yield Proxy(port, Tus(("127.0.0.1", port), creation), directory)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    # It warns of each body or download that it gathers in a file.
    complaints = ["[alert]", "[emerg]"]
    if "proxy_request_buffering off" in site:
        complaints.append("temporary file")
    for complaint in complaints:
        assert complaint not in log.read_text(), log.read_text()


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return False
    return True


def make_certificate(directory: Path) -> tuple[Path, Path]:
    certificate, key = directory / "uploads.pem", directory / "uploads.key"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost",
            "-keyout", str(key), "-out", str(certificate),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return certificate, key

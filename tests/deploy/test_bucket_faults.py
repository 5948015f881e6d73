"""What clients see of a bucket that is there and does not take their bytes: a real S3 service
behind a real nginx that refuses in its place.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.nginx import is_listening, nginx_program
from tests.servers import ProcessServer, free_port
from tests.store.s3_server import BUCKET, S3Server
from tests.tus import Tus, eventually

MIB = 2**20
DATA = random.Random(4).randbytes(20 * MIB)
GATE = """\
daemon off;
pid {directory}/gate.pid;
{user}
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 0;
        location / {{
            if (-f {directory}/refuses) {{
                set $refused "$request_method";
            }}
            if ($refused = PUT) {{
                return {status};
            }}
            error_page 503 507 @refused;
            proxy_pass {endpoint};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
        }}
        location @refused {{
            default_type application/xml;
            return {status} "<Error><Code>{code}</Code><Message>-</Message></Error>";
        }}
    }}
}}
"""


class Gate:
    """nginx before the service; while it `refuses`, every PUT is answered so."""

    def __init__(self, directory: Path, s3: S3Server, status: int, code: str) -> None:
        directory.mkdir()
        self.port = free_port()
        self._refuses = directory / "refuses"
        user = "user root;" if os.geteuid() == 0 else ""
        config = GATE.format(
            directory=directory,
            user=user,
            port=self.port,
            status=status,
            code=code,
            endpoint=s3.endpoint,
        )
        (directory / "gate.conf").write_text(config)
        self.process = subprocess.Popen(
            [nginx_program(), "-e", "stderr", "-p", str(directory), "-c", "gate.conf"],
            stderr=subprocess.DEVNULL,
        )
        eventually(lambda: self.process.poll() is not None or is_listening(self.port))
        assert self.process.poll() is None

    def refuse(self) -> None:
        self._refuses.touch()

    def go_on(self) -> None:
        self._refuses.unlink()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture
def refused(
    request: pytest.FixtureRequest, tmp_path: Path, s3: S3Server
) -> Iterator[tuple[Tus, Gate]]:
    """A server behind a gate that refuses as the test says."""
    s3.publish_keys()
    gate = Gate(tmp_path / "gate", s3, *request.param)
    server = ProcessServer(
        tmp_path / "spool",
        f"--store=s3://{BUCKET}/{tmp_path.name}/",
        f"--s3-endpoint=http://127.0.0.1:{gate.port}",
        "--s3-preset=seaweedfs",
        "--object-flush=0.1s",
    )
    try:
        server.start()
        yield server.tus, gate
        assert server.stop() == 0
    finally:
        gate.close()


@pytest.mark.parametrize(
    ("refused", "status"),
    [
        pytest.param((503, "SlowDown"), 423, id="busy"),
        pytest.param((507, "XMinioStorageFull"), 507, id="full"),
    ],
    indirect=["refused"],
)
def test_a_bucket_that_takes_nothing_keeps_what_it_has(
    refused: tuple[Tus, Gate], status: int
) -> None:
    tus, gate = refused
    url = tus.mk(len(DATA))
    with tus.begin_patch(url, 0, len(DATA)) as wire:
        wire.send(DATA[: 10 * MIB])
        eventually(lambda: tus.off(url) > 8 * MIB)
        # Parts and then the record are tried four times, with growing pauses.
        wire.socket.settimeout(60)
        gate.refuse()
        with suppress(OSError):
            wire.send(DATA[10 * MIB :])
        assert wire.answer("PATCH").status == status
    # Looking needs no room.
    offset = tus.off(url)
    assert offset > 8 * MIB
    gate.go_on()
    tus.assert_intact(url, offset, DATA[offset:])
    assert tus.content(url) == DATA

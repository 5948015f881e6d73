"""The real tusd, built from its source when it is missing, and run as a process on a directory or
on a bucket.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.go_program import go_program
from tests.servers import free_port
from tests.store.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY
from tests.tus import Tus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.store.s3_server import S3Server

VERSION = "v2.10.0"
_MODULE = "github.com/tus/tusd/v2/cmd/tusd"


def tusd_binary() -> Path:
    """The path of tusd; the first call on a machine builds it, which takes a minute or two."""
    return go_program("tusd", _MODULE, VERSION)


@contextmanager
def tusd(binary: Path, upload_dir: Path) -> Iterator[Tus]:
    """tusd on this directory, stopped at the end."""
    log = upload_dir.parent / "tusd.log"
    with _running(binary, log, "-upload-dir", str(upload_dir)) as (tus, process):
        yield tus
        process.terminate()


@contextmanager
def tusd_on_s3(
    binary: Path, log: Path, server: S3Server, prefix: str, part_size: int
) -> Iterator[Tus]:
    """tusd on this part of a bucket, killed at the end."""
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    options = (
        "-s3-bucket", BUCKET, "-s3-endpoint", server.endpoint, "-s3-object-prefix", prefix,
        "-s3-part-size", str(part_size),
    )  # fmt: skip
    with _running(binary, log, *options, AWS_REGION="us-east-1", **keys) as (tus, process):
        yield tus
        process.kill()


@contextmanager
def _running(
    binary: Path, log: Path, *options: str, **environment: str
) -> Iterator[tuple[Tus, subprocess.Popen[bytes]]]:
    port = free_port()
    command = [
        str(binary), "-host", "127.0.0.1", "-port", str(port), "-base-path", "/files/",
        "-show-greeting=false", *options,
    ]  # fmt: skip
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, **environment}
        )
    try:
        _wait_until_ready(process, port, log)
        yield Tus(("127.0.0.1", port)), process
    finally:
        process.terminate()
        process.wait(20)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        assert process.poll() is None, log.read_text()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5):
                return
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)

"""The real tusd, built from its source when it is missing, and run as a process."""

from __future__ import annotations

import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.go_program import go_program
from tests.servers import free_port
from tests.tus import Tus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VERSION = "v2.10.0"
_MODULE = "github.com/tus/tusd/v2/cmd/tusd"


def tusd_binary() -> Path:
    """The path of tusd; the first call on a machine builds it, which takes a minute or two."""
    return go_program("tusd", _MODULE, VERSION)


@contextmanager
def tusd(binary: Path, upload_dir: Path) -> Iterator[Tus]:
    """tusd on this directory, stopped at the end."""
    port = free_port()
    command = [
        str(binary), "-host", "127.0.0.1", "-port", str(port), "-base-path", "/files/",
        "-upload-dir", str(upload_dir), "-show-greeting=false",
    ]  # fmt: skip
    with open(upload_dir.parent / "tusd.log", "ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_until_ready(process, port, upload_dir.parent / "tusd.log")
        yield Tus(("127.0.0.1", port))
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

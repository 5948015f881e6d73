"""The real tusd, built from its source when it is missing, and run as a process."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers import free_port
from tests.tus import Tus

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = "v2.10.0"
_MODULE = "github.com/tus/tusd/v2/cmd/tusd"
_CACHE = Path(__file__).parents[2] / ".cache"


def tusd_binary() -> Path:
    """The path of tusd; the first call on a machine builds it, which takes a minute or two."""
    binary = _CACHE / f"tusd-{VERSION}"
    _CACHE.mkdir(exist_ok=True)
    # Several test processes may come here at once; one of them builds.
    with open(_CACHE / "tusd.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            _build(binary)
    return binary


def _build(binary: Path) -> None:
    # `go install …@version` asks for a list of versions, which some module proxies refuse; inside a
    # module the exact version is enough.
    with tempfile.TemporaryDirectory(dir=_CACHE) as scratch:
        for command in (
            ["mod", "init", "scratch"],
            ["get", f"{_MODULE}@{VERSION}"],
            ["build", "-o", "tusd", _MODULE],
        ):
            subprocess.run(
                ["go", *command],
                cwd=scratch,
                env={**os.environ, "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"},
                check=True,
            )
        os.replace(Path(scratch) / "tusd", binary)


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

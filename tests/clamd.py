"""The real clamd, with a database of our own: nothing of the vendor's, and never freshclam."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# In two halves, so that no scanner takes this file for a virus.
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR" + b"-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
"""The test file that every scanner knows. Found as `Test.Eicar…`."""
MARKER = b"RESUMABLE-TEST-VIRUS" + b"-MARKER"
"""Harmless everywhere but here, and found wherever in a file it stands, as `Test.Marker…`."""


@dataclass
class RunningClamd:
    """A clamd on a unix socket and on a port of 127.0.0.1, the same ones for all its lives."""

    directory: Path
    socket: Path
    port: int
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def log(self) -> Path:
        """What it said on its standard output and error."""
        return self.directory / "clamd.log"

    def start(self) -> None:
        """Returns when it answers on both addresses."""
        assert self._process is None, "it is running"
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                [clamd_program(), "-c", str(self.directory / "clamd.conf")], stdout=log, stderr=log
            )
        deadline = time.monotonic() + 20
        while not (_answers(str(self.socket)) and _answers(("127.0.0.1", self.port))):
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.005)

    def stop(self) -> None:
        """Returns when it is gone; nothing happens if it is not running."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


@contextmanager
def clamd(directory: Path, **overrides: str) -> Iterator[RunningClamd]:
    """clamd with its files below `directory`; `overrides` are lines of its configuration, such as
    `StreamMaxLength="1M"`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    running = RunningClamd(directory, directory / "clamd.sock", free_port())
    _write_database(directory / "db")
    configuration = _configuration(running) | overrides
    lines = "".join(f"{name} {value}\n" for name, value in configuration.items())
    (directory / "clamd.conf").write_text(lines)
    running.start()
    try:
        yield running
    finally:
        running.stop()


def clamd_program() -> str:
    # Debian keeps it where the PATH of ordinary users does not lead.
    program = shutil.which("clamd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.fail("clamd is not installed: run scripts/test, or apt-get install clamav-daemon")
    return program


def _configuration(running: RunningClamd) -> dict[str, str]:
    # Without `User` it stays the user that started it, root included.
    return {
        "Foreground": "yes",
        "DatabaseDirectory": str(running.directory / "db"),
        "TemporaryDirectory": str(running.directory),
        "LocalSocket": str(running.socket),
        "LocalSocketMode": "600",
        "TCPSocket": str(running.port),
        "TCPAddr": "127.0.0.1",
        "StreamMaxLength": "64M",
        "MaxFileSize": "64M",
        "MaxScanSize": "256M",
        "AlertExceedsMax": "yes",
        "SelfCheck": "0",
    }


def _write_database(directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    md5 = hashlib.md5(EICAR, usedforsecurity=False).hexdigest()
    sha256 = hashlib.sha256(EICAR).hexdigest()
    (directory / "test.hdb").write_text(f"{md5}:{len(EICAR)}:Test.Eicar.Md5\n")
    (directory / "test.hsb").write_text(f"{sha256}:{len(EICAR)}:Test.Eicar.Sha256\n")
    (directory / "test.ndb").write_text(
        f"Test.Eicar.Body:0:*:{EICAR.hex()}\nTest.Marker:0:*:{MARKER.hex()}\n"
    )


def _answers(address: str | tuple[str, int]) -> bool:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as connection:
        connection.settimeout(5)
        try:
            connection.connect(address)
            connection.sendall(b"zPING\0")
            return connection.recv(16) == b"PONG\0"
        except OSError:
            return False

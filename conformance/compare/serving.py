"""A server of the benchmark that can be killed and started again, with its port and its folder."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bench.servers import PROJECT, Server

if TYPE_CHECKING:
    from types import TracebackType

_START = 30.0
"""Seconds in which a server has to answer."""


class DidNotStart(Exception):
    """The message is the end of what the server said."""


class Served:
    """Runs while it is entered. `log` is what it says; nothing is kept of its folder."""

    def __init__(self, server: Server, root: Path) -> None:
        self._server = server
        self._directory = Path(tempfile.mkdtemp(prefix="run-", dir=root))
        self.log = self._directory.with_suffix(".log")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The creation URL."""
        return f"{self._server.scheme}://127.0.0.1:{self.port}/files/"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Returns when it listens. Raises DidNotStart."""
        with open(self.log, "ab") as output:
            self._process = subprocess.Popen(
                self._server.command(self.port, self._directory),
                cwd=PROJECT,
                env={**os.environ, **self._server.environment(self._directory)},
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + _START
        while True:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise DidNotStart(self.log.read_text()[-500:])
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        """SIGKILL, and a new start."""
        self.kill()
        self.start()

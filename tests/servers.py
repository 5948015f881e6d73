"""Servers for tests: in a thread of this process, which coverage sees, or as a process to be
killed.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from tests.tus import Tus
from tests.wire import Address, ConnectionEnded, Wire
from tusserver import create_app
from tusserver.serving.connection import TusConnection
from tusserver.serving.server import Server
from tusserver.serving.sockets import listen_tcp, listen_unix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

    from tusserver.events.base import Event
    from tusserver.policy.access import Check
    from tusserver.policy.hooks import Hooks


class ThreadServer:
    """Our server around an application, in a thread."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        unix: Path | None = None,
        http: type[Any] = TusConnection,
        **config: Any,
    ) -> None:
        listener = listen_tcp("127.0.0.1", 0) if unix is None else listen_unix(unix, 0o600)
        self.address: Address = str(unix) if unix is not None else listener.getsockname()[:2]
        self.server = Server(
            uvicorn.Config(
                app,
                http=http,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                timeout_graceful_shutdown=5,
                **config,
            )
        )
        self._thread = threading.Thread(target=self.server.run, args=([listener],), daemon=True)

    def start(self) -> None:
        self._thread.start()
        while not self.server.started:
            assert self._thread.is_alive(), "the server did not start"
            time.sleep(0.005)

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive(), "the server did not stop"


@contextmanager
def running(app: ASGIApp, **options: Any) -> Iterator[ThreadServer]:
    """A ThreadServer around this application."""
    server = ThreadServer(app, **options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def serving(
    upload_dir: Path,
    *,
    events: list[Event] | None = None,
    check: Check | None = None,
    hooks: Hooks | None = None,
    **settings: Any,
) -> Iterator[Tus]:
    """A whole tusserver in a thread, with these settings."""
    listener = None if events is None else events.append
    app = create_app(
        upload_dir=upload_dir,
        listener=listener,
        check=check,
        hooks=hooks,
        access_log=False,
        **settings,
    )
    with running(app) as server:
        yield Tus(server.address, settings.get("base_path", "/files/"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


DIRECT = "TUSSERVER_TEST_DIRECT"
"""The variable by which `pytest --direct` reaches servers that are processes."""
_DIRECT_MAIN = (
    "from tusserver.cli.main import main; from tusserver.serving import connection; "
    "connection.DIRECT_MIN = 0; main()"
)


def tusserver_command() -> list[str]:
    """The command `tusserver`, with bodies of the kind that is tested."""
    if DIRECT in os.environ:
        return [sys.executable, "-c", _DIRECT_MAIN]
    return [sys.executable, "-m", "tusserver"]


class ProcessServer:
    """`tusserver` as a process of its own, on one port for all its lives."""

    def __init__(self, upload_dir: Path, *options: str, tls: ssl.SSLContext | None = None) -> None:
        self.upload_dir = upload_dir
        self.port = free_port()
        self.log = upload_dir.parent / f"{upload_dir.name}.log"
        self._command = [
            *tusserver_command(), "--port", str(self.port),
            "--upload-dir", str(upload_dir), "--no-access-log", *options,
        ]  # fmt: skip
        self._tls = tls
        self.process: subprocess.Popen[bytes] | None = None
        self.tus = Tus(("127.0.0.1", self.port))

    def start(self) -> None:
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self._command, stdout=log, stderr=log, start_new_session=True
            )
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            try:
                with Wire(("127.0.0.1", self.port), timeout=5, tls=self._tls) as wire:
                    wire.request("OPTIONS", "/files/")
                    return
            except (OSError, ConnectionEnded):
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL to the server and all its workers at once; returns when they are dead."""
        assert self.process is not None
        workers = self.workers()
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        while any(_is_alive(pid) for pid in workers):
            time.sleep(0.002)

    def workers(self) -> list[int]:
        """The process ids of the workers; none where the server serves by itself."""
        assert self.process is not None
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        return [int(child) for child in children.read_text().split()]

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(20)


def _is_alive(pid: int) -> bool:
    """A killed process may wait for its burial for a while; it is dead nevertheless."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@contextmanager
def process_server(
    upload_dir: Path, *options: str, tls: ssl.SSLContext | None = None
) -> Iterator[ProcessServer]:
    """A started ProcessServer, killed at the end if it still runs."""
    server = ProcessServer(upload_dir, *options, tls=tls)
    try:
        server.start()
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.kill()

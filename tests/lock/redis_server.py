"""A real Redis on a free port, which tests may stop, kill and start again."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from redis import Redis

from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PREFIX = "{tusserver}:"


class RedisServer:
    """One Redis that saves nothing by itself: what it knew is gone after a restart."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.port = free_port()
        self.address = f"redis://127.0.0.1:{self.port}"
        self.snapshot = directory / "dump.rdb"
        self._directory = directory
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            "redis-server", "--port", str(self.port), "--bind", "127.0.0.1",
            "--save", "", "--appendonly", "no", "--dir", str(self._directory), *self._options,
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
                return
            except OSError:
                assert self._process.poll() is None, "redis-server did not start"
                assert time.monotonic() < deadline
                time.sleep(0.01)

    def let_age(self) -> None:
        """Makes it a Redis that has been there for long, which gives out locks at once."""
        with self.client() as client:
            info = client.info("server")
            ground = {"run_id": info["run_id"], "born": 1}
            client.hset(f"{PREFIX}ground", mapping=ground)

    def client(self, password: str | None = None) -> Redis:
        """A client of the test's own."""
        return Redis(port=self.port, decode_responses=True, password=password)

    def save(self) -> None:
        """From now on it comes back as it is now."""
        with self.client() as client:
            client.save()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def pause(self) -> None:
        """It answers nobody until it goes on; its time and that of its keys goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def holders(self) -> int:
        """How many locks it knows of."""
        with self.client() as client:
            return len(client.keys(f"{PREFIX}lock:*"))


@contextmanager
def redis_server(directory: Path, *options: str) -> Iterator[RedisServer]:
    """A started Redis that gives out locks at once."""
    server = RedisServer(directory, *options)
    server.start()
    try:
        if not options:
            server.let_age()
        yield server
    finally:
        server.go_on()
        server.kill()

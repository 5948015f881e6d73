"""The cluster of `deploy/cluster/` on this machine: three nodes with the settings of compose.yaml
and nginx with its configuration, before a real Redis and a real S3 service.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.deploy.composed import CLUSTER, node_options, services
from tests.e2e.nginx import is_listening, nginx_program
from tests.lock.redis_server import RedisServer, redis_server
from tests.servers import ProcessServer, free_port
from tests.store.s3_server import BUCKET, S3Server, s3_server
from tests.tus import Tus, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LISTEN = "        listen 80;\n        listen [::]:80;\n"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def replaced(text: str, old: str, new: str, count: int = 1) -> str:
    """A change that must be possible, so that the shipped file cannot drift away from its tests."""
    assert text.count(old) == count, f"nginx.conf has {old!r} {text.count(old)} times"
    return text.replace(old, new)


def shipped_nginx(directory: Path, port: int, nodes: list[int]) -> str:
    """The shipped configuration on this port, before nodes on these."""
    text = (CLUSTER / "nginx.conf").read_text()
    text = replaced(text, LISTEN, f"        listen 127.0.0.1:{port};\n")
    for number, node in enumerate(nodes, 1):
        text = replaced(text, f"172.31.77.1{number}:8080", f"127.0.0.1:{node}")
    # Files of a test, and its own pace.
    paths = "".join(f"    {name}_temp_path {directory}/{name};\n" for name in TEMPORARY)
    text = replaced(text, "http {\n", f"http {{\n{paths}")
    text = replaced(text, "/dev/stdout", f"{directory}/access.log")
    text = replaced(text, "worker_processes auto;", "worker_processes 2;")
    # More than this machine may allow.
    text = replaced(text, "worker_rlimit_nofile 65536;", "")
    return replaced(text, "worker_connections 16384;", "worker_connections 256;")


class Balancer:
    """nginx before some nodes, on one port for all its lives."""

    def __init__(self, directory: Path, nodes: list[int]) -> None:
        directory.mkdir()
        self.port = free_port()
        self.tus = Tus(("127.0.0.1", self.port))
        self._directory = directory
        self.access_log = directory / "access.log"
        self.error_log = directory / "error.log"
        self._shipped = shipped_nginx(directory, self.port, nodes)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, look_timeout: int = 45) -> None:
        """With an empty access log. It waits for an answer to what only looks for some seconds."""
        self.access_log.unlink(missing_ok=True)
        text = replaced(
            self._shipped, "proxy_read_timeout 45s;", f"proxy_read_timeout {look_timeout}s;"
        )
        (self._directory / "nginx.conf").write_text(text)
        user = "user root; " if os.geteuid() == 0 else ""
        more = f"{user}daemon off; pid {self._directory}/nginx.pid;"
        with self.error_log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    nginx_program(), "-e", "stderr", "-p", str(self._directory), "-c", "nginx.conf",
                    "-g", more,
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )  # fmt: skip
        process = self.process
        eventually(lambda: process.poll() is not None or is_listening(self.port))
        assert process.poll() is None, self.error_log.read_text()

    def stop(self) -> None:
        """Gracefully, as the container is stopped."""
        self._end(lambda process: process.send_signal(signal.SIGQUIT))
        for complaint in ("[alert]", "[emerg]", "temporary file"):
            assert complaint not in self.error_log.read_text(), self.error_log.read_text()

    def kill(self) -> None:
        self._end(lambda process: os.killpg(process.pid, signal.SIGKILL))

    def _end(self, tell: Callable[[subprocess.Popen[bytes]], None]) -> None:
        assert self.process is not None
        tell(self.process)
        self.process.wait(20)
        eventually(lambda: not is_listening(self.port))

    def upstreams(self, request: str, count: int) -> list[str]:
        """The nodes that each request whose first line begins so was passed to, by nginx's own log
        since its start; there must have been so many of them.
        """
        line = re.compile(rf'"{re.escape(request)}.* upstream=(.+)/[^/]*$', re.MULTILINE)
        # It writes a line after the answer.
        eventually(lambda: len(line.findall(self.access_log.read_text())) >= count)
        found = line.findall(self.access_log.read_text())
        assert len(found) == count, found
        return found


@dataclass
class Cluster:
    """A running cluster."""

    redis: RedisServer
    s3: S3Server
    nodes: list[ProcessServer]
    nginx: Balancer
    frozen: list[ProcessServer] = field(default_factory=list)

    @property
    def tus(self) -> Tus:
        """The cluster as clients see it."""
        return self.nginx.tus

    def revive(self) -> None:
        """All parts run again; nginx forgets what it has learned of them."""
        for node in list(self.frozen):
            self.thaw(node)
        for node in self.nodes:
            assert node.process is not None
            if node.process.poll() is not None:
                node.start()
        assert self.nginx.process is not None
        if self.nginx.process.poll() is None:
            self.nginx.kill()
        self.nginx.start()

    def freeze(self, node: ProcessServer) -> None:
        assert node.process is not None
        self.frozen.append(node)
        node.process.send_signal(signal.SIGSTOP)

    def thaw(self, node: ProcessServer) -> None:
        self.frozen.remove(node)
        assert node.process is not None
        if node.process.poll() is None:
            node.process.send_signal(signal.SIGCONT)

    def frozen_with_bytes(self) -> ProcessServer:
        """Of the frozen nodes the one that has been sent something and cannot read it."""
        found: list[ProcessServer] = []

        def look() -> bool:
            waiting = _ports_with_unread_bytes()
            found[:] = [node for node in self.frozen if node.port in waiting]
            return bool(found)

        eventually(look)
        [node] = found
        return node


def _ports_with_unread_bytes() -> set[int]:
    ports = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, queues, *_ = line.split()
        is_established = state == "01"
        if is_established and int(queues.partition(":")[2], 16):
            ports.add(int(local.partition(":")[2], 16))
    return ports


@contextmanager
def cluster(directory: Path) -> Iterator[Cluster]:
    """A started one."""
    environment = services()["node1"]["environment"]
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(directory))
        s3 = stack.enter_context(s3_server(directory))
        s3.publish_keys()
        options = node_options(
            environment,
            s3_endpoint=s3.endpoint,
            store=f"s3://{BUCKET}/tusserver/",
            lock=redis.address,
            trusted_proxies="127.0.0.1",
            object_flush="0.1s",
            location="url",
        )
        nodes = [
            ProcessServer(directory / f"node{number}", *options, "--access-log")
            for number in (1, 2, 3)
        ]
        balancer = Balancer(directory / "nginx", [node.port for node in nodes])
        running = Cluster(redis, s3, nodes, balancer)
        stack.callback(_end, running)
        for node in nodes:
            node.start()
        balancer.start()
        yield running
        running.revive()
        balancer.stop()


def _end(running: Cluster) -> None:
    for node in running.nodes:
        if node.process is not None and node.process.poll() is None:
            node.kill()
    process = running.nginx.process
    if process is not None and process.poll() is None:
        running.nginx.kill()

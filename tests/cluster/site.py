"""A whole site: three servers that keep nothing themselves behind the real nginx, a real Redis, and
a real S3 service behind a gate that can make it a bad one.
"""

from __future__ import annotations

import secrets
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from tests.cluster.gate import S3Gate
from tests.e2e.nginx import nginx, replaced
from tests.lock.redis_server import RedisServer, redis_server
from tests.servers import ProcessServer
from tests.store.bucket import Prefix
from tests.store.s3_server import BUCKET, S3Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.tus import Tus

NODES = 3


class Site:
    """What a test can do to it. `tus` is the site as clients see it, through nginx."""

    def __init__(
        self, s3: S3Server, gate: S3Gate, redis: RedisServer, directory: Path, *more: str
    ) -> None:
        self.s3, self.gate, self.redis = s3, gate, redis
        self.prefix = Prefix(s3, f"{secrets.token_hex(4)}/")
        options = (
            f"--store=s3://{BUCKET}/{self.prefix.prefix}", f"--s3-endpoint={gate.endpoint}",
            "--s3-preset=seaweedfs", "--object-part-size=5MiB", "--object-flush=1s",
            f"--lock={redis.address}", "--behind-proxy", "--api=on", "--log-level=warning", *more,
        )  # fmt: skip
        self.nodes = [
            ProcessServer(directory / f"node-{number}", *options) for number in range(NODES)
        ]
        self.tus: Tus = self.nodes[0].tus

    def logs(self) -> str:
        return "".join(node.log.read_text() for node in self.nodes)


def _before_all(nodes: list[ProcessServer], site: str) -> str:
    """The shipped site for nginx with more servers than one."""
    first, *others = (f"    server 127.0.0.1:{node.port};\n" for node in nodes)
    return replaced(site, first, "".join((first, *others)))


@contextmanager
def whole_site(s3: S3Server, directory: Path, *options: str) -> Iterator[Site]:
    """A running one, with further options for its nodes."""
    s3.publish_keys()
    with ExitStack() as stack:
        gate = stack.enter_context(S3Gate(("127.0.0.1", s3.port)))
        redis = stack.enter_context(redis_server(directory))
        site = Site(s3, gate, redis, directory, *options)
        for node in site.nodes:
            stack.callback(_end, node)
            node.start()
        proxy = nginx(
            directory / "nginx",
            ("127.0.0.1", site.nodes[0].port),
            change=lambda text: _before_all(site.nodes, text),
        )
        site.tus = stack.enter_context(proxy).tus
        yield site


def _end(node: ProcessServer) -> None:
    if node.process is not None and node.process.poll() is None:
        node.kill()

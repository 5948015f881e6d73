"""What a node needs of memory is bounded by its settings, whatever its clients do."""

from __future__ import annotations

import random
import secrets
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers import ProcessServer, process_server
from tests.store.s3_server import BUCKET, S3Server
from tests.tus import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 2**20
PARTS = 32
"""MiB that the settings allow for parts on their way."""
REST = 48
"""MiB for everything else: connections, buffers of both HTTP libraries, what the allocator keeps.
A tenth of what the same clients would take without a bound."""
FAST, SLOW = 16, 100
DATA = random.Random(4).randbytes(24 * MIB)
RATE = 64 * 1024

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def node(s3: S3Server, tmp_path: Path) -> Iterator[ProcessServer]:
    s3.publish_keys()
    options = (
        f"--store=s3://{BUCKET}/{secrets.token_hex(4)}", f"--s3-endpoint={s3.endpoint}",
        "--s3-preset=seaweedfs", "--object-part-size=5MiB", f"--object-memory={PARTS}MiB",
        "--object-flush=2s", "--api=off",
    )  # fmt: skip
    with process_server(tmp_path / "uploads", *options) as server:
        for _ in range(2):
            assert server.tus.content(server.tus.made(DATA[: 6 * MIB])) == DATA[: 6 * MIB]
        yield server


class Peak:
    """The most memory that a process has had since this was made."""

    def __init__(self, node: ProcessServer) -> None:
        assert node.process is not None
        self._of = Path(f"/proc/{node.process.pid}")
        (self._of / "clear_refs").write_text("5")
        self._before = self._read("VmRSS")

    def _read(self, name: str) -> int:
        for line in (self._of / "status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) // 1024
        raise AssertionError(name)

    def grown(self) -> int:
        """MiB beyond what it had in the beginning."""
        return self._read("VmHWM") - self._before


def test_fast_clients_stay_within_the_bound(node: ProcessServer) -> None:
    urls = [node.tus.mk(len(DATA)) for _ in range(FAST)]
    failures: list[object] = []
    peak = Peak(node)

    def send(url: str) -> None:
        answer = node.tus.pa(url, 0, DATA)
        if answer.status != 204:
            failures.append(answer)

    senders = [threading.Thread(target=send, args=(url,), daemon=True) for url in urls]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(200)
    assert not failures
    assert node.tus.content(urls[-1]) == DATA
    assert peak.grown() < PARTS + REST


def test_slow_clients_stay_within_the_bound_and_stall_nobody(node: ProcessServer) -> None:
    tus = node.tus
    urls = [tus.mk(len(DATA)) for _ in range(SLOW)]
    peak = Peak(node)
    with ExitStack() as stack:
        wires = [stack.enter_context(tus.begin_patch(url, 0, len(DATA))) for url in urls]
        sent = 0
        begun = time.monotonic()
        while sent < 10 * RATE:
            for wire in wires:
                wire.send(DATA[sent : sent + RATE // 4])
            sent += RATE // 4
            time.sleep(max(0.0, begun + sent / RATE - time.monotonic()))
            if sent == 5 * RATE:
                assert tus.content(tus.made(DATA)) == DATA
        eventually(lambda: all(tus.off(url) == sent for url in urls[::10]), within=60)
    assert peak.grown() < PARTS + REST

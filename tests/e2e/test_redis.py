"""Several servers on one folder, with their locks in Redis: whichever of them a request comes to,
an upload goes on, and two requests never both get their bytes in at the same place.
"""

from __future__ import annotations

import random
import signal
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from tests.lock.redis_server import RedisServer, redis_server
from tests.servers import ProcessServer
from tests.tus import VERSION, Tus, eventually, patch_headers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.wire import Answer, Wire

ROUNDS = 120
HALF = 100_000
DATA = random.Random(1).randbytes(2 * HALF)


class Site:
    """A Redis, and three servers; one of them has two workers."""

    def __init__(self, directory: Path, redis: RedisServer) -> None:
        self.redis = redis
        self.upload_dir = directory / "uploads"
        self.upload_dir.mkdir()
        lock = ("--lock", redis.address)
        self.nodes = [
            ProcessServer(self.upload_dir, *lock, *more) for more in ((), (), ("--workers", "2"))
        ]

    @property
    def tus(self) -> list[Tus]:
        return [node.tus for node in self.nodes]

    def stored(self, url: str) -> bytes:
        return (self.upload_dir / url.rpartition("/")[2]).read_bytes()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    with redis_server(directory) as redis:
        site = Site(directory, redis)
        try:
            for node in site.nodes:
                node.start()
            yield site
        finally:
            for node in site.nodes:
                if node.process is not None and node.process.poll() is None:
                    node.kill()


def begun(tus: Tus, url: str, offset: int, length: int, data: bytes) -> Wire:
    """A connection with a PATCH of which only these bytes have been sent yet."""
    wire = tus.begin_patch(url, offset, length)
    wire.send(data)
    return wire


def test_an_upload_goes_on_wherever_its_requests_come_to(site: Site) -> None:
    url = site.tus[0].mk(len(DATA))
    step = len(DATA) // 8
    for number in range(8):
        node = site.tus[number % 3]
        offset = site.tus[(number + 1) % 3].off(url)
        assert offset == number * step
        assert node.pa(url, offset, DATA[offset : offset + step]).status == 204
    assert [tus.content(url) for tus in site.tus] == [DATA] * 3
    assert site.tus[2].delete(url).status == 204
    assert [tus.hd(url).status for tus in site.tus] == [404] * 3


def test_a_newer_request_takes_an_upload_over_from_another_server(site: Site) -> None:
    old, new = site.tus[0], site.tus[1]
    url = new.mk(len(DATA))
    with begun(old, url, 0, len(DATA), DATA[:HALF]) as stalled:
        eventually(lambda: new.off(url) == HALF)
        assert new.pa(url, HALF, DATA[HALF:]).status == 204
        assert stalled.answer("PATCH").status == 423
    assert old.content(url) == DATA


def test_two_requests_at_one_offset_never_both_succeed(site: Site) -> None:
    chance = random.Random(2)
    url = site.tus[0].mk(10**9)
    barrier, right = Barrier(2), b""

    def send(tus: Tus, piece: bytes) -> Answer:
        barrier.wait(20)
        return tus.pa(url, len(right), piece)

    wins = 0
    with ThreadPoolExecutor(2) as threads:
        for _ in range(ROUNDS):
            pieces = [chance.randbytes(chance.randint(1, 5000)) for _ in range(2)]
            sent = list(threads.map(send, chance.sample(site.tus, 2), pieces))
            succeeded = [
                piece for answer, piece in zip(sent, pieces, strict=True) if answer.status == 204
            ]
            assert len(succeeded) <= 1, sent
            assert {answer.status for answer in sent} <= {204, 409, 423}, sent
            added = site.stored(url)[len(right) :]
            assert len(right) + len(added) == site.tus[0].off(url)
            if succeeded:
                assert added == succeeded[0]
            else:
                assert any(piece.startswith(added) for piece in pieces)
            wins += len(succeeded)
            right += added
    assert wins > ROUNDS // 2
    assert site.stored(url) == right


def test_an_upload_goes_on_at_another_server_when_its_own_is_killed(site: Site) -> None:
    killed, other = site.nodes[1], site.tus[0]
    url = other.mk(len(DATA))
    with begun(killed.tus, url, 0, len(DATA), DATA[:HALF]):
        eventually(lambda: other.off(url) == HALF)
        killed.kill()
    # The lock runs out while this waits for it, which is shorter than anybody's patience.
    assert other.pa(url, HALF, DATA[HALF:]).status == 204
    assert site.tus[2].content(url) == DATA
    killed.start()


def test_uploads_go_on_after_redis_was_away_and_has_forgotten_everything(site: Site) -> None:
    tus, other = site.tus[0], site.tus[1]
    url, fresh = tus.mk(len(DATA)), other.mk(len(DATA))
    with begun(tus, url, 0, len(DATA), DATA[:HALF]) as running:
        eventually(lambda: tus.off(url) == HALF)
        site.redis.kill()
        # Without locks there are no changes, and a look needs none.
        refused = other.pa(fresh, 0, DATA)
        assert refused.status == 423
        assert "retry-after" in dict(refused.headers)
        assert other.off(fresh) == 0
        # The request that runs is ended before its lock could be somebody else's.
        assert running.answer("PATCH").status == 423
    site.redis.start()
    for node, path, offset in ((other, url, HALF), (tus, fresh, 0)):
        eventually(lambda: node.pa(path, offset, DATA[offset:]).status == 204, within=30)  # noqa: B023
        assert node.content(path) == DATA


def test_a_running_request_does_not_feel_that_redis_forgets_everything(site: Site) -> None:
    tus, other = site.tus[0], site.tus[1]
    url = tus.mk(len(DATA))
    with begun(tus, url, 0, len(DATA), DATA[:HALF]) as running:
        eventually(lambda: tus.off(url) == HALF)
        with site.redis.client() as client:
            client.flushall()
        eventually(lambda: other.post({"Upload-Length": "1"}).status == 201, within=30)
        # Locks are given out again, and this one is still there.
        assert site.redis.holders() == 1
        running.send(DATA[HALF:])
        assert running.answer("PATCH").status == 204
    assert other.content(url) == DATA


def test_a_server_that_was_stopped_for_long_acknowledges_nothing(site: Site) -> None:
    stopped, other = site.nodes[0], site.tus[1]
    assert stopped.process is not None
    url = other.mk(len(DATA))
    with begun(stopped.tus, url, 0, HALF, DATA[: HALF - 1]) as running:
        eventually(lambda: other.off(url) == HALF - 1)
        stopped.process.send_signal(signal.SIGSTOP)
        running.send(DATA[HALF - 1 : HALF])
        assert other.pa(url, HALF - 1, DATA[HALF - 1 :]).status == 204
        stopped.process.send_signal(signal.SIGCONT)
        assert running.answer("PATCH").status == 423
    assert other.content(url) == DATA


def test_the_password_is_shown_nowhere(site: Site, tmp_path: Path) -> None:
    secret = site.redis.address.replace("://", "://default:hunter2@")
    with site.redis.client() as client:
        client.config_set("requirepass", "hunter2")
    try:
        node = ProcessServer(tmp_path / "uploads", "--lock", secret, "--log-level", "debug")
        node.start()
        url = node.tus.mk(3)
        site.redis.pause()
        assert node.tus.request("PATCH", url, patch_headers(0, 3), b"abc").status == 423
        site.redis.go_on()
        eventually(lambda: node.tus.pa(url, 0, b"abc").status == 204)
        assert node.tus.request("HEAD", url, VERSION).status == 200
        assert node.stop() == 0
        assert "hunter2" not in node.log.read_text()
    finally:
        with site.redis.client("hunter2") as client:
            client.config_set("requirepass", "")

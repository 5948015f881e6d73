"""Live progress of several servers with their locks in Redis: what one of them stores, those who
watch another hear of, and whatever becomes of Redis they get there.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.lock.redis_server import PREFIX, RedisServer, redis_server
from tests.servers import ProcessServer
from tests.status.site import ADMIN, KIM, LEE, SECRET, Api, Events
from tests.tus import VERSION, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.tus import Tus

STEP = 100_000
STEPS = 8
ALL = STEP * STEPS

pytestmark = pytest.mark.timeout(120)


class Site:
    """A Redis, and two servers on one folder; the second one has two workers."""

    def __init__(self, directory: Path, redis: RedisServer) -> None:
        self.redis = redis
        (directory / "uploads").mkdir()
        (directory / "secret").write_bytes(SECRET)
        options = (
            "--lock", redis.address, "--jwt-secret-file", str(directory / "secret"),
            "--jwt-admin-claim", "roles",
        )  # fmt: skip
        self.nodes = [
            ProcessServer(directory / "uploads", *options, *more)
            for more in ((), ("--workers", "2"))
        ]

    @property
    def tus(self) -> list[Tus]:
        return [node.tus for node in self.nodes]

    def api(self, number: int) -> Api:
        return Api(self.nodes[number].tus)

    def commands(self) -> dict[str, int]:
        """How often each command has been called."""
        with self.redis.client() as client:
            told: dict[str, Any] = client.info("commandstats")
        return {name: stats["calls"] for name, stats in told.items()}


@contextmanager
def running_site(directory: Path) -> Iterator[Site]:
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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site")) as site:
        yield site


class Overheard(threading.Thread):
    """Counts what is said on the channel of hints."""

    def __init__(self, redis: RedisServer) -> None:
        super().__init__(daemon=True)
        self.count = 0
        self._client = Redis(port=redis.port)
        self._channel: Any = self._client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self._channel.psubscribe(f"{PREFIX}hints:*")
        self.start()

    def run(self) -> None:
        with suppress(RedisConnectionError):
            for message in self._channel.listen():
                self.count += message["type"] == "pmessage"


def create(tus: Tus, user: dict[str, str]) -> str:
    return tus.location(tus.post({"Upload-Length": str(ALL), **user}))


def send(tus: Tus, url: str, user: dict[str, str], events: Events | None = None) -> None:
    """All of it in one request, each piece once the watcher has seen the one before."""
    with tus.begin_patch(url, 0, ALL, user) as wire:
        for step in range(1, STEPS):
            wire.send(bytes(STEP))
            if events is not None:
                events.until("upload", url=url, offset=step * STEP)
        wire.send(bytes(STEP))
        assert wire.answer("PATCH").status == 204


def stored(tus: Tus, url: str) -> int:
    return int(tus.request("HEAD", url, {**VERSION, **KIM})["Upload-Offset"])


def assert_never_back(events: Events, url: str) -> None:
    offsets = [
        data["offset"] for name, data in events.told if name == "upload" and data["url"] == url
    ]
    assert offsets == sorted(offsets)


@contextmanager
def watching(site: Site, number: int, user: dict[str, str]) -> Iterator[Events]:
    with site.api(number).events("events", user) as events:
        events.until("ready")
        yield events


@pytest.mark.parametrize(("sender", "watcher"), [(0, 1), (1, 0), (1, 1)])
def test_who_watches_one_server_sees_what_another_stores(
    site: Site, sender: int, watcher: int
) -> None:
    with watching(site, watcher, KIM) as events:
        url = create(site.tus[sender], KIM)
        events.until("upload", url=url, offset=0)
        send(site.tus[sender], url, KIM, events)
        assert events.until("upload", url=url, state="finished")["percent"] == 100.0
        assert_never_back(events, url)
        assert site.tus[sender].delete(url, KIM).status == 204
        events.until("removed")


def test_nobody_hears_of_the_uploads_of_others(site: Site) -> None:
    with (
        watching(site, 1, KIM) as kim,
        watching(site, 1, LEE) as lee,
        watching(site, 1, ADMIN) as admin,
    ):
        theirs = create(site.tus[0], LEE)
        send(site.tus[0], theirs, LEE, lee)
        admin.until("upload", url=theirs, state="finished")
        ours = create(site.tus[0], KIM)
        kim.until("upload", url=ours)
        assert {data["url"] for name, data in kim.told if name == "upload"} == {ours}


def test_nothing_is_published_while_nobody_watches(tmp_path: Path) -> None:
    with running_site(tmp_path) as site:
        overheard = Overheard(site.redis)
        # Each locker asks once whether somebody watches: those of the three processes that serve,
        # and one for each node that tries its settings.
        eventually(lambda: site.commands().get("cmdstat_publish") == 5)
        for _ in range(3):
            send(site.tus[0], create(site.tus[0], KIM), KIM)
        # Nor is anything else: nobody waits for these locks.
        assert site.commands()["cmdstat_publish"] == 5
        with watching(site, 1, KIM) as events:
            assert overheard.count == 0
            send(site.tus[0], create(site.tus[0], KIM), KIM, events)
            eventually(lambda: overheard.count > 1)


def test_an_upload_goes_on_while_redis_hangs_and_somebody_watches(site: Site) -> None:
    with watching(site, 1, KIM) as events:
        url = create(site.tus[0], KIM)
        with site.tus[0].begin_patch(url, 0, ALL, KIM) as wire:
            wire.send(bytes(STEP))
            events.until("upload", url=url, offset=STEP)
            site.redis.pause()
            try:
                wire.send(bytes(STEP))
                time.sleep(0.7)  # By now somebody waits for Redis to take the news.
                wire.send(bytes(ALL - 2 * STEP - 1))
                eventually(lambda: stored(site.tus[0], url) == ALL - 1)
            finally:
                site.redis.go_on()
            wire.send(b"\0")
            # On a slow machine it was too long for the lock.
            if wire.answer("PATCH").status != 204:
                offset = stored(site.tus[0], url)
                rest = bytes(ALL - offset)
                eventually(lambda: site.tus[0].pa(url, offset, rest, KIM).status == 204)
        events.until("upload", url=url, state="finished")
        assert_never_back(events, url)


def test_a_watcher_gets_there_though_redis_was_away_meanwhile(site: Site) -> None:
    with watching(site, 1, KIM) as events:
        url = create(site.tus[0], KIM)
        with site.tus[0].begin_patch(url, 0, ALL, KIM) as wire:
            wire.send(bytes(STEP))
            events.until("upload", url=url, offset=STEP)
            site.redis.save()
            site.redis.kill()
            # The lock is lost with it, and the request ends with what it has.
            assert wire.answer("PATCH").status == 423
        site.redis.start()
        eventually(lambda: site.tus[0].pa(url, STEP, bytes(STEP), KIM).status == 204, within=30)
        events.connection.settimeout(60)
        events.until("upload", url=url, offset=2 * STEP)
        with site.tus[0].begin_patch(url, 2 * STEP, ALL - 2 * STEP, KIM) as wire:
            for step in range(3, STEPS):
                wire.send(bytes(STEP))
                events.until("upload", url=url, offset=step * STEP)
            wire.send(bytes(STEP))
            assert wire.answer("PATCH").status == 204
        events.until("upload", url=url, state="finished")
        assert_never_back(events, url)

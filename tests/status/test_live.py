"""Live progress: across workers, and for readers that are slow or go away."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from tests.servers import process_server
from tests.status.site import Api
from tusserver.policy.ledger import Entry, Quota
from tusserver.policy.ledger_file import FileLedger
from tusserver.protocol.errors import StorageUnavailable
from tusserver.protocol.upload import Upload
from tusserver.status.catalog import Catalog
from tusserver.status.live import Live
from tusserver.status.values import Status, advanced, describe
from tusserver.status.watching import Disk, Gone, Ready, Wanted, Watch

T = TypeVar("T")
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def test_progress_is_live_whichever_worker_receives_the_bytes(tmp_path: Path) -> None:
    size = 8 << 20
    with process_server(tmp_path / "up", "--workers", "2", "--api", "on") as server:
        api = Api(server.tus)
        urls = [server.tus.mk(size) for _ in range(4)]
        seen = set()
        with api.events("events") as events:
            events.until("ready")
            for url in urls:
                # Each on a connection of its own, which either worker may accept.
                with server.tus.begin_patch(url, 0, size) as wire:
                    wire.send(bytes(size // 2))
                    told = events.until("upload", url=url, offset=size // 2)
                    assert (told["percent"], told["state"]) == (50.0, "uploading")
                    wire.send(bytes(size // 2))
                    assert wire.answer().status == 204
                seen.add(url)
                assert events.until("upload", url=url, state="finished")["percent"] == 100.0
        assert seen == set(urls)


def test_a_reader_that_goes_away_is_no_matter_for_the_log(tmp_path: Path) -> None:
    with process_server(tmp_path / "up", "--api", "on") as server:
        api = Api(server.tus)
        for _ in range(5):
            with api.events("events") as events:
                events.until("ready")
        # Right after a half-close the server knows no more than that nothing follows.
        for _ in range(5):
            with api.events("events") as events:
                events.until("ready")
                events.connection.shutdown(socket.SHUT_WR)
                assert events.rest() == []
    assert "without completing" not in server.log.read_text()


class Site:
    """A ledger and what is said of its uploads."""

    def __init__(self, directory: Path) -> None:
        self.ledger = FileLedger(directory / "ledger.db")
        self.ledger.open()
        self.offsets: dict[str, int] = {}
        self.free = 1000
        self.looks = 0

    def add(self, upload_id: str, offset: int = 0) -> None:
        entry = Entry(upload_id, "kim", 10, datetime.now(UTC).timestamp())
        self.ledger.reserve(entry, Quota())
        self.offsets[upload_id] = offset

    async def find(self, upload_id: str) -> Status | None:
        self.looks += 1
        offset = self.offsets.get(upload_id)
        if offset is None:
            return None
        if offset < 0:
            raise StorageUnavailable
        upload = Upload(upload_id, offset, 10, NOW, NOW, owner="kim")
        return describe(upload, over_at=None, now=NOW)

    def advance(self, status: Status, offset: int, moment: datetime) -> Status:
        return advanced(status, offset, moment, None)

    def has_looked(self, times: int) -> bool:
        return self.looks >= times

    def disk(self) -> tuple[int, int]:
        return 1000, self.free


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def started(site: Site) -> tuple[Live, Catalog]:
    catalog = Catalog(FileLedger(site.ledger._path), Quota())
    await catalog.start()
    return Live(catalog, site.find, site.disk, site.advance), catalog


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tusserver.status.live.INTERVAL", 0.02)
    monkeypatch.setattr("tusserver.status.live._REST", 0.0)


@pytest.mark.anyio
async def test_a_slow_reader_is_told_the_last_news_of_each_upload_only(site: Site) -> None:
    live, catalog = await started(site)
    site.add("a")
    site.add("b")
    watch = live.watch(Wanted())
    looks = site.looks
    for offset in range(1, 6):
        site.offsets["a"] = offset
        await until(partial(site.has_looked, looks + 4))
        looks = site.looks
    news = await watch.next(5)
    assert news is not None
    told = {each.id: each.offset for each in news if isinstance(each, Status)}
    assert told == {"a": 5, "b": 0}
    assert [each for each in news if isinstance(each, Ready)] == [Ready()]
    await live.close()
    await catalog.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.005)


async def next_of(watch: Watch, kind: type[T]) -> T:
    async with asyncio.timeout(20):
        while True:
            for each in await watch.next(5) or ():
                if isinstance(each, kind):
                    return each


@pytest.mark.anyio
async def test_one_who_joins_later_is_told_what_is_there(site: Site) -> None:
    live, catalog = await started(site)
    site.add("a", 3)
    first = live.watch(Wanted())
    await next_of(first, Ready)
    second = live.watch(Wanted(owner="kim"))
    stranger = live.watch(Wanted(owner="lee"))
    news = await second.next(0)
    assert news is not None
    assert [type(each) for each in news] == [Status, Disk, Ready]
    assert [type(each) for each in await stranger.next(0) or ()] == [Disk, Ready]
    await live.close()
    assert await first.next(5) is None
    await catalog.close()


@pytest.mark.anyio
async def test_nobody_looks_when_nobody_watches(site: Site) -> None:
    live, catalog = await started(site)
    site.add("a")
    watch = live.watch(Wanted())
    await next_of(watch, Ready)
    await live.leave(watch)
    looks = site.looks
    await asyncio.sleep(0.1)
    assert site.looks == looks
    again = live.watch(Wanted())
    assert (await next_of(again, Status)).id == "a"
    await live.close()
    await catalog.close()


@pytest.mark.anyio
async def test_trouble_that_passes_hides_nothing(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    live, catalog = await started(site)
    site.add("a", -1)
    site.add("b", 1)
    watch = live.watch(Wanted())
    assert (await next_of(watch, Status)).id == "b"
    site.offsets["a"] = 2
    assert (await next_of(watch, Status)).id == "a"
    await catalog.close()  # Whatever happens to the ledger, it is tried again.
    await until(lambda: "it is tried again" in caplog.text)
    await catalog.start()
    site.offsets["b"] = 3
    assert (await next_of(watch, Status)).offset == 3
    await live.close()
    await catalog.close()


@pytest.mark.anyio
async def test_one_that_has_ended_is_told_to_be_gone_when_it_is_removed(site: Site) -> None:
    live, catalog = await started(site)
    site.add("a", 1)
    watch = live.watch(Wanted())
    await next_of(watch, Ready)
    site.offsets["a"] = 10
    entry = site.ledger.get("a")
    assert entry is not None
    site.ledger.put(replace(entry, is_active=False))
    assert (await next_of(watch, Status)).offset == 10
    site.offsets.pop("a")
    site.ledger.release("a")
    assert await next_of(watch, Gone) == Gone("a")
    await live.close()
    await catalog.close()


@pytest.mark.anyio
async def test_room_is_told_when_it_changes_by_more_than_a_hundredth(site: Site) -> None:
    live, catalog = await started(site)
    watch = live.watch(Wanted())
    assert (await next_of(watch, Disk)).free == 1000
    site.free = 991
    await asyncio.sleep(0.1)
    site.free = 900
    assert (await next_of(watch, Disk)).free == 900
    await live.close()
    await catalog.close()

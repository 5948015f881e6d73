"""Live progress: across workers, and for readers that are slow or go away."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import msgspec
import pytest

from tests.servers import process_server
from tests.status.site import Api
from tusserver.events.base import Bus, Hint
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


def test_one_who_comes_after_others_have_gone_sees_what_happens(tmp_path: Path) -> None:
    with process_server(tmp_path / "up", "--api", "on") as server:
        api = Api(server.tus)
        for _ in range(3):
            url = server.tus.mk(10)
            with api.events("events") as events:
                events.until("upload", url=url, offset=0)
                events.until("ready")
                assert server.tus.pa(url, 0, b"hello").status == 204
                events.until("upload", url=url, offset=5)
            assert server.tus.delete(url).status == 204


class Site:
    """A ledger and what is said of its uploads."""

    def __init__(self, directory: Path) -> None:
        self.ledger = FileLedger(directory / "ledger.db")
        self.ledger.open()
        self.offsets: dict[str, int] = {}
        self.free = 1000
        self.looks = 0
        self.way_back: Callable[[], Awaitable[object]] = partial(asyncio.sleep, 0)

    def add(self, upload_id: str, offset: int = 0) -> None:
        entry = Entry(upload_id, "kim", 10, datetime.now(UTC).timestamp())
        self.ledger.reserve(entry, Quota())
        self.offsets[upload_id] = offset

    async def find(self, upload_id: str) -> Status | None:
        self.looks += 1
        offset = self.offsets.get(upload_id)
        await self.way_back()
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


async def started(site: Site, bus: Bus | None = None) -> tuple[Live, Catalog]:
    catalog = Catalog(FileLedger(site.ledger._path), Quota())
    await catalog.start()
    return Live(catalog, site.find, site.disk, site.advance, bus), catalog


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


class ScriptedBus:
    """Brings what the test says, to one who listens."""

    def __init__(self) -> None:
        self.is_watched = True
        self.since: float | None = None
        self.hear: Callable[[Hint], None] | None = None

    async def publish(self, hints: Sequence[Hint]) -> None:
        raise NotImplementedError

    def listen(self, hear: Callable[[Hint], None]) -> ScriptedBus:
        self.hear = hear
        self.since = time.monotonic()
        return self

    async def close(self) -> None:
        self.hear = self.since = None

    def bring(self, upload_id: str, offset: int | None) -> None:
        assert self.hear is not None
        self.hear(Hint(upload_id, offset, NOW))


async def calm(site: Site, live: Live, watch: Watch) -> int:
    """How often has been looked once nobody looks any more."""
    await next_of(watch, Ready)
    looks = -1
    async with asyncio.timeout(20):
        while looks != site.looks:
            looks = site.looks
            await asyncio.sleep(0.2)
    return looks


@pytest.mark.anyio
async def test_what_the_bus_tells_is_shown_without_a_look(site: Site) -> None:
    bus = ScriptedBus()
    live, catalog = await started(site, bus)
    site.add("a", 1)
    watch, stranger = live.watch(Wanted(owner="kim")), live.watch(Wanted(owner="lee"))
    looks = await calm(site, live, watch)
    site.offsets["a"] = 5
    bus.bring("a", 5)
    told = await next_of(watch, Status)
    assert (told.offset, told.percent, told.owner) == (5, 50.0, "kim")
    # Late, and twice.
    bus.bring("a", 4)
    bus.bring("a", 5)
    assert [each for each in await watch.next(0.1) or () if isinstance(each, Status)] == []
    assert site.looks == looks
    assert all(not isinstance(each, Status) for each in await stranger.next(0) or ())
    await live.close()
    await catalog.close()


@pytest.mark.anyio
async def test_what_the_bus_tells_more_of_than_an_offset_is_looked_at_at_once(site: Site) -> None:
    bus = ScriptedBus()
    live, catalog = await started(site, bus)
    watch = live.watch(Wanted())
    looks = await calm(site, live, watch)
    site.add("a", 2)
    bus.bring("a", 2)  # Nobody has heard of its creation.
    assert (await next_of(watch, Status)).offset == 2
    site.offsets["a"] = 10
    bus.bring("a", 10)
    told = await next_of(watch, Status)
    assert (told.offset, told.state) == (10, "finished")
    bus.bring("a", None)  # It has been looked at already, and nothing is new.
    bus.bring("a", 7)
    await until(lambda: site.looks >= looks + 3)
    assert await watch.next(0.1) == []
    site.offsets.pop("a")
    bus.bring("a", None)
    assert await next_of(watch, Gone) == Gone("a")
    await live.close()
    await catalog.close()


@pytest.mark.anyio
async def test_a_hint_that_was_lost_is_made_up_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = ScriptedBus()
    live, catalog = await started(site, bus)
    site.add("a", 1)
    watch = live.watch(Wanted())
    await calm(site, live, watch)
    site.offsets["a"] = 5
    assert await watch.next(0.1) == []
    monkeypatch.setattr("tusserver.status.live._SELDOM", 0.05)
    assert (await next_of(watch, Status)).offset == 5
    await live.close()
    await catalog.close()


@pytest.mark.anyio
async def test_without_the_bus_looking_goes_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tusserver.status.live._SELDOM", 3600.0)
    bus = ScriptedBus()
    live, catalog = await started(site, bus)
    site.add("a", 1)
    watch = live.watch(Wanted())
    await calm(site, live, watch)
    bus.since = None
    for offset in (2, 3):
        site.offsets["a"] = offset
        assert (await next_of(watch, Status)).offset == offset
    bus.since = time.monotonic()
    site.offsets["a"] = 4  # What was missed while the bus was away.
    assert (await next_of(watch, Status)).offset == 4
    looks = site.looks
    await asyncio.sleep(0.2)
    assert site.looks <= looks + 1
    await live.close()
    await catalog.close()


@pytest.mark.anyio
async def test_a_look_that_was_overtaken_by_a_hint_does_not_go_back(site: Site) -> None:
    bus = ScriptedBus()
    live, catalog = await started(site, bus)
    site.add("a", 1)
    watch = live.watch(Wanted())
    looks = await calm(site, live, watch)
    gate = asyncio.Event()
    site.way_back = gate.wait
    bus.bring("a", None)
    await until(partial(site.has_looked, looks + 1))
    bus.bring("a", 5)  # The look has seen one byte, and is on its way back.
    assert (await next_of(watch, Status)).offset == 5
    gate.set()
    assert await watch.next(0.2) == []
    # But what a later look shows is so, whatever has been told.
    bus.bring("a", 8)
    assert (await next_of(watch, Status)).offset == 8
    bus.bring("a", None)
    assert (await next_of(watch, Status)).offset == 1
    await live.close()
    await catalog.close()


@pytest.mark.anyio
async def test_a_hint_during_a_look_leads_to_another_one(site: Site) -> None:
    bus = ScriptedBus()
    live, catalog = await started(site, bus)
    site.add("a", 1)
    watch = live.watch(Wanted())
    looks = await calm(site, live, watch)
    gate = asyncio.Event()
    site.way_back = gate.wait
    bus.bring("a", None)
    await until(partial(site.has_looked, looks + 1))
    site.offsets["a"] = 10
    bus.bring("a", None)
    gate.set()
    assert (await next_of(watch, Status)).state == "finished"
    await live.close()
    await catalog.close()


@pytest.mark.anyio
async def test_of_two_looks_the_older_one_never_has_the_last_word(site: Site) -> None:
    bus = ScriptedBus()
    live, catalog = await started(site, bus)
    site.add("a", 1)
    watch = live.watch(Wanted())
    await calm(site, live, watch)
    told: list[str] = []

    async def read() -> None:
        while (news := await watch.next(5)) is not None:
            told.extend(each.state for each in news if isinstance(each, Status))

    reading = asyncio.create_task(read())
    gate, slow = asyncio.Event(), [True]

    async def way_back() -> None:
        if slow and slow.pop():
            await gate.wait()

    site.way_back = way_back
    bus.since = None  # A pass is on its way with what it has seen.
    await until(lambda: not slow)
    site.offsets["a"] = 10
    bus.bring("a", None)
    await asyncio.sleep(0.2)
    gate.set()
    await until(lambda: "finished" in told)
    await asyncio.sleep(0.2)
    assert told == ["finished"]
    await live.close()
    await reading
    await catalog.close()


@pytest.mark.anyio
async def test_one_who_comes_while_the_last_one_leaves_is_told_what_happens(site: Site) -> None:
    live, catalog = await started(site)
    site.add("a", 1)
    watch = live.watch(Wanted())
    await next_of(watch, Ready)
    leaving = asyncio.create_task(live.leave(watch))
    await asyncio.sleep(0)
    second = live.watch(Wanted())
    await leaving
    await next_of(second, Ready)
    site.offsets["a"] = 2
    assert (await next_of(second, Status)).offset == 2
    await live.close()
    await catalog.close()


@pytest.mark.anyio
async def test_one_who_is_cancelled_again_and_again_still_leaves(site: Site) -> None:
    bus = ScriptedBus()
    live, catalog = await started(site, bus)
    watch = live.watch(Wanted())
    await next_of(watch, Ready)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await live.leave(watch)
    await until(lambda: bus.hear is None)
    looks = site.looks
    site.add("a", 1)
    await asyncio.sleep(0.1)
    assert site.looks == looks
    await catalog.close()


def test_a_deadline_slides_with_what_is_stored() -> None:
    upload = Upload("a", 1, 10, NOW, NOW)
    hour = timedelta(hours=1)
    status = describe(upload, over_at=NOW + hour, now=NOW)
    later = advanced(status, 9, NOW + hour / 2, 3.0)
    assert later == describe(
        msgspec.structs.replace(upload, offset=9, modified_at=NOW + hour / 2),
        over_at=NOW + hour * 1.5,
        now=NOW + hour / 2,
        rate=3.0,
    )
    assert advanced(status, 9, NOW - hour, None).modified == NOW

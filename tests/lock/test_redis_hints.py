"""Hints over Redis: who hears them, and that nobody says anything when nobody listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.lock.redis_server import PREFIX, RedisServer, redis_server
from tusserver.events.base import Bus, Hint
from tusserver.lock.base import BusLocker
from tusserver.lock.redis import Lease, RedisLocker

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
HINTS = [Hint("a", 5, NOW), Hint("b", None, NOW)]
MakeBus = Callable[..., Awaitable[Bus]]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
async def make_bus(redis: RedisServer) -> AsyncIterator[MakeBus]:
    """The bus of one process each."""
    async with AsyncExitStack() as stack:

        async def make(database: int = 0) -> Bus:
            locker = RedisLocker(f"{redis.address}/{database}", Lease(seconds=2))
            assert isinstance(locker, BusLocker)
            await locker.start()
            stack.push_async_callback(locker.close)
            return locker.hints

        yield make


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tusserver.lock.redis_hints.CALLED_EVERY", 0.05)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.005)


async def test_all_processes_hear_what_one_says(make_bus: MakeBus) -> None:
    speaker, *hearers = [await make_bus() for _ in range(3)]
    heard: list[list[Hint]] = [[], []]
    ears = [bus.listen(told.append) for bus, told in zip(hearers, heard, strict=True)]
    await until(lambda: speaker.is_watched and all(ear.since is not None for ear in ears))
    await speaker.publish(HINTS)
    await until(lambda: heard == [HINTS, HINTS])
    for ear in ears:
        await ear.close()
        assert ear.since is None


async def test_one_who_speaks_hears_itself(make_bus: MakeBus) -> None:
    bus = await make_bus()
    heard: list[Hint] = []
    ear = bus.listen(heard.append)
    await until(lambda: bus.is_watched)
    await bus.publish(HINTS)
    await until(lambda: heard == HINTS)
    await ear.close()


async def test_one_who_starts_later_knows_at_once_that_somebody_watches(
    make_bus: MakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tusserver.lock.redis_hints.CALLED_EVERY", 3600.0)
    watching = await make_bus()
    ear = watching.listen(lambda hint: None)
    await until(lambda: watching.is_watched)
    late = await make_bus()
    await until(lambda: late.is_watched)
    await ear.close()


async def test_after_the_last_one_has_gone_nobody_is_told_anything(make_bus: MakeBus) -> None:
    speaker, hearer = await make_bus(), await make_bus()
    assert not speaker.is_watched
    ear = hearer.listen(lambda hint: None)
    await until(lambda: speaker.is_watched)
    await ear.close()
    # Nobody says that they go; whoever speaks finds out.
    await until(lambda: speaker.is_watched)
    await speaker.publish(HINTS)
    assert not speaker.is_watched


async def test_one_who_watches_is_believed_for_a_while_only(
    make_bus: MakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tusserver.lock.redis_hints.CALLED_EVERY", 3600.0)
    monkeypatch.setattr("tusserver.lock.redis_hints._BELIEVED_FOR", 0.2)
    speaker, hearer = await make_bus(), await make_bus()
    ear = hearer.listen(lambda hint: None)
    await until(lambda: speaker.is_watched)
    await until(lambda: not speaker.is_watched)
    await ear.close()


async def test_databases_are_apart(make_bus: MakeBus) -> None:
    here, there = await make_bus(3), await make_bus(4)
    heard: list[Hint] = []
    ear = here.listen(heard.append)
    await until(lambda: here.is_watched)
    await there.publish(HINTS)
    await here.publish(HINTS[:1])
    await until(lambda: bool(heard))
    assert heard == HINTS[:1]
    assert not there.is_watched
    await ear.close()


async def test_hints_are_heard_again_after_redis_was_away(
    make_bus: MakeBus, redis: RedisServer
) -> None:
    speaker, hearer = await make_bus(), await make_bus()
    heard: list[Hint] = []
    ear = hearer.listen(heard.append)
    await until(lambda: ear.since is not None)
    before = ear.since
    redis.kill()
    await until(lambda: ear.since is None)
    await speaker.publish(HINTS)  # Nobody hears it, and it does no harm.
    redis.start()
    await until(lambda: ear.since is not None)
    assert before is not None
    assert ear.since is not None
    assert ear.since > before
    await until(lambda: speaker.is_watched)
    await speaker.publish(HINTS)
    await until(lambda: heard == HINTS)
    await ear.close()


async def test_what_nobody_understands_is_passed_over(
    make_bus: MakeBus, redis: RedisServer
) -> None:
    bus = await make_bus()
    heard: list[Hint] = []
    ear = bus.listen(heard.append)
    await until(lambda: bus.is_watched)
    async with Redis.from_url(redis.address) as client:
        for words in (b"", b"nonsense", b"\x91\x93\xa1a\x05\x05"):
            assert await client.publish(f"{PREFIX}hints:0", words) == 1
    await bus.publish(HINTS)
    await until(lambda: heard == HINTS)
    await ear.close()


async def test_a_closed_one_says_and_hears_nothing(redis: RedisServer) -> None:
    locker = RedisLocker(redis.address, Lease(seconds=2))
    deaf = locker.hints.listen(lambda hint: None)
    assert deaf.since is None
    await deaf.close()
    await locker.start()
    ear = locker.hints.listen(lambda hint: None)
    await until(lambda: locker.hints.is_watched)
    await locker.close()
    assert ear.since is None
    assert not locker.hints.is_watched
    await locker.hints.publish(HINTS)

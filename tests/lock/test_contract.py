"""What every locker must do, for two requests of one process and for two processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.lock.redis_server import RedisServer, redis_server
from tusserver.lock.base import Locker, require_held
from tusserver.lock.file import FileLocker
from tusserver.lock.memory import MemoryLocker
from tusserver.lock.redis import RedisLocker
from tusserver.protocol.errors import UploadLocked

pytestmark = pytest.mark.anyio

Pair = tuple[Locker, Locker]
"""The lockers of two requests: the same one, or those of two processes (two open files are all that
the kernel looks at, and two clients all that Redis does).
"""


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(
    params=["memory", "file", "file-across-processes", "redis", "redis-across-processes"]
)
async def lockers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    """The lockers of a holder and of a newcomer."""
    kind, _, across = request.param.partition("-")

    def make() -> Locker:
        if kind == "redis":
            return RedisLocker(request.getfixturevalue("shared_redis").address)
        return MemoryLocker() if kind == "memory" else FileLocker(tmp_path / "locks")

    first = make()
    second = make() if across else first
    for locker in {first, second}:
        await locker.start()
    yield first, second
    for locker in {first, second}:
        await locker.close()


async def test_a_lock_is_held_by_one_at_a_time(lockers: Pair) -> None:
    holder, newcomer = lockers
    lock = await holder.try_acquire("a")
    assert lock is not None
    assert await newcomer.try_acquire("a") is None
    assert await holder.try_acquire("a") is None
    await lock.release()
    again = await newcomer.try_acquire("a")
    assert again is not None
    await again.release()


async def test_locks_of_other_uploads_are_independent(lockers: Pair) -> None:
    holder, newcomer = lockers
    first, second = await holder.try_acquire("a"), await newcomer.try_acquire("b")
    assert first is not None
    assert second is not None
    await first.release()
    assert await newcomer.try_acquire("b") is None
    await second.release()


async def test_trying_does_not_disturb_the_holder(lockers: Pair) -> None:
    holder, newcomer = lockers
    lock = await holder.try_acquire("a")
    assert lock is not None
    await newcomer.try_acquire("a")
    await asyncio.sleep(0)
    assert not lock.release_requested
    await lock.release()


async def test_a_newcomer_asks_and_gets_the_lock_when_the_holder_lets_go(lockers: Pair) -> None:
    holder, newcomer = lockers
    lock = await holder.acquire("a", 5)
    asked = asyncio.Event()
    lock.on_release_request(asked.set)
    waiting = asyncio.create_task(newcomer.acquire("a", 10))
    await asked.wait()
    assert lock.release_requested
    assert not waiting.done()
    await lock.release()
    heir = await waiting
    assert not heir.release_requested
    assert await holder.try_acquire("a") is None
    await heir.release()


async def test_a_plea_that_came_early_is_told_at_once(lockers: Pair) -> None:
    holder, newcomer = lockers
    lock = await holder.acquire("a", 5)
    waiting = asyncio.create_task(newcomer.acquire("a", 10))
    while not lock.release_requested:
        await asyncio.sleep(0.001)
    told: list[bool] = []
    lock.on_release_request(lambda: told.append(True))
    assert told == [True]
    await lock.release()
    await (await waiting).release()


async def test_a_newcomer_gives_up_when_its_time_is_over(lockers: Pair) -> None:
    holder, newcomer = lockers
    lock = await holder.acquire("a", 5)
    with pytest.raises(UploadLocked):
        await newcomer.acquire("a", 0.05)
    await lock.release()
    await (await newcomer.acquire("a", 0)).release()


async def test_a_newcomer_that_is_cancelled_leaves_nothing_behind(lockers: Pair) -> None:
    holder, newcomer = lockers
    lock = await holder.acquire("a", 5)
    waiting = asyncio.create_task(newcomer.acquire("a", 10))
    while not lock.release_requested:
        await asyncio.sleep(0.001)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await lock.release()
    await (await holder.acquire("a", 0)).release()


async def test_a_lock_handed_over_to_one_who_has_just_been_cancelled_is_not_lost(
    lockers: Pair,
) -> None:
    holder, newcomer = lockers
    lock = await holder.acquire("a", 5)
    waiting = asyncio.create_task(newcomer.acquire("a", 10))
    while not lock.release_requested:
        await asyncio.sleep(0.001)
    await lock.release()
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await (await waiting).release()
    await (await holder.acquire("a", 5)).release()


async def test_of_several_newcomers_each_gets_its_turn_and_is_asked_for_it(lockers: Pair) -> None:
    running, most, turns = 0, 0, 0

    async def take_turn(locker: Locker) -> None:
        nonlocal running, most, turns
        lock = await locker.acquire("a", 20)
        running, turns = running + 1, turns + 1
        most = max(most, running)
        # Holds on until somebody asks, or nobody is left to ask.
        while not lock.release_requested and turns < 20:
            await asyncio.sleep(0.001)
        running -= 1
        await lock.release()

    await asyncio.gather(*(take_turn(lockers[number % 2]) for number in range(20)))
    assert (most, turns) == (1, 20)


async def test_a_timed_out_waiter_in_the_middle_does_not_break_the_row(lockers: Pair) -> None:
    holder, newcomer = lockers
    lock = await holder.acquire("a", 5)
    patient = asyncio.create_task(newcomer.acquire("a", 20))
    with pytest.raises(UploadLocked):
        await newcomer.acquire("a", 0.02)
    assert not patient.done()
    await lock.release()
    await (await patient).release()


async def test_a_lock_that_is_held_says_so(lockers: Pair) -> None:
    holder, newcomer = lockers
    lock = await holder.acquire("a", 5)
    assert lock.is_held
    require_held(lock)
    await lock.release()
    heir = await newcomer.acquire("a", 5)
    assert heir.is_held
    # Where locks cannot be lost there is nothing to tell apart.
    assert (heir.fence > lock.fence) or (heir.fence == lock.fence == 0)
    await heir.release()

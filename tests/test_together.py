"""Several calls at once: what they come to, how they fail, and that nobody escapes an end."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from tusserver.together import together

pytestmark = pytest.mark.anyio


class Failed(Exception):
    """What a call fails of."""


class Calls:
    """Calls that say which of them run."""

    def __init__(self) -> None:
        self.running: set[int] = set()
        self.most = 0
        self.stubborn = asyncio.Event()

    async def call(self, number: int, *, fails: bool = False, turns: int = 3) -> int:
        self.running.add(number)
        self.most = max(self.most, len(self.running))
        try:
            for _ in range(turns):
                await asyncio.sleep(0)
            if fails:
                raise Failed(number)
            return number
        finally:
            self.running.discard(number)

    async def turning_its_end_into_an_error(self) -> int:
        self.running.add(0)
        try:
            await self.stubborn.wait()
        except asyncio.CancelledError:
            raise Failed("a client library that takes an end for a broken connection") from None
        finally:
            self.running.discard(0)
        return 0


@pytest.mark.parametrize("count", [0, 1, 5, 40])
async def test_all_come_to_what_they_come_to_in_their_order(count: int) -> None:
    calls = Calls()
    turns = [(7 * number) % 5 for number in range(count)]
    found = await together(
        (calls.call(number, turns=turns[number]) for number in range(count)), at_once=4
    )
    assert found == list(range(count))
    assert calls.most <= 4


async def test_one_that_fails_ends_the_others() -> None:
    calls = Calls()
    with pytest.raises(Failed, match="2"):
        await together(calls.call(n, fails=n == 2, turns=2 if n == 2 else 99) for n in range(30))
    assert calls.running == set()


async def test_of_several_that_fail_one_is_told() -> None:
    calls = Calls()
    with pytest.raises(Failed):
        await together(calls.call(number, fails=True) for number in range(5))


async def test_who_is_cancelled_takes_all_of_them_along() -> None:
    calls = Calls()
    caller = asyncio.create_task(together(calls.call(n, turns=10**6) for n in range(5)))
    while len(calls.running) < 5:
        await asyncio.sleep(0)
    caller.cancel()
    with suppress(asyncio.CancelledError):
        await caller
    assert caller.cancelled()
    assert calls.running == set()


@pytest.mark.parametrize("turns", range(1, 8))
async def test_who_is_cancelled_is_cancelled_whatever_the_calls_fail_of(turns: int) -> None:
    calls = Calls()
    several = [calls.turning_its_end_into_an_error(), calls.call(1, fails=True, turns=4)]
    caller = asyncio.create_task(together(several))
    for _ in range(turns):
        await asyncio.sleep(0)
    if not caller.done():
        caller.cancel()
        with suppress(asyncio.CancelledError, Failed):
            await caller
        assert caller.cancelled()
    assert calls.running == set()
    with suppress(asyncio.CancelledError, Failed):
        await caller

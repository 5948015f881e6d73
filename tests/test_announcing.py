"""What waits to be told to other processes, and when it goes out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusserver.announcing import EVERY, SOON, Announcer, Gathering
from tusserver.events.base import Hint, Listening

NOW = datetime(2026, 11, 28, tzinfo=UTC)

steps = st.lists(
    st.tuples(
        st.floats(0, 0.3),
        st.sampled_from("abc"),
        st.sampled_from(["progress", "end of a request", "something else"]),
    ),
    max_size=60,
)


class Played:
    """A Gathering that is emptied whenever it is due, and what was told of each upload when."""

    def __init__(self) -> None:
        self.now = 0.0
        self.gathering = Gathering()
        self.told: list[tuple[float, Hint]] = []
        self.batches: list[float] = []

    def go_on(self, until: float) -> None:
        while (due := self.gathering.due()) is not None and due <= until:
            self.now = max(self.now, due)
            batch = self.gathering.take(self.now)
            assert batch, "it was due"
            self.batches.append(self.now)
            self.told += [(self.now, hint) for hint in batch]
        self.now = until


@given(steps)
def test_the_last_news_of_each_upload_are_told_in_order_and_not_too_often(
    steps: list[tuple[float, str, str]],
) -> None:
    played = Played()
    last: dict[str, Hint] = {}
    for offset, (pause, upload_id, kind) in enumerate(steps):
        played.go_on(played.now + pause)
        hint = Hint(upload_id, None if kind == "something else" else offset, NOW)
        played.gathering.note(hint, is_pressing=kind != "progress")
        last[upload_id] = hint
    played.go_on(played.now + 2 * EVERY)
    assert played.gathering.due() is None
    for upload_id, hint in last.items():
        told = [each for _, each in played.told if each.upload_id == upload_id]
        # Whoever is told that more has changed looks, and sees the offset as well.
        assert told[-1] == hint or told[-1].offset is None
        offsets = [each.offset for each in told if each.offset is not None]
        assert offsets == sorted(set(offsets))
    assert all(later - earlier >= SOON * 0.99 for earlier, later in pairwise(played.batches))


@given(st.lists(st.floats(0, 0.3), min_size=1, max_size=60))
def test_progress_is_told_twice_a_second_at_most(pauses: list[float]) -> None:
    played = Played()
    for offset, pause in enumerate(pauses):
        played.go_on(played.now + pause)
        played.gathering.note(Hint("a", offset, NOW), is_pressing=False)
    played.go_on(played.now + 2 * EVERY)
    moments = [moment for moment, _ in played.told]
    assert all(later - earlier >= EVERY * 0.99 for earlier, later in pairwise(moments))
    assert played.told[-1][1].offset == len(pauses) - 1


def test_the_end_of_a_request_does_not_wait_for_the_next_progress() -> None:
    played = Played()
    played.gathering.note(Hint("a", 1, NOW), is_pressing=False)
    played.go_on(0.0)
    played.gathering.note(Hint("a", 2, NOW), is_pressing=False)
    played.gathering.note(Hint("b", 2, NOW), is_pressing=True)
    played.go_on(SOON)
    assert [hint.upload_id for _, hint in played.told] == ["a", "b"]
    played.go_on(EVERY)
    assert played.told[-1] == (EVERY, Hint("a", 2, NOW))


def test_a_batch_is_bounded_and_the_others_follow() -> None:
    played = Played()
    for number in range(1200):
        played.gathering.note(Hint(str(number), 1, NOW), is_pressing=number % 2 == 0)
    assert len(played.gathering.take(0.0)) == 500
    played.go_on(10.0)
    assert len(played.told) == 700


class SlowBus:
    """Whoever publishes waits until they are let go."""

    def __init__(self) -> None:
        self.is_watched = True
        self.told: list[Sequence[Hint]] = []
        self.gate = asyncio.Event()

    async def publish(self, hints: Sequence[Hint]) -> None:
        self.told.append(hints)
        await self.gate.wait()

    def listen(self, hear: Callable[[Hint], None]) -> Listening:
        raise NotImplementedError


@pytest.mark.anyio
async def test_a_bus_that_hangs_keeps_nobody_waiting_and_is_told_the_latest_afterwards() -> None:
    bus = SlowBus()
    announcer = Announcer(bus)
    announcer.start()

    def write() -> None:
        for offset in range(1000):
            announcer.note_stored("a", offset)

    await asyncio.to_thread(write)
    await until(lambda: bool(bus.told))
    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(threads[0].join)
    await asyncio.to_thread(threads[1].join)
    announcer.announce("a", 1000)
    announcer.announce("b", None)
    assert len(bus.told) == 1
    bus.gate.set()
    await announcer.close()
    told = [(hint.upload_id, hint.offset) for batch in bus.told[1:] for hint in batch]
    assert told == [("a", 1000), ("b", None)]


@pytest.mark.anyio
async def test_nothing_is_kept_for_nobody() -> None:
    bus = SlowBus()
    bus.is_watched = False
    announcer = Announcer(bus)
    announcer.start()
    announcer.note_stored("a", 1)
    announcer.announce("a", 2)
    bus.is_watched = True
    bus.gate.set()
    announcer.announce("b", 3)
    await announcer.close()
    assert [hint.upload_id for batch in bus.told for hint in batch] == ["b"]


@pytest.mark.anyio
async def test_progress_that_comes_while_nothing_runs_wakes_it_again() -> None:
    bus = SlowBus()
    bus.gate.set()
    announcer = Announcer(bus)
    announcer.start()
    for offset in range(1, 4):
        announcer.note_stored("a", offset)
        await until(lambda: len(bus.told) == offset)  # noqa: B023
    await announcer.close()
    assert [batch[0].offset for batch in bus.told] == [1, 2, 3]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.005)

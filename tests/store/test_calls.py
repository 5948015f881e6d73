"""Where the calls of a store run: on the event loop while they are fast, in threads when not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tusserver.store import calls as module
from tusserver.store.calls import BUDGET, FAST, Calls, Placement

pytestmark = pytest.mark.anyio


@pytest.fixture(params=Placement)
def calls(request: pytest.FixtureRequest) -> Iterator[Calls]:
    made = Calls(request.param)
    yield made
    made.close()


@pytest.fixture
def auto() -> Iterator[Calls]:
    made = Calls(Placement.AUTO)
    yield made
    made.close()


def where() -> bool:
    """Whether this runs on the event loop."""
    return threading.current_thread() is threading.main_thread()


def slow() -> bool:
    time.sleep(1.1 * BUDGET)
    return where()


def rather_slow() -> bool:
    time.sleep(3 * FAST)
    return where()


def fail() -> None:
    raise ValueError("as it should")


async def test_the_result_and_the_error_come_back(calls: Calls) -> None:
    assert await calls.make(divmod, 7, 2) == (3, 1)
    with pytest.raises(ValueError, match="as it should"):
        await calls.make(fail)


async def test_placements_can_be_forced() -> None:
    for placement, is_inline in ((Placement.INLINE, True), (Placement.THREADS, False)):
        made = Calls(placement)
        assert [await made.make(slow), await made.make(where)] == [is_inline, is_inline]
        assert [await made.make(slow), made.is_inline("slow")] == [is_inline, is_inline]
        made.close()


async def test_fast_calls_stay_on_the_event_loop(auto: Calls) -> None:
    assert all([await auto.make(where) for _ in range(100)])


async def test_a_second_long_wait_sends_its_kind_away_and_no_other(auto: Calls) -> None:
    # The first one may have been the machine's fault; the second is looked at.
    assert [await auto.make(slow) for _ in range(3)] == [True, True, False]
    assert await auto.make(where)


async def test_what_is_slow_now_and_then_stays(auto: Calls) -> None:
    kind = module._Kind()
    for second in range(1000):
        kind.note(0.9 * BUDGET, float(second))
    assert kind.back_at == 0.0


async def test_what_is_a_little_slow_again_and_again_is_sent_away_too(auto: Calls) -> None:
    assert [await auto.make(rather_slow) for _ in range(100)][-1] is False


async def test_a_kind_is_tried_again_and_stays_away_longer_each_time(
    auto: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    kind = module._Kind()
    for expected in (1, 2, 4, 8, 16, 32, 60, 60):
        kind.note(1.0, now[0])
        assert kind.back_at == now[0] + expected
        now[0] = kind.back_at
    # After long enough without another, as if it had never been.
    now[0] += 1000
    kind.note(1.0, now[0])
    assert kind.back_at == now[0] + 1


async def test_a_processor_that_is_busy_elsewhere_is_no_slow_file_system(auto: Calls) -> None:
    def busy() -> bool:
        """Long, but without waiting for anything."""
        deadline = time.perf_counter() + 2 * BUDGET
        while time.perf_counter() < deadline:
            pass
        return where()

    assert await auto.make(busy)
    before = module._waits()
    assert await auto.make(busy)
    # Unless this very thread had to wait for the interpreter meanwhile.
    assert auto.is_inline("busy") or module._waits() != before


async def test_calls_can_be_made_again_after_a_close() -> None:
    made = Calls(Placement.THREADS)
    for _ in range(2):
        assert await made.make(where) is False
        made.close()

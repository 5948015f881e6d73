"""The pool of buffers: none is in two hands, and what a burst needed does not stay."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from tusserver.store import buffers
from tusserver.store.buffers import IDLE, BufferPool

if TYPE_CHECKING:
    import pytest


class Clock:
    """Stands in for the module `time`."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_a_buffer_is_used_again_and_never_by_two_at_once() -> None:
    pool = BufferPool(4096)
    with pool.lease() as first, pool.lease() as second:
        first[:5], second[:5] = b"first", b"other"
        assert bytes(first[:5]) == b"first"
    with pool.lease() as again:
        assert bytes(again[:5]) == b"first"


def test_what_a_burst_needed_is_given_back_and_the_rest_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(buffers, "time", clock)
    pool, marks = BufferPool(4096), set()
    with ExitStack() as burst:
        for number in range(8):
            burst.enter_context(pool.lease())[0] = number + 1
    for _ in range(20):
        clock.now += IDLE / 4
        with pool.lease() as buffer:
            marks.add(buffer[0])
    assert len(marks) == 1, "the one that was used last is used next"
    with ExitStack() as burst:
        found = [burst.enter_context(pool.lease())[0] for _ in range(8)]
    assert sorted(found) == [0] * 7 + list(marks), "seven are new, and so empty"

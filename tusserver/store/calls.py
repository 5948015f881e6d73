"""Where blocking calls run: on the event loop as long as they are proven fast, else in threads.

Passing a call to a thread and its result back costs more than the whole call where the file system
answers from memory, and saves everybody else from waiting where it does not (a network, a busy
disk, a sync). So each kind of call is timed on the loop, and sent away for a while once it has held
the loop up for too long altogether.
"""

from __future__ import annotations

import asyncio
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if sys.platform == "linux":
    import resource

if TYPE_CHECKING:
    from collections.abc import Callable

_P = ParamSpec("_P")
_R = TypeVar("_R")

_THREADS, _DRAINERS = 32, 16
FAST = 0.0003
"""Seconds that a call may take without being worth a thought."""
BUDGET, SHARE = 0.05, 0.05
"""Seconds for which slow calls of one kind may have held the event loop up, and the share of the
time that is forgiven.
"""
_WATCHED = 100
"""Calls after a slow one that are looked at closely."""
_FIRST_EXILE, _LONGEST_EXILE = 1.0, 60.0
"""Seconds in threads before a kind of call is tried on the loop again; doubled each time."""


class Placement(Enum):
    """Where the calls of a store run."""

    AUTO = "auto"
    INLINE = "inline"
    THREADS = "threads"


@dataclass(slots=True)
class _Kind:
    """What is known of one kind of call."""

    debt: float = 0.0
    noted_at: float = 0.0
    exile: float = _FIRST_EXILE
    back_at: float = 0.0
    watched: int = 0
    """For so many calls it is worth knowing whether they wait."""

    def note(self, seconds: float, now: float) -> None:
        """One call on the loop has waited for so long, which is more than FAST."""
        self.debt = max(0.0, self.debt - SHARE * (now - self.noted_at)) + seconds
        self.noted_at = now
        if self.debt < BUDGET:
            return
        if now - self.back_at > 2 * self.exile:
            self.exile = _FIRST_EXILE  # It has been good for long.
        self.back_at = now + self.exile
        self.exile = min(2 * self.exile, _LONGEST_EXILE)
        self.debt = 0.0


def _waits() -> int:
    """How often this thread has let go of the processor to wait for something; -1 where the system
    does not tell.
    """
    if sys.platform == "linux":
        return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    return -1


class Calls:
    """Makes blocking calls for the event loop. The kind of a call is the name of its function."""

    def __init__(self, placement: Placement) -> None:
        self.placement = placement
        self._kinds: dict[str, _Kind] = {}
        self._make_threads()

    def _make_threads(self) -> None:
        # They cost nothing until they are used.
        self.threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="tusserver-store")
        self.drainers = ThreadPoolExecutor(_DRAINERS, thread_name_prefix="tusserver-drain")
        """For direct bodies; apart, so that no other operation waits for them."""

    def close(self) -> None:
        """Ends the threads; may be used again all the same."""
        self.threads.shutdown(wait=False)
        self.drainers.shutdown(wait=False)
        self._make_threads()

    def is_inline(self, kind: str) -> bool:
        """Whether the next call of this kind is made on the event loop."""
        if self.placement is not Placement.AUTO:
            return self.placement is Placement.INLINE
        known = self._kinds.get(kind)
        return known is None or not known.back_at or time.perf_counter() >= known.back_at

    async def make(self, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """The result of one whole operation, wherever it runs."""
        name = function.__name__
        if not self.is_inline(name):
            call = partial(function, *args, **kwargs)
            return await asyncio.get_running_loop().run_in_executor(self.threads, call)
        kind = self._kinds.get(name)
        if kind is None:
            kind = self._kinds[name] = _Kind()
        if kind.watched:
            return _watched(kind, function, *args, **kwargs)
        started = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            if time.perf_counter() - started >= FAST:
                # The file system, or a busy machine that takes the processor away from fast calls,
                # too: the next ones will tell.
                kind.watched = _WATCHED


def _watched(kind: _Kind, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """Makes a call and notes how long it took, if it was waiting for something."""
    waits, started = _waits(), time.perf_counter()
    try:
        return function(*args, **kwargs)
    finally:
        now = time.perf_counter()
        kind.watched -= 1
        if now - started >= FAST:
            kind.watched = _WATCHED
            if _waits() != waits or waits < 0:
                kind.note(now - started, now)

"""How long to wait before the next try, and how often to try."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tusserver.client.errors import Passing
    from tusserver.client.stopping import Stop

FIRST, LONGEST = 1.0, 30.0
"""Seconds: 1, 2, 4, 8, 16, then 30 each."""
_LONGEST_ASKED = 600.0


class Patience:
    """Counts tries without any progress; each progress begins anew."""

    def __init__(self, retries: int, stop: Stop, tell: Callable[[float, str], None]) -> None:
        """`tell` hears of each wait: the seconds and why."""
        self._retries = retries
        self._stop = stop
        self._tell = tell
        self._tried = 0

    def progressed(self) -> None:
        self._tried = 0

    def wait(self, error: Passing) -> None:
        """Raises `error` if it has been enough, Interrupted if the user stops it meanwhile."""
        self._stop.check()
        if self._tried >= self._retries:
            raise error
        seconds = delay(self._tried, error.retry_after)
        self._tried += 1
        self._tell(seconds, error.message)
        self._stop.pause(seconds)


def delay(tried: int, asked: float | None) -> float:
    """Seconds. Up to a quarter is random, so that many clients of one server that comes back do not
    all come at once; what the server asks for is the least.
    """
    if asked == 0:
        return 0.0
    seconds = min(LONGEST, FIRST * 2.0**tried) * random.uniform(0.75, 1.0)
    return max(seconds, min(asked or 0.0, _LONGEST_ASKED))

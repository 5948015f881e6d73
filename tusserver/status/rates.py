"""How fast uploads get on, from how far they were whenever somebody looked."""

from __future__ import annotations

from collections import OrderedDict, deque

_WINDOW = 10.0
"""Seconds over which a rate is taken."""
_SHORTEST = 0.5
"""Seconds below which it would say more about the moments than about the upload."""


class Rates:
    """Remembers the last looks at no more than `capacity` uploads."""

    def __init__(self, capacity: int = 4096) -> None:
        self._capacity = capacity
        self._looks: OrderedDict[str, deque[tuple[float, int]]] = OrderedDict()

    def note(self, upload_id: str, offset: int, moment: float) -> float | None:
        """The rate in bytes per second now that the upload is seen at this offset, at a moment in
        seconds of a clock that never goes back; None if nobody has looked for long enough.
        """
        looks = self._looks.setdefault(upload_id, deque())
        self._looks.move_to_end(upload_id)
        if len(self._looks) > self._capacity:
            self._looks.popitem(last=False)
        if looks and offset < looks[-1][1]:
            looks.clear()
        if not looks or moment - looks[-1][0] >= _SHORTEST:
            looks.append((moment, offset))
        # One look is kept that is as old as the window, so that slow onlookers get a rate, too.
        while len(looks) > 2 and looks[1][0] <= moment - _WINDOW:
            looks.popleft()
        began, first = looks[0]
        return None if moment - began < _SHORTEST else round((offset - first) / (moment - began), 1)

    def forget(self, upload_id: str) -> None:
        """The upload has come to an end."""
        self._looks.pop(upload_id, None)

"""How a sweeper gets through very many uploads without being felt: it rests between its steps, and
remembers from one pass to the next what need not be read again.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from tusserver.store.base import Known, Mark, SurveyingStore

if TYPE_CHECKING:
    from datetime import datetime

    from tusserver.uploads import Uploads

_SHORTEST_WORK, _LONGEST_REST = 0.002, 1.0
_WHOLE_PASS_EVERY = 86400.0
"""Seconds after which every record is read again, whatever is remembered."""
_UNSTEADY = 30.0
"""Seconds by which the clock of the files may have gone wrong since the pass before."""
_MOST_REMEMBERED = 10_000


class Pace:
    """Rests `ratio` times as long as the work before it took; with 0 it only lets others run."""

    def __init__(self, ratio: float = 0.0) -> None:
        self._ratio = ratio
        self._resumed = time.monotonic()

    async def rest(self) -> None:
        """To be called after each step. What others make us wait for counts as work: the busier
        the server, the longer the rest.
        """
        worked = time.monotonic() - self._resumed
        rest = min(worked * self._ratio, _LONGEST_REST) if worked >= _SHORTEST_WORK else 0
        await asyncio.sleep(rest)
        if rest:
            self._resumed = time.monotonic()


@dataclass(frozen=True, slots=True)
class _Round:
    """When a pass began, by the store's clock and by ours."""

    mark: Mark
    moment: datetime


class Rounds:
    """What the passes of one process tell the next one.

    An upload whose files have not changed since a pass looked at it stands as it stood; only time
    can have made it due, and then its last byte came in a span of time that can be told. What such
    a pass has seen and left (in use, failed, awaited by a final upload, unsettled) is looked at
    again in any case. The first pass of a process, and one each day, reads every record: after a
    crash or another boot the same files may mean something else.
    """

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._last: _Round | None = None
        self._begun: _Round | None = None
        self._again: set[str] = set()
        self._read_all_at = 0.0

    async def begin(self) -> Known | None:
        """What the pass that begins now may rely on; None: on nothing."""
        store, last = self._uploads.store, self._last
        # Whatever happens before it is complete, the pass after this one must read all again.
        self._last = self._begun = None
        mark = await store.mark() if isinstance(store, SurveyingStore) else None
        if mark is None:
            return None
        self._begun = now = _Round(mark, self._uploads.now())
        if last is None or not self._may_rely(last, now):
            self._read_all_at = mark.steady
            return None
        return Known(last.mark, self._ripened(last.moment, now.moment), self._again)

    def _may_rely(self, last: _Round, now: _Round) -> bool:
        drift = (now.mark.moment - last.mark.moment) - (now.mark.steady - last.mark.steady)
        is_fresh = now.mark.steady - self._read_all_at < _WHOLE_PASS_EVERY
        return is_fresh and abs(drift) < _UNSTEADY and last.moment <= now.moment

    def _ripened(self, last: datetime, now: datetime) -> list[tuple[float, float]]:
        """When the last byte came of uploads that have become due since."""
        options = self._uploads.options
        slack = timedelta(seconds=1)  # Nothing is exact to the last digit.
        return [
            ((last - span - slack).timestamp(), (now - span + slack).timestamp())
            for span in (options.expires_after, options.retain_finished)
            if span is not None
        ]

    def complete(self, again: set[str]) -> None:
        """The pass has been through; `again` are the uploads that it could not be done with."""
        if len(again) < _MOST_REMEMBERED:
            self._last, self._again = self._begun, again

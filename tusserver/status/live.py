"""Live progress: one look at a time at every upload that is active, for all who watch.

The store knows how far each upload is, whichever process receives it, so looking at it works with
any number of workers and servers. Looking takes no more than a small share of the time, however
many uploads there are, and nothing while nobody watches.

Where there is a bus, the processes tell each other what they store. As long as it can be heard,
looks are seldom: at what it tells more of than an offset, and now and then at everything, since
hints get lost. Only a look can tell whose an upload is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tusserver.policy.ledger import Filter
from tusserver.protocol.errors import TusError
from tusserver.status.values import State, Status
from tusserver.status.watching import Disk, Watch
from tusserver.together import together

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from tusserver.events.base import Bus, Hint, Listening
    from tusserver.status.catalog import Catalog
    from tusserver.status.watching import DiskUsage, Wanted

_logger = logging.getLogger("tusserver")

INTERVAL = 1.0
"""Seconds between two looks at an upload, at least."""
_REST = 20.0
"""How many times as long as looking takes it rests."""
_MOST = 2000
"""Uploads that are watched at once; of more those that were created last."""
_SELDOM = 15.0
"""Seconds between two looks at an upload that nothing has been heard of."""
_BREATH = 0.05
_OVERLAP = 10.0
"""Seconds by which the clocks of two processes, or two transactions, may be out of order."""
_AT_A_TIME = 32


class Live:
    """Looks for all watchers. `find` says how an upload stands, None if there is none; `advance`
    how it stands once so many bytes of it are stored, without a look.
    """

    def __init__(
        self,
        catalog: Catalog,
        find: Callable[[str], Awaitable[Status | None]],
        disk: DiskUsage | None,
        advance: Callable[[Status, int, datetime], Status],
        bus: Bus | None = None,
    ) -> None:
        self._catalog = catalog
        self._find = find
        self._disk = disk
        self._advance = advance
        self._bus = bus
        self._watches: set[Watch] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._resting: set[asyncio.Task[None]] = set()
        self._listening: Listening | None = None
        self._last_disk: Disk | None = None
        self._reset()

    def _reset(self) -> None:
        self._known: dict[str, Status] = {}
        self._heard_at: dict[str, float] = {}
        """When a hint of those that are known was heard last."""
        self._ended: dict[str, Status] = {}
        """Those that have come to an end while somebody watched; in the order of that."""
        self._doubted: dict[str, None] = {}
        """Those to be looked at as soon as possible."""
        self._looked_at: set[str] = set()
        """Those that are being looked at: one look at a time, or the older one may come last."""
        self._bell = asyncio.Event()
        self._since = time.time()
        self._is_primed = False
        self._last_disk = None
        self._last_pass = self._next_pass = float("-inf")

    async def close(self) -> None:
        """Ends all watches."""
        for watch in self._watches:
            watch.close()
        self._rest()
        await asyncio.wait(self._resting)

    def _rest(self) -> asyncio.Task[None]:
        """Ends looking and listening. Whoever begins to watch meanwhile finds nothing running, and
        begins anew.
        """
        tasks, self._tasks = self._tasks, []
        listening, self._listening = self._listening, None
        resting = asyncio.create_task(_end(tasks, listening))
        self._resting.add(resting)
        resting.add_done_callback(self._resting.discard)
        return resting

    def watch(self, wanted: Wanted) -> Watch:
        """Begins to watch: what is there comes first."""
        watch = Watch(wanted)
        self._watches.add(watch)
        if not self._tasks:
            self._reset()
            self._listening = None if self._bus is None else self._bus.listen(self._hear)
            self._tasks = [
                asyncio.create_task(self._look_at_all()),
                asyncio.create_task(self._look_at_doubted()),
            ]
        elif self._is_primed:
            self._greet(watch)
        return watch

    async def leave(self, watch: Watch) -> None:
        """Ends to watch."""
        watch.close()
        self._watches.discard(watch)
        if not self._watches:
            # Who has gone away is cancelled, again and again, whatever is awaited here.
            await asyncio.shield(self._rest())

    def _greet(self, watch: Watch) -> None:
        for status in self._known.values():
            watch.tell(status)
        if self._last_disk is not None:
            watch.tell_disk(self._last_disk)
        watch.tell_ready()

    # Looking.

    async def _look_at_all(self) -> None:
        while True:
            began = time.monotonic()
            is_due = self._is_pass_due(began)
            with _survived():
                await (self._pass() if is_due else self._go_on())
                if is_due:
                    self._last_pass = began
            ended = time.monotonic()
            if is_due:
                self._next_pass = ended + _REST * (ended - began)
            pause = INTERVAL if self._can_hear() else max(INTERVAL, self._next_pass - ended)
            await asyncio.sleep(pause)

    def _is_pass_due(self, now: float) -> bool:
        if now < self._next_pass:
            return False
        return not self._can_hear() or now >= self._last_pass + _SELDOM

    def _can_hear(self) -> bool:
        """Whether the last pass and what was heard since make up all that has happened."""
        since = None if self._listening is None else self._listening.since
        return since is not None and since <= self._last_pass

    async def _pass(self) -> None:
        candidates = await self._candidates()
        await self._look_at_each(candidates)
        await self._forget_ended()
        self._note_disk()
        if not self._is_primed:
            self._is_primed = True
            for watch in self._watches:
                self._greet(watch)

    async def _go_on(self) -> None:
        """What changes by itself: rates, deadlines, the steps of a finish."""
        began, now = time.monotonic(), datetime.now(UTC)
        for count, status in enumerate(list(self._known.values())):
            if count % _AT_A_TIME == 0:
                await asyncio.sleep(0)
            if self._known.get(status.id) is not status:
                continue
            is_over = status.expires is not None and status.expires <= now
            if is_over or status.state is not State.UPLOADING:
                self._doubt(status.id)
            elif status.rate != 0 and began > self._heard_at.get(status.id, 0.0) + INTERVAL:
                self._note(status.id, self._advance(status, status.offset, status.modified))
        self._note_disk()

    async def _look_at_doubted(self) -> None:
        while True:
            await self._bell.wait()
            self._bell.clear()
            began = time.monotonic()
            doubted, self._doubted = self._doubted, {}
            with _survived():
                await self._look_at_each(doubted)
            await asyncio.sleep(max(_BREATH, _REST * (time.monotonic() - began)))

    async def _look_at_each(self, upload_ids: Iterable[str]) -> None:
        waiting = list(upload_ids)
        for start in range(0, len(waiting), _AT_A_TIME):
            await together(map(self._look_at, waiting[start : start + _AT_A_TIME]))
            await asyncio.sleep(0)

    async def _look_at(self, upload_id: str) -> None:
        if upload_id in self._looked_at:
            return self._doubt(upload_id)
        self._looked_at.add(upload_id)
        began = time.monotonic()
        try:
            with suppress(TusError):  # Passing trouble; what was known of it stays.
                self._compare(upload_id, await self._find(upload_id), began)
        finally:
            self._looked_at.discard(upload_id)

    def _compare(self, upload_id: str, status: Status | None, began: float) -> None:
        """Notes what a look has shown, unless a hint that came meanwhile knows better."""
        known = self._known.get(upload_id)
        is_older = began <= self._heard_at.get(upload_id, 0.0)
        if known is None or not is_older or not _is_behind(status, known):
            self._note(upload_id, status)

    async def _candidates(self) -> list[str]:
        """Those that may have something new to tell."""
        now = time.time()
        active = await self._catalog.latest(Filter(is_active=True), _MOST)
        # A small one may have come and ended since the last look.
        fresh = await self._catalog.latest(Filter(since=self._since - _OVERLAP), _MOST)
        asked = {watch.wanted.upload_id for watch in self._watches}
        found = {entry.upload_id for entry in (*active, *fresh)} | asked | self._known.keys()
        self._since = now
        return [each for each in found - self._ended.keys() if each is not None]

    # Listening.

    def _hear(self, hint: Hint) -> None:
        upload_id, offset = hint.upload_id, hint.offset
        known = self._known.get(upload_id)
        if offset is not None and upload_id in self._ended:
            return  # It comes late.
        if offset is None or known is None or not _is_in_between(known, offset):
            self._doubt(upload_id)
        elif offset > known.offset:
            self._heard_at[upload_id] = time.monotonic()
            self._note(upload_id, self._advance(known, offset, hint.moment))

    def _doubt(self, upload_id: str) -> None:
        if len(self._doubted) < _MOST:  # The next pass sees the others.
            self._doubted[upload_id] = None
            self._bell.set()

    # Telling.

    def _note(self, upload_id: str, status: Status | None) -> None:
        known = self._known.get(upload_id) or self._ended.get(upload_id)
        if status is not None and status == known:
            return
        if status is None or not status.state.is_active:
            self._known.pop(upload_id, None)
            self._heard_at.pop(upload_id, None)
        if status is None:
            self._ended.pop(upload_id, None)
            self._tell_gone(upload_id)
            return
        if status.state.is_active:
            self._known[upload_id] = status
            self._ended.pop(upload_id, None)
        else:
            self._ended[upload_id] = status
        if self._is_primed:
            for watch in self._watches:
                watch.tell(status)

    def _tell_gone(self, upload_id: str) -> None:
        for watch in self._watches:
            watch.tell_gone(upload_id)

    async def _forget_ended(self) -> None:
        """Those of the past that are removed now; not more of them are remembered than watched."""
        for upload_id in self._ended.keys() - await self._catalog.known(tuple(self._ended)):
            del self._ended[upload_id]
            self._tell_gone(upload_id)
        for upload_id in list(self._ended)[:-_MOST]:
            del self._ended[upload_id]

    def _note_disk(self) -> None:
        if self._disk is None:
            return
        total, free = self._disk()
        last = self._last_disk
        if last is not None and abs(free - last.free) * 100 < total:
            return
        self._last_disk = Disk(free, total)
        for watch in self._watches:
            watch.tell_disk(self._last_disk)


async def _end(tasks: list[asyncio.Task[None]], listening: Listening | None) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if listening is not None:
        await listening.close()


def _is_in_between(status: Status, offset: int) -> bool:
    """Whether the upload is the same with so many bytes, but for what depends on them."""
    is_short = status.length is None or offset < status.length
    return status.state is State.UPLOADING and is_short


def _is_behind(status: Status | None, known: Status) -> bool:
    return status is not None and status.state.is_active and status.offset < known.offset


@contextmanager
def _survived() -> Iterator[None]:
    """Whoever watches stays connected, and sees it go on."""
    try:
        yield
    except Exception:
        _logger.exception("the uploads could not be looked at; it is tried again")

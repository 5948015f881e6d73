"""Live progress: one look at a time at every upload that is active, for all who watch.

The store knows how far each upload is, whichever process receives it, so looking at it works with
any number of workers and servers. Looking takes no more than a small share of the time, however
many uploads there are, and nothing while nobody watches.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec import Struct

from tusserver.policy.ledger import Filter
from tusserver.protocol.errors import TusError
from tusserver.status.values import Status
from tusserver.together import together

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tusserver.status.catalog import Catalog

_logger = logging.getLogger("tusserver")

INTERVAL = 1.0
"""Seconds between two looks at an upload, at least."""
_REST = 20.0
"""How many times as long as looking takes it rests."""
_MOST = 2000
"""Uploads that are watched at once; of more those that were created last."""
_OVERLAP = 10.0
"""Seconds by which the clocks of two processes, or two transactions, may be out of order."""
_AT_A_TIME = 32


DiskUsage = Callable[[], tuple[int, int]]
"""Bytes of a file system, all and those that are left."""


class Disk(Struct, frozen=True):
    """Bytes of the file system."""

    free: int
    total: int


@dataclass(frozen=True, slots=True)
class Gone:
    """The upload does not exist any more, or is not wanted any more."""

    upload_id: str


@dataclass(frozen=True, slots=True)
class Ready:
    """What was there at the beginning has been told."""


News = Status | Gone | Ready | Disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What somebody watches: one upload, or all that are like this."""

    upload_id: str | None = None
    owner: str | None = None
    name: str = ""
    is_active: bool | None = None

    def includes(self, status: Status) -> bool:
        """Whether this upload is one of them."""
        if self.upload_id is not None and status.id != self.upload_id:
            return False
        if self.owner is not None and status.owner != self.owner:
            return False
        if self.is_active is not None and status.state.is_active != self.is_active:
            return False
        return self.name.lower() in (status.filename or "").lower()


@dataclass(eq=False)
class Watch:
    """What one watcher is still to be told: the last news of each upload, so that a slow reader
    costs no more than a quick one.
    """

    wanted: Wanted
    _news: dict[object, News] = field(default_factory=dict)
    _shown: set[str] = field(default_factory=set)
    _bell: asyncio.Event = field(default_factory=asyncio.Event)
    _is_closed: bool = False

    def tell(self, status: Status) -> None:
        """An upload is new or has changed."""
        if not self.wanted.includes(status):
            self.tell_gone(status.id)
            return
        self._shown.add(status.id)
        self._put(status.id, status)

    def tell_gone(self, upload_id: str) -> None:
        """An upload is not there any more."""
        if upload_id in self._shown:
            self._shown.discard(upload_id)
            self._put(upload_id, Gone(upload_id))

    def tell_ready(self) -> None:
        """All that is there has been told."""
        self._put(Ready, Ready())

    def tell_disk(self, disk: Disk) -> None:
        """The room has changed."""
        if self.wanted.upload_id is None:
            self._put(Disk, disk)

    def _put(self, key: object, news: News) -> None:
        self._news[key] = news
        self._bell.set()

    def close(self) -> None:
        """Ends the watch, from whatever side."""
        self._is_closed = True
        self._bell.set()

    async def next(self, patience: float) -> list[News] | None:
        """What there is to tell, after so many seconds nothing; None when the watch has ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._bell.wait()
        if self._is_closed:
            return None
        self._bell.clear()
        news, self._news = list(self._news.values()), {}
        return news


class Live:
    """Looks for all watchers. `find` says how an upload stands, None if there is none."""

    def __init__(
        self,
        catalog: Catalog,
        find: Callable[[str], Awaitable[Status | None]],
        disk: DiskUsage | None,
    ) -> None:
        self._catalog = catalog
        self._find = find
        self._disk = disk
        self._watches: set[Watch] = set()
        self._looking: asyncio.Task[None] | None = None
        self._known: dict[str, Status] = {}
        self._ended: dict[str, None] = {}
        """Those that have come to an end while somebody watched; in the order of that."""
        self._since = 0.0
        self._is_primed = False
        self._last_disk: Disk | None = None

    async def close(self) -> None:
        """Ends all watches."""
        for watch in self._watches:
            watch.close()
        await self._rest()

    async def _rest(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
            self._looking = None

    def watch(self, wanted: Wanted) -> Watch:
        """Begins to watch: what is there comes first."""
        watch = Watch(wanted)
        self._watches.add(watch)
        if self._looking is None:
            self._known, self._ended, self._last_disk = {}, {}, None
            self._since, self._is_primed = time.time(), False
            self._looking = asyncio.create_task(self._look())
        elif self._is_primed:
            self._greet(watch)
        return watch

    async def leave(self, watch: Watch) -> None:
        """Ends to watch."""
        watch.close()
        self._watches.discard(watch)
        if not self._watches:
            await self._rest()

    def _greet(self, watch: Watch) -> None:
        for status in self._known.values():
            watch.tell(status)
        if self._last_disk is not None:
            watch.tell_disk(self._last_disk)
        watch.tell_ready()

    async def _look(self) -> None:
        while True:
            began = time.monotonic()
            try:
                await self._pass()
            except Exception:
                # Whoever watches stays connected, and sees it go on.
                _logger.exception("the uploads could not be looked at; it is tried again")
            await asyncio.sleep(max(INTERVAL, _REST * (time.monotonic() - began)))

    async def _pass(self) -> None:
        candidates = await self._candidates()
        for start in range(0, len(candidates), _AT_A_TIME):
            await together(map(self._look_at, candidates[start : start + _AT_A_TIME]))
            await asyncio.sleep(0)
        await self._forget_ended()
        self._note_disk()
        if not self._is_primed:
            self._is_primed = True
            for watch in self._watches:
                self._greet(watch)

    async def _look_at(self, upload_id: str) -> None:
        with suppress(TusError):  # Passing trouble; what was known of it stays.
            self._note(upload_id, await self._find(upload_id))

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

    def _note(self, upload_id: str, status: Status | None) -> None:
        known = self._known.get(upload_id)
        if status is None:
            self._known.pop(upload_id, None)
            self._tell_gone(upload_id)
            return
        if status == known:
            return
        if status.state.is_active:
            self._known[upload_id] = status
        else:
            self._known.pop(upload_id, None)
            self._ended[upload_id] = None
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

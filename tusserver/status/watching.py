"""What somebody watches, and what they are still to be told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from msgspec import Struct

from tusserver.status.values import Status

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

"""Server-Sent Events (WHATWG HTML, section 9.2) of what happens to uploads."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import StreamingResponse

from tusserver.status.values import Status
from tusserver.status.watching import Disk, Gone, Ready

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.types import Receive, Scope, Send

    from tusserver.status.live import Live
    from tusserver.status.watching import News, Wanted

HEARTBEAT = 15.0
"""Seconds of silence after which a comment keeps proxies from closing the connection."""
LIFE_WITH_TOKEN = 600.0
"""Seconds after which a watcher has to come again, so that a token is looked at again."""
_RETRY = b"retry: 2000\n\n"
_SILENCE = b": nothing new\n\n"


class EventStream:
    """One response: `first` comes first, and with it the stream is about one upload and ends with
    that. `life` in seconds, None: as long as somebody reads.
    """

    def __init__(
        self,
        live: Live,
        wanted: Wanted,
        dressed: Callable[[Status], Status],
        *,
        first: Status | None,
        life: float | None,
    ) -> None:
        self._live = live
        self._wanted = wanted
        self._dressed = dressed
        self._first = first
        self._life = life
        self._stop: Callable[[], None] | None = None
        self._is_stopped = False

    def close(self) -> None:
        """Ends the stream from outside, as when the server stops."""
        self._is_stopped = True
        if self._stop is not None:
            self._stop()

    async def run(self) -> AsyncIterator[bytes]:
        """The bytes of the events as they come."""
        yield _RETRY
        first = self._first
        if first is not None:
            yield self._encode(first)
            if not first.state.is_active:
                return
        if self._is_stopped:
            return
        watch = self._live.watch(self._wanted)
        self._stop = watch.close
        ends = None if self._life is None else time.monotonic() + self._life
        try:
            while ends is None or time.monotonic() < ends:
                news = await watch.next(HEARTBEAT)
                if news is None:
                    return
                yield b"".join(map(self._encode, news)) or _SILENCE
                if first is not None and any(map(_is_last, news)):
                    return
        finally:
            await self._live.leave(watch)

    def _encode(self, news: News) -> bytes:
        match news:
            case Status():
                return _event(b"upload", self._dressed(news))
            case Gone(upload_id):
                return _event(b"removed", {"id": upload_id})
            case Ready():
                return _event(b"ready", {})
            case Disk():
                return _event(b"storage", news)


class EventResponse(StreamingResponse):
    """The answer with these events. One whose reader has gone is ended as any other, since the
    server takes an answer without an end for a fault, and says so in the log.
    """

    _has_begun = False
    _is_complete = False

    async def stream_response(self, send: Send) -> None:
        """As Starlette's; remembers how far it got."""
        self._has_begun = True
        await super().stream_response(send)
        self._is_complete = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, send)
        if self._has_begun and not self._is_complete:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _is_last(news: News) -> bool:
    return isinstance(news, Gone) or (isinstance(news, Status) and not news.state.is_active)


def _event(name: bytes, data: object) -> bytes:
    # One line: JSON has no line ends of its own.
    return b"event: %s\ndata: %s\n\n" % (name, msgspec.json.encode(data))

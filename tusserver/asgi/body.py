"""The body of a request as a store consumes it: bounded, idle-timed, and open to interruption. Any
ASGI server will do.

A server that knows more (ours, see `tusserver.serving`) says so in the scope under
`extensions["tusserver"]`: it hands over the trailer fields, and tells a broken framing and its own
shutdown from a client that went away.
"""

from __future__ import annotations

import asyncio
from functools import partial as bind
from typing import TYPE_CHECKING, Protocol

from tusserver.protocol.decision import Outcome
from tusserver.store.base import BodyInterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.types import Message, Receive, Scope

    from tusserver.protocol.errors import Header
    from tusserver.sections import RequestBody
    from tusserver.store.base import DirectBody

EXTENSION = "tusserver"


class RequestExtension(Protocol):
    """What our own HTTP server adds to a request."""

    @property
    def trailers(self) -> list[Header]:
        """The trailer fields of the body, complete after its last byte."""
        ...

    @property
    def body_outcome(self) -> Outcome:
        """Why the body broke off, when it did."""
        ...

    @property
    def is_gone(self) -> bool:
        """The client has gone away; nobody reads the answer."""
        ...

    def direct_body(
        self, scope: Scope, receive: Receive, idle_timeout: float
    ) -> RequestBody | None:
        """The body of this request as one that can be had past the event loop, where it can."""
        ...

    def abandon_body(self) -> None:
        """The rest of the body will not come or is not wanted: the connection is of no more use."""
        ...

    def break_answer(self) -> None:
        """The answer has begun and cannot be completed: its reader is to see that it broke off."""
        ...

    @property
    def has_news(self) -> bool:
        """`receive` returns at once."""
        ...

    def hold_cancellation(self, on_cancel: Callable[[], None]) -> bool:
        """See `RequestBody.hold_cancellation`; `on_cancel` is called instead of a cancellation."""
        ...

    def release_cancellation(self) -> None:
        """See `RequestBody.release_cancellation`."""
        ...

    def on_stop(self, callback: Callable[[], None]) -> None:
        """`callback` is called once when the server stops before this request has ended, so that an
        answer that would go on for ever can end.
        """
        ...

    async def answer(self, status: int, headers: Iterable[Header], body: bytes) -> None:
        """Sends a whole answer."""
        ...


def request_extension(scope: Scope) -> RequestExtension | None:
    """The extension of this request if its server has one."""
    extension: RequestExtension | None = (scope.get("extensions") or {}).get(EXTENSION)
    return extension


def body_of(scope: Scope, receive: Receive, idle_timeout: float) -> RequestBody:
    """The body of this request: direct where the server offers that, else as a stream.

    `idle_timeout` is how many seconds a client may send nothing while bytes are awaited.
    """
    extension = request_extension(scope)
    direct = None if extension is None else extension.direct_body(scope, receive, idle_timeout)
    return StreamBody(scope, receive, idle_timeout) if direct is None else direct


class StreamBody:
    """The body as ASGI messages. `idle_timeout` is how many seconds a client may send nothing while
    bytes are awaited.
    """

    def __init__(self, scope: Scope, receive: Receive, idle_timeout: float) -> None:
        self._receive = receive
        self._extension = request_extension(scope)
        self._idle_timeout = idle_timeout
        self._room: int | None = None
        self._has_ended = False
        self._interruption: Outcome | None = None
        self._reader: asyncio.Task[object] | None = None

    @property
    def trailers(self) -> Iterable[Header]:
        """The trailer fields; complete once the body has ended, empty where the server does not
        hand them over.
        """
        return () if self._extension is None else self._extension.trailers

    @property
    def direct(self) -> DirectBody | None:
        """Messages come by way of the event loop only."""
        return None

    def on_stop(self, callback: Callable[[], None]) -> None:
        """`callback` is called if the server stops before the request is answered, where it can
        tell.
        """
        if self._extension is not None:
            self._extension.on_stop(callback)

    def hold_cancellation(self) -> bool:
        """A cancellation of the request only interrupts the body from now on; False where nobody
        can promise that.
        """
        return self._extension is not None and self._extension.hold_cancellation(
            bind(self.interrupt, Outcome.CANCELLED)
        )

    def release_cancellation(self) -> None:
        """Ends that."""
        if self._extension is not None:
            self._extension.release_cancellation()

    def bound(self, limit: int | None) -> None:
        """From now on at most `limit` bytes are given out, then reading raises TOO_LONG."""
        self._room = limit

    def interrupt(self, outcome: Outcome) -> None:
        """Ends the body from outside; the first reason counts. Only on the event loop."""
        if self._interruption is not None:
            return
        self._interruption = outcome
        if self._extension is not None:
            self._extension.abandon_body()
        if self._reader is not None:
            self._reader.cancel()

    async def read(self) -> bytes:
        """The next bytes, empty at the end. Raises BodyInterrupted."""
        if self._room is not None and self._room < 0:
            raise BodyInterrupted(Outcome.TOO_LONG)
        while not self._has_ended:
            buffer = await self._next()
            if buffer:
                return self._within_room(buffer)
        return b""

    def _within_room(self, buffer: bytes) -> bytes:
        if self._room is None:
            return buffer
        kept = buffer[: self._room]
        # Below zero: there was more than there was room for, which the next read tells.
        self._room -= len(buffer)
        if not kept:
            raise BodyInterrupted(Outcome.TOO_LONG)
        return kept

    async def _next(self) -> bytes:
        if self._interruption is not None:
            raise BodyInterrupted(self._interruption)
        if self._extension is not None and self._extension.has_news:
            message = await self._receive()
        else:
            message = await self._receive_in_time()
        if message["type"] == "http.disconnect":
            raise BodyInterrupted(
                Outcome.DISCONNECTED if self._extension is None else self._extension.body_outcome
            )
        self._has_ended = not message.get("more_body", False)
        body: bytes = message.get("body", b"")
        return body

    async def _receive_in_time(self) -> Message:
        self._reader = asyncio.current_task()
        timer = asyncio.get_running_loop().call_later(
            self._idle_timeout, self.interrupt, Outcome.IDLE
        )
        try:
            return await self._receive()
        except asyncio.CancelledError:
            # Either `interrupt` cancelled this very wait, or somebody else the whole request.
            if self._interruption is None or (
                self._reader is not None and self._reader.uncancel() > 0
            ):
                raise
            raise BodyInterrupted(self._interruption) from None
        finally:
            timer.cancel()
            self._reader = None

"""One request and its answer on a connection of ours: uvicorn's cycle, minus what loses bytes or
answers.

A client that vanishes is reported after its last byte, not instead of it. Trailers are kept apart
from the headers. Why a body broke off is known. An answer that comes before the end of the body
does not slam the connection shut on a client that is still sending, and a client that reads nothing
does not hold its answer for ever.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from tusserver.protocol.decision import Outcome
from tusserver.serving.sockets import unsent_in_kernel

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
    from uvicorn.server import ServerState

    from tusserver.protocol.errors import Header

WRITE_TIMEOUT = 60.0
"""Seconds for which a client may read nothing of its answer."""
_DRAINED_SILENTLY = 64 * 1024
"""Bytes of an unwanted body that are read and dropped so that the connection can be kept."""


class Cycle(RequestResponseCycle):
    """A request, its body as it comes in, and its answer as it goes out.

    `trailers` and `body_outcome` are what the application may ask for beyond ASGI. `must_linger`
    says, once the answer has begun, that the rest of the body is to be read and dropped for a while
    before the connection is closed.
    """

    def __init__(self, *, unread: int | None, server_state: ServerState, **arguments: Any) -> None:
        """`unread` is the announced length of the body in bytes, None if it is not announced."""
        super().__init__(default_headers=[], **arguments)
        self._server_state = server_state
        self.trailers: list[Header] = []
        self.body_outcome = Outcome.DISCONNECTED
        self.must_linger = False
        self._unread = unread
        self._is_broken_off = False
        self._is_abandoned = False
        self._is_half_closed = False
        self._is_end_told = False

    @property
    def is_gone(self) -> bool:
        """Nobody is left to read the answer."""
        return self.disconnected

    def awaits(self, size: int) -> bool:
        """Whether so many bytes that come next are all of this body."""
        is_counted = self._unread is not None and not self.response_complete
        return is_counted and size <= (self._unread or 0)

    def take(self, body: bytes) -> int:
        """Adds bytes that came in, and returns how many wait to be received."""
        self.body += body
        if self._unread is not None:
            self._unread -= len(body)
        self.message_event.set()
        return len(self.body)

    def break_off(self, outcome: Outcome) -> None:
        """Ends a body that has not ended; the application is told after the bytes that are here."""
        if self.more_body and not self._is_broken_off and not self.disconnected:
            self.body_outcome = outcome
            self._is_broken_off = True
            self.message_event.set()

    def half_close(self) -> None:
        """The client sends nothing more; whether it still reads will show when it is answered."""
        self.keep_alive = False
        self._is_half_closed = True
        self.message_event.set()

    def abandon_body(self) -> None:
        """The application waits no longer for the rest of the body, and neither shall we."""
        self._is_abandoned = True

    async def receive(self) -> ASGIReceiveEvent:
        """The next bytes of the body; only when there are none left, what ended it."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        while not self._has_news():
            self.flow.resume_reading()
            self.message_event.clear()
            await self.message_event.wait()
        if self.response_complete or not (self.body or self._is_end_untold()):
            return {"type": "http.disconnect"}
        body, self.body = bytes(self.body), bytearray()
        self._is_end_told = not self.more_body
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    def _is_end_untold(self) -> bool:
        return not self.more_body and not self._is_end_told

    def _has_news(self) -> bool:
        if self.response_complete or self.disconnected or self._is_broken_off:
            return True
        if self._is_half_closed:
            return True
        return bool(self.body) or self._is_end_untold()

    async def send(self, message: ASGISendEvent) -> None:
        """As ASGI says; raises nothing when the client is gone."""
        if self.flow.write_paused and not self.disconnected:
            await self._wait_for_reader()
        if message["type"] != "http.response.start":
            return await super().send(message)
        # Not those of the beginning of the request: among them is the Date of the answer.
        self.default_headers = self._server_state.default_headers
        if self.more_body and not (self.keep_alive and self._is_rest_small()):
            self.must_linger = True
            # For the head of the answer the connection is one to be closed; for the base class,
            # which would close it with bytes of the client still on their way, and so destroy the
            # answer (RFC 9112, 9.6), it is not.
            self.keep_alive = False
            await super().send(message)
            self.keep_alive = True
            return None
        return await super().send(message)

    def _is_rest_small(self) -> bool:
        """The client is going to send the rest of the body, and it is not worth a connection."""
        if self._unread is None or self._is_abandoned or self.waiting_for_100_continue:
            return False
        return self._unread <= _DRAINED_SILENTLY

    async def _wait_for_reader(self) -> None:
        unread = self._unread_answer()
        while self.flow.write_paused and not self.disconnected:
            try:
                async with asyncio.timeout(WRITE_TIMEOUT):
                    await self.flow.drain()
            except TimeoutError:
                # The transport tells only when there is room again for much; a slow client has read
                # something all the same.
                before, unread = unread, self._unread_answer()
                if unread >= before:
                    self.disconnected = True
                    self.transport.abort()

    def _unread_answer(self) -> int:
        """Bytes of answers that wait for the client, here and (where it tells) in the kernel."""
        return self.transport.get_write_buffer_size() + unsent_in_kernel(self.transport)

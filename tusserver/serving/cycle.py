"""One request and its answer on a connection of ours: uvicorn's cycle, minus what loses bytes or
answers.

A client that vanishes is reported after its last byte, not instead of it. Trailers are kept apart
from the headers. Why a body broke off is known. An answer that comes before the end of the body
does not slam the connection shut on a client that is still sending, and a client that reads nothing
does not hold its answer for ever.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from tusserver.protocol.decision import Outcome
from tusserver.serving.direct import DirectBody
from tusserver.serving.framing import Framing
from tusserver.serving.sockets import unsent_in_kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.types import Receive, Scope
    from uvicorn._types import (
        ASGI3Application,
        ASGIReceiveEvent,
        ASGISendEvent,
        HTTPResponseBodyEvent,
        HTTPResponseStartEvent,
    )
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

    # At class level so that a small request costs little.
    body_outcome = Outcome.DISCONNECTED
    must_linger = False
    offers_direct = False
    is_taken_over = False
    task: asyncio.Task[None] | None = None
    _unsent = b""
    _is_broken_off = False
    _is_abandoned = False
    _is_half_closed = False
    _is_end_told = False
    _direct: DirectBody | None = None
    _is_alone = False
    _on_cancel: Callable[[], None] | None = None
    _on_stop: Callable[[], None] | None = None

    def __init__(self, *, server_state: ServerState, **arguments: Any) -> None:
        super().__init__(default_headers=[], **arguments)
        self._server_state = server_state
        self._framing = Framing(is_head=self.scope["method"] == "HEAD")
        self.trailers: list[Header] = []
        self.unread = _content_length(self.scope["headers"])
        """Bytes of the body that have not come yet; None if their number is not announced."""

    @property
    def is_gone(self) -> bool:
        """Nobody is left to read the answer."""
        return self.disconnected

    def awaits(self, size: int) -> bool:
        """Whether so many bytes that come next are all of this body."""
        is_counted = self.unread is not None and not self.response_complete
        return is_counted and size <= (self.unread or 0)

    def take(self, body: bytes) -> int:
        """Adds bytes that came in, and returns how many wait to be received."""
        self.body += body
        if self.unread is not None:
            self.unread -= len(body)
        self.message_event.set()
        return len(self.body)

    def break_off(self, outcome: Outcome) -> None:
        """Ends a body that has not ended; the application is told after the bytes that are here."""
        if self.more_body and not self._is_broken_off and not self.disconnected:
            self.body_outcome = outcome
            self._is_broken_off = True
            self.message_event.set()
            if self.is_taken_over and self._direct is not None:
                self._direct.interrupt(outcome)

    def on_stop(self, callback: Callable[[], None]) -> None:
        """`callback` is called if the server stops before this request has ended."""
        self._on_stop = callback

    def stop(self) -> None:
        """The server stops: a body is cut, and an answer without an end is asked to end."""
        self.break_off(Outcome.SHUTDOWN)
        if self._on_stop is not None and not self.response_complete:
            self._on_stop()

    def half_close(self) -> None:
        """The client sends nothing more; whether it still reads will show when it is answered."""
        self.keep_alive = False
        self._is_half_closed = True
        self.message_event.set()

    def abandon_body(self) -> None:
        """The application waits no longer for the rest of the body, and neither shall we."""
        self._is_abandoned = True

    def break_answer(self) -> None:
        """Ends the connection after what has been sent, which is less than was announced."""
        self.disconnected = True
        self.transport.close()

    def direct_body(self, scope: Scope, receive: Receive, idle_timeout: float) -> DirectBody | None:
        """The body as one that can be had past the event loop, if more of it is to come."""
        if not self.offers_direct or not self.unread:
            return None
        self._direct = DirectBody(scope, receive, idle_timeout, self)
        return self._direct

    def take_over(self) -> tuple[int, bytes, int]:
        """A descriptor to read the body from, the bytes that are here already, and how many are to
        come. From here on neither transport nor parser see any of it.

        Without a descriptor (-1) when the connection is gone, see `early_end`.
        """
        self._ask_for_body()
        self.is_taken_over = True
        head, self.body = bytes(self.body), bytearray()
        try:
            descriptor = os.dup(self.transport.get_extra_info("socket").fileno())
        except OSError:
            descriptor, self.disconnected = -1, True
        return descriptor, head, self.unread or 0

    @property
    def early_end(self) -> Outcome | None:
        """Why no more of the body is to be read, if so."""
        return self.body_outcome if self._is_broken_off or self.disconnected else None

    async def run_asgi(self, app: ASGI3Application) -> None:
        """As uvicorn's; at the end the descriptor of a direct body is freed, and what leads back to
        here is cut, so that a request leaves nothing to the garbage collector.
        """
        self._is_alone = getattr(app, "is_bare", False)
        try:
            await super().run_asgi(app)
        finally:
            if self._direct is not None:
                self._direct.close()
                self._direct = None
            self.scope["extensions"].clear()

    # Cancelling. The server knows this object in place of its task, so that it can be asked to wait
    # for what must not be torn, without a task of its own for that.

    def cancel(self, msg: object = None) -> None:
        """Cancels the request, or tells whoever holds that off."""
        if self._on_cancel is not None:
            self._on_cancel()
        elif self.task is not None:
            self.task.cancel(msg)

    def hold_cancellation(self, on_cancel: Callable[[], None]) -> bool:
        """From now on a cancellation is only told to `on_cancel`. False, and nothing is different,
        where somebody else than the server may cancel the task: what lies around the application.
        """
        if not self._is_alone:
            return False
        self._on_cancel = on_cancel
        return True

    def release_cancellation(self) -> None:
        """Ends that."""
        self._on_cancel = None

    def _ask_for_body(self) -> None:
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False

    async def receive(self) -> ASGIReceiveEvent:
        """The next bytes of the body; only when there are none left, what ended it."""
        self._ask_for_body()
        while not self.has_news:
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

    @property
    def has_news(self) -> bool:
        """`receive` returns at once."""
        if self.response_complete or self.disconnected or self._is_broken_off:
            return True
        if self._is_half_closed:
            return True
        return bool(self.body) or self._is_end_untold()

    async def answer(self, status: int, headers: Iterable[Header], body: bytes) -> None:
        """A whole answer, as two messages to `send` would be."""
        if self.flow.write_paused and not self.disconnected:
            await self._wait_for_reader()
        if self.disconnected:
            return
        if self.response_started:
            raise RuntimeError("the answer has begun already")
        self._unsent = self._head(status, headers)
        self._write(body, is_last=True)

    async def send(self, message: ASGISendEvent) -> None:
        """As ASGI says; raises nothing when the client is gone."""
        if self.flow.write_paused and not self.disconnected:
            await self._wait_for_reader()
        if self.disconnected:
            return
        if message["type"] == "http.response.start" and not self.response_started:
            self._start_response(message)
        elif message["type"] == "http.response.body" and self._is_responding():
            self._go_on_responding(message)
        else:
            raise RuntimeError(f"{message['type']} has no place here")

    def _is_responding(self) -> bool:
        return self.response_started and not self.response_complete

    def _start_response(self, message: HTTPResponseStartEvent) -> None:
        self._unsent = self._head(message["status"], message.get("headers", ()))
        # Together with the body if that comes at once, as it does mostly.
        asyncio.get_running_loop().call_soon(self._send_head)

    def _head(self, status: int, headers: Iterable[Header]) -> bytes:
        self.response_started = True
        self.must_linger = self.more_body and not (self.keep_alive and self._is_rest_small())
        self.waiting_for_100_continue = False
        # Not those of the beginning of the request: among them is the Date of the answer.
        headers = (*self._server_state.default_headers, *headers)
        closes = self.must_linger or not self.keep_alive
        head = self._framing.head(status, headers, closes=closes)
        self.keep_alive = self.keep_alive and not self._framing.asks_to_close
        return head

    def _send_head(self) -> None:
        if self._unsent and not self.transport.is_closing():
            self.transport.write(self._unsent)
            self._unsent = b""

    def _go_on_responding(self, message: HTTPResponseBodyEvent) -> None:
        self._write(message.get("body", b""), is_last=not message.get("more_body", False))

    def _write(self, body: bytes, *, is_last: bool) -> None:
        data = self._unsent + self._framing.body(body, is_last=is_last)
        self._unsent = b""
        if data:
            self.transport.write(data)
        if not is_last:
            return
        self.response_complete = True
        self.message_event.set()
        # With bytes of the client still on their way a close would destroy the answer (RFC 9112,
        # 9.6): `must_linger`, and the connection sees to it.
        if not self.keep_alive and not self.must_linger:
            self.transport.close()
        self.on_response()

    def _is_rest_small(self) -> bool:
        """The client is going to send the rest of the body, and it is not worth a connection."""
        if self.unread is None or self._is_abandoned or self.waiting_for_100_continue:
            return False
        if self.is_taken_over:
            return False  # The parser does not know where the rest begins.
        return self.unread <= _DRAINED_SILENTLY

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


def _content_length(headers: Iterable[Header]) -> int | None:
    """The announced length of the body in bytes, 0 if the framing allows none, None if it is
    chunked.

    The parser has refused everything else than digits, and more than one of either.
    """
    for name, value in headers:
        if name == b"content-length":
            return int(value)
        if name == b"transfer-encoding":
            return None
    return 0

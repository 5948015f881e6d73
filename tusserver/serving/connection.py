"""Our HTTP/1.1 connection: uvicorn's httptools protocol with limits, trailers, order and a soft
close.

What uvicorn leaves open and an upload server needs:
- Heads are bounded in size and time; a connection that says nothing is closed.
- Trailer fields reach the application apart from the headers (uvicorn would mix them in).
- A malformed request is answered in its turn, after the requests before it; broken framing of a
  body ends that body.
- An answer that comes before the end of the body is followed by a lingering close: our side is
  shut, the rest of the body is read and dropped for a while, and the client gets to see the answer.
- An `Upgrade` that nobody here speaks is ignored, as RFC 9110, section 7.8 allows, with its body
  intact.
- When the server stops, running bodies are cut, so that their bytes are stored and their clients
  answered.
"""

from __future__ import annotations

import asyncio
import http
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tusserver.asgi.body import EXTENSION
from tusserver.protocol.capabilities import TUS_RESUMABLE
from tusserver.protocol.decision import Outcome
from tusserver.serving.cycle import Cycle
from tusserver.serving.direct import HAS_DIRECT

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


MAX_HEAD = 128 * 1024
"""Bytes that the head of a request, or its trailers, may have."""
_SLICE = 8 * 1024
"""Bytes that are parsed at a time: as many requests as fit into them may wait for their turn."""
HEAD_TIMEOUT = 30.0
"""Seconds for a head to arrive, counted from the connection or from its first byte."""
LINGER_TIMEOUT, LINGER_SILENCE = 30.0, 5.0
"""Seconds for which an unwanted body is read and dropped: altogether, and without a byte."""
_LINGER_AT_SHUTDOWN = 0.5
DIRECT_MIN = 128 * 1024
"""Bytes of a body above which it is worth to be read by a thread."""
_NO_UPGRADE = frozenset({b"upgrade", b"connection", b"http2-settings"})


class TusConnection(HttpToolsProtocol):
    """One connection. To be given to uvicorn as `http=TusConnection`."""

    cycle: Cycle
    """The request that came last; others may still be waiting for their answers before it."""
    _running: RequestResponseCycle | None = None
    """The request that is being answered."""

    # Set anew for each request or when the state comes up; kept at class level so that a connection
    # costs little.
    _held = b""
    """What came behind the requests that wait for their turn; not parsed before that."""
    _raw_size = 0
    _is_in_head = False
    _is_in_body = False
    _is_upgrade = False
    _is_deaf = False
    _is_lingering = False
    _is_stopping = False
    _refusal: int | None = None
    _timer: asyncio.TimerHandle | None = None
    _deadline = 0.0

    # The connection.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm(HEAD_TIMEOUT)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        if self.cycle is not None:
            self.cycle.break_off(Outcome.DISCONNECTED)
        super().connection_lost(exc)
        running = self._running
        if running is not None and not running.response_complete:
            # The base class tells only the request that came last.
            running.disconnected = True
            running.message_event.set()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """A client that shuts its side after a whole request still gets its answer."""
        cycle = self.cycle
        if self.scheme == "https" or cycle is None or cycle.more_body or cycle.response_complete:
            return None
        cycle.half_close()
        return True

    def data_received(self, data: bytes) -> None:
        if self._is_lingering:
            self._arm(min(LINGER_SILENCE, max(0.0, self._deadline - self.loop.time())))
            return
        if self._is_deaf:
            return
        self._unset_keepalive_if_required()
        if len(data) <= _SLICE and not self._held and not self.pipeline:
            self._parse(data)
            self._watch()
        else:
            self._held += data
            self._parse_held()

    def _parse_held(self) -> None:
        """Parses until a request has to wait for its turn: each takes many times the memory of its
        bytes.
        """
        held, position = self._held, 0
        view = memoryview(held)
        self._held = b""
        while position < len(held) and not self.pipeline and not self._is_deaf:
            size = len(held) - position if self._is_all_body(held, position) else _SLICE
            self._parse(view[position : position + size])
            position += size
        if position < len(held) and not self._is_deaf:
            self._held = held[position:]
            self.flow.pause_reading()
        self._watch()

    def _is_all_body(self, held: bytes, position: int) -> bool:
        """Whether no other request begins behind this position."""
        if not self._is_in_body:
            return False
        if self.cycle.unread is not None:
            return self.cycle.awaits(len(held) - position)
        # A chunked body ends with a chunk whose size begins with a zero. What has been parsed right
        # before makes sure that the end of the line before it is seen.
        return position > 0 and held.find(b"\r\n0", position - 2) < 0

    def _parse(self, data: bytes | memoryview) -> None:
        self._raw_size += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._stop_parsing(400)
            return
        if self._raw_size > MAX_HEAD and (self._is_in_head or self._is_in_body):
            self._stop_parsing(431)

    def _watch(self) -> None:
        """Limits the time for what the client is to send next; not while it is we who do not
        read.
        """
        if self._is_deaf:
            return
        if self.pipeline:
            self._disarm()
        elif self._is_in_head:
            if self._timer is None:
                self._arm(HEAD_TIMEOUT)
        elif self.cycle is not None and self.cycle.response_complete:
            # The rest of a body that nobody wants any more trickles in.
            self._arm(self.timeout_keep_alive)

    def _feed(self, data: bytes | memoryview) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            if self._is_upgrade:
                self._is_upgrade = False
                rest = self._head_without_upgrade() + bytes(rest)
                self._renew_parser()
            if rest:
                self._feed(rest)

    def _renew_parser(self) -> None:
        """A parser that expects the head of a request next."""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _head_without_upgrade(self) -> bytes:
        """The head of the current request as if its client had not asked for another protocol."""
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        lines += [b"%s: %s" % header for header in self.headers if header[0] not in _NO_UPGRADE]
        if not self.parser.should_keep_alive():
            lines.append(b"connection: close")
        return b"\r\n".join((*lines, b"", b""))

    # What the parser calls.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._raw_size = 0
        self._is_in_head, self._is_in_body = True, False

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if self._is_in_body:
            self.cycle.trailers.append((name, value))
            return
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        method = self.parser.get_method()
        version = self.parser.get_http_version()
        if method == b"CONNECT" or version not in ("1.0", "1.1") or self._is_closing():
            # What follows the head of a CONNECT is no body to the parser, but requests.
            raise ValueError(method, version)
        if self.parser.should_upgrade():
            self._is_upgrade = True
            return
        self._disarm()
        self._is_in_head, self._is_in_body = False, True
        self._complete_scope(method, version)
        self._begin_cycle(version)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        assert isinstance(cycle, Cycle)
        self._running = cycle
        cycle.task = self.loop.create_task(cycle.run_asgi(app))
        # The server cancels what is in here.
        running = cast("set[Cycle]", self.tasks)
        running.add(cycle)
        cycle.task.add_done_callback(lambda task: running.discard(cycle))

    def _is_closing(self) -> bool:
        """An answer that has begun says that it is the last one on this connection."""
        return self.cycle is not None and self.cycle.must_linger

    def _complete_scope(self, method: bytes, version: str) -> None:
        url = httptools.parse_url(self.url)
        # A target in absolute form may have none: RFC 9110, section 4.2.3.
        raw_path = url.path or b"/"
        path = raw_path.decode("ascii")
        self.scope["method"] = method.decode("ascii")
        self.scope["http_version"] = version
        self.scope["path"] = self.root_path + (unquote(path) if "%" in path else path)
        self.scope["raw_path"] = self.root_path.encode("ascii") + raw_path
        self.scope["query_string"] = url.query or b""

    def _begin_cycle(self, version: str) -> None:
        former = self.cycle
        self.cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            server_state=self.server_state,
            message_event=asyncio.Event(),
            # HTTP/1.0 knows no interim answers.
            expect_100_continue=self.expect_100_continue and version == "1.1",
            keep_alive=version == "1.1" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        self.scope["extensions"] = {EXTENSION: self.cycle}  # type: ignore[dict-item]
        if former is None or former.response_complete:
            self._offer_direct(version)
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _offer_direct(self, version: str) -> None:
        """Stops reading before the rest of a large body comes, so that a thread may read it.

        Whoever wants it as a stream nevertheless makes the transport go on.
        """
        is_plain = HAS_DIRECT and self.scheme == "http" and version == "1.1"
        if is_plain and (self.cycle.unread or 0) > DIRECT_MIN:
            self.cycle.offers_direct = True
            self.flow.pause_reading()

    def on_body(self, body: bytes) -> None:
        self._raw_size = 0
        if self.cycle.response_complete:
            return
        if self.cycle.take(body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        if self._is_upgrade:
            return
        self._is_in_body = False
        self.cycle.more_body = False
        self.cycle.message_event.set()
        if self.cycle.offers_direct:
            # All of it was here already. What comes next is of interest again, if only the end.
            self.cycle.offers_direct = False
            self.flow.resume_reading()

    # The ends.

    def on_response_complete(self) -> None:
        cycle = self.cycle
        if cycle.response_complete and cycle.must_linger and cycle.more_body:
            self.server_state.total_requests += 1
            self._linger()
            return
        if cycle.is_taken_over:
            # The parser still believes to be inside the body.
            self._renew_parser()
            self._is_in_body = False
        if cycle.must_linger:
            # The body has ended after all, while the answer was on its way.
            self.transport.close()
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self._is_in_head or (self._held and not self.pipeline):
            self._unset_keepalive_if_required()
            self._parse_held()
        if self._refusal is not None and self.cycle.response_complete:
            self._refuse(self._refusal)

    def _stop_parsing(self, status: int) -> None:
        """Nothing that comes after a malformed request can be trusted."""
        self._is_deaf = True
        self._disarm()
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._refuse(status)
        elif self._is_in_body:
            cycle.break_off(Outcome.MALFORMED)
        else:
            self._refusal = status

    def _refuse(self, status: int) -> None:
        """Answers what is no request, and closes."""
        phrase = http.HTTPStatus(status).phrase
        body = f"ERR_MALFORMED_REQUEST: {phrase}\n".encode()
        headers = (*self.server_state.default_headers, TUS_RESUMABLE)
        head = [b"%s: %s\r\n" % header for header in headers]
        head.append(b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\n")
        head.append(b"content-length: %d\r\n\r\n" % len(body))
        self.transport.write(b"".join((STATUS_LINE[status], *head, body)))
        self._linger()

    def _linger(self) -> None:
        """Closes softly: RFC 9112, section 9.6."""
        if self.transport.is_closing():
            return
        self._is_lingering = True
        self._unset_keepalive_if_required()
        timeout = _LINGER_AT_SHUTDOWN if self._is_stopping else LINGER_TIMEOUT
        self._deadline = self.loop.time() + timeout
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._arm(min(timeout, LINGER_SILENCE))

    def shutdown(self) -> None:
        """Called by the server when it stops: cuts the running body, lets the running answer
        finish.
        """
        self._is_stopping = True
        if self._is_lingering:
            self._deadline = self.loop.time() + _LINGER_AT_SHUTDOWN
            self._arm(_LINGER_AT_SHUTDOWN)
            return
        if self.cycle is not None:
            self.cycle.stop()
        super().shutdown()

    # One timer for all that a client may be late with.

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._timer = self.loop.call_later(seconds, self._too_late)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self._timer = None
        if self._is_in_head and not self._is_lingering:
            self._stop_parsing(408)
        else:
            self.transport.close()

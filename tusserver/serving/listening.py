"""Taking connections from a socket that several processes listen on, so that all get their share.

An event loop takes all that wait at once, so that one process of several may end up with every
connection of a client while the others are idle. Here they are taken one by one, and by those first
that have the fewest.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import mmap
from array import array
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

_logger = logging.getLogger("tusserver")

_PAUSE = 1.0
"""Seconds without new connections after the system had no descriptor or memory for one."""
_COURTESY, _COURTESY_PAUSE = 3, 0.001
"""How often, and for how many seconds each time, a new connection is left to others."""
_COUNT_SIZE = array("I").itemsize
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Balance:
    """How many connections each of several processes has; in memory that they share if this is made
    before they are forked.
    """

    def __init__(self, count: int) -> None:
        self._counts = memoryview(mmap.mmap(-1, count * _COUNT_SIZE)).cast("I")

    def is_ahead(self, number: int, connections: int) -> bool:
        """Whether the process of this number, with so many now, has more than another one."""
        self._counts[number] = connections
        return connections > min(self._counts)


class SharedListener:
    """Serves the connections of one listening socket; stands where asyncio has its Server.

    As long as this process `is_ahead` of others, they may be first; not for long, since they may
    be busy.
    """

    def __init__(
        self,
        listener: socket.socket,
        factory: Callable[[], asyncio.Protocol],
        *,
        tls: ssl.SSLContext | None,
        backlog: int,
        is_ahead: Callable[[], bool],
    ) -> None:
        """Begins at once, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._factory = factory
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_ahead = is_ahead
        self._waited = 0
        self._pause: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        listener.listen(backlog)
        self._watch()

    def _watch(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def _rest(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._pause = self._loop.call_later(seconds, self._watch)

    def _accept(self) -> None:
        if self._is_ahead() and self._waited < _COURTESY:
            self._waited += 1
            self._rest(_COURTESY_PAUSE)
            return
        self._waited = 0
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # Another process was faster, or the client has gone again.
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            _logger.error("no new connections for %g s: %s", _PAUSE, error.strerror)
            self._rest(_PAUSE)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._factory, connection, ssl=self._tls)
        except OSError:  # As those of TLS are.
            connection.close()

    def close(self) -> None:
        """Takes no more connections; those that are open stay."""
        if self._pause is not None:
            self._pause.cancel()
        with suppress(ValueError, OSError):
            self._loop.remove_reader(self._listener.fileno())

    async def wait_closed(self) -> None:
        """Nothing to wait for."""

"""Stopping threads that wait for a network: a flag, and the sockets that they wait at."""

from __future__ import annotations

import signal
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from tusserver.client.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


class Stop:
    """Asks all that share it to end. `signal` is the number of the signal that came, 0 for none."""

    def __init__(self) -> None:
        self.signal = 0
        self._event = threading.Event()
        self._mutex = threading.Lock()
        self._sockets: set[socket.socket] = set()

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def set(self, number: int = signal.SIGINT) -> None:
        """Takes no lock, so that a signal handler may call it."""
        self.signal = self.signal or number
        self._event.set()

    def check(self) -> None:
        """Raises Interrupted once it is set."""
        if self._event.is_set():
            raise Interrupted

    def pause(self, seconds: float) -> None:
        """Waits; raises Interrupted as soon as it is set."""
        if self._event.wait(seconds):
            raise Interrupted

    def watch(self, connection: socket.socket) -> None:
        """The socket is cut when it is time."""
        with self._mutex:
            self._sockets = {known for known in self._sockets if known.fileno() >= 0}
            self._sockets.add(connection)

    def cut(self) -> None:
        """Ends all connections in order: what the kernel has taken is still delivered."""
        with self._mutex:
            for connection in self._sockets:
                with suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)


@contextmanager
def stops_on_signals(stop: Stop) -> Iterator[None]:
    """SIGINT and SIGTERM set the flag, as long as this lasts. In the main thread only."""

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

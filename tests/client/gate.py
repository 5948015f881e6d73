"""A TCP proxy that lets a number of bytes pass and holds the others back, so that the middle of a
transfer lasts as long as a test needs it.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_SIZE = 64 * 1024


class Valve:
    """Lets up to `limit` bytes pass (None: all). `passed` counts them."""

    def __init__(self, limit: int | None = None) -> None:
        self.passed = 0
        self._limit = limit
        self._changed = threading.Condition()

    def open(self, limit: int | None = None) -> None:
        """From now on so many bytes pass, all in all."""
        with self._changed:
            self._limit = limit
            self._changed.notify_all()

    def wait_until_held(self) -> None:
        """Returns when the limit is reached."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.passed == self._limit, 40), "it never came"

    def allowed(self, size: int) -> int:
        """How many of these bytes may pass, at least one; waits for it."""
        with self._changed:
            while (room := size if self._limit is None else self._limit - self.passed) <= 0:
                self._changed.wait()
            self.passed += min(size, room)
            self._changed.notify_all()
            return min(size, room)


class Gate:
    """Passes connections on to `target`. `up` is for what clients send, over all connections,
    `down` for the answers; `accepted` counts connections.
    """

    def __init__(self, target: tuple[str, int], limit: int | None = None) -> None:
        self.up, self.down = Valve(limit), Valve()
        self.accepted = 0
        self._target = target
        self._running = 0
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/files/"

    @property
    def passed(self) -> int:
        """Bytes from clients."""
        return self.up.passed

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.open()
        self.down.open()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.wait_until_idle()

    def open(self, limit: int | None = None) -> None:
        """From now on so many bytes of clients pass, all in all."""
        self.up.open(limit)

    def wait_until_held(self) -> None:
        """Returns when so many bytes of clients have passed."""
        self.up.wait_until_held()

    def wait_until_idle(self) -> None:
        """Returns when all that clients sent has been delivered, and they have gone."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self._running, 40), "it never ended"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with self._changed:
                    self.accepted += 1
                    self._running += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, suppress(OSError), socket.create_connection(self._target) as server:
                answers = threading.Thread(target=self._answer, args=(server, client), daemon=True)
                answers.start()
                try:
                    _carry(client, server, self.up)
                finally:
                    # Wakes the other direction.
                    with suppress(OSError):
                        server.shutdown(socket.SHUT_WR)
                    answers.join()
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            _carry(server, client, self.down)
        # The server has gone, maybe killed: the client is to notice.
        for end in (client, server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _carry(source: socket.socket, sink: socket.socket, valve: Valve) -> None:
    while data := source.recv(_SIZE):
        while data:
            size = valve.allowed(len(data))
            sink.sendall(data[:size])
            data = data[size:]

"""A TCP proxy that cuts connections on demand, as a bad network does."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_SIZE = 256 * 1024


class CuttingProxy:
    """Passes connections on to `target`; cuts all of them each time that clients have sent so many
    bytes through it as one of `cuts` says, with those bytes passed on.

    `address` and `url` are where it listens; `left` are the cuts that have not come yet, `accepted`
    is how many connections have come.
    """

    def __init__(self, target: tuple[str, int], *, cuts: list[int]) -> None:
        self.left = sorted(cuts)
        self.accepted = 0
        self._target = target
        self._passed = 0
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._mutex = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Wakes the thread that waits in accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._cut()
        for thread in self._threads:
            thread.join(20)
        self._listener.close()

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.accepted += 1
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        """One connection: this thread carries what the client sends, another one the answers."""
        with client, suppress(OSError), socket.create_connection(self._target) as server:
            pair = (client, server)
            for end in pair:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._mutex:
                self._pairs.add(pair)
            answers = threading.Thread(target=self._carry, args=(server, client), daemon=True)
            answers.start()
            try:
                self._carry(client, server, counts=True)
            finally:
                answers.join()
                with self._mutex:
                    self._pairs.discard(pair)

    def _carry(self, source: socket.socket, sink: socket.socket, *, counts: bool = False) -> None:
        with suppress(OSError):
            while data := source.recv(_SIZE):
                sink.sendall(data)
                if counts:
                    self._count(len(data))
            sink.shutdown(socket.SHUT_WR)

    def _count(self, size: int) -> None:
        with self._mutex:
            self._passed += size
            is_due = bool(self.left) and self._passed >= self.left[0]
            if is_due:
                del self.left[0]
        if is_due:
            self._cut()

    def _cut(self) -> None:
        with self._mutex:
            pairs = list(self._pairs)
        for pair in pairs:
            for end in pair:
                with suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    # Closing alone would not wake a thread that waits for this socket.
                    end.shutdown(socket.SHUT_RDWR)

"""A proxy in front of a real Redis that changes words on their way back, or holds them up."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class _Rewriter:
    def __init__(self, port: int, words: dict[bytes, bytes], delay: float) -> None:
        assert all(len(old) == len(new) for old, new in words.items())
        self._port, self._words, self._delay = port, words, delay
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open = list[socket.socket]()

    def run(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                self._open += [client, server]
                for way in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pump, args=way, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if is_answer:
                    time.sleep(self._delay)
                    for old, new in self._words.items():
                        data = data.replace(old, new)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for each in (self._listener, *self._open):
            each.close()


@contextmanager
def rewriting(port: int, words: dict[bytes, bytes], delay: float = 0.0) -> Iterator[str]:
    """The address of a started one. Words and what they become have the same length; each answer
    takes `delay` seconds longer.
    """
    proxy = _Rewriter(port, words, delay)
    thread = threading.Thread(target=proxy.run, daemon=True)
    thread.start()
    try:
        yield proxy.address
    finally:
        proxy.close()
        thread.join()

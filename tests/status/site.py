"""A server whose status API is on, with users, and its live events as a test reads them."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import jwt

from tests.tus import Tus
from tests.wire import Answer

SECRET = b"a secret of thirty-two bytes at the least"


def bearer(user: str, **claims: object) -> dict[str, str]:
    full = {"sub": user, "exp": int(time.time()) + 3600, **claims}
    return {"Authorization": f"Bearer {jwt.encode(full, SECRET, 'HS256')}"}


KIM, LEE, ADMIN = bearer("kim"), bearer("lee"), bearer("root", roles=["admin"])


@dataclass(frozen=True)
class Api:
    """The status API of a server."""

    tus: Tus
    root: str = ""

    def get(self, path: str, headers: dict[str, str] | None = None, **more: str) -> Answer:
        return self.tus.request("GET", f"{self.root}/api/{path}", {**(headers or {}), **more})

    def json(self, path: str, headers: dict[str, str] | None = None) -> Any:  # noqa: ANN401
        answer = self.get(path, headers)
        assert answer.status == 200, answer
        assert answer["Content-Type"] == "application/json"
        return json.loads(answer.body)

    def post(self, path: str, value: object, headers: dict[str, str] | None = None) -> Answer:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        plain = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        return self.tus.request(
            "POST", f"{self.root}/api/{path}", {**plain, **(headers or {})}, body
        )

    @contextmanager
    def events(self, path: str, headers: dict[str, str] | None = None) -> Iterator[Events]:
        address = self.tus.address
        assert not isinstance(address, str)
        with socket.create_connection(address, timeout=15) as connection:
            lines = [f"GET {self.root}/api/{path} HTTP/1.1", "Host: a", "Connection: close"]
            lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
            connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
            yield Events(connection)


@dataclass
class Events:
    """What a stream tells, event by event."""

    connection: socket.socket
    _data: bytes = b""
    told: list[tuple[str, Any]] = field(default_factory=list)

    def next(self) -> tuple[str, Any]:
        """The next event; waits for it. EOFError at the end of the stream."""
        while True:
            # Chunk sizes lie between the events; no event has a line that looks like one.
            block, found, rest = self._data.partition(b"\n\n")
            if not found:
                received = self.connection.recv(65536)
                if not received:
                    raise EOFError
                self._data += received
                continue
            self._data = rest
            lines = [line for line in block.split(b"\n") if line.startswith((b"event:", b"data:"))]
            if lines:
                name, data = (line.partition(b": ")[2].strip() for line in lines)
                self.told.append((name.decode(), json.loads(data)))
                return self.told[-1]

    def until(self, name: str, **wanted: object) -> Any:  # noqa: ANN401
        """The data of the next event of this name with these values; those before it are told."""
        while True:
            event, data = self.next()
            if event == name and all(data[key] == value for key, value in wanted.items()):
                return data

    def rest(self) -> list[tuple[str, Any]]:
        """What else is told until the stream ends."""
        before = len(self.told)
        with suppress(EOFError):
            while True:
                self.next()
        return self.told[before:]

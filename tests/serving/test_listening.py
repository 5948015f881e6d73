"""How processes share the connections of one socket."""

from __future__ import annotations

import asyncio
import errno
import multiprocessing
import os
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers import process_server
from tusserver.serving import listening
from tusserver.serving.listening import Balance, SharedListener
from tusserver.serving.sockets import listen_tcp

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio


def sockets_of(pid: int) -> int:
    """Connections (and other sockets) that a process has open."""
    found = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found += os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:")
        except FileNotFoundError:
            continue
    return found


def test_two_workers_have_about_as_many_connections(tmp_path: Path) -> None:
    with process_server(tmp_path / "uploads", "--workers", "2") as server, ExitStack() as stack:
        assert server.process is not None
        pid = server.process.pid
        workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        wires = [stack.enter_context(server.tus.wire()) for _ in range(60)]
        for wire in wires:
            assert wire.request("OPTIONS", "/files/").status == 200
        shares = [sockets_of(int(worker)) for worker in workers]
        # Left to chance, or to the event loop, one has them nearly all.
        assert sum(shares) >= 60
        assert min(shares) >= 25


def test_a_balance_is_known_in_all_processes() -> None:
    balance = Balance(2)
    assert not balance.is_ahead(0, 0)
    assert balance.is_ahead(0, 1)
    child = multiprocessing.get_context("fork").Process(target=balance.is_ahead, args=(1, 7))
    child.start()
    child.join()
    assert not balance.is_ahead(0, 7)
    assert balance.is_ahead(0, 8)


class Seen(asyncio.Protocol):
    def __init__(self, seen: list[Seen]) -> None:
        self._seen = seen

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._seen.append(self)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_who_is_ahead_leaves_connections_to_others_but_not_for_ever() -> None:
    seen: list[Seen] = []
    asked: list[float] = []

    def is_ahead() -> bool:
        asked.append(time.monotonic())
        return True

    with listen_tcp("127.0.0.1", 0) as socket_:
        server = SharedListener(socket_, lambda: Seen(seen), tls=None, backlog=8, is_ahead=is_ahead)
        with socket.create_connection(socket_.getsockname()):
            await until(lambda: len(seen) == 1)
        server.close()
        assert len(asked) == listening._COURTESY + 1


async def test_without_descriptors_it_rests_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Seen] = []
    failures = [OSError(errno.EMFILE, "Too many open files")]

    class Poor(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            if failures:
                raise failures.pop()
            return super().accept()

    monkeypatch.setattr(listening, "_PAUSE", 0.05)
    with listen_tcp("127.0.0.1", 0) as bound:
        poor = Poor(fileno=bound.detach())
    with poor:
        server = SharedListener(
            poor, lambda: Seen(seen), tls=None, backlog=8, is_ahead=lambda: False
        )
        with socket.create_connection(poor.getsockname()):
            await until(lambda: len(seen) == 1)
        assert not failures
        server.close()
        server.close()

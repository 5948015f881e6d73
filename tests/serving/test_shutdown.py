"""How a server stops: no byte lost, every client answered, nobody waited for in vain."""

from __future__ import annotations

import asyncio
import hashlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from tests.servers import process_server, running
from tests.tus import OCTETS, VERSION, Tus, eventually
from tests.wire import chunked, head
from tusserver import create_app
from tusserver.asgi.body import request_extension

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from tests.servers import ProcessServer
    from tests.wire import Wire
    from tusserver.serving.cycle import Cycle

MIB = 1024 * 1024
DATA = bytes(range(256)) * 400
HALF = len(DATA) // 2
CHECKSUM = {"Upload-Checksum": f"sha1 {b64encode(hashlib.sha1(DATA).digest()).decode()}"}

WORKERS = pytest.mark.parametrize("workers", ["1", "2"], ids=["one process", "two workers"])


def signal_stop(server: ProcessServer, number: int = signal.SIGTERM) -> None:
    assert server.process is not None
    server.process.send_signal(number)


def exit_code(server: ProcessServer) -> int:
    """Waits for the end; the time-out is far from all those that the server may wait for."""
    assert server.process is not None
    return server.process.wait(20)


def await_stored(server: ProcessServer, size: int) -> None:
    """Waits until some upload, whose URL need not be known, has so many bytes."""
    directory = server.upload_dir
    eventually(
        lambda: any(it.is_file() and it.stat().st_size == size for it in directory.iterdir())
    )


def workers_of(server: ProcessServer) -> list[int]:
    assert server.process is not None
    pid = server.process.pid
    return [int(it) for it in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def running_patch(server: ProcessServer, stack: ExitStack) -> Wire:
    """A connection whose request will be answered 503 as soon as the server begins to stop."""
    url = server.tus.mk(2)
    wire = stack.enter_context(server.tus.begin_patch(url, 0, 2))
    wire.send(b"x")
    eventually(lambda: server.tus.off(url) == 1)
    return wire


def is_alive(pid: int) -> bool:
    with suppress(FileNotFoundError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    return False


@WORKERS
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_stop_in_the_middle_of_a_patch_answers_and_keeps_what_had_come(
    tmp_path: Path, workers: str, number: int
) -> None:
    with process_server(tmp_path / "uploads", "--workers", workers) as server:
        url = server.tus.mk(len(DATA))
        with server.tus.begin_patch(url, 0, len(DATA)) as wire:
            wire.send(DATA[:HALF])
            eventually(lambda: server.tus.off(url) == HALF)
            signal_stop(server, number)
            answer = wire.answer("PATCH")
            assert answer.status == 503
            assert answer["Upload-Offset"] == str(HALF)
            assert answer["Retry-After"] == "1"
            assert answer["Connection"] == "close"
        assert exit_code(server) == 0
        server.start()
        server.tus.assert_intact(url, HALF, DATA[HALF:])
        assert server.tus.content(url) == DATA


def test_a_stop_in_the_middle_of_a_checked_patch_keeps_nothing_of_it(tmp_path: Path) -> None:
    with process_server(tmp_path / "uploads") as server:
        url = server.tus.mk(len(DATA))
        with server.tus.begin_patch(url, 0, len(DATA), CHECKSUM) as wire:
            wire.send(DATA[:HALF])
            await_stored(server, HALF)
            signal_stop(server)
            answer = wire.answer("PATCH")
            assert (answer.status, answer["Upload-Offset"]) == (503, "0")
        assert exit_code(server) == 0
        server.start()
        server.tus.assert_intact(url, 0, DATA)
        assert server.tus.content(url) == DATA


@pytest.mark.parametrize(
    ("workers", "is_chunked"),
    [
        pytest.param("1", False, id="one process"),
        pytest.param("2", False, id="two workers"),
        pytest.param("1", True, id="chunked"),
    ],
)
def test_a_stop_during_a_creation_tells_where_it_got_to(
    tmp_path: Path, workers: str, is_chunked: bool
) -> None:
    framing = {"Transfer-Encoding": "chunked"} if is_chunked else {"Content-Length": str(len(DATA))}
    headers = {**VERSION, **OCTETS, "Upload-Length": str(len(DATA)), **framing}
    with process_server(tmp_path / "uploads", "--workers", workers) as server:
        with server.tus.wire() as wire:
            start = DATA[:HALF]
            body = chunked(start, end=False) if is_chunked else start
            wire.send(head("POST", server.tus.creation, headers) + body)
            await_stored(server, HALF)
            signal_stop(server)
            answer = wire.answer("POST")
        assert answer.status == 201
        assert answer["Upload-Offset"] == str(HALF)
        assert exit_code(server) == 0
        server.start()
        url = server.tus.location(answer)
        server.tus.assert_intact(url, HALF, DATA[HALF:])
        assert server.tus.content(url) == DATA


def read_to_end(wire: Wire) -> bytes:
    """Faster than `answer`, which is made for small ones."""
    return b"".join(iter(lambda: wire.socket.recv(MIB), b""))


@WORKERS
def test_a_stop_lets_a_download_end(tmp_path: Path, workers: str) -> None:
    options = ("--workers", workers, "--shutdown-timeout", "300s")
    with process_server(tmp_path / "uploads", *options) as server, ExitStack() as stack:
        data = DATA * 640
        url = server.tus.made(data)
        witness = running_patch(server, stack)
        wire = stack.enter_context(server.tus.wire())
        wire.send(head("GET", url))
        assert select.select([wire.socket], [], [], 10)[0]
        signal_stop(server)
        assert witness.answer("PATCH").status == 503
        assert read_to_end(wire).partition(b"\r\n\r\n")[2] == data
        assert exit_code(server) == 0


@WORKERS
def test_a_stop_does_not_wait_for_connections_without_a_request(
    tmp_path: Path, workers: str
) -> None:
    options = ("--workers", workers, "--shutdown-timeout", "300s")
    with process_server(tmp_path / "uploads", *options) as server, ExitStack() as stack:
        tus = server.tus
        wires = [stack.enter_context(tus.wire()) for _ in range(12)]
        for wire in wires[4:]:
            assert wire.request("OPTIONS", tus.creation).status == 200
        for wire in wires[8:]:
            wire.send(b"OPTIONS /files/ HTTP/1.1\r\nHo")
        signal_stop(server)
        assert exit_code(server) == 0
        for wire in wires:
            assert wire.is_ended()


def send_on(wire: Wire) -> None:
    """Goes on sending, slowly, until the connection is gone."""
    with suppress(OSError):
        while True:
            wire.send(bytes(1000))
            time.sleep(0.05)


def hang_up(wire: Wire) -> None:
    with suppress(OSError):
        wire.socket.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("offset", "status"),
    [pytest.param(0, 503, id="cut by the stop"), pytest.param(1, 409, id="refused before")],
)
def test_a_stop_does_not_wait_for_the_rest_of_a_body(
    tmp_path: Path, offset: int, status: int
) -> None:
    options = ("--shutdown-timeout", "300s")
    with process_server(tmp_path / "uploads", *options) as server, ExitStack() as stack:
        url = server.tus.mk(100 * MIB)
        wire = stack.enter_context(server.tus.begin_patch(url, offset, 100 * MIB - offset))
        sender = threading.Thread(target=send_on, args=(wire,))
        sender.start()
        stack.callback(sender.join)
        stack.callback(hang_up, wire)
        if status == 409:
            assert wire.answer("PATCH").status == 409
        else:
            eventually(lambda: server.tus.off(url) > 0)
        signal_stop(server)
        if status == 503:
            assert wire.answer("PATCH").status == 503
        assert exit_code(server) == 0


def test_a_stop_does_not_wait_for_a_rest_that_never_comes(tmp_path: Path) -> None:
    options = ("--shutdown-timeout", "300s")
    with process_server(tmp_path / "uploads", *options) as server, ExitStack() as stack:
        url = server.tus.mk(5)
        for length in (1000, MIB):
            wire = stack.enter_context(server.tus.begin_patch(url, 1, length))
            assert wire.answer("PATCH").status == 409
        signal_stop(server)
        assert exit_code(server) == 0


def hold_up(server: ProcessServer, stack: ExitStack) -> None:
    """Asks the server to stop while a client does not read its large download."""
    url = server.tus.made(bytes(64 * MIB))
    download = stack.enter_context(server.tus.wire())
    download.send(head("GET", url))
    assert select.select([download.socket], [], [], 10)[0]
    witness = running_patch(server, stack)
    signal_stop(server)
    assert witness.answer("PATCH").status == 503


@WORKERS
def test_a_second_signal_ends_at_once(tmp_path: Path, workers: str) -> None:
    options = ("--workers", workers, "--shutdown-timeout", "300s")
    with process_server(tmp_path / "uploads", *options) as server, ExitStack() as stack:
        hold_up(server, stack)
        former = workers_of(server)
        signal_stop(server)
        assert exit_code(server) == 128 + signal.SIGTERM
        eventually(lambda: not any(is_alive(pid) for pid in former))


@WORKERS
def test_a_stop_waits_no_longer_than_it_is_told_to(tmp_path: Path, workers: str) -> None:
    options = ("--workers", workers, "--shutdown-timeout", "1s")
    with process_server(tmp_path / "uploads", *options) as server, ExitStack() as stack:
        hold_up(server, stack)
        assert exit_code(server) == 0


def is_refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@WORKERS
def test_a_stopping_server_takes_no_new_connections(tmp_path: Path, workers: str) -> None:
    options = ("--workers", workers, "--shutdown-timeout", "300s")
    with process_server(tmp_path / "uploads", *options) as server, ExitStack() as stack:
        hold_up(server, stack)
        eventually(lambda: is_refused(server.port))
        assert server.process is not None
        assert server.process.poll() is None


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    with process_server(tmp_path / "uploads", "--workers", "2") as server:
        eventually(lambda: len(workers_of(server)) == 2)
        killed, survivor = workers_of(server)
        os.kill(killed, signal.SIGKILL)
        server.tus.assert_live()
        eventually(lambda: len(set(workers_of(server)) - {killed}) == 2)
        assert survivor in workers_of(server)
        os.kill(survivor, signal.SIGSTOP)
        try:
            # Now it is the new one that answers.
            assert server.tus.options().status == 200
        finally:
            os.kill(survivor, signal.SIGCONT)
        assert server.stop() == 0


STOPPED_AMID_STARTS = """
import os, select, signal, sys
from tusserver.serving.supervisor import Supervisor

supervisor_pid = os.getpid()
token, giver = os.pipe()
os.write(giver, b"x")
os.set_blocking(token, False)

def work(lifeline, number):
    # One worker stops its supervisor, which is starting the others.
    try:
        os.read(token, 1)
        os.kill(supervisor_pid, signal.SIGTERM)
    except BlockingIOError:
        pass
    select.select([lifeline], [], [], 20)
    return True

sys.exit(not Supervisor(50, work, on_stop=lambda: None).run())
"""


def test_no_worker_is_started_after_the_stop() -> None:
    command = [sys.executable, "-c", STOPPED_AMID_STARTS]
    subprocess.run(command, check=True, timeout=10)


def test_workers_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    with process_server(tmp_path / "uploads", "--workers", "2") as server:
        url = server.tus.mk(len(DATA))
        with server.tus.begin_patch(url, 0, len(DATA)) as wire:
            wire.send(DATA[:HALF])
            eventually(lambda: server.tus.off(url) == HALF)
            former = workers_of(server)
            assert server.process is not None
            server.process.kill()
            server.process.wait(10)
            answer = wire.answer("PATCH")
            assert (answer.status, answer["Upload-Offset"]) == (503, str(HALF))
        eventually(lambda: not any(is_alive(pid) for pid in former))


class Passing:
    """A middleware that does nothing, but could."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


@pytest.mark.parametrize("is_bare", [True, False], ids=["bare", "with a middleware"])
@pytest.mark.parametrize("size", [1000, 1_000_000], ids=["small", "large"])
def test_a_request_that_the_server_cancels_keeps_what_had_come_and_lets_go(
    tmp_path: Path, size: int, *, is_bare: bool
) -> None:
    app = create_app(upload_dir=tmp_path, access_log=False)
    if not is_bare:
        app.add_middleware(Passing)
    with running(app) as server:
        tus = Tus(server.address)
        url = tus.mk(size)
        with tus.begin_patch(url, 0, size) as wire:
            wire.send(b"x" * (size // 2))
            eventually(lambda: tus.off(url) == size // 2)
            requests = cast("set[Cycle]", server.server.server_state.tasks)
            eventually(lambda: len(requests) == 1)
            (request,) = requests
            assert request.task is not None
            assert request.task.get_loop().call_soon_threadsafe(request.cancel)
            assert wire.answer("PATCH").status == (503 if is_bare else 500)
        eventually(lambda: not requests)
        tus.assert_intact(url, size // 2, b"x" * (size - size // 2))


def test_a_request_that_holds_its_cancellation_off_is_cancelled_in_the_end(tmp_path: Path) -> None:
    seen: list[str] = []

    class Holding:
        is_bare = True

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                return await create_app(upload_dir=tmp_path)(scope, receive, send)
            extension = request_extension(scope)
            assert extension is not None
            assert extension.hold_cancellation(lambda: seen.append("told"))
            cast("Cycle", extension).cancel()
            await asyncio.sleep(0)
            seen.append("went on")
            extension.release_cancellation()
            cast("Cycle", extension).cancel()
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

    with running(Holding()) as server, Tus(server.address).wire() as wire:
        wire.send(head("GET", "/", {"Host": "x"}))
        assert wire.answer("GET").status == 500
    assert seen == ["told", "went on", "cancelled"]

"""ROB-CONC: several requests at once, on one upload and on many.

Each test runs on a server of one process and on one of two workers. Where a request meets one that
already runs, its connection is made once in the worker of that one and once in the other.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from tests.servers import ProcessServer, process_server
from tests.spec_ids import spec
from tests.tus import VERSION, Tus, eventually, patch_headers
from tests.wire import Wire, head
from tusserver.events.base import UploadFinished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Serve
    from tests.wire import Answer
    from tusserver.events.base import Event

SIZE = 64 * 1024
HALF = SIZE // 2
PIECE = 16 * 1024
WAIT = 30.0
OURS, THEIRS = b"o" * SIZE, b"t" * SIZE


@dataclass(frozen=True)
class Site:
    """A server, and how a newcomer gets a connection, given that of the request that runs."""

    tus: Tus
    newcomer: Callable[[Wire], Wire]


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessServer]:
    with process_server(tmp_path_factory.mktemp("workers") / "uploads", "--workers", "2") as server:
        yield server


@pytest.fixture(params=["one process", "two workers"])
def anywhere(request: pytest.FixtureRequest, tus: Tus) -> Tus:
    if request.param == "one process":
        return tus
    server: ProcessServer = request.getfixturevalue("workers")
    return server.tus


@pytest.fixture(params=["one process", "same worker", "other worker"])
def site(request: pytest.FixtureRequest, tus: Tus) -> Site:
    if request.param == "one process":
        return Site(tus, lambda holder: tus.wire())
    server: ProcessServer = request.getfixturevalue("workers")
    is_same = request.param == "same worker"
    return Site(server.tus, lambda holder: connect(server, holder, same_worker=is_same))


def connect(server: ProcessServer, holder: Wire, *, same_worker: bool) -> Wire:
    """A connection to the worker that serves `holder`, or to the other one: whom it is not to get
    to sleeps while it is made.
    """
    eventually(lambda: worker_of(server, holder) is not None)
    home = worker_of(server, holder)
    with asleep([pid for pid in workers_of(server) if (pid == home) is not same_worker]):
        wire = server.tus.wire()
        assert wire.request("OPTIONS", server.tus.creation).status == 200
    assert (worker_of(server, wire) == home) is same_worker
    return wire


@contextmanager
def asleep(pids: list[int]) -> Iterator[None]:
    """These processes are stopped meanwhile."""
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        for stat in (Path(f"/proc/{pid}/stat") for pid in pids):
            eventually(partial(is_stopped, stat))
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def is_stopped(stat: Path) -> bool:
    return stat.read_text().rpartition(") ")[2].startswith("T")


def workers_of(server: ProcessServer) -> list[int]:
    assert server.process is not None
    pid = server.process.pid
    return [int(it) for it in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def worker_of(server: ProcessServer, wire: Wire) -> int | None:
    """The process id of the worker that has accepted this connection; None before that."""
    inode = server_inode(server.port, wire.socket.getsockname()[1])
    for worker in workers_of(server):
        for descriptor in os.listdir(f"/proc/{worker}/fd"):
            with suppress(FileNotFoundError):
                if os.readlink(f"/proc/{worker}/fd/{descriptor}") == f"socket:[{inode}]":
                    return worker
    return None


def server_inode(server_port: int, client_port: int) -> str | None:
    """What the kernel calls the server's end of a connection on this machine."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        ports = [int(address.rpartition(":")[2], 16) for address in fields[1:3]]
        if ports == [server_port, client_port]:
            return fields[9]
    return None


def await_continue(wire: Wire) -> None:
    """Waits for the interim answer, which comes when the upload is locked and its body wanted."""
    expected = b"HTTP/1.1 100 Continue\r\n\r\n"
    received = b""
    while len(received) < len(expected):
        received += wire.socket.recv(len(expected) - len(received))
    assert received == expected


def await_offset(tus: Tus, url: str, offset: int) -> None:
    """Waits until so many bytes of the running request are stored."""
    eventually(lambda: tus.off(url) == offset)


def patch(wire: Wire, url: str, offset: int, data: bytes) -> Answer:
    return wire.request("PATCH", url, patch_headers(offset, len(data)), data)


def race(tus: Tus, url: str, bodies: list[bytes], pieces: int) -> list[Answer]:
    """Sends these bodies to offset 0 at the same moment, each from a connection of its own."""
    barrier = Barrier(len(bodies), timeout=WAIT)

    def run(body: bytes) -> Answer:
        size = len(body) // pieces
        with tus.begin_patch(url, 0, len(body)) as wire:
            for start in range(0, len(body), size):
                barrier.wait()
                wire.send(body[start : start + size])
            return wire.answer("PATCH")

    with ThreadPoolExecutor(len(bodies)) as threads:
        return list(threads.map(run, bodies))


@spec("ROB-CONC-01")
@pytest.mark.parametrize("pieces", [1, 2], ids=["whole", "in two pieces"])
@pytest.mark.parametrize("clients", [2, 8])
def test_of_patches_at_one_offset_one_at_most_succeeds(
    anywhere: Tus, clients: int, pieces: int
) -> None:
    bodies = [bytes([ord("a") + client]) * SIZE for client in range(clients)]
    for _ in range(20):
        url = anywhere.mk(SIZE)
        answers = race(anywhere, url, bodies, pieces)
        winners = [answer for answer in answers if answer.status == 204]
        losers = [answer for answer in answers if answer.status != 204]
        assert {answer.status for answer in losers} <= {409, 423}
        assert [answer["Upload-Offset"] for answer in winners] in ([], [str(SIZE)])
        offset = anywhere.off(url)
        assert 0 <= offset <= SIZE
        assert not winners or offset == SIZE
        assert anywhere.pa(url, offset, b"\xff" * (SIZE - offset)).status == 204
        stored = anywhere.content(url)
        assert stored in [body[:offset] + b"\xff" * (SIZE - offset) for body in bodies]


@spec("ROB-CONC-02")
def test_a_patch_behind_the_running_one_is_refused_and_does_not_disturb_it(site: Site) -> None:
    url = site.tus.mk(SIZE)
    with site.tus.begin_patch(url, 0, SIZE) as holder:
        holder.send(OURS[:HALF])
        await_offset(site.tus, url, HALF)
        with site.newcomer(holder) as newcomer:
            refused = patch(newcomer, url, 0, THEIRS)
        assert refused.status == 409
        assert refused["Upload-Offset"] == str(HALF)
        holder.send(OURS[HALF:])
        assert holder.answer("PATCH").status == 204
    assert site.tus.content(url) == OURS


CHECKSUM = {"Upload-Checksum": f"sha1 {b64encode(hashlib.sha1(OURS).digest()).decode()}"}


@spec("ROB-CONC-02")
@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        pytest.param({}, 0, id="that has sent nothing yet"),
        pytest.param(CHECKSUM, HALF, id="whose bytes do not count yet"),
    ],
)
def test_a_patch_at_the_same_offset_takes_over_from_one(
    site: Site, headers: dict[str, str], sent: int
) -> None:
    url = site.tus.mk(SIZE)
    with site.tus.begin_patch(url, 0, SIZE, {"Expect": "100-continue", **headers}) as holder:
        await_continue(holder)
        holder.send(OURS[:sent])
        with site.newcomer(holder) as newcomer:
            assert patch(newcomer, url, 0, THEIRS).status == 204
        interrupted = holder.answer("PATCH")
    assert interrupted.status == 423
    assert interrupted["Upload-Offset"] == "0"
    assert interrupted["Retry-After"] == "1"
    assert site.tus.content(url) == THEIRS


@spec("ROB-CONC-03")
def test_head_during_a_patch_tells_what_is_stored_and_does_not_disturb_it(site: Site) -> None:
    url = site.tus.mk(8 * PIECE)
    data = secrets.token_bytes(8 * PIECE)
    seen = [0]

    def shows(watcher: Wire, offset: int) -> bool:
        answer = watcher.request("HEAD", url, VERSION)
        assert answer.status == 200
        seen.append(int(answer["Upload-Offset"]))
        return seen[-1] == offset

    with site.tus.begin_patch(url, 0, len(data)) as holder, site.newcomer(holder) as watcher:
        for end in range(PIECE, len(data), PIECE):
            assert shows(watcher, end - PIECE)
            holder.send(data[end - PIECE : end])
            eventually(partial(shows, watcher, end))
        holder.send(data[-PIECE:])
        assert holder.answer("PATCH").status == 204
        assert shows(watcher, len(data))
    assert seen == sorted(seen)
    assert site.tus.content(url) == data


@spec("ROB-CONC-03", "ROB-CONC-04")
@pytest.mark.parametrize(
    "vanish",
    [
        pytest.param(lambda wire: None, id="falls silent"),
        pytest.param(Wire.reset, id="is reset"),
        pytest.param(Wire.close, id="is closed"),
    ],
)
def test_an_upload_goes_on_at_once_when_its_connection(
    site: Site, vanish: Callable[[Wire], None]
) -> None:
    url = site.tus.mk(SIZE)
    with site.tus.begin_patch(url, 0, SIZE) as holder:
        holder.send(OURS[:HALF])
        await_offset(site.tus, url, HALF)
        with site.newcomer(holder) as newcomer:
            vanish(holder)
            offset = int(newcomer.request("HEAD", url, VERSION)["Upload-Offset"])
            assert offset == HALF
            # A server that waits for its holder's time-out would answer 423 here.
            assert patch(newcomer, url, offset, THEIRS[offset:]).status == 204
    assert site.tus.content(url) == OURS[:HALF] + THEIRS[HALF:]


@spec("ROB-CONC-05")
def test_late_bytes_of_a_superseded_patch_are_not_stored(site: Site) -> None:
    url = site.tus.mk(SIZE)
    with site.tus.begin_patch(url, 0, SIZE) as holder:
        holder.send(OURS[:HALF])
        await_offset(site.tus, url, HALF)
        with site.newcomer(holder) as newcomer:
            assert patch(newcomer, url, HALF, THEIRS[HALF:]).status == 204
        holder.send(OURS[HALF:])
        superseded = holder.answer("PATCH")
    assert superseded.status == 423
    assert superseded["Upload-Offset"] == str(HALF)
    assert site.tus.hd(url)["Upload-Length"] == str(SIZE)
    assert site.tus.content(url) == OURS[:HALF] + THEIRS[HALF:]


@spec("ROB-CONC-05")
def test_late_bytes_of_a_superseded_patch_do_not_mix_with_those_of_its_successor(
    site: Site,
) -> None:
    url = site.tus.mk(SIZE)
    with site.tus.begin_patch(url, 0, SIZE) as holder:
        holder.send(OURS[:HALF])
        await_offset(site.tus, url, HALF)
        with site.newcomer(holder) as newcomer:
            newcomer_body = THEIRS[HALF:]
            headers = patch_headers(HALF, HALF, {"Expect": "100-continue"})
            newcomer.send(head("PATCH", url, headers))
            await_continue(newcomer)
            newcomer.send(newcomer_body[:PIECE])
            holder.send(OURS[HALF:])
            assert holder.answer("PATCH").status == 423
            await_offset(site.tus, url, HALF + PIECE)
            newcomer.send(newcomer_body[PIECE:])
            assert newcomer.answer("PATCH").status == 204
    assert site.tus.content(url) == OURS[:HALF] + THEIRS[HALF:]


@spec("ROB-CONC-06")
def test_parallel_creations_make_an_upload_each(anywhere: Tus) -> None:
    barrier = Barrier(50, timeout=WAIT)

    def create(length: int) -> str:
        with anywhere.wire() as wire:
            barrier.wait()
            headers = {**VERSION, "Upload-Length": str(length), "Content-Length": "0"}
            answer = wire.request("POST", anywhere.creation, headers)
        assert answer.status == 201
        return anywhere.location(answer)

    with ThreadPoolExecutor(50) as threads:
        urls = list(threads.map(create, range(1, 51)))
    assert len(set(urls)) == 50
    for length, url in enumerate(urls, 1):
        answer = anywhere.hd(url)
        assert (answer["Upload-Offset"], answer["Upload-Length"]) == ("0", str(length))


@spec("ROB-CONC-07")
def test_uploads_side_by_side_get_their_own_bytes(anywhere: Tus) -> None:
    size = 1024 * 1024
    barrier = Barrier(20, timeout=WAIT)

    def upload(number: int) -> bool:
        data = hashlib.shake_128(bytes([number])).digest(size)
        url = anywhere.mk(size)
        barrier.wait()
        # A new connection now and then, so that an upload wanders between the workers.
        for start in range(0, size, 8 * PIECE):
            with anywhere.wire(timeout=WAIT) as wire:
                for offset in range(start, start + 8 * PIECE, PIECE):
                    answer = patch(wire, url, offset, data[offset : offset + PIECE])
                    assert answer.status == 204
        return anywhere.content(url) == data

    with ThreadPoolExecutor(20) as threads:
        assert all(threads.map(upload, range(20)))


@spec("ROB-CONC-08")
def test_slow_uploads_do_not_stall_others(anywhere: Tus) -> None:
    # More than there are threads for files: a PATCH that waits for its client must occupy none.
    slow = [(url := anywhere.mk(SIZE), anywhere.begin_patch(url, 0, SIZE)) for _ in range(40)]
    for _, wire in slow:
        wire.send(OURS[:HALF])
    for url, _ in slow:
        await_offset(anywhere, url, HALF)
    for _ in range(20):
        assert anywhere.content(anywhere.made(THEIRS)) == THEIRS
    for url, wire in slow:
        with wire:
            wire.send(OURS[HALF:])
            assert wire.answer("PATCH").status == 204
        assert anywhere.content(url) == OURS


@spec("ROB-CONC-09")
def test_of_two_patches_that_would_complete_an_upload_one_does(site: Site) -> None:
    url = site.tus.mk(SIZE)
    with site.tus.begin_patch(url, 0, SIZE) as holder:
        holder.send(OURS[:-1])
        await_offset(site.tus, url, SIZE - 1)
        with site.newcomer(holder) as newcomer:
            newcomer.send(head("PATCH", url, patch_headers(SIZE - 1, 1)) + b"t")
            holder.send(b"o")
            statuses = (newcomer.answer("PATCH").status, holder.answer("PATCH").status)
    assert statuses in [(204, 423), (409, 204)]
    last = b"t" if statuses[0] == 204 else b"o"
    assert site.tus.content(url) == OURS[:-1] + last


@spec("ROB-CONC-09")
def test_completion_is_told_once(serve: Serve) -> None:
    events: list[Event] = []
    tus = serve(events=events)
    for round_ in range(1, 21):
        url = tus.mk(10)
        answers = race(tus, url, [b"o" * 10, b"t" * 10], 1)
        assert sorted(answer.status for answer in answers) in ([204, 409], [204, 423])
        assert tus.pa(url, 10, b"").status == 204
        assert tus.pa(url, 0, b"o" * 10).status == 409
        finished = [event for event in events if isinstance(event, UploadFinished)]
        assert len(finished) == round_

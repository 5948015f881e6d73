"""Our client of clamd against the real one, and against some that misbehave."""

from __future__ import annotations

import asyncio
import fcntl
import io
import os
import random
import socket
import struct
import termios
import threading
import zipfile
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest

from tests.clamd import EICAR, MARKER, RunningClamd, clamd
from tests.servers import free_port
from tusserver.policy.clamd import (
    Clamd,
    ClamdUnavailable,
    Clean,
    Infected,
    NotScanned,
    Verdict,
)

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
LIMIT = 32 * MIB
STREAM_LIMIT = 16 * MIB

Scan = Callable[[bytes], Awaitable[Verdict]]


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningClamd]:
    """One for all tests that do not stop it."""
    with clamd(tmp_path_factory.mktemp("clamd"), StreamMaxLength="16M") as running:
        yield running


def client(address: str, *, max_size: int = LIMIT, timeout: float = 20) -> Clamd:
    return Clamd(address, max_size=max_size, timeout=timeout)


def by_unix(daemon: RunningClamd, **options: Any) -> Clamd:
    return client(f"unix:{daemon.socket}", **options)


def by_tcp(daemon: RunningClamd, **options: Any) -> Clamd:
    return client(f"127.0.0.1:{daemon.port}", **options)


async def cut(content: bytes, length: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), length):
        yield content[start : start + length]


@contextmanager
def opened(content: bytes) -> Iterator[int]:
    """A descriptor of a file with this content; its position is at the end."""
    with TemporaryFile() as file:
        file.write(content)
        file.flush()
        yield file.fileno()


async def scan_descriptor(scanner: Clamd, content: bytes) -> Verdict:
    with opened(content) as descriptor:
        return await scanner.scan_descriptor(descriptor, len(content))


@pytest.fixture(params=["descriptor", "unix stream", "tcp stream"])
def scan(request: pytest.FixtureRequest, daemon: RunningClamd) -> Scan:
    """One way to have some bytes scanned."""

    async def scan(content: bytes) -> Verdict:
        if request.param == "descriptor":
            return await scan_descriptor(by_unix(daemon), content)
        scanner = by_unix(daemon) if request.param == "unix stream" else by_tcp(daemon)
        return await scanner.scan_stream(cut(content), len(content))

    return scan


def noise(length: int) -> bytes:
    return random.Random(7).randbytes(length)


def zipped(content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("inside.txt", content)
    return archive.getvalue()


class Impostor:
    """Accepts and reads, says these parts one by one, and reads on until the client has gone; if
    there are no parts it says nothing, for ever.
    """

    def __init__(self, listener: socket.socket, parts: tuple[bytes, ...]) -> None:
        self.address = f"unix:{listener.getsockname()}"
        self.client_has_gone = threading.Event()
        self._listener = listener
        self._parts = parts

    def run(self) -> None:
        # Ends when the listener is shut down.
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    self._talk(connection)
                self.client_has_gone.set()

    def _talk(self, connection: socket.socket) -> None:
        with suppress(ConnectionError):
            connection.recv(100)
            for part in self._parts:
                connection.sendall(part)
                wait_until_read(connection)
            if self._parts:
                connection.shutdown(socket.SHUT_WR)
            while connection.recv(MIB):
                pass


def wait_until_read(connection: socket.socket) -> None:
    waiting = array("i", [1])
    while waiting[0]:
        fcntl.ioctl(connection, termios.TIOCOUTQ, waiting)


@contextmanager
def impostor(directory: Path, *parts: bytes) -> Iterator[Impostor]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "impostor.sock"))
        listener.listen()
        served = Impostor(listener, parts)
        thread = threading.Thread(target=served.run)
        thread.start()
        try:
            yield served
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def full_listener(directory: Path, family: str) -> Iterator[tuple[socket.socket, str]]:
    """A listener, and its address, where one connection waits and there is no room for another."""
    is_unix = family == "unix"
    kind = socket.AF_UNIX if is_unix else socket.AF_INET
    with socket.socket(kind) as listener, socket.socket(kind) as first:
        listener.bind(str(directory / "full.sock") if is_unix else ("127.0.0.1", 0))
        listener.listen(0)
        bound = listener.getsockname()
        first.connect(bound)
        yield listener, f"unix:{bound}" if is_unix else f"127.0.0.1:{bound[1]}"


def open_descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


# What clamd finds.


async def test_a_harmless_file_is_clean(scan: Scan) -> None:
    assert await scan(b"nothing to see here") == Clean()


async def test_an_empty_file_is_clean(scan: Scan) -> None:
    assert await scan(b"") == Clean()


async def test_the_test_virus_is_found_by_its_name(scan: Scan) -> None:
    verdict = await scan(EICAR)
    assert isinstance(verdict, Infected)
    assert verdict.signature in {
        f"Test.Eicar.{kind}.UNOFFICIAL" for kind in ("Md5", "Sha256", "Body")
    }


async def test_the_test_virus_is_found_in_an_archive(scan: Scan) -> None:
    assert isinstance(await scan(zipped(EICAR)), Infected)


@pytest.mark.parametrize("before", [0, 1, 256 * 1024 - 10, 4 * MIB])
async def test_a_marker_is_found_wherever_it_stands(scan: Scan, before: int) -> None:
    content = noise(before) + MARKER + noise(4 * MIB)
    assert await scan(content) == Infected("Test.Marker.UNOFFICIAL")


@pytest.mark.parametrize("length", [1, 1000, 256 * 1024, 256 * 1024 + 1, 3 * MIB])
async def test_a_stream_may_come_in_buffers_of_any_size(daemon: RunningClamd, length: int) -> None:
    content = noise(20_000) + MARKER if length == 1 else noise(2 * MIB) + MARKER
    verdict = await by_tcp(daemon).scan_stream(cut(content, length), len(content))
    assert verdict == Infected("Test.Marker.UNOFFICIAL")


async def test_empty_buffers_do_not_end_a_stream(daemon: RunningClamd) -> None:
    async def buffers() -> AsyncIterator[bytes]:
        for part in (b"", MARKER[:9], b"", MARKER[9:], b""):
            yield part

    verdict = await by_tcp(daemon).scan_stream(buffers(), len(MARKER))
    assert verdict == Infected("Test.Marker.UNOFFICIAL")


@pytest.mark.parametrize("position", [0, 5, 1000])
async def test_a_descriptor_is_scanned_from_its_start_and_stays_open(
    daemon: RunningClamd, position: int
) -> None:
    with opened(MARKER + b"ab") as descriptor:
        os.lseek(descriptor, position, os.SEEK_SET)
        verdict = await by_unix(daemon).scan_descriptor(descriptor, len(MARKER) + 2)
        assert verdict == Infected("Test.Marker.UNOFFICIAL")
        assert os.pread(descriptor, 2, len(MARKER)) == b"ab"


async def test_many_scans_at_once_keep_their_verdicts_apart(daemon: RunningClamd) -> None:
    scanner = by_unix(daemon)
    contents = [noise(5000) + (MARKER if turn % 2 else b"") for turn in range(40)]
    verdicts = await asyncio.gather(*(scan_descriptor(scanner, content) for content in contents))
    assert verdicts == [Clean(), Infected("Test.Marker.UNOFFICIAL")] * 20


async def test_the_version_is_told_and_a_ping_answered(daemon: RunningClamd) -> None:
    for scanner in (by_unix(daemon), by_tcp(daemon), client(str(daemon.socket))):
        await scanner.ping()
        assert (await scanner.version()).startswith("ClamAV 1.")


async def test_the_loops_are_the_two_that_are_meant(anyio_backend: tuple[str, Any]) -> None:
    is_uvloop = type(asyncio.get_running_loop()).__module__.startswith("uvloop")
    assert is_uvloop == anyio_backend[1]["use_uvloop"]


# What is not scanned.


async def test_a_file_above_the_limit_is_not_even_sent(tmp_path: Path) -> None:
    scanner = client(f"unix:{tmp_path}/nobody", max_size=10)
    with opened(b"x" * 11) as descriptor:
        for verdict in (
            await scanner.scan_descriptor(descriptor, 11),
            await scanner.scan_stream(cut(b""), 11),
        ):
            assert verdict == NotScanned("The file has 11 bytes; only up to 10 are scanned.")


async def test_a_file_that_is_as_large_as_the_limit_is_scanned(daemon: RunningClamd) -> None:
    scanner = by_unix(daemon, max_size=len(MARKER))
    assert isinstance(await scan_descriptor(scanner, MARKER), Infected)
    assert isinstance(await scanner.scan_stream(cut(MARKER), len(MARKER)), Infected)


async def test_what_no_clamd_can_scan_is_not_sent_whatever_the_limit(tmp_path: Path) -> None:
    scanner = client(f"unix:{tmp_path}/nobody", max_size=2**40)
    assert isinstance(await scanner.scan_stream(cut(b""), 2**31), NotScanned)
    with pytest.raises(ClamdUnavailable):
        await scanner.scan_stream(cut(b""), 2**31 - 1)


@pytest.mark.parametrize("excess", [1, 300_000, 15 * MIB])
@pytest.mark.parametrize("reach", [by_unix, by_tcp])
async def test_a_stream_above_the_limit_of_clamd_is_not_scanned(
    daemon: RunningClamd, reach: Callable[[RunningClamd], Clamd], excess: int
) -> None:
    content = bytes(STREAM_LIMIT + excess)
    verdict = await reach(daemon).scan_stream(cut(content, MIB), len(content))
    assert verdict == NotScanned("The file is larger than the StreamMaxLength of clamd.")


async def test_a_file_above_a_limit_inside_clamd_is_not_scanned(tmp_path: Path) -> None:
    with clamd(tmp_path / "clamd", MaxFileSize="1M") as daemon:
        verdict = await scan_descriptor(by_unix(daemon), bytes(2 * MIB))
    assert verdict == NotScanned(
        "Scanning ended at a limit of clamd: Heuristics.Limits.Exceeded.MaxFileSize."
    )


@pytest.mark.parametrize("size", [4, 6])
async def test_a_stream_of_another_size_is_not_scanned(daemon: RunningClamd, size: int) -> None:
    verdict = await by_unix(daemon).scan_stream(cut(b"abcde", 2), size)
    assert isinstance(verdict, NotScanned)


@pytest.mark.parametrize("size", [4, 6])
async def test_a_file_of_another_size_is_not_scanned(daemon: RunningClamd, size: int) -> None:
    with opened(b"abcde") as descriptor:
        verdict = await by_unix(daemon).scan_descriptor(descriptor, size)
    assert isinstance(verdict, NotScanned)


async def test_a_descriptor_that_clamd_could_not_read_is_refused(
    daemon: RunningClamd, tmp_path: Path
) -> None:
    # clamd itself calls it OK.
    (tmp_path / "file").write_bytes(MARKER)
    descriptor = os.open(tmp_path / "file", os.O_WRONLY)
    try:
        with pytest.raises(ValueError, match="writing only"):
            await by_unix(daemon).scan_descriptor(descriptor, len(MARKER))
    finally:
        os.close(descriptor)


# What goes wrong.


async def test_a_clamd_that_is_not_there_is_unavailable_until_it_is_back(tmp_path: Path) -> None:
    with clamd(tmp_path / "clamd") as daemon:
        daemon.stop()
        for scanner in (by_unix(daemon), by_tcp(daemon)):
            with pytest.raises(ClamdUnavailable, match="did not accept a connection") as caught:
                await scanner.ping()
            assert isinstance(caught.value.__cause__, OSError)
            with pytest.raises(ClamdUnavailable):
                await scanner.scan_stream(cut(MARKER), len(MARKER))
        daemon.start()
        for scanner in (by_unix(daemon), by_tcp(daemon)):
            assert isinstance(await scanner.scan_stream(cut(MARKER), len(MARKER)), Infected)


async def test_a_clamd_that_is_killed_during_a_stream_is_unavailable(tmp_path: Path) -> None:
    with clamd(tmp_path / "clamd") as daemon:

        async def buffers() -> AsyncIterator[bytes]:
            yield bytes(MIB)
            daemon.stop()
            for _ in range(20):
                yield bytes(MIB)

        with pytest.raises(ClamdUnavailable):
            await by_unix(daemon).scan_stream(buffers(), 21 * MIB)


@pytest.mark.parametrize("question", ["ping", "version", "descriptor", "stream"])
async def test_a_clamd_that_says_nothing_is_unavailable_in_time(
    tmp_path: Path, question: str
) -> None:
    with impostor(tmp_path) as silent, opened(b"abc") as descriptor:
        scanner = client(silent.address, timeout=0.1)
        questions: dict[str, Callable[[], Awaitable[object]]] = {
            "ping": scanner.ping,
            "version": scanner.version,
            "descriptor": lambda: scanner.scan_descriptor(descriptor, 3),
            "stream": lambda: scanner.scan_stream(cut(b"abc"), 3),
        }
        async with asyncio.timeout(5):
            with pytest.raises(ClamdUnavailable, match=r"not answer within 0\.1 seconds"):
                await questions[question]()
        assert await asyncio.to_thread(silent.client_has_gone.wait, 5)


async def test_a_clamd_that_stops_reading_is_unavailable_in_time(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "deaf.sock"))
        listener.listen()
        scanner = client(f"unix:{tmp_path}/deaf.sock", timeout=0.1)
        async with asyncio.timeout(5):
            with pytest.raises(ClamdUnavailable, match="not take what was sent within"):
                await scanner.scan_stream(cut(bytes(8 * MIB)), 8 * MIB)


@pytest.mark.parametrize("family", ["unix", "tcp"])
async def test_a_clamd_that_accepts_nobody_is_unavailable_in_time(
    tmp_path: Path, family: str
) -> None:
    with full_listener(tmp_path, family) as (_, address):
        before = open_descriptors()
        with pytest.raises(ClamdUnavailable, match=r"not accept a connection within 0\.1 seconds"):
            await client(address, timeout=0.1).ping()
        assert open_descriptors() == before


async def test_a_clamd_that_is_slow_to_accept_is_waited_for(tmp_path: Path) -> None:
    with full_listener(tmp_path, "unix") as (listener, address):
        before = open_descriptors()
        waiting = asyncio.create_task(client(address).ping())
        while open_descriptors() == before:
            await asyncio.sleep(0)
        listener.accept()[0].close()
        second, _ = await asyncio.to_thread(listener.accept)
        with second:
            second.sendall(b"PONG\0")
            await waiting


@pytest.mark.parametrize(
    "parts",
    [
        (b"\0",),
        (b"OK\0",),
        (b"stream: OK",),
        (b"stream: OK\0stream: OK\0",),
        (b"stream: OK\0more",),
        (b"stream: One FOUND\0stream: Other FOUND\0",),
        (b"stream: FOUND\0",),
        (b"stream:  FOUND",),
        (b"elsewhere: OK\0",),
        (b"stream: OK ERROR\0",),
        (b"stream: NOT OK\0",),
        (b"fd[10]: Can't allocate memory ERROR\0",),
        (b"UNKNOWN COMMAND\0",),
        (b"COMMAND READ TIMED OUT\0",),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n",),
        (b"\xff\xfe\0",),
    ],
    ids=map(str, range(16)),
)
async def test_an_answer_that_is_no_verdict_is_none(
    tmp_path: Path, parts: tuple[bytes, ...]
) -> None:
    with impostor(tmp_path, *parts) as broken:
        scanner = client(broken.address)
        with pytest.raises(ClamdUnavailable) as caught:
            await scanner.scan_stream(cut(b"abc"), 3)
        assert len(str(caught.value)) < 600
        with pytest.raises(ClamdUnavailable):
            await scanner.ping()
        with pytest.raises(ClamdUnavailable):
            await scanner.version()


async def test_an_answer_without_an_end_is_not_read_for_ever(tmp_path: Path) -> None:
    parts = [b"stream: OK" * 500] * 100
    with (
        impostor(tmp_path, *parts) as talkative,
        pytest.raises(ClamdUnavailable, match="went on and on") as caught,
    ):
        await client(talkative.address).scan_stream(cut(b"abc"), 3)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("length", [0, 1, 256 * 1024, 600_000])
async def test_a_stream_is_sent_as_chunks_and_ended_once(length: int) -> None:
    content = noise(length)

    def receive(listener: socket.socket) -> tuple[bytes, bytes]:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as sent:
            assert sent.read(10) == b"zINSTREAM\0"
            chunks = []
            while size := int.from_bytes(sent.read(4), "big"):
                chunks.append(sent.read(size))
            connection.sendall(b"stream: OK\0")
            return b"".join(chunks), sent.read()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        receiving = asyncio.create_task(asyncio.to_thread(receive, listener))
        scanner = client(f"127.0.0.1:{listener.getsockname()[1]}")
        assert await scanner.scan_stream(cut(content), length) == Clean()
        assert await receiving == (content, b"")


async def test_an_answer_may_come_in_pieces(tmp_path: Path) -> None:
    with impostor(tmp_path, b"str", b"eam: Some.Thing FOU", b"ND", b"\0") as slow:
        verdict = await client(slow.address).scan_stream(cut(b"abc"), 3)
    assert verdict == Infected("Some.Thing")


async def test_an_answer_is_read_though_clamd_reset_the_connection() -> None:
    def answer_and_reset(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.recv(100)
        connection.sendall(b"INSTREAM size limit exceeded. ERROR\0")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        answering = asyncio.create_task(asyncio.to_thread(answer_and_reset, listener))

        async def buffers() -> AsyncIterator[bytes]:
            await answering
            for _ in range(8):
                yield bytes(MIB)

        scanner = client(f"127.0.0.1:{listener.getsockname()[1]}")
        assert isinstance(await scanner.scan_stream(buffers(), 8 * MIB), NotScanned)


async def test_an_error_of_the_file_is_not_taken_for_one_of_clamd(daemon: RunningClamd) -> None:
    async def buffers() -> AsyncIterator[bytes]:
        yield b"some"
        raise ConnectionResetError("the store has gone")

    before = open_descriptors()
    with pytest.raises(ConnectionResetError, match="the store has gone"):
        await by_unix(daemon).scan_stream(buffers(), 100)
    assert open_descriptors() == before


async def endless(buffer: bytes) -> AsyncIterator[bytes]:
    """One buffer, and then nothing and no end."""
    yield buffer
    await asyncio.Event().wait()


@pytest.mark.parametrize("way", ["descriptor", "slow stream", "stalled stream"])
async def test_a_cancelled_scan_closes_its_connection(tmp_path: Path, way: str) -> None:
    with opened(b"abc") as descriptor, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "clamd.sock"))
        listener.listen()
        scanner = client(f"unix:{tmp_path}/clamd.sock")
        before = open_descriptors()
        if way == "descriptor":
            scanning = asyncio.create_task(scanner.scan_descriptor(descriptor, 3))
        else:
            buffer = bytes(8 * MIB if way == "stalled stream" else 3)
            scanning = asyncio.create_task(scanner.scan_stream(endless(buffer), 9 * MIB))
        with (await asyncio.to_thread(listener.accept))[0] as connection:
            connection.settimeout(5)
            assert await asyncio.to_thread(connection.recv, 2) in (b"zF", b"zI")
            scanning.cancel()
            with pytest.raises(asyncio.CancelledError):
                await scanning
            while connection.recv(MIB):
                pass
        assert open_descriptors() == before


@pytest.mark.parametrize("family", ["unix", "tcp"])
async def test_a_scan_that_is_cancelled_while_it_connects_leaves_nothing_open(
    tmp_path: Path, family: str
) -> None:
    with full_listener(tmp_path, family) as (_, address):
        before = open_descriptors()
        scanning = asyncio.create_task(client(address).scan_stream(cut(b"abc"), 3))
        while open_descriptors() == before:
            await asyncio.sleep(0)
        scanning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await scanning
        assert open_descriptors() == before


# Addresses.


@pytest.mark.parametrize("address", ["unix:/run/clamd.sock", "/run/clamd.sock"])
def test_descriptors_pass_through_unix_sockets(address: str) -> None:
    assert client(address).takes_descriptors


@pytest.mark.parametrize(
    "address", ["clamav:3310", "tcp:10.0.0.7:3310", "tcp:[::1]:1", "[fe80::1%eth0]:3310"]
)
def test_descriptors_do_not_pass_through_networks(address: str) -> None:
    assert not client(address).takes_descriptors


@pytest.mark.parametrize(
    "address",
    [
        "", "unix:", "unix:relative.sock", "clamd.sock", "host", "host:", ":3310", "host:0",
        "host:65536", "host:٣٣", "host:33x", "::1:3310", "[::1]", "tcp:/run/x", "tcp:", "http://host:3310",
        "/run/\0x", "ho st:3310", "host:3310\n",
    ],
)  # fmt: skip
def test_an_address_of_no_known_form_is_refused_with_a_sentence(address: str) -> None:
    with pytest.raises(ValueError, match="is no address of clamd"):
        client(address)


async def test_a_host_that_does_not_exist_is_unavailable() -> None:
    with pytest.raises(ClamdUnavailable, match="did not accept a connection"):
        await client(f"host.invalid:{free_port()}").ping()


def test_a_host_with_several_addresses_is_tried_to_the_last(
    daemon: RunningClamd, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
        ports = (free_port(), daemon.port)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)) for port in ports]

    # The loop of asyncio asks this function; uvloop's would not.
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    asyncio.run(client("clamav.example:3310").ping())

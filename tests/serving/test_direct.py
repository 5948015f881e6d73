"""The direct body beside the stream, and the file past the page cache: the same bytes, offsets and
answers however they come and go.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.servers import ThreadServer, running
from tests.tus import VERSION, Tus, eventually, patch_headers
from tests.wire import Answer, Wire, head
from tusserver import create_app
from tusserver.protocol.decision import Outcome
from tusserver.serving import connection, direct
from tusserver.serving.connection import TusConnection
from tusserver.serving.direct import DirectBody
from tusserver.store import direct_io
from tusserver.store.file_session import AppendSession

MIB = 1024 * 1024


class StreamConnection(TusConnection):
    """The same without direct bodies."""

    def _offer_direct(self, version: str) -> None:
        pass


class DirectConnection(TusConnection):
    """The same with direct bodies of any size."""

    def _offer_direct(self, version: str) -> None:
        self.cycle.offers_direct = True
        self.flow.pause_reading()


@dataclass
class Kind:
    """A server with one kind of body."""

    tus: Tus
    directory: Path

    def content(self, url: str) -> bytes:
        return (self.directory / url.rpartition("/")[2]).read_bytes()


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Kind]]:
    """The stream, and the direct body into the page cache and past it."""
    found = []
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(direct_io, "WORTHWHILE", 1)
        for http, direct_io_ in (
            (StreamConnection, "off"),
            (DirectConnection, "off"),
            (DirectConnection, "on"),
        ):
            directory = tmp_path_factory.mktemp("kind") / "uploads"
            app = create_app(upload_dir=directory, access_log=False, direct_io=direct_io_)
            server = stack.enter_context(running(app, http=http))
            found.append(Kind(Tus(server.address), directory))
        yield found


@dataclass(frozen=True)
class Script:
    """How a client sends a PATCH and a HEAD behind it: behind some bytes that are there before, in
    pieces of these sizes, again and again, with a pause after some, and perhaps not to the end.
    """

    size: int
    before: int
    pieces: list[int]
    pause_after: int
    sent: float
    resets: bool

    def body(self) -> bytes:
        return bytes(range(251)) * ((self.before + self.size) // 251 + 1)

    def play(self, kind: Kind) -> tuple[list[tuple[int, str | None]], int]:
        """The answers (status and offset), and where the upload stands in the end; its bytes are
        right.
        """
        whole = self.body()[: self.before + self.size]
        body = whole[self.before :]
        url = kind.tus.mk(len(whole) + 1)
        kind.tus.pa(url, 0, whole[: self.before])
        first = head("PATCH", url, patch_headers(self.before, self.size)) + body
        is_whole = self.sent == 1.0
        data = first + head("HEAD", url, VERSION) if is_whole else first[: self._cut(len(first))]
        answers: list[Answer] = []
        with kind.tus.wire() as wire:
            self._send(wire, data)
            if is_whole:
                answers = [wire.answer("PATCH"), wire.answer("HEAD")]
            elif self.resets:
                # What has not been read by then may be lost; how much that is, is left to chance.
                eventually(lambda: kind.tus.off(url) == self._arrived(first, body))
                wire.reset()
            else:
                wire.socket.shutdown(socket.SHUT_WR)
        if not is_whole:
            eventually(lambda: kind.tus.off(url) == self._arrived(first, body))
        offset = kind.tus.off(url)
        assert kind.content(url) == whole[:offset]
        # Nobody holds the upload, and it can be finished.
        assert kind.tus.pa(url, offset, (whole + b"!")[offset:]).status == 204
        assert kind.content(url) == whole + b"!"
        return [(found.status, found.get("Upload-Offset")) for found in answers], offset

    def _cut(self, size: int) -> int:
        return max(1, int(size * self.sent))

    def _arrived(self, first: bytes, body: bytes) -> int:
        return self.before + max(0, self._cut(len(first)) - (len(first) - len(body)))

    def _send(self, wire: Wire, data: bytes) -> None:
        position = number = 0
        while position < len(data):
            size = self.pieces[number % len(self.pieces)]
            wire.send(data[position : position + size])
            position += size
            number += 1
            if number == self.pause_after:
                # Longer than a thread is patient.
                time.sleep(2 * direct.PATIENCE)


scripts = st.builds(
    Script,
    size=st.integers(1, 400_000),
    before=st.integers(0, 10_000),
    pieces=st.lists(st.integers(1_000, 300_000) | st.integers(300, 3_000), min_size=1, max_size=5),
    pause_after=st.integers(0, 8),
    sent=st.just(1.0) | st.floats(0.01, 0.99),
    resets=st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(script=scripts)
def test_all_kinds_do_the_same(kinds: list[Kind], script: Script) -> None:
    stream, *others = (script.play(kind) for kind in kinds)
    assert others == [stream, stream]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ThreadServer]:
    app = create_app(upload_dir=tmp_path / "uploads", network_timeout="1s", access_log=False)
    with running(app) as made:
        yield made


@pytest.fixture
def tus(server: ThreadServer) -> Tus:
    return Tus(server.address)


@pytest.fixture
def drained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads in which bodies were drained."""
    found: list[str] = []
    drain = DirectBody.drain

    def noting(self: DirectBody, *args: object) -> bool:
        found.append(threading.current_thread().name)
        return drain(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(DirectBody, "drain", noting)
    return found


BODY = bytes(range(256)) * (3 * MIB // 256) + b"odd"


def test_a_large_body_is_drained_by_threads_and_the_connection_goes_on(
    tus: Tus, drained: list[str]
) -> None:
    url = tus.mk(2 * len(BODY))
    with tus.wire() as wire:
        for offset in (0, len(BODY)):
            answer = wire.request("PATCH", url, patch_headers(offset, len(BODY)), BODY)
            assert answer["Upload-Offset"] == str(offset + len(BODY))
        assert wire.request("HEAD", url, VERSION)["Upload-Offset"] == str(2 * len(BODY))
    assert tus.content(url) == 2 * BODY
    assert any(name.startswith("tusserver-drain") for name in drained)


def test_a_unix_socket_is_as_good(tmp_path: Path, drained: list[str]) -> None:
    app = create_app(upload_dir=tmp_path / "uploads", access_log=False)
    with running(app, unix=tmp_path / "socket") as server:
        tus = Tus(server.address)
        assert tus.content(tus.made(BODY)) == BODY
    assert any(name.startswith("tusserver-drain") for name in drained)


def test_the_event_loop_of_the_standard_library_is_as_good(
    tmp_path: Path, drained: list[str]
) -> None:
    app = create_app(upload_dir=tmp_path / "uploads", access_log=False)
    with running(app, loop="asyncio") as server:
        tus = Tus(server.address)
        url = tus.mk(len(BODY))
        with tus.begin_patch(url, 0, len(BODY)) as wire:
            wire.send(BODY[:1000])
            time.sleep(3 * direct.PATIENCE)
            wire.send(BODY[1000:])
            assert wire.answer("PATCH").status == 204
        assert tus.content(url) == BODY
    assert any(name.startswith("tusserver-drain") for name in drained)


def test_a_stop_while_the_request_waits_for_its_turn_keeps_what_is_here(
    server: ThreadServer, tus: Tus, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_over = DirectBody._take_over

    def late(self: DirectBody) -> None:
        self._cycle.break_off(Outcome.SHUTDOWN)
        take_over(self)

    url = tus.mk(len(BODY))
    with monkeypatch.context() as patch, tus.wire() as wire:
        patch.setattr(DirectBody, "_take_over", late)
        # Head and first bytes in one segment, so that they are read together.
        wire.send(head("PATCH", url, patch_headers(0, len(BODY))) + BODY[:1000])
        answer = wire.answer("PATCH")
        assert (answer.status, answer["Upload-Offset"]) == (503, "1000")
    tus.assert_intact(url, 1000, BODY[1000:])
    assert tus.content(url) == BODY


def test_a_small_body_needs_no_thread(
    tus: Tus, drained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "DIRECT_MIN", 100_000)
    assert tus.content(tus.made(BODY[:90_000])) == BODY[:90_000]
    assert drained == []
    assert tus.content(tus.made(BODY)) == BODY
    assert drained != []


def test_a_body_that_was_held_back_is_asked_for(tus: Tus) -> None:
    url = tus.mk(len(BODY))
    headers = patch_headers(0, len(BODY), {"Expect": "100-continue"})
    with tus.wire() as wire:
        wire.send(head("PATCH", url, headers))
        assert wire.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.send(BODY)
        assert wire.answer("PATCH").status == 204
    assert tus.content(url) == BODY


def test_silence_ends_a_body_and_keeps_what_came(tus: Tus) -> None:
    url = tus.mk(len(BODY))
    with tus.begin_patch(url, 0, len(BODY)) as wire:
        wire.send(BODY[:MIB])
        answer = wire.answer("PATCH")
        assert (answer.status, answer["Upload-Offset"]) == (503, str(MIB))
        assert answer["Connection"] == "close"
        assert wire.is_ended()
    tus.assert_intact(url, MIB, BODY[MIB:])


def _stands_at(tus: Tus, url: str, offset: int) -> bool:
    return tus.off(url) == offset


def test_a_newer_request_takes_over_from_a_thread_and_from_a_wait(tus: Tus) -> None:
    for stall in (0.0, 3 * direct.PATIENCE):
        url = tus.mk(len(BODY))
        with tus.begin_patch(url, 0, len(BODY)) as wire:
            wire.send(BODY[:MIB])
            eventually(partial(_stands_at, tus, url, MIB))
            time.sleep(stall)
            assert tus.pa(url, MIB, BODY[MIB:]).status == 204
            assert wire.answer("PATCH").status == 423
        assert tus.content(url) == BODY


def test_a_slow_body_is_drained_without_threads(tus: Tus, drained: list[str]) -> None:
    url = tus.mk(len(BODY))
    with tus.begin_patch(url, 0, len(BODY)) as wire:
        for start in range(0, 40_000, 1_000):
            wire.send(BODY[start : start + 1_000])
            time.sleep(0.01)
        wire.send(BODY[40_000:])
        assert wire.answer("PATCH").status == 204
    assert tus.content(url) == BODY
    assert any(not name.startswith("tusserver-drain") for name in drained)


def test_the_bytes_of_a_middling_client_gather_before_they_are_read(
    tus: Tus, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, read = [], direct._read_into

    def noting(descriptor: int, view: memoryview) -> int:
        reads.append(read(descriptor, view))
        return reads[-1]

    monkeypatch.setattr(direct, "_read_into", noting)
    monkeypatch.setattr(direct, "HASTE", 0.0)
    monkeypatch.setattr(direct, "PAUSE", 0.015)
    url = tus.mk(len(BODY))
    with tus.begin_patch(url, 0, len(BODY)) as wire:
        wire.send(BODY[:MIB])
        before = len(reads)
        for start in range(MIB, MIB + 60_000, 1_000):
            wire.send(BODY[start : start + 1_000])
            time.sleep(0.001)
        gathered = reads[before:]
        wire.send(BODY[MIB + 60_000 :])
        assert wire.answer("PATCH").status == 204
    assert tus.content(url) == BODY
    assert len(gathered) < 30


def test_more_fast_bodies_than_threads_all_get_their_turn(
    tus: Tus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "TURN", 0.0)
    urls = [tus.mk(len(BODY)) for _ in range(24)]
    senders = [threading.Thread(target=tus.pa, args=(url, 0, BODY), daemon=True) for url in urls]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(30)
    assert all(tus.content(url) == BODY for url in urls)


def test_a_disk_that_is_full_ends_the_body_with_a_true_offset(
    tus: Tus, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = AppendSession.write

    def full(self: AppendSession, buffers: list[bytes]) -> None:
        if self.offset >= MIB:
            raise OSError(28, "No space left on device")
        write(self, buffers)

    url = tus.mk(len(BODY))
    with monkeypatch.context() as patch, tus.begin_patch(url, 0, len(BODY)) as wire:
        patch.setattr(AppendSession, "write", full)
        wire.send(BODY[: MIB + 1])
        wire.send(BODY[MIB + 1 :])
        assert wire.answer("PATCH").status >= 500
    offset = tus.off(url)
    assert MIB <= offset < len(BODY)
    tus.assert_intact(url, offset, BODY[offset:])
    assert tus.content(url) == BODY


def test_no_descriptor_is_left_behind(tus: Tus) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    tus.made(BODY)
    before = descriptors()
    for _ in range(20):
        url = tus.mk(len(BODY))
        with tus.begin_patch(url, 0, len(BODY)) as wire:
            wire.send(BODY[:MIB])
            wire.reset()
        tus.made(BODY)
    eventually(lambda: descriptors() <= before + 2)

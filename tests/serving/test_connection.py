"""What our HTTP connection adds to uvicorn's: order, limits, trailers, upgrades, soft closes."""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.servers import ThreadServer, running
from tests.tus import VERSION, Tus, chunked_headers, eventually, patch_headers
from tests.wire import ConnectionEnded, Wire, chunked, head
from tusserver import create_app
from tusserver.asgi.body import request_extension
from tusserver.protocol.decision import Outcome
from tusserver.serving import connection, cycle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MIB = 1024 * 1024
GARBAGE = b"neither method nor target\r\n\r\n"


@contextmanager
def running_alone(app: ASGIApp) -> Iterator[ThreadServer]:
    """Our server around an application that knows nothing of lifespans."""
    with running(Starlette(routes=[Mount("/", app=app)])) as server:
        yield server


@contextmanager
def running_tus(upload_dir: Path, *, timeout_keep_alive: int = 5) -> Iterator[ThreadServer]:
    app = create_app(upload_dir=upload_dir, access_log=False)
    with running(app, timeout_keep_alive=timeout_keep_alive) as server:
        yield server


async def mirror(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers what it was told: header fields, body, trailer fields."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    extension = request_extension(scope)
    assert extension is not None
    seen = {
        "headers": [(name.decode(), value.decode()) for name, value in scope["headers"]],
        "trailers": [(name.decode(), value.decode()) for name, value in extension.trailers],
        "body": body.decode(),
    }
    await answer_with(send, json.dumps(seen).encode())


async def answer_with(send: Send, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def send_without_end(wire: Wire) -> None:
    while True:
        wire.send(bytes(MIB))


# Order.


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        pytest.param(GARBAGE, 400, id="garbage"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"x" * MIB, 431, id="a head that is too large"),
    ],
)
@pytest.mark.parametrize("before", [0, 1, 2, 5])
def test_a_malformed_request_is_answered_in_its_turn(
    tus: Tus, bad: bytes, status: int, before: int
) -> None:
    url = tus.mk(5)
    good = b"".join(head("PATCH", url, patch_headers(n, 1)) + b"x" for n in range(before))
    with tus.wire() as wire:
        wire.send(good + bad + head("DELETE", url, VERSION))
        answers = [wire.answer("PATCH") for _ in range(before)]
        assert [answer["Upload-Offset"] for answer in answers] == [
            str(n + 1) for n in range(before)
        ]
        refused = wire.answer()
        assert (refused.status, refused["Connection"]) == (status, "close")
        assert wire.is_ended()
    # Nothing that comes after it is believed.
    assert tus.off(url) == before


def test_a_malformed_request_waits_for_the_answer_that_is_being_made() -> None:
    gate = threading.Event()
    started = threading.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        started.set()
        await asyncio.to_thread(gate.wait, 20)
        await answer_with(send, b"slow")

    with running_alone(slow) as server, Wire(server.address) as wire:
        wire.send(head("GET", "/"))
        assert started.wait(10)
        wire.send(GARBAGE + b"x" * 100_000)
        gate.set()
        assert wire.answer().body == b"slow"
        assert wire.answer().status == 400
        assert wire.is_ended()


def test_a_body_with_broken_framing_is_answered_in_its_turn(tus: Tus) -> None:
    url = tus.mk(10)
    data = (
        head("PATCH", url, patch_headers(0, 2))
        + b"ab"
        + head("PATCH", url, chunked_headers(2))
        + chunked(b"cd", end=False)
        + b"zz\r\n"
        + head("DELETE", url, VERSION)
    )
    with tus.wire() as wire:
        wire.send(data)
        assert wire.answer("PATCH").status == 204
        broken = wire.answer("PATCH")
        assert (broken.status, broken["Upload-Offset"]) == (400, "4")
        assert wire.is_ended()
    assert tus.off(url) == 4


def test_nothing_is_answered_after_an_answer_that_closes(tmp_path: Path) -> None:
    """The answer to a GET begins while its body is incomplete, so that it says it is the last."""
    with running_tus(tmp_path / "uploads") as server:
        tus = Tus(server.address)
        url = tus.made(bytes(16 * MIB))
        with tus.wire() as wire:
            wire.send(head("GET", url, {"Transfer-Encoding": "chunked"}))
            # Now that its beginning is here, and nobody reads on, the answer is not complete.
            assert select.select([wire.socket], [], [], 10)[0]
            wire.send(chunked() + head("OPTIONS", tus.creation))
            answer = wire.answer("GET")
            assert (answer["Connection"], len(answer.body)) == ("close", 16 * MIB)
            assert wire.is_ended()


# Upgrades.

H2C = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABk"}
WEBSOCKET = {
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}
UPGRADES = {"h2c": H2C, "websocket": WEBSOCKET, "several": {**H2C, "Upgrade": "TLS/1.0, h2c"}}
WAYS: dict[str, Callable[[Wire, bytes], None]] = {
    "at once": Wire.send,
    "byte by byte": Wire.send_slowly,
}


@pytest.mark.parametrize("send", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
def test_a_wish_for_another_protocol_is_ignored_and_the_body_stays_intact(
    tus: Tus, upgrade: dict[str, str], send: Callable[[Wire, bytes], None]
) -> None:
    url = tus.mk(15)
    look = head("HEAD", url, {**VERSION, **upgrade})
    known = head("PATCH", url, patch_headers(0, 5, upgrade)) + b"hello"
    unknown = head("PATCH", url, chunked_headers(5, upgrade)) + chunked(b"wo", b"rld")
    plain = head("PATCH", url, patch_headers(10, 5)) + b"again"
    with tus.wire() as wire:
        for method, data, offset in (
            ("PATCH", known, 5),
            ("HEAD", look, 5),
            ("PATCH", unknown, 10),
            ("PATCH", plain, 15),
            ("HEAD", look, 15),
        ):
            send(wire, data)
            assert wire.answer(method)["Upload-Offset"] == str(offset)
    assert tus.content(url) == b"helloworldagain"


def test_pipelined_wishes_for_another_protocol_are_ignored(tus: Tus) -> None:
    url = tus.mk(10)
    data = b"".join(
        head("PATCH", url, patch_headers(n, 1, H2C)) + b"x" + head("HEAD", url, VERSION)
        for n in range(10)
    )
    with tus.wire() as wire:
        wire.send(data)
        for offset in range(1, 11):
            for method in ("PATCH", "HEAD"):
                assert wire.answer(method)["Upload-Offset"] == str(offset)


def test_a_large_body_after_a_wish_for_another_protocol_stays_intact(tus: Tus) -> None:
    data = bytes(range(256)) * 16 * 1024
    url = tus.mk(len(data))
    with tus.wire() as wire:
        headers = patch_headers(0, len(data), {**H2C, "Expect": "100-continue"})
        answer = wire.request("PATCH", url, headers, data)
        assert (answer.status, answer.interim) == (204, [100])
        assert wire.request("OPTIONS", tus.creation).status == 200
    assert tus.content(url) == data


def test_a_wish_for_another_protocol_does_not_change_who_closes(tus: Tus) -> None:
    with tus.wire() as wire:
        headers = {**H2C, "Connection": "close, upgrade"}
        assert wire.request("OPTIONS", tus.creation, headers)["Connection"] == "close"
        assert wire.is_ended()


@pytest.mark.parametrize("upgrade", [{}, H2C], ids=["no upgrade", "h2c"])
def test_http_1_0_stays_http_1_0(tus: Tus, upgrade: dict[str, str]) -> None:
    """RFC 9110, section 7.8: Upgrade is to be ignored in HTTP/1.0; so it is not 1.1 either."""
    url = tus.mk(5)
    data = head("PATCH", url, patch_headers(0, 5, {**upgrade, "Expect": "100-continue"}))
    data = data.replace(b"HTTP/1.1\r\nHost: localhost\r\n", b"HTTP/1.0\r\n")
    with tus.wire() as wire:
        wire.send(data + b"hello")
        answer = wire.answer("PATCH")
        assert (answer.status, answer.interim) == (204, [])
        assert wire.is_ended()


# Trailers.


def test_trailers_do_not_get_among_the_headers() -> None:
    trailers = {"Upload-Checksum": "sha1 x", "Host": "evil.example", "X-Mine": "2"}
    with running_alone(mirror) as server, Wire(server.address) as wire:
        for _ in range(2):
            # At once, so that the trailers are here before the application looks at the headers.
            data = head("POST", "/", {"Transfer-Encoding": "chunked", "X-Mine": "1"})
            wire.send(data + chunked(b"hel", b"lo", trailers=trailers))
            seen = json.loads(wire.answer("POST").body)
            assert seen["body"] == "hello"
            assert seen["headers"] == [
                ["host", "localhost"],
                ["transfer-encoding", "chunked"],
                ["x-mine", "1"],
            ]
            assert seen["trailers"] == [[name.lower(), trailers[name]] for name in trailers]


def test_trailers_belong_to_their_own_request() -> None:
    with running_alone(mirror) as server, Wire(server.address) as wire:
        start = head("POST", "/", {"Transfer-Encoding": "chunked"})
        first = start + chunked(b"1", trailers={"X-First": "1"})
        second = start + chunked(b"2")
        wire.send(first + second + first)
        seen = [json.loads(wire.answer("POST").body) for _ in range(3)]
    assert [each["body"] for each in seen] == ["1", "2", "1"]
    assert [each["trailers"] for each in seen] == [[["x-first", "1"]], [], [["x-first", "1"]]]


TRAILERS = {
    "Upload-Offset": "3",
    "Upload-Length": "7",
    "Tus-Resumable": "0.2.2",
    "Content-Type": "text/plain",
    "X-HTTP-Method-Override": "DELETE",
}


@pytest.mark.parametrize("name", TRAILERS)
def test_a_trailer_does_not_change_what_the_request_means(tus: Tus, name: str) -> None:
    url = tus.mk(5)
    body = chunked(b"hello", trailers={name: TRAILERS[name]})
    answer = tus.request("PATCH", url, chunked_headers(0), body)
    assert (answer.status, answer["Upload-Offset"]) == (204, "5")
    assert tus.content(url) == b"hello"


# Limits.


@pytest.mark.parametrize("size", [0, 1, 8_190, 20_000, 100_000], ids=lambda size: f"behind {size}")
def test_pipelined_requests_do_not_pile_up(size: int) -> None:
    """Each takes a hundred times the memory of its bytes; also behind a chunked body."""
    gate, count = threading.Event(), 10_000

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.to_thread(gate.wait, 20)
        await answer_with(send, scope["path"].encode())

    with running_alone(slow) as server, Wire(server.address) as wire:
        body = chunked(bytes(size)) if size else b""
        requests = head("POST", "/0", chunked_headers(0)) + body if size else b""
        requests += b"".join(b"GET /%d HTTP/1.1\r\n\r\n" % n for n in range(bool(size), count))
        threading.Thread(target=wire.send, args=(requests,), daemon=True).start()
        eventually(lambda: bool(server.server.server_state.tasks))
        time.sleep(0.3)
        (waiting,) = server.server.server_state.connections
        assert isinstance(waiting, connection.TusConnection)
        length = len(waiting.pipeline)
        gate.set()
        assert 0 < length < 1000
        assert all(wire.answer().body == b"/%d" % n for n in range(count))


@pytest.mark.parametrize("ending", [b"", GARBAGE])
def test_what_waits_behind_slow_answers_is_taken_in_its_order(tus: Tus, ending: bytes) -> None:
    """Bodies of both kinds, larger and smaller than what is parsed at a time."""
    sizes = [1, 9_000, 40, 70_000, 8_192, 300_000, 5, 20_000, 0]
    pieces = [bytes([65 + n]) * size for n, size in enumerate(sizes)]
    url, offset, data = tus.mk(sum(sizes)), 0, b""
    for n, piece in enumerate(pieces):
        if n % 2:
            data += head("PATCH", url, chunked_headers(offset)) + chunked(piece)
        else:
            data += head("PATCH", url, patch_headers(offset, len(piece))) + piece
        data += head("HEAD", url, VERSION) * 100
        offset += len(piece)
    with tus.wire() as wire:
        threading.Thread(target=wire.send, args=(data + ending,), daemon=True).start()
        offset = 0
        for piece in pieces:
            offset += len(piece)
            for method in ("PATCH", *["HEAD"] * 100):
                assert wire.answer(method)["Upload-Offset"] == str(offset)
        if ending:
            assert wire.answer().status == 400
            assert wire.is_ended()
    assert tus.content(url) == b"".join(pieces)


@pytest.mark.parametrize("size", [200 * 1024, 8 * MIB])
@pytest.mark.parametrize("form", ["one field", "many fields", "a long target"])
@pytest.mark.parametrize("way", ["at once", "in pieces"])
def test_a_head_that_is_too_large_is_refused_readably(
    tus: Tus, size: int, form: str, way: str
) -> None:
    if form == "one field":
        data = head("OPTIONS", "/", {"X-Large": "x" * size})
    elif form == "many fields":
        data = head("OPTIONS", "/", [("X-N", "1")] * (size // 8))
    else:
        data = head("OPTIONS", f"/{'x' * size}")
    step = len(data) if way == "at once" else 10_000
    with tus.wire() as wire:
        for start in range(0, len(data), step):
            wire.send(data[start : start + step])
        answer = wire.answer()
        assert (answer.status, answer["Connection"]) == (431, "close")
        assert wire.is_ended()


def test_a_large_head_is_taken_request_after_request(tus: Tus) -> None:
    with tus.wire() as wire:
        for _ in range(20):
            answer = wire.request("OPTIONS", tus.creation, {"X-Large": "x" * 100_000})
            assert answer.status == 200


@pytest.mark.parametrize(
    "trailers",
    [
        pytest.param(b"X-Large: " + b"x" * MIB + b"\r\n\r\n", id="one field"),
        pytest.param(b"X-N: 1\r\n" * 100_000 + b"\r\n", id="many fields"),
        pytest.param(b"X-Endless: " + b"x" * 4 * MIB, id="a field without end"),
    ],
)
def test_trailers_that_are_too_large_end_the_body(tus: Tus, trailers: bytes) -> None:
    url = tus.mk(10)
    with tus.wire(timeout=5) as wire:
        body = chunked(b"hello", end=False) + b"0\r\n" + trailers
        wire.send(head("PATCH", url, chunked_headers(0)) + body)
        answer = wire.answer("PATCH")
        assert (answer.status, answer["Upload-Offset"]) == (400, "5")
        assert answer["Connection"] == "close"
        assert wire.is_ended()
    tus.assert_intact(url, 5, b"world")


def test_a_head_that_trickles_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT", 0.5)
    with running_tus(tmp_path / "uploads") as server, Wire(server.address) as wire:
        assert wire.request("OPTIONS", "/files/").status == 200
        for byte in head("OPTIONS", "/files/", {"X-Slow": "x" * 400}):
            wire.send(bytes([byte]))
            if select.select([wire.socket], [], [], 0.05)[0]:
                break
        answer = wire.answer()
        assert (answer.status, answer["Connection"]) == (408, "close")
        assert wire.is_ended()


def test_the_next_head_may_come_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for a head counts from its first byte, not from the answer before it."""
    monkeypatch.setattr(connection, "HEAD_TIMEOUT", 0.5)
    with running_tus(tmp_path / "uploads") as server, Wire(server.address) as wire:
        for _ in range(2):
            assert wire.request("OPTIONS", "/files/").status == 200
            assert not select.select([wire.socket], [], [], 1.0)[0]
        assert wire.request("OPTIONS", "/files/").status == 200


# Soft closes.


def test_who_goes_on_sending_after_a_refusal_is_cut_off_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LINGER_TIMEOUT", 0.5)
    with running_tus(tmp_path / "uploads") as server:
        tus = Tus(server.address)
        with tus.begin_patch(tus.mk(5), 1, 2**40) as wire:
            assert wire.answer("PATCH").status == 409
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                send_without_end(wire)


def test_who_falls_silent_after_a_refusal_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LINGER_SILENCE", 0.3)
    with running_tus(tmp_path / "uploads") as server:
        tus = Tus(server.address)
        with tus.begin_patch(tus.mk(5), 1, MIB) as wire:
            assert wire.answer("PATCH").status == 409
            eventually(lambda: not server.server.server_state.connections)


def test_an_unwanted_rest_that_never_comes_does_not_hold_the_connection(tmp_path: Path) -> None:
    with running_tus(tmp_path / "uploads", timeout_keep_alive=1) as server:
        tus = Tus(server.address)
        with tus.begin_patch(tus.mk(5), 1, 1000) as wire:
            assert wire.answer("PATCH").get("Connection") is None
            wire.send(b"only this")
            assert wire.is_ended()


def test_a_dropped_rest_does_not_count_as_head(tus: Tus) -> None:
    """Else its client would be told 431 for a request that it never made."""
    headers = patch_headers(1, 50_000, {"X-Large": "x" * 100_000})
    data = head("PATCH", tus.mk(100_000), headers)
    with tus.wire() as wire:
        # So that the parser has begun with the request before its bulk comes.
        wire.send(data[:1])
        time.sleep(0.1)
        wire.send(data[1:])
        assert wire.answer("PATCH").status == 409
        for size in (40_000, 10_000):
            wire.send(bytes(size))
            time.sleep(0.1)
        assert wire.request("OPTIONS", tus.creation).status == 200


# Clients that vanish or do not read.


def test_a_client_that_vanished_is_told_of_after_its_last_byte(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Else nobody reads before the application does.
    monkeypatch.setattr(connection, "DIRECT_MIN", 1000)
    messages: list[Message] = []
    outcomes: list[Outcome] = []
    ended = threading.Event()

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        extension: cycle.Cycle = scope["extensions"]["tusserver"]
        while not extension.disconnected:
            await asyncio.sleep(0.01)
        messages.extend([await receive(), await receive()])
        outcomes.append(extension.body_outcome)
        ended.set()

    with running_alone(late) as server:
        with Wire(server.address) as wire:
            wire.send(head("POST", "/", {"Content-Length": "10"}) + b"hello")
        assert ended.wait(10)
    assert messages[0] == {"type": "http.request", "body": b"hello", "more_body": True}
    assert messages[1] == {"type": "http.disconnect"}
    assert outcomes == [Outcome.DISCONNECTED]


def test_a_whole_body_is_told_of_although_its_client_vanished() -> None:
    messages: list[Message] = []
    begun, ended = threading.Event(), threading.Event()

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        while not scope["extensions"]["tusserver"].disconnected:
            await asyncio.sleep(0.01)
        messages.extend([await receive(), await receive()])
        ended.set()

    with running_alone(late) as server:
        wire = Wire(server.address)
        wire.send(head("POST", "/", {"Content-Length": "5"}) + b"hello")
        assert begun.wait(10)
        wire.reset()
        assert ended.wait(10)
    assert messages[0] == {"type": "http.request", "body": b"hello", "more_body": False}
    assert messages[1] == {"type": "http.disconnect"}


def test_a_client_that_vanished_is_told_of_although_another_request_waits() -> None:
    begun, ended = threading.Event(), threading.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await send({"type": "http.response.start", "status": 200})
        while not scope["extensions"]["tusserver"].is_gone:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await asyncio.sleep(0.01)
        ended.set()

    with running_alone(endless) as server, Wire(server.address) as wire:
        wire.send(head("GET", "/") * 2)
        assert begun.wait(10)
        wire.reset()
        assert ended.wait(10)


def test_a_client_that_shuts_its_side_after_its_request_is_answered(tmp_path: Path) -> None:
    with running_tus(tmp_path / "uploads") as server:
        tus = Tus(server.address)
        url = tus.mk(10)
        for offset, data in ((0, b"hello"), (5, b"world")):
            with tus.begin_patch(url, offset, 5) as wire:
                wire.send(data)
                wire.socket.shutdown(socket.SHUT_WR)
                assert wire.answer("PATCH").status == 204
                assert wire.is_ended()


def test_one_who_waits_for_the_end_of_the_client_hears_of_it() -> None:
    messages: list[Message] = []
    ended = threading.Event()

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        messages.extend([await receive(), await receive()])
        ended.set()

    with running_alone(waiting) as server:
        with Wire(server.address) as wire:
            wire.send(head("GET", "/"))
        assert ended.wait(10)
    assert messages[1] == {"type": "http.disconnect"}


def test_a_client_that_reads_nothing_of_a_download_does_not_hold_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cycle, "WRITE_TIMEOUT", 0.5)
    with running_tus(tmp_path / "uploads") as server, ExitStack() as stack:
        tus = Tus(server.address)
        # More than the kernel takes in for a client that does not read.
        url = tus.made(bytes(64 * MIB))
        wires = [stack.enter_context(tus.wire()) for _ in range(3)]
        for wire in wires:
            wire.send(head("GET", url))
        tus.assert_live()
        eventually(lambda: not server.server.server_state.connections)
        eventually(lambda: not server.server.server_state.tasks)
        with pytest.raises(ConnectionEnded):
            wires[0].answer("GET")


def test_a_download_whose_bytes_cannot_be_had_any_more_breaks_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running_tus(tmp_path / "uploads") as server:
        tus = Tus(server.address)
        url = tus.made(bytes(64 * MIB))
        with tus.wire() as wire:
            wire.send(head("GET", url))
            assert wire.socket.recv(12) == b"HTTP/1.1 200"
            os.truncate(tmp_path / "uploads" / url.rpartition("/")[2], MIB)
            received = 0
            while piece := wire.socket.recv(MIB):
                received += len(piece)
        assert received < 64 * MIB
        eventually(lambda: not server.server.server_state.tasks)
        assert not [record for record in caplog.records if record.exc_info]
        tus.assert_live()


def test_a_client_that_reads_slowly_gets_its_whole_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cycle, "WRITE_TIMEOUT", 1.0)
    with running_tus(tmp_path / "uploads") as server:
        tus = Tus(server.address)
        url = tus.made(bytes(64 * MIB))
        with tus.wire() as wire:
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
            wire.send(head("GET", url))
            piece = wire.socket.recv(MIB)
            left = piece.index(b"\r\n\r\n") + 4 + 64 * MIB - len(piece)
            for _ in range(20):
                left -= len(wire.socket.recv(MIB))
                # Twenty times this is longer than the time-out, once is not.
                time.sleep(0.1)
            while left and (piece := wire.socket.recv(MIB)):
                left -= len(piece)
        assert left == 0


def test_a_client_that_reads_less_than_a_buffer_in_that_time_gets_its_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cycle, "WRITE_TIMEOUT", 1.0)
    with running_tus(tmp_path / "uploads") as server:
        tus = Tus(server.address)
        url = tus.made(bytes(16 * MIB))
        with tus.wire() as wire:
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            wire.send(head("GET", url))
            # Several times as long as the time-out, and so slow that the server may write nothing.
            for _ in range(100):
                wire.socket.recv(8192)
                time.sleep(0.05)
            left = 16 * MIB - 100 * 8192
            while left > 0 and (piece := wire.socket.recv(MIB)):
                left -= len(piece)
        assert left <= 0
